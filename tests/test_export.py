"""`sr export`: files that other runtimes read, each the same function as torch's."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.command import Run
from helpers.networks import build_random
from helpers.paths import ROOT, SAMPLES
from srcli import archs
from srcli.engine.export import UnexportableError, onnx, torchscript
from srcli.engine.export.formats import FORMATS
from srcli.engine.runtimes import converted, ncnn
from srcli.engine.runtimes.torch import to_batch, to_pixels
from srcli.engine.weights import files as weights
from srcli.imaging.color import luma
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels

BUNDLED = ROOT / "srcli" / "weights" / "fsrcnn-x2.safetensors"


def photograph() -> Pixels:
    """Of a size that none of the checks has."""
    return luma(read_image(SAMPLES / "chelsea.png").pixels[50:117, 100:195])[..., None]


def by_torch(pixels: Pixels) -> Pixels:
    network = weights.load_network(BUNDLED, archs.Spec("fsrcnn", 2)).float().eval()
    with torch.inference_mode():
        return to_pixels(network(to_batch(pixels)))


@pytest.fixture
def exported(in_tmp: Path, sr: Run, request: pytest.FixtureRequest) -> Path:
    """The bundled FSRCNN in the format asked for."""
    if request.param == "onnx":
        pytest.importorskip("onnxscript")
    done = sr("export", "fsrcnn", "-x2", "--to", request.param)
    assert done.code == 0, done.err
    assert "from torch" in done.out
    assert done.err == ""
    files = [Path(word) for word in done.out.split("  ")[0].split()]
    assert sorted(files) == sorted(path.relative_to(in_tmp) for path in in_tmp.iterdir())
    return files[0]


@pytest.mark.parametrize("exported", ["onnx"], indirect=True)
def test_onnx_runtime_enlarges_any_size(exported: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (out,) = session.run(["enlarged"], {"image": to_batch(photograph()).numpy()})
    assert np.abs(out[0].transpose(1, 2, 0) - by_torch(photograph())).max() < 1e-5


@pytest.mark.parametrize("exported", ["torchscript"], indirect=True)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_enlarges_any_size(exported: Path) -> None:
    out = torch.jit.load(exported)(to_batch(photograph()))
    assert np.abs(to_pixels(out.detach()) - by_torch(photograph())).max() < 1e-5


@pytest.mark.parametrize("exported", ["ncnn"], indirect=True)
def test_ncnn_enlarges_any_size(exported: Path) -> None:
    found = converted.read(exported.with_suffix(""))
    assert found
    (out,) = ncnn.prepare(found, 1, "").run([photograph()])
    assert np.abs(out - by_torch(photograph())).max() < 1e-5


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "nothing to export"),
        (["nope"], 2, "no model called 'nope'"),
        (["bicubic"], 2, "bicubic has no weights"),
        (["fsrcnn", "-x8"], 2, "fsrcnn has no weights for x8"),
        (["fsrcnn", "--to", "tflite"], 2, "no format called 'tflite'"),
        (["fsrcnn", "-x2", "--to", "ncnn", "-o", "a.onnx"], 2, "does not end in .param"),
        (["fsrcnn", "-x2", "--to", "ncnn", "-o", "taken.param"], 1, "taken.bin exists"),
        (["fsrcnn", "-x2", "--to", "ncnn", "-o", "taken.bin/a.param"], 1, "cannot write into"),
        (["-w", "missing.safetensors"], 1, "does not exist"),
        (["-w", str(BUNDLED), "-x4"], 2, "is for x2"),
        (["-w", "safmn.safetensors", "-x2", "--to", "ncnn"], 1, "cannot be exported to ncnn: no layer for"),
    ],
)
def test_what_cannot_be_is_one_line_and_a_hint(
    arguments: list[str], code: int, message: str, in_tmp: Path, sr: Run
) -> None:
    Path("taken.bin").touch()
    spec = weights.Spec("safmn", 2, {"blocks": 1, "features": 16})
    weights.save_network(Path("safmn.safetensors"), archs.build("safmn", 2, spec.config), spec, {})
    before = sorted(in_tmp.iterdir())
    done = sr("export", *arguments)
    assert done.code == code, done.err
    assert message in done.err.splitlines()[0]
    assert done.err.splitlines()[1].startswith("hint: ")
    assert sorted(in_tmp.iterdir()) == before


def test_files_are_replaced_only_when_asked(in_tmp: Path, sr: Run) -> None:
    words = ("export", "-w", BUNDLED, "-x2", "--to", "ncnn", "-o", in_tmp / "new" / "net.param")
    assert sr(*words).code == 0
    assert "exists" in sr(*words).err
    assert sr(*words, "--overwrite").code == 0
    assert sorted(path.name for path in (in_tmp / "new").iterdir()) == ["net.bin", "net.json", "net.param"]


def test_what_is_missing_can_be_installed(in_tmp: Path, sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None)
    done = sr("export", "fsrcnn", "-x2", "--to", "onnx")
    assert done.code == 1
    assert "pip install 'sr-cli[onnx]'" in done.err


def test_a_network_traced_for_one_size_is_refused(tmp_path: Path) -> None:
    """As tracing follows one way through a network, whatever it was that led there."""

    class Folded(nn.Module):
        channels, halo = 3, 1

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return batch * 2 if batch.shape[3] == 64 else batch

    with pytest.raises(UnexportableError, match="differs"):
        torchscript.write(Folded(), tmp_path / "a.pt")


def test_a_table_is_exported_and_runs(in_tmp: Path, photo: Path, sr: Run) -> None:
    spec = weights.Spec("srlut", 2, {"kernel": "v"})
    weights.save_network(Path("net.safetensors"), archs.build("srlut", 2, spec.config), spec, {})
    done = sr("export", "-w", "net.safetensors", "-x2", "--to", "table", "-o", "table.safetensors")
    assert done.code == 0, done.err
    done = sr("upscale", photo, "-x2", "-w", "table.safetensors", "-o", "out.png")
    assert done.code == 0, done.err
    assert "a table" in done.err
    done = sr("export", "fsrcnn", "-x2", "--to", "table")
    assert done.code != 0
    assert "too large for a table" in done.err.splitlines()[0]


@pytest.fixture(scope="module")
def onnx_functions() -> Iterator[None]:
    """The source of ONNX's functions, parsed once: torch parses all 500 of them for each export."""
    pytest.importorskip("onnxscript")
    from torch.onnx._internal._lazy_import import onnxscript_apis

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxscript_apis, "get_torchlib_ops", cache(onnxscript_apis.get_torchlib_ops))
        yield


@pytest.mark.slow
@pytest.mark.parametrize("arch", archs.names())
@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_every_network_can_be_exported(
    arch: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "onnx":
        request.getfixturevalue("onnx_functions")
    torch.manual_seed(0)
    network = build_random(arch, archs.traits(arch).scales[0]).eval()
    write = {"onnx": onnx.write, "torchscript": torchscript.write}[kind]
    reason = archs.facts(arch).export_errors.get(kind)
    if reason:
        with pytest.raises(UnexportableError, match=reason):
            write(network, tmp_path / "network")
        return
    write(network, tmp_path / f"network{FORMATS[kind].suffixes[0]}")
