"""DirectDraw surfaces, the textures of games; read, not written.

Source: https://learn.microsoft.com/en-us/windows/win32/direct3ddds/dx-graphics-dds-pguide
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from srcli.imaging.codecs.base import Frame, UnsupportedImageError, read_head
from srcli.imaging.codecs.pillow import PillowCodec

_HEAD_BYTES, _FOUR_CC, _FORMAT = 148, 84, 128
_BC6H = (94, 95, 96)  # DXGI_FORMAT: typeless, unsigned and signed half floats


class DdsCodec(PillowCodec):
    """DDS through Pillow, which would read half floats as 8 bits."""

    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode the largest surface. Raises `UnsupportedImageError` for half floats."""
        head = read_head(path, _HEAD_BYTES)
        is_extended = head[_FOUR_CC : _FOUR_CC + 4] == b"DX10" and len(head) == _HEAD_BYTES
        kind = struct.unpack_from("<I", head, _FORMAT)[0] if is_extended else 0
        if kind in _BC6H or head[_FOUR_CC : _FOUR_CC + 4] in (b"BC6H", b"BC6S"):
            raise UnsupportedImageError("its samples are half floats (BC6H)", "convert it to OpenEXR")
        yield from super().read_frames(path, max_pixels)


CODEC = DdsCodec(
    name="DDS",
    read_suffixes=(".dds",),
    signatures=(b"DDS ",),
    plugin="DdsImagePlugin",
    read_depths=(8,),
    read_channels=(1, 2, 3, 4),
)
