"""Small files that ask for much: refused from their headers, or read in the memory of two frames."""

import ast
import io
import os
import resource
import struct
import tracemalloc
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.command import Run
from helpers.paths import ROOT
from srcli.engine.limits import choose_max_pixels, explain_fixed_limit, read_within_limit
from srcli.errors import ImageError
from srcli.imaging.codecs import registry
from srcli.imaging.codecs.base import LEAST_FRAME_PIXELS, EncodingOptions, Extent, Frame, FrameTiming
from srcli.imaging.codecs.pillow import PillowCodec
from srcli.imaging.codecs.reading import count_plausible_pixels, read_frames, read_info, read_timing
from srcli.imaging.codecs.writing import FrameFormat, write_frame_stream
from tools import bombs


def test_pillow_opens_files_in_one_place_only() -> None:
    """Each call has to name the formats that our codecs chose: Pillow knows some forty more."""
    places = [
        (path.relative_to(ROOT).as_posix(), [each.arg for each in node.keywords])
        for path in (ROOT / "srcli").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Image.open", "cv2.imread"))
    ]
    assert places == [("srcli/imaging/codecs/pillow.py", ["formats"])]


_STRANGERS = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    "EPS with a preview": b"\xc5\xd0\xd3\xc6" + struct.pack("<6IH", 32, 80, *[0] * 5) + b"%!PS-Adobe-3.0\n",
    "FITS": b"SIMPLE  =                    T" + b" " * 2850,
    "GRIB": b"GRIB\0\0\0\1" + bytes(99),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "BUFR": b"BUFR" + bytes(99),
    "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(99),
    "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 4, 4, 8, 3) + bytes(99),
    "FLI": struct.pack("<IHHHHHHI", 128, 0xAF11, 1, 4, 4, 8, 0, 5) + bytes(110),
    "MPO in name only": b"MPO" + bytes(99),
    "PCD": bytes(2048) + b"PCD_" + bytes(99),
    "XPM": b"/* XPM */\nstatic char *a[] = {\n",
    "MSP": b"DanM" + bytes(60),
    "SPIDER": struct.pack(">27f", *[1.0] * 27) + bytes(99),
}  # fmt: skip


@pytest.mark.parametrize("kind", _STRANGERS)
def test_what_nobody_chose_is_not_opened(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    """The content decides: not even under the name of a PNG does PostScript reach Ghostscript."""
    (tmp_path / "bin").mkdir()
    for name in ("gs", "gswin64c"):
        fake = tmp_path / "bin" / name
        fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "a.png"
    path.write_bytes(_STRANGERS[kind])
    for suffix in (".png", ".eps", ".psd", ".tga"):
        path = path.rename(tmp_path / f"a{suffix}")
        done = sr("upscale", path, "-m", "bicubic", "-o", tmp_path / "out.png")
        assert done.code == 1
        assert len(done.err.splitlines()) <= 3
        assert sr("info", path).code == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", bombs.TOO_LARGE)
def test_too_many_pixels_are_refused_before_anything_is_decoded(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bombs.TOO_LARGE[name]())
    assert path.stat().st_size < 6000
    with pytest.raises(ImageError, match=r"claims to have .* more than the 16,777,216 allowed"):
        list(read_frames(path, choose_max_pixels(path, None)))


@pytest.mark.parametrize("name", ["gif", "apng", "webp", "tiff", "avif"])
def test_all_frames_count_from_headers(name: str, tmp_path: Path) -> None:
    """40 frames of 1000x1000 are 40 megapixels."""
    path = tmp_path / f"a.{name.replace('apng', 'png')}"
    if name == "gif":
        path.write_bytes(bombs.make_gif(1000, 40))
    else:
        pages = [PilImage.new("L", (1000, 1000), 6 * level) for level in range(40)]
        options = {"avif": {"speed": 10}, "webp": {"lossless": True}}.get(name, {})
        pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    assert read_timing(path, 40_000_000).count == 40
    with pytest.raises(ImageError, match="40 frames of 1000x1000 pixels, more than the 39,999,999 allowed"):
        read_timing(path, 39_999_999)


def test_a_frame_counts_as_a_few_pixels_at_least() -> None:
    Extent(100, (1, 1), 100).check(Path("a"), 100 * LEAST_FRAME_PIXELS)
    with pytest.raises(ImageError, match="100 frames of 1x1 pixels, each counted as at least"):
        Extent(100, (1, 1), 100).check(Path("a"), 100 * LEAST_FRAME_PIXELS - 1)
    Extent(1, (1, 1), 1).check(Path("a"), 1)


def test_the_default_limit_fits_the_file_and_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bombs.make_png(8, 1))
    monkeypatch.setattr("srcli.engine.limits.free_memory", lambda: float("inf"))
    assert choose_max_pixels(path, None) == 2**24
    os.truncate(path, 1_000_000)
    assert choose_max_pixels(path, None) == 32_000_000
    os.truncate(path, 100_000_000)
    assert choose_max_pixels(path, None) == 2**29
    monkeypatch.setattr("srcli.engine.limits.free_memory", lambda: 320e6)
    assert choose_max_pixels(path, None) == 10_000_000
    assert choose_max_pixels(path, 7) == 7


