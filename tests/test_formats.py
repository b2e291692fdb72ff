"""What a file holds comes out again: every format, every property, and what docs/formats.md says of them."""

import io
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, ImageCms, PngImagePlugin, TiffImagePlugin
from PIL import Image as PilImage

from helpers.command import Run
from helpers.paths import ROOT
from srcli.errors import ImageError
from srcli.imaging import colorspace
from srcli.imaging.codecs import png, png_chunks, reading, registry
from srcli.imaging.codecs.base import HEAD_BYTES, BandedImage, Codec, EncodingOptions, read_head
from srcli.imaging.codecs.orientation import UPRIGHT
from srcli.imaging.codecs.registry import CODECS
from srcli.imaging.image import Image, read_image, read_images, write_image
from srcli.imaging.metadata import exif
from srcli.imaging.metadata.fields import Metadata, scale_metadata
from tools import formats as table

BICUBIC = ("-m", "bicubic", "-x2")


@pytest.mark.skipif(any(form.missing_package for form in CODECS), reason="the table needs all extras")
def test_the_table_in_the_docs_is_true_and_nothing_is_lost(tmp_path: Path) -> None:
    text = table.make_page(tmp_path)
    assert text == table.PAGE.read_text("utf-8"), "run `python tools/formats.py`"
    assert table.LOST not in text
    assert all(f" {form.name} " in text for form in CODECS)


def deep(rng: np.random.Generator, channels: int, shape: tuple[int, int] = (20, 30)) -> Any:
    return rng.integers(0, 65536, (*shape, channels), dtype=np.uint16)


TIFFS: dict[str, dict[str, Any]] = {
    "big": {"bigtiff": True},
    "tiled": {"tile": (16, 16), "compression": "zlib", "predictor": True},
    "planes": {"planarconfig": "separate"},
    "premultiplied": {"extrasamples": [1]},
    "alpha": {"extrasamples": [2]},
    "big-endian": {"byteorder": ">"},
}


@pytest.mark.parametrize("kind", TIFFS)
def test_deep_tiff_of_any_layout(kind: str, tmp_path: Path, rng: np.random.Generator) -> None:
    samples = deep(rng, 4 if "extrasamples" in TIFFS[kind] else 3)
    if kind == "premultiplied":
        samples[..., :3] = np.minimum(samples[..., :3], samples[..., 3:])
    stored = np.moveaxis(samples, 2, 0) if kind == "planes" else samples
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **TIFFS[kind])
    image = read_image(tmp_path / "a.tif")
    assert (image.depth, image.size) == (16, (30, 20))
    shown = image.pixels if image.alpha is None or kind == "alpha" else image.pixels * image.alpha[..., None]
    np.testing.assert_allclose(shown * 65535, samples[..., :3], atol=1)


def test_deep_grey_with_alpha_white_at_zero_and_half_floats(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = deep(rng, 2)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, samples, photometric="minisblack", extrasamples=[2], planarconfig="contig")
    image = read_image(path)
    assert image.grey
    assert image.alpha is not None
    np.testing.assert_allclose(image.alpha * 65535, samples[..., 1], atol=0.01)
    tifffile.imwrite(path, samples[..., 0], photometric="miniswhite")
    np.testing.assert_allclose(65535 - read_image(path).pixels[..., 0] * 65535, samples[..., 0], atol=0.01)
    for dtype in (np.float16, np.float64):
        light = rng.random((8, 9, 3)).astype(dtype)
        tifffile.imwrite(path, light, photometric="rgb")
        image = read_image(path)
        assert image.depth == 32
        np.testing.assert_allclose(image.pixels, light.astype(np.float32))


