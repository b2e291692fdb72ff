"""The kind of a picture, told from its pixels: drawing, text, pixel art, or a photograph and its defects."""

import math
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from srcli.dataclass import dataclass
from srcli.imaging.alpha import flatten_alpha
from srcli.imaging.pixels import StoredSamples, white_level
from srcli.imaging.quality_estimate import estimate_noise, estimate_spare_detail, find_median, find_quantiles
from srcli.imaging.resize import resize

Bytes = NDArray[np.uint8]
Floats = NDArray[np.floating]

# All thresholds: chosen on the odd seeds of tools/picture_cases.py, and on Set14 and BSD100 as they are.
LARGEST_SIDE = 768  # pixels a side of the middle that is looked at
_SMALLEST = 32  # below this, only pixel art can be told
_FLAT, _STRONG = 3, 24  # levels between neighbours: still flat; certainly an edge
# Levels between neighbours in JPEG: ripples beside edges; edges; those between colours of a drawing.
_RIPPLE, _EDGE, _STRONGEST = 8, 12, 48
_NOISY, _BLOCKED = 4.2, 1.0  # levels
# Noise that a phone has smoothed and sharpened is no longer white, but its JPEG shows. In small pictures,
# blocking is a mean of few pixels. Chosen on tiles of photographs, as they are and spoilt by tools/spoilt.py.
_SHARPENED, _SHARPENED_BLOCKS, _SURE_SIDE = 2.5, (0.35, 0.45), 200
_SMOOTH = 2  # levels of curvature: a ramp of colours, in which nothing is blurred
_BLOCK = 8
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_FEWEST_LINES = 6  # lines of a grid that show that it is one
_LARGEST_SPRITE, _FEW_COLOURS, _MOST_COLOURS = 320, 16, 64


class Kind(StrEnum):
    """The content of a picture; for photographs, their worst defect."""

    CLEAN = "clean photograph"
    NOISY = "noisy photograph"
    BLOCKED = "JPEG artefacts"
    BLURRED = "blurred photograph"
    UPSCALED = "upscaled before"
    DRAWING = "drawing"
    TEXT = "text"
    PIXEL_ART = "pixel art"


@dataclass(frozen=True)
class Picture:
    """The kind of a picture and what was measured.

    `noise` is a standard deviation in levels of 255. The detail would fit into an image `spare` times
    smaller. `blocking` is how much more two pixels differ across the borders of JPEG blocks, in levels.
    `pixel` is the side of the squares that are the pixels of pixel art, else 1.
    """

    kind: Kind
    noise: float = 0.0
    spare: float = 1.0
    blocking: float = 0.0
    pixel: int = 1

    @property
    def is_degraded(self) -> bool:
        """True for photographs that a network for clean images would make worse."""
        return self.kind in (Kind.NOISY, Kind.BLOCKED, Kind.BLURRED, Kind.UPSCALED)

    def describe(self) -> str:
        """Return what was found, in words that follow "for"."""
        match self.kind:
            case Kind.NOISY:
                return f"noise of about {self.noise:.0f} in 255"
            case Kind.BLURRED:
                return f"blur: no more detail than at 1/{self.spare:g} of the size"
            case Kind.UPSCALED:
                return f"an image that was upscaled before and has the detail of 1/{self.spare:g} of its size"
            case Kind.PIXEL_ART if self.pixel > 1:
                return f"pixel art with pixels of {self.pixel}x{self.pixel}"
            case Kind.CLEAN | Kind.DRAWING:
                return f"a {self.kind}"
        return str(self.kind)


def examine_picture(samples: StoredSamples) -> Picture:
    """Return the kind of an image, from the middle of its samples: (H, W) or (H, W, C) of any depth."""
    rgb = _as_bytes(samples)
    light, steps = rgb @ _LUMA, _measure_steps(rgb)
    pixel = _find_pixel_side(light, *steps)
    if pixel:
        return Picture(Kind.PIXEL_ART, pixel=pixel)
    if min(rgb.shape[:2]) < _SMALLEST:
        return Picture(Kind.PIXEL_ART if is_palette_art(rgb) else Kind.CLEAN)
    if is_text(rgb, light):
        return Picture(Kind.TEXT)
    if is_palette_art(rgb):
        return Picture(Kind.PIXEL_ART)
    if is_drawing(*steps):
        return Picture(Kind.DRAWING)
    return _examine_photo(light)


