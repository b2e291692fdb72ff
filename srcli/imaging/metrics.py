"""How near an image is to the truth: MSE, PSNR and SSIM at data range 1."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]

_WINDOW = 11
_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2


def mse(a: Values, b: Values) -> float:
    """Mean squared error of two equally shaped arrays."""
    difference = a.astype(np.float64) - b.astype(np.float64)
    return float(np.mean(difference * difference))


def psnr(a: Values, b: Values) -> float:
    """Peak signal-to-noise ratio in dB at data range 1; infinite for equal images."""
    error = mse(a, b)
    return float("inf") if error == 0 else float(10 * np.log10(1 / error))


def ssim(a: Values, b: Values) -> float:
    """Mean structural similarity of two planes (H, W) of at least 11x11, at data range 1.

    Gaussian window 11x11 of sigma 1.5, K1 0.01, K2 0.03, valid region only.
    Source: Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    cov = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * cov + _C2) / (var_x + var_y + _C2)
    return float(np.mean(luminance * structure))


def _blur(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Gaussian mean around each pixel whose window lies inside the plane."""
    offset = np.arange(_WINDOW) - _WINDOW // 2
    window = np.exp(-(offset**2) / (2 * _SIGMA**2))
    window /= window.sum()
    height, width = (side - _WINDOW + 1 for side in plane.shape)
    tall = sum(w * plane[k : k + height] for k, w in enumerate(window))
    return np.asarray(sum(w * tall[:, k : k + width] for k, w in enumerate(window)))


METRICS: dict[str, Callable[[Values, Values], float]] = {"mse": mse, "psnr": psnr, "ssim": ssim}
