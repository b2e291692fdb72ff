"""AVIF; 10 and 12 bits are read as 16, except those of animations. https://aomediacodec.github.io/av1-avif/"""

import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from srcli.imaging.codecs import opencv
from srcli.imaging.codecs.base import Coding, Frame, FrameTiming, read_head, stretch_to_16bit
from srcli.imaging.codecs.nclx import read_nclx, write_nclx
from srcli.imaging.codecs.pillow import PillowCodec
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import StoredSamples

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_BRANDS = (b"avif", b"avis")
_HEAD_BYTES = 65536
_ENDLESS = 2**64 - 1
# The part of the range that is used if it is limited: 16 to 235 of 8 bits (ITU-R BT.709, 3.4).
_BLACK, _WHITE = 16, 235
# Brands of the container, which HEIF has too; the coding is among the compatible brands then.
_CONTAINER_BRANDS = (b"mif1", b"msf1")


class AvifCodec(PillowCodec):
    """AVIF through Pillow, and through OpenCV for more than 8 bits."""

    def sniff(self, head: bytes) -> bool:
        """Recognise an ISO media file (ISO/IEC 14496-12, 4.3) with a brand of AVIF."""
        if head[4:8] != b"ftyp" or len(head) < 16:
            return False
        if head[8:12] in _BRANDS:
            return True
        length = min(struct.unpack_from(">I", head)[0], len(head))
        compatible = {head[at : at + 4] for at in range(16, length, 4)}
        return head[8:12] in _CONTAINER_BRANDS and not compatible.isdisjoint(_BRANDS)

    def read_bits(self, file: "PilImage", path: Path) -> int:
        """Return the bits; Pillow decodes animations, and then with 8."""
        return 8 if getattr(file, "n_frames", 1) > 1 else self._read_stored_bits(path)

    def _read_stored_bits(self, path: Path) -> int:
        """Read the bits from `av1C`."""
        # The third byte has high_bitdepth and twelve_bit (AV1 in ISO media files, 2.3.3).
        head = read_head(path, _HEAD_BYTES)
        at = head.find(b"av1C")
        flags = head[at + 6] if 0 <= at < len(head) - 6 else 0
        return 8 if not flags & 64 else 12 if flags & 32 else 10

    def read_8bit(self, file: "PilImage", path: Path, metadata: Metadata) -> Frame:
        """Decode with Pillow; a note says so if the frames of an animation have more bits."""
        frame, bits = super().read_8bit(file, path, metadata), self._read_stored_bits(path)
        return replace(frame, notes=(*frame.notes, f"{bits} bits read as 8")) if bits > 8 else frame

    def read_coding(self, path: Path) -> Coding:
        """Read the subsampling of the first colour picture from `av1C`."""
        head, at = read_head(path, _HEAD_BYTES), -1
        while 0 <= (at := head.find(b"av1C", at + 1)) < len(head) - 6:
            is_grey, halves = head[at + 6] & 16, head[at + 6] >> 2 & 3
            if not is_grey:  # the alpha plane is
                return Coding(subsampling={0: "4:4:4", 2: "4:2:2", 3: "4:2:0"}.get(halves))
        return Coding()

    def read_16bit(self, file: "PilImage", path: Path) -> StoredSamples:
        """Decode with OpenCV, which leaves the upper bits empty and takes every grey for full range."""
        bits, samples = self.read_bits(file, path), opencv.decode(path)
        full = opencv.check_16bit(stretch_to_16bit(samples, bits), file.size)
        return _expand_range(full, samples, bits, np.asarray(file.convert("L"))) if full.ndim == 2 else full

    def read_plays(self, file: "PilImage", path: Path) -> int:
        """Return how often the edit list plays the track, 0 for without end (AVIF 1.1, 5.2.1)."""
        edits = _find_edits(read_head(path, _HEAD_BYTES))
        if edits is None:
            return 0
        is_repeated, track, segment = edits
        if not is_repeated:
            return 1
        return 0 if track == _ENDLESS or not segment else -(-track // segment)

    def complete(self, data: bytes, first: Frame, timing: FrameTiming, suffix: str) -> bytes:
        """Add the colours and the number of plays."""
        coloured = write_nclx(bytearray(data), first.metadata)
        return bytes(_set_plays(coloured, timing.plays) if timing.count > 1 and timing.plays else coloured)

    def read_metadata(self, file: "PilImage", path: Path) -> Metadata:
        """Return what Pillow found, and the primaries and the transfer function of `nclx`."""
        found, head = super().read_metadata(file, path), read_head(path, _HEAD_BYTES)
        return replace(found, cicp=read_nclx(head))


def _expand_range(
    full: StoredSamples, samples: StoredSamples, bits: int, shown: StoredSamples
) -> StoredSamples:
    """Return 16-bit grey: `full`, or stretched from limited range if that is nearer to Pillow's 8 bits."""
    black, white = (level * 2 ** (bits - 8) for level in (_BLACK, _WHITE))
    wide = np.clip((samples.astype(np.float32) - black) * (65535 / (white - black)), 0, 65535)
    far, near = (np.abs(values / 257 - shown).mean() for values in (full, wide))
    return np.rint(wide).astype(np.uint16) if near < far else full


def _find_edits(data: bytes) -> tuple[bool, int, int] | None:
    """Return whether the edit list repeats, and the durations of the track and of one play, or None."""
    edits, track = data.find(b"elst"), data.find(b"tkhd")
    if edits < 0 or track < 0 or data[edits + 4 : edits + 5] != b"\1" or data[track + 4 : track + 5] != b"\1":
        return None
    (duration,), (segment,) = (
        struct.unpack_from(">Q", data, track + 32),
        struct.unpack_from(">Q", data, edits + 12),
    )
    return bool(data[edits + 7] & 1), duration, segment


def _set_plays(data: bytearray, plays: int) -> bytearray:
    """Write the number of plays into the edit list and into the durations of track and movie."""
    edits, track, movie = (data.find(name) for name in (b"elst", b"tkhd", b"mvhd"))
    found = _find_edits(bytes(data))
    if found is None or movie < 0:
        raise ValueError("the encoder wrote no edit list")
    data[edits + 7] = plays > 1
    for at in (track + 32, movie + 28):
        struct.pack_into(">Q", data, at, found[2] * plays)
    return data


CODEC = AvifCodec(
    name="AVIF",
    suffixes=(".avif",),
    channels=(1, 3, 4),
    frame_kind="animation",
    metadata_kinds=("icc", "exif", "xmp", "cicp"),
    default_quality=90,
    default_subsampling="4:2:0",
    largest_side=32768,
    plugin="AvifImagePlugin",
    read_depths=(10, 12),
)
