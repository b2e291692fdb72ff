"""JPEG 2000, as a bare code stream (.j2k) or boxed: 8 bits through Pillow, 16 through OpenCV or imagecodecs.

Source: ITU-T T.800, annexes A.5.1 (SIZ) and I (boxes).
"""

import io
import struct
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srcli.dataclass import dataclass
from srcli.imaging.codecs import opencv
from srcli.imaging.codecs.base import (
    EncodingOptions,
    Frame,
    FrameTiming,
    UnsupportedImageError,
    read_head,
    stretch_to_16bit,
)
from srcli.imaging.codecs.jp2_boxes import SIGNATURE, add_metadata_boxes, read_boxes, read_metadata_boxes
from srcli.imaging.codecs.pillow import PillowCodec, read_8bit
from srcli.imaging.metadata.exif import read_orientation
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import StoredSamples

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_STREAM = b"\xff\x4f\xff\x51"
_HEAD_BYTES = 2**20
_FEWEST_PIXELS = 32  # a side, of OpenCV's encoder, which halves images five times
# Enumerated colour spaces.
_CMYK, _LAB, _SYCC, _EYCC = 12, 14, 18, 24


@dataclass(frozen=True)
class Header:
    """The components of a file: the bits of each, and what OpenCV and Pillow ignore."""

    bits: tuple[int, ...]
    is_signed: bool
    is_subsampled: bool
    colour_space: int
    is_premultiplied: bool


