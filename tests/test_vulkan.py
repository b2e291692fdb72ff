"""Vulkan: GPUs are found, chosen and given tiles that fit; ncnn computes on them what a CPU computes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.command import Run
from helpers.images import assert_same_image, crop_photo
from helpers.networks import build_random
from helpers.paths import ROOT
from srcli import archs, manifest, methods
from srcli.engine import slots, vulkan
from srcli.engine.export.ncnn.convert import convert_network
from srcli.engine.runtimes import converted, ncnn, select
from srcli.engine.runtimes.base import RuntimeRequest, WeightsSource
from srcli.engine.runtimes.ncnn import NcnnNetwork, NcnnRuntime
from srcli.engine.tiles import DEFAULT_TILE
from srcli.engine.upscaler import Upscaler
from srcli.engine.vulkan import VulkanGpu
from srcli.engine.weights.ncnn import count_pixel_bytes, read_graph
from srcli.errors import SrError, UsageError
from srcli.imaging.pixels import Pixels

REAL = ROOT / "srcli" / "weights" / "photo-lite-x4.safetensors"
GRAPH = ROOT / "srcli" / "weights" / "photo-lite-x4.ncnn.param"
SOFTWARE = VulkanGpu(0, "llvmpipe", "software", 1, 2**30)
INTEGRATED = VulkanGpu(1, "Iris", "integrated", 1, 2**31)
DISCRETE = VulkanGpu(2, "Radeon", "discrete", 1, 2**33)


@pytest.fixture
def device() -> VulkanGpu:
    if not vulkan.list_gpus():
        pytest.skip("needs a Vulkan device")
    return vulkan.find_gpu("vulkan")


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three GPUs."""
    monkeypatch.setattr(vulkan, "_has_loader", lambda: True)
    monkeypatch.setattr(vulkan, "_may_have_gpu", lambda: True)
    monkeypatch.setattr(vulkan, "list_gpus", lambda: (SOFTWARE, INTEGRATED, DISCRETE))


