"""Graphs of ONNX and TensorFlow as weights, by onnxruntime and by OpenCV."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers.command import Run
from helpers.images import assert_same_image, crop_photo
from srcli import archs, manifest, methods
from srcli.engine.runtimes import onnx as graphs
from srcli.engine.runtimes.base import NetworkInfo
from srcli.engine.runtimes.probing import OPENCV_VALUES, Findings, Values, probe_values_and_halo
from srcli.engine.weights import files
from srcli.engine.weights.onnx import read_frozen_graph, read_input
from srcli.errors import WeightsError
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels
from tools.tensorflow_graph import write_espcn

_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def write_onnx(
    path: Path,
    dtype: str = "float32",
    layout: str = "NCHW",
    sizes: tuple[int | str, int | str] = ("h", "w"),
    channels: int = 3,
) -> Path:
    """Write a graph that repeats every pixel twice along each axis, after a blur that sees three pixels."""
    inner = "float16" if dtype == "float16" else "float32"
    kernel = np.zeros((4 * channels, channels, 3, 3), inner)
    for k in range(channels):
        kernel[4 * k : 4 * k + 4, k] = np.float32([[0, 0.1, 0], [0.1, 0.6, 0.1], [0, 0.1, 0]])
    axes = {"N": 1, "C": channels, "H": sizes[0], "W": sizes[1]}
    nodes, last = [], "in"

    def add(kind: str, *others: str, **attributes: object) -> None:
        nonlocal last
        nodes.append(helper.make_node(kind, [last, *others], [f"v{len(nodes)}"], **attributes))
        last = f"v{len(nodes) - 1}"

    if dtype == "uint8":
        add("Cast", to=TensorProto.FLOAT)
    if layout == "NHWC":
        add("Transpose", perm=[0, 3, 1, 2])
    add("Conv", "w", pads=[1, 1, 1, 1])
    add("DepthToSpace", blocksize=2, mode="CRD")
    if layout == "NHWC":
        add("Transpose", perm=[0, 2, 3, 1])
    shape = [axes[axis] for axis in layout]
    grown = [axes[axis] if axis in "NC" else f"{axis}2" for axis in layout]
    graph = helper.make_graph(
        nodes,
        "double",
        [helper.make_tensor_value_info("in", _TYPES[dtype], shape)],
        [helper.make_tensor_value_info(last, _TYPES[inner], grown)],
        [numpy_helper.from_array(kernel, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def double(pixels: Pixels) -> Pixels:
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)))
    cross = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return (np.float32(0.6) * pixels + np.float32(0.1) * cross).repeat(2, 0).repeat(2, 1)


@pytest.fixture(params=["onnxruntime", "OpenCV"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the libraries, as if it were the only one."""
    if request.param == "OpenCV":
        monkeypatch.setattr(graphs.importlib.util, "find_spec", lambda name: None)
    return str(request.param)


FORMS = {
    "plain": {},
    "half": {"dtype": "float16"},
    "bytes": {"dtype": "uint8"},
    "last": {"layout": "NHWC"},
    "fixed": {"sizes": (40, 48)},
    "bytes, last, fixed": {"dtype": "uint8", "layout": "NHWC", "sizes": (32, 32)},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tile", [512, 32])
def test_all_forms_of_onnx_give_the_same_image(form: str, tile: int, library: str, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "double.onnx", **FORMS[form])  # type: ignore[arg-type]
    if library == "OpenCV" and ("half" in form or "bytes" in form):
        with pytest.raises(WeightsError, match="which takes"):
            methods.load_method_file(path, 2)
        return
    pixels = crop_photo(70, 90)
    if "bytes" in form:
        pixels = np.rint(pixels * 255).astype(np.float32) / np.float32(255)
    method = methods.load_method_file(path, 2, methods.MethodOptions(tile=tile))
    assert f"by {library}" in method.description
    assert method.params == 324
    out, expected = method(pixels, 2), double(pixels)
    inside = np.s_[2:-2, 2:-2] if "fixed" in form else np.s_[:]  # beyond the image, edges are repeated
    tolerance = {"half": 2e-3}.get(form, 1e-5)
    np.testing.assert_allclose(out[inside], expected[inside], atol=tolerance)


def test_luma_graphs_leave_chroma_to_bicubic(library: str, tmp_path: Path) -> None:
    method = methods.load_method_file(write_onnx(tmp_path / "y.onnx", channels=1), 2)
    assert method.stages[0].runtime.info.channels == 1
    grey = np.repeat(crop_photo(30, 40)[..., :1], 3, 2)
    assert method(grey, 2).shape == (60, 80, 3)


def test_the_probe_is_said_and_kept(tmp_path: Path, sr: Run, photo: Path) -> None:
    path = write_onnx(tmp_path / "double.onnx")
    done = sr("models", "info", path)
    assert done.code == 0
    assert "x2, RGB, values to 1, overlap 1" in done.out
    said: list[str] = []
    methods.load_method_file(path, 2, methods.MethodOptions(log=said.append))
    assert not said
    done = sr("upscale", photo, "-w", path, "-o", tmp_path / "out.png")  # x2, as the file is for nothing else
    assert done.code == 0, done.err
    assert read_image(tmp_path / "out.png").pixels.shape[0] == 2 * read_image(photo).pixels.shape[0]
    assert "x2, RGB, values to 1, overlap 1" in done.err


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "does not take one image"), (b"hello there", "damaged"), (b"\x3a\xff", "damaged")],
)
def test_bad_graphs_take_one_line(content: bytes, why: str, sr: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    done = sr("upscale", photo, "-w", tmp_path / "bad.onnx")
    assert done.code == 1
    assert why in done.err
    assert len(done.err.strip().splitlines()) == 2
    (tmp_path / "bad.pb").write_bytes(content)
    done = sr("upscale", photo, "-w", tmp_path / "bad.pb")
    assert done.code == 1
    assert len(done.err.strip().splitlines()) == 2


def test_a_cut_graph_is_refused(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "double.onnx")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError):
        methods.load_method_file(path, 2)


