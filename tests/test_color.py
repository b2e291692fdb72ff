"""Colour: reference values of BT.601 in studio range, and inverses."""

import numpy as np
import pytest

from srcli.imaging import color
from srcli.imaging.resize import resize


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


def test_luma_is_exchanged_as_by_way_of_chroma(rng: np.random.Generator) -> None:
    pixels, plane = rng.random((6, 5, 3), np.float32), rng.random((6, 5), np.float32)
    ycbcr = color.rgb_to_ycbcr(pixels)
    ycbcr[..., 0] = plane
    merged = color.merge_luma(plane, pixels)
    np.testing.assert_allclose(merged, color.ycbcr_to_rgb(ycbcr), atol=1e-6)
    np.testing.assert_allclose(color.luma(color.remove_luma(pixels)), 16 / 255, atol=1e-6)
    wide = resize(color.remove_luma(pixels), 12, 10), resize(pixels, 12, 10)
    large = rng.random((12, 10), np.float32)
    np.testing.assert_allclose(color.add_luma(wide[0], large), color.merge_luma(large, wide[1]), atol=1e-6)


def test_grey_from_luma_has_equal_channels_and_the_same_luma(rng: np.random.Generator) -> None:
    plane = rng.uniform(16 / 255, 235 / 255, (4, 4)).astype(np.float32)
    grey = color.luma_to_rgb(plane)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    np.testing.assert_allclose(color.luma(grey), plane, atol=1e-6)
