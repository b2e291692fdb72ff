"""Truevision TGA, which has no signature: it is read, not written, and tried last."""

import struct

from srcli.imaging.codecs.pillow import PillowCodec

_IMAGE_TYPES = (1, 2, 3, 9, 10, 11)
_PIXEL_BITS = (1, 8, 16, 24, 32)


class TgaCodec(PillowCodec):
    """TGA through Pillow."""

    def sniff(self, head: bytes) -> bool:
        """Check that the fields of the header have values that TGA allows."""
        if len(head) < 18:
            return False
        width, height = struct.unpack_from("<HH", head, 12)
        return (
            head[1] in (0, 1)
            and head[2] in _IMAGE_TYPES
            and head[16] in _PIXEL_BITS
            and width > 0
            and height > 0
        )


CODEC = TgaCodec(name="TGA", read_suffixes=(".tga",), plugin="TgaImagePlugin")
