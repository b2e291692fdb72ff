"""Converted networks run by other libraries than ncnn, with luma and chroma inside of the graph."""

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from srcli.dataclass import dataclass
from srcli.engine.device import count_threads, keep_freed_memory, may_have_gpu, select_device
from srcli.engine.runtimes import ncnn
from srcli.engine.runtimes.base import (
    OutOfMemory,
    Runtime,
    RuntimeRequest,
    UnsupportedNetwork,
    WeightsSource,
    pad_tile,
)
from srcli.engine.runtimes.translation import MARGIN, translate, translate_to_levels
from srcli.engine.weights.ncnn import Graph, read_graph
from srcli.errors import WeightsError
from srcli.imaging.pixels import Pixels
from srcli.scales import ANY

# A model ready to run: float32 in, float32 or uint8 out. Raises `MemoryError`.
Session = Callable[[NDArray[np.float32]], NDArray[Any]]


@dataclass(frozen=True)
class TranslatedRuntime(Runtime):
    """A network in another library; each of the two models is read when it is first used.

    `is_verified`: the weights are known to give finite values, which bytes would not show.
    """

    graph: Graph
    is_verified: bool = False
    # Set by subclasses; `rounds_last`: see `translate_to_levels`.
    library: ClassVar[str]
    module: ClassVar[str]
    rounds_last: ClassVar[bool] = True

    @classmethod
    def reason_against(cls, source: WeightsSource, request: RuntimeRequest) -> str | None:
        """Return why the library cannot run the network here; None if it can."""
        if request.device not in (None, "cpu"):
            return f"{cls.library} runs on the CPU only"
        if not importlib.util.find_spec(cls.module):
            return f"{cls.library} is not installed"
        is_chosen = request.device is not None or request.runtime != "auto"
        if not is_chosen and may_have_gpu() and select_device().name != "cpu":
            return "PyTorch uses the GPU"
        if source.path.suffix == ".param":
            return "it is an ncnn file"
        return "its scale is an input" if source.spec.scale == ANY else None

    @classmethod
    def load(cls, source: WeightsSource, request: RuntimeRequest, reason: str | None) -> Self:
        """Return the network ready to run. Raises `UnsupportedNetwork` if it cannot be translated."""
        files = ncnn.find_converted(source, request)
        if files.info is None:
            raise UnsupportedNetwork(files.refusal)
        try:
            graph = read_graph(Path(files.file("param")))
        except WeightsError as error:
            raise UnsupportedNetwork(error.message) from error
        keep_freed_memory()
        device = "requested" if request.device else "no GPU found"
        description = f"cpu, float32 ({device}), by {cls.library} ({reason or 'fastest on a CPU'})"
        runtime = cls(files.info, description, graph, ncnn.FORMAT in source.cards)
        _ = runtime.session if files.info.channels == 3 or runtime.as_uint8() is None else None
        return runtime

    @staticmethod
    def open_model(model: bytes, threads: int) -> Session:
        """Return a model ready to run. Raises `UnsupportedNetwork`."""
        raise NotImplementedError

    @cached_property
    def session(self) -> Session:
        """The network alone, from planes to planes."""
        return self.open_model(translate(self.graph, self.info.channels), count_threads())

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Yield the upscaled tiles, in order. Raises `OutOfMemory` if one does not fit."""
        for tile in tiles:
            height, width = (side * self.info.scale for side in tile.shape[:2])
            planes = np.ascontiguousarray(pad_tile(tile, self.info).transpose(2, 0, 1)[None], np.float32)
            try:
                result = self.session(planes)
            except MemoryError as error:
                raise OutOfMemory.of_tile(tile) from error
            yield result[0].transpose(1, 2, 0)[:height, :width]

    def as_uint8(self) -> "LevelsRuntime | None":
        """Return the runtime whose model also splits and merges colours and rounds."""
        return self._levels

    @cached_property
    def _levels(self) -> "LevelsRuntime | None":
        info = self.info
        if not self.is_verified or info.scale < 2 or info.margin or info.side_multiple > 1:
            return None
        try:
            model = translate_to_levels(self.graph, info.channels, info.scale, rounds_last=self.rounds_last)
            session = self.open_model(model, count_threads())
        except UnsupportedNetwork:
            return None
        return LevelsRuntime(replace(info, channels=3), self.description, session=session, returns_uint8=True)


@dataclass(frozen=True)
class LevelsRuntime(Runtime):
    """A model from RGB to levels of RGB, which NumPy only puts into place."""

    session: Session = field(kw_only=True)

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Yield the upscaled tiles as uint8, in order. Raises `OutOfMemory` if one does not fit."""
        for tile in tiles:
            height, width = tile.shape[:2]
            below, right = (max(0, self.info.min_side - side) for side in (height, width))
            widths = ((MARGIN, MARGIN + below), (MARGIN, MARGIN + right), (0, 0))
            padded = np.pad(tile, widths, "symmetric")
            try:
                levels = self.session(padded[None])
            except MemoryError as error:
                raise OutOfMemory.of_tile(tile) from error
            yield _place_pixels(levels[0][:height, :width], self.info.scale)  # type: ignore[misc]


def _place_pixels(levels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Return (H, W, s*s*3), the pixels that each pixel becomes, as (H*s, W*s, 3).

    Pixels of a row are moved as one item, which is four times as fast as byte by byte.
    """
    height, width = levels.shape[:2]
    item = np.dtype((np.void, 3 * scale))
    placed = np.empty((height, scale, width, 3 * scale), np.uint8)
    rows = np.ascontiguousarray(levels).reshape(height, width, scale, 3 * scale).view(item)[..., 0]
    placed.view(item)[..., 0] = rows.transpose(0, 2, 1)
    return placed.reshape(height * scale, width * scale, 3)
