"""Small files that ask for much memory or time, each made by a few lines."""

import io
import struct
import zlib
from collections.abc import Callable

_PNG = b"\x89PNG\r\n\x1a\n"


def make_chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def make_png(width: int, height: int, *before: bytes) -> bytes:
    """Return a PNG with that header, the chunks `before` its data, and a single row of data."""
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = zlib.compress(b"\0" + b"\x80" * min(width * 3, 10_000))
    return _PNG + header + b"".join(before) + make_chunk(b"IDAT", data) + make_chunk(b"IEND", b"")


def make_apng(side: int, at: int = 0) -> bytes:
    """Return an animated PNG of two frames, the second one pixel large at (at, at)."""
    controls = [
        make_chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, wide, wide, left, left, 1, 10, 0, 0))
        for number, wide, left in ((0, side, 0), (1, 1, at))
    ]
    data = zlib.compress(bytes(4))
    parts = (
        make_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        make_chunk(b"acTL", struct.pack(">II", 2, 0)),
        controls[0],
        make_chunk(b"IDAT", data),
        controls[1],
        make_chunk(b"fdAT", struct.pack(">I", 2) + data),
        make_chunk(b"IEND", b""),
    )
    return _PNG + b"".join(parts)


def make_gif(side: int, frames: int, at: int = 0) -> bytes:
    """Return a GIF of that canvas whose frames are one pixel each, the later ones at (at, at)."""
    image = b"\x2c%s\x00\x02\x02\x44\x01\x00"
    places = [0] + [at] * (frames - 1)
    body = b"".join(image % struct.pack("<HHHH", place, place, 1, 1) for place in places)
    return b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff" + body + b";"


def make_webp(side: int, frames: int) -> bytes:
    """Return an animated WebP of that canvas whose frames are one pixel each."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "WEBP", lossless=True)
    picture = out.getvalue()[12:]
    canvas = (side - 1).to_bytes(3, "little")
    frame = bytes(6) + bytes(6) + bytes([100, 0, 0, 0]) + picture
    chunks = b"VP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + canvas * 2
    chunks += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    chunks += (b"ANMF" + struct.pack("<I", len(frame)) + frame) * frames
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def make_tiff(side: int, pages: int) -> bytes:
    """Return a TIFF whose pages claim that size and have no samples."""
    tags = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: side, 279: 8}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    length = 2 + len(entries) + 4
    out = b"II*\0" + struct.pack("<I", 8)
    for number in range(pages):
        following = 8 + length * (number + 1) if number < pages - 1 else 0
        out += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return out


def make_text_png(name: bytes, content: bytes) -> bytes:
    """Return a PNG of 8x1 with one more chunk."""
    return make_png(8, 1, make_chunk(name, content))


# Files of less than 6 kB that claim to have more pixels than any small file may have.
TOO_LARGE: dict[str, Callable[[], bytes]] = {
    "a PNG of 999999x999999": lambda: make_png(999_999, 999_999),
    "a PNG of 20000x20000": lambda: make_png(20_000, 20_000),
    "an APNG of 65535x65535": lambda: make_apng(65_535),
    "an APNG with a far frame": lambda: make_apng(65_535, at=65_535),
    "a GIF of 65535x65535": lambda: make_gif(65_535, 2),
    "a GIF with a far frame": lambda: make_gif(16, 2, at=65_534),
    "a GIF of 40 frames of 1000x1000": lambda: make_gif(1000, 40),
    "a GIF of 200 frames of 5000x5000": lambda: make_gif(5000, 200),
    "a WebP of 40 frames of 1000x1000": lambda: make_webp(1000, 40),
    "a TIFF of 40 pages of 1000x1000": lambda: make_tiff(1000, 40),
    "a TIFF of 65535x65535": lambda: make_tiff(65_535, 1),
}


def make_flat_png(side: int, depth: int, colour_type: int) -> bytes:
    """Return a PNG whose samples are all 0: of all pictures, it has the most pixels per byte."""
    samples = {0: 1, 2: 3, 3: 1, 6: 4}[colour_type]
    packer = zlib.compressobj(1)
    row = bytes(1 + (side * samples * depth + 7) // 8)
    data = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, colour_type, 0, 0, 0))
    palette = make_chunk(b"PLTE", bytes(range(256)) * 3) if colour_type == 3 else b""
    return _PNG + header + palette + make_chunk(b"IDAT", data) + make_chunk(b"IEND", b"")


def make_flat(codec: str, width: int, height: int, mode: str = "RGB", **options: object) -> bytes:
    """Return a picture of one colour, written by Pillow."""
    from PIL import Image

    out = io.BytesIO()
    Image.new(mode, (width, height), 90 if mode == "L" else (90, 120, 150)).save(out, codec, **options)
    return out.getvalue()


def fill_up(data: bytes) -> bytes:
    """Return a file of just less than 1 MB, which allows it the most pixels."""
    return data + bytes(max(0, 999_000 - len(data)))


# Flat pictures with as many pixels as bench, compare and train take of a file of 1 MB by default.
WHOLE: dict[str, Callable[[], bytes]] = {
    "a PNG of 3 MP": lambda: make_flat_png(1730, 8, 2),
    "a PNG of 3 MP with alpha, 16 bits": lambda: make_flat_png(1730, 16, 6),
    "a JPEG of 3 MP": lambda: make_flat("JPEG", 1730, 1730, progressive=True),
}

# Flat pictures with almost as many pixels as a file of 1 MB may have by default.
AT_THE_LIMIT: dict[str, Callable[[], bytes]] = {
    "a PNG of 32 MP": lambda: make_flat_png(5650, 8, 2),
    "a PNG of 32 MP with alpha": lambda: make_flat_png(5650, 8, 6),
    "a PNG of 32 MP with a palette": lambda: make_flat_png(5650, 1, 3),
    "a PNG of 16 MP with alpha, 16 bits": lambda: make_flat_png(4090, 16, 6),
    "a JPEG of 32 MP": lambda: make_flat("JPEG", 5650, 5650, progressive=True),
    "a GIF of 63 MP": lambda: make_flat("GIF", 7980, 7980, "L"),
    "a WebP of 32 MP": lambda: make_flat("WEBP", 16_383, 1950, method=0),
    "a TIFF of 32 MP": lambda: make_flat("TIFF", 5650, 5650, compression="tiff_adobe_deflate"),
    "a JPEG 2000 of 16 MP": lambda: make_flat("JPEG2000", 4090, 4090),
    "an AVIF of 32 MP": lambda: make_flat("AVIF", 5650, 5650, speed=10),
}