@pytest.mark.parametrize(
    ("codec", "pixels"), [("GIF", 64e6), ("JPEG", 32e6), ("TIFF", 32e6), ("JPEG2000", 2**24)]
)
def test_the_default_limit_fits_the_format(codec: str, pixels: float, tmp_path: Path) -> None:
    """All that a file of 1 MB may hold by default is read in five seconds; `make torture` measures that."""
    path = tmp_path / "a.bin"
    path.write_bytes(bombs.make_flat(codec, 8, 8))
    os.truncate(path, 1_000_000)
    assert count_plausible_pixels(path) == pixels


def test_deep_samples_count_by_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bombs.make_flat_png(8, 16, 6))
    os.truncate(path, 1_000_000)
    assert count_plausible_pixels(path) == 2**24


@pytest.mark.parametrize(
    ("size", "limit"), [((1, 40_000), 2**15), ((256, 40_000), 2**24), ((1, 32_768), 2**24)]
)
def test_narrow_pictures_have_a_limit_of_rows(size: tuple[int, int], limit: int, tmp_path: Path) -> None:
    """16 million rows of one pixel took minutes."""
    path = tmp_path / "a.png"
    path.write_bytes(bombs.make_png(*size))
    assert count_plausible_pixels(path) == limit


def test_later_pages_have_the_limit_of_rows(tmp_path: Path) -> None:
    pages = [PilImage.new("L", size) for size in ((300, 16), (1, 40_000))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert count_plausible_pixels(tmp_path / "a.tif") == 2**15


def test_looks_in_advance_have_the_limit(tmp_path: Path, sr: Run) -> None:
    """Also who only looks at the kind of picture, or how a photograph is turned."""
    path = tmp_path / "a.png"
    path.write_bytes(bombs.make_png(2500, 10_000))  # whether it is wide enough depends on its orientation
    for words in (
        ["models", "recommend", path],
        ["upscale", path, "-m", "bicubic", "--width", 2600, "--only-enlarge", "-o", tmp_path / "b.png"],
    ):
        done = sr(*words)
        assert done.code != 0
        assert "more than the 16,777,216 allowed" in done.err + done.out, words


def test_a_white_scan_is_read_by_default(tmp_path: Path) -> None:
    """12 megapixels in some 20 kB, which are no attack."""
    path = tmp_path / "scan.png"
    PilImage.new("L", (4000, 3000), 255).save(path)
    assert path.stat().st_size < 30_000
    assert next(read_frames(path)).samples.shape == (3000, 4000)


def test_the_message_names_the_number(tmp_path: Path, sr: Run) -> None:
    (tmp_path / "a.gif").write_bytes(bombs.make_gif(1000, 40))
    done = sr("upscale", tmp_path / "a.gif", "-m", "bicubic", "-x2", "-o", tmp_path / "b.gif")
    assert done.code == 1
    assert "claims to have 40 frames of 1000x1000 pixels, more than the 16,777,216 allowed" in done.err
    assert "if that is right, raise the limit: --max-pixels 40000000" in done.err


def test_the_hint_for_commands_without_the_option_works(tmp_path: Path, sr: Run) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bombs.make_flat_png(4100, 1, 0))
    with pytest.raises(ImageError) as caught, explain_fixed_limit(path):
        list(read_frames(path, choose_max_pixels(path, None)))
    program, *words = caught.value.hint.partition(": ")[2].split()
    assert program == "sr"
    assert words[:2] == ["upscale", str(path)]
    assert sr(*words[:-1], tmp_path / words[-1]).code == 0
    assert read_within_limit(tmp_path / "smaller.png", 4_000_000).size == (2000, 2000)


