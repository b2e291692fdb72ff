"""Kinds of pictures: the confusion matrix, and what must never happen."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.paths import SAMPLES
from srcli.imaging.picture_kind import Kind, Picture, examine_picture
from tools import picture_cases
from tools.spoilt import CASES, Case, make_case

PHOTOS = ("astronaut", "camera", "chelsea", "coffee")


@cache
def examine_cases() -> tuple[tuple[Kind, Picture], ...]:
    return tuple((kind, examine_picture(samples)) for kind, samples in picture_cases.draw_cases())


def test_at_least_95_percent_are_right() -> None:
    cases = examine_cases()
    right = sum(kind is found.kind for kind, found in cases)
    assert len(cases) >= 200
    assert right >= 0.95 * len(cases)


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_is_mostly_right(kind: Kind) -> None:
    found = Counter(picture.kind for drawn, picture in examine_cases() if drawn is kind)
    assert found[kind] >= 0.9 * found.total() > 0


@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.PIXEL_ART])
def test_text_and_pixel_art_are_never_sent_to_a_denoiser(kind: Kind) -> None:
    assert not [found for drawn, found in examine_cases() if drawn is kind and found.is_degraded]


@pytest.mark.parametrize("name", PHOTOS)
def test_the_samples_are_clean_photographs(name: str) -> None:
    with PilImage.open(SAMPLES / f"{name}.png") as file:
        assert examine_picture(np.asarray(file)).kind is Kind.CLEAN


@pytest.mark.parametrize("first", [30, 60])
def test_a_second_save_does_not_hide_the_first(first: int) -> None:
    with PilImage.open(SAMPLES / "chelsea.png") as file:
        once = picture_cases.save_as_jpeg(file.convert("RGB"), first)
    for picture in (once, once.crop((3, 5, *once.size))):
        assert examine_picture(np.asarray(picture_cases.save_as_jpeg(picture, 95))).kind is Kind.BLOCKED


def test_jpeg_does_not_hide_drawings() -> None:
    """Their ripples were taken for the texture of a photograph, and sharpened."""
    found = []
    for seed in range(300, 330):
        drawing = picture_cases.DRAW[Kind.DRAWING](np.random.default_rng(seed))
        found.append(examine_picture(np.asarray(picture_cases.save_as_jpeg(drawing, 45 + seed % 50))).kind)
    assert found.count(Kind.DRAWING) >= 26


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("smaller", [1, 2, 3])
def test_photographs_in_jpeg_are_no_drawings(name: str, smaller: int) -> None:
    with PilImage.open(SAMPLES / f"{name}.png") as file:
        small = picture_cases.save_as_jpeg(file.convert("RGB").reduce(smaller), 80)
    assert examine_picture(np.asarray(small)).kind is not Kind.DRAWING


@pytest.mark.parametrize("case", [case for case in CASES if case.picture != "page"])
def test_spoilt_pictures_are_seen_to_be_spoilt(case: Case) -> None:
    """Those of docs/photographs.md, among them three that a phone has smoothed, sharpened and compressed."""
    found = examine_picture(make_case(case))
    assert found.kind is Kind.DRAWING if case.picture == "drawing" else found.is_degraded


@pytest.mark.parametrize("factor", range(2, 17))
def test_the_pixels_of_pixel_art_are_measured(factor: int) -> None:
    random = np.random.default_rng(factor)
    palette = random.integers(0, 256, (8, 3)).astype(np.uint8)
    sprite = palette[random.integers(0, 8, (24, 32))]
    large = sprite.repeat(factor, 0).repeat(factor, 1)
    assert examine_picture(large) == Picture(Kind.PIXEL_ART, pixel=factor)
    assert examine_picture(large[factor // 2 :, factor // 3 :]).pixel == factor  # cropped within a pixel


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
def test_depth_alpha_and_grey_change_nothing(depth: type[np.number]) -> None:
    with PilImage.open(SAMPLES / "camera.png") as file:
        grey = np.asarray(file.convert("L"))
    scaled = grey.astype(np.float32) / 255 if depth is np.float32 else grey.astype(depth)
    scaled = scaled * 257 if depth is np.uint16 else scaled
    opaque = np.full_like(scaled, {np.uint8: 255, np.uint16: 65535, np.float32: 1}[depth])
    for samples in (scaled, np.stack([scaled] * 3, axis=-1), np.stack([scaled] * 3 + [opaque], axis=-1)):
        found = examine_picture(samples)
        assert found.kind is Kind.CLEAN
        assert found.noise == pytest.approx(examine_picture(grey).noise, rel=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (31, 31), (33, 40), (2000, 3)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_and_tiny_images(size: tuple[int, int], value: int) -> None:
    assert examine_picture(np.full((*size, 3), value, np.uint8)) == Picture(Kind.CLEAN)