@pytest.mark.parametrize("kind", ["8 bit", "16 bit", "16 bit LZW"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_tiff_is_turned_upright_once(kind: str, tag: int, tmp_path: Path, rng: np.random.Generator) -> None:
    """Pillow and OpenCV do so by themselves, tifffile does not."""
    stored = deep(rng, 1)[..., 0] if "16" in kind else rng.integers(0, 256, (20, 30), dtype=np.uint8)
    tags = {ExifTags.Base.Orientation: tag}
    compression = "tiff_lzw" if "LZW" in kind else "raw"
    PilImage.fromarray(stored).save(tmp_path / "a.tif", tiffinfo=tags, compression=compression)
    turn = UPRIGHT.get(tag, np.asarray)
    top = np.iinfo(stored.dtype).max
    np.testing.assert_allclose(read_image(tmp_path / "a.tif").pixels[..., 0] * top, turn(stored), atol=0.01)


def test_pages_keep_their_number_sizes_and_depth(tmp_path: Path, rng: np.random.Generator, sr: Run) -> None:
    pages = [deep(rng, 3), deep(rng, 3, (12, 40)), rng.random((9, 9), np.float32)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, photometric="rgb" if page.ndim == 3 else "minisblack", metadata=None)
        file.write(pages[0][::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
    assert len(list(read_images(tmp_path / "a.tif"))) == 3  # without the thumbnail
    done = sr("upscale", tmp_path / "a.tif", *BICUBIC)
    assert "3 frames" in done.out
    with tifffile.TiffFile(tmp_path / "a_x2.tif") as file:
        assert [page.shape for page in file.pages] == [(40, 60, 3), (24, 80, 3), (18, 18)]
        assert [str(page.dtype) for page in file.pages] == ["uint16", "uint16", "float32"]
        for page, before in zip(file.pages, read_images(tmp_path / "a.tif"), strict=True):
            top = 65535 if page.dtype == np.uint16 else 1
            assert abs(page.asarray().mean() / top - before.pixels.mean()) < 0.02


def test_light_above_one_stays(tmp_path: Path, sr: Run) -> None:
    y, x = np.mgrid[0:40, 0:40].astype(np.float32)
    light = np.repeat(np.exp(-((x - 20) ** 2 + (y - 20) ** 2) / 60)[..., None] * 12 + 0.05, 3, axis=2)
    tifffile.imwrite(tmp_path / "a.tif", light.astype(np.float32), photometric="rgb")
    for model in ("bicubic", "ecbsr"):
        assert sr("upscale", tmp_path / "a.tif", "-x2", "-m", model, "--overwrite").code == 0
        out = tifffile.imread(tmp_path / "a_x2.tif")
        assert out.dtype == np.float32
        assert 11 < out.max() < 13
        assert out.min() > 0.03


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_ten_bits_of_avif_are_not_turned_to_eight(
    channels: int, bits: int, tmp_path: Path, rng: np.random.Generator, sr: Run
) -> None:
    samples = (deep(rng, channels) >> (16 - bits)).astype(np.uint16)
    options = [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100]
    done, data = cv2.imencode(".avif", samples, options)
    assert done
    (tmp_path / "a.avif").write_bytes(data.tobytes())
    image = read_image(tmp_path / "a.avif")
    assert (image.depth, image.size) == (16, (30, 20))
    shown = image.pixels[..., : min(channels, 3)][..., ::-1] * (2**bits - 1)
    np.testing.assert_allclose(shown, samples[..., :3], atol=0.05)
    said = sr("upscale", tmp_path / "a.avif", *BICUBIC)
    assert "16 -> 8 bits" in said.out, said.err
    assert sr("upscale", tmp_path / "a.avif", *BICUBIC, "--format", "png").code == 0
    assert read_image(tmp_path / "a_x2.png").depth == 16


def test_not_a_number_is_refused(tmp_path: Path, sr: Run) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((9, 9), np.nan, np.float32))
    done = sr("upscale", tmp_path / "a.tif", *BICUBIC)
    assert done.code == 1
    assert "samples that are NaN or infinite" in done.err


def test_inks_are_converted_through_their_profile(tmp_path: Path, photo: Path) -> None:
    """LittleCMS makes no ink profile; one of RGB in its place shows that the profile is asked at all."""
    with PilImage.open(photo) as file:
        inks = file.convert("CMYK")
    inks.save(tmp_path / "plain.tif")
    lab = PilImage.open(photo).convert("RGB")
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    ImageCms.applyTransform(lab, to_lab).save(tmp_path / "lab.tif")
    back = read_image(tmp_path / "lab.tif")
    assert np.abs(back.pixels - read_image(photo).pixels).mean() < 0.01
    assert back.metadata.icc
    np.testing.assert_allclose(read_image(tmp_path / "plain.tif").pixels, read_image(photo).pixels, atol=0.01)
    rgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    inks.save(tmp_path / "wrong.tif", icc_profile=rgb)
    (frame,) = reading.read_frames(tmp_path / "wrong.tif")
    np.testing.assert_array_equal(frame.samples, np.asarray(inks.convert("RGB")))
    assert frame.notes == ("CMYK converted without its profile, which is not one of CMYK",)


@pytest.mark.parametrize(
    "layout", [{}, {"planarconfig": "separate"}, {"compression": "zlib", "byteorder": ">"}]
)
def test_sixteen_bits_of_ink_stay_sixteen(
    layout: dict[str, Any], tmp_path: Path, rng: np.random.Generator, sr: Run
) -> None:
    """Without a profile by formula, and exact; the result is 16-bit sRGB and says so."""
    stored = deep(rng, 4)
    planes = np.moveaxis(stored, 2, 0) if "planarconfig" in layout else stored
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="separated", **layout)
    image = read_image(tmp_path / "a.tif")
    assert (image.depth, image.size) == (16, (30, 20))
    left = 1 - stored / 65535
    np.testing.assert_allclose(image.pixels, left[..., :3] * left[..., 3:], atol=1 / 65535)
    assert image.metadata.icc
    assert sr("upscale", tmp_path / "a.tif", *BICUBIC).code == 0
    assert tifffile.imread(tmp_path / "a_x2.tif").dtype == np.uint16


def test_sixteen_bits_of_lab_agree_with_eight(tmp_path: Path, photo: Path) -> None:
    """By formula, against LittleCMS's way from 8-bit sRGB there; and offset or signed is the same."""
    with PilImage.open(photo) as file:
        picture = file.convert("RGB")
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    eight = np.asarray(ImageCms.applyTransform(picture, to_lab)).astype(np.int64)
    light, chroma = eight[..., :1] * 257, eight[..., 1:].astype(np.uint8).view(np.int8) * np.int64(256)
    signed = np.concatenate([light, chroma & 0xFFFF], axis=2).astype(np.uint16)
    tifffile.imwrite(tmp_path / "signed.tif", signed, photometric="cielab")
    back = read_image(tmp_path / "signed.tif")
    assert back.depth == 16
    assert np.abs(back.pixels - read_image(photo).pixels).mean() < 0.005
    offset = np.concatenate([np.round(light * 65280 / 65535), chroma + 32768], axis=2).astype(np.uint16)
    tifffile.imwrite(tmp_path / "offset.tif", offset, photometric="icclab")
    np.testing.assert_allclose(read_image(tmp_path / "offset.tif").pixels, back.pixels, atol=2e-4)


def test_a_table_of_inks_is_exact_where_it_is_linear(rng: np.random.Generator) -> None:
    samples = deep(rng, 4)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 17, dtype=np.float32)] * 4, indexing="ij"), axis=-1)
    table = grid[..., :3] * np.float32(0.5) + grid[..., 3:] * np.float32(0.25)
    wanted = samples[..., :3] / 65535 * 0.5 + samples[..., 3:] / 65535 * 0.25
    np.testing.assert_allclose(colorspace._by_table(table)(samples), wanted, atol=1e-5)
    ends = np.array([[[0, 0, 0, 0], [65535, 65535, 65535, 65535]]], np.uint16)
    np.testing.assert_array_equal(
        colorspace._by_table(table)(ends), [[table[0, 0, 0, 0], table[-1, -1, -1, -1]]]
    )


