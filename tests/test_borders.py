"""What networks see beyond the border of an image, and images that repeat."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.command import Run
from helpers.images import crop_photo
from srcli import manifest
from srcli.engine.tiles import plan_tiles
from srcli.engine.upscaler import Upscaler
from srcli.imaging import rows
from srcli.imaging.codecs.base import Frame
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels
from srcli.methods import MethodOptions, load_method
from srcli.scales import ANY
from srcli.upscaling.pipeline import Pipeline
from srcli.upscaling.postprocess import Postprocess

MIRRORING = [entry for entry in manifest.load() if entry.border == "mirror"]


def load_stage(entry: manifest.Entry, **options: int) -> Upscaler:
    (stage,) = load_method(entry.model, entry.scale, MethodOptions("cpu", **options)).stages
    assert isinstance(stage, Upscaler)
    return stage


@pytest.mark.parametrize("entry", MIRRORING, ids=lambda entry: entry.name)
def test_white_borders_stay_white(entry: manifest.Entry) -> None:
    """With zeros beyond the border, they become up to 12 of 255 levels darker."""
    stage, white = load_stage(entry), np.ones((20, 24, 3), np.float32)
    assert stage.mirrors_border
    assert stage(white).min() > 1 - 0.6 / 255
    assert replace(stage, mirrors_border=False)(white).min() < 1 - 2 / 255


@pytest.mark.parametrize("entry", MIRRORING, ids=lambda entry: entry.name)
def test_the_border_is_that_of_a_mirrored_image(entry: manifest.Entry) -> None:
    stage, photo, width = load_stage(entry), crop_photo(30, 40), 16
    padded = np.pad(photo, [(width, width), (width, width), (0, 0)], "symmetric")
    inner = slice(width * entry.scale, -width * entry.scale)
    expected = replace(stage, mirrors_border=False)(padded)[inner, inner]
    assert np.abs(stage(photo) - expected).max() < 1e-4


@pytest.mark.parametrize("tile", [16, 33, 64])
def test_tiles_equal_the_whole(tile: int) -> None:
    entry, photo = MIRRORING[0], crop_photo(60, 90)
    whole = load_stage(entry)(photo)
    assert np.abs(load_stage(entry, tile=tile)(photo) - whole).max() < 1e-4


def test_images_smaller_than_the_halo() -> None:
    stage = load_stage(MIRRORING[0])
    for height, width in ((1, 1), (2, 40), (5, 3)):
        out = stage(crop_photo(height, width))
        assert out.shape == (height * stage.scale, width * stage.scale, 3)


def test_only_whole_scales_mirror() -> None:
    """Networks for any scale take no margin: their outputs are not at multiples of an input pixel."""
    assert all(entry.border == "zero" for entry in manifest.load() if entry.scale == ANY)


@pytest.mark.parametrize("uniform_tiles", [False, True])
@pytest.mark.parametrize(
    ("length", "tile", "halo", "alignment"), [(100, 32, 5, 1), (97, 40, 8, 4), (16, 64, 6, 2)]
)
def test_tiles_reach_into_the_margin(
    length: int, tile: int, halo: int, alignment: int, uniform_tiles: bool
) -> None:
    margin = -(-halo // alignment) * alignment
    tiles = list(
        plan_tiles(length, length, (tile, tile), halo, alignment, uniform_tiles=uniform_tiles, margin=margin)
    )
    for y, x in tiles:
        for span in (y, x):
            assert -margin <= span.start <= span.keep_start - halo
            assert span.keep_stop + halo <= span.stop <= length + margin
            assert span.start % alignment == 0
    if uniform_tiles and length % alignment == 0:
        assert len({(y.stop - y.start, x.stop - x.start) for y, x in tiles}) == 1


@pytest.mark.parametrize(("fold", "mode"), [(rows.reflect, "symmetric"), (rows.repeat, "wrap")])
def test_extended_images(fold: rows.Fold, mode: str) -> None:
    photo = crop_photo(7, 9)
    for margin in (0, 3, 7, 20):
        padded = np.pad(photo, [(margin, margin), (margin, margin), (0, 0)], mode)  # type: ignore[call-overload]
        extended = rows.extend(rows.of(photo), margin, fold)
        assert np.array_equal(extended.whole(), padded)
        assert np.array_equal(extended.read(2, 5), padded[2:5])
        assert np.array_equal(rows.crop(extended, 7, 9).whole(), photo)


def test_the_choice_of_borders_is_measured() -> None:
    """`mirror` is for files that darken a white border by a level or more, and cost less than 0.015 dB."""
    measured = json.loads(Path("benchmarks/results/borders.json").read_text("utf-8"))
    for entry in manifest.load():
        if entry.name in measured:
            zero, mirror = measured[entry.name]["zero"], measured[entry.name]["mirror"]
            better = zero["darker"] >= 1 and mirror["psnr_y"] > zero["psnr_y"] - 0.015
            assert (entry.border == "mirror") == better, entry.name
    assert {"fsrcnn-x4", "espcn-x4"} < {entry.name for entry in MIRRORING} <= set(measured)


def upscale_wrapped(pixels: Pixels, model: str, width: int) -> tuple[Pixels, Pixels]:
    """Return a texture enlarged with --wrap, and the middle of its 3x3 repetition."""
    height = width * pixels.shape[0] // pixels.shape[1]
    scale = width / pixels.shape[1]
    method = load_method(model, scale, MethodOptions("cpu")) if scale > 1 else None
    one = Pipeline(method, scale, (width, height), Postprocess(wrap=True), 32).run(Frame(pixels, 32)).whole()
    nine = np.tile(pixels, (3, 3, 1))
    plain = Pipeline(method, scale, (3 * width, 3 * height), depth=32).run(Frame(nine, 32)).whole()
    return one, plain[height : 2 * height, width : 2 * width]


@pytest.mark.parametrize("model", ["bicubic", "lanczos", "fsrcnn", "espcn", "ecbsr"])
@pytest.mark.parametrize("width", [96, 80, 20])
def test_a_wrapped_texture_is_the_middle_of_its_repetition(model: str, width: int) -> None:
    """32 pixels become 96, 80 (2.5 times) or 20 (reduced)."""
    one, middle = upscale_wrapped(crop_photo(24, 32), model, width)
    assert one.shape == middle.shape
    # Interpolators round to levels in between, where halves may fall on either side.
    assert np.abs(one - middle).max() < 1.1 / 255
    assert (np.abs(one - middle) > 1e-4).mean() < 1e-3


def test_wrapped_textures_have_no_seam(in_tmp: Path, sr: Run) -> None:
    ramp = np.sin(np.arange(32) / 32 * 2 * np.pi) * 100 + 128
    PilImage.fromarray(np.tile(ramp, (16, 1)).astype(np.uint8)).save("a.png")
    assert sr("upscale", "a.png", "-m", "fsrcnn", "-x4", "--wrap", "-o", "b.png").code == 0
    assert sr("upscale", "a.png", "-m", "fsrcnn", "-x4", "-o", "c.png").code == 0

    def measure_seam(name: str) -> float:
        pixels = read_image(Path(name)).pixels[..., 0] * 255
        return float(np.abs(pixels[:, 0] - pixels[:, -1]).max())

    assert measure_seam("b.png") < 7  # as between other neighbours of the slope
    assert measure_seam("c.png") > 8
    done = sr("upscale", "a.png", "--wrap", "--uncertainty", "u.png", "-o", "d.png")
    assert (done.code, "--wrap cannot be used with --uncertainty" in done.err) == (2, True)
