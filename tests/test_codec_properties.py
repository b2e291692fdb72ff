"""Codecs hold what their data says, and nothing beyond: depths, channels, frames, metadata, orientation.

Every file is compared with a decoder or an encoder of another library.
"""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import ExifTags, ImageCms
from PIL import Image as PilImage

from helpers.second_decoders import DECODERS, ENCODERS, Values, read_second
from srcli.errors import ImageError
from srcli.imaging.codecs.base import Codec, EncodingOptions, Frame, FrameTiming
from srcli.imaging.codecs.reading import read_frames, read_info, read_timing
from srcli.imaging.codecs.registry import CODECS
from srcli.imaging.codecs.writing import check_can_hold, write_frames
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import white_level

SIZE = (64, 48)
WRITABLE = [codec for codec in CODECS if codec.can_write]
# Camera raw has no encoder; tests/test_raw.py makes a DNG by hand.
NOT_MADE = {"RAW"}
# Differences that the compression of a format makes, as parts of 1, at the quality of these tests.
READ_TOLERANCE = {"JPEG": 0.03, "AVIF": 0.012, "HEIF": 0.012, "HDR": 0.02, "GIF": 0.0}
WRITE_TOLERANCE = {"JPEG": 0.03, "AVIF": 0.06, "HEIF": 0.06, "WEBP": 0.06, "HDR": 0.02, "GIF": 0.25}

pytestmark = pytest.mark.skipif(any(codec.missing_package for codec in CODECS), reason="needs all extras")


