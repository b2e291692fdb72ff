"""Reducing in linear light, flattening transparency, and file dates."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.command import Run
from srcli.errors import UsageError
from srcli.imaging.alpha import flatten_alpha
from srcli.imaging.codecs.base import EncodingOptions
from srcli.imaging.image import Image, read_image, write_image

FAST = ("-m", "bicubic", "-x2")
CHECKERBOARD = np.indices((64, 64)).sum(axis=0) % 2


@pytest.mark.parametrize(("options", "grey"), [((), 128), (("--linear-light",), 188)])
def test_a_checkerboard_keeps_its_light(options: tuple[str, ...], grey: int, in_tmp: Path, sr: Run) -> None:
    """Half of the light is 188 in the curve of sRGB; stored values give 128."""
    PilImage.fromarray((CHECKERBOARD * 255).astype(np.uint8)).save("a.png")
    assert sr("upscale", "a.png", "--long-edge", "16", *options, "-o", "b.png").code == 0
    inner = np.asarray(PilImage.open("b.png"))[2:-2, 2:-2]
    assert inner.shape == (12, 12)
    assert np.abs(inner.astype(int) - grey).max() <= 1


def test_floats_are_linear_light_already(in_tmp: Path, sr: Run) -> None:
    """Values above 1 are compressed on the way; with the option, the mean of the light stays."""
    values = np.repeat((CHECKERBOARD * 8).astype(np.float32)[..., None], 3, axis=2)
    write_image(Path("a.tif"), Image(values, depth=32))
    for options, expected in ((("--linear-light",), 4.0), ((), 2.0)):
        assert sr("upscale", "a.tif", "--width", "16", *options, "-o", "b.tif", "--overwrite").code == 0
        inner = read_image(Path("b.tif")).pixels[2:-2, 2:-2]
        assert np.abs(inner - expected).max() < 0.2


def test_linear_light_changes_no_enlargement(in_tmp: Path, sr: Run) -> None:
    PilImage.fromarray((CHECKERBOARD * 255).astype(np.uint8)).save("a.png")
    assert sr("upscale", "a.png", *FAST, "-o", "b.png").code == 0
    assert sr("upscale", "a.png", *FAST, "--linear-light", "-o", "c.png").code == 0
    assert np.array_equal(read_image(Path("b.png")).pixels, read_image(Path("c.png")).pixels)


SAMPLES = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 51]]], np.uint8)


def test_flattening() -> None:
    white, blue = (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)
    assert flatten_alpha(SAMPLES, white).tolist() == [[[255, 0, 0], [255, 255, 255], [255, 204, 204]]]
    assert flatten_alpha(SAMPLES, blue).tolist() == [[[255, 0, 0], [0, 0, 255], [51, 0, 204]]]
    grey = np.array([[[100, 255], [100, 0]]], np.uint8)
    assert flatten_alpha(grey, white).tolist() == [[100, 255]]
    assert flatten_alpha(grey, blue).tolist() == [[[100, 100, 100], [0, 0, 255]]]
    deep = np.array([[[0, 32768]]], np.uint16)
    assert flatten_alpha(deep, white).tolist() == [[32767]]
    light = np.array([[[0.0, 0.0, 0.0, 0.5]]], np.float32)
    assert np.allclose(flatten_alpha(light, (0.5, 0.5, 0.5)), 0.2140 / 2, atol=1e-4)


def test_background_for_formats_without_alpha(in_tmp: Path, sr: Run) -> None:
    PilImage.fromarray(np.tile(SAMPLES, (8, 4, 1))).save("a.png")
    done = sr("upscale", "a.png", *FAST, "-o", "b.jpg")
    assert done.code != 0
    assert "or flatten it: --background white" in done.err
    done = sr("upscale", "a.png", *FAST, "-o", "b.bmp", "--background", "#00f")
    assert done.code == 0
    assert "transparency flattened on #00f" in done.out
    PilImage.fromarray(flatten_alpha(np.tile(SAMPLES, (8, 4, 1)), (0, 0, 1))).save("flat.bmp")
    assert sr("upscale", "flat.bmp", *FAST, "-o", "c.bmp").code == 0
    assert np.array_equal(read_image(Path("b.bmp")).pixels, read_image(Path("c.bmp")).pixels)
    assert sr("upscale", "a.png", *FAST, "-o", "d.png", "--background", "white").code == 0
    assert read_image(Path("d.png")).alpha is not None


def test_unknown_colours() -> None:
    EncodingOptions(background="rgb(1, 2, 3)").check()
    with pytest.raises(UsageError, match="no colour called 'nope'"):
        EncodingOptions(background="nope").check()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_dates_are_kept(suffix: str, in_place: bool, in_tmp: Path, sr: Run) -> None:
    PilImage.new("RGB", (6, 4)).save(f"a.{suffix}")
    os.utime(f"a.{suffix}", ns=(10**18 + 1_000, 10**18 + 2_000))
    output = ("--in-place",) if in_place else ("-o", f"b.{suffix}")
    target = Path(f"a.{suffix}" if in_place else f"b.{suffix}")
    assert sr("upscale", f"a.{suffix}", *FAST, "--keep-dates", *output).code == 0
    assert (target.stat().st_mtime_ns, read_image(target).size) == (10**18 + 2_000, (12, 8))
    if not in_place:
        again = sr("upscale", f"a.{suffix}", *FAST, "--keep-dates", *output, "--skip-existing")
        assert "is up to date" in again.out
        assert sr("upscale", f"a.{suffix}", *FAST, "-o", f"c.{suffix}").code == 0
        assert Path(f"c.{suffix}").stat().st_mtime_ns > 10**18 + 2_000
