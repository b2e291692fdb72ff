"""Mutations that know the structure of a file: frames, canvases, strips, headers, records and XMP."""

import html
import json
import struct
import zlib
from collections.abc import Callable

import numpy as np

from tools import bombs

Rng = np.random.Generator

_SIZES = (0, 1, 2, 3, 24, 255, 256, 4000, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)
_XMP_TOKENS = (
    b"<", b">", b"/>", b'"', b"'", b"&", b"&amp;", b"<!--", b"-->", b"<![CDATA[", b"<a>", b"</a>",
    b"<xmp:Thumbnails>", b"</xmp:Thumbnails>", b"<xmp:Thumbnails/>",
    b"<tiff:Orientation>6</tiff:Orientation>",
    b"<a tiff:ImageWidth='7'/>", b"<a tiff:Orientation=", b" " * 2000, b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b'<rdf:Description rdf:about="" xmlns:sr="urn:sr-cli:provenance:1" sr:record="',
    b"</rdf:RDF>", b"\0", b"\xff",
)  # fmt: skip
_JSON_TOKENS = (
    "[", "]", "{", "}", ":", ",", "null", "NaN", "1e999", "-1", "9" * 400, '"',
    '"version"', '"weights"', '"tile"',
)  # fmt: skip
_TAGS = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 338, 339)


def _choose_size(rng: Rng, bits: int) -> int:
    return int(rng.choice(_SIZES)) & ((1 << bits) - 1)


