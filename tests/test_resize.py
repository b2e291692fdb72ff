"""Resizing: first its laws, then MATLAB's values."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.paths import ROOT, SAMPLES
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.image import read_image
from srcli.imaging.pixels import to_uint8
from srcli.imaging.resize import KERNELS, compute_taps, resize, resize_8bit

GOLDEN = ROOT / "tests" / "golden"
sizes = st.integers(1, 60)
methods = st.sampled_from(sorted(KERNELS))


@given(sizes, sizes, methods)
def test_weights_of_every_output_sum_to_one(size: int, out: int, method: str) -> None:
    index, weights = compute_taps(size, out, KERNELS[method])
    assert index.shape == weights.shape == (out, index.shape[1])
    assert index.min() >= 0
    assert index.max() < size
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)


@given(sizes, sizes, sizes, sizes, methods)
def test_a_flat_image_stays_flat(h: int, w: int, height: int, width: int, method: str) -> None:
    out = resize(np.full((h, w, 3), 0.25, np.float32), height, width, method)
    assert out.shape == (height, width, 3)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, 0.25, atol=1e-6)


@pytest.mark.parametrize("method", sorted(KERNELS))
def test_the_same_size_changes_nothing(method: str, rng: np.random.Generator) -> None:
    pixels = rng.random((9, 7, 3), np.float32)
    np.testing.assert_allclose(resize(pixels, 9, 7, method), pixels, atol=1e-6)


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(18, 14), (27, 30), (4, 3), (13, 11)])
def test_flipping_commutes_with_resizing(
    method: str, size: tuple[int, int], rng: np.random.Generator
) -> None:
    pixels = rng.random((9, 7, 3), np.float32)
    flipped = resize(pixels[::-1, ::-1], *size, method)[::-1, ::-1]
    np.testing.assert_allclose(flipped, resize(pixels, *size, method), atol=1e-6)


def test_nearest_repeats_pixels(rng: np.random.Generator) -> None:
    pixels = rng.random((5, 4, 3), np.float32)
    np.testing.assert_array_equal(resize(pixels, 15, 12, "nearest"), pixels.repeat(3, 0).repeat(3, 1))


def test_bicubic_by_hand() -> None:
    """Keys' kernel at 1/4 and 3/4 of a pixel, a = -0.5, border pixels repeated by mirroring."""
    step = np.array([0, 0, 0, 1, 1, 1], np.float32)[None, :, None]
    enlarged = resize(step, 1, 12)[0, :, 0]
    near, far = 0.8671875, 0.0703125  # weights of the nearest pixel and of the second-nearest outward
    np.testing.assert_allclose(enlarged[5], 1 - near + far, atol=1e-6)
    np.testing.assert_allclose(enlarged[6], near - far, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reduction_equals_its_golden(scale: int) -> None:
    """The golden files were made when all of Set5 was reproduced; they keep it true without Set5."""
    hr = read_image(SAMPLES / "coffee.png").pixels[40:137, 200:301]
    golden = to_uint8(read_image(GOLDEN / f"coffee_x{scale}.png").pixels)
    np.testing.assert_array_equal(to_uint8(downscale_bicubic(hr, scale)), golden)


def test_8bit_differs_from_float_by_rounding_only(rng: np.random.Generator) -> None:
    pixels = (rng.integers(80, 176, (12, 15, 3)) / 255).astype(np.float32)
    assert np.abs(resize_8bit(pixels, 24, 30) - resize(pixels, 24, 30)).max() < 1.5 / 255


@pytest.mark.parity
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["baby", "bird", "butterfly", "head", "woman"])
def test_set5_is_reduced_as_matlab_does(name: str, scale: int, shared: Path) -> None:
    set5 = shared / "data" / "Set5"
    ours = to_uint8(downscale_bicubic(read_image(set5 / f"{name}.png").pixels, scale))
    matlab = to_uint8(read_image(set5 / "LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png").pixels)
    assert np.count_nonzero(ours != matlab) == 0
