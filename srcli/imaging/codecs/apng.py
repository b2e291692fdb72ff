"""Animated PNG: the frames of a file as single PNGs, and how they are drawn over each other.

Source: the PNG specification, third edition, https://www.w3.org/TR/png-3/, sections 11.3.6 and 13.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import field
from fractions import Fraction
from mmap import mmap

import numpy as np

from srcli.dataclass import dataclass
from srcli.imaging.codecs.base import FrameTiming
from srcli.imaging.codecs.png_chunks import SIGNATURE, Header, parse_header, read_chunks, write_chunk
from srcli.imaging.metadata.fields import Chunk
from srcli.imaging.pixels import StoredSamples, white_level

_CONTROL = ">IIIIIHHBB"
_TO_BACKGROUND, _TO_PREVIOUS = 1, 2
_OVER = 1
_DEFAULT_DENOMINATOR = 100
# Chunks before the samples on which decoding depends.
_SHARED = (b"PLTE", b"tRNS")


@dataclass(frozen=True)
class Part:
    """A frame as it is stored: where it goes, how long it is shown, and its compressed samples."""

    width: int
    height: int
    left: int = 0
    top: int = 0
    duration: float = 0
    disposal: int = 0
    blend: int = 0
    data: list[bytes] = field(default_factory=list)

    @property
    def area(self) -> tuple[slice, slice]:
        """The rows and the columns that it covers."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Animation:
    """The parts of an animation; the first is only a cover for readers without animation if `cover`."""

    header: Header
    shared: tuple[Chunk, ...]
    parts: Sequence[Part]
    plays: int
    cover: bool

    @property
    def timing(self) -> FrameTiming:
        """The durations in milliseconds, and the number of plays."""
        durations = tuple(part.duration for part in self.parts)
        return FrameTiming(len(self.parts), durations, self.plays, self.cover)

    def encode_part(self, part: Part) -> bytes:
        """Return a part as a PNG of its own."""
        file = io.BytesIO(SIGNATURE)
        file.seek(0, io.SEEK_END)
        header = (b"IHDR", self.header.encode(part.width, part.height))
        for chunk in (header, *self.shared, (b"IDAT", b"".join(part.data)), (b"IEND", b"")):
            write_chunk(file, chunk)
        return file.getvalue()


def read_animation(data: bytes | mmap) -> Animation | None:
    """Read the parts of an animation; None for a PNG of one frame.

    Raises `ValueError` if frames are missing or lie outside of the picture.
    """
    header, shared = parse_header(data[:33]), []
    count, plays, parts, cover = 0, 0, list[Part](), False
    for name, content in read_chunks(data):
        if name == b"IDAT" and not count:
            return None
        if name == b"acTL" and not parts:
            count, plays = struct.unpack(">II", content)
        elif name in _SHARED and not parts:
            shared.append((name, content))
        elif name == b"fcTL" and count:
            parts.append(_parse_control(content, header))
        elif name == b"IDAT":
            if not parts:
                parts, cover = [Part(header.width, header.height)], True
            parts[0].data.append(content)
        elif name == b"fdAT" and len(parts) > cover:
            parts[-1].data.append(content[4:])
    if count + cover < 2:
        return None
    if len(parts) < count + cover or not all(part.data for part in parts):
        raise ValueError(f"it has fewer than the {count} frames that it claims to have")
    return Animation(header, tuple(shared), parts[: count + cover], plays, cover)


def count_claimed_frames(data: bytes | mmap) -> int:
    """Return how many pictures a PNG claims to hold, a cover included; 1 without animation."""
    count, cover = 0, True
    for name, content in read_chunks(data):
        if name == b"acTL" and len(content) >= 4:
            (count,) = struct.unpack_from(">I", content)
        elif name == b"fcTL":
            cover = False
        elif name == b"IDAT":
            break
    return max(1, count + cover) if count else 1


def _parse_control(content: bytes, header: Header) -> Part:
    _, width, height, left, top, number, denominator, disposal, blend = struct.unpack(_CONTROL, content)
    if not (0 < width <= header.width - left and 0 < height <= header.height - top):
        raise ValueError("a frame lies outside of the picture")
    duration = number / (denominator or _DEFAULT_DENOMINATOR) * 1000
    return Part(width, height, left, top, duration, disposal, blend)


def draw_frames(animation: Animation, decoded: Iterator[StoredSamples]) -> Iterator[StoredSamples]:
    """Yield each frame as it is seen, (H, W, 4), from the parts, each (h, w, 4) of the same type."""
    canvas: StoredSamples | None = None
    for number, (part, samples) in enumerate(zip(animation.parts, decoded, strict=True)):
        if animation.cover and number == 0:
            yield samples
            continue
        if canvas is None:
            canvas = np.zeros((animation.header.height, animation.header.width, 4), samples.dtype)
        before = canvas[part.area].copy()
        canvas[part.area] = _blend_over(samples, before) if part.blend == _OVER else samples
        yield canvas.copy()
        if part.disposal == _TO_BACKGROUND or (part.disposal == _TO_PREVIOUS and number == animation.cover):
            canvas[part.area] = 0
        elif part.disposal == _TO_PREVIOUS:
            canvas[part.area] = before


def _blend_over(front: StoredSamples, back: StoredSamples) -> StoredSamples:
    """Draw samples over others, colours not multiplied by alpha (13.16)."""
    top = white_level(front)
    alpha, behind = (side[..., 3:].astype(np.float64) / top for side in (front, back))
    total = alpha + behind * (1 - alpha)
    share = alpha / np.where(total > 0, total, 1)
    colours = front[..., :3] * share + back[..., :3] * (1 - share)
    out = np.rint(np.concatenate([colours, total * top], axis=2)).astype(front.dtype)
    return np.where(alpha == 1, front, np.where(alpha == 0, back, out))


def make_control(number: int, area: tuple[slice, slice], duration: float) -> Chunk:
    """Return the chunk before the samples of a frame that replaces `area`; `duration` is in milliseconds."""
    rows, columns = area
    delay = Fraction(duration / 1000).limit_denominator(65535)
    sides = columns.stop - columns.start, rows.stop - rows.start, columns.start, rows.start
    return b"fcTL", struct.pack(
        _CONTROL, number, *sides, min(delay.numerator, 65535), delay.denominator, 0, 0
    )


def find_change(old: StoredSamples, new: StoredSamples) -> tuple[slice, slice]:
    """Return the rows and columns in which two frames differ, at least one pixel."""
    differs = old != new
    if differs.ndim == 3:
        differs = differs.any(axis=2)
    return _bound(differs.any(axis=1)), _bound(differs.any(axis=0))


def _bound(differs: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> slice:
    at = np.flatnonzero(differs)
    return slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 1)
