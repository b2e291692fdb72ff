"""Metrics against independent implementations, and their laws."""

import math
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, correlate1d
from scipy.special import gamma
from skimage.filters import sobel
from skimage.measure import block_reduce
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from helpers.paths import SAMPLES
from srcli.bench import metrics, pyiqa_metrics
from srcli.errors import DatasetError, SrError, UsageError
from srcli.imaging.color import luma
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.image import read_image
from srcli.imaging.metrics import niqe
from srcli.imaging.metrics.full_reference import (
    METRICS,
    gradient_magnitude,
    ms_ssim,
    mse,
    psnr,
    sharpness,
    ssim,
)
from srcli.imaging.resize import resize

Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def pair(rng: np.random.Generator) -> Pair:
    plane = luma(read_image(SAMPLES / "astronaut.png").pixels[:90, :110].astype(np.float64))
    return plane, np.clip(plane + rng.normal(0, 0.05, plane.shape), 0, 1)


@pytest.fixture
def colours(rng: np.random.Generator) -> Pair:
    pixels = read_image(SAMPLES / "coffee.png").pixels[:203, :256].astype(np.float64)
    return pixels, np.clip(pixels + rng.normal(0, 0.05, pixels.shape), 0, 1)


def test_equal_to_scikit_image(pair: Pair) -> None:
    a, b = pair
    assert mse(a, b) == pytest.approx(mean_squared_error(a, b), rel=1e-12)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), rel=1e-12)
    wang = structural_similarity(
        a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )[1]
    assert ssim(a, b) == pytest.approx(wang[5:-5, 5:-5].mean(), abs=1e-9)


def test_colours_equal_to_scikit_image(colours: Pair) -> None:
    a, b = colours
    assert mse(a, b) == pytest.approx(mean_squared_error(a, b), rel=1e-12)
    wang = structural_similarity(
        a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
        channel_axis=2,
    )[1]  # fmt: skip
    assert ssim(a, b) == pytest.approx(wang[5:-5, 5:-5].mean(), abs=1e-9)


def test_ms_ssim_is_the_papers_formula(colours: Pair) -> None:
    """Built of SciPy's correlation and scikit-image's block means, step by step as the paper has it."""
    window = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window /= window.sum()

    def blur(plane: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(plane, window, 0), window, 1)[5:-5, 5:-5]

    def one(x: np.ndarray, y: np.ndarray) -> float:
        total = 1.0
        for power in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
            mx, my = blur(x), blur(y)
            vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
            structure = (2 * cov + 0.0009) / (vx + vy + 0.0009)
            light = (2 * mx * my + 0.0001) / (mx * mx + my * my + 0.0001)
            last = power == 0.1333
            total *= (light * structure if last else structure).mean() ** power
            even = [(0, side % 2) for side in x.shape]
            x, y = (block_reduce(np.pad(p, even, "edge"), (2, 2), np.mean) for p in (x, y))
        return total

    a, b = colours
    planes = [one(a[..., c], b[..., c]) for c in range(3)]
    assert ms_ssim(a[..., 0], b[..., 0]) == pytest.approx(planes[0], abs=1e-9)
    assert ms_ssim(a, b) == pytest.approx(np.mean(planes), abs=1e-9)
    assert ms_ssim(a, a) == pytest.approx(1)
    assert ms_ssim(a, b) > ssim(a, b)  # what noise does is least at coarse scales


def test_sharpness_is_of_sobels_gradients(pair: Pair) -> None:
    a, b = pair
    ours, theirs = gradient_magnitude(a), sobel(a)[1:-1, 1:-1]
    assert ours / theirs == pytest.approx(np.full_like(ours, 4 * math.sqrt(2)), rel=1e-6)
    assert sharpness(b, a) == pytest.approx(sobel(b)[1:-1, 1:-1].mean() / theirs.mean(), rel=1e-9)
    assert sharpness(a, a) == 1
    soft = resize(resize(a, 45, 55), 90, 110)
    assert sharpness(soft, a) < 1 < sharpness(b, a)
    flat = np.full_like(a, 0.5)
    assert (sharpness(flat, flat), sharpness(a, flat)) == (1, math.inf)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_symmetric(name: str, pair: Pair) -> None:
    a, b = pair
    assert METRICS[name](a, b) == pytest.approx(METRICS[name](b, a), rel=1e-12)


