"""OpenCV, ONNX Runtime and OpenVINO beside ncnn: the same pictures, and the choice between them."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import onnx.reference
import pytest
import torch

from helpers.command import Run
from helpers.images import assert_same_samples, crop_photo
from srcli import manifest
from srcli.archs import Spec
from srcli.engine.device import count_threads
from srcli.engine.runtimes import select, speeds, translation, trials
from srcli.engine.runtimes.base import Runtime, RuntimeRequest, UnsupportedNetwork, WeightsSource
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights.ncnn import read_graph
from srcli.imaging import rows
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels, from_uint8
from srcli.methods import MethodOptions, load_method

LIBRARIES = {"openvino": "openvino", "opencv": "cv2", "onnxruntime": "onnxruntime"}
BUNDLED = [entry for entry in manifest.load() if entry.bundled]


def load_stage(entry: manifest.Entry, runtime: str) -> Upscaler:
    [stage] = load_method(entry.model, entry.scale, MethodOptions(device="cpu", runtime=runtime)).stages
    return stage


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.name)
def test_a_library_gives_the_picture_of_ncnn(entry: manifest.Entry, library: str) -> None:
    pytest.importorskip(LIBRARIES[library])
    ours, theirs = load_stage(entry, "ncnn"), load_stage(entry, library)
    rounding = theirs.as_uint8()
    assert rounding
    for height, width in ((61, 47), (5, 1), (1, 1)):
        pixels = crop_photo(height, width)
        assert_same_samples(theirs(pixels), ours(pixels))
        samples = rounding.stream(rows.of(pixels)).whole()
        assert samples.dtype == np.uint8
        assert_same_samples(from_uint8(samples), ours(pixels))


SIGNALLED = """
import gc, os, signal, sys, threading
from srcli.methods import MethodOptions, load_method
kept = [load_method("espcn", 2, MethodOptions(device="cpu", runtime=sys.argv[1]))]
def free():
    kept.clear()
    gc.collect()
thread = threading.Thread(target=free)
thread.start()
thread.join()
signal.signal(signal.SIGTERM, lambda number, frame: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize("library", LIBRARIES)
def test_signals_are_handled_after_a_network_was_freed_in_a_thread(library: str) -> None:
    """OpenVINO's core owns the stack of signal handlers, and is dangerous to free."""
    pytest.importorskip(LIBRARIES[library])
    command = [sys.executable, "-c", SIGNALLED, library]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


ALONE = """
import sys
from srcli.methods import MethodOptions, load_method
load_method("espcn", 2, MethodOptions(device="cpu", runtime="openvino"))
assert "openvino_telemetry" not in sys.modules
from openvino.tools import ovc
"""


def test_openvino_tells_nobody_that_it_was_imported() -> None:
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("library", LIBRARIES)
def test_tiles_make_no_difference(library: str) -> None:
    pytest.importorskip(LIBRARIES[library])
    entry = next(each for each in BUNDLED if each.name == "ecbsr-x4")
    whole = load_stage(entry, library).as_uint8()
    assert whole
    source = rows.of(crop_photo(70, 90))
    one, other = (each.stream(source).whole() for each in (replace(whole, tile=32), whole))
    assert_same_samples(from_uint8(one), from_uint8(other))


@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.name)
def test_translations_are_valid_models(entry: manifest.Entry) -> None:
    assert entry.bundled
    graph = read_graph(entry.bundled.with_suffix(".ncnn.param"))
    channels = int(entry.config.get("channels", 1))
    onnx.checker.check_model(translation.translate(graph, channels), full_check=True)
    for rounds_last in (True, False):
        model = translation.translate_to_levels(graph, channels, entry.scale, rounds_last=rounds_last)
        onnx.checker.check_model(model, full_check=True)


def test_what_is_not_translated_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.param").write_text(
        "7767517\n3 3\nInput in 0 1 a\nPooling p 1 1 a b 0=0 1=2 2=2\nSigmoid s 1 1 b c\n"
    )
    (tmp_path / "a.bin").touch()
    graph = read_graph(tmp_path / "a.param")
    with pytest.raises(UnsupportedNetwork, match="a layer Pooling"):
        translation.translate(graph, 3)
    with pytest.raises(UnsupportedNetwork, match="ends in a layer Sigmoid"):
        translation.translate_to_levels(graph, 3, 2, rounds_last=True)


