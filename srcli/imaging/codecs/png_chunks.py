"""The chunks of a PNG: reading and writing them, and the text chunks in which ImageMagick keeps EXIF.

Source: the PNG specification, third edition, https://www.w3.org/TR/png-3/.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from mmap import mmap
from typing import BinaryIO

from srcli.dataclass import dataclass
from srcli.imaging.metadata import exif
from srcli.imaging.metadata.fields import TEXT_CHUNKS, Chunk, Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks about colour and text stay to the byte; XMP, EXIF and ICC are fields of `Metadata`.
_COLOUR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"mDCV", b"cLLI")
_XMP = b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type "
_RAW_EXIF = (b"exif", b"APP1")
_EXIF_PREFIX = b"Exif\0\0"
_MAX_PROFILE = 2**25  # bytes of hexadecimal text


@dataclass(frozen=True)
class Header:
    """The fields of IHDR; `depth` is the bits of a sample, or of an index into a palette."""

    width: int
    height: int
    depth: int
    colour_type: int
    rest: bytes

    @property
    def has_palette(self) -> bool:
        """True if samples are indices into a palette."""
        return self.colour_type == 3

    @property
    def has_alpha(self) -> bool:
        """True if every pixel has an alpha sample."""
        return self.colour_type in (4, 6)

    def encode(self, width: int, height: int) -> bytes:
        """Return the content of IHDR for another size."""
        return struct.pack(">IIBB", width, height, self.depth, self.colour_type) + self.rest


def parse_header(head: bytes) -> Header:
    """Parse the first 33 bytes of a PNG. Raises `ValueError` if IHDR does not come first."""
    if len(head) < 33 or head[12:16] != b"IHDR":
        raise ValueError("it has no header")
    return Header(*struct.unpack_from(">IIBB3s", head, 16))


def read_chunks(data: bytes | mmap) -> Iterator[Chunk]:
    """Yield name and content of each chunk. Raises `ValueError` for a cut-off file or a wrong checksum."""
    at = len(SIGNATURE)
    while at < len(data):
        if at + 12 > len(data):
            raise ValueError("the file ends within a chunk")
        length, name = struct.unpack_from(">I4s", data, at)
        content, checksum = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(checksum) < 4 or struct.unpack(">I", checksum)[0] != zlib.crc32(content, zlib.crc32(name)):
            raise ValueError(f"the chunk {name!r} is damaged")
        yield name, content
        if name == b"IEND":
            return
        at += 12 + length
    raise ValueError("the file ends without its last chunk")


def write_chunk(file: BinaryIO, chunk: Chunk) -> None:
    """Write the length, the name, the content and the checksum of a chunk."""
    name, content = chunk
    file.write(struct.pack(">I", len(content)) + name)
    file.write(content)
    file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(name))))


def read_metadata_chunks(data: bytes | mmap) -> Metadata:
    """Return the chunks about colour and text as they are, and the EXIF block that a text chunk holds.

    That chunk is left out: its text would go on to tell the old orientation.
    """
    kept, block, cicp = [], None, None
    for name, content in read_chunks(data):
        if name in TEXT_CHUNKS and content.partition(b"\0")[0] in _RAW_EXIF_KEYS:
            block = block or _parse_raw_exif(name, content)
        elif name == b"cICP" and len(content) == 4:
            cicp = content
        elif name in _COLOUR_CHUNKS or (name in TEXT_CHUNKS and not content.startswith(_XMP)):
            kept.append((name, content))
    return Metadata(exif=block, chunks=tuple(kept), cicp=cicp)


_RAW_EXIF_KEYS = tuple(_RAW_PROFILE + kind for kind in _RAW_EXIF)


def _parse_raw_exif(name: bytes, content: bytes) -> bytes | None:
    """Return the EXIF block of a raw profile: a line feed, a name, a length, and hexadecimal digits."""
    text = content.partition(b"\0")[2]
    try:
        if name == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _MAX_PROFILE)
        elif name == b"iTXt":
            return None
        _, _, _, *lines = text.split(b"\n")
        block = bytes.fromhex(b"".join(lines).decode("ascii"))
    except (ValueError, zlib.error):
        return None
    is_exif = block.startswith((_EXIF_PREFIX, b"II*\0", b"MM\0*"))
    return exif.strip_prefix(block) if is_exif else None


def make_metadata_chunks(metadata: Metadata) -> Sequence[Chunk]:
    """Return chunks in the order of the specification: colour first."""
    icc, dpi = metadata.icc, metadata.dpi
    out = [(b"iCCP", b"icc\0\0" + zlib.compress(icc))] if icc else []
    # A profile overrules sRGB and gamma, and readers warn about a file that has both.
    out += [(b"cICP", metadata.cicp)] if metadata.cicp else []
    out += [chunk for chunk in metadata.chunks if not (icc and chunk[0] in (b"sRGB", b"iCCP"))]
    if dpi:
        per_metre = [round(value / 0.0254) for value in dpi]
        out.append((b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if metadata.exif:
        out.append((b"eXIf", exif.strip_prefix(metadata.exif)))
    return out + ([(b"iTXt", _XMP + b"\0\0\0\0\0" + metadata.xmp)] if metadata.xmp else [])
