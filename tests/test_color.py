"""Colour: reference values of BT.601 in studio range, and inverses."""

import numpy as np
import pytest

from srcli.imaging import color


@pytest.mark.parametrize(
    ("rgb", "ycbcr"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((1, 1, 1), (235, 128, 128)),
        ((1, 0, 0), (81.481, 90.203, 240)),
        ((0, 0, 1), (40.966, 240, 109.786)),
    ],
)
def test_reference_values(rgb: tuple[float, ...], ycbcr: tuple[float, ...]) -> None:
    pixels = np.array([[rgb]], np.float32)
    np.testing.assert_allclose(color.rgb_to_ycbcr(pixels)[0, 0] * 255, ycbcr, atol=1e-3)
    np.testing.assert_allclose(color.luma(pixels)[0, 0] * 255, ycbcr[0], atol=1e-3)


def test_there_and_back(rng: np.random.Generator) -> None:
    pixels = rng.random((6, 5, 3), np.float32)
    np.testing.assert_allclose(color.ycbcr_to_rgb(color.rgb_to_ycbcr(pixels)), pixels, atol=1e-6)
    np.testing.assert_allclose(color.merge_luma(color.luma(pixels), pixels), pixels, atol=1e-6)


def test_grey_from_luma_has_equal_channels_and_the_same_luma(rng: np.random.Generator) -> None:
    plane = rng.uniform(16 / 255, 235 / 255, (4, 4)).astype(np.float32)
    grey = color.luma_to_rgb(plane)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    np.testing.assert_allclose(color.luma(grey), plane, atol=1e-6)