@pytest.mark.parametrize(
    ("kernel", "step", "border", "added"), [(9, 3, 4, 2), (4, 2, 1, 0), (3, 2, 1, 1), (2, 2, 0, 0)]
)
def test_a_transposed_convolution_is_a_convolution_of_phases(
    kernel: int, step: int, border: int, added: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    layer = torch.nn.ConvTranspose2d(3, 2, kernel, step, border, added)
    geometry = f"1={kernel} 3={step} 4={border} 18={added} 5=1 6={layer.weight.numel()}"
    (tmp_path / "a.param").write_text(
        f"7767517\n2 2\nInput in 0 1 a\nDeconvolution d 1 1 a b 0=2 {geometry}\n"
    )
    weight, bias = (each.detach().numpy() for each in (layer.weight, layer.bias))
    (tmp_path / "a.bin").write_bytes(bytes(4) + weight.swapaxes(0, 1).tobytes() + bias.tobytes())
    model = translation.translate(read_graph(tmp_path / "a.param"), 3)
    assert {node.op_type for node in onnx.load_from_string(model).graph.node} == {"Conv", "DepthToSpace"}
    batch = torch.rand(1, 3, 7, 5)
    (ours,) = onnx.reference.ReferenceEvaluator(model).run(None, {"image": batch.numpy()})
    np.testing.assert_allclose(ours, layer(batch).detach().numpy(), atol=1e-6)


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a package look as if it were not installed."""
    find = importlib.util.find_spec

    def hide(module: str) -> None:
        def find_others(name: str, package: str | None = None) -> ModuleSpec | None:
            return None if name == module else find(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", find_others)

    return hide


def test_the_work_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hide: Callable[[str], None]
) -> None:
    """The library that starts soonest for little work, the fastest for much; without it the next."""
    pytest.importorskip("onnxruntime")
    table = {
        "ecbsr-x4": {
            "ncnn": {"start": 0.1, "10": 1e-4, "1000": 3.0},
            "onnxruntime": {"start": 0.3, "10": 1e-4, "1000": 1.0},
            "opencv": {"start": 0.2, "10": 1e-4, "1000": 2.0},
        }
    }
    (tmp_path / "speeds.json").write_text(json.dumps(table))
    monkeypatch.setattr(speeds, "TABLE", tmp_path / "speeds.json")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    speeds.read_table.cache_clear()
    notes: list[str] = []

    def choose(pixels: int | None) -> str:
        options = MethodOptions(device="cpu", pixels=pixels, log=notes.append)
        return load_method("ecbsr", 4, options).stages[0].runtime.description

    try:
        assert "by ncnn (fastest on a CPU)" in choose(1_000)
        assert "by ONNX Runtime (fastest on a CPU)" in choose(1_000_000)
        assert notes[-1].endswith("onnxruntime 1.30 s, opencv 2.20 s, ncnn 3.10 s")
        assert "by ONNX Runtime (fastest on a CPU)" in choose(None)  # as for a photograph
        hide("onnxruntime")
        assert "by OpenCV" in choose(1_000_000)
    finally:
        speeds.read_table.cache_clear()


@pytest.fixture
def unknown(tmp_path: Path) -> WeightsSource:
    """Return a bundled network under another name, so that nothing is known of its speed."""
    entry = manifest.find_entries("ecbsr")[4]
    assert entry.bundled
    assert entry.packed
    for suffix in ("safetensors", "ncnn.json", "ncnn.param", "ncnn.bin"):
        shutil.copy(entry.bundled.with_suffix(f".{suffix}"), tmp_path / f"mine.{suffix}")
    spec = Spec(entry.arch, 4, entry.config)
    return WeightsSource(tmp_path / "mine.safetensors", spec, entry.digest, {"ncnn": entry.packed})


def test_a_network_that_was_not_measured_is_tried(
    unknown: WeightsSource, monkeypatch: pytest.MonkeyPatch, hide: Callable[[str], None]
) -> None:
    """The fastest of the trial runs; the trial is kept, and not made for little work."""
    pytest.importorskip("onnxruntime")
    hide("openvino")
    seconds = {"NcnnRuntime": 0.02, "OpenCvRuntime": 0.03, "OnnxRuntime": 0.01}
    tried: list[str] = []

    def time_run(runtime: Runtime, tile: Pixels) -> float:
        tried.append(type(runtime).__name__)
        return seconds[tried[-1]] * tile.size / 32**2

    monkeypatch.setattr(trials, "_time_run", time_run)
    waits: list[str] = []

    def load(pixels: int | None) -> tuple[str, trials.SpeedRecord | None]:
        request = RuntimeRequest(device="cpu", pixels=pixels, wait=lambda text, _: waits.append(text))
        runtime, record = select.load_with_record(unknown, request)
        return runtime.description, record

    assert "by ncnn (fastest on a CPU)" in load(10_000)[0]
    assert not tried
    assert "by ONNX Runtime (fastest on a CPU)" in load(10_000_000)[0]
    assert set(tried) == set(seconds)
    assert waits == ["measuring libraries for mine.safetensors, once"] * 2
    tried.clear()
    description, record = load(None)
    assert "by ONNX Runtime" in description
    assert not tried
    assert record
    record.correct([512 * 512], 8.0, processor_seconds=0.1)  # of a machine that did other things
    assert "by ONNX Runtime" in load(None)[0]
    record.correct([512 * 512], 8.0, processor_seconds=8.0 * count_threads())
    assert "by ncnn" in load(None)[0]


def test_a_library_with_another_picture_is_not_taken(
    unknown: WeightsSource, monkeypatch: pytest.MonkeyPatch, hide: Callable[[str], None]
) -> None:
    pytest.importorskip("onnxruntime")
    hide("openvino")
    monkeypatch.setattr(trials, "_time_run", lambda *_: 1.0)
    monkeypatch.setattr(trials, "_SAME", -1.0)
    runtime = select.load(unknown, RuntimeRequest(device="cpu", pixels=10_000_000))
    assert "by ncnn" in runtime.description


def test_every_bundled_network_was_measured() -> None:
    table = speeds.read_table()
    for entry in BUNDLED:
        assert set(table[entry.name]) == {"ncnn", *LIBRARIES}
        for times in table[entry.name].values():
            assert all(0 < seconds < 60 for seconds in times.values())
    assert set(select.RUNTIMES) >= {"ncnn", *LIBRARIES}


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_command_names_the_library(library: str, photo: Path, tmp_path: Path, sr: Run) -> None:
    pytest.importorskip(LIBRARIES[library])
    done = sr("upscale", photo, "-o", tmp_path / "a.png", "--runtime", library, "--device", "cpu")
    assert done.code == 0, done.err
    assert "(requested)" in done.err
    assert sr("upscale", photo, "-o", tmp_path / "b.png", "--runtime", "ncnn").code == 0
    one, other = (read_image(tmp_path / name).pixels for name in ("a.png", "b.png"))
    assert_same_samples(one, other)


def test_other_depths_keep_their_precision(tmp_path: Path, sr: Run) -> None:
    """16 bits are not rounded to bytes on the way."""
    pixels: Pixels = crop_photo(20, 24)
    samples = (pixels * 65535).astype(np.uint16)
    import cv2

    cv2.imwrite(str(tmp_path / "deep.png"), samples[..., ::-1])
    assert sr("upscale", tmp_path / "deep.png", "--runtime", "opencv", "-o", tmp_path / "a.png").code == 0
    assert sr("upscale", tmp_path / "deep.png", "--runtime", "ncnn", "-o", tmp_path / "b.png").code == 0
    one, other = (cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED) for name in ("a.png", "b.png"))
    assert one.dtype == np.uint16
    assert np.abs(one.astype(int) - other).max() <= 10
    assert len(np.unique(one)) > 300