@contextmanager
def limit_traced_memory(limit: int) -> Iterator[None]:
    """Fail if what Python and NumPy allocate in between grows by more bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


FRAME_SUFFIXES = [codec.suffixes[0] for codec in registry.CODECS if codec.has_frames and codec.can_write]


def make_frames(count: int, side: int, references: list["weakref.ref[Frame]"]) -> Iterator[Frame]:
    """Yield frames of one colour each, and add a reference to each that does not keep it."""
    for number in range(count):
        frame = Frame(np.full((side, side, 3), (9 * number, 90, 250 - 9 * number), np.uint8), 8)
        references.append(weakref.ref(frame))
        yield frame


@pytest.mark.parametrize("suffix", FRAME_SUFFIXES)
def test_writers_ask_for_a_frame_one_at_a_time(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures: list[weakref.ref[PilImage.Image]] = []
    alive = []
    to_picture = PillowCodec.to_picture

    def watch_pictures(codec: PillowCodec, frame: Frame) -> PilImage.Image:
        alive.append(sum(picture() is not None for picture in pictures))
        made = to_picture(codec, frame)
        pictures.append(weakref.ref(made))
        return made

    monkeypatch.setattr(PillowCodec, "to_picture", watch_pictures)
    frames: list[weakref.ref[Frame]] = []
    path, kept = tmp_path / f"a{suffix}", []

    def watch_frames() -> Iterator[Frame]:
        for frame in make_frames(12, 64, frames):
            kept.append(sum(each() is not None for each in frames))
            yield frame

    common = FrameFormat((64, 64), 8, colours=3, has_alpha=False)
    write_frame_stream(path, watch_frames(), FrameTiming(12), EncodingOptions(), common)
    assert read_timing(path).count == 12
    assert max(kept) <= 3
    assert max(alive, default=0) <= 3


@pytest.mark.parametrize("suffix", FRAME_SUFFIXES)
def test_readers_keep_two_frames(suffix: str, tmp_path: Path) -> None:
    """The readers of PNG and WebP also need a canvas and copies of it with alpha."""
    path, side, count = tmp_path / f"a{suffix}", 256, 24
    common = FrameFormat((side, side), 8, colours=3, has_alpha=False)
    write_frame_stream(path, make_frames(count, side, []), FrameTiming(count), EncodingOptions(), common)
    read_timing(path)  # imports what reading takes
    with limit_traced_memory(count // 2 * side * side * 3):
        assert sum(frame.samples.shape[0] == side for frame in read_frames(path)) == count


def test_frames_are_upscaled_one_at_a_time(tmp_path: Path, sr: Run) -> None:
    side, count = 100, 24
    path, command = tmp_path / "a.tif", ("-m", "nearest", "-x2", "--overwrite", "-o", tmp_path / "b.tif")
    common = FrameFormat((side, side), 8, colours=3, has_alpha=False)
    write_frame_stream(path, make_frames(1, side, []), FrameTiming(1), EncodingOptions(), common)
    assert sr("upscale", path, *command).code == 0  # imports what it takes
    write_frame_stream(path, make_frames(count, side, []), FrameTiming(count), EncodingOptions(), common)
    with limit_traced_memory(count // 2 * (2 * side) ** 2 * 3):
        assert sr("upscale", path, *command).code == 0
    assert read_timing(tmp_path / "b.tif").count == count


def make_tiff(compressed: bytes, tags: dict[int, int], compression: int) -> bytes:
    """Return a TIFF of 16x16 in RGB with these samples and tags."""
    numbers = {
        256: 16,
        257: 16,
        258: 8,
        259: compression,
        262: 1,
        273: 8,
        277: 1,
        278: 16,
        279: len(compressed),
    } | tags
    at = 8 + len(compressed) + len(compressed) % 2
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(numbers.items()))
    head = b"II*\0" + struct.pack("<I", at) + compressed + bytes(len(compressed) % 2)
    return head + struct.pack("<H", len(numbers)) + entries + bytes(4)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_strip_that_unpacks_to_far_more_than_its_picture_is_refused(bits: int, tmp_path: Path) -> None:
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(2**24)) for _ in range(48)) + packer.flush()
    assert len(data) < 1_000_000
    (tmp_path / "a.tif").write_bytes(make_tiff(data, {258: bits}, 8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match=r"a strip or tile of .* bytes is too large for the picture"):
        list(read_frames(tmp_path / "a.tif"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_tile_that_is_larger_than_its_picture_is_refused(tmp_path: Path) -> None:
    tags = {322: 30_000, 323: 30_000, 324: 8, 325: 9}
    (tmp_path / "a.tif").write_bytes(make_tiff(zlib.compress(bytes(999)), tags, 8))
    with pytest.raises(ImageError, match="tiles of 30000x30000 are larger than the picture"):
        list(read_frames(tmp_path / "a.tif"))


def test_every_page_of_a_tiff_is_read_from_its_own_place(tmp_path: Path) -> None:
    pages = [PilImage.fromarray(np.full((4 + k, 5), 10 * k, np.uint8)) for k in range(20)]
    for options in ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate", "big_tiff": True}):
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], **options)
        frames = list(read_frames(tmp_path / "a.tif"))
        for page, frame in zip(pages, frames, strict=True):
            np.testing.assert_array_equal(frame.samples, np.asarray(page))


@pytest.mark.parametrize("kind", ["ICO", "ICNS"])
def test_a_picture_within_an_icon_counts(kind: str, tmp_path: Path) -> None:
    out = io.BytesIO()
    PilImage.new("RGBA", (32, 32), (9, 9, 9, 9)).save(out, kind)
    data = bytearray(out.getvalue())
    at = data.rindex(b"IHDR") + 4
    struct.pack_into(">II", data, at, 60_000, 60_000)
    struct.pack_into(">I", data, at + 13, zlib.crc32(data[at - 4 : at + 13]))
    (tmp_path / "a.ico").write_bytes(data)
    with pytest.raises(ImageError, match="claims to have 60000x60000 pixels"):
        list(read_frames(tmp_path / "a.ico"))


def test_svg_comments_take_no_time() -> None:
    from srcli.imaging.codecs.refused import find_refused

    assert find_refused(b"<!---->" * 585) is None
    found = find_refused(b"<?xml version='1.0'?>\n<!-- a -->\n<!DOCTYPE svg PUBLIC 'x'>\n<svg xmlns=''>")
    assert found
    assert "SVG" in found.name


def test_info_counts_frames_without_reading_them(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(bombs.make_gif(16, 3000))
    assert read_info(tmp_path / "a.gif").frames == 3000


@pytest.mark.parametrize("bits", [8, 16])
def test_libtiff_prints_nothing(bits: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.tif").write_bytes(make_tiff(bytes(range(200)), {258: bits}, 5))
    with pytest.raises(ImageError, match="is damaged"):
        list(read_frames(tmp_path / "a.tif"))
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


@pytest.mark.parametrize("kind", [95, 96])
def test_half_floats_of_a_texture_are_refused(kind: int, tmp_path: Path) -> None:
    head = struct.pack("<4s7I44x", b"DDS ", 124, 0x1007, 4, 4, 16, 0, 1)
    head += struct.pack("<2I4s5I", 32, 4, b"DX10", 0, 0, 0, 0, 0) + struct.pack("<5I", 0x1000, 0, 0, 0, 0)
    head += struct.pack("<5I", kind, 3, 0, 1, 0)
    (tmp_path / "a.dds").write_bytes(head + bytes(16))
    with pytest.raises(ImageError, match="half floats"):
        list(read_frames(tmp_path / "a.dds"))


def test_commands_that_hold_whole_images_have_the_limit(tmp_path: Path, sr: Run) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(bombs.make_png(5000, 5000))
    for words in (
        ("compare", tmp_path / "in" / "a.png", "-m", "bicubic", "-x2", "-o", tmp_path / "c.png"),
        ("bench", "-d", tmp_path / "in", "-m", "bicubic", "-x5"),
        ("train", "fsrcnn", "-x2", "--data", tmp_path / "in", "--out", tmp_path / "run"),
    ):
        done = sr(*words)
        assert done.code != 0
        assert "more than the 3,000,000 allowed" in done.err, done.err
        done = sr(*words, "--max-pixels", 24_999_999)
        assert "more than the 24,999,999 allowed" in done.err, done.err
        if words[0] == "compare":
            assert "raise the limit: --max-pixels 25000000" in done.err