class Jpeg2000Codec(PillowCodec):
    """JPEG 2000."""

    def read_bits(self, file: "PilImage", path: Path) -> int:
        """Return the bits of the deepest component. Raises `UnsupportedImageError`."""
        return max(_read_supported_header(path).bits)

    def read_8bit(self, file: "PilImage", path: Path, metadata: Metadata) -> Frame:
        """Decode with Pillow, which shifts fewer than 8 bits up, so that white became 240 of 255."""
        frame, bits = read_8bit(file, metadata), _read_supported_header(path).bits
        planes = frame.samples if frame.samples.ndim == 3 else frame.samples[..., None]
        has_palette = file.mode in ("P", "PA")
        if has_palette or set(bits) == {8} or planes.shape[2] != len(bits):
            return frame
        tops = np.array([2**count - 1 for count in bits], np.uint32)
        stored = planes.astype(np.uint32) >> (8 - np.array(bits))
        full = ((stored * 255 + tops // 2) // tops).astype(np.uint8)
        return Frame(full.reshape(frame.samples.shape), frame.depth, metadata)

    def read_16bit(self, file: "PilImage", path: Path) -> StoredSamples:
        """Decode samples of 9 to 16 bits and stretch them to 16."""
        header = _read_supported_header(path)
        if len(header.bits) == 2 or header.colour_space in (_SYCC, _EYCC) or header.is_subsampled:
            samples = _decode_with_imagecodecs(path, header)
        else:
            samples = opencv.decode(path)
        if samples.shape[2:] != (len(header.bits),) and not (samples.ndim == 2 and len(header.bits) == 1):
            raise ValueError(f"it has {len(header.bits)} components, of which not all can be decoded")
        return opencv.check_16bit(stretch_to_16bit(samples, max(header.bits)), file.size)

    def encode_16bit(self, samples: StoredSamples) -> bytes:
        """Encode losslessly, grey with alpha as RGBA, since OpenCV has no such grey.

        Raises `ValueError` for colour of fewer than 32 pixels a side unless imagecodecs is installed.
        """
        cv2 = opencv.import_cv2()
        if samples.ndim == 3 and samples.shape[2] == 2:
            samples = samples[..., [0, 0, 0, 1]]
        if min(samples.shape[:2]) < _FEWEST_PIXELS:
            return _encode_small(samples)
        # Noise differs by up to an eighth of the range unless this is said.
        return opencv.encode(samples, ".jp2", [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])

    def read_metadata(self, file: "PilImage", path: Path) -> Metadata:
        """Return the comment that Pillow found, and what boxes hold."""
        return replace(read_metadata_boxes(path), comment=super().read_metadata(file, path).comment)

    def read_orientation(self, file: "PilImage", metadata: Metadata) -> int:
        """Return the orientation that EXIF gives."""
        return read_orientation(metadata.exif) if metadata.exif else 1

    def metadata_options(self, metadata: Metadata) -> dict[str, Any]:
        """Return the comment; `write` adds the rest."""
        return super().metadata_options(Metadata(comment=metadata.comment))

    def complete(self, data: bytes, first: Frame, timing: FrameTiming, suffix: str) -> bytes:
        """Add metadata in boxes, or return the bare code stream for .j2k."""
        if suffix in STREAM.suffixes:
            return data[data.index(_STREAM) :]
        return add_metadata_boxes(data, first.metadata)

    def encoding_options(self, frame: Frame, encoding: EncodingOptions, suffix: str) -> dict[str, Any]:
        """Return the container, and for a lossy file the quality as a PSNR of 20 to 60 dB."""
        options: dict[str, Any] = {"no_jp2": suffix in STREAM.suffixes}
        if not encoding.quality or encoding.lossless:
            return options
        decibels = 20 + encoding.quality * 0.4
        return options | {"irreversible": True, "quality_mode": "dB", "quality_layers": [decibels]}


def _read_supported_header(path: Path) -> Header:
    header = parse_header(read_head(path, _HEAD_BYTES))
    is_deep = max(header.bits) > 8
    if header.is_signed:
        raise UnsupportedImageError("its samples are signed integers", "convert it to unsigned samples")
    if is_deep and len(set(header.bits)) > 1:
        raise UnsupportedImageError(
            f"its channels have different depths: {header.bits}", "convert it to 16 bits per channel"
        )
    if header.is_premultiplied or header.colour_space == _LAB or (is_deep and header.colour_space == _CMYK):
        raise UnsupportedImageError("it has colours of a kind that is not supported", "convert it to RGB")
    return header


def parse_header(head: bytes) -> Header:
    """Parse the boxes and the SIZ marker at the start of a file. Raises `ValueError` if it has none."""
    boxes = dict(read_boxes(head[len(SIGNATURE) :])) if head.startswith(SIGNATURE) else {}
    inner = list(read_boxes(boxes.get(b"jp2h", b"")))
    colour = next((content for name, content in inner if name == b"colr"), b"")
    channels = next((content for name, content in inner if name == b"cdef"), b"\0\0")
    kinds = [struct.unpack_from(">H", channels, at)[0] for at in range(4, len(channels) - 3, 6)]
    at = head.find(_STREAM)
    if at < 0 or len(head) < at + 42:
        raise ValueError("it has no code stream")
    (count,) = struct.unpack_from(">H", head, at + 40)
    components = [head[at + 42 + 3 * k : at + 45 + 3 * k] for k in range(count)]
    if not components or len(components[-1]) < 3:
        raise ValueError("its header is cut off")
    return Header(
        bits=tuple((size & 127) + 1 for size, _, _ in components),
        is_signed=any(size & 128 for size, _, _ in components),
        is_subsampled=any((x, y) != (1, 1) for _, x, y in components),
        colour_space=struct.unpack_from(">I", colour, 3)[0] if colour[:1] == b"\1" and len(colour) > 6 else 0,
        is_premultiplied=2 in kinds,
    )


def _decode_with_imagecodecs(path: Path, header: Header) -> StoredSamples:
    if find_spec("imagecodecs") is None:
        raise UnsupportedImageError(
            "grey with alpha or YCC of more than 8 bits needs imagecodecs", "pip install 'sr-cli[codecs]'"
        )
    import imagecodecs

    data = path.read_bytes()
    if header.colour_space not in (_SYCC, _EYCC):
        data = data[data.index(_STREAM) :]  # or it would apply the profile
    try:
        return np.asarray(imagecodecs.jpeg2k_decode(data))
    except imagecodecs.Jpeg2kError as error:
        raise ValueError(str(error)) from error


def _encode_small(samples: StoredSamples) -> bytes:
    """Encode 16 bits of fewer pixels than OpenCV takes."""
    from PIL import Image

    if samples.ndim == 2:
        buffer = io.BytesIO()
        Image.fromarray(samples).save(buffer, "JPEG2000")
        return buffer.getvalue()
    if find_spec("imagecodecs") is None:
        raise ValueError(
            f"16-bit colour needs {_FEWEST_PIXELS} pixels a side, or pip install 'sr-cli[codecs]'"
        )
    import imagecodecs

    return bytes(imagecodecs.jpeg2k_encode(samples, level=0, reversible=True, codecformat="jp2"))


CODEC = Jpeg2000Codec(
    name="JPEG2000",
    suffixes=(".jp2", ".jpx", ".jpf"),
    signatures=(SIGNATURE,),
    depths=(8, 16),
    channels=(1, 2, 3, 4),
    metadata_kinds=("icc", "exif", "xmp", "dpi", "comment"),
    has_lossy=True,
    plugin="Jpeg2KImagePlugin",
    pixels_per_byte=16,  # decoding takes several times as long as that of other formats
    read_depths=(1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15),
)
STREAM = replace(
    CODEC,
    name="J2K",
    suffixes=(".j2k",),
    read_suffixes=(".j2c", ".jpc"),
    signatures=(_STREAM,),
    metadata_kinds=("comment",),
    pillow_formats=("JPEG2000",),
)
