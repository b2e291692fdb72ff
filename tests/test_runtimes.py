"""ncnn beside torch: every network is packed and gives the same image, or it is known why not."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from helpers.command import Run
from helpers.images import assert_same_image, assert_same_samples, crop_photo
from helpers.networks import MEMBERS, build_random
from helpers.paths import ROOT
from srcli import archs, manifest
from srcli.engine import calibration, device
from srcli.engine.device import Device
from srcli.engine.export import UnexportableError, check, converters
from srcli.engine.export.ncnn.convert import convert_network
from srcli.engine.runtimes import converted, ncnn
from srcli.engine.runtimes.base import Runtime
from srcli.engine.runtimes.converted import ConvertedFiles
from srcli.engine.runtimes.torch import prepare
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights import files as weights
from srcli.errors import SrError
from srcli.imaging.image import Image, read_image, write_image

# Networks that ncnn cannot run, with a part of the reason.
ON_TORCH = {
    arch: archs.facts(arch).export_errors["ncnn"]
    for arch in archs.names()
    if "ncnn" in archs.facts(arch).export_errors
}
CPU = Device("cpu", "float32", "")


def packed_runtime(network: nn.Module, scale: int, folder: Path) -> Runtime:
    converted.write(folder / "network", convert_network(network, scale)[0], "")
    found = converted.read(folder / "network")
    assert found
    return ncnn.prepare(found, 1, "")


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "scale"), MEMBERS)
def test_the_runtimes_agree(arch: str, scale: int, tmp_path: Path) -> None:
    """Whole, odd in size and small enough to need more than there is; tiled where tiles change nothing."""
    torch.manual_seed(0)
    network = build_random(arch, scale).eval()
    own = 1 if archs.traits(arch).pre_upsampled else scale
    if arch in ON_TORCH:
        with pytest.raises(UnexportableError, match=ON_TORCH[arch]):
            convert_network(network, own)
        return
    packs, torches = packed_runtime(network, own, tmp_path), prepare(network, own, CPU)
    assert replace(packs.info, min_side=torches.info.min_side) == torches.info
    for height, width in ((57, 46), (5, 1)):
        pixels = crop_photo(height, width)
        assert_same_image(Upscaler(packs, scale)(pixels), Upscaler(torches, scale)(pixels))
    if archs.traits(arch).local:
        pixels = crop_photo(50, 70)
        assert_same_image(Upscaler(packs, scale, tile=32)(pixels), Upscaler(torches, scale)(pixels))


BUNDLED = [entry for entry in manifest.load() if entry.bundled]


@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.name)
def test_bundled_networks_ship_packed(entry: manifest.Entry) -> None:
    """Made from the very weights beside them, and the same image as by torch on a whole photograph."""
    assert entry.bundled
    assert entry.packed
    found = converted.read_bundled(entry.bundled, "ncnn", entry.packed)
    card = json.loads(Path(f"{found.path}.json").read_text())
    assert card["made_from"] == entry.sha256
    network = weights.load_network(entry.bundled, archs.Spec(entry.arch, entry.scale, entry.config))
    pixels = crop_photo(200, 300)
    ours, theirs = (
        Upscaler(runtime, entry.scale)(pixels)
        for runtime in (ncnn.prepare(found, 1, ""), prepare(network, entry.scale, CPU))
    )
    assert_same_image(ours, theirs)


def test_a_damaged_packed_form_is_refused(tmp_path: Path) -> None:
    entry = BUNDLED[0]
    assert entry.bundled
    assert entry.packed
    for suffix in ("json", "param", "bin"):
        name = f"{converted.locate_bundled(entry.bundled, 'ncnn').name}.{suffix}"
        content = (entry.bundled.parent / name).read_bytes()
        (tmp_path / name).write_bytes(content if suffix != "bin" else content[:-4])
    with pytest.raises(SrError, match="damaged"):
        converted.read_bundled(tmp_path / entry.bundled.name, "ncnn", entry.packed)


class Odd(nn.Module):
    """A network with what ncnn has no layer for, or has otherwise."""

    channels, halo = 3, 1

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if self.kind == "cumsum":
            return batch.cumsum(2)
        if self.kind == "branch":
            return batch if batch.mean() > 0.5 else batch * 2
        return F.pad(batch, (1, 1, 1, 1), mode="circular")[..., 1:-1, 1:-1]


@pytest.mark.parametrize(
    ("kind", "why"), [("cumsum", "cumsum"), ("branch", "depend"), ("pad", "padding|size")]
)
def test_what_ncnn_cannot_do_is_said(kind: str, why: str) -> None:
    with pytest.raises(UnexportableError, match=why):
        convert_network(Odd(kind), 1)


def test_a_result_that_differs_is_refused() -> None:
    network = Odd("")
    with pytest.raises(UnexportableError, match="differs"):
        check.compare_with_torch(network, lambda pixels: pixels + np.float32(0.003))
    with pytest.raises(UnexportableError, match="differs in size"):
        check.compare_with_torch(network, lambda pixels: pixels[:-1])


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A weight file of a small network."""
    path = tmp_path / "mine.safetensors"
    spec = weights.Spec("edsr", 2, {"blocks": 1, "features": 8})
    weights.save_network(path, archs.build("edsr", 2, spec.config), spec, {})
    return path