def _examine_photo(light: Floats) -> Picture:
    if max(np.abs(np.diff(light, 2, axis=axis)).max() for axis in (0, 1)) < _SMOOTH:
        return Picture(Kind.CLEAN)
    plane = (light / 255).astype(np.float32)
    noise, spare = float(estimate_noise(plane)), estimate_spare_detail(plane)
    blocking, is_compressed = measure_blocking(light)
    if noise > _NOISY and is_white(light):
        kind = Kind.NOISY
    elif blocking > _BLOCKED and is_compressed:
        kind = Kind.BLOCKED
    elif _has_sharpened_noise(light, noise, blocking, is_compressed):
        kind = Kind.NOISY
    elif spare > 1 and has_upscaling_traces(light):
        kind = Kind.UPSCALED
    else:
        kind = Kind.BLURRED if spare >= 2 else Kind.CLEAN
    return Picture(kind, noise, spare, blocking)


def _has_sharpened_noise(light: Floats, noise: float, blocking: float, is_compressed: bool) -> bool:
    """Tell whether the noise of a picture, in levels, is seen together with its blocking."""
    sure = blocking / max(1, math.sqrt(_SURE_SIDE / min(light.shape)))
    usual, strong = _SHARPENED_BLOCKS
    return (noise > _SHARPENED and sure > usual and is_compressed) or (noise > _NOISY and sure > strong)