def change_png(data: bytes, rng: Rng) -> bytes:
    """Change numbers in the headers of a PNG, and repeat, drop or swap its chunks; checksums are right."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunks.append((name, bytearray(data[at + 8 : at + 8 + length])))
        at += 12 + length
    for _ in range(int(rng.integers(1, 4))):
        number = int(rng.integers(len(chunks)))
        name, content = chunks[number]
        action = int(rng.integers(5))
        if action < 3 and name in (b"IHDR", b"acTL", b"fcTL", b"fdAT") and len(content) >= 4:
            struct.pack_into(">I", content, 4 * int(rng.integers(len(content) // 4)), _choose_size(rng, 32))
        elif action == 3:
            chunks[number:number] = [(name, bytearray(content))] * int(rng.integers(1, 200))
        else:
            del chunks[number]
        if not chunks:
            break
    return data[:8] + b"".join(bombs.make_chunk(name, bytes(content)) for name, content in chunks)


def change_gif(data: bytes, rng: Rng) -> bytes:
    """Change the canvas, the places and the sizes of frames of a GIF, or repeat all frames."""
    out = bytearray(data)
    frames = [at for at in range(13, len(out) - 10) if out[at] == 0x2C]
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.4 or not frames:
            struct.pack_into("<H", out, int(rng.choice([6, 8])), _choose_size(rng, 16))
        else:
            at = int(rng.choice(frames)) + 1 + 2 * int(rng.integers(4))
            struct.pack_into("<H", out, at, _choose_size(rng, 16))
    if rng.random() < 0.3 and frames:
        return bytes(out[:-1] + out[frames[0] : -1] * int(rng.integers(1, 100)) + out[-1:])
    return bytes(out)


def change_webp(data: bytes, rng: Rng) -> bytes:
    """Change the canvas, the frames and the lengths of chunks of an animated WebP."""
    out = bytearray(data)
    places = [12 + at for at in (0, 4, 7)]
    places += [
        at + 8 + k for at in range(12, len(out) - 24) if data[at : at + 4] == b"ANMF" for k in range(0, 15, 3)
    ]
    places += [
        at + 4 for at in range(12, len(out) - 8) if data[at : at + 4] in (b"ANMF", b"VP8 ", b"VP8L", b"VP8X")
    ]
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.choice(places))
        out[at : at + 3] = _choose_size(rng, 24).to_bytes(3, "little")
    return bytes(out)


def change_tiff(data: bytes, rng: Rng) -> bytes:
    """Change the tags about size and storage in a directory of a TIFF, or where the next one is."""
    out = bytearray(data)
    (at,) = struct.unpack_from("<I", out, 4)
    (count,) = struct.unpack_from("<H", out, at)
    entries = [at + 2 + 12 * k for k in range(count)]
    entries = [each for each in entries if struct.unpack_from("<H", out, each)[0] in _TAGS]
    for _ in range(int(rng.integers(1, 4))):
        entry = int(rng.choice(entries))
        action = int(rng.integers(6))
        if action == 0:
            struct.pack_into("<I", out, entry + 4, _choose_size(rng, 32))
        elif action == 1:
            struct.pack_into("<H", out, entry, int(rng.choice(_TAGS)))
        elif action == 2:
            struct.pack_into("<I", out, at + 2 + 12 * count, int(rng.choice([8, at, len(out), 2**32 - 1])))
        else:
            struct.pack_into("<HI", out, entry + 2, 4, 1)
            struct.pack_into("<I", out, entry + 8, _choose_size(rng, 32))
    return bytes(out)


def _add_text(data: bytes, xmp: bytes) -> bytes:
    return data[:33] + bombs.make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + data[33:]


def change_xmp(data: bytes, rng: Rng) -> bytes:
    """Add XMP of tokens in any order, some of them repeated very often."""
    tokens = [_XMP_TOKENS[int(k)] for k in rng.integers(0, len(_XMP_TOKENS), int(rng.integers(1, 40)))]
    often = int(rng.choice([1, 1, 1, 100, 3000]))
    return _add_text(
        data, b"<a>" * bool(rng.random() < 0.5) + b"".join(token * often for token in tokens)[: 2**20]
    )


def change_record(data: bytes, rng: Rng) -> bytes:
    """Add a record of ours whose JSON is cut, nested, or has other types."""
    record = json.dumps({
        "version": "1", "model": "m", "scale": "x2", "size": "1x1", "source": "a", "settings": "b",
        "weights": {"a": "b"}, "where": "cpu", "tile": 1, "options": {},
    })  # fmt: skip
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(record) + 1))
        token = _JSON_TOKENS[int(rng.integers(len(_JSON_TOKENS)))] * int(rng.choice([1, 1, 2, 5000]))
        record = record[:at] + token + record[at + int(rng.integers(0, 12)) :]
    start = b'<x><rdf:Description rdf:about="" xmlns:sr="urn:sr-cli:provenance:1" sr:record="'
    return _add_text(data, start + html.escape(record).encode() + b'"/></x>')


def change_strip(data: bytes, rng: Rng) -> bytes:
    """Return a TIFF of 16x16 whose strip unpacks to far more, under a compression that may be another."""
    packed = zlib.compress(bytes(int(rng.choice([100, 10**4, 10**6, 10**7]))), 9)
    tags = {
        256: 16, 257: 16, 258: int(rng.choice([1, 8, 16, 32])),
        259: int(rng.choice([1, 5, 8, 32773, 34925, 50000])),
        262: 1, 273: 8, 277: int(rng.choice([1, 3, 4])), 278: _choose_size(rng, 32), 279: len(packed),
    }  # fmt: skip
    at = 8 + len(packed) + len(packed) % 2
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", at) + packed + bytes(len(packed) % 2)
    return head + struct.pack("<H", len(tags)) + entries + bytes(4)


# By kind: the kind of file that is changed, and the mutation.
STRUCTURES: dict[str, tuple[str, Callable[[bytes, Rng], bytes]]] = {
    "structure of PNG frames": ("PNG frames", change_png),
    "structure of GIF frames": ("GIF frames", change_gif),
    "structure of WebP frames": ("WEBP frames", change_webp),
    "structure of TIFF pages": ("TIFF frames", change_tiff),
    "strips of TIFF": ("TIFF frames", change_strip),
    "text of XMP": ("PNG 8", change_xmp),
    "text of our record": ("PNG 8", change_record),
}