def test_networks_are_packed_once(mine: Path, photo: Path, tmp_path: Path, sr: Run) -> None:
    """The first run imports torch and keeps what it made; the second does without torch."""
    words = ["upscale", str(photo), "-x2", "-w", str(mine), "--device", "cpu", "--overwrite"]
    done = sr(*words)
    assert done.code == 0, done.err
    assert "by ncnn (fastest on a CPU)" in done.err
    code = (
        "import sys; from srcli.cli.app import run;"
        f"code = run({words!r}); sys.exit(1 if 'torch' in sys.modules else code)"
    )
    again = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert again.returncode == 0, again.stderr


def test_what_stays_on_torch_says_why_and_is_not_tried_again(
    photo: Path, tmp_path: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = weights.Spec("safmn", 2, {"blocks": 1, "features": 16})
    weights.save_network(tmp_path / "w.safetensors", archs.build("safmn", 2, spec.config), spec, {})
    words = ("upscale", photo, "-x2", "-w", tmp_path / "w.safetensors", "--device", "cpu", "--overwrite")
    assert "by torch (no layer for movedim)" in sr(*words).err
    monkeypatch.setitem(converters.CONVERTERS, "ncnn", None)
    assert "by torch (no layer for movedim)" in sr(*words).err
    done = sr(*words, "--runtime", "ncnn")
    assert done.code == 2
    assert "ncnn cannot run safmn: no layer for movedim" in done.err


def test_the_runtime_can_be_chosen(photo: Path, tmp_path: Path, sr: Run) -> None:
    for runtime in ("torch", "ncnn"):
        done = sr(
            "upscale", photo, "--runtime", runtime, "-o", tmp_path / f"{runtime}.png", "--device", "cpu"
        )
        assert done.code == 0, done.err
        assert f"slimres on cpu, float32 (requested), by {runtime} (requested)" in done.err
    assert_same_samples(*(read_image(tmp_path / f"{name}.png").pixels for name in ("torch", "ncnn")))
    assert sr("compare", photo, "--runtime", "torch", "-o", tmp_path / "c.png").code == 0
    assert sr("bench", "-d", photo.parent / "none", "--runtime", "tflite").code == 2


def test_a_cache_that_cannot_be_written_leaves_torch(
    mine: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SR_CACHE", str(tmp_path / "file"))
    done = sr("upscale", photo, "-x2", "-w", mine, "--device", "cpu")
    assert done.code == 0, done.err
    assert "by torch (cannot write" in done.err


def test_threads_are_the_cores_that_are_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert device.count_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(device, "_quota", lambda *places: 2.5)
    assert device.count_threads() == 3


@pytest.mark.parametrize(
    ("files", "membership", "cores"),
    [
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, "0::/a/b", 1.5),
        ({"cpu.max": "max 100000"}, "0::/", np.inf),
        ({"cpu/x/cpu.cfs_quota_us": "400000", "cpu/x/cpu.cfs_period_us": "100000"}, "3:cpu:/x\n0::/", 4),
        ({"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, "3:cpu:/x", np.inf),
    ],
)
def test_the_quota_is_that_of_all_cgroups_above(
    files: dict[str, str], membership: str, cores: float, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "membership").write_text(membership)
    assert device._quota(tmp_path, tmp_path / "membership") == cores


def test_nothing_is_found_where_nothing_sound_is(tmp_path: Path) -> None:
    assert converted.read(tmp_path / "network") is None
    (tmp_path / "network.json").write_text("[]")
    assert converted.read(tmp_path / "network") is None
    converted.write_refusal(tmp_path / "network", "no layer for it")
    assert converted.read(tmp_path / "network") == ConvertedFiles(
        tmp_path / "network", refusal="no layer for it"
    )


@pytest.mark.parametrize("scale", [2, 3])
def test_a_transposed_convolution_does_not_lay_out_all_that_it_reads(scale: int) -> None:
    """As a convolution of 5x5 ncnn would take 6 kB a pixel for it."""
    [entry] = (entry for entry in BUNDLED if (entry.model, entry.scale) == ("fsrcnn", scale))
    assert entry.bundled
    assert entry.packed
    runtime = ncnn.prepare(converted.read_bundled(entry.bundled, "ncnn", entry.packed), 1, "")
    assert calibration.measure_rate(runtime, rounds=1).pixel_bytes < 3000


@pytest.mark.slow
def test_the_first_use_of_a_file_takes_at_most_three_times_as_long_as_by_torch(tmp_path: Path) -> None:
    """In processor time of a process, from nothing to the picture, with a cache that is empty each time."""
    torch.save({"params": build_random("imdn", 2).state_dict()}, tmp_path / "theirs.pth")
    write_image(tmp_path / "a.png", Image(crop_photo(16, 16)))
    words = ["upscale", "a.png", "-w", "theirs.pth", "-x2", "-o", "out.png", "--overwrite", "--runtime"]
    seconds = {}
    for runtime in ("torch", "ncnn"):
        own = os.environ | {"OMP_NUM_THREADS": "1", "SR_CACHE": str(tmp_path / runtime)}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "srcli", *words, runtime]
        done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert ("packing theirs.pth for ncnn, once" in done.stderr) == (runtime == "ncnn")
        seconds[runtime] = after.ru_utime - before.ru_utime
    assert seconds["ncnn"] < 3 * seconds["torch"]
