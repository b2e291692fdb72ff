"""Steps of a degradation with all random choices made, and plans, which are sequences of steps.

A plan can be applied here, with numpy and real codecs, or to batches on a device by `train.degrade`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.degrade.kernels import BlurKernel
from srcli.imaging.pixels import Pixels, from_uint8, quantise, to_uint8
from srcli.imaging.resize import KERNELS, Array, compute_taps, resize_8bit
from srcli.imaging.resize import Kernel as Interpolation

Rng = np.random.Generator
Mix = tuple[tuple[float, float, float], ...]

# Luma of ITU-R BT.601 at full range, which the published chains use as grey.
GREY = (0.299, 0.587, 0.114)
# Below this mean, Poisson counts are inverted exactly; above it the expansion is right to one count.
FEW = 16.0
MOST = 48


def _keys(x: Array) -> Array:
    """Keys' cubic convolution with a = -0.75, which OpenCV and PyTorch call bicubic."""
    d = np.abs(x)
    far = -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3
    return np.where(d <= 1, 1.25 * d**3 - 2.25 * d**2 + 1, np.where(d <= 2, far, 0))


def _triangle(x: Array) -> Array:
    return np.asarray(np.maximum(0, 1 - np.abs(x)))


def _area(size: int, out: int) -> Interpolation:
    """Return the kernel that weighs input pixels by how much of them an output pixel covers."""
    width = size / out
    radius = (width + 1) / 2
    return Interpolation(lambda x: np.clip(radius - np.abs(x), 0, min(1, width)), radius, antialias=False)


# Without antialiasing, as in OpenCV and PyTorch: the published random chains downscale with these.
_ALIASING = {
    "linear": Interpolation(_triangle, 1, antialias=False),
    "cubic": Interpolation(_keys, 2, antialias=False),
}
METHODS = (*KERNELS, *_ALIASING, "area")


@lru_cache(maxsize=256)
def resize_matrix(size: int, out: int, method: str) -> NDArray[np.float32]:
    """Return the matrix (out, size) that resizes one axis by one of `METHODS`; its rows sum to one."""
    kernel = _area(size, out) if method == "area" else (KERNELS | _ALIASING)[method]
    index, weights = compute_taps(size, out, kernel)
    matrix = np.zeros((out, size))
    np.add.at(matrix, (np.arange(out)[:, None], index), weights)
    return matrix.astype(np.float32)


class Step(Protocol):
    """One step of a degradation, with all its random choices made."""

    def apply(self, pixels: Pixels) -> Pixels:
        """Apply it to (H, W, 3) in [0, 1]."""
        ...


Plan = tuple[Step, ...]


@dataclass(frozen=True)
class Filter:
    """Correlation with a kernel; borders are mirrored, the border pixel not repeated."""

    kernel: BlurKernel

    def apply(self, pixels: Pixels) -> Pixels:
        """Filter (H, W, C); not clipped."""
        import cv2

        weights = self.kernel.weights().astype(np.float32)
        image = np.ascontiguousarray(pixels)
        return np.asarray(cv2.filter2D(image, -1, weights, borderType=cv2.BORDER_REFLECT_101), np.float32)


@dataclass(frozen=True)
class Resizing:
    """Resizing to `height` x `width` by one of `METHODS`; `rounded`: to 8-bit levels, as MATLAB does."""

    height: int
    width: int
    method: str
    rounded: bool = False

    def apply(self, pixels: Pixels) -> Pixels:
        """Resize (H, W, C); not clipped unless `rounded`."""
        if self.rounded:
            return resize_8bit(pixels, self.height, self.width, self.method)
        rows = resize_matrix(pixels.shape[0], self.height, self.method)
        columns = resize_matrix(pixels.shape[1], self.width, self.method)
        tall = np.tensordot(rows, pixels, 1)
        return np.ascontiguousarray(np.tensordot(columns, tall, (1, 1)).swapaxes(0, 1))


@dataclass(frozen=True)
class Decimation:
    """Keeping every `factor`-th pixel of a row and of a column, from number `offset`, below `factor`."""

    factor: int
    offset: int = 0

    def apply(self, pixels: Pixels) -> Pixels:
        """Drop the other pixels."""
        return pixels[self.offset :: self.factor, self.offset :: self.factor]


@dataclass(frozen=True)
class Noise:
    """Gaussian noise: a standard normal field of three channels, mixed by the rows of `mix`; then clipped."""

    mix: Mix
    seed: int

    def field(self, height: int, width: int) -> NDArray[np.float32]:
        """Draw the field (H, W, 3), the same wherever the step is applied."""
        return np.random.default_rng(self.seed).standard_normal((height, width, 3), np.float32)

    def apply(self, pixels: Pixels) -> Pixels:
        """Add the noise to (H, W, 3)."""
        noise = self.field(*pixels.shape[:2]) @ np.array(self.mix, np.float32).T
        return np.clip(pixels + noise, 0, 1)