def test_sizes_and_types_are_read_without_a_library(tmp_path: Path) -> None:
    found = read_input(write_onnx(tmp_path / "a.onnx", "uint8", "NHWC", (40, 48)))
    assert (found.name, found.dtype, found.shape, found.params) == ("in", "uint8", (1, 40, 48, 3), 324)


def test_a_graph_of_tensorflow_equals_the_network_it_is_of(tmp_path: Path) -> None:
    scale = 4
    entry = manifest.find_entries("espcn")[scale]
    assert entry.bundled
    network = files.load_network(entry.bundled, archs.Spec(entry.arch, scale, entry.config))
    write_espcn(tmp_path / "espcn.pb", network, scale)
    pixels = crop_photo(50, 60)
    ours = methods.load_method("espcn", scale)(pixels, scale)
    # The bundled file sees the image mirrored beyond its border, the graph sees zeros.
    inner = (slice(4 * scale, -4 * scale),) * 2
    for tile in (512, 32):
        method = methods.load_method_file(tmp_path / "espcn.pb", scale, methods.MethodOptions(tile=tile))
        assert_same_image(method(pixels, scale)[inner], ours[inner])
    assert "by OpenCV" in method.description
    assert read_frozen_graph(tmp_path / "espcn.pb").count(b"blocksize") == 1


def test_a_probe_recognises_networks_that_take_bgr_less_a_mean() -> None:
    """As OpenCV's EDSR does, which subtracts DIV2K's mean colour outside of its graph."""
    truth = OPENCV_VALUES[-1]

    def enlarge(found: Findings, pixels: Pixels) -> Pixels:
        fed = found.values.encode(pixels)
        own = fed + np.float32(truth.mean)
        result = np.where((own < -1e-3) | (own > 255.001), 0, fed) * np.float32([1, 0.9, 0.8])
        same = found.values == truth
        out = found.values.decode(fed if same else result)
        return out.repeat(2, 0).repeat(2, 1)

    found = probe_values_and_halo("it", Findings(NetworkInfo(2, 0, min_side=32)), enlarge, OPENCV_VALUES)
    assert found.values == truth
    assert str(found.values) == "values to 255 less 103 112 114, BGR"


@pytest.mark.parametrize("values", [Values(), Values(255.0), OPENCV_VALUES[-1]])
def test_values_come_back(values: Values) -> None:
    pixels = crop_photo(8, 9)
    np.testing.assert_allclose(values.decode(values.encode(pixels)), pixels, atol=1e-6)


def test_devices_that_no_library_has_are_refused(tmp_path: Path, sr: Run, photo: Path) -> None:
    assert importlib.util.find_spec("onnxruntime")
    path = write_onnx(tmp_path / "double.onnx")
    for words in (("--device", "mps"), ("--runtime", "ncnn"), ("--runtime", "torch")):
        done = sr("upscale", photo, "-w", path, "-x2", *words)
        assert done.code == 2, done.err
