"""The Python API for single images: `load` a model and call it, or `upscale` in one line."""

import math
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from srcli.engine.slots import resolve_devices
from srcli.engine.tiles import DEFAULT_TILE
from srcli.errors import SrError, UsageError
from srcli.imaging.codecs.base import EncodingOptions, Frame
from srcli.imaging.codecs.reading import read_info
from srcli.imaging.codecs.registry import SUFFIXES
from srcli.imaging.pixels import StoredSamples
from srcli.imaging.size import Size, TargetSize
from srcli.methods import Method, MethodOptions
from srcli.methods.choice import ModelChoice
from srcli.scales import format_scale
from srcli.upscaling.conversion import read_array, read_picture, write_array, write_picture
from srcli.upscaling.files import UpscaleSettings, compute_scale, needs_method, upscale_file
from srcli.upscaling.fingerprint import Fingerprint, list_choices
from srcli.upscaling.pipeline import Pipeline
from srcli.upscaling.postprocess import Postprocess
from srcli.upscaling.task import UpscaleTask
from srcli.workers.progress import Progress, ignore

if TYPE_CHECKING:
    from PIL import Image as PilImage

AUTO = "auto"
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class ModelInfo:
    """A loaded model: its name and scale, number of weights, device and licence of the weights.

    `device` includes precision, runtime and the reasons for them. `identified_as` is the network that a
    weight file was recognised as.
    """

    name: str
    scale: float
    params: int
    device: str
    licence: str
    identified_as: str = ""


