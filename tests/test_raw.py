"""Camera raw and JPEG XL, whose decoders are extras, and what is refused with the way to images of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.command import Run
from srcli.errors import ImageError
from srcli.imaging.codecs import jpegxl, raw
from srcli.imaging.codecs.base import MAX_PIXELS
from srcli.imaging.codecs.reading import read_frames, read_info, read_timing
from tools.fuzz import RAW_SIZE, write_dng

WIDTH, HEIGHT = RAW_SIZE
NOISE = np.random.default_rng(0).integers(0, 65536, (40, 60, 4))


def test_raw_is_developed_with_the_white_balance_of_the_camera(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    write_dng(tmp_path / "a.dng", light=0.25, orientation=6)
    info = read_info(tmp_path / "a.dng")
    assert (info.format, info.size, info.depth) == ("RAW", (HEIGHT, WIDTH), 16)
    (frame,) = read_frames(tmp_path / "a.dng")
    assert (frame.samples.shape, frame.samples.dtype, frame.depth) == ((WIDTH, HEIGHT, 3), np.uint16, 16)
    # sRGB of a quarter of the light, IEC 61966-2-1, in all three channels.
    assert np.abs(frame.samples / 65535 - (1.055 * 0.25 ** (1 / 2.4) - 0.055)).max() < 2e-3


def test_raw_becomes_16_bit_png(in_tmp: Path, sr: Run) -> None:
    pytest.importorskip("rawpy")
    Path("in").mkdir()
    write_dng(Path("in/a.dng"), light=0.1)
    done = sr("upscale", "in", "-m", "bicubic", "-x2", "-o", "out")
    assert done.code == 0, done.err
    info = read_info(Path("out/a_x2.png"))
    assert (info.size, info.depth) == ((2 * WIDTH, 2 * HEIGHT), 16)


def test_damaged_raw(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    write_dng(tmp_path / "a.dng", light=0.25)
    (tmp_path / "a.dng").write_bytes((tmp_path / "a.dng").read_bytes()[:5000])
    with pytest.raises(ImageError, match="is damaged: LibRaw reports"):
        list(read_frames(tmp_path / "a.dng"))
    (tmp_path / "b.raf").write_bytes(b"FUJIFILMCCD-RAW " + bytes(5000))
    with pytest.raises(ImageError, match="LibRaw"):
        read_info(tmp_path / "b.raf")


def test_too_many_pixels_of_raw(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    write_dng(tmp_path / "a.dng", light=0.25)
    with pytest.raises(ImageError, match="more than the 1,000 allowed"):
        list(read_frames(tmp_path / "a.dng", 1000))


def test_what_is_raw() -> None:
    """Every maker's signature; a plain TIFF is none, nor is one with a small first page."""
    for head in (
        b"FUJIFILMCCD-RAW",
        b"IIRO\x08",
        b"IIU\x00\x18",
        b"\x00\x00\x00\x18ftypcrx ",
        b"II*\x00\x10\x00\x00\x00CR",
    ):
        assert raw.CODEC.sniff(head)
    for head in (b"II*\x00\x08\x00\x00\x00\x00\x00", b"MM\x00*", b"\xff\xd8\xff"):
        assert not raw.CODEC.sniff(head)


def test_a_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srcli.imaging.codecs.base.find_spec", lambda name: None)
    monkeypatch.setattr("srcli.imaging.codecs.jpegxl.find_spec", lambda name: None)
    write_dng(tmp_path / "a.dng", light=0.5)
    with pytest.raises(ImageError, match="needs rawpy") as caught:
        read_info(tmp_path / "a.dng")
    assert caught.value.hint == "pip install 'sr-cli[raw]'"
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a" + bytes(60))
    with pytest.raises(ImageError, match="needs imagecodecs and pillow-jxl-plugin") as caught:
        read_info(tmp_path / "a.jxl")
    assert caught.value.hint == "pip install 'sr-cli[jxl]'"


