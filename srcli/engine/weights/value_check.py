"""A check of the values that a network wants, for weight files of unknown make.

Files of different trainers can have the same tensors and want [0, 1] or 0..255, with or without a mean colour
subtracted; fed with the wrong ones, a network returns a picture that is merely bad. A network for classical
upscaling gives it away: its result, downscaled again, should be its input, and more so than bicubic's.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from srcli import archs, manifest
from srcli.archs import Spec
from srcli.dataclass import dataclass
from srcli.engine.weights import files
from srcli.imaging.color import luma
from srcli.imaging.image import read_image
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import Pixels
from srcli.imaging.resize import resize
from srcli.scales import ANY
from srcli.storage.files import get_cache_folder, replace_atomically
from srcli.storage.hashing import hash_once
from srcli.storage.json_text import read_json
from srcli.storage.typed import check_fields
from srcli.workers.progress import Log, ignore

_MAX_BYTES = 100_000

if TYPE_CHECKING:
    from torch import nn

_SAMPLE = Path(__file__).parents[2] / "samples" / "chelsea.png"
_TOP, _LEFT, _SIDE = 60, 100, 40

# In dB. With the right values, classical networks gave 10 to 25 more than bicubic, with wrong ones mostly 5
# to 30 less. Networks for real photographs give less than bicubic, too, but no other values are much better.
_SURE, _BETTER = 8.0, 5.0
_FAR_BETTER, _BAD, _PASSABLE = 10.0, 20.0, 25.0
# Raised when the rule above or the ranges change, so that files are checked again.
_VERSION = 1


@dataclass(frozen=True)
class ValueCheck:
    """The outcome: `values` as in `archs.value_range.RANGES`, or None for those of the network's class.

    `own`, `best`: how near the downscaled result is to the input, in dB, with the values of the class and
    with the best ones.
    """

    values: str | None
    own: float
    best: float

    @property
    def message(self) -> str:
        """Message for the user; empty if the class is right."""
        if self.values:
            return (
                f"expects values of {self.values}: its results then match the input at {self.best:.0f} dB "
                f"instead of {self.own:.0f} dB"
            )
        if self.own < _BAD:
            return f"its results hardly resemble their inputs ({self.own:.0f} dB): is the scale right?"
        return ""


def settle_values(path: Path, spec: Spec, log: Log = ignore) -> tuple[Spec, str | None]:
    """Return what a file is for, with the values it wants in its configuration, and its SHA-256 if computed.

    Our own files say it themselves. One that the manifest knows has its configuration from there. Others are
    checked once, and the result is kept in the cache folder; `log` receives what the user should know.
    """
    if spec.scale == ANY or "values" in spec.config or files.read_spec(path):
        return spec, None
    digest = hash_once(path)
    for entry in manifest.load():
        if entry.digest == digest and (entry.arch, entry.scale) == (spec.arch, spec.scale):
            return replace(spec, config=entry.config), digest
    check = _read_check(digest, spec)
    if check is None:
        check = check_values(files.load_network(path, spec).eval(), spec)
        _keep_check(check, digest, spec)
    if check.message:
        log(f"{path.name} {check.message}")
    config = {**spec.config, "values": check.values} if check.values else spec.config
    return replace(spec, config=config), digest


def check_values(network: "nn.Module", spec: Spec) -> ValueCheck:
    """Return which values a network in evaluation mode wants; it is left as it is.

    Runs it on 40x40 pixels, and five times more if the result is far from the input.
    """
    from srcli.archs.value_range import RANGES, read_value_range

    sample = _read_sample(int(network.channels))  # type: ignore[arg-type]
    height, width = sample.shape[:2]
    upscaled = resize(sample, height * spec.scale, width * spec.scale)
    reference = _compare(upscaled, sample)
    fed = upscaled if archs.traits(spec.arch).pre_upsampled else sample
    own = _compare(_run(network, fed), sample)
    if own >= reference + _SURE:
        return ValueCheck(None, own, own)
    scores = {}
    for values, value_range in RANGES.items():
        if value_range != read_value_range(network):
            with _set_values(network, values):
                scores[values] = _compare(_run(network, fed), sample)
    values = max(scores, key=scores.__getitem__)
    best = scores[values]
    is_better = (best >= reference + _SURE and best >= own + _BETTER) or (
        own < _BAD and best >= _PASSABLE and best >= own + _FAR_BETTER
    )
    return ValueCheck(values, own, best) if is_better else ValueCheck(None, own, own)


def _read_sample(channels: int) -> Pixels:
    pixels = read_image(_SAMPLE).pixels[_TOP : _TOP + _SIDE, _LEFT : _LEFT + _SIDE]
    plane: Pixels = luma(pixels)[..., None] if channels == 1 else pixels
    return plane


def _run(network: "nn.Module", pixels: Pixels) -> Pixels:
    import torch

    with torch.inference_mode():
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        out: Pixels = network(batch)[0].permute(1, 2, 0).numpy()
    return np.nan_to_num(out).clip(0, 1)


def _compare(upscaled: Pixels, sample: Pixels) -> float:
    """Return the PSNR of the upscaled sample, downscaled again, against the sample."""
    return psnr(resize(upscaled, *sample.shape[:2]), sample)


@contextmanager
def _set_values(network: "nn.Module", values: str) -> Iterator[None]:
    """Have the network take other values for a while."""
    from srcli.archs.value_range import set_value_range

    own_class, own_shift = type(network), getattr(network, "shift", None)
    set_value_range(network, values)
    try:
        yield
    finally:
        network.__class__ = own_class
        if own_shift is None:
            del network.shift
        else:
            network.shift = own_shift


def _find_kept(digest: str, spec: Spec) -> Path:
    key = hashlib.sha256(f"{_VERSION} {digest} {spec}".encode()).hexdigest()[:32]
    return get_cache_folder() / "values" / f"{key}.json"


def _read_check(digest: str, spec: Spec) -> ValueCheck | None:
    try:
        check = ValueCheck(**read_json(_find_kept(digest, spec), _MAX_BYTES))
        check_fields(check)
    except (OSError, ValueError, TypeError):
        return None
    return check


def _keep_check(check: ValueCheck, digest: str, spec: Spec) -> None:
    path = _find_kept(digest, spec)
    with suppress(OSError):  # nothing is lost but the time of another check
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(path) as temporary:
            temporary.write_text(json.dumps(asdict(check)), "utf-8")