class Model:
    """A loaded model, to be called with any number of images.

    It may be called from several threads; the calls take turns, because each uses the whole device.
    """

    def __init__(self, choice: ModelChoice, scale: float, options: MethodOptions) -> None:
        self._choice, self._options = choice, options
        self._lock = threading.Lock()
        self._methods: dict[int, Method] = {}
        method = self._load(scale)
        self.info = ModelInfo(
            choice.label, scale, method.params, method.description, choice.find_licence(scale),
            method.identified_as,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<srcli.Model {self.info.name} {format_scale(self.info.scale)} on {self.info.device}>"

    @overload
    def __call__(
        self, image: PathLike, *, size: Size | None = ..., postprocess: Postprocess = ...,
        progress: Progress = ...,
    ) -> Path: ...  # fmt: skip

    @overload
    def __call__(
        self, image: NDArray[Any], *, size: Size | None = ..., postprocess: Postprocess = ...,
        progress: Progress = ...,
    ) -> NDArray[Any]: ...  # fmt: skip

    @overload
    def __call__(
        self, image: "PilImage.Image", *, size: Size | None = ..., postprocess: Postprocess = ...,
        progress: Progress = ...,
    ) -> "PilImage.Image": ...  # fmt: skip

    def __call__(
        self,
        image: "PathLike | NDArray[Any] | PilImage.Image",
        *,
        size: Size | None = None,
        postprocess: Postprocess = Postprocess(),
        progress: Progress = ignore,
    ) -> "Path | NDArray[Any] | PilImage.Image":
        """Upscale an image and return the same kind: an array, a PIL image, or the path of a new file.

        `size` is the exact (width, height) of the result, instead of the model's scale. `progress` is called
        with the number of tiles done and of all tiles. A path is treated as by `upscale_file`. Raises
        `SrError`.
        """
        if isinstance(image, np.ndarray):
            return write_array(self._upscale(read_array(image), size, postprocess, progress), image)
        if isinstance(image, str | os.PathLike):
            return self.upscale_file(image, size=size, postprocess=postprocess, progress=progress)
        return write_picture(self._upscale(read_picture(image), size, postprocess, progress), image)

    def upscale_file(
        self,
        source: PathLike,
        output: PathLike | None = None,
        *,
        overwrite: bool = False,
        size: Size | None = None,
        postprocess: Postprocess = Postprocess(),
        encoding: EncodingOptions = EncodingOptions(),
        progress: Progress = ignore,
    ) -> Path:
        """Upscale a file as `sr upscale` does, with all frames and metadata; return the path of the result.

        `output` is a file or an existing folder; by default, photo.jpg becomes photo_x4.jpg next to it.
        Raises `SrError`, also if the output exists and `overwrite` is not set.
        """
        target, path = self._make_target(size), Path(source)
        output = _name_output(path, target.label, None if output is None else Path(output))
        if output.exists() and not overwrite:
            raise SrError(f"{output} exists", "pass overwrite=True, or another output")
        if output.exists() and path.exists() and output.samefile(path):
            raise SrError(f"{output} is the input itself", "pass another output")
        encoding.check()
        postprocess.check()
        choices = list_choices(encoding, postprocess, self._options)
        fingerprint = Fingerprint(self._choice.label, target.label, choices, self._choice.weights)
        settings = UpscaleSettings(
            lambda scale: self._load(scale).with_progress(progress), target, fingerprint, encoding,
            tile=self._options.tile, postprocess=postprocess,
        )  # fmt: skip
        with self._lock:
            upscale_file(UpscaleTask(path, output), settings)
        return output

    def _upscale(
        self, frame: Frame, size: Size | None, postprocess: Postprocess, progress: Progress
    ) -> StoredSamples:
        postprocess.check()
        target = self._make_target(size)
        old = (frame.samples.shape[1], frame.samples.shape[0])
        new = target.resolve(old)
        scale = compute_scale(old, new, target)
        with self._lock:
            method = self._load(scale).with_progress(progress) if needs_method(scale, target) else None
            corrected = postprocess.for_method(method)
            return Pipeline(method, scale, new, corrected, frame.depth).run(frame).whole()

    def _make_target(self, size: Size | None) -> TargetSize:
        if size is None:
            return TargetSize(scale=self.info.scale)
        if min(size) < 1:
            raise UsageError(f"{size} is not a size in pixels", "pass (width, height), both at least 1")
        return TargetSize(box=size, exact=True)

    def _load(self, scale: float) -> Method:
        """Return the method for a scale; scales between two whole numbers have the same networks."""
        key = math.ceil(scale)
        if key not in self._methods:
            self._methods[key] = self._choice.load(scale, self._options)
        return self._methods[key]


def load(
    model: str | None = None,
    scale: float = 4,
    *,
    weights: PathLike | None = None,
    arch: str | None = None,
    device: str = AUTO,
    runtime: str = AUTO,
    tile: int = DEFAULT_TILE,
    self_ensemble: bool = False,
    realism: float = 0.0,
) -> Model:
    """Load a model by name (`sr models` lists them; slimres by default) or from a weight file.

    `arch` names the network of a weight file that does not say it. `device` is a name of torch's, several of
    them separated by commas, or "auto" for the fastest. The other options are those of `sr upscale`. Raises
    `SrError` if the model does not exist or cannot be loaded.
    """
    options = MethodOptions(tile=tile, self_ensemble=self_ensemble, realism=realism, runtime=runtime)
    return _load(ModelChoice(model, None if weights is None else Path(weights), arch), scale, device, options)


def _load(choice: ModelChoice, scale: float, device: str, options: MethodOptions) -> Model:
    choice.check()
    choice.check_realism(options.realism)
    return Model(choice, scale, replace(options, device=None if device == AUTO else resolve_devices(device)))


@overload
def upscale(
    image: PathLike, scale: float = ..., model: str | None = ..., *, weights: PathLike | None = ...,
    device: str = ..., output: PathLike | None = ..., overwrite: bool = ..., progress: Progress = ...,
) -> Path: ...  # fmt: skip


@overload
def upscale(
    image: NDArray[Any], scale: float = ..., model: str | None = ..., *, weights: PathLike | None = ...,
    device: str = ..., progress: Progress = ...,
) -> NDArray[Any]: ...  # fmt: skip


@overload
def upscale(
    image: "PilImage.Image", scale: float = ..., model: str | None = ..., *, weights: PathLike | None = ...,
    device: str = ..., progress: Progress = ...,
) -> "PilImage.Image": ...  # fmt: skip


def upscale(
    image: "PathLike | NDArray[Any] | PilImage.Image",
    scale: float = 4,
    model: str | None = None,
    *,
    weights: PathLike | None = None,
    device: str = AUTO,
    output: PathLike | None = None,
    overwrite: bool = False,
    progress: Progress = ignore,
) -> "Path | NDArray[Any] | PilImage.Image":
    """Upscale one image and return the same kind: an array, a PIL image, or the path of a new file.

    `output` and `overwrite` are for paths; see `Model.upscale_file`. For several images, `load` a model once
    and call it. Raises `SrError`.
    """
    choice = ModelChoice(model, None if weights is None else Path(weights))
    loaded = _load(choice, scale, device, MethodOptions(pixels=_count_pixels(image)))
    if isinstance(image, str | os.PathLike):
        return loaded.upscale_file(image, output, overwrite=overwrite, progress=progress)
    if output is not None or overwrite:
        raise UsageError("output and overwrite are for files", "pass the path of an image")
    return loaded(image, progress=progress)


def _count_pixels(image: "PathLike | NDArray[Any] | PilImage.Image") -> int | None:
    """Return the pixels of an image, by which the fastest runtime is chosen; None if they are not known."""
    if isinstance(image, np.ndarray):
        return math.prod(image.shape[:2])
    if not isinstance(image, str | os.PathLike):
        return math.prod(image.size)
    try:
        info = read_info(Path(image))
    except Exception:  # reading the image will raise it again
        return None
    return math.prod(info.size) * info.frames


def _name_output(source: Path, label: str, output: Path | None) -> Path:
    """Return where the result goes; names are those of `sr upscale`."""
    if output is not None and not output.is_dir():
        return output
    suffix = source.suffix if source.suffix.lower() in SUFFIXES else ".png"
    return (source.parent if output is None else output) / f"{source.stem}_{label}{suffix}"