KINDS = {
    "grey": (1, np.uint8, None),
    "grey + alpha": (2, np.uint8, None),
    "RGB": (3, np.uint8, None),
    "RGBA": (4, np.uint8, None),
    "RGB, 16 bits": (3, np.uint16, None),
    "RGB, 10 bits": (3, np.uint16, 10),
    "grey, 4 bits": (1, np.uint8, 4),
    "RGB, float": (3, np.float32, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_jpeg_xl(kind: str, tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pytest.importorskip("pillow_jxl")
    channels, dtype, bits = KINDS[kind]
    top = 1 if dtype is np.float32 else 2 ** (bits or 8 * np.dtype(dtype).itemsize) - 1
    values = (NOISE[..., :channels] / 65535 * top).astype(dtype)
    samples = values[..., 0] if channels == 1 else values
    data = imagecodecs.jpegxl_encode(samples, lossless=True, bitspersample=bits)
    (tmp_path / "a.jxl").write_bytes(data)
    info = read_info(tmp_path / "a.jxl")
    depth = 32 if dtype is np.float32 else 16 if dtype is np.uint16 else 8
    assert (info.format, info.size, info.depth) == ("JXL", (60, 40), depth)
    (frame,) = read_frames(tmp_path / "a.jxl")
    white = {8: 255, 16: 65535, 32: 1}[depth]
    assert (frame.depth, frame.samples.shape) == (depth, samples.shape)
    assert np.abs(frame.samples / white - samples / top).max() < (2e-3 if bits == 4 else 1e-5)


@pytest.mark.parametrize("size", [(8, 8), (256, 128), (100, 40), (3, 700), (4000, 3000), (1920, 1080)])
def test_headers_of_jpeg_xl(size: tuple[int, int], tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.jpegxl_encode(np.zeros((size[1], size[0]), np.uint8), effort=1)
    (tmp_path / "a.jxl").write_bytes(data)
    assert jpegxl.read_header(tmp_path / "a.jxl").size == size
    with pytest.raises(ImageError, match="more than the 10 allowed"):
        list(read_frames(tmp_path / "a.jxl", 10))


def test_jpeg_xl_with_exif_and_profile(tmp_path: Path) -> None:
    plugin = pytest.importorskip("pillow_jxl")
    assert plugin
    pytest.importorskip("imagecodecs")
    exif = PilImage.Exif()
    exif[0x010F] = "A camera"
    PilImage.fromarray(NOISE[..., :3].astype(np.uint8)).save(
        tmp_path / "a.jxl", lossless=True, exif=exif.tobytes()
    )
    (frame,) = read_frames(tmp_path / "a.jxl")
    assert frame.metadata.exif is not None
    assert b"A camera" in frame.metadata.exif
    assert frame.metadata.icc is not None
    assert np.array_equal(frame.samples, NOISE[..., :3].astype(np.uint8))


def test_animated_jpeg_xl_is_refused(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pytest.importorskip("pillow_jxl")
    frames = NOISE[..., :3].astype(np.uint8)[None].repeat(3, axis=0)
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(frames, lossless=True, photometric="RGB"))
    with pytest.raises(ImageError, match="it is an animation") as caught:
        read_timing(tmp_path / "a.jxl")
    assert "djxl" in caught.value.hint


def test_damaged_jpeg_xl(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pytest.importorskip("pillow_jxl")
    data = imagecodecs.jpegxl_encode(NOISE[..., :3].astype(np.uint8), lossless=True)
    for part in (data[:14], data[: len(data) // 2]):
        (tmp_path / "a.jxl").write_bytes(part)
        with pytest.raises(ImageError, match="is damaged"):
            list(read_frames(tmp_path / "a.jxl", MAX_PIXELS))


REFUSED = [
    (b"%PDF-1.7\n%", "is a PDF document", "pdftoppm -r 300 -png"),
    (
        b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "is an SVG",
        "rsvg-convert",
    ),
    (b"\xef\xbb\xbf<svg>", "is an SVG drawing", "rsvg-convert"),
    (b"%!PS-Adobe-3.0 EPSF-3.0", "is a PostScript program", "gs -dSAFER"),
    (b"8BPS\x00\x01", "is a Photoshop document", "export it"),
    (b"gimp xcf v011\x00", "is a GIMP document", "export it"),
    (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00", "is a video", "ffmpeg -i"),
    (b"\x1aE\xdf\xa3\x01", "is a video", "ffmpeg -i"),
    (b"<html><body>x</body></html>", "is not an image", "readable: PNG"),
]


@pytest.mark.parametrize(("data", "message", "hint"), REFUSED)
def test_what_is_refused_with_the_way(data: bytes, message: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ImageError, match=message) as caught:
        read_info(tmp_path / "file")
    assert hint in caught.value.hint


def test_folders_list_what_is_readable(in_tmp: Path, sr: Run) -> None:
    Path("in").mkdir()
    picture = PilImage.new("RGB", (6, 4), (10, 20, 30))
    for name in ("a.tga", "b.pcx", "c.mpo", "d.dds", "e.ico", "f.pbm", "g.png"):
        picture.save(f"in/{name}", "PPM" if name == "f.pbm" else None)
    Path("in/h.pdf").write_bytes(b"%PDF-1.7")
    done = sr("upscale", "in", "-m", "bicubic", "-x2", "-o", "out")
    assert done.code == 0, done.err
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "a_x2.png", "b_x2.png", "c_x2.png", "d_x2.png", "e_x2.png", "f_x2.pbm", "g_x2.png",
    ]  # fmt: skip
    assert "1 file left out, not an image (.pdf)" in done.err
