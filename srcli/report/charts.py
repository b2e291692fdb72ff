"""Charts of spectra and edge profiles: what methods do to frequencies and edges, as SVG paths."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.color import luma
from srcli.imaging.pixels import Pixels, Plane

Values = NDArray[np.float64]

WIDTH, HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 10, 36
_LARGEST = 1024
_BINS = 48
_EDGES = 2000
_STEEPEST = 0.02  # share of all pixels


@dataclass(frozen=True)
class Curve:
    """Points of one method, in the units of the axes; `mark` is the method's number, -1 for the truth."""

    name: str
    mark: int
    x: Values
    y: Values


@dataclass(frozen=True)
class Tick:
    """A position on an axis, in units of the picture, and its label."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve as an SVG path."""

    name: str
    mark: int
    path: str


@dataclass(frozen=True)
class Chart:
    """Curves as a template draws them; `limit` is the position of a vertical line, None for no line."""

    title: str
    caption: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    limit: float | None = None


def compute_spectrum(pixels: Pixels) -> tuple[Values, Values]:
    """Return frequencies in cycles per pixel, up to 0.5, and the mean power of luma at each in dB.

    Power is per pixel, of values in 0..255, under a Hann window. Of large images, only the middle is used.
    """
    plane = _crop_middle(luma(pixels)).astype(np.float64) * 255
    plane -= plane.mean()
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in plane.shape))
    power = np.abs(np.fft.rfft2(plane * window)) ** 2 / np.sum(window**2)
    radius = np.hypot(np.fft.fftfreq(plane.shape[0])[:, None], np.fft.rfftfreq(plane.shape[1])[None])
    bins = np.minimum((radius * 2 * _BINS).astype(int), _BINS).ravel()
    counts = np.bincount(bins, minlength=_BINS + 1)[:_BINS]
    sums = np.bincount(bins, power.ravel(), _BINS + 1)[:_BINS]
    filled = counts > 0
    centres = (np.arange(_BINS) + 0.5) / (2 * _BINS)
    return centres[filled], 10 * np.log10(sums[filled] / counts[filled] + 1e-3)


