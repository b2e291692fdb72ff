"""XMP packets: values that depend on the size of an image are replaced in place; all other bytes stay.

Source: XMP specification part 1, section 7; part 2, section 3.2.5 (thumbnails).
"""

import re
from dataclasses import field

from srcli.dataclass import dataclass

# Larger packets are not kept: they would be parsed for seconds.
MAX_BYTES = 2**24
_LONGEST_NUMBER = 64
_THUMBNAILS = "xmp:Thumbnails"
_ATTRIBUTE = re.compile(rb"([\w:.-]{1,64})\s{0,64}=\s{0,64}(\"[^\"]{0,64}\"|'[^']{0,64}')")


class _ForbiddenError(Exception):
    """A document type: nobody needs one here, and its entities can grow without bound."""


@dataclass
class _Scan:
    """The parts of a packet to replace, as (start, stop, text) in bytes, found by a parser."""

    packet: bytes
    values: dict[str, int]
    edits: list[tuple[int, int, bytes]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Parse the packet up to its end or to where it is damaged."""
        from xml.parsers import expat

        parser = expat.ParserCreate()

        def forbid(*_: object) -> None:
            raise _ForbiddenError

        def start(name: str, attributes: dict[str, str]) -> None:
            self.starts.append(parser.CurrentByteIndex)
            if not self.values.keys().isdisjoint(attributes):
                self._edit_attributes(parser.CurrentByteIndex)

        def end(name: str) -> None:
            self._edit_element(name, self.starts.pop(), parser.CurrentByteIndex)

        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = forbid
        parser.StartElementHandler, parser.EndElementHandler = start, end
        try:
            parser.Parse(self.packet.rstrip(b"\0"), True)  # noqa: FBT003 (positional only)
        except (expat.ExpatError, _ForbiddenError):
            return  # what was found before is right

    def _edit_attributes(self, at: int) -> None:
        stop = self._find_tag_end(at)
        for found in _ATTRIBUTE.finditer(self.packet, at, stop):
            value = self.values.get(found[1].decode("latin-1"))
            if value is not None:
                self.edits.append((found.start(2) + 1, found.end(2) - 1, b"%d" % value))

    def _edit_element(self, name: str, start: int, end: int) -> None:
        if name != _THUMBNAILS and name not in self.values:
            return
        first = self._find_tag_end(start)
        is_empty = not self.packet.startswith(b"</", end)
        if name == _THUMBNAILS:
            stop = first if is_empty else self._find_tag_end(end)
            while self.edits and self.edits[-1][0] >= start:
                self.edits.pop()  # it is within what is removed
            self.edits.append((start, stop, b""))
        elif not is_empty and end <= first + _LONGEST_NUMBER and self.packet[first:end].strip().isdigit():
            self.edits.append((first, end, b"%d" % self.values[name]))

    def _find_tag_end(self, at: int) -> int:
        """Return where the tag that starts at `at` ends; `>` within quotes does not count."""
        quote = b""
        for stop in range(at, len(self.packet)):
            sign = self.packet[stop : stop + 1]
            if quote:
                quote = b"" if sign == quote else quote
            elif sign in (b'"', b"'"):
                quote = sign
            elif sign == b">":
                return stop + 1
        return len(self.packet)


def scale_xmp(xmp: bytes, size: tuple[int, int]) -> bytes | None:
    """Adapt a packet to an upright image of `size` (width, height); None if it is larger than `MAX_BYTES`.

    Orientation is reset, sizes are updated and thumbnails removed. A packet that is damaged is changed up to
    the damage.
    """
    if len(xmp) > MAX_BYTES:
        return None
    width, height = size
    values = {
        "tiff:Orientation": 1,
        "tiff:ImageWidth": width,
        "tiff:ImageLength": height,
        "exif:PixelXDimension": width,
        "exif:PixelYDimension": height,
    }
    if not any(name.encode() in xmp for name in (*values, _THUMBNAILS)):
        return xmp
    scan = _Scan(xmp, values)
    scan.run()
    parts, position = [], 0
    for start, stop, text in sorted(scan.edits):
        parts += [xmp[position:start], text]
        position = stop
    return b"".join([*parts, xmp[position:]])
