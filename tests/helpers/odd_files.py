"""Files that are sound but unusual, made in a few lines each, with the picture that they show.

`ODD_FILES` maps a name to what makes the file and to its frames: (H, W) or (H, W, 2..4), as parts of 1.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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
        lambda bits=_bits, line=_line, key=_key, count=_count: encode_png(
            (count, 1, bits, 0),
            (b"tRNS", struct.pack(">H", key)),
            (b"IDAT", compress_lines(bytes([line]))),
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
        lambda kind=_kind: encode_png(
            (2, 1, 8, 0), raw_profile(kind, orientation_block(6)), (b"IDAT", compress_lines(bytes([0, 255])))
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