def _crop_middle(plane: Plane) -> Plane:
    top, left = (max(0, side - _LARGEST) // 2 for side in plane.shape)
    return plane[top : top + _LARGEST, left : left + _LARGEST]


@dataclass(frozen=True)
class Edges:
    """Points (y, x) on steep edges, and the unit vectors across them, both (n, 2)."""

    points: Values
    across: Values


def find_edges(reference: Pixels, reach: int) -> Edges:
    """Return at most 2000 of the steepest local maxima of the gradient, `reach` pixels from the border."""
    plane = luma(reference).astype(np.float64)
    steep_y, steep_x = np.gradient(plane)
    slope = np.hypot(steep_y, steep_x)
    inner = np.zeros(slope.shape, bool)
    inner[reach:-reach, reach:-reach] = True
    candidates = np.argwhere(inner & (slope > np.quantile(slope, 1 - _STEEPEST)) & (slope > 0))
    vectors = np.stack([steep_y, steep_x], -1)[tuple(candidates.T)]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    here = slope[tuple(candidates.T)]
    crest = (here >= _sample_bilinear(slope, candidates + unit)) & (
        here >= _sample_bilinear(slope, candidates - unit)
    )
    step = max(1, -(-int(crest.sum()) // _EDGES))
    return Edges(candidates[crest][::step].astype(np.float64), unit[crest][::step])


def measure_profile(pixels: Pixels, edges: Edges, reach: int) -> tuple[Values, Values]:
    """Return positions across an edge in pixels, and the mean slope of luma in levels (of 255) per pixel.

    After the gradient profile of Sun, Xu and Shum, CVPR 2008: higher and narrower is sharper.
    """
    slope = 255 * np.hypot(*np.gradient(luma(pixels).astype(np.float64)))
    offsets = np.arange(-reach, reach + 0.25, 0.5)
    places = edges.points[None] + offsets[:, None, None] * edges.across[None]
    return offsets, _sample_bilinear(slope, places).mean(axis=1)


def measure_half_width(x: Values, y: Values) -> float:
    """Return the width of the central peak at half its height, in units of `x`; the range if it is wider."""
    half, middle = y[len(y) // 2] / 2, len(y) // 2
    right = next((_find_crossing(x, y, k, half) for k in range(middle, len(y) - 1) if y[k + 1] < half), x[-1])
    left = next((_find_crossing(x, y, k - 1, half) for k in range(middle, 0, -1) if y[k - 1] < half), x[0])
    return float(right - left)


def _find_crossing(x: Values, y: Values, k: int, level: float) -> float:
    """Return the x at which the line from point `k` to the next one crosses `level`."""
    return float(x[k] + (level - y[k]) / (y[k + 1] - y[k]) * (x[k + 1] - x[k]))


def _sample_bilinear(plane: Values, places: Values) -> Values:
    """Sample a plane bilinearly at (..., 2) positions inside it."""
    y, x = places[..., 0], places[..., 1]
    top = np.clip(np.floor(y).astype(int), 0, plane.shape[0] - 2)
    left = np.clip(np.floor(x).astype(int), 0, plane.shape[1] - 2)
    down, right = y - top, x - left
    upper = plane[top, left] * (1 - right) + plane[top, left + 1] * right
    lower = plane[top + 1, left] * (1 - right) + plane[top + 1, left + 1] * right
    return np.asarray(upper * (1 - down) + lower * down)


def draw_spectrum(named: list[tuple[str, int, Pixels]], scale: float) -> Chart:
    """Return a chart of power over frequency, with a line at the highest frequency of the input."""
    curves = [Curve(name, mark, *compute_spectrum(pixels)) for name, mark, pixels in named]
    caption = "Detail right of the dashed line cannot come from the input: the method made it up."
    return _draw_chart(
        "Spectrum", caption, ("cycles per pixel", "power, dB"), curves, (0.0, 0.5), 0.5 / scale
    )


def draw_profile(named: list[tuple[str, int, Pixels]], reference: Pixels, scale: float) -> Chart | None:
    """Return a chart of the mean slope across the steepest edges of `reference`; None if it has none."""
    reach = round(2 * scale)
    edges = find_edges(reference, reach + 2) if min(reference.shape[:2]) > 2 * reach + 8 else None
    if edges is None or not len(edges.points):
        return None
    curves = [Curve(name, mark, *measure_profile(pixels, edges, reach)) for name, mark, pixels in named]
    widths = ", ".join(f"{one.name} {measure_half_width(one.x, one.y):.1f}" for one in curves)
    caption = f"Higher and narrower is sharper. Width at half the height, in pixels: {widths}."
    labels = ("pixels across the edge", "slope, levels per pixel")
    return _draw_chart("Gradient profile", caption, labels, curves, (-float(reach), float(reach)), None)


def _draw_chart(
    title: str,
    caption: str,
    labels: tuple[str, str],
    curves: list[Curve],
    x_range: tuple[float, float],
    limit: float | None,
) -> Chart:
    heights = np.concatenate([curve.y for curve in curves])
    ticks = _choose_ticks(float(heights.min()), float(heights.max()))
    low, high = min(ticks[0], float(heights.min())), max(ticks[-1], float(heights.max()))

    def across(x: Values | float) -> Values:
        return np.asarray(_LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - _LEFT - _RIGHT))

    def up(y: Values | float) -> Values:
        return np.asarray(HEIGHT - _BOTTOM - (y - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM))

    return Chart(
        title,
        caption,
        *labels,
        tuple(Line(c.name, c.mark, _draw_path(across(c.x), up(c.y))) for c in curves),
        tuple(Tick(float(across(x)), f"{x:g}") for x in _choose_ticks(*x_range)),
        tuple(Tick(float(up(y)), f"{y:g}") for y in ticks),
        None if limit is None else float(across(limit)),
    )


def _choose_ticks(low: float, high: float) -> list[float]:
    """Return four to ten round numbers within a range."""
    if high - low < 1e-9:
        return [low, low + 1]
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * min((n for n in (1, 2, 5, 10) if n * power >= rough * 0.8), default=10)
    first = np.ceil(low / step - 1e-9)
    return [float(round(k * step, 10)) + 0.0 for k in np.arange(first, np.floor(high / step + 1e-9) + 1)]


def _draw_path(x: Values, y: Values) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
