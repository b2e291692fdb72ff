"""Portable any-maps: PBM, PGM, PPM and PAM of any maximum, plain and binary.

Source: https://netpbm.sourceforge.net/doc/ (pbm, pgm, ppm, pam).
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from srcli.dataclass import dataclass
from srcli.imaging.codecs.base import (
    Codec,
    EncodingOptions,
    Frame,
    FrameTiming,
    ImageInfo,
    UnsupportedImageError,
    check_pixel_count,
    read_head,
)
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import StoredSamples

_HEADER_BYTES = 65536
_PLAIN = b"123"
_BITMAPS = b"14"
_COLOUR = b"36"
_PAM = b"7"
# A number of a header; comments may come before it.
_NUMBER = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*(\d{1,10})")
_COMMENT = re.compile(rb"#[^\r\n]*")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Header:
    """The header of a file whose samples, 0..`top`, start at `at`; `kind` is the digit after the P."""

    kind: bytes
    width: int
    height: int
    channels: int
    top: int
    at: int

    @property
    def depth(self) -> int:
        """The bits of a frame: 1 for black and white, 16 for a maximum above 255."""
        return 1 if self.kind in _BITMAPS else 16 if self.top > 255 else 8

    @property
    def count(self) -> int:
        """The samples of the picture."""
        return self.width * self.height * self.channels


@dataclass(frozen=True)
class PnmCodec(Codec):
    """Portable any-maps; `kinds` are the digits after the P that start files of this kind."""

    kinds: bytes = b""

    def sniff(self, head: bytes) -> bool:
        """Recognise P and a digit."""
        return head[:1] == b"P" and head[1:2] in [b"%c" % kind for kind in self.kinds] and head[2:3].isspace()

    def describe(self, path: Path) -> ImageInfo:
        """Read the header."""
        header = parse_header(read_head(path, _HEADER_BYTES))
        mode = "1" if header.depth == 1 else _MODES[header.channels]
        return ImageInfo(self.name, (header.width, header.height), mode, header.depth, Metadata())

    def read_timing(self, path: Path) -> FrameTiming:
        """Return the timing of a single image."""
        return FrameTiming()

    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode the first image of a file."""
        header = parse_header(read_head(path, _HEADER_BYTES))
        check_pixel_count(path, (header.width, header.height), max_pixels)
        with path.open("rb") as file:
            file.seek(header.at)
            values = _read_plain(file, header) if header.kind in _PLAIN else _read_binary(file, header)
        shape = (header.height, header.width, *[header.channels] * (header.channels > 1))
        yield Frame(_stretch(values.reshape(shape), header.top), header.depth)

    def write(
        self,
        file: BinaryIO,
        frames: Iterable[Frame],
        timing: FrameTiming,
        encoding: EncodingOptions,
        suffix: str,
    ) -> None:
        """Encode as binary, grey or colour as the samples are, whatever the suffix says."""
        frame = next(iter(frames))
        samples, depth = frame.samples, frame.depth
        height, width = samples.shape[:2]
        if depth == 1:
            file.write(b"P4\n%d %d\n" % (width, height))
            file.write(np.packbits(_to_grey(samples) < 128, axis=1).tobytes())
            return
        kind = 5 if samples.ndim == 2 else 6
        file.write(b"P%d\n%d %d\n%d\n" % (kind, width, height, 2**depth - 1))
        file.write(np.ascontiguousarray(samples, f">u{depth // 8}").data)


def parse_header(head: bytes) -> Header:
    """Parse a header with comments at any place. Raises `ValueError` if it is damaged."""
    kind = head[1:2]
    if kind == _PAM:
        return _parse_pam_header(head)
    numbers, at = list[int](), 2
    for name in ("width", "height", "maximum")[: 2 if kind in _BITMAPS else 3]:
        found = _NUMBER.match(head, at)
        if not found:
            raise ValueError(f"its header has no {name}")
        numbers.append(int(found[1]))
        at = found.end()
    # A single white space ends the header, or a comment, with the end of its line.
    end = re.compile(rb"\s|#[^\r\n]*[\r\n]").match(head, at)
    if not end:
        raise ValueError("its header has no end")
    top = numbers[2] if len(numbers) > 2 else 1
    return _check_header(Header(kind, numbers[0], numbers[1], 3 if kind in _COLOUR else 1, top, end.end()))


def _parse_pam_header(head: bytes) -> Header:
    end = re.search(rb"\nENDHDR[^\S\n]*\n", head)
    if not end:
        raise ValueError("its header has no end")
    fields = {}
    for line in head[: end.start()].splitlines()[1:]:
        words = line.split(b"#")[0].split(None, 1)
        if len(words) > 1:
            fields[words[0]] = words[1].strip()
    try:
        names = (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
        width, height, channels, top = (int(fields[name]) for name in names)
    except KeyError as error:
        raise ValueError(f"its header has no {error.args[0].decode()}") from error
    if channels not in _MODES:
        raise UnsupportedImageError(f"it has {channels} channels", "convert it to RGB or RGBA")
    return _check_header(Header(_PAM, width, height, channels, top, end.end()))


def _check_header(header: Header) -> Header:
    if not 0 < header.top < 65536:
        raise ValueError(f"its maximum is {header.top}")
    return header


def _read_binary(file: BinaryIO, header: Header) -> StoredSamples:
    """Read samples of one or two bytes, or of one bit, where 1 is black."""
    if header.kind in _BITMAPS:
        line = -(-header.width // 8)
        packed = _check_count(np.frombuffer(file.read(line * header.height), np.uint8), line * header.height)
        bits = np.unpackbits(packed.astype(np.uint8).reshape(header.height, line), axis=1, count=header.width)
        return 1 - bits.ravel()
    dtype = np.dtype(np.uint8 if header.top < 256 else ">u2")
    data = file.read(header.count * dtype.itemsize)
    return _check_count(
        np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype), header.count
    )


def _read_plain(file: BinaryIO, header: Header) -> StoredSamples:
    """Read samples that are written as text; the digits of a bitmap need no space between them."""
    text = _COMMENT.sub(b"", file.read())
    if header.kind in _BITMAPS:
        digits = np.frombuffer(b"".join(text.split()), np.uint8)[: header.count]
        values = 1 - (_check_count(digits, header.count).astype(np.int64) - ord("0"))
    else:
        values = np.array(text.split(None, header.count)[: header.count], np.int64)
    return _check_count(values, header.count)


def _check_count(values: StoredSamples, count: int) -> StoredSamples:
    if len(values) < count:
        raise ValueError(f"it has {len(values):,} of its {count:,} samples")
    return values


def _stretch(values: StoredSamples, top: int) -> StoredSamples:
    """Return values 0..`top` as uint8 or uint16 that use the whole range."""
    if values.min() < 0 or values.max() > top:
        raise ValueError(f"it has samples above its maximum of {top}")
    dtype, white = (np.uint8, 255) if top < 256 else (np.uint16, 65535)
    if top == white:
        return values.astype(dtype)
    return np.rint(values.astype(np.float64) * white / top).astype(dtype)


def _to_grey(samples: StoredSamples) -> StoredSamples:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(samples))
    return np.asarray(picture.convert("L"))


CODEC = PnmCodec(
    name="PPM",
    suffixes=(".ppm", ".pgm", ".pnm"),
    read_suffixes=(".pam",),
    kinds=b"23567",
    depths=(8, 16),
    read_depths=tuple(range(1, 17)),
    read_channels=(1, 2, 3, 4),
)
BITMAP = PnmCodec(name="PBM", suffixes=(".pbm",), kinds=b"14", depths=(1,), channels=(1,))
