"""The comparison sheet: the same region of every picture, unaltered."""

import numpy as np
import pytest

from srcli.report.pictures import Panel, Region, draw_error_map, draw_sheet, find_busiest


def test_a_region_is_the_same_place_at_every_size(rng: np.random.Generator) -> None:
    lr = rng.random((12, 16, 3), np.float32)
    region = Region(3, 5, 4, 6)
    np.testing.assert_array_equal(region.crop(lr, 12), lr[3:7, 5:11])
    hr = lr.repeat(3, 0).repeat(3, 1)
    np.testing.assert_array_equal(region.crop(hr, 12), hr[9:21, 15:33])


@pytest.mark.parametrize(("y", "x"), [(0, 0), (20, 44), (40, 12)])
def test_the_busiest_place_is_where_the_detail_is(y: int, x: int, rng: np.random.Generator) -> None:
    pixels = np.full((60, 70, 3), 0.5, np.float32)
    pixels[y : y + 16, x : x + 16] = rng.random((16, 16, 3))
    found = find_busiest(pixels, 16)
    assert abs(found.y - y) <= 1
    assert abs(found.x - x) <= 1
    assert find_busiest(pixels[:1, :1], 16) == Region(0, 0, 1, 1)


def test_error_maps_are_black_where_equal_and_white_where_far() -> None:
    a = np.zeros((4, 4, 3), np.float32)
    b = a.copy()
    b[0, 0] = 1
    shown = draw_error_map(a, b)
    assert shown[0, 0, 0] == 1
    assert shown[1:].max() == 0


def test_the_sheet_shows_the_samples_themselves(rng: np.random.Generator) -> None:
    """Each crop, magnified by a whole number, is found on the sheet; seven panels make two rows."""
    crops = [(rng.integers(0, 256, (60, 60, 3)) / 255).astype(np.float32) for _ in range(7)]
    whole = draw_sheet([Panel(f"method {k}", crop, error=crop) for k, crop in enumerate(crops)])
    one = draw_sheet([Panel("one", crops[0])])
    assert whole.shape[0] > 2 * one.shape[0]
    assert whole.shape[1] == 4 * 240 + 5 * 8
    assert draw_sheet([Panel("one", crops[0])], "heading").shape[0] > one.shape[0]
    top, left = one.shape[0] - 8 - 240, 8
    np.testing.assert_allclose(one[top : top + 240 : 4, left : left + 240 : 4], crops[0], atol=1e-6)
