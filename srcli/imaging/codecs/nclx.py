"""The box `nclx`, in which AVIF and HEIF state primaries and transfer function (ISO/IEC 14496-12, 12.1.5)."""

import struct

from srcli.imaging.metadata.fields import Metadata, make_cicp

_BOX = b"colrnclx"


def read_nclx(head: bytes) -> bytes | None:
    """Return primaries, transfer function, matrix and range as a PNG states them; None for sRGB."""
    at = head.find(_BOX)
    if not 0 <= at < len(head) - len(_BOX) - 4:
        return None
    primaries, transfer = struct.unpack_from(">HH", head, at + len(_BOX))
    return make_cicp(primaries, transfer)


def write_nclx(data: bytearray, metadata: Metadata) -> bytearray:
    """Write primaries and transfer function into every box, unless a profile states the colours."""
    at = data.find(_BOX) if metadata.cicp and not metadata.icc else -1
    while metadata.cicp and at >= 0:
        struct.pack_into(">HH", data, at + len(_BOX), *metadata.cicp[:2])
        at = data.find(_BOX, at + len(_BOX))
    return data