@pytest.fixture
def imitation(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its GPUs compute on the CPU, and so the same."""
    read = ncnn.read_net

    def read_for_cpu(param: Path, weights: Path, threads: int, gpu: object = None) -> Any:
        return read(param, weights, threads)

    monkeypatch.setattr(ncnn, "read_net", read_for_cpu)
    monkeypatch.setattr(ncnn, "may_have_gpu", lambda: False)


def load_real(device: str | None) -> NcnnRuntime:
    entry = next(entry for entry in manifest.load() if entry.bundled == REAL)
    source = WeightsSource(
        REAL, archs.Spec(entry.arch, 4, entry.config), entry.sha256, {"ncnn": entry.packed or ""}
    )
    # On a CPU, another library may be faster.
    runtime = "ncnn" if device == "cpu" else select.AUTO
    loaded = select.load(source, RuntimeRequest(device=device, runtime=runtime))
    assert isinstance(loaded, NcnnRuntime)
    return loaded


def test_the_best_gpu_is_the_default_one(three: None) -> None:
    assert vulkan.find_gpu("vulkan") == DISCRETE
    assert vulkan.find_gpu("vulkan:0") == SOFTWARE
    assert vulkan.find_real_gpu() == DISCRETE
    assert slots.list_devices("vulkan:1,cpu") == ["vulkan:1", "cpu"]
    for name in ("vulkan:7", "vulkan:", "vulkan:x", "vulkan:-1"):
        with pytest.raises(UsageError, match="no device called") as caught:
            slots.list_devices(name)
        assert "vulkan:1 Iris, integrated" in caught.value.hint


def test_software_is_never_the_default(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vulkan, "list_gpus", lambda: (SOFTWARE,))
    assert vulkan.find_real_gpu() is None
    assert vulkan.find_gpu("vulkan") == SOFTWARE


@pytest.mark.parametrize(("loader", "why"), [(False, "no Vulkan loader found"), (True, "finds no GPU")])
def test_what_is_missing_takes_one_line(
    loader: bool, why: str, sr: Run, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vulkan, "_has_loader", lambda: loader)
    monkeypatch.setattr(vulkan, "list_gpus", tuple)
    done = sr("upscale", photo, "-x2", "--device", "vulkan")
    assert done.code == 2
    assert why in done.err
    assert "libvulkan1" in done.err
    assert len(done.err.splitlines()) == 2


def test_a_real_gpu_is_used_without_asking(imitation: None) -> None:
    for device, why in ((None, "fastest available"), ("vulkan", "requested")):
        chosen = load_real(device)
        assert chosen.description == f"vulkan:2, float32 ({why}: Radeon), by ncnn"
        assert chosen.max_pixels
    assert load_real("cpu").description.startswith("cpu, float32 (requested)")


def test_pytorch_keeps_its_own_gpus(imitation: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ncnn, "may_have_gpu", lambda: True)
    monkeypatch.setattr(ncnn, "select_device", lambda: vulkan.VulkanGpu(0, "", "", 0, 0))
    source = WeightsSource(REAL, archs.Spec("srvgg", 4))
    assert NcnnRuntime.reason_against(source, RuntimeRequest()) == "PyTorch uses the GPU"
    assert NcnnRuntime.reason_against(source, RuntimeRequest(device="vulkan")) is None


def test_a_gpu_that_computes_something_else_is_not_used(
    imitation: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_network = NcnnNetwork.open

    def spoil(network: NcnnNetwork, *settings: Any, gpu: VulkanGpu | None = None) -> NcnnRuntime:
        made = open_network(network, *settings)
        return replace(made, peak=1.01) if gpu else made

    monkeypatch.setattr(NcnnNetwork, "open", spoil)
    assert "from the CPU's), by ncnn" in load_real(None).description
    with pytest.raises(SrError, match=r"vulkan:2 is not usable: its results are .* dB from the CPU's"):
        load_real("vulkan")


def test_tiles_fit_the_memory_of_the_gpu(imitation: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images that a GPU with little memory gets in small tiles are the same."""
    pixels = crop_photo(150, 170)
    whole = Upscaler(load_real("cpu"), 4)(pixels)
    needed = count_pixel_bytes(read_graph(GRAPH))
    small = replace(DISCRETE, memory=int(2 * needed * 120**2))
    monkeypatch.setattr(vulkan, "list_gpus", lambda: (small,))
    loaded = load_real("vulkan:2")
    seen: list[int] = []
    run = NcnnRuntime.forward

    def watch(runtime: NcnnRuntime, tile: Pixels, names: tuple[str, ...]) -> list[Pixels]:
        seen.append(tile.shape[0] * tile.shape[1])
        return run(runtime, tile, names)

    monkeypatch.setattr(NcnnRuntime, "forward", watch)
    assert_same_image(Upscaler(loaded, 4)(pixels), whole)
    assert len(seen) > 1
    assert max(seen) <= 120**2
    assert loaded.largest_tile(DEFAULT_TILE) < 120
    assert loaded.largest_tile(64) == 64


def test_the_estimate_of_memory_is_near_what_others_found() -> None:
    """Programs for Real-ESRGAN allow tiles of 220 pixels for 1900 MB, which is in half precision."""
    package = manifest.find_entries("realesrgan-anime")[4].packaged
    assert package
    from srcli.engine.weights import packages

    pair = packages.find_installed(package)
    assert pair
    assert 20_000 < count_pixel_bytes(read_graph(pair)) < 80_000


def test_only_ncnn_uses_vulkan(three: None, sr: Run, photo: Path) -> None:
    done = sr("upscale", photo, "-x2", "-m", "zssr", "--device", "vulkan")
    assert done.code == 2
    assert "PyTorch cannot use Vulkan" in done.err
    source = WeightsSource(photo, archs.Spec("liif", 0))
    with pytest.raises(UsageError, match="vulkan cannot run liif: its scale is an input"):
        select.load(source, RuntimeRequest(device="vulkan"))


def test_devices_are_listed(three: None, sr: Run) -> None:
    done = sr("info", "--devices")
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("cpu")
    assert "vulkan:2  Radeon, discrete" in done.out
    assert sr("info").code == 2


@pytest.mark.vulkan
@pytest.mark.parametrize("name", ["ecbsr-x3", "espcn-x2", "fsrcnn-x4", "photo-lite-x4"])
def test_a_device_computes_what_the_cpu_computes(name: str, device: VulkanGpu) -> None:
    entry = next(entry for entry in manifest.load() if entry.bundled and entry.name == name)
    pixels = crop_photo(41, 54)
    made = [
        methods.load_method(entry.model, entry.scale, methods.MethodOptions(device=each, tile=tile))
        for each, tile in (("cpu", 512), (device.name, 512), (device.name, 32))
    ]
    assert "vulkan" in made[1].description
    exact, whole, tiled = (each(pixels, entry.scale) for each in made)
    for other in (whole, tiled):
        assert_same_image(other, exact)
    assert np.abs(whole - exact).max() < 1e-4


@pytest.mark.vulkan
def test_means_over_the_image_reach_a_device(device: VulkanGpu, tmp_path: Path) -> None:
    torch.manual_seed(0)
    converted.write(tmp_path / "network", convert_network(build_random("imdn", 2).eval(), 2)[0], "")
    files = converted.read(tmp_path / "network")
    assert files
    network = ncnn.as_network(files)
    pixels = crop_photo(40, 60)
    exact, ours = (Upscaler(network.open(1, gpu=gpu), 2)(pixels) for gpu in (None, device))
    assert_same_image(ours, exact)


@pytest.mark.vulkan
def test_pairs_run_on_a_device_and_nothing_else_is_printed(device: VulkanGpu, photo: Path) -> None:
    """In a process, whose stderr also has what ncnn prints by itself."""
    package = manifest.find_entries("realesr-animevideo")[4].packaged
    assert package
    words = ["upscale", photo, "-m", "realesr-animevideo", "-x4", "--device", device.name]
    done = subprocess.run(
        [sys.executable, "-m", "srcli", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) <= 2
    assert f"on {device.name}, float32 (requested: {device.model}), by ncnn" in done.stderr