def test_deep_inks_that_cannot_be_read_are_named(tmp_path: Path, rng: np.random.Generator) -> None:
    rgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, deep(rng, 4), photometric="separated", iccprofile=rgb)
    (frame,) = reading.read_frames(path)
    assert frame.notes == ("CMYK converted without its profile, which is not one of CMYK",)
    tifffile.imwrite(path, rng.random((9, 9, 4), np.float32), photometric="separated")
    with pytest.raises(ImageError, match="32-bit CMYK"):
        read_image(path)


def test_png_gamma_and_text_stay_to_the_byte(tmp_path: Path, photo: Path, sr: Run) -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100000))
    info.add_text("Title", "a cat")
    info.add_itxt("Author", "Zoë 猫", "fr", "Auteur")
    for depth in (8, 16):
        path = tmp_path / f"{depth}.png"
        image = read_image(photo)
        with PilImage.open(photo) as file:
            file.save(tmp_path / "8.png", pnginfo=info)
        if depth == 16:
            chunks = png_chunks.read_metadata_chunks((tmp_path / "8.png").read_bytes()).chunks
            write_image(path, Image(image.pixels, depth=16, metadata=Metadata(chunks=chunks, dpi=(300, 300))))
        done = sr("upscale", path, *BICUBIC)
        assert done.code == 0, done.err
        before, after = (
            png_chunks.read_metadata_chunks(p.read_bytes()).chunks
            for p in (path, tmp_path / f"{depth}_x2.png")
        )
        assert before == after
        assert {name for name, _ in after} == {b"gAMA", b"tEXt", b"iTXt"}


