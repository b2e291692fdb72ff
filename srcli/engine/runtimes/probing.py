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
# Runs pixels as a runtime does that knows these facts; the number is the largest value of the network.
Run = Callable[[NetworkInfo, float, Pixels], Pixels]

_SIDES = (32, 64, 128)
_MULTIPLES = (1, 2, 4, 8, 16, 32)
_PEAKS = (1.0, 255.0)
# Tiles overlap by at most this much, as do those of our own deep networks: seams are measured anyway.
_LARGEST_HALO = 64
# A side of the strip on which the halo is measured, and its changed part. What changes the result by less
# than a hundredth of an 8-bit level, is too far away to matter.
_STRIP, _CHANGED, _UNSEEN = 128, 8, 1 / 25_500
_SAMPLE = 48
# The worst of networks for photographs, which change colours, reach 20 dB, and wrong ranges 10 dB.
_RESEMBLES = 13.0
# Raise it whenever the rules above change.
_VERSION = 1


@dataclass(frozen=True)
class Findings:
    """The facts that a probe found; `peak`: the value of white in the network's input and output."""

    info: NetworkInfo
    peak: float

    def __str__(self) -> str:
        info = self.info
        facts = [f"x{info.scale}", "RGB" if info.channels == 3 else "luma", f"values to {self.peak:g}"]
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
        return Findings(NetworkInfo(**kept["info"]), float(kept["peak"]))
    found = probe()
    with suppress(OSError):  # nothing is lost but the time of another probe
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(path) as temporary:
            temporary.write_text(json.dumps(asdict(found)), "utf-8")
    return found


def probe_network(name: str, measure: Measure, run: Run, channels: int = 3, params: int = 0) -> Findings:
    """Return the facts about a network that is called `name` in messages.

    Raises `WeightsError` for one that does not enlarge images, or whose results do not resemble them.
    """
    info = replace(find_geometry(name, measure), channels=channels, params=params)
    found = Findings(info, _find_peak(name, info, run))
    return replace(found, info=replace(info, halo=_measure_halo(found, run)))


def find_geometry(name: str, measure: Measure) -> NetworkInfo:
    """Return scale, margin and sizes, from results of a few sizes. Raises `WeightsError`."""
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

    def fits(multiple: int) -> bool:
        found = measure(side + multiple)
        return found is not None and found[0] == growth * (side + multiple - 2 * margin)

    multiple = next((multiple for multiple in _MULTIPLES if fits(multiple)), side)
    return NetworkInfo(growth, 0, alignment=multiple, min_side=side, side_multiple=multiple, margin=margin)


def _find_peak(name: str, info: NetworkInfo, run: Run) -> float:
    """Return the value of white for which results are nearest to the input, once they are downscaled."""
    sample = crop_photo(_SAMPLE, _SAMPLE, info.channels)
    scores = {peak: _compare(run(info, peak, sample), sample) for peak in _PEAKS}
    peak = max(scores, key=scores.__getitem__)
    if scores[peak] < _RESEMBLES:
        reason = f"the results of {name} do not resemble their inputs ({scores[peak]:.0f} dB)"
        raise WeightsError(reason, "it may expect other values, or be no upscaler")
    return peak


def _compare(result: Pixels, sample: Pixels) -> float:
    clipped = np.nan_to_num(result).clip(0, 1)
    return psnr(resize(clipped, *sample.shape[:2]), sample)


def _measure_halo(found: Findings, run: Run) -> int:
    """Return how far a changed pixel changes the result, in input pixels, up to a limit."""
    info = found.info
    height = info.min_side
    before = crop_photo(height, _STRIP, info.channels)
    after = before.copy()
    after[:, :_CHANGED] = 1 - after[:, :_CHANGED]
    difference = np.abs(run(info, found.peak, after) - run(info, found.peak, before)).max((0, 2))
    changed = np.flatnonzero(~(difference < _UNSEEN))
    farthest = 0 if len(changed) == 0 else int(changed[-1]) // info.scale + 1 - _CHANGED
    return min(_LARGEST_HALO, max(1, farthest + farthest // 4, info.margin))
