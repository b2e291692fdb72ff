"""Facts about a network of unknown make, found by running it: scale, sizes, range of values, halo."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

import numpy as np

from srcli.engine.runtimes.base import NetworkInfo
from srcli.engine.sample_photo import crop_photo
from srcli.errors import WeightsError
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import Pixels
from srcli.imaging.resize import resize
from srcli.storage.files import get_cache_folder, replace_atomically

# Height, width and channels.
Shape = tuple[int, int, int]
# Runs pixels of such a side, and returns the shape of the result; None if the network cannot take them.
Measure = Callable[[int], Shape | None]
# Runs pixels as a runtime does that knows these facts.
Run = Callable[["Findings", Pixels], Pixels]

_SIDES = (32, 64, 128)
_SMALL_SIDES = (4, 8, 16)
_MULTIPLES = (1, 2, 4, 8, 16, 32)
# Tiles overlap by at most this much, as do those of our own deep networks: seams are measured anyway.
_LARGEST_HALO = 64
# A side of the strip on which the halo is measured, and its changed part. What changes the result by less
# than a hundredth of an 8-bit level, is too far away to matter.
_STRIP, _CHANGED, _UNSEEN = 128, 8, 1 / 25_500
_SAMPLE = 48
# What other values than the usual ones have to gain, in dB: restoring networks may resemble their input a
# little more with values that they were not made for, as they restore less.
_CLEARLY_BETTER = 3.0
# The worst of networks for photographs, which change colours, reach 20 dB, and wrong ranges 10 dB.
_RESEMBLES = 13.0
# Raise it whenever the rules above change.
_VERSION = 2


@dataclass(frozen=True)
class Values:
    """The values of a network's input and output: `peak` for white, less a `mean` for each channel.

    `reverse`: channels are blue, green, red.
    """

    peak: float = 1.0
    mean: tuple[float, ...] = ()
    reverse: bool = False

    def encode(self, pixels: Pixels) -> Pixels:
        """Return (H, W, C) in [0, 1] as the network takes it."""
        ordered = pixels[..., ::-1] if self.reverse else pixels
        scaled: Pixels = ordered if self.peak == 1 else ordered * np.float32(self.peak)
        return scaled - np.array(self.mean, np.float32) if self.mean else scaled

    def decode(self, result: Pixels) -> Pixels:
        """Return what the network gave for it, in [0, 1] again."""
        shifted = result + np.array(self.mean, np.float32) if self.mean else result
        scaled: Pixels = shifted if self.peak == 1 else shifted / np.float32(self.peak)
        return scaled[..., ::-1] if self.reverse else scaled

    def __str__(self) -> str:
        mean = f" less {' '.join(f'{value:.0f}' for value in self.mean)}" if self.mean else ""
        return f"values to {self.peak:g}{mean}{', BGR' if self.reverse else ''}"


# Those of most networks; and of EDSR for OpenCV, whose mean colour is DIV2K's.
USUAL_VALUES = (Values(), Values(255.0))
OPENCV_VALUES = (*USUAL_VALUES, Values(255.0, (103.1545782, 111.561547, 114.35629928), reverse=True))


@dataclass(frozen=True)
class Findings:
    """The facts that a probe found.

    `sizes`: height and width if the network takes no others; `layout`: the order of its axes.
    """

    info: NetworkInfo
    values: Values = Values()
    sizes: tuple[int, int] | None = None
    layout: str = "NCHW"

    def __str__(self) -> str:
        info = self.info
        facts = [f"x{info.scale}", "RGB" if info.channels == 3 else "luma", str(self.values)]
        facts += [f"{self.sizes[1]}x{self.sizes[0]} pixels at a time"] if self.sizes else []
        facts += [f"overlap {info.halo}"]
        facts += [f"own margin {info.margin}"] if info.margin else []
        facts += [f"sides in steps of {info.side_multiple}"] if info.side_multiple > 1 else []
        return ", ".join(facts)


def find_once(digest: str, probe: Callable[[], Findings]) -> Findings:
    """Return what `probe` found for the file with this SHA-256: kept from an earlier time, or found now."""
    key = hashlib.sha256(f"{_VERSION} {digest}".encode()).hexdigest()[:32]
    path = get_cache_folder() / "probes" / f"{key}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_text("utf-8"))
        values = Values(**{**kept["values"], "mean": tuple(kept["values"]["mean"])})
        sizes = tuple(kept["sizes"]) if kept["sizes"] else None
        return Findings(NetworkInfo(**kept["info"]), values, sizes, kept["layout"])
    found = probe()
    with suppress(OSError):  # nothing is lost but the time of another probe
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(path) as temporary:
            temporary.write_text(json.dumps(asdict(found)), "utf-8")
    return found


def probe_values_and_halo(
    name: str, found: Findings, run: Run, candidates: tuple[Values, ...] = USUAL_VALUES
) -> Findings:
    """Return the findings with values and halo, given the rest; `name` is the network's in messages.

    Raises `WeightsError` if its results do not resemble their inputs.
    """
    found = replace(found, values=_find_values(name, found, run, candidates))
    return replace(found, info=replace(found.info, halo=_measure_halo(found, run)))


def find_geometry(name: str, measure: Measure) -> NetworkInfo:
    """Return scale, margin and multiples, from results of a few sizes. Raises `WeightsError`."""
    for side in _SIDES:
        small, large = measure(side), measure(2 * side)
        if small and large:
            break
    else:
        raise WeightsError(f"{name} runs at none of the sizes tried", "is it for images?")
    growth, rest = divmod(large[0] - small[0], side)
    margin, odd = divmod(growth * side - small[0], 2 * max(growth, 1))
    square = all(height == width for height, width, _ in (small, large))
    if rest or odd or growth < 1 or margin < 0 or not square:
        sizes = f"{side}x{side} becomes {small[1]}x{small[0]}, {2 * side}x{2 * side} {large[1]}x{large[0]}"
        raise WeightsError(f"{name} does not enlarge images by a whole number: {sizes}", "give another")

    def fits(tried: int) -> bool:
        found = measure(tried)
        return found is not None and found[0] == growth * (tried - 2 * margin)

    multiple = next((multiple for multiple in _MULTIPLES if fits(side + multiple)), side)
    # Images that are smaller have to be padded, at whose edges networks expect zeros.
    side = next((small for small in _SMALL_SIDES if small % multiple == 0 and fits(small)), side)
    return NetworkInfo(growth, 0, alignment=multiple, min_side=side, side_multiple=multiple, margin=margin)


def _find_values(name: str, found: Findings, run: Run, candidates: tuple[Values, ...]) -> Values:
    """Return the values for which results are nearest to the input, once they are downscaled."""
    sample = crop_photo(*(found.sizes or (_SAMPLE, _SAMPLE)), found.info.channels)
    scores = {
        values: _compare(run(replace(found, values=values), sample), sample)
        for values in candidates
        if not values.reverse or found.info.channels == 3
    }
    best = max(scores, key=scores.__getitem__)
    if scores[best] < _RESEMBLES:
        reason = f"the results of {name} do not resemble their inputs ({scores[best]:.0f} dB)"
        raise WeightsError(reason, "it may expect other values, or be no upscaler")
    usual = candidates[0]
    return usual if scores[usual] > scores[best] - _CLEARLY_BETTER else best


def _compare(result: Pixels, sample: Pixels) -> float:
    clipped = np.nan_to_num(result).clip(0, 1)
    return psnr(resize(clipped, *sample.shape[:2]), sample)


def _measure_halo(found: Findings, run: Run) -> int:
    """Return how far a changed pixel changes the result, in input pixels, up to a limit."""
    info = found.info
    before = crop_photo(*(found.sizes or (max(32, info.min_side), _STRIP)), info.channels)
    after = before.copy()
    after[:, :_CHANGED] = 1 - after[:, :_CHANGED]
    difference = np.abs(run(found, after) - run(found, before)).max((0, 2))
    changed = np.flatnonzero(~(difference < _UNSEEN))
    farthest = 0 if len(changed) == 0 else int(changed[-1]) // info.scale + 1 - _CHANGED
    return min(_LARGEST_HALO, max(1, farthest + farthest // 4, info.margin))
