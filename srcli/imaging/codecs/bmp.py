"""BMP, with and without its file header (DIB)."""

import struct

from srcli.imaging.codecs.pillow import PillowCodec

# The sizes that an info header can have, which a DIB starts with.
_INFO_SIZES = (12, 40, 52, 56, 64, 108, 124)


class BmpCodec(PillowCodec):
    """BMP through Pillow."""

    def sniff(self, head: bytes) -> bool:
        """Recognise the signature of a BMP, or the info header of a DIB."""
        if super().sniff(head):
            return True
        return len(head) >= 4 and struct.unpack_from("<I", head)[0] in _INFO_SIZES


CODEC = BmpCodec(
    name="BMP",
    suffixes=(".bmp",),
    signatures=(b"BM",),
    depths=(1, 8),
    metadata_kinds=("dpi",),
    plugin="BmpImagePlugin",
    pillow_formats=("BMP", "DIB"),
    read_depths=(4,),
)