def camera_exif() -> bytes:
    """As cameras write it: a maker's note with an offset of its own, sizes as SHORT, a thumbnail."""
    thumbnail = io.BytesIO()
    PilImage.new("RGB", (16, 12), "red").save(thumbnail, "JPEG")
    note = b"MAKER" + struct.pack("<I", 0xDEAD) * 5
    head = b"II*\0" + struct.pack("<I", 8)
    at_exif, at_second, at_note, at_dpi = 8 + 2 + 36 + 4, 110, 150, 190
    first = struct.pack("<H", 3) + struct.pack("<HHII", 0x0112, 3, 1, 6)
    first += struct.pack("<HHII", 0x011A, 5, 1, at_dpi) + struct.pack("<HHII", 0x8769, 4, 1, at_exif)
    first += struct.pack("<I", at_second)
    inner = struct.pack("<H", 3) + struct.pack("<HHII", 0x927C, 7, len(note), at_note)
    inner += struct.pack("<HHIHH", 0xA002, 3, 1, 40000, 0) + struct.pack("<HHIHH", 0xA003, 3, 1, 30, 0)
    inner += struct.pack("<I", 0)
    second = struct.pack("<H", 2) + struct.pack("<HHII", 0x0201, 4, 1, 200)
    second += struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail.getvalue())) + struct.pack("<I", 0)
    block = (head + first + inner).ljust(at_second, b"\0") + second
    block = (block.ljust(at_note, b"\0") + note).ljust(at_dpi, b"\0") + struct.pack("<II", 300, 1)
    return block.ljust(200, b"\0") + thumbnail.getvalue()


def test_exif_is_changed_in_place() -> None:
    before = camera_exif()
    after = exif.scale_exif(before, (30, 40000), (60, 80000))
    assert after is not None
    assert after[150:175] == before[150:175]  # the maker's note, where its own offsets expect it
    assert len(after) == 200  # the thumbnail is gone
    found = PilImage.Exif()
    found.load(exif.add_prefix(after))
    inner = found.get_ifd(ExifTags.IFD.Exif)
    assert found[ExifTags.Base.Orientation] == 1
    assert float(found[ExifTags.Base.XResolution]) == 600
    assert (inner[ExifTags.Base.ExifImageWidth], inner[ExifTags.Base.ExifImageHeight]) == (60, 80000)
    assert not found.get_ifd(ExifTags.IFD.IFD1)


@pytest.mark.parametrize("cut", [0, 3, 9, 20, 60, 115])
def test_damaged_exif_is_dropped_not_raised(cut: int) -> None:
    metadata = Metadata(exif=camera_exif()[:cut] or b"?")
    assert scale_metadata(metadata, (1, 1), (2, 2)).exif is None


def test_xmp_values_that_depend_on_the_size() -> None:
    packet = b'<x tiff:Orientation="6" exif:PixelXDimension = "30"><tiff:ImageWidth>30</tiff:ImageWidth></x>'
    after = scale_metadata(Metadata(xmp=packet), (30, 20), (60, 40)).xmp
    assert (
        after
        == b'<x tiff:Orientation="1" exif:PixelXDimension = "60"><tiff:ImageWidth>60</tiff:ImageWidth></x>'
    )


def test_exif_of_a_jpeg_in_a_16_bit_png_and_tiff(tmp_path: Path, photo: Path, sr: Run) -> None:
    jpeg = tmp_path / "a.jpg"
    with PilImage.open(photo) as file:
        file.save(jpeg, exif=exif.add_prefix(camera_exif()), icc_profile=table.make_profile(), dpi=(300, 300))
    for name in ("png", "tif"):
        done = sr("upscale", jpeg, *BICUBIC, "--format", name, "--depth", "16")
        assert done.code == 0, done.err
        with PilImage.open(tmp_path / f"a_x2.{name}") as file:
            found = file.getexif()
            assert file.size == (120, 160)  # upright
            assert found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] == 120
            assert file.info["icc_profile"] == table.make_profile()
            assert file.info["dpi"] == pytest.approx((600, 600), abs=0.1)
        assert read_image(tmp_path / f"a_x2.{name}").depth == 16