def test_equal_images(pair: Pair) -> None:
    a, _ = pair
    assert (mse(a, a), psnr(a, a)) == (0, float("inf"))
    assert ssim(a, a) == pytest.approx(1)


def test_psnr_of_a_known_error() -> None:
    assert psnr(np.zeros((4, 4)), np.full((4, 4), 0.1)) == pytest.approx(20)


@pytest.mark.parametrize("shape", [0.8, 2.0])
def test_the_fit_finds_what_values_were_drawn_from(shape: float, rng: np.random.Generator) -> None:
    """A generalised Gaussian: the sign of a power of a gamma variable; the right side stretched."""
    values = rng.gamma(1 / shape, 1, 200_000) ** (1 / shape) * rng.choice([-1.0, 1.0], 200_000)
    found = niqe.fit_ggd(values)
    assert found == pytest.approx((shape, 1, 1), rel=0.03)
    assert all(map(math.isnan, niqe.fit_ggd(np.zeros(9))))


def test_niqe_is_the_papers_formula() -> None:
    """Written again from the paper, patch by patch, by SciPy's convolution and gamma function."""
    plane = luma(read_image(SAMPLES / "chelsea.png").pixels[:205, :300].astype(np.float64))
    axis = np.arange(-3, 4)
    window = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    grid = np.arange(0.2, 10.001, 0.001)
    shares = gamma(2 / grid) ** 2 / (gamma(1 / grid) * gamma(3 / grid))

    def moments(v: np.ndarray) -> tuple[float, float, float]:
        left, right = np.sqrt((v[v < 0] ** 2).mean()), np.sqrt((v[v > 0] ** 2).mean())
        g = left / right
        r = abs(v).mean() ** 2 / (v**2).mean() * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
        alpha = grid[abs(shares - r).argmin()]
        unit = np.sqrt(gamma(1 / alpha) / gamma(3 / alpha))
        return alpha, left * unit, right * unit

    columns = []
    levels = plane[:192, :288] * 255
    for side in (96, 48):
        mean = convolve(levels, window, mode="nearest")
        deviation = np.sqrt(abs(convolve(levels**2, window, mode="nearest") - mean**2))
        normal = (levels - mean) / (deviation + 1)
        rows = []
        for y in range(2):
            for x in range(3):
                patch = normal[y * side : (y + 1) * side, x * side : (x + 1) * side]
                alpha, left, right = moments(patch)
                row = [alpha, (left + right) / 2]
                for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    alpha, left, right = moments(patch * np.roll(patch, shift, (0, 1)))
                    row += [alpha, (right - left) * gamma(2 / alpha) / gamma(1 / alpha), left, right]
                rows.append(row)
        columns.append(np.array(rows))
        levels = resize(levels, 96, 144)
    features = np.concatenate(columns, axis=1)
    assert niqe.compute_features(plane)[0] == pytest.approx(features, abs=2e-3)
    good = niqe.load_model()
    apart = features.mean(axis=0) - good.mean
    spread = (np.cov(features.T) + good.covariance) / 2
    expected = np.sqrt(apart @ np.linalg.pinv(spread) @ apart)
    assert niqe.niqe(plane) == pytest.approx(expected, rel=1e-3)


