"""Files that are sound but unusual, made in a few lines each, with the picture that they show.

`ODD_FILES` maps a name to what makes the file and to its frames: (H, W) or (H, W, 2..4), as parts of 1.
"""

import struct
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]


@dataclass(frozen=True)
class OddFile:
    """A file: its suffix, its content, and the frames it shows, or else the words of its refusal."""

    suffix: str
    make: Callable[[], bytes]
    shows: Sequence[Values] = ()
    refusal: str = ""
    tolerance: float = 1e-6


ODD_FILES: dict[str, OddFile] = {}


def add(name: str, suffix: str, make: Callable[[], bytes], *shows: Any, **more: Any) -> None:
    """Add a file that shows the given frames."""
    ODD_FILES[name] = OddFile(suffix, make, [np.asarray(frame, np.float64) for frame in shows], **more)


# PNG


def encode_png(header: Sequence[int], *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG; `header` is width, height, depth and colour type."""
    out = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)), *chunks, (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        out += struct.pack(">I", len(content)) + name + content + checksum
    return out


def compress_lines(*lines: bytes) -> bytes:
    """Return the samples of a PNG, one filter byte before each line."""
    return zlib.compress(b"".join(b"\0" + line for line in lines))


def control(number: int, *area: int, delay: int = 10, disposal: int = 0, blend: int = 0) -> bytes:
    """Return the content of fcTL; `area` is width, height, left, top; `delay` in hundredths of a second."""
    return struct.pack(">IIIIIHHBB", number, *area, delay, 100, disposal, blend)


def animate(
    header: Sequence[int], shared: Sequence[tuple[bytes, bytes]], *frames: tuple[bytes, bytes], plays: int = 0
) -> bytes:
    """Return an animated PNG of controls and compressed samples; numbers are filled in."""
    chunks, number = [(b"acTL", struct.pack(">II", len(frames), plays)), *shared], 0
    for index, (control_of, data) in enumerate(frames):
        chunks.append((b"fcTL", struct.pack(">I", number) + control_of[4:]))
        number += 1
        if index:
            chunks.append((b"fdAT", struct.pack(">I", number) + data))
            number += 1
        else:
            chunks.append((b"IDAT", data))
    return encode_png(header, *chunks)


def palette_animation() -> bytes:
    """Return three frames of 2x1, each in a colour of the palette of its own."""
    palette = (b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))
    frames = [(control(0, 2, 1, 0, 0), compress_lines(bytes([k, (k + 1) % 3]))) for k in range(3)]
    return animate((2, 1, 8, 3), [palette], *frames)


_RED, _GREEN, _BLUE = (1, 0, 0), (0, 1, 0), (0, 0, 1)
add(
    "animated PNG with a palette",
    ".png",
    palette_animation,
    [[_RED, _GREEN]],
    [[_GREEN, _BLUE]],
    [[_BLUE, _RED]],
)
add(
    "animated PNG of 16 bits",
    ".png",
    lambda: animate(
        (2, 1, 16, 0),
        [],
        *((control(0, 2, 1, 0, 0), compress_lines(struct.pack(">HH", k, 65535 - k))) for k in (1, 2000)),
    ),
    [[1 / 65535, 65534 / 65535]],
    [[2000 / 65535, 63535 / 65535]],
)
add(
    "animated PNG whose frames cover a part and are drawn over",
    ".png",
    lambda: animate(
        (3, 1, 8, 6),
        [],
        (control(0, 3, 1, 0, 0), compress_lines(bytes([100, 100, 100, 255] * 2 + [0] * 4))),
        (control(0, 2, 1, 1, 0, blend=1, disposal=2), compress_lines(bytes([200, 0, 0, 51] * 2))),
        (control(0, 1, 1, 0, 0, disposal=1), compress_lines(bytes([9, 9, 9, 255]))),
        (control(0, 1, 1, 2, 0), compress_lines(bytes([7, 7, 7, 255]))),
    ),
    np.array([[[100, 100, 100, 255], [100, 100, 100, 255], [0, 0, 0, 0]]]) / 255,
    np.array([[[100, 100, 100, 255], [120, 80, 80, 255], [200, 0, 0, 51]]]) / 255,
    np.array([[[9, 9, 9, 255], [100, 100, 100, 255], [0, 0, 0, 0]]]) / 255,
    np.array([[[0, 0, 0, 0], [100, 100, 100, 255], [7, 7, 7, 255]]]) / 255,
)
for _bits, _line, _key in ((1, 0b01000000, 1), (2, 0b00011011, 2), (4, 0x0F, 15)):
    _count = min(8 // _bits, 4)
    _greys = np.array([_line >> (8 - _bits * (k + 1)) & (2**_bits - 1) for k in range(_count)])
    add(
        f"PNG of {_bits}-bit grey with a transparent grey",
        ".png",
        partial(
            lambda bits, line, key, count: encode_png(
                (count, 1, bits, 0),
                (b"tRNS", struct.pack(">H", key)),
                (b"IDAT", compress_lines(bytes([line]))),
            ),
            _bits,
            _line,
            _key,
            _count,
        ),
        np.stack([_greys / (2**_bits - 1), _greys != _key], axis=1)[None],
    )
add(
    "PNG of 8-bit colour with a transparent colour whose unused bits are set",
    ".png",
    lambda: encode_png(
        (2, 1, 8, 2),
        (b"tRNS", struct.pack(">HHH", 0x101, 0x102, 0x103)),
        (b"IDAT", compress_lines(bytes([1, 2, 3, 4, 5, 6]))),
    ),
    [[[1 / 255, 2 / 255, 3 / 255, 0], [4 / 255, 5 / 255, 6 / 255, 1]]],
)


def raw_profile(kind: bytes, block: bytes) -> tuple[bytes, bytes]:
    """Return EXIF in text as ImageMagick writes it."""
    digits = block.hex().encode()
    text = b"\n%s\n%8d\n" % (kind, len(block)) + b"\n".join(
        digits[k : k + 72] for k in range(0, len(digits), 72)
    )
    return b"zTXt", b"Raw profile type " + kind + b"\0\0" + zlib.compress(text + b"\n")


def orientation_block(orientation: int) -> bytes:
    """Return EXIF that holds an orientation and nothing else."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + bytes(4)


for _kind in (b"exif", b"APP1"):
    add(
        f"PNG with EXIF in text ({_kind.decode()})",
        ".png",
        partial(
            lambda kind: encode_png(
                (2, 1, 8, 0),
                raw_profile(kind, orientation_block(6)),
                (b"IDAT", compress_lines(bytes([0, 255]))),
            ),
            _kind,
        ),
        [[0], [1]],
    )
add(
    "PNG with malformed EXIF in text",
    ".png",
    lambda: encode_png(
        (2, 1, 8, 0),
        (b"tEXt", b"Raw profile type exif\0\nexif\n  9\nthis is not hexadecimal"),
        (b"IDAT", compress_lines(bytes([0, 255]))),
    ),
    [[0, 1]],
)
add(
    "PNG with malformed EXIF",
    ".png",
    lambda: encode_png(
        (2, 1, 8, 0), (b"eXIf", b"II*\0\xff\xff\0\0"), (b"IDAT", compress_lines(bytes([0, 255])))
    ),
    [[0, 1]],
)


# Portable any-maps


def pnm(header: str, samples: bytes) -> Callable[[], bytes]:
    """Return what makes a file of a header and samples."""
    return lambda: header.encode() + samples


add(
    "PGM with a maximum of 1023",
    ".pgm",
    pnm("P5\n4 2\n1023\n", struct.pack(">8H", 0, 1, 511, 1023, 5, 6, 7, 8)),
    np.array([[0, 1, 511, 1023], [5, 6, 7, 8]]) / 1023,
    tolerance=1e-5,
)
add(
    "PPM with a maximum of 4095, plain",
    ".ppm",
    pnm("P3 2 1 4095 ", b"0 4095 2048\n1 2 3"),
    np.array([[[0, 4095, 2048], [1, 2, 3]]]) / 4095,
    tolerance=1e-5,
)
add("PGM with a maximum of 3", ".pgm", pnm("P5 4 1 3\n", bytes([0, 1, 2, 3])), [[0, 1 / 3, 2 / 3, 1]])
add("PGM with a maximum of 256", ".pgm", pnm("P5 2 1 256\n", struct.pack(">2H", 256, 0)), [[1, 0]])
add(
    "PGM of 16 bits with comments at every place",
    ".pgm",
    pnm("P5 # a\n#b\n2 # c 9 9\n# d\n1#e\n# f\n65535\n", struct.pack(">2H", 1, 65535)),
    [[1 / 65535, 1]],
)
add(
    "PPM of 16 bits by GIMP",
    ".ppm",
    pnm("P6\n# Created by GIMP version 2.10 PNM plug-in\n1 1\n65535\n", struct.pack(">3H", 1, 2, 3)),
    np.array([[[1, 2, 3]]]) / 65535,
)
add("PBM, plain and without spaces", ".pbm", pnm("P1 3 2\n# c\n", b"010\n111"), [[1, 0, 1], [0, 0, 0]])
add("PBM, ten pixels wide", ".pbm", pnm("P4 10 1\n", b"\xaa\x40"), [[0, 1] * 4 + [1, 0]])
add(
    "PAM of grey with alpha",
    ".pam",
    pnm(
        "P7\nWIDTH 1\nHEIGHT 2\n# c\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n", b"\0\xff\xff\0"
    ),
    [[[0, 1]], [[1, 0]]],
)
add(
    "PAM of 16-bit RGB with alpha",
    ".pam",
    pnm(
        "P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 1000\nTUPLTYPE RGB_ALPHA\nENDHDR\n",
        struct.pack(">4H", 0, 500, 1000, 1),
    ),
    [[[0, 0.5, 1, 0.001]]],
    tolerance=1e-5,
)
add(
    "PAM of black and white, where 1 is white",
    ".pam",
    pnm("P7\nWIDTH 2\nHEIGHT 1\nDEPTH 1\nMAXVAL 1\nTUPLTYPE BLACKANDWHITE\nENDHDR\n", b"\0\1"),
    [[0, 1]],
)
add(
    "PAM of five channels",
    ".pam",
    pnm("P7\nWIDTH 1\nHEIGHT 1\nDEPTH 5\nMAXVAL 255\nENDHDR\n", bytes(5)),
    refusal="it has 5 channels",
)


# JPEG 2000


def jpeg2000(samples: Values, bits: int, **options: Any) -> bytes:
    """Return a file of unsigned samples with this many bits."""
    return bytes(
        imagecodecs.jpeg2k_encode(
            samples, level=0, reversible=True, bitspersample=bits, codecformat="jp2", mct=False, **options
        )
    )


def ramp(bits: int, channels: int = 1, shape: tuple[int, int] = (40, 48)) -> Values:
    """Return (H, W) or (H, W, C) with all values of this many bits, from black to white."""
    dtype = np.uint8 if bits <= 8 else np.uint16
    values = np.linspace(0, 2**bits - 1, shape[0] * shape[1] * channels).round().astype(dtype)
    return values.reshape(*shape, *[channels] * (channels > 1))


for _bits in (1, 4, 7, 9, 10, 12, 15, 16):
    for _channels in (1, 2, 3, 4):
        add(
            f"JPEG 2000 of {_channels} channels, {_bits} bits",
            ".jp2",
            partial(lambda bits, channels: jpeg2000(ramp(bits, channels), bits), _bits, _channels),
            ramp(_bits, _channels) / (2**_bits - 1),
            tolerance=0.5 / 255 + 1e-6 if _bits < 8 else 1e-5,
        )
add(
    "JPEG 2000 of signed samples",
    ".jp2",
    lambda: bytes(imagecodecs.jpeg2k_encode(ramp(8).view(np.int8), level=0, codecformat="jp2")),
    refusal="its samples are signed integers",
)
add(
    "JPEG 2000 of 16-bit CMYK",
    ".jp2",
    lambda: jpeg2000(ramp(16, 4), 16, colorspace="CMYK"),
    refusal="it has colours of a kind that is not supported",
)


# TIFF


def tiff(tags: dict[int, Sequence[int]], *strips: bytes | bytearray, order: str = "<") -> bytes:
    """Return a TIFF of one page with these tags and strips, or tiles if there is a tile width."""
    at, offsets = 8, []
    for strip in strips:
        offsets.append(at)
        at += len(strip) + len(strip) % 2
    places = (324, 325) if 322 in tags else (273, 279)
    entries = {**tags, places[0]: offsets, places[1]: [len(strip) for strip in strips]}
    body = b"".join(strip + bytes(len(strip) % 2) for strip in strips)
    values_at = at + 2 + 12 * len(entries) + 4
    directory, values = struct.pack(order + "H", len(entries)), b""
    for tag, numbers in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        inline = packed if len(numbers) == 1 else struct.pack(order + "I", values_at + len(values))
        values += b"" if len(numbers) == 1 else packed
        directory += struct.pack(order + "HHI", tag, 4, len(numbers)) + inline
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return head + body + directory + bytes(4) + values


def page(width: int, height: int, bits: int, channels: int = 1, **more: Any) -> dict[int, Sequence[int]]:
    """Return the tags of a page; `more` are tags by name."""
    numbers = {
        "compression": 259, "photometric": 262, "fill_order": 266, "planar": 284, "predictor": 317,
        "tile_width": 322, "tile_height": 323, "extra": 338, "sample_format": 339, "colour_map": 320,
        "subsampling": 530, "ink_set": 332,
    }  # fmt: skip
    tags: dict[int, Sequence[int]] = {
        256: [width], 257: [height], 258: [bits] * channels, 259: [1], 262: [2 if channels > 2 else 1],
        277: [channels],
    }  # fmt: skip
    for name, value in more.items():
        tags[numbers[name]] = value if isinstance(value, list) else [value]
    return tags


def pack(values: Values, bits: int) -> bytes:
    """Return rows of samples of any number of bits, each row ending with a byte."""
    digits = np.asarray(values)[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(digits.reshape(len(values), -1), axis=1).tobytes()


def to_bytes(values: Values, bits: int) -> bytes:
    """Return samples as they are stored, low byte first."""
    return pack(values, bits) if bits < 8 else values.tobytes()


for _bits in (2, 3, 4, 5, 6, 7, 9, 10, 12, 14):
    add(
        f"TIFF of {_bits}-bit grey",
        ".tif",
        partial(lambda bits: tiff(page(47, 40, bits), pack(ramp(bits, 1, (40, 47)), bits)), _bits),
        ramp(_bits, 1, (40, 47)) / (2**_bits - 1),
        tolerance=0.5 / 255 + 1e-6 if _bits < 8 else 1e-5,
    )
for _bits in (4, 10, 12):
    add(
        f"TIFF of {_bits}-bit colour in planes, high byte first",
        ".tif",
        partial(
            lambda bits: tiff(
                page(7, 5, bits, 3, planar=2),
                *(pack(ramp(bits, 3, (5, 7))[..., k], bits) for k in range(3)),
                order=">",
            ),
            _bits,
        ),
        ramp(_bits, 3, (5, 7)) / (2**_bits - 1),
        tolerance=0.5 / 255 + 1e-6 if _bits < 8 else 1e-5,
    )
for _bits in (1, 8, 16):
    for _compression, _encode in ((1, bytes), (5, imagecodecs.lzw_encode)):
        add(
            f"TIFF of {_bits} bits whose bytes are reversed, compression {_compression}",
            ".tif",
            partial(
                lambda bits, compression, encode: tiff(
                    page(9, 5, bits, compression=compression, fill_order=2),
                    np.packbits(
                        np.unpackbits(
                            np.frombuffer(encode(to_bytes(ramp(bits, 1, (5, 9)), bits)), np.uint8)
                        ).reshape(-1, 8)[:, ::-1]
                    ).tobytes(),
                ),
                _bits,
                _compression,
                _encode,
            ),
            ramp(_bits, 1, (5, 9)) / (2**_bits - 1),
        )
add(
    "TIFF of 8-bit grey with premultiplied alpha",
    ".tif",
    lambda: tiff(page(3, 1, 8, 2, extra=1), bytes([50, 100, 0, 0, 255, 255])),
    [[[128 / 255, 100 / 255], [0, 0], [1, 1]]],
    tolerance=1e-6,
)
add(
    "TIFF of 8-bit grey with alpha in planes",
    ".tif",
    lambda: tiff(page(2, 1, 8, 2, extra=2, planar=2), bytes([1, 2]), bytes([3, 4])),
    np.array([[[1, 3], [2, 4]]]) / 255,
)
add(
    "TIFF of 16-bit colour in planes, LZW with differences",
    ".tif",
    lambda: tiff(
        page(6, 4, 16, 3, planar=2, compression=5, predictor=2),
        *(
            imagecodecs.lzw_encode(
                np.diff(ramp(16, 3, (4, 6))[..., k], axis=1, prepend=np.uint16(0)).tobytes()
            )
            for k in range(3)
        ),
    ),
    ramp(16, 3, (4, 6)) / 65535,
)
add(
    "TIFF of 16 bits in tiles, Zstandard",
    ".tif",
    lambda: tiff(
        page(20, 10, 16, compression=50000, tile_width=16, tile_height=16),
        *(
            imagecodecs.zstd_encode(np.pad(ramp(16, 1, (10, 20)), ((0, 6), (0, 12)))[:, k : k + 16].tobytes())
            for k in (0, 16)
        ),
    ),
    ramp(16, 1, (10, 20)) / 65535,
)
add(
    "TIFF of 16-bit white at zero with alpha",
    ".tif",
    lambda: tiff(page(2, 1, 16, 2, photometric=0, extra=2), struct.pack("<4H", 0, 65535, 65535, 1)),
    [[[1, 1], [0, 1 / 65535]]],
)
for _bits in (8, 16):
    add(
        f"TIFF of signed {_bits}-bit integers",
        ".tif",
        partial(lambda bits: tiff(page(2, 1, bits, sample_format=2), bytes(2 * bits // 8)), _bits),
        refusal=rf"its samples are signed integers \(int{_bits}\)",
    )
add(
    "TIFF of 32-bit integers",
    ".tif",
    lambda: tiff(page(2, 1, 32), bytes(8)),
    refusal="its samples are 32-bit integers",
)
add(
    "TIFF of channels with different depths",
    ".tif",
    lambda: tiff(page(2, 1, 16, 3) | {258: [5, 6, 5]}, bytes(4)),
    refusal="its channels are of different kinds",
)
add(
    "TIFF with a palette of 8-bit values",
    ".tif",
    lambda: tiff(page(2, 1, 8, photometric=3, colour_map=list(range(256)) * 3), bytes([255, 7])),
    [[[1, 1, 1], [7 / 255] * 3]],
)
add(
    "TIFF of 16-bit indices into a palette",
    ".tif",
    lambda: tiff(
        page(2, 1, 16, photometric=3, colour_map=list(range(65536)) * 3), struct.pack("<2H", 65535, 256)
    ),
    [[[1, 1, 1], [1 / 255] * 3]],
)
add(
    "TIFF of YCbCr, not compressed and subsampled",
    ".tif",
    lambda: tiff(page(2, 2, 8, 3, photometric=6, subsampling=[2, 2]), bytes([0, 255, 128, 64, 128, 128])),
    np.array([[[0] * 3, [255] * 3], [[128] * 3, [64] * 3]]) / 255,
)
add(
    "TIFF of inks that are not CMYK",
    ".tif",
    lambda: tiff(page(1, 1, 8, 4, photometric=5, ink_set=2), bytes(4)),
    refusal="its inks are not plain CMYK",
)
add(
    "TIFF of a camera's sensor",
    ".tif",
    lambda: tiff(page(2, 2, 16, photometric=32803), bytes(8)),
    refusal="its colours are the mosaic of a camera's sensor",
)
add(
    "TIFF with a palette and alpha",
    ".tif",
    lambda: tiff(
        page(2, 1, 8, 2, photometric=3, extra=2, colour_map=list(range(0, 65536, 257)) * 3),
        bytes([255, 10, 7, 255]),
    ),
    [[[1, 1, 1, 10 / 255], [7 / 255, 7 / 255, 7 / 255, 1]]],
)
add(
    "TIFF of 8-bit ICC L*a*b*",
    ".tif",
    lambda: tiff(page(2, 1, 8, 3, photometric=9), bytes([255, 128, 128, 0, 128, 128])),
    [[[1, 1, 1], [0, 0, 0]]],
    tolerance=0.01,
)
add(
    "TIFF of YCbCr, subsampled, LZW",
    ".tif",
    lambda: tiff(
        page(2, 2, 8, 3, photometric=6, compression=5, subsampling=[2, 2]),
        imagecodecs.lzw_encode(bytes([0, 255, 128, 64, 128, 128])),
    ),
    np.array([[[0] * 3, [255] * 3], [[128] * 3, [64] * 3]]) / 255,
)
add(
    "DDS of half floats",
    ".dds",
    lambda: (
        b"DDS "
        + struct.pack("<7I44x", 124, 0x1007, 4, 4, 0, 0, 0)
        + struct.pack("<2I4s5I", 32, 4, b"DX10", 0, 0, 0, 0, 0)
        + struct.pack("<10I", 0x1000, 0, 0, 0, 0, 10, 3, 0, 1, 0)
        + bytes(128)
    ),
    refusal="Unimplemented DXGI format 10",
)
add(
    "TIFF of seven bands",
    ".tif",
    lambda: tiff(page(1, 1, 8, 7, photometric=1, extra=[0] * 6), bytes([255, 1, 2, 3, 4, 5, 6])),
    [[1]],
)


# AVIF


def grey_avif(bits: int, is_limited: bool) -> bytes:
    """Return a grey file without loss; its range is stated in the container."""
    values = ramp(bits)
    if is_limited:
        unit = 2 ** (bits - 8)
        values = (16 * unit + values / (2**bits - 1) * 219 * unit).round().astype(np.uint16)
    data = bytes(imagecodecs.avif_encode(values, level=100, bitspersample=bits, pixelformat="400"))
    at = data.index(b"colrnclx") + len(b"colrnclx") + 6
    return data[:at] + bytes([0 if is_limited else 128]) + data[at + 1 :]


for _bits in (10, 12):
    for _limited in (False, True):
        add(
            f"AVIF of {_bits}-bit grey, {'limited' if _limited else 'full'} range",
            ".avif",
            partial(grey_avif, _bits, _limited),
            ramp(_bits) / (2**_bits - 1),
            tolerance=0.55 / 219 / 2 ** (_bits - 8) if _limited else 1e-5,
        )


# Radiance HDR and float maps


def hdr(axes: str, kind: str = "rgbe") -> Callable[[], bytes]:
    """Return what makes a file of six pixels, the first of them (1, 0.5, 0.25), the next (2, 1, 0.5)."""
    pixels = b"".join(bytes([128, 64, 32, 129 + k]) for k in range(6))
    return lambda: f"#?RADIANCE\nFORMAT=32-bit_rle_{kind}\n\n{axes}\n".encode() + pixels


_lights = np.array([1.0, 2, 4, 8, 16, 32])
for _axes, _lights_seen in {
    "-Y 2 +X 3": [[1, 2, 4], [8, 16, 32]],
    "+Y 2 +X 3": [[8, 16, 32], [1, 2, 4]],
    "-Y 2 -X 3": [[4, 2, 1], [32, 16, 8]],
    "+Y 2 -X 3": [[32, 16, 8], [4, 2, 1]],
    "+X 2 -Y 3": [[1, 8], [2, 16], [4, 32]],
    "-X 2 +Y 3": [[32, 4], [16, 2], [8, 1]],
}.items():
    add(
        f"HDR with the axes {_axes}",
        ".hdr",
        hdr(_axes),
        np.array(_lights_seen)[..., None] * np.array([1, 0.5, 0.25]),
    )
add(
    "HDR in XYZ",
    ".hdr",
    hdr("-Y 1 +X 6", "xyze"),
    _lights[None, :, None]
    * np.array([2.5653 - 0.5834 - 0.0996, -1.0221 + 0.9891 + 0.0110, 0.0747 - 0.1260 + 0.2943]),
    tolerance=0.02,
)
add("PFM with blanks, high byte first", ".pfm", lambda: b"Pf 1 2 1.0 " + struct.pack(">2f", 1, 2), [[2], [1]])

# Formats that are only read


def sgi(shape: tuple[int, int, int], data: bytes, is_compressed: bool = False) -> bytes:
    """Return a file of 16 bits of this width, height and number of channels."""
    return struct.pack(">hBBHHHH", 474, is_compressed, 2, 3, *shape).ljust(512, b"\0") + data


add(
    "SGI of 16 bits",
    ".sgi",
    lambda: sgi((1, 2, 3), struct.pack(">6H", 1, 2, 3, 4, 5, 65535)),
    np.array([[[2, 4, 65535]], [[1, 3, 5]]]) / 65535,
)
add(
    "SGI of 16 bits, compressed",
    ".sgi",
    lambda: sgi(
        (3, 1, 3),
        struct.pack(">6I", *[536] * 3, *[10] * 3) + struct.pack(">5H", 2, 700, 129, 9, 0),
        is_compressed=True,
    ),
    np.array([[[700] * 3, [700] * 3, [9] * 3]]) / 65535,
)


def tga(bits: int, flags: int, data: bytes) -> bytes:
    """Return a file of one row, the top left pixel first."""
    width = len(data) * 8 // bits
    return struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, width, 1, bits, 0x20 | flags) + data


add(
    "TGA with an alpha channel that is not used",
    ".tga",
    lambda: tga(32, 0, bytes([1, 2, 3, 0, 4, 5, 6, 0])),
    np.array([[[3, 2, 1], [6, 5, 4]]]) / 255,
)
add(
    "TGA with alpha",
    ".tga",
    lambda: tga(32, 8, bytes([1, 2, 3, 0, 4, 5, 6, 255])),
    np.array([[[3, 2, 1, 0], [6, 5, 4, 255]]]) / 255,
)
add(
    "BMP of 10 bits per channel",
    ".bmp",
    lambda: (
        b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 70, 0, 0, 66, 40, 1, 1, 1, 32, 3, 4, 0, 0, 0, 0)
        + struct.pack("<4I", 0x3FF00000, 0xFFC00, 0x3FF, 0)
    ),
    refusal="Unsupported BMP bitfields layout",
)


# JPEG


def deep_jpeg(values: Values, **options: Any) -> bytes:
    """Return a JPEG of more than 8 bits at the best quality."""
    return bytes(imagecodecs.jpeg8_encode(values, level=100, subsampling="444", **options))


for _channels in (1, 3):
    add(
        f"JPEG of 12 bits, {_channels} channels",
        ".jpg",
        partial(lambda channels: deep_jpeg(ramp(12, channels), bitspersample=12), _channels),
        ramp(12, _channels) / 4095,
        tolerance=4 / 4095,
    )
add(
    "lossless JPEG of 16 bits",
    ".jpg",
    lambda: deep_jpeg(ramp(16), bitspersample=16, lossless=True, predictor=1),
    ramp(16) / 65535,
)
add(
    "JPEG-LS of 16 bits",
    ".jpg",
    lambda: bytes(imagecodecs.jpegls_encode(ramp(16))),
    ramp(16) / 65535,
)


# OpenEXR


def exr(**channels: Values) -> bytes:
    """Return a file with these channels."""
    import OpenEXR

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.exr"
        OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, channels).write(str(path))
        return path.read_bytes()


_light = np.array([[0.25, 2.0]], np.float32)
add("EXR of half floats", ".exr", lambda: exr(Y=_light.astype(np.float16)), _light)
add(
    "EXR of luminance and chroma",
    ".exr",
    lambda: exr(Y=_light, RY=_light, BY=_light),
    refusal="its colours are luminance and chroma",
)
add(
    "EXR of integers",
    ".exr",
    lambda: exr(Y=np.array([[1, 2]], np.uint32)),
    refusal="its samples are not floating-point numbers",
)
add("EXR of a depth map alone", ".exr", lambda: exr(Z=_light), refusal="it has no R, G and B and no Y, but Z")
add(
    "EXR that is not finite",
    ".exr",
    lambda: exr(Y=np.array([[np.nan, np.inf]], np.float32)),
    refusal="NaN or infinite",
)
