"""Metrics against an independent implementation, and their laws."""

import numpy as np
import pytest
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from conftest import SAMPLES
from srcli.imaging.color import luma
from srcli.imaging.image import read
from srcli.imaging.metrics import METRICS, mse, psnr, ssim


@pytest.fixture
def pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    plane = luma(read(SAMPLES / "astronaut.png").pixels[:90, :110].astype(np.float64))
    return plane, np.clip(plane + rng.normal(0, 0.05, plane.shape), 0, 1)


def test_equal_to_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    assert mse(a, b) == pytest.approx(mean_squared_error(a, b), rel=1e-12)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), rel=1e-12)
    wang = structural_similarity(
        a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )[1]
    assert ssim(a, b) == pytest.approx(wang[5:-5, 5:-5].mean(), abs=1e-9)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_symmetric(name: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    assert METRICS[name](a, b) == pytest.approx(METRICS[name](b, a), rel=1e-12)


def test_equal_images(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, _ = pair
    assert (mse(a, a), psnr(a, a)) == (0, float("inf"))
    assert ssim(a, a) == pytest.approx(1)


def test_psnr_of_a_known_error() -> None:
    assert psnr(np.zeros((4, 4)), np.full((4, 4), 0.1)) == pytest.approx(20)