def test_niqe_prefers_what_is_not_spoiled(rng: np.random.Generator) -> None:
    plane = luma(read_image(SAMPLES / "coffee.png").pixels.astype(np.float64))
    height, width = plane.shape
    soft = resize(resize(plane, height // 4, width // 4), height, width)
    noisy = np.clip(plane + rng.normal(0, 0.1, plane.shape), 0, 1)
    assert niqe.niqe(plane) < min(niqe.niqe(soft), niqe.niqe(noisy))
    assert math.isnan(niqe.niqe(plane[:100, :100]))
    assert "photographs" in niqe.load_model().source


def scored(sr: np.ndarray, hr: np.ndarray) -> metrics.Pair:
    return metrics.Pair(
        sr, hr, 4, lr=downscale_bicubic(hr, 4), reduce=lambda pixels: downscale_bicubic(pixels, 4)
    )


def test_every_built_in_metric_knows_which_way_is_better() -> None:
    """Bicubic against nearest: no metric may call equal to the truth worse than either."""
    hr = read_image(SAMPLES / "coffee.png").pixels[:240, :320]
    worse = scored(resize(downscale_bicubic(hr, 4), 240, 320).clip(0, 1), hr)
    perfect = scored(hr, hr)
    for name, metric in metrics.BUILT_IN.items():
        better, other = (metric.rank(metric.measure(pair)) for pair in (perfect, worse))
        assert better < other, name
    consistency = metrics.BUILT_IN["lr-consistency"].measure
    assert consistency(perfect) == math.inf
    assert 30 < consistency(worse) < math.inf


def test_metrics_are_found_by_name() -> None:
    assert [m.key for m in metrics.find_metrics("ms-ssim")] == ["ms_ssim_y", "ms_ssim_rgb"]
    assert [m.key for m in metrics.find_metrics("psnr-rgb")] == ["psnr_rgb"]
    assert len(metrics.find_metrics("all")) == len(metrics.BUILT_IN)
    with pytest.raises(UsageError, match="no built-in metric is called 'pnsr'") as caught:
        metrics.find_metrics("pnsr")
    assert "did you mean 'psnr'" in caught.value.hint
    assert "sr-cli[iqa]" in caught.value.hint
    with pytest.raises(DatasetError, match="170x300 is too small"):
        metrics.check_size(300, 170, 5, metrics.BUILT_IN["ms-ssim-y"].min_side)


class Tensorial:
    """Stands in for a metric of pyiqa: the mean of what it is given."""

    def __init__(self, name: str) -> None:
        self.lower_better, self.metric_mode = name == "lpips", "NR" if name == "musiq" else "FR"

    def __call__(self, *images: torch.Tensor) -> torch.Tensor:
        for image in images:
            assert image.shape[:2] == (1, 3)
            assert image.dtype == torch.float32
            assert 0 <= float(image.min()) <= float(image.max()) <= 1
        return sum(image.mean() for image in images)[None]


@pytest.fixture
def pyiqa(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    stand_in = SimpleNamespace(
        list_models=lambda: ["lpips", "dists", "musiq"], create_metric=lambda name, device: Tensorial(name)
    )
    monkeypatch.setitem(sys.modules, "pyiqa", stand_in)
    return stand_in


def test_pyiqa_measures_what_it_has(pyiqa: ModuleType) -> None:
    hr = np.full((40, 40, 3), 0.25, np.float32)
    pair = scored(np.ones_like(hr), hr)
    (lpips,), (dists,), (musiq,) = (metrics.find_metrics(name, "cpu") for name in ("lpips", "dists", "musiq"))
    assert (lpips.better, dists.better, musiq.better) == ("lower", "higher", "higher")
    assert lpips.measure(pair) == pytest.approx(1 + 64 / 255)
    assert musiq.measure(pair) == pytest.approx(1)
    with pytest.raises(UsageError, match="pyiqa has no metric called 'lpisp'"):
        metrics.find_metrics("lpisp")


def test_without_pyiqa_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(SrError, match="lpips needs pyiqa") as caught:
        pyiqa_metrics.load_metric("lpips")
    assert "pip install 'sr-cli[iqa]'" in caught.value.hint


def test_a_metric_that_cannot_be_made_is_one_line(pyiqa: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str, device: str) -> None:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(pyiqa, "create_metric", fails)
    with pytest.raises(SrError, match=r"pyiqa cannot load lpips: no route to host$"):
        pyiqa_metrics.load_metric("lpips")