def _as_bytes(samples: StoredSamples) -> Bytes:
    """Return the middle of an image as RGB of 8 bits, on grey if it is transparent."""
    top, left = (max(0, side - LARGEST_SIDE) // 2 for side in samples.shape[:2])
    middle = samples[top : top + LARGEST_SIDE, left : left + LARGEST_SIDE]
    values = middle if middle.ndim == 3 else middle[..., None]
    if values.shape[2] in (2, 4):
        values = flatten_alpha(values, (0.5, 0.5, 0.5))
        values = values if values.ndim == 3 else values[..., None]
    if values.dtype != np.uint8:
        values = (np.clip(values / white_level(values), 0, 1) * 255 + 0.5).astype(np.uint8)
    colours = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values[..., :3]
    return colours.astype(np.uint8, copy=False)


def _measure_steps(rgb: Bytes) -> tuple[Bytes, Bytes]:
    """Return how much neighbours differ, in the colour that differs most: (H, W-1) and (H-1, W)."""
    return _find_largest_step(rgb[:, 1:], rgb[:, :-1]), _find_largest_step(rgb[1:], rgb[:-1])


def _find_largest_step(first: Bytes, second: Bytes) -> Bytes:
    steps = np.maximum(first, second) - np.minimum(first, second)
    # Two by two is ten times as fast as the maximum of an axis of three.
    return np.asarray(np.maximum(np.maximum(steps[..., 0], steps[..., 1]), steps[..., 2]))


def is_drawing(across: Bytes, down: Bytes) -> bool:
    """Tell by the steps between neighbours whether an image is mostly flat, and the rest mostly edges."""
    steps = np.maximum(across[:-1], down[:, :-1])
    changes = int(np.count_nonzero(steps > _FLAT))
    strong = int(np.count_nonzero(steps > _STRONG))
    return (changes < 0.4 * steps.size and strong > 0.28 * changes) or _is_compressed_drawing(steps)


def _is_compressed_drawing(steps: Bytes) -> bool:
    """Tell a drawing whose edges JPEG has given ripples: they are weak, and blocks without edges are flat."""
    if np.count_nonzero(steps > _RIPPLE) > 0.5 * steps.size:
        return False
    edges, strongest = (int(np.count_nonzero(steps > least)) for least in (_EDGE, _STRONGEST))
    return strongest > 0.3 * edges and _count_flat_blocks(steps) > 0.08


def _count_flat_blocks(steps: Bytes) -> float:
    """Return the share of blocks of 8x8 without a step of more than two levels."""
    height, width = (side // _BLOCK * _BLOCK for side in steps.shape)
    blocks = steps[:height, :width].reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    return float((blocks.max((1, 3)) <= 2).mean())


# Pixel art


def find_pixel_side(rgb: Bytes) -> int:
    """Return the side of the equal squares that an image consists of; 0 if it does not."""
    return _find_pixel_side(rgb @ _LUMA, *_measure_steps(rgb))


def _find_pixel_side(light: Floats, across: Bytes, down: Bytes) -> int:
    exact = math.gcd(_find_period(across.max(0)), _find_period(down.max(1)))
    if exact >= 2:
        return exact
    # JPEG blurs colours, not luma.
    edges = [(np.abs(np.diff(light, axis=axis)) > _STRONG).sum(1 - axis) for axis in (1, 0)]
    return next((side for side in range(16, 2, -1) if all(_lie_on_grid(e, side) for e in edges)), 0)


def _find_period(changes: Bytes) -> int:
    """Return the largest number that divides all distances between changes; 1 if they are few."""
    places = np.flatnonzero(changes)
    return int(np.gcd.reduce(places - places[0])) if len(places) >= _FEWEST_LINES else 1


def _lie_on_grid(edges: NDArray[np.intp], side: int) -> bool:
    """Tell whether nearly all edges, counted by column, lie `side` columns apart; JPEG adds a few others."""
    total = int(edges.sum())
    if total == 0:
        return False
    lines = np.pad(edges, (0, -len(edges) % side)).reshape(-1, side)
    counts = lines.sum(0)
    best = int(counts.argmax())
    return int(counts[best]) > 0.97 * total and int(np.count_nonzero(lines[:, best])) >= _FEWEST_LINES


def is_palette_art(rgb: Bytes) -> bool:
    """Tell whether a small image has few colours and no smooth edges: pixel art in its own size."""
    if max(rgb.shape[:2]) > _LARGEST_SPRITE:
        return False
    pixels = rgb.reshape(-1, 3)
    # Every seventh pixel rules out photographs at a seventh of the price.
    if _count_colours(pixels[::7]) > _MOST_COLOURS:
        return False
    colours = _count_colours(pixels)
    return 2 <= colours <= _FEW_COLOURS or (2 <= colours <= _MOST_COLOURS and not _has_smooth_edges(rgb))


def _count_colours(pixels: Bytes) -> int:
    return len(set((pixels.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)).tolist()))


def _has_smooth_edges(rgb: Bytes) -> bool:
    """Tell whether edges have a pixel between their two colours, as those of scaled-down drawings do."""
    wide = rgb.astype(np.int16)
    before, after = wide[:, 1:-1] - wide[:, :-2], wide[:, 2:] - wide[:, 1:-1]
    edges = np.abs(before + after).max(2) > _STRONG
    between = edges & (before * after >= 0).all(2) & (before != 0).any(2) & (after != 0).any(2)
    return int(between.sum()) > 0.15 * max(1, int(edges.sum()))


# Text


def is_text(rgb: Bytes, light: Floats) -> bool:
    """Tell whether an image shows writing: thin, busy strokes of one colour on paper of another.

    `light` is its luma. Large letters are recognised in a smaller copy.
    """
    colours: Floats | Bytes = rgb
    for halving in range(3):
        if min(colours.shape[:2]) < _SMALLEST:
            return False
        if _has_small_text(colours, light, is_full_size=halving == 0):
            return True
        colours = _halve(colours)
        light = colours @ _LUMA
    return False


def _halve(colours: Floats | Bytes) -> Floats:
    """Return the means of squares of 2 x 2 pixels."""
    height, width = (side // 2 * 2 for side in colours.shape[:2])
    upper, lower = (colours[start:height:2].astype(np.float32) for start in (0, 1))
    upper += lower
    return (upper[:, :width:2] + upper[:, 1:width:2]) / 4


def _has_small_text(colours: Floats | Bytes, light: Floats, *, is_full_size: bool) -> bool:
    tones = np.bincount((light.astype(np.uint8) >> 2).ravel(), minlength=64)
    offset = light - (int(tones.argmax()) * 4 + 2)
    distance = np.abs(offset)
    is_paper = distance <= 14
    if np.count_nonzero(is_paper) < 0.5 * is_paper.size:
        return False
    threshold = float(find_quantiles(distance, 0.995)[0]) / 2
    if threshold < 30:
        return False
    ink, other = sorted((offset < -threshold, offset > threshold), key=lambda mask: -int(mask.sum()))
    count = int(ink.sum())
    if int(other.sum()) > 0.02 * count or not 0.005 < count / ink.size < 0.4:
        return False
    # Small letters consist of smooth edges, but a copy in which they still do shows something else.
    if not is_full_size and (~is_paper & ~ink).sum() > 1.5 * count:
        return False
    if _count_thick(ink) > 0.02 * count or _measure_busyness(ink) < 0.1:
        return False
    return _are_two_colours(colours, is_paper, ink)


def _are_two_colours(colours: Floats | Bytes, paper: NDArray[np.bool_], ink: NDArray[np.bool_]) -> bool:
    """Tell whether nearly all colours are mixtures of those of paper and ink."""
    start = np.median(colours[paper], axis=0).astype(np.float32)
    axis = np.median(colours[ink], axis=0) - start
    offset = colours[~paper] - start
    along = offset @ axis / (axis @ axis)
    aside = np.linalg.norm(offset - along[:, None] * axis, axis=1)
    return bool((aside > 48).mean() < 0.15)


def _count_thick(ink: NDArray[np.bool_]) -> int:
    """Return the number of squares of 8 x 8 pixels that are all ink."""
    for step in (1, 2, 4):
        ink = ink[:, step:] & ink[:, :-step]
        ink = ink[step:] & ink[:-step]
    return int(ink.sum())


def _measure_busyness(ink: NDArray[np.bool_]) -> float:
    """Return the changes between paper and ink per pixel of a line, between its first and last ink."""
    lines = ink[ink.any(axis=1)]
    lengths = lines.shape[1] - lines.argmax(axis=1) - lines[:, ::-1].argmax(axis=1)
    return float((lines[:, 1:] != lines[:, :-1]).sum() / lengths.sum())


# Photographs


def is_white(light: Floats) -> bool:
    """Tell whether the fine structure in the calmest parts is noise rather than texture.

    White noise has the same strength everywhere, and neighbours of its Laplacian are correlated by -2/3.
    """
    corners = light[:-2, :-2] + light[:-2, 2:] + light[2:, :-2] + light[2:, 2:]
    sides = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:]
    response = corners - 2 * sides + 4 * light[1:-1, 1:-1]
    height, width = (side // 16 for side in response.shape)
    blocks = response[: height * 16, : width * 16].reshape(height, 16, width, 16).swapaxes(1, 2)
    deviations = blocks.std(axis=(2, 3))
    levels = light[1 : height * 16 + 1, 1 : width * 16 + 1].reshape(height, 16, width, 16).mean(axis=(1, 3))
    inside = (levels > 25) & (levels < 230)
    blocks, deviations = (blocks[inside], deviations[inside]) if inside.any() else (blocks, deviations)
    low, calm = find_quantiles(deviations[deviations > 0], 0.02, 0.1) if deviations.any() else (0, 0)
    chosen = blocks[(deviations > 0) & (deviations <= calm)]
    if not chosen.size:
        return False
    across = (chosen[..., 1:] * chosen[..., :-1]).mean() + (chosen[:, 1:] * chosen[:, :-1]).mean()
    return bool(low > 0.72 * calm and across / 2 < -0.5 * (chosen**2).mean())


def measure_blocking(light: Floats) -> tuple[float, bool]:
    """Return how many levels more pixels differ across the borders of blocks of 8, and if these lack detail.

    The grid may start anywhere, as in a picture that was cropped and saved again. Detail: high frequencies of
    blocks on the grid, compared with blocks half a block further.
    """
    (left, wide), (top, tall) = _find_grid(light), _find_grid(light.T)
    half = _BLOCK // 2
    own = _transform_blocks(light[top:, left:])
    other = _transform_blocks(light[(top + half) % _BLOCK :, (left + half) % _BLOCK :])
    # Rounding to 8 bits leaves 0.3 in all of them.
    root = math.sqrt((own**2).mean()) + 0.3, math.sqrt((other**2).mean()) + 0.3
    middle = find_median(np.abs(own)) + 0.3, find_median(np.abs(other)) + 0.3
    return wide + tall, root[0] < 0.93 * root[1] or middle[0] < 0.7 * middle[1]


def _find_grid(light: Floats) -> tuple[int, float]:
    """Return the first column of a block, and the mean step in levels that is particular to such columns."""
    steps = np.abs(np.diff(light, axis=1))
    extra = np.clip(steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2, -8, 8).mean(0)
    phases = extra[: len(extra) // _BLOCK * _BLOCK].reshape(-1, _BLOCK).mean(0)
    best = int(phases.argmax())
    return (best + 2) % _BLOCK, float(phases[best] - find_median(phases))


def _transform_blocks(light: Floats) -> Floats:
    """Return the high frequencies of the cosine transform of all blocks of 8 x 8."""
    place = np.arange(_BLOCK)
    basis = np.cos(np.pi * (2 * place + 1) * place[:, None] / (2 * _BLOCK)) / 2
    basis[0] /= math.sqrt(2)
    height, width = (side // _BLOCK for side in light.shape)
    blocks = light[: height * _BLOCK, : width * _BLOCK].reshape(height, _BLOCK, width, _BLOCK).swapaxes(1, 2)
    high = np.add.outer(place, place) >= _BLOCK
    basis = basis.astype(np.float32)
    found: Floats = (basis @ blocks @ basis.T)[..., high]
    return found


def has_upscaling_traces(light: Floats) -> bool:
    """Tell whether a soft image was resized, not blurred.

    Interpolation repeats its weights every few pixels, and so the curvature varies with a period (Gallagher,
    Detection of linear and cubic interpolation in JPEG compressed images, 2005). At twice the size both
    phases have the same curvature, but only one of two grids can be reduced and enlarged without loss.
    """
    peaks = [_find_peak(np.abs(np.diff(plane, 2, axis=1)).mean(0)) for plane in (light, light.T)]
    if math.sqrt(peaks[0] * peaks[1]) > 9:
        return True
    middle = light[:_LARGEST_SPRITE, :_LARGEST_SPRITE]
    return any(_fits_one_grid(middle, factor) for factor in (2, 3, 4))


def _fits_one_grid(light: Floats, factor: int) -> bool:
    losses = [_measure_loss(light[start:, start:], factor) for start in range(factor)]
    return math.log((max(losses) + 1e-3) / (min(losses) + 1e-3)) > 0.2


def _find_peak(profile: Floats) -> float:
    """Return the highest peak of a spectrum at periods below 7 pixels, relative to its median."""
    smooth = np.convolve(np.pad(profile, 4, mode="edge"), np.ones(9) / 9, "valid")
    ripple = (profile / (smooth + 1e-3) - 1) * np.hanning(len(profile))
    spectrum = np.abs(np.fft.rfft(ripple))[int(0.15 * len(profile)) :]
    return float(spectrum.max() / (find_median(spectrum) + 1e-9))


def _measure_loss(light: Floats, factor: int) -> float:
    height, width = (side // factor for side in light.shape)
    plane = light[: height * factor, : width * factor]
    back = resize(resize(plane, height, width), height * factor, width * factor)
    return float(np.mean((back - plane)[8:-8, 8:-8] ** 2))
