"""Unsharp masking: what it leaves alone, what it raises, and that training sees it."""

from pathlib import Path
from statistics import NormalDist

import cv2
import numpy as np
import pytest

from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels, to_uint8
from srcli.imaging.sharpen import unsharp_mask
from srcli.train import sources
from srcli.train.store import Store, StoreSpec, open_store


def edge(height: float) -> Pixels:
    """Dark on the left, brighter by `height` on the right."""
    image = np.full((96, 96, 3), 0.4, np.float32)
    image[:, 48:] += height
    return image


def test_what_hardly_differs_from_its_surroundings_stays() -> None:
    """Noise of a few levels is not an edge."""
    noise = np.random.default_rng(0).uniform(-8, 8, (96, 96, 3)).astype(np.float32) / 255
    assert np.array_equal(unsharp_mask(0.5 + noise, 0.5), 0.5 + noise)


def test_an_edge_is_raised_by_what_sets_it_apart_where_that_is_much() -> None:
    """The law of a step of height h under a bell of 8 pixels, worked out with the normal distribution."""
    height, amount = 0.2, 0.5
    bell = NormalDist(0, 8)
    apart = height * bell.cdf(-0.5)
    reach = -bell.inv_cdf(10 / 255 / height)
    weight = bell.cdf(reach - 0.5) - bell.cdf(-reach - 0.5)
    sharp = unsharp_mask(edge(height), amount)
    assert sharp[48, 48, 0] - sharp[48, 47, 0] == pytest.approx(
        height + 2 * amount * apart * weight, abs=2e-3
    )
    assert np.allclose(sharp[:, 0], 0.4, atol=1e-3)


def test_no_amount_changes_nothing_and_nothing_leaves_the_range() -> None:
    """Amounts raise steadily, and are clipped."""
    image = edge(0.5)
    assert np.allclose(unsharp_mask(image, 0), image, atol=1e-6)
    strong = unsharp_mask(image, 2)
    assert strong.min() >= 0
    assert strong.max() <= 1


def opened(folder: Path, sharpen: float) -> Store:
    """A store of the folder's images."""
    wanted = StoreSpec(2, 16, sharpen=sharpen)
    return open_store([sources.parse(str(folder), 2)], wanted, lambda stage, done, total: None)


def test_training_sees_sharpened_images_and_reductions_of_them(tmp_path: Path) -> None:
    """Both stores live beside each other, each with its own low resolution."""
    cv2.imwrite(str(tmp_path / "a.png"), to_uint8(edge(0.3)))
    plain, sharp = opened(tmp_path, 0.0), opened(tmp_path, 0.5)
    expected = to_uint8(unsharp_mask(read_image(tmp_path / "a.png").pixels, 0.5))
    assert np.array_equal(sharp.hr.image(0), expected)
    assert sharp.lr
    assert plain.lr
    assert int(np.ptp(sharp.lr.image(0))) > int(np.ptp(plain.lr.image(0)))
    assert np.array_equal(opened(tmp_path, 0.0).hr.image(0), to_uint8(edge(0.3)))