def draw(depth: int, channels: int, size: tuple[int, int] = SIZE) -> Values:
    """Return soft waves, other ones for each channel, with all of the range: integers, or floats for 32."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    planes = [0.5 + 0.5 * np.sin(x / (9 + 2 * k) + y / (13 - 2 * k) + 2 * k) for k in range(channels)]
    values = np.stack(planes, axis=2) if channels > 1 else planes[0]
    if depth == 32:
        return (values + 0.01).astype(np.float32)
    return np.rint(values * (2**depth - 1)).astype(np.uint8 if depth <= 8 else np.uint16)


def draw_for(codec: Codec, depth: int, channels: int) -> Values:
    """Return a picture that the format can hold: of GIF, a few colours; of an icon, one of its sizes."""
    samples = draw(depth, channels, (128, 128) if codec.name == "ICNS" else SIZE)
    if codec.name == "GIF" and channels > 1:
        samples = (samples > 127).astype(np.uint8) * np.uint8(255)
        if channels in (2, 4):
            samples[samples[..., -1] == 0] = 0
    return samples


def to_parts(samples: Values, depth: int) -> Values:
    values = samples.astype(np.float64) / (1 if depth == 32 else 2**depth - 1)
    return values.reshape(*values.shape[:2], -1)


def codec_depth(depth: int) -> int:
    """Return the depth of a frame of a file of this many bits."""
    return 32 if depth == 32 else 16 if depth > 8 else 8


def read_ours(path: Path) -> tuple[Values, Frame]:
    (frame,) = read_frames(path)
    values = frame.samples / np.float64(white_level(frame.samples))
    return values.reshape(*values.shape[:2], -1), frame


@pytest.mark.parametrize("codec", [c for c in CODECS if c.name not in NOT_MADE], ids=lambda codec: codec.name)
def test_every_depth_and_channel_that_is_read(codec: Codec, tmp_path: Path) -> None:
    depths, counts = set[int](), set[int]()
    for depth in codec.all_read_depths:
        for channels in codec.all_read_channels:
            samples = draw_for(codec, depth, channels)
            data = ENCODERS[codec.name](samples, depth, channels)
            if data is None:
                continue
            path = tmp_path / "a"
            path.write_bytes(data)
            values, frame = read_ours(path)
            expected = to_parts(samples, depth)
            assert values.shape == expected.shape, (depth, channels)
            rounding = 0.505 / white_level(frame.samples) if depth not in (8, 16, 32) else 1e-6
            tolerance = max(rounding, 0 if depth == 16 else READ_TOLERANCE.get(codec.name, 0))
            np.testing.assert_allclose(values, expected, atol=tolerance, err_msg=f"{depth}-{channels}")
            assert frame.depth in (depth, codec_depth(depth))
            assert read_info(path).size == samples.shape[1::-1]
            depths.add(depth)
            counts.add(channels)
    assert depths == set(codec.all_read_depths)
    assert counts == set(codec.all_read_channels)


CELLS = [
    (codec, depth, channels) for codec in WRITABLE for depth in codec.depths for channels in codec.channels
]


@pytest.mark.parametrize(
    ("codec", "depth", "channels"), CELLS, ids=[f"{c.name}-{d}-{n}" for c, d, n in CELLS]
)
def test_every_depth_and_channel_that_is_written(
    codec: Codec, depth: int, channels: int, tmp_path: Path
) -> None:
    if depth == 1 and channels > 1:
        pytest.skip("one bit is black and white")
    samples = draw_for(codec, depth, channels)
    stored = samples * np.uint8(255) if depth == 1 else samples
    for suffix in codec.suffixes:
        path = tmp_path / f"a{suffix}"
        write_frames(path, [Frame(stored, depth)])
        expected, tolerance = to_parts(samples, depth), WRITE_TOLERANCE.get(codec.name, 1e-6)
        values, _ = read_ours(path)
        second = read_second(codec.name, path, depth)
        for seen in (values, second):
            wanted = expected
            if seen.shape[2] > channels and channels < 3:  # grey has become colour, which the data allows
                wanted = np.concatenate([np.repeat(expected[..., :1], 3, axis=2), expected[..., 1:]], axis=2)
            assert seen.shape == wanted.shape
            assert np.abs(seen - wanted).mean() <= tolerance / 2
            assert np.abs(seen - wanted).max() <= (tolerance if tolerance < 1e-5 else 4 * tolerance)


LOSSLESS = [codec for codec in WRITABLE if codec.name not in WRITE_TOLERANCE]


@pytest.mark.parametrize("codec", LOSSLESS, ids=lambda codec: codec.name)
def test_noise_comes_back_from_lossless_formats(
    codec: Codec, tmp_path: Path, rng: np.random.Generator
) -> None:
    for depth in codec.depths:
        for channels in codec.channels:
            if depth == 1 and channels > 1:
                continue
            shape = (SIZE[1], SIZE[0]) if channels == 1 else (SIZE[1], SIZE[0], channels)
            values = rng.random(shape, np.float32) * (1 if depth == 32 else 2**depth)
            samples = values if depth == 32 else values.astype(np.uint16 if depth == 16 else np.uint8)
            stored = samples * np.uint8(255) if depth == 1 else samples
            path = tmp_path / f"a{codec.suffixes[0]}"
            write_frames(path, [Frame(stored, depth)])
            second = read_second(codec.name, path, depth)[..., -channels:]
            np.testing.assert_allclose(second, to_parts(samples, depth)[..., -second.shape[2] :], atol=1e-6)


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="a cup"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


def make_exif(orientation: int = 1) -> bytes:
    block = PilImage.Exif()
    block[ExifTags.Base.Orientation] = orientation
    block[ExifTags.Base.ImageDescription] = "a cup"
    return block.tobytes()[6:] if block.tobytes().startswith(b"Exif") else block.tobytes()


KINDS: dict[str, Any] = {
    "icc": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "exif": make_exif(),
    "xmp": XMP,
    "dpi": (300.0, 150.0),
    "comment": b"a cup",
    "chunks": ((b"gAMA", struct.pack(">I", 50000)), (b"tEXt", b"Title\0a cup")),
    "cicp": bytes([9, 16, 0, 1]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codec", WRITABLE, ids=lambda codec: codec.name)
def test_metadata_is_held_where_the_data_says_so_and_nowhere_else(
    codec: Codec, kind: str, tmp_path: Path
) -> None:
    depth = codec.choose_depth(8)
    samples = draw(depth, max(n for n in codec.channels if n in (1, 3)))
    frame = Frame(samples * np.uint8(255) if depth == 1 else samples, depth)
    for suffix in codec.suffixes:
        path = tmp_path / f"a{suffix}"
        write_frames(path, [replace(frame, metadata=replace(Metadata(), **{kind: KINDS[kind]}))])
        (again,) = read_frames(path)
        found = getattr(again.metadata, kind)
        if kind not in codec.metadata_kinds:
            assert found is None or found == () or (kind == "comment" and b"a cup" not in found)
            continue
        if kind == "dpi":
            np.testing.assert_allclose(found, KINDS[kind], rtol=0.01)
        elif kind == "exif":
            assert b"a cup" in found
        else:
            assert KINDS[kind] in (found, bytes(found) if kind in ("icc", "xmp") else found)
        assert getattr(read_info(path).metadata, kind) == found


@pytest.mark.parametrize("tag", [3, 6, 8])
@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_orientation_is_applied_once(name: str, tag: int, tmp_path: Path) -> None:
    codec = next(codec for codec in WRITABLE if codec.name == name)
    load_plugin = getattr(codec, "load_plugin", lambda: None)
    load_plugin()
    picture = PilImage.fromarray(draw(8, 3))
    block = PilImage.Exif()
    block[ExifTags.Base.Orientation] = tag
    picture.save(tmp_path / f"a{codec.suffixes[0]}", exif=block.tobytes(), quality=100)
    values, frame = read_ours(tmp_path / f"a{codec.suffixes[0]}")
    upright = np.rot90(draw(8, 3), {3: 2, 6: 3, 8: 1}[tag]) / 255
    assert np.abs(values - upright).mean() < 0.02
    write_frames(tmp_path / f"b{codec.suffixes[0]}", [frame])
    again, _ = read_ours(tmp_path / f"b{codec.suffixes[0]}")
    assert np.abs(again - upright).mean() < 0.03


@pytest.mark.parametrize("codec", WRITABLE, ids=lambda codec: codec.name)
def test_frames_are_held_where_the_data_says_so(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / f"a{codec.suffixes[0]}"
    if not codec.has_frames:
        with pytest.raises(ImageError, match="holds one frame, not 3"):
            check_can_hold(path, frames=3)
        return
    depth, channels = codec.choose_depth(8), max(codec.channels)
    frames = [Frame(np.roll(draw_for(codec, depth, channels), 7 * k, axis=1), depth) for k in range(3)]
    durations = (100.0, 200.0, 300.0) if codec.frame_kind == "animation" else ()
    write_frames(path, frames, FrameTiming(3, durations, 2))
    timing = read_timing(path)
    assert timing.count == 3
    assert timing.durations == durations
    if durations:
        assert timing.plays == 2
    tolerance = WRITE_TOLERANCE.get(codec.name, 0)
    for written, again in zip(frames, read_frames(path), strict=True):
        assert written.samples.shape == again.samples.shape
        assert np.abs(written.samples / 255 - again.samples / 255).mean() <= tolerance


@pytest.mark.parametrize("codec", WRITABLE, ids=lambda codec: codec.name)
def test_what_a_format_cannot_hold_is_refused(codec: Codec) -> None:
    for suffix in codec.suffixes:
        path = Path(f"a{suffix}")
        if codec.has_alpha:
            check_can_hold(path, alpha=True)
        else:
            with pytest.raises(ImageError, match="cannot hold transparency"):
                check_can_hold(path, alpha=True)
        for depth in (1, 8, 16, 32):
            if depth in codec.depths:
                check_can_hold(path, encoding=EncodingOptions(depth=depth))
            else:
                with pytest.raises(ImageError, match=f"cannot hold {depth}-bit samples"):
                    check_can_hold(path, encoding=EncodingOptions(depth=depth))
        check_can_hold(path, size=(codec.largest_side, 1))
        with pytest.raises(ImageError, match="pixels a side"):
            check_can_hold(path, size=(1, codec.largest_side + 1))


def test_every_format_has_a_second_decoder() -> None:
    assert set(DECODERS) == {codec.name for codec in WRITABLE}
    assert set(ENCODERS) == {codec.name for codec in CODECS} - NOT_MADE


@pytest.mark.parametrize("depth", [8, 16])
def test_other_decoders_read_jpeg2000_with_all_its_boxes(depth: int, tmp_path: Path) -> None:
    about = Metadata(**{kind: KINDS[kind] for kind in ("icc", "exif", "xmp", "dpi")})
    samples = draw(depth, 3)
    path = tmp_path / "a.jp2"
    write_frames(path, [Frame(samples, depth, about)])
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1], samples)
    stored = path.read_bytes()
    bare = stored[stored.index(b"\xff\x4f\xff\x51") :]  # of a boxed file it applies the profile
    np.testing.assert_array_equal(imagecodecs.jpeg2k_decode(bare), samples)
    np.testing.assert_allclose(imagecodecs.jpeg2k_decode(stored), samples, atol=2 ** (depth - 8))
    with PilImage.open(path) as file:
        np.testing.assert_allclose(file.info["dpi"], (300, 150), rtol=0.01)
        file.load()


@pytest.mark.parametrize("codec", WRITABLE, ids=lambda codec: codec.name)
def test_the_smallest_images_are_written(codec: Codec, tmp_path: Path) -> None:
    for depth in codec.depths:
        for channels in codec.channels:
            samples = draw(depth, channels)[:1, :1]
            stored = samples * np.uint8(255) if depth == 1 else samples
            for suffix in codec.suffixes:
                write_frames(tmp_path / f"a{suffix}", [Frame(np.ascontiguousarray(stored), depth)])
                values, _ = read_ours(tmp_path / f"a{suffix}")
                assert values.shape[:2] == (1, 1)