def test_strip_leaves_only_what_the_eye_sees(tmp_path: Path, photo: Path, sr: Run) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a cat")
    info.add(b"gAMA", struct.pack(">I", 45455))
    path = tmp_path / "a.png"
    with PilImage.open(photo) as file:
        file.save(path, exif=exif.add_prefix(camera_exif()), dpi=(300, 300), pnginfo=info)
    assert sr("upscale", path, *BICUBIC, "--strip").code == 0
    about = reading.read_info(tmp_path / "a_x2.png").metadata
    assert about == Metadata(chunks=((b"gAMA", struct.pack(">I", 45455)),))


def test_quality_subsampling_lossless_and_depth(tmp_path: Path, photo: Path, sr: Run) -> None:
    def out(name: str, *arguments: str) -> Path:
        done = sr("upscale", photo, *BICUBIC, "-o", tmp_path / name, *arguments)
        assert done.code == 0, done.err
        return tmp_path / name

    whole = read_image(out("a.png")).pixels
    sizes = [out(f"{q}.jpg", "--quality", str(q)).stat().st_size for q in (30, 60, 90)]
    assert sizes == sorted(sizes)
    assert out("s.jpg", "--subsampling", "4:2:0").stat().st_size < out("f.jpg").stat().st_size
    np.testing.assert_array_equal(read_image(out("l.webp", "--lossless")).pixels, whole)
    assert np.abs(read_image(out("l2.webp")).pixels - whole).max() > 0
    assert read_image(out("d.png", "--depth", "16")).depth == 16
    with PilImage.open(out("b.png", "--depth", "1")) as file:
        assert file.mode == "1"
    for arguments, message in (
        (["--depth", "5"], "5 bits are not supported"),
        (["--depth", "16", "-o", "x.jpg"], ".jpg cannot hold 16-bit samples"),
        (["--subsampling", "4:1:1"], "no chroma subsampling called '4:1:1'"),
        (["--format", "exe"], "cannot write '.exe' files"),
        (["--quality", "0"], "Invalid value for '--quality'"),
    ):
        done = sr("upscale", photo, *BICUBIC, *arguments)
        assert done.code == (1 if "-o" in arguments else 2), arguments
        assert message in done.err


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
def test_animations_frame_by_frame(suffix: str, tmp_path: Path, photo: Path, sr: Run) -> None:
    with PilImage.open(photo) as file:
        frames = [file.convert("RGB").rotate(20 * k) for k in range(4)]
    path = tmp_path / f"a{suffix}"
    times = [40, 80, 120, 250]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=3)
    before = list(read_images(path))
    done = sr("upscale", path, *BICUBIC)
    assert done.code == 0, done.err
    assert "80x60 -> 160x120  4 frames" in done.out
    times_of = reading.read_timing(tmp_path / f"a_x2{suffix}")
    assert times_of.durations == tuple(times)
    assert times_of.plays == {".gif": 4, ".avif": 0}.get(suffix, 3)
    for old, new in zip(before, read_images(tmp_path / f"a_x2{suffix}"), strict=True):
        assert np.abs(new.pixels[::2, ::2] - old.pixels).mean() < 0.08
    done = sr("upscale", path, *BICUBIC, "-o", tmp_path / "a.jpg")
    assert done.code == 1
    assert ".jpg holds one frame, not 4" in done.err


def test_a_picture_for_readers_without_animation_stays_apart(tmp_path: Path, photo: Path, sr: Run) -> None:
    with PilImage.open(photo) as file:
        cover, frames = file.convert("L").convert("RGB"), [file.rotate(90 * k) for k in range(2)]
    cover.save(tmp_path / "a.png", save_all=True, append_images=frames, duration=[30, 60], default_image=True)
    assert sr("upscale", tmp_path / "a.png", *BICUBIC).code == 0
    with PilImage.open(tmp_path / "a_x2.png") as file:
        assert file.info["default_image"]
        assert file.n_frames == 3  # type: ignore[attr-defined]


