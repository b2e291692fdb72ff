"""The boxes of a JPEG 2000 file: profile, resolution, XMP and EXIF, read and written.

Source: ITU-T T.800, annex I; XMP specification part 3, 1.1.4; the EXIF box is that of Adobe and ExifTool.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from srcli.imaging.metadata import exif
from srcli.imaging.metadata.fields import Metadata

Box = tuple[bytes, bytes]

SIGNATURE = b"\x00\x00\x00\x0cjP  \x0d\x0a\x87\x0a"
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF = b"JpgTiffExif->JP2"
_PROFILE = 2  # the method of a colour box that holds an ICC profile
_LARGEST = 2**24
_METRE = 0.0254
_LONG_HEADER = 16


def read_metadata_boxes(path: Path) -> Metadata:
    """Return profile, XMP, EXIF and resolution of a boxed file; nothing of a bare code stream."""
    with path.open("rb") as file:
        boxes = list(_read_file_boxes(file))
    header = next((content for name, content in boxes if name == b"jp2h"), b"")
    inner = list(read_boxes(header))
    identified = {content[:16]: content[16:] for name, content in boxes if name == b"uuid"}
    colours = [
        content[3:] for name, content in inner if name == b"colr" and content[:1] in b"\2\3" and content
    ]
    block = exif.strip_prefix(identified.get(_EXIF, b""))
    return Metadata(
        icc=next(iter(colours), None),
        exif=block or None,
        xmp=identified.get(_XMP),
        dpi=_read_resolution(next((content for name, content in inner if name == b"res "), b"")),
    )


def _read_file_boxes(file: BinaryIO) -> Iterator[Box]:
    """Yield the boxes of a file but for its code stream, and none that is absurdly large.

    Raises `ValueError` if the file ends within one.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        rest = length - 8
        if length == 1:
            rest = int.from_bytes(file.read(8)) - _LONG_HEADER
        if rest < 0:  # also the one that is as long as the file
            return
        if file.tell() + rest > size:
            raise ValueError("the file ends within a box")
        if name == b"jp2c" or rest > _LARGEST:
            file.seek(rest, 1)
        else:
            yield name, file.read(rest)


def read_boxes(data: bytes) -> Iterator[Box]:
    """Yield type and content of the boxes in the content of another."""
    at = 0
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + length if length else len(data)
        if end < at + 8:
            return
        yield name, data[at + 8 : end]
        at = end


def _read_resolution(content: bytes) -> tuple[float, float] | None:
    for _, numbers in read_boxes(content):
        if len(numbers) >= 10:
            down, down_of, across, across_of, down_power, across_power = struct.unpack_from(">4H2b", numbers)
            if min(down, down_of, across, across_of) > 0:
                x = across / across_of * 10.0**across_power * _METRE
                y = down / down_of * 10.0**down_power * _METRE
                return (x, y) if min(x, y) > 1 else None
    return None


def add_metadata_boxes(data: bytes, metadata: Metadata) -> bytes:
    """Return a boxed file with profile and resolution in its header, and XMP and EXIF at its end.

    Pillow finds the comment of a code stream only right after the header.
    """
    if not data.startswith(SIGNATURE):
        return data
    at, out = len(SIGNATURE), [data[: len(SIGNATURE)]]
    while data[at + 4 : at + 8] != b"jp2c":
        length, name = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + length]
        out.append(_pack_box(name, _change_header(content, metadata) if name == b"jp2h" else content))
        at += length
    out.append(_pack_box(b"jp2c", data[at + 8 :]))  # its length may be left open at the end of a file
    if metadata.xmp:
        out.append(_pack_box(b"uuid", _XMP + metadata.xmp))
    if metadata.exif:
        out.append(_pack_box(b"uuid", _EXIF + exif.strip_prefix(metadata.exif)))
    return b"".join(out)


def _change_header(content: bytes, metadata: Metadata) -> bytes:
    """Return the boxes of a header with the profile in place of the colour space, and with the resolution."""
    boxes = list(read_boxes(content))
    if metadata.icc:
        profile = (b"colr", bytes([_PROFILE, 0, 0]) + metadata.icc)
        boxes = [profile if name == b"colr" else (name, held) for name, held in boxes]
    if metadata.dpi:
        x, y = (min(round(value / _METRE), 65535) for value in metadata.dpi)
        capture = struct.pack(">4H2b", y, 1, x, 1, 0, 0)
        boxes.append((b"res ", _pack_box(b"resc", capture)))
    return _join_boxes(boxes)


def _join_boxes(boxes: Sequence[Box]) -> bytes:
    return b"".join(_pack_box(name, content) for name, content in boxes)


def _pack_box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content
