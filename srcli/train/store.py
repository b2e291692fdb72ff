"""Training images decoded into memory-mapped files, which later runs reuse.

A store is a folder of the cache, named after a hash of its source files. It contains `hr.bin`, `index.json`,
and the low-resolution images of every deterministic degradation used so far.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from srcli.engine.limits import read_within_limit
from srcli.errors import DatasetError
from srcli.imaging.degrade.degradations import BicubicDegradation, Degradation, degrade_image
from srcli.imaging.degrade.steps import Target
from srcli.imaging.pixels import from_uint8, to_uint8
from srcli.imaging.resize import resize_8bit
from srcli.imaging.sharpen import unsharp_mask
from srcli.storage.files import get_cache_folder
from srcli.train import cache, decode
from srcli.train.decode import Entry, Index
from srcli.train.planes import Layout, MappedPlane, Numbers, Plane, Samples, Tick, map_file
from srcli.train.sources import ImageSource
from srcli.train.threads import prefetch_single_threaded

_NAMED = 3
_BICUBIC = BicubicDegradation()


@dataclass(frozen=True)
class StoreSpec:
    """The settings of a store.

    `patch`: side of a crop in pixels of the network's input; `enlarged`: the input is as large as the output;
    `rescale_factors`: sizes at which each image is stored, relative to its own; `sharpen`: how much the
    high-resolution images are sharpened before they are downscaled; `large_only`: low resolution is made for
    each batch in any case; `max_pixels`: the most pixels of an image.
    """

    scale: int
    patch: int
    degradation: Degradation = _BICUBIC
    rescale_factors: tuple[float, ...] = (1.0,)
    enlarged: bool = False
    allow_leak: bool = False
    sharpen: float = 0.0
    large_only: bool = False
    max_pixels: int | None = None

    @property
    def side(self) -> int:
        """The side of a crop in whole low-resolution pixels."""
        return -(-self.patch // self.scale) if self.enlarged else self.patch

    @property
    def fixed(self) -> bool:
        """True if the degradation is deterministic, so that it can be applied in advance."""
        if self.large_only:
            return False
        rng = np.random.default_rng(0)
        before = rng.bit_generator.state
        self.degradation.plan(Target(96, 96, 2), rng)
        return rng.bit_generator.state == before


@dataclass(frozen=True)
class Store:
    """Images as large as a crop or larger, ready to be cut.

    `lr`: None if it is made for each batch; `fed`: the upscaled `lr`, None if it is made for each batch or
    not needed; `rows`, `columns`: sizes of the images in low-resolution pixels; `sums`: running sums, up
    to 1, of how often each is drawn; `left_out`: files that are not here, and why; `leaks`: files that show
    a benchmark's image, where that is allowed; `teacher`: a teacher's output for each `lr`, if it was made
    ahead.
    """

    wanted: StoreSpec
    hr: Plane
    lr: Plane | None
    fed: Plane | None
    rows: Numbers
    columns: Numbers
    sums: NDArray[np.float64]
    left_out: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()
    teacher: Plane | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def bytes(self) -> int:
        """The device memory that `to` needs."""
        return sum(plane.bytes for plane in (self.hr, self.lr, self.fed, self.teacher) if plane)

    def to(self, device: torch.device) -> "Store":
        """Return the same store with all samples in the memory of `device`."""
        lr, fed, teacher = (plane and plane.to(device) for plane in (self.lr, self.fed, self.teacher))
        return replace(self, hr=self.hr.to(device), lr=lr, fed=fed, teacher=teacher)


def open_store(sources: Sequence[ImageSource], wanted: StoreSpec, tick: Tick) -> Store:
    """Open the images of all sources, decoding them unless an earlier run did.

    Reports to `tick(stage, done, all)`.
    Raises `DatasetError` if a source has no image as large as a crop, a pair does not fit, a file shows a
    benchmark's image, or the disk is full.
    """
    _check_pairs(sources, wanted)
    work = decode.tasks(sources, wanted.rescale_factors, wanted.max_pixels)
    folder = get_cache_folder() / "train" / cache.key(decode.facts(work))
    index = decode.open_index(folder, work, tick)
    if index.leaks and not wanted.allow_leak:
        raise DatasetError(
            _describe_leaks(index.leaks), "remove them: a score on that benchmark would be meaningless"
        )
    kept = _find_usable(index, sources, wanted)
    hr = _open_high(folder, index, wanted.sharpen, tick)
    lr, fed = _open_low(folder, index, hr, sources, wanted, tick)
    small = index.layout(wanted.scale).only(kept)
    weights = np.array([sources[entry.source].weight for entry in index.entries])[kept]
    sums = np.cumsum(weights * small.heights * small.widths)
    unpaired = (reason for source in sources for reason in source.left_out)
    left_out = (*unpaired, *index.left_out, *_describe_too_small(index, kept, wanted))
    planes = (hr.only(kept), lr and lr.only(kept), fed and fed.only(kept))
    return Store(wanted, *planes, small.heights, small.widths, sums / sums[-1], left_out, index.leaks)


def _check_pairs(sources: Sequence[ImageSource], wanted: StoreSpec) -> None:
    paired = [source.name for source in sources if source.partners]
    if paired and not wanted.fixed:
        hint = "use a degradation without randomness, or only the high-resolution folder"
        what = "a range of scales" if wanted.large_only else "a random degradation"
        raise DatasetError(f"{what} cannot be combined with the image pairs of {paired[0]}", hint)


def _describe_leaks(found: Sequence[str]) -> str:
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"training images show benchmark images: {', '.join(found[:_NAMED])}{more}"


def _find_usable(index: Index, sources: Sequence[ImageSource], wanted: StoreSpec) -> NDArray[np.bool_]:
    """Return which images a crop fits into; at least one of each source."""
    small = index.layout(wanted.scale)
    fits = np.minimum(small.heights, small.widths) >= wanted.side
    good = {entry.source for entry, fit in zip(index.entries, fits, strict=True) if fit}
    for number, source in enumerate(sources):
        if number not in good:
            reasons = _list_reasons(index, number, source, wanted)
            hint = f"it needs images of {wanted.side * wanted.scale} px or more"
            raise DatasetError(f"no usable image in {source.name}: {reasons}", hint)
    return fits


def _list_reasons(index: Index, number: int, source: ImageSource, wanted: StoreSpec) -> str:
    """Return why the first few files of a source are unusable."""
    names = tuple(map(str, source.files))
    side = wanted.side * wanted.scale
    own = [entry for entry in index.entries if entry.source == number and entry.factor == 1]
    reasons = [reason for reason in index.left_out if any(name in reason for name in names)]
    reasons += [
        f"{entry.name} has {entry.width}x{entry.height} px, less than a patch of {side}x{side}"
        for entry in own
    ]
    more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return "; ".join(reasons[:_SHOWN]) + more


# Reasons that an error lists.
_SHOWN = 3


def _describe_too_small(index: Index, kept: NDArray[np.bool_], wanted: StoreSpec) -> list[str]:
    """List a sentence for each file that is too small at its own size."""
    side = wanted.side * wanted.scale
    pairs = zip(index.entries, kept, strict=True)
    names = [entry.name for entry, fits in pairs if entry.factor == 1 and not fits]
    return [f"{name} is smaller than a patch of {side}x{side}" for name in names]


def _open_high(folder: Path, index: Index, sharpen: float, tick: Tick) -> MappedPlane:
    """Open the high-resolution images, as they are or sharpened."""
    places = index.layout()
    images = map_file(decode.samples_path(folder), places)
    if not sharpen:
        return images

    def sharp(number: int) -> Samples:
        return to_uint8(unsharp_mask(from_uint8(images.image(number)), sharpen))

    path = folder / f"hr-sharpened-{sharpen:g}.bin"
    return _open_plane(path, index, Index.layout, sharp, partial(tick, "sharpening"))


def _open_low(
    folder: Path, index: Index, hr: MappedPlane, sources: Sequence[ImageSource], wanted: StoreSpec, tick: Tick
) -> tuple[MappedPlane | None, MappedPlane | None]:
    """Open the low-resolution images and the upscaled ones, each if needed and possible in advance."""
    if not wanted.fixed:
        return None, None
    partners = [cache.stamp(file) for source in sources for file in source.partners]
    facts = [repr(wanted.degradation), partners, *([wanted.sharpen] if wanted.sharpen else [])]
    name = f"x{wanted.scale}-{cache.key(facts)}.bin"
    make = partial(_make_low, index=index, hr=hr, sources=sources, wanted=wanted)
    small: _Placing = partial(Index.layout, step=wanted.scale)
    # Files of pairs are read again, as what belongs to what may have changed.
    lr = _open_plane(
        folder / f"lr-{name}", index, small, make, partial(tick, "downscaling"), reuse=not partners
    )
    if not wanted.enlarged:
        return lr, None

    def place_large(index: Index) -> Layout:
        return index.layout(wanted.scale).times(wanted.scale)

    def upscale(number: int) -> Samples:
        return _upscale(lr.image(number), wanted.scale)

    path, upscaling = folder / f"fed-{name}", partial(tick, "upscaling")
    return lr, _open_plane(path, index, place_large, upscale, upscaling, reuse=not partners)


# Where the images of an index are in a file.
_Placing = Callable[[Index], Layout]


def _open_plane(
    path: Path,
    index: Index,
    place: _Placing,
    make: Callable[[int], Samples],
    tick: Callable[[int, int], None],
    *,
    reuse: bool = True,
) -> MappedPlane:
    """Open the images in a file, which is written first unless an earlier run did.

    With `reuse`, images that an earlier store has in a file of this name are copied from it.
    """
    places = place(index)
    if not places.fits(path):
        with cache.lock_folder(path.parent):
            if not places.fits(path):
                known = _find_known(path, place) if reuse else {}

                def copy_or_make(number: int) -> Samples:
                    entry = index.entries[number]
                    found = known.get((entry.stamp, entry.factor))
                    return make(number) if found is None else found

                cache.write(path, _make_images(copy_or_make, len(places.first), tick))
    return map_file(path, places)


def _find_known(path: Path, place: _Placing) -> dict[tuple[tuple[str, int, int], float], Samples]:
    """Find images in files of the same name in other stores, by stamp and factor; nothing is read yet."""
    found: dict[tuple[tuple[str, int, int], float], Samples] = {}
    for folder, index in decode.read_indexes(path.parent.parent):
        places = place(index)
        if places.fits(folder / path.name):
            plane = map_file(folder / path.name, places)
            found |= {(entry.stamp, entry.factor): plane.image(n) for n, entry in enumerate(index.entries)}
    return found


def _make_images(
    make: Callable[[int], Samples], count: int, tick: Callable[[int, int], None]
) -> Iterator[Samples]:
    for done, samples in enumerate(prefetch_single_threaded(make, range(count)), 1):
        tick(done, count)
        yield samples


def _make_low(
    number: int, index: Index, hr: MappedPlane, sources: Sequence[ImageSource], wanted: StoreSpec
) -> Samples:
    entry = index.entries[number]
    partners = sources[entry.source].partners
    if partners:
        return _read_partner(partners[entry.number], entry, wanted)
    pixels, unused = from_uint8(hr.image(number)), np.random.default_rng(0)
    return to_uint8(degrade_image(pixels, wanted.scale, wanted.degradation, unused))


def _read_partner(file: Path, entry: Entry, wanted: StoreSpec) -> Samples:
    samples = to_uint8(read_within_limit(file, wanted.max_pixels).pixels)
    height, width = samples.shape[:2]
    scale = wanted.scale
    if (height * scale, width * scale) != (entry.height, entry.width):
        hint = f"{entry.name} is {entry.width}x{entry.height}; it has to be {scale} times as large"
        raise DatasetError(f"{file} is {width}x{height} and does not fit its partner", hint)
    return samples


def _upscale(lr: Samples, scale: int) -> Samples:
    return to_uint8(resize_8bit(from_uint8(lr), lr.shape[0] * scale, lr.shape[1] * scale))
