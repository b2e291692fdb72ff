"""Sound but unusual files come out as the picture they show, or are refused in one true sentence."""

import re
from itertools import product
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as PilImage
from PIL import TiffImagePlugin

from helpers.command import Run
from srcli.errors import ImageError
from srcli.imaging.codecs import jpeg, jpeg2000, tiff
from srcli.imaging.codecs.base import Frame, FrameTiming
from srcli.imaging.codecs.reading import read_frames, read_info, read_timing
from srcli.imaging.codecs.writing import write_frames
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import white_level
from tools.odd_files import ODD_FILES


def to_values(frame: Frame) -> np.ndarray:
    return frame.samples / np.float64(white_level(frame.samples))


@pytest.mark.parametrize("name", ODD_FILES)
def test_odd_files_show_their_picture(name: str, tmp_path: Path) -> None:
    odd = ODD_FILES[name]
    path = tmp_path / f"a{odd.suffix}"
    path.write_bytes(odd.make())
    if odd.refusal:
        with pytest.raises(ImageError, match=odd.refusal) as refused:
            list(read_frames(path))
        assert "damaged" not in str(refused.value)
        return
    frames = [to_values(frame) for frame in read_frames(path)]
    assert read_timing(path).count == len(frames) == len(odd.shows)
    assert read_info(path).frames == len(frames)
    for shown, expected in zip(frames, odd.shows, strict=True):
        np.testing.assert_allclose(shown, expected, atol=odd.tolerance)


def count_plays(suffix: str, plays: int, tmp_path: Path) -> int:
    """Return how often an animation is shown that was written with `suffix`."""
    frames = [Frame(np.full((8, 8, 3), level, np.uint8), 8) for level in (0, 120, 250)]
    path = tmp_path / f"a{suffix}"
    write_frames(path, frames, FrameTiming(3, (100, 200, 300), plays))
    assert read_timing(path).durations == (100, 200, 300)
    return read_timing(path).plays


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif"])
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_an_animation_is_played_as_often_as_before(suffix: str, plays: int, tmp_path: Path) -> None:
    assert count_plays(suffix, plays, tmp_path) == plays


def test_the_repeats_of_a_gif_are_one_less_than_its_plays(tmp_path: Path) -> None:
    pictures = [PilImage.new("L", (8, 8), level) for level in (0, 255)]
    for options, plays in (({}, 1), ({"loop": 0}, 0), ({"loop": 2}, 3)):
        pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], **options)
        assert read_timing(tmp_path / "a.gif").plays == plays


