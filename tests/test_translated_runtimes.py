"""OpenCV, ONNX Runtime and OpenVINO beside ncnn: the same pictures, and the choice between them."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import onnx
import pytest

from helpers.command import Run
from helpers.images import assert_same_samples, crop_photo
from srcli import manifest
from srcli.engine.runtimes import select, speeds, translation
from srcli.engine.runtimes.base import UnsupportedNetwork
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights.ncnn import read_graph
from srcli.errors import UsageError
from srcli.imaging import rows
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels, from_uint8
from srcli.methods import MethodOptions, load_method

LIBRARIES = {"openvino": "openvino", "opencv": "cv2", "onnxruntime": "onnxruntime"}
# Their transposed convolution is left to ncnn.
ON_NCNN = ("fsrcnn-x2", "fsrcnn-x3")
BUNDLED = [entry for entry in manifest.load() if entry.bundled and entry.name not in ON_NCNN]


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
    for rounded in (True, False):
        model = translation.translate_to_levels(graph, channels, entry.scale, rounded=rounded)
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
        translation.translate_to_levels(graph, 3, 2, rounded=True)
    with pytest.raises(UsageError, match="opencv cannot run fsrcnn"):
        load_method("fsrcnn", 2, MethodOptions(device="cpu", runtime="opencv"))


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
        assert "by ncnn (fastest on a CPU)" in choose(None)
        hide("onnxruntime")
        assert "by OpenCV" in choose(1_000_000)
    finally:
        speeds.read_table.cache_clear()


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