def test_bigtiff_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """What is written beyond 4 GB, here from the first byte on."""
    from srcli.imaging.codecs import tiff

    monkeypatch.setattr(tiff, "_LARGEST_CLASSIC", 0)
    image = Image((rng.integers(0, 65536, (300, 40, 3)) / 65535).astype(np.float32), depth=16)
    write_image(tmp_path / "a.tif", image)
    assert (tmp_path / "a.tif").read_bytes()[:4] == b"II+\0"
    np.testing.assert_allclose(tifffile.imread(tmp_path / "a.tif") / 65535, image.pixels, atol=1e-6)
    np.testing.assert_allclose(read_image(tmp_path / "a.tif").pixels, image.pixels, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("height", [1, 64, 65, 130])
def test_our_16_bit_png_by_opencv(
    channels: int, height: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    samples = deep(rng, channels, (height, 37))
    with (tmp_path / "a.png").open("wb") as file:
        png.CODEC.write_rows(file, BandedImage(samples.shape, 16, iter([samples])), EncodingOptions())
    image = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(image.pixels[..., 0] * 65535, samples[..., 0], atol=0.01)
    if image.alpha is not None:
        np.testing.assert_allclose(image.alpha * 65535, samples[..., -1], atol=0.01)
    assert image.grey == (channels < 3)


def test_tiff_tags_of_pillow(tmp_path: Path, photo: Path, sr: Run) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[315], tags[700] = "Zoë".encode(), b"<x:xmpmeta/>"
    with PilImage.open(photo) as file:
        file.save(tmp_path / "a.tif", tiffinfo=tags, compression="tiff_lzw", dpi=(72, 72))
    assert sr("upscale", tmp_path / "a.tif", *BICUBIC, "-o", tmp_path / "o.webp", "--lossless").code == 0
    assert sr("upscale", tmp_path / "a.tif", *BICUBIC).code == 0
    for name in ("o.webp", "a_x2.tif"):
        with PilImage.open(tmp_path / name) as file:
            found = dict(file.getexif())
        assert found[315].encode("latin-1").decode() == "Zoë"
        assert name.endswith("tif") or not set(found) & {256, 257, 258, 259, 273, 279}


def test_output_settings_are_frozen() -> None:
    assert EncodingOptions() == EncodingOptions(quality=None)


OTHERS = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n",
    "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 8, 3) + bytes(200),
    "FITS": b"".join(card.ljust(80) for card in (b"SIMPLE  = T", b"BITPIX  = 8", b"NAXIS   = 0", b"END")),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(200),
    "PDF": b"%PDF-1.4\n" + bytes(200),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_format_without_a_codec_is_never_opened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow has openers for most of these, which read a file by its content whatever its name."""
    opened = []
    monkeypatch.setattr(PilImage, "open", lambda *arguments, **options: opened.append(arguments))
    (tmp_path / "a.png").write_bytes(OTHERS[name])
    with pytest.raises(ImageError, match=r"is (not an image|a \w+ (document|program))"):
        read_image(tmp_path / "a.png")
    assert not opened


def test_the_content_of_a_file_decides_not_its_name(tmp_path: Path, photo: Path) -> None:
    pixels = read_image(photo).pixels
    for suffix in (".png", ".tif", ".bmp", ".ppm", ".jp2"):
        write_image(tmp_path / f"a{suffix}", Image(pixels))
        (tmp_path / "a.jpg").write_bytes((tmp_path / f"a{suffix}").read_bytes())
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").pixels, pixels)


def test_a_new_format_is_one_file_and_one_line() -> None:
    """Nothing but its own module branches on the name of a format."""
    names = {codec.name for codec in CODECS}
    for path in sorted((ROOT / "srcli").rglob("*.py")):
        compared = re.findall(r'(?:==|!=|\bin\b)\s*\(?"([A-Z0-9]+)"', path.read_text("utf-8"))
        assert not names & set(compared), path


def test_the_list_of_codecs_says_what_they_say() -> None:
    """It is written down, as a run imports only the codecs of the formats that it meets."""
    written = [suffix for codec in CODECS for suffix in codec.suffixes]
    assert list(registry.SUFFIXES) == written
    assert list(registry.READABLE_SUFFIXES) == written + [s for codec in CODECS for s in codec.read_suffixes]
    assert f"readable: {', '.join(codec.name for codec in CODECS)}" == registry.READABLE_HINT
    assert all(registry.find_codec(Path(f"a{s}")) is codec for codec in CODECS for s in codec.suffixes)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_codecs_tell_their_files_apart(codec: Codec, tmp_path: Path, photo: Path) -> None:
    if not codec.can_write or codec.missing_package:
        pytest.skip("there is nothing to write")
    for suffix in codec.suffixes:
        path = tmp_path / f"a{suffix}"
        write_image(path, read_image(photo))
        head = read_head(path, HEAD_BYTES)
        assert [other.name for other in CODECS if other.sniff(head)] == [codec.name]


def test_codecs_load_no_decoder_before_they_need_one() -> None:
    code = (
        "import sys; import srcli.imaging.codecs.reading, srcli.imaging.codecs.writing;"
        "heavy = {name for name in sys.modules if name in ('cv2', 'tifffile', 'OpenEXR', 'pillow_heif')"
        " or name.startswith('PIL')}; sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