@dataclass(frozen=True)
class Poisson:
    """Photon noise of the 8-bit image times `scale`, with one value for all channels if `grey`; then clipped.

    White counts as many photons as the image has levels, rounded up to a power of two. Source: Real-ESRGAN.
    """

    scale: float
    grey: bool
    seed: int

    def fields(self, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draw a uniform and a normal field (H, W, 1 or 3), the same wherever the step is applied."""
        rng, shape = np.random.default_rng(self.seed), (height, width, 1 if self.grey else 3)
        return rng.random(shape, np.float32), rng.standard_normal(shape, np.float32)

    def apply(self, pixels: Pixels) -> Pixels:
        """Add the noise to (H, W, 3)."""
        source = pixels @ np.array(GREY, np.float32)[:, None] if self.grey else pixels
        levels = quantise(source)
        white = np.float32(2 ** np.ceil(np.log2(len(np.unique(levels)))))
        clean = levels.astype(np.float32) / np.float32(255)
        noise = _draw_counts(clean * white, *self.fields(*pixels.shape[:2])) / white - clean
        return np.clip(pixels + noise * np.float32(self.scale), 0, 1)


def _draw_counts(mean: Pixels, uniform: Pixels, normal: Pixels) -> Pixels:
    """Draw Poisson counts: by the inverse distribution for small means, else by the Cornish-Fisher expansion.

    The Poisson samplers of numpy and torch differ from each other.
    """
    spread = mean + np.sqrt(mean) * normal + (normal**2 - 1) / 6
    counts: Pixels = np.maximum(np.floor(spread + np.float32(0.5)), 0)
    few = mean < FEW
    counts[few] = _invert_distribution(mean[few], uniform[few])
    return counts


def _invert_distribution(mean: Pixels, uniform: Pixels) -> Pixels:
    """Count the values of the cumulative distribution below `uniform`."""
    term = np.exp(-mean)
    total, counts = term.copy(), np.zeros_like(mean)
    for count in range(1, MOST):
        counts += uniform > total
        term = term * (mean / np.float32(count))
        total += term
    return counts


@dataclass(frozen=True)
class Jpeg:
    """JPEG with a quality of 1..100 by a real codec.

    `subsampled`: with halved chroma; `shift`: rows and columns by which the blocks are moved, 0 to 7; what
    leaves the image on one side comes back on the other.
    """

    quality: int
    subsampled: bool = True
    shift: int = 0

    def apply(self, pixels: Pixels) -> Pixels:
        """Encode (H, W, 3) and decode it again; 8-bit levels."""
        import cv2

        moved = np.roll(to_uint8(pixels)[..., ::-1], (self.shift, self.shift), (0, 1))
        chroma = "420" if self.subsampled else "444"
        sampling = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{chroma}")
        settings = [cv2.IMWRITE_JPEG_QUALITY, self.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        _, data = cv2.imencode(".jpg", np.ascontiguousarray(moved), settings)
        decoded: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return from_uint8(np.roll(decoded[..., ::-1], (-self.shift, -self.shift), (0, 1)))


@dataclass(frozen=True)
class Rounding:
    """Clipping and rounding to 8-bit levels."""

    def apply(self, pixels: Pixels) -> Pixels:
        """Return the image as an 8-bit file would hold it."""
        return from_uint8(to_uint8(pixels))


def apply_plan(pixels: Pixels, plan: Plan) -> Pixels:
    """Apply all steps of a plan, in order."""
    for step in plan:
        pixels = step.apply(pixels)
    return pixels


def draw_seed(rng: Rng) -> int:
    """Draw the seed for the field of one noise step."""
    return int(rng.integers(2**63))


def gaussian_noise(sigma: float, rng: Rng, *, grey: bool = False) -> Noise:
    """Return Gaussian noise of deviation `sigma`, in 8-bit levels."""
    s = sigma / 255
    mix = ((s, 0.0, 0.0),) * 3 if grey else ((s, 0.0, 0.0), (0.0, s, 0.0), (0.0, 0.0, s))
    return Noise(mix, draw_seed(rng))


@dataclass(frozen=True)
class Span:
    """A range from which numbers are drawn evenly; written `3` or `0.2..3`."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}..{self.high:g}"

    def draw(self, rng: Rng) -> float:
        """Draw a number; a range of one number draws nothing."""
        return self.low if self.low == self.high else float(rng.uniform(self.low, self.high))

    def draw_integer(self, rng: Rng) -> int:
        """Draw an integer, including both ends; a range of one number draws nothing."""
        low, high = round(self.low), round(self.high)
        return low if low == high else int(rng.integers(low, high + 1))


@dataclass(frozen=True)
class Target:
    """The size in pixels of the high-resolution image that a plan is for, and the scale."""

    height: int
    width: int
    scale: int

    def downscale_step(self, method: str, rounded: bool = False) -> Resizing:
        """Return the step that downscales to the low-resolution size."""
        return Resizing(self.height // self.scale, self.width // self.scale, method, rounded)