@pytest.mark.parametrize(
    ("channels", "depth", "dtype"), [(1, 1, "uint8"), (1, 16, "uint16"), (3, 8, "uint8"), (4, 16, "uint16")]
)
def test_our_animated_png_holds_the_frames_it_was_given(
    channels: int, depth: int, dtype: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Equal frames stay frames of their own; of others only the part that has changed is written."""
    shape = (9, 11) if channels == 1 else (9, 11, channels)
    stored = rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    if depth == 1:
        stored = (stored > 127).astype(np.uint8) * np.uint8(255)
    changed = stored.copy()
    changed[2:5, 3:7] = stored[4:7, 3:7]
    given = [stored, stored, changed, stored]
    timing = FrameTiming(4, (10, 20, 1000 / 30, 0), 2)
    write_frames(tmp_path / "a.png", [Frame(samples, depth) for samples in given], timing)
    assert read_timing(tmp_path / "a.png").durations == pytest.approx(timing.durations)
    for frame, samples in zip(read_frames(tmp_path / "a.png"), given, strict=True):
        np.testing.assert_array_equal(frame.samples, samples)
    if dtype == "uint8":
        with PilImage.open(tmp_path / "a.png") as file:
            for number, samples in enumerate(given):
                file.seek(number)
                mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
                np.testing.assert_array_equal(np.asarray(file.convert(mode)), samples)


def test_exif_in_text_becomes_exif_that_is_upright(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(ODD_FILES["PNG with EXIF in text (exif)"].make())
    (frame,) = read_frames(tmp_path / "a.png")
    write_frames(tmp_path / "b.png", [frame])
    with PilImage.open(tmp_path / "b.png") as file:
        assert file.size == (1, 2)
        assert file.getexif()[0x0112] == 1
    assert b"Raw profile" not in (tmp_path / "b.png").read_bytes()


LAYOUTS = list(
    product(
        [None, "lzw", "packbits", "zlib", "zstd", "lzma"],
        [None, (16, 32)],
        ["contig", "separate"],
        ["<", ">"],
        ["uint8", "uint16", "float32"],
    )
)
# Channels, extra samples, and how many of the channels are the picture.
CHANNELS = [(1, None, 1), (2, [2], 2), (2, [0], 1), (3, None, 3), (4, [2], 4), (4, [0], 3), (5, [2, 0], 4)]


@pytest.mark.parametrize("has_predictor", [False, True])
@pytest.mark.parametrize(("compression", "tile", "planar", "order", "dtype"), LAYOUTS)
def test_tiffs_of_any_layout_hold_what_tifffile_wrote(
    compression: str | None,
    tile: tuple[int, int] | None,
    planar: str,
    order: str,
    dtype: str,
    has_predictor: bool,
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    has_predictor = has_predictor and compression not in (None, "packbits")
    for channels, extra, seen in CHANNELS:
        top = white_level(np.empty(0, dtype))
        samples = (rng.random((20, 37, channels)) * top).astype(dtype)
        stored = np.moveaxis(samples, 2, 0) if planar == "separate" else samples
        tifffile.imwrite(
            tmp_path / "a.tif",
            stored if channels > 1 else samples[..., 0],
            compression=compression,
            predictor=has_predictor,
            tile=tile,
            planarconfig=planar if channels > 1 else None,
            byteorder=order,
            extrasamples=extra,
            photometric="rgb" if channels > 2 else "minisblack",
            metadata=None,
        )
        (frame,) = read_frames(tmp_path / "a.tif")
        assert frame.samples.dtype == dtype
        np.testing.assert_array_equal(frame.samples.reshape(20, 37, -1), samples[..., :seen])


LOSSY = {"lerc": "uint16", "jpegxl": "uint8", "jpeg2000": "uint16", "webp": "uint8"}


@pytest.mark.parametrize("compression", LOSSY)
def test_other_compressions_of_tiff_need_imagecodecs(
    compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    samples = rng.integers(0, 256, (32, 48, 3)).astype(LOSSY[compression])
    options = (
        {"lossless": True} if compression == "webp" else {"level": 100 if compression == "jpegxl" else 0}
    )
    tifffile.imwrite(
        tmp_path / "a.tif", samples, compression=compression, compressionargs=options, photometric="rgb"
    )
    (frame,) = read_frames(tmp_path / "a.tif")
    np.testing.assert_allclose(frame.samples, samples, atol=8 if compression == "jpegxl" else 0)
    monkeypatch.setattr(tiff, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"its compression \(.*\) needs imagecodecs") as refused:
        list(read_frames(tmp_path / "a.tif"))
    assert refused.value.hint == "pip install 'sr-cli[codecs]'"


def test_masks_are_no_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((4, 4), np.uint8), photometric="minisblack")
        file.write(np.zeros((4, 4), bool), photometric="minisblack", subfiletype=4)
    assert read_timing(tmp_path / "a.tif").count == 1


@pytest.mark.parametrize("target", [".png", ".avif"])
def test_hdr_colours_are_stated_again(target: str, tmp_path: Path) -> None:
    samples = np.full((16, 16, 3), 90, np.uint8)
    for transfer in (16, 18):  # PQ and HLG
        colours = Metadata(cicp=bytes([9, transfer, 0, 1]))
        write_frames(tmp_path / "a.png", [Frame(samples, 8, colours)])
        (frame,) = read_frames(tmp_path / "a.png")
        write_frames(tmp_path / f"b{target}", [frame])
        (again,) = read_frames(tmp_path / f"b{target}")
        assert again.metadata.cicp == colours.cicp


@pytest.mark.parametrize("target", [".tif", ".jpg", ".png", ".webp", ".avif"])
def test_text_in_the_exif_directory_of_a_tiff_stays_text(target: str, tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[315] = "Zoë".encode()
    inner = {0x9003: "2024:05:06 07:08:09", 0xA434: "EF50mm f/1.8", 0xA432: (50.0, 50.0)}
    tags[0x8769] = inner
    PilImage.new("RGB", (16, 16)).save(tmp_path / "a.tif", tiffinfo=tags)
    (frame,) = read_frames(tmp_path / "a.tif")
    write_frames(tmp_path / f"b{target}", [frame])
    with PilImage.open(tmp_path / f"b{target}") as file:
        exif = file.getexif()
        found = exif.get_ifd(0x8769)
    assert {tag: found[tag] for tag in (0x9003, 0xA434)} == {tag: inner[tag] for tag in (0x9003, 0xA434)}
    assert exif[315].encode("latin-1").decode() == "Zoë"


def test_a_folder_of_odd_files_comes_out_right_or_is_refused_one_by_one(tmp_path: Path, sr: Run) -> None:
    """No file stops another; what is refused is refused in one sentence that does not blame the file."""
    names = {f"{number:03}": odd for number, odd in enumerate(ODD_FILES.values())}
    assert len(names) >= 60
    folder = tmp_path / "in"
    folder.mkdir()
    for name, odd in names.items():
        (folder / f"{name}{odd.suffix}").write_bytes(odd.make())
    files = sorted(folder.iterdir())
    done = sr("upscale", *files, "-x2", "-m", "nearest", "--format", "tif", "-o", tmp_path / "out")
    assert done.code == 3  # a part of the batch failed
    for name, odd in names.items():
        target = tmp_path / "out" / f"{name}_x2.tif"
        lines = [line for line in done.err.splitlines() if f"in/{name}{odd.suffix} cannot" in line]
        if odd.refusal:
            assert not target.exists()
            (line,) = lines
            assert re.search(odd.refusal, line), line
            assert "damaged" not in line
        else:
            assert not lines
            frames = list(read_frames(target))
            for frame, expected in zip(frames, odd.shows, strict=True):
                assert frame.samples.shape[:2] == tuple(2 * side for side in expected.shape[:2])
                if not frame.has_alpha:  # alpha is enlarged by another method
                    seen = to_values(frame)[::2, ::2].reshape(expected.shape)
                    np.testing.assert_allclose(seen, np.maximum(expected, 0), rtol=0.01, atol=0.004)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_equal_frames_become_one_of_their_total_duration(suffix: str, tmp_path: Path) -> None:
    """So docs/formats.md says; a PNG and an AVIF keep the count."""
    frames = [Frame(np.full((8, 8, 3), level, np.uint8), 8) for level in (10, 10, 200, 200, 200, 10)]
    write_frames(tmp_path / f"a{suffix}", frames, FrameTiming(6, (100, 200, 300, 400, 500, 600), 1))
    assert read_timing(tmp_path / f"a{suffix}") == FrameTiming(3, (300, 1200, 600), 1)
    for kept in (".png", ".avif"):
        write_frames(tmp_path / f"a{kept}", frames, FrameTiming(6, (100, 200, 300, 400, 500, 600), 1))
        assert read_timing(tmp_path / f"a{kept}").durations == (100, 200, 300, 400, 500, 600)


def test_deep_animated_avif_says_that_it_is_read_with_8_bits(tmp_path: Path) -> None:
    frames = np.stack([np.full((16, 16, 3), level, np.uint16) for level in (0, 400, 1023)])
    (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(frames, level=100, bitspersample=10))
    shown = list(read_frames(tmp_path / "a.avif"))
    assert [round(frame.samples.mean() / 255, 1) for frame in shown] == [0, 0.4, 1]
    assert shown[0].notes == ("10 bits read as 8",)


NEED_IMAGECODECS = {
    "JPEG of 12 bits, 3 channels": "JPEG of 12 bits needs imagecodecs",
    "JPEG-LS of 16 bits": "JPEG-LS of 16 bits needs imagecodecs",
    "JPEG 2000 of 2 channels, 12 bits": "grey with alpha or YCC of more than 8 bits needs imagecodecs",
}


@pytest.mark.parametrize("name", NEED_IMAGECODECS)
def test_a_missing_decoder_is_named_with_the_way_to_install_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{ODD_FILES[name].suffix}"
    path.write_bytes(ODD_FILES[name].make())
    for module in (jpeg, jpeg2000):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match=NEED_IMAGECODECS[name]) as refused:
        list(read_frames(path))
    assert refused.value.hint == "pip install 'sr-cli[codecs]'"
