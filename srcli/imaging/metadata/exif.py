"""EXIF as a block of bytes that is changed in place, so that all other tags stay as the camera wrote them.

Rewriting the block would move the maker's notes, whose offsets count from the start of the block.
Source: TIFF 6.0, section 2; CIPA DC-008 (Exif 2.32), section 4.6.
"""

import struct
from collections.abc import Iterator

from srcli.dataclass import dataclass

_PREFIX = b"Exif\x00\x00"
_ORIENTATION, _EXIF, _INTEROP = 0x0112, 0x8769, 0xA005
_WIDTHS, _HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)
_RESOLUTIONS = (0x011A, 0x011B)
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
_SHORT, _LONG, _RATIONAL = 3, 4, 5


@dataclass(frozen=True)
class _Entry:
    """An entry of a directory: tag, type, and the offset of its twelve bytes."""

    tag: int
    kind: int
    at: int


@dataclass(frozen=True)
class _Block:
    """The bytes from `II` or `MM` on; `order` is the byte order as `struct` writes it."""

    data: bytearray
    order: str

    def number(self, at: int, code: str) -> int:
        return int(struct.unpack_from(self.order + code, self.data, at)[0])

    def put(self, at: int, code: str, *values: int) -> None:
        struct.pack_into(self.order + code, self.data, at, *values)

    def entries(self, at: int) -> Iterator[_Entry]:
        """Yield the entries of the directory at `at`."""
        for k in range(self.number(at, "H")):
            entry = at + 2 + 12 * k
            yield _Entry(self.number(entry, "H"), self.number(entry + 2, "H"), entry)

    def next(self, at: int) -> int:
        """Return the offset of the pointer to the directory after the one at `at`."""
        return at + 2 + 12 * self.number(at, "H")

    def set_number(self, entry: _Entry, value: int) -> None:
        """Write a single SHORT or LONG; a SHORT becomes a LONG if the value is too large."""
        if entry.kind in (_SHORT, _LONG):
            short = value < 2**16 and entry.kind == _SHORT
            self.put(entry.at + 2, "H", _SHORT if short else _LONG)
            self.put(entry.at + 8, "HH" if short else "I", *([value, 0] if short else [value]))


def strip_prefix(exif: bytes) -> bytes:
    """Return the block from `II` or `MM` on, without the prefix that JPEG requires."""
    return exif[len(_PREFIX) :] if exif.startswith(_PREFIX) else exif


def add_prefix(exif: bytes) -> bytes:
    """Return the block with the prefix that JPEG requires."""
    return exif if exif.startswith(_PREFIX) else _PREFIX + exif


def scale_exif(exif: bytes, old: tuple[int, int], new: tuple[int, int]) -> bytes | None:
    """Adapt the block of an upright image of `old` (width, height) to one of `new`.

    Orientation is reset, sizes and resolution are updated, the thumbnail is dropped. Returns None if the
    block is too damaged to be changed.
    """
    block = _parse_block(exif)
    if block is None:
        return None
    try:
        first = block.number(4, "I")
        for entry in _entries_below(block, first):
            _update(block, entry, old, new)
        _drop_thumbnail(block, first)
    except struct.error:
        return None
    return bytes(block.data)


def read_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8; it defaults to 1 if the tag is missing or unreadable."""
    block = _parse_block(exif)
    try:
        for entry in block.entries(block.number(4, "I")) if block else ():
            if block and entry.tag == _ORIENTATION and entry.kind in (_SHORT, _LONG):
                return block.number(entry.at + 8, "H" if entry.kind == _SHORT else "I")
    except struct.error:
        pass
    return 1


def _parse_block(exif: bytes) -> _Block | None:
    data = bytearray(strip_prefix(exif))
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    return _Block(data, order) if order else None


def _entries_below(block: _Block, first: int) -> Iterator[_Entry]:
    """Yield the entries of the main directory and of the EXIF directory below it."""
    for entry in block.entries(first):
        yield entry
        if entry.tag == _EXIF:
            yield from block.entries(block.number(entry.at + 8, "I"))


def _update(block: _Block, entry: _Entry, old: tuple[int, int], new: tuple[int, int]) -> None:
    if entry.tag == _ORIENTATION:
        block.set_number(entry, 1)
    elif entry.tag in _WIDTHS:
        block.set_number(entry, new[0])
    elif entry.tag in _HEIGHTS:
        block.set_number(entry, new[1])
    elif entry.tag in _RESOLUTIONS and entry.kind == _RATIONAL:
        axis = _RESOLUTIONS.index(entry.tag)
        _scale_rational(block, block.number(entry.at + 8, "I"), new[axis] / old[axis])


def _scale_rational(block: _Block, at: int, factor: float) -> None:
    numerator, denominator = block.number(at, "I"), block.number(at + 4, "I")
    if denominator:
        value = numerator / denominator * factor
        unit = 1000 if value < 2**22 else 1
        block.put(at, "II", min(round(value * unit), 2**32 - 1), unit)


def _drop_thumbnail(block: _Block, first: int) -> None:
    """Unlink the second directory and blank its picture, or cut the picture off if it comes last."""
    pointer = block.next(first)
    second = block.number(pointer, "I")
    if not second:
        return
    tags = {entry.tag: block.number(entry.at + 8, "I") for entry in block.entries(second)}
    block.put(pointer, "I", 0)
    start, length = tags.get(_THUMBNAIL, 0), tags.get(_THUMBNAIL_BYTES, 0)
    stop = min(start + length, len(block.data))
    if 8 <= start < stop:
        if stop == len(block.data):
            del block.data[start:]
        else:
            block.data[start:stop] = bytes(stop - start)
