"""Transparency without fringes, and grey without a tint."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from helpers.command import Run
from helpers.images import copy_sample
from srcli import archs
from srcli.engine.weights import files
from srcli.imaging import rows
from srcli.imaging.alpha import bleed_alpha
from srcli.imaging.codecs.base import Frame
from srcli.imaging.image import Image, read_image, to_image, to_samples, write_image
from srcli.imaging.pixels import Pixels, Plane
from srcli.methods import load_method
from srcli.upscaling.pipeline import Pipeline


def cut_out(side: int = 48) -> tuple[Pixels, Plane]:
    """A disc of orange with a soft rim."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    distance = np.hypot(x - side / 2 + 0.5, y - side / 2 + 0.5)
    alpha = np.clip(side / 3 - distance + 0.5, 0, 1).astype(np.float32)
    colour = np.array([0.9, 0.5, 0.1], np.float32)
    shade = (0.8 + 0.2 * np.sin((x + 0.5) / side * 12))[..., None].astype(np.float32)
    return colour * shade, alpha


def over(image: Image, ground: float) -> Pixels:
    assert image.alpha is not None
    return image.pixels * image.alpha[..., None] + ground * (1 - image.alpha[..., None])


@pytest.mark.parametrize("model", ["bicubic", "lanczos", "ecbsr", "fsrcnn"])
def test_a_cut_out_has_no_fringe_over_black_or_white(model: str) -> None:
    """Whatever colour lies hidden, the same comes out; and it is that of the picture itself."""
    pixels, alpha = cut_out()
    results = []
    for hidden in (0.0, 1.0):
        under = np.where(alpha[..., None] > 0, pixels, np.float32(hidden))
        pipeline = Pipeline(load_method(model, 4), 4, (192, 192), depth=32)
        samples = pipeline.run(Frame(to_samples(Image(under, alpha), 32), 32)).whole()
        results.append(to_image(Frame(samples, 32)))
    np.testing.assert_array_equal(results[0].pixels, results[1].pixels)
    truth, rim = cut_out(192)
    for result in results:
        assert result.alpha is not None
        seen = result.alpha > 0.02
        assert np.abs(result.pixels - truth)[seen].max() < 0.2  # 0.9 where nothing is spread
        for ground in (0.0, 1.0):
            ideal = over(Image(truth, result.alpha), ground)
            assert np.abs(over(result, ground) - ideal)[seen].mean() < 0.02
        assert np.abs(result.alpha - rim).mean() < 0.015


def bleed(pixels: Pixels, alpha: Plane) -> Pixels:
    return bleed_alpha(rows.of(pixels), rows.of(alpha[..., None])).whole()


def test_colours_spread_from_the_nearest() -> None:
    pixels = np.zeros((33, 50, 3), np.float32)
    alpha = np.zeros((33, 50), np.float32)
    pixels[:, :4], alpha[:, :4] = (1, 0, 0), 1
    pixels[:, -4:], alpha[:, -4:] = (0, 0, 1), 0.5
    filled = bleed(pixels, alpha)
    np.testing.assert_array_equal(filled[alpha > 0], pixels[alpha > 0])
    assert filled[:, 5, 0].min() > 0.8
    assert filled[:, -6, 2].min() > 0.8
    assert (filled.sum(axis=2) > 0.9).all()


def test_nothing_to_spread() -> None:
    pixels = np.random.default_rng(0).random((5, 7, 3), np.float32)
    for level in (0, 1):
        np.testing.assert_array_equal(bleed(pixels, np.full((5, 7), level, np.float32)), pixels)
    one = np.zeros((5, 7), np.float32)
    one[2, 3] = 0.5
    np.testing.assert_allclose(bleed(pixels, one), np.broadcast_to(pixels[2, 3], pixels.shape), atol=1e-6)


def test_spreading_takes_little_memory() -> None:
    """The whole image as floats, with copies of it, would take more than 40 bytes for each pixel."""
    samples = np.full((1500, 1500, 4), 90, np.uint8)
    samples[:, :500, 3] = 0
    pipeline = Pipeline(load_method("bicubic", 2), 2, (150, 150))
    tracemalloc.start()
    try:
        assert sum(len(band) for band in pipeline.run(Frame(samples, 8)).bands()) == 150
        assert tracemalloc.get_traced_memory()[1] < 20 * 1500 * 1500
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("arch", ["edsr", "srvgg"])
def test_grey_stays_grey_to_the_bit(arch: str, tmp_path: Path, sr: Run) -> None:
    """Through a network for colours with random weights, from a file with one channel or with three."""
    pytest.importorskip("torch")
    spec = files.Spec(arch, 2, {"features": 8} | ({"blocks": 1} if arch == "edsr" else {"convs": 2}))
    file = tmp_path / "w.safetensors"
    files.save_network(file, archs.build(arch, 2, spec.config), spec, {})
    camera = read_image(copy_sample("camera.png", tmp_path)).pixels[:50, :50]
    for name, grey, depth in (("one", True, 8), ("three", False, 8), ("deep", False, 16)):
        write_image(tmp_path / f"{name}.png", Image(camera, grey=grey, depth=depth))
        done = sr("upscale", tmp_path / f"{name}.png", "-x2", "-w", file)
        assert done.code == 0, done.err
        out = read_image(tmp_path / f"{name}_x2.png")
        assert (out.grey, out.depth) == (grey, depth)
        np.testing.assert_array_equal(out.pixels[..., 0], out.pixels[..., 1])
        np.testing.assert_array_equal(out.pixels[..., 0], out.pixels[..., 2])


def test_an_alpha_that_hides_nothing_is_no_hindrance(tmp_path: Path, photo: Path, sr: Run) -> None:
    pixels = read_image(photo).pixels
    for level, code in ((1.0, 0), (0.5, 1)):
        write_image(tmp_path / "a.png", Image(pixels, np.full((60, 80), level, np.float32)))
        done = sr("upscale", tmp_path / "a.png", "-x2", "-m", "bicubic", "-o", tmp_path / f"{level}.jpg")
        assert done.code == code
        assert ("cannot hold transparency" in done.err) == bool(code)
