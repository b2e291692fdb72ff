"""Full-reference metrics: how close an image is to the ground truth, at data range 1."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]
Array = NDArray[np.float64]

_WINDOW = 11
_BAND = 32
_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2
# Exponents of the scales of MS-SSIM, the finest first: Wang et al. 2003, section 3.2.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# Smaller sides would leave less than a window at the coarsest of five scales.
MS_SSIM_LEAST = (_WINDOW - 1) * 2 ** (len(_SCALES) - 1) + 1


def mse(a: Values, b: Values) -> float:
    """Return the mean squared error of two arrays of equal shape."""
    difference = a.astype(np.float64) - b.astype(np.float64)
    return float(np.mean(difference * difference))


def psnr(a: Values, b: Values) -> float:
    """Return the peak signal-to-noise ratio in dB at data range 1; infinite for equal images."""
    error = mse(a, b)
    return float("inf") if error == 0 else float(10 * np.log10(1 / error))


def ssim(a: Values, b: Values) -> float:
    """Return the structural similarity of two images (H, W) or (H, W, C) of at least 11x11, at data range 1.

    Gaussian window 11x11 of sigma 1.5, K1 0.01, K2 0.03, valid region only; the mean over channels.
    Source: Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861
    """
    luminance, structure = _similarity(a.astype(np.float64), b.astype(np.float64))
    return float(np.mean(luminance * structure))


def ms_ssim(a: Values, b: Values) -> float:
    """Return SSIM over five scales of (H, W) or (H, W, C) of at least 161x161; the mean over channels.

    Contrast and structure of each scale and the luminance of the coarsest, with the exponents of the paper;
    negative values count as 0. Source: Wang et al. 2003, https://doi.org/10.1109/ACSSC.2003.1292216
    """
    x, y = (_with_channels(values.astype(np.float64)) for values in (a, b))
    total = np.ones(x.shape[2])
    for number, power in enumerate(_SCALES, 1):
        luminance, structure = _similarity(x, y)
        last = number == len(_SCALES)
        mean = (luminance * structure if last else structure).mean(axis=(0, 1))
        total *= np.maximum(mean, 0) ** power
        x, y = _halve(x), _halve(y)
    return float(total.mean())


def sharpness(a: Values, b: Values) -> float:
    """Return the ratio of the mean Sobel gradients of `a` and `b` (H, W): below 1, `a` is smoother.

    It is 1 if both are flat, infinite if only `b` is.
    """
    steep, reference = (float(gradient_magnitude(values.astype(np.float64)).mean()) for values in (a, b))
    if reference == 0:
        return 1.0 if steep == 0 else float("inf")
    return steep / reference


def gradient_magnitude(plane: Array) -> Array:
    """Return the length of the Sobel gradient at each inner pixel of (H, W): (H - 2, W - 2)."""
    smooth = (plane[:-2] + 2 * plane[1:-1] + plane[2:], plane[:, :-2] + 2 * plane[:, 1:-1] + plane[:, 2:])
    across = smooth[0][:, 2:] - smooth[0][:, :-2]
    down = smooth[1][2:] - smooth[1][:-2]
    return np.asarray(np.hypot(across, down))


def _similarity(x: Array, y: Array) -> tuple[Array, Array]:
    """Return luminance, and contrast times structure, wherever the window lies inside."""
    # In bands that the caches of processors hold, which take a third of the time.
    last = x.shape[0] - _WINDOW + 1
    bands = [
        _compare_band(*(plane[top : top + _BAND + _WINDOW - 1] for plane in (x, y)))
        for top in range(0, last, _BAND)
    ]
    luminance, structure = (np.concatenate(parts) for parts in zip(*bands, strict=True))
    return luminance, structure


def _compare_band(x: Array, y: Array) -> tuple[Array, Array]:
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    cov = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * cov + _C2) / (var_x + var_y + _C2)
    return luminance, structure


def _with_channels(values: Array) -> Array:
    return values if values.ndim == 3 else values[..., None]


def _halve(values: Array) -> Array:
    """Average 2x2 pixels; an odd last row or column counts twice."""
    even = np.pad(values, [(0, values.shape[0] % 2), (0, values.shape[1] % 2), (0, 0)], "edge")
    return np.asarray(even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _blur(plane: Array) -> Array:
    """Return the Gaussian mean around each pixel whose window lies inside the plane."""
    offset = np.arange(_WINDOW) - _WINDOW // 2
    window = np.exp(-(offset**2) / (2 * _SIGMA**2))
    window /= window.sum()
    height, width = (side - _WINDOW + 1 for side in plane.shape[:2])
    tall = sum(w * plane[k : k + height] for k, w in enumerate(window))
    return np.asarray(sum(w * tall[:, k : k + width] for k, w in enumerate(window)))


# Metrics of two images of equal shape, of any size.
METRICS: dict[str, Callable[[Values, Values], float]] = {"mse": mse, "psnr": psnr, "ssim": ssim}
