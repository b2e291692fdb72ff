"""Foreign graphs: ONNX by onnxruntime or else by OpenCV, TensorFlow's .pb by OpenCV; facts by a probe."""

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from srcli.dataclass import dataclass
from srcli.engine.device import count_threads, may_have_gpu
from srcli.engine.runtimes import probing
from srcli.engine.runtimes.base import NetworkInfo, OutOfMemory, Runtime, RuntimeRequest, pad_tile
from srcli.engine.runtimes.probing import Findings, Shape
from srcli.engine.tiles import plan_tiles
from srcli.engine.weights.onnx import GraphInput, read_frozen_graph, read_input
from srcli.errors import UsageError, WeightsError
from srcli.imaging.pixels import Pixels
from srcli.storage.hashing import sha256
from srcli.workers.progress import Log, ignore

_EXTRA = "`pip install 'sr-cli[onnx]'` runs more files"


class CannotRunError(Exception):
    """A graph does not take an image of this shape."""


class Session(Protocol):
    """A graph ready to run."""

    @property
    def name(self) -> str:
        """The library and device, for people."""

    def __call__(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the output for a batch of one. Raises `CannotRunError`."""


@dataclass(frozen=True)
class OrtSession:
    """A graph in onnxruntime."""

    name: str
    session: Any
    input: str

    def __call__(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the first output."""
        try:
            out: NDArray[Any] = self.session.run(None, {self.input: batch})[0]
        except Exception as error:  # its classes are made at run time, below no other than Exception
            if "alloc" in str(error):
                raise MemoryError from error
            raise CannotRunError(str(error)) from error
        return out


@dataclass(frozen=True)
class OpenCvSession:
    """A graph in OpenCV's dnn."""

    name: str
    net: Any

    def __call__(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the output; of several the largest, as a network that enlarges in steps has."""
        import cv2

        try:
            self.net.setInput(batch)
            outputs = self.net.forward(self.net.getUnconnectedOutLayersNames())
        except cv2.error as error:
            if "memory" in str(error):
                raise MemoryError from error
            raise CannotRunError(str(error)) from error
        largest: NDArray[Any] = max(outputs, key=lambda out: out.size)
        return largest


@dataclass(frozen=True)
class GraphRuntime(Runtime):
    """A graph with the facts that a probe found."""

    session: Session
    dtype: str
    found: Findings

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Yield the upscaled tiles, in order. Raises `OutOfMemory` if one does not fit."""
        for tile in tiles:
            try:
                yield self._run_fixed(tile, self.found.sizes) if self.found.sizes else self._run_any(tile)
            except (MemoryError, CannotRunError) as error:
                raise OutOfMemory.of_tile(tile) from error

    def _run_any(self, tile: Pixels) -> Pixels:
        height, width = (side * self.info.scale for side in tile.shape[:2])
        return self._forward(pad_tile(tile, self.info))[:height, :width]

    def _run_fixed(self, tile: Pixels, sizes: tuple[int, int]) -> Pixels:
        """Cut a tile into smaller ones of the only size that the graph takes."""
        (height, width, channels), scale = tile.shape, self.info.scale
        halo = min(self.info.halo, (min(sizes) - 1) // 3)
        shape = (sizes[0] - 2 * halo, sizes[1] - 2 * halo)
        out = np.empty((height * scale, width * scale, channels), np.float32)
        for y, x in plan_tiles(height, width, shape, halo):
            part = tile[y.source(), x.source()]
            missing = [size - side for size, side in zip(sizes, part.shape, strict=False)]
            padded = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
            target = tuple(slice(s.keep_start * scale, s.keep_stop * scale) for s in (y, x))
            out[target] = self._forward(padded)[y.inner(scale), x.inner(scale)]
        return out

    def _forward(self, tile: Pixels) -> Pixels:
        result = run_once(self.session, self.dtype, self.found, tile)
        return self.found.values.decode(result)


def run_once(session: Session, dtype: str, found: Findings, pixels: Pixels) -> Pixels:
    """Return what the graph gives for pixels (H, W, C), in its own values. Raises `CannotRunError`."""
    values = found.values.encode(pixels)
    batch = values.transpose(2, 0, 1)[None] if found.layout == "NCHW" else values[None]
    if dtype == "uint8":
        batch = np.rint(batch).clip(0, 255)
    out = session(np.ascontiguousarray(batch, dtype))
    if out.ndim != 4 or len(out) != 1:
        raise CannotRunError(f"its output has the shape {out.shape}")
    return np.asarray(out[0].transpose(1, 2, 0) if found.layout == "NCHW" else out[0], np.float32)


def load_graph(path: Path, request: RuntimeRequest) -> GraphRuntime:
    """Return a graph ready to run. Raises `SrError` if it is no upscaler, or damaged."""
    if request.runtime != "auto":
        raise UsageError(f"{request.runtime} cannot run {path.name}", "leave out --runtime")
    graph = _read_input(path)
    session = _open_session(path, graph, request.device)
    found = _examine(path, graph, session, request.log)
    return GraphRuntime(found.info, f"{session.name}, {graph.dtype}", session, graph.dtype, found)


def examine_graph(path: Path, log: Log = ignore) -> Findings:
    """Return the facts about a graph, by a probe on the CPU."""
    graph = _read_input(path)
    return _examine(path, graph, _open_session(path, graph, "cpu"), log)


def _read_input(path: Path) -> GraphInput:
    if path.suffix == ".onnx":
        graph = read_input(path)
        if graph.dtype not in ("float32", "float16", "uint8"):
            raise WeightsError(f"{path} takes values of {graph.dtype}", "export it for float32")
        return graph
    if not path.is_file():
        raise WeightsError(f"{path} does not exist", "check its path")
    return GraphInput("")


def _open_session(path: Path, graph: GraphInput, device: str | None) -> Session:
    kind = (device or "").partition(":")[0]
    if path.suffix == ".onnx" and importlib.util.find_spec("onnxruntime"):
        return _open_ort(path, graph, device)
    if kind not in ("", "cpu"):
        raise UsageError(f"OpenCV runs {path.name} on the CPU only", _EXTRA)
    if graph.dtype != "float32":
        raise WeightsError(f"OpenCV cannot run {path}, which takes {graph.dtype}", _EXTRA)
    return OpenCvSession("cpu, by OpenCV", _read_by_opencv(path))


def _read_by_opencv(path: Path) -> Any:
    import cv2

    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what goes wrong is said by us
    try:
        if path.suffix == ".onnx":
            return cv2.dnn.readNetFromONNX(str(path))
        return cv2.dnn.readNetFromTensorflow(np.frombuffer(read_frozen_graph(path), np.uint8))
    except cv2.error as error:
        hint = _EXTRA if path.suffix == ".onnx" else "it has to be a frozen graph"
        raise WeightsError(f"OpenCV cannot read {path}: {_shorten(error)}", hint) from error
    finally:
        cv2.utils.logging.setLogLevel(level)


def _open_ort(path: Path, graph: GraphInput, device: str | None) -> Session:
    import onnxruntime

    kind, _, index = (device or "").partition(":")
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if kind not in ("", "cpu", "cuda") or (kind == "cuda" and not has_cuda):
        hint = "`pip install onnxruntime-gpu` brings CUDA; or leave out --device"
        raise UsageError(f"onnxruntime has no {kind} here", hint)
    wants_cuda = has_cuda and (kind == "cuda" or (not kind and may_have_gpu()))
    cuda = [("CUDAExecutionProvider", {"device_id": int(index or 0)})] if wants_cuda else []
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count_threads()
    options.log_severity_level = 4  # what goes wrong is said by us
    try:
        session = onnxruntime.InferenceSession(str(path), options, [*cuda, "CPUExecutionProvider"])
    except Exception as error:  # its classes are made at run time, below no other than Exception
        raise WeightsError(f"onnxruntime cannot read {path}: {_shorten(error)}", "export it again") from error
    place = "cuda" if session.get_providers()[0].startswith("CUDA") else "cpu"
    return OrtSession(f"{place}, by onnxruntime", session, graph.name)


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _examine(path: Path, graph: GraphInput, session: Session, log: Log) -> Findings:
    def probe() -> Findings:
        log(f"trying {path.name}, once, to find its scale and sizes")
        return _probe(path, graph, session)

    return probing.find_once(f"{sha256(path)} {type(session).__name__}", probe)


def _probe(path: Path, graph: GraphInput, session: Session) -> Findings:
    def run(found: Findings, pixels: Pixels) -> Pixels:
        runtime = GraphRuntime(found.info, "", session, graph.dtype, found)
        return next(runtime.run([pixels]))

    found = _find_layout(path.name, graph, session)
    candidates: tuple[probing.Values, ...]
    candidates = probing.OPENCV_VALUES if path.suffix == ".pb" else probing.USUAL_VALUES
    if graph.dtype == "uint8":
        candidates = (probing.Values(255.0),)
    return probing.probe_values_and_halo(path.name, found, run, candidates)


def _find_layout(name: str, graph: GraphInput, session: Session) -> Findings:
    """Return the order of axes, channels and sizes with which the graph runs. Raises `WeightsError`."""
    problem = WeightsError(f"{name} runs on no image that was tried", "is it an upscaler?")
    for layout, channels in (("NCHW", 3), ("NCHW", 1), ("NHWC", 3), ("NHWC", 1)):
        axes = {axis: graph.shape[layout.index(axis)] for axis in "NHWC"}
        if axes["C"] not in (0, channels) or axes["N"] > 1:
            continue
        found = Findings(NetworkInfo(1, 0, channels=channels, params=graph.params), layout=layout)
        if axes["H"] and axes["W"]:
            shape = _measure(session, graph.dtype, found, axes["H"], axes["W"])
            if shape:
                return _fix_sizes(name, found, shape, (axes["H"], axes["W"]))
            continue
        try:
            info = probing.find_geometry(name, partial(_measure_square, session, graph.dtype, found))
        except WeightsError as error:
            problem = error
            continue
        return replace(found, info=replace(info, channels=channels, params=graph.params))
    raise problem


def _measure(session: Session, dtype: str, found: Findings, height: int, width: int) -> Shape | None:
    """Return the shape that an image becomes; None if the graph does not take it, or adds channels."""
    channels = found.info.channels
    try:
        out = run_once(session, dtype, found, np.full((height, width, channels), 0.5, np.float32))
    except CannotRunError:
        return None
    shape = (out.shape[0], out.shape[1], out.shape[2])
    return shape if shape[2] == channels else None


def _measure_square(session: Session, dtype: str, found: Findings, side: int) -> Shape | None:
    return _measure(session, dtype, found, side, side)


def _fix_sizes(name: str, found: Findings, shape: Shape, sizes: tuple[int, int]) -> Findings:
    """Return the findings of a graph that takes only images of these sizes."""
    scale = shape[0] // sizes[0]
    if scale < 1 or (shape[0], shape[1]) != (sizes[0] * scale, sizes[1] * scale):
        became = f"{sizes[1]}x{sizes[0]} becomes {shape[1]}x{shape[0]}"
        raise WeightsError(f"{name} does not enlarge images by a whole number: {became}", "give another")
    return replace(found, info=replace(found.info, scale=scale, min_side=min(sizes)), sizes=sizes)
