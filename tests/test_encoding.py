"""How outputs are encoded: as their sources, if the format stays; what is lost is said."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage
from PIL.JpegImagePlugin import get_sampling

from helpers.command import Run
from helpers.images import crop_photo
from srcli.errors import UsageError
from srcli.imaging.codecs import jpeg, png, webp
from srcli.imaging.codecs.base import BandedImage, Coding, EncodingOptions
from srcli.imaging.codecs.reading import read_coding
from srcli.imaging.image import Image, read_image, write_image
from srcli.upscaling.encoding import choose_encoding

FAST = ("-m", "bicubic", "-x2")
PHOTO = PilImage.fromarray(np.rint(crop_photo(48, 64) * 255).astype(np.uint8))
RATIOS = ("4:4:4", "4:2:2", "4:2:0")


def save(name: str, **options: Any) -> Path:
    PHOTO.save(name, **options)
    return Path(name)


@pytest.mark.parametrize("quality", [30, 75, 90, 100])
@pytest.mark.parametrize("ratio", RATIOS)
def test_jpeg_keeps_quality_and_subsampling(quality: int, ratio: str, in_tmp: Path, sr: Run) -> None:
    done = sr("upscale", save("a.jpg", quality=quality, subsampling=ratio), *FAST, "-o", "b.jpg")
    assert done.code == 0
    taken = f"quality {quality}" if ratio == "4:4:4" else f"quality {quality} and {ratio}"
    assert f"{taken} as in the input" in done.out
    with PilImage.open("a.jpg") as old, PilImage.open("b.jpg") as new:
        assert new.quantization == old.quantization
        assert get_sampling(new) == get_sampling(old) == RATIOS.index(ratio)


def test_streamed_jpeg_keeps_them_too(in_tmp: Path, sr: Run) -> None:
    assert sr("upscale", save("a.jpg", quality=60), *FAST, "-o", "b.jpg", "--stream").code == 0
    with PilImage.open("a.jpg") as old, PilImage.open("b.jpg") as new:
        assert new.quantization == old.quantization
        assert get_sampling(new) == get_sampling(old)


def test_options_win_and_losses_are_said(in_tmp: Path, sr: Run) -> None:
    source = save("a.jpg", quality=90, subsampling="4:4:4")
    done = sr("upscale", source, *FAST, "-o", "b.jpg", "--quality", "50", "--subsampling", "4:2:0")
    assert "quality 90 -> 50  4:4:4 -> 4:2:0" in done.out
    with PilImage.open("b.jpg") as new:
        assert get_sampling(new) == 2
    done = sr("upscale", source, *FAST, "-o", "c.jpg", "--quality", "95")
    assert "->" not in done.out.split("  ", 2)[2]
    assert "as in the input" not in done.out


def test_lossless_webp_stays_lossless(in_tmp: Path, sr: Run) -> None:
    source = save("a.webp", lossless=True)
    assert "lossless as in the input" in sr("upscale", source, *FAST, "-o", "b.webp").out
    assert sr("upscale", source, *FAST, "-o", "b.png").code == 0
    assert np.array_equal(read_image(Path("b.webp")).pixels, read_image(Path("b.png")).pixels)
    done = sr("upscale", source, *FAST, "-o", "c.webp", "--quality", "80")
    assert "lossless -> lossy, quality 80" in done.out
    assert not read_coding(Path("c.webp"))[1].is_lossless
    done = sr("upscale", source, *FAST, "-o", "d.jpg")
    assert "lossless -> lossy, quality 95" in done.out
    done = sr("upscale", save("e.webp", quality=80), *FAST, "-o", "f.webp")
    assert "lossless" not in done.out


def test_animations_are_lossless_if_all_frames_are(in_tmp: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    frames = [PilImage.fromarray(each) for each in noise]
    for lossless in (True, False):
        frames[0].save("a.webp", save_all=True, append_images=frames[1:], lossless=lossless)
        assert webp.CODEC.read_coding(Path("a.webp")).is_lossless is lossless


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("alpha", [False, True])
def test_avif_keeps_subsampling(ratio: str, alpha: bool, in_tmp: Path, sr: Run) -> None:
    picture = PHOTO.copy()
    if alpha:
        picture.putalpha(PHOTO.convert("L"))
    picture.save("a.avif", subsampling=ratio)
    done = sr("upscale", "a.avif", *FAST, "-o", "b.avif")
    assert (f"{ratio} as in the input" in done.out) == (ratio != "4:2:0")
    assert read_coding(Path("b.avif"))[1].subsampling == ratio
    if ratio == "4:4:4":
        assert (
            "4:4:4 -> 4:2:0" in sr("upscale", "a.avif", *FAST, "-o", "c.avif", "--subsampling", "4:2:0").out
        )


@pytest.mark.parametrize("ratio", RATIOS)
def test_heic_keeps_subsampling(ratio: str, in_tmp: Path, sr: Run) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(PHOTO).save("a.heic", chroma=int(ratio.replace(":", "")))
    assert read_coding(Path("a.heic"))[1].subsampling == ratio
    done = sr("upscale", "a.heic", *FAST, "-o", "b.heic")
    assert (f"{ratio} as in the input" in done.out) == (ratio != "4:2:0")
    assert read_coding(Path("b.heic"))[1].subsampling == ratio


def test_other_formats_have_their_defaults() -> None:
    """Only what one format knows of itself is taken over."""
    asked = EncodingOptions()
    choice = choose_encoding(jpeg.CODEC, Coding(40, "4:2:0"), webp.CODEC, asked)
    assert (choice.encoding, choice.notes) == (asked, ())


def test_metadata_that_is_lost_is_said(in_tmp: Path, sr: Run) -> None:
    exif = PilImage.Exif()
    exif[0x010F] = "A camera"
    save("a.jpg", exif=exif, dpi=(300, 300), comment=b"a cup")
    assert "EXIF, comment not kept" in sr("upscale", "a.jpg", *FAST, "-o", "b.bmp").out
    assert "EXIF, resolution not kept" in sr("upscale", "a.jpg", *FAST, "-o", "b.j2k").out
    assert "not kept" not in sr("upscale", "a.jpg", *FAST, "-o", "c.bmp", "--strip").out
    assert "not kept" not in sr("upscale", "a.jpg", *FAST, "-o", "d.jpg").out
    exif[0x9286] = "x" * 70000
    save("e.png", exif=exif)
    assert "EXIF not kept" in sr("upscale", "e.png", *FAST, "-o", "f.jpg").out


def test_lossless_sources_of_lossy_outputs(in_tmp: Path, sr: Run) -> None:
    write_image(Path("a.png"), Image(crop_photo(20, 30)))
    done = sr("upscale", "a.png", *FAST, "-o", "b.jpg", "--json")
    assert '"notes": ["lossless -> lossy, quality 95"]' in done.out


@pytest.mark.parametrize("shape", [(1, 1), (70, 3), (33, 40, 3), (129, 31, 4)])
def test_png_by_threads_is_the_same_picture(
    shape: tuple[int, ...], in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a second decoder, and not larger than by one compressor but for the ends of bands."""
    import cv2

    samples = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    samples[: len(samples) // 2] //= 64
    sizes = {}
    for name, many in (("threads", 0), ("single", 2**60)):
        monkeypatch.setattr(png, "_MANY_BYTES", many)
        bands = (samples[top : top + 32] for top in range(0, len(samples), 32))
        with Path(f"{name}.png").open("wb") as file:
            png.CODEC.write_rows(file, BandedImage(shape, 8, bands), EncodingOptions())
        sizes[name] = Path(f"{name}.png").stat().st_size
        assert np.array_equal(np.asarray(PilImage.open(f"{name}.png")), samples)
    read = cv2.imread("threads.png", cv2.IMREAD_UNCHANGED)
    assert read.size == samples.size
    assert sizes["threads"] <= sizes["single"] + 40 * (1 + len(samples) // 32)


def test_png_by_threads_passes_errors_on(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "_MANY_BYTES", 0)

    def fail() -> Iterator[np.ndarray]:
        yield np.zeros((32, 8, 3), np.uint8)
        raise ValueError("the network failed")

    with Path("a.png").open("wb") as file, pytest.raises(ValueError, match="the network failed"):
        png.CODEC.write_rows(file, BandedImage((64, 8, 3), 8, fail()), EncodingOptions())


LIBRARIES = ("isal.isal_zlib", "zlib_ng.zlib_ng")


@pytest.fixture(params=[(), LIBRARIES[1:], LIBRARIES], ids=["zlib", "zlib-ng", "isal"])
def png_libraries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compress PNG by these libraries, as if no others were installed."""
    for name in request.param:
        pytest.importorskip(name)
    for name in set(LIBRARIES) - set(request.param):
        monkeypatch.setitem(sys.modules, name, None)
    png._find_libraries.cache_clear()
    yield
    png._find_libraries.cache_clear()


@pytest.mark.usefixtures("png_libraries")
@pytest.mark.parametrize(("depth", "large"), [(8, False), (8, True), (16, False)])
def test_png_levels_trade_size_for_time(depth: int, large: bool, in_tmp: Path) -> None:
    """Every level keeps the samples, also if threads compress bands of them."""
    pixels = np.tile(crop_photo(200, 240), (4, 2, 1) if large else (1, 1, 1))
    sizes = {}
    for level in (None, 0, 1, 6):
        write_image(Path("a.png"), Image(pixels, depth=depth), EncodingOptions(png_level=level))
        np.testing.assert_allclose(read_image(Path("a.png")).pixels, pixels, atol=0.51 / (2**depth - 1))
        sizes[level] = Path("a.png").stat().st_size
    assert sizes[0] > pixels.size * depth // 8
    assert max(sizes[None], sizes[1]) < sizes[0]
    assert sizes[6] < 1.02 * min(sizes[None], sizes[1])


def test_the_level_of_a_png_is_an_option(in_tmp: Path, sr: Run) -> None:
    save("a.png")
    assert sr("upscale", "a.png", *FAST, "-o", "b.png", "--png-level", "0").code == 0
    assert sr("upscale", "a.png", *FAST, "-o", "c.png").code == 0
    assert Path("b.png").stat().st_size > 96 * 128 * 3 > Path("c.png").stat().st_size
    assert read_image(Path("b.png")).pixels.tobytes() == read_image(Path("c.png")).pixels.tobytes()
    with pytest.raises(UsageError, match="level 10"):
        EncodingOptions(png_level=10).check()
