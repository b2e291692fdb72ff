"""Encoders and decoders that share no code with those of `sr`, where there are such: one of each per format.

Samples are integers of the depth of the file, or float32: (H, W) for one channel, or (H, W, 2..4).
"""

import io
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image as PilImage

from tools.odd_files import Values, compress_lines, encode_png, pack, page, tiff

Encoder = Callable[[Values, int, int], bytes | None]


def _save(samples: Values, name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    PilImage.fromarray(samples).save(file, name, **options)
    return file.getvalue()


def _encode_png(samples: Values, depth: int, channels: int) -> bytes | None:
    if depth < 8 and channels > 1:
        return None
    rows = samples.reshape(len(samples), -1)
    lines = [row.astype(">u2").tobytes() if depth == 16 else pack(row[None], depth) for row in rows]
    size = samples.shape[1::-1]
    return encode_png((*size, depth, {1: 0, 2: 4, 3: 2, 4: 6}[channels]), (b"IDAT", compress_lines(*lines)))


def _encode_jpeg(samples: Values, depth: int, channels: int) -> bytes:
    if depth == 16:
        return bytes(imagecodecs.jpeg8_encode(samples, bitspersample=16, lossless=True, predictor=1))
    return bytes(imagecodecs.jpeg8_encode(samples, level=100, subsampling="444", bitspersample=depth))


def _encode_tiff(samples: Values, depth: int, channels: int) -> bytes:
    extra = {"extra": 2} if channels in (2, 4) else {}
    if depth == 32:
        return tiff(page(*samples.shape[1::-1], 32, channels, sample_format=3, **extra), samples.tobytes())
    data = samples.tobytes() if depth in (8, 16) else pack(samples.reshape(len(samples), -1), depth)
    return tiff(page(*samples.shape[1::-1], depth, channels, **extra), data)


def _encode_bmp(samples: Values, depth: int, channels: int) -> bytes | None:
    if depth == 8:
        return _save(samples, "BMP")
    if channels > 1:
        return None
    line = np.pad(samples[::-1], ((0, 0), (0, -samples.shape[1] % (32 // depth))))
    greys = np.linspace(0, 255, 2**depth).round().astype(np.uint8)
    palette = np.stack([greys, greys, greys, 0 * greys], axis=1).tobytes()
    data, start = pack(line, depth), 54 + len(palette)
    head = struct.pack("<IHHI", start + len(data), 0, 0, start)
    sizes = struct.pack("<IiiHHIIiiII", 40, *samples.shape[1::-1], 1, depth, 0, len(data), 0, 0, 0, 0)
    return b"BM" + head + sizes + palette + data


def _encode_gif(samples: Values, depth: int, channels: int) -> bytes | None:
    if channels == 2:
        return None  # all its colours are of a palette
    picture = PilImage.fromarray(samples)
    return _save(np.asarray(picture), "GIF")


def _encode_avif(samples: Values, depth: int, channels: int) -> bytes:
    layout = "400" if channels == 1 else "444"
    return bytes(imagecodecs.avif_encode(samples, level=100, bitspersample=depth, pixelformat=layout))


def _encode_jpeg2000(samples: Values, depth: int, channels: int, kind: str = "jp2") -> bytes:
    options = {"level": 0, "reversible": True, "codecformat": kind, "mct": False}
    return bytes(imagecodecs.jpeg2k_encode(samples, bitspersample=depth, **options))


def _encode_pnm(samples: Values, depth: int, channels: int) -> bytes:
    height, width = samples.shape[:2]
    top, data = 2**depth - 1, samples.astype(np.uint8 if depth <= 8 else ">u2").tobytes()
    if channels in (1, 3):
        return f"P{5 if channels == 1 else 6}\n{width} {height}\n{top}\n".encode() + data
    kind = "RGB_ALPHA" if channels == 4 else "GRAYSCALE_ALPHA"
    head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL {top}\nTUPLTYPE {kind}\nENDHDR\n"
    return head.encode() + data


def _encode_exr(samples: Values, depth: int, channels: int) -> bytes:
    import OpenEXR

    planes = samples.reshape(*samples.shape[:2], channels)
    names = {1: "Y", 2: "YA", 3: "RGB", 4: "RGBA"}[channels]
    alpha = planes[..., -1:] if channels in (2, 4) else np.float32(1)
    stored = {name: np.ascontiguousarray((planes * alpha)[..., k]) for k, name in enumerate(names)}
    if channels in (2, 4):
        stored["A"] = np.ascontiguousarray(planes[..., -1])
    path = Path(f"/tmp/{np.random.default_rng().integers(2**60)}.exr")
    try:
        OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, stored).write(str(path))
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def _encode_heif(samples: Values, depth: int, channels: int) -> bytes:
    import pillow_heif

    mode, file = {1: "L", 3: "RGB", 4: "RGBA"}[channels], io.BytesIO()
    if depth == 8:
        made = pillow_heif.from_bytes(mode, samples.shape[1::-1], samples.tobytes())
    else:
        raised = (samples << (16 - depth)).astype(np.uint16)
        made = pillow_heif.from_bytes(f"{mode};16", samples.shape[1::-1], raised.tobytes())
    before, pillow_heif.options.SAVE_HDR_TO_12_BIT = pillow_heif.options.SAVE_HDR_TO_12_BIT, depth == 12
    made.save(file, quality=-1, chroma=444)
    pillow_heif.options.SAVE_HDR_TO_12_BIT = before
    return file.getvalue()


def _encode_sgi(samples: Values, depth: int, channels: int) -> bytes:
    planes = np.moveaxis(samples.reshape(*samples.shape[:2], channels), 2, 0)[:, ::-1]
    head = struct.pack(
        ">hBBHHHH", 474, 0, depth // 8, 2 if channels == 1 else 3, *samples.shape[1::-1], channels
    ).ljust(512, b"\0")
    return head + planes.astype(f">u{depth // 8}").tobytes()


def _encode_icns(samples: Values, depth: int, channels: int) -> bytes:
    picture = _encode_png(samples, depth, channels) or b""
    return b"icns" + struct.pack(">I4sI", 16 + len(picture), b"ic07", 8 + len(picture)) + picture


def _encode_sun(samples: Values, depth: int, channels: int) -> bytes:
    stored = samples if channels == 1 else samples[..., ::-1]
    lines = stored.reshape(len(samples), -1)
    lines = np.pad(lines, ((0, 0), (0, lines.shape[1] % 2)))
    sizes = (*samples.shape[1::-1], 8 * channels, lines.size, 1, 0, 0)
    return b"\x59\xa6\x6a\x95" + struct.pack(">7I", *sizes) + lines.tobytes()


def _encode_tga(samples: Values, depth: int, channels: int) -> bytes:
    order = {1: [0], 2: [0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    stored = samples.reshape(*samples.shape[:2], channels)[..., order]
    flags = 0x20 | (8 if channels in (2, 4) else 0)
    kind = 2 if channels > 2 else 3
    size = samples.shape[1::-1]
    return (
        struct.pack("<BBBHHBHHHHBB", 0, 0, kind, 0, 0, 0, 0, 0, *size, 8 * channels, flags) + stored.tobytes()
    )


def _encode_pcx(samples: Values, depth: int, channels: int) -> bytes | None:
    if depth == 1:
        return _save(samples.astype(bool), "PCX") if channels == 1 else None
    return _save(samples, "PCX")


ENCODERS: dict[str, Encoder] = {
    "PNG": _encode_png,
    "JPEG": _encode_jpeg,
    "WEBP": lambda samples, depth, channels: bytes(imagecodecs.webp_encode(samples, lossless=True)),
    "TIFF": _encode_tiff,
    "BMP": _encode_bmp,
    "GIF": _encode_gif,
    "AVIF": _encode_avif,
    "JPEG2000": _encode_jpeg2000,
    "J2K": partial(_encode_jpeg2000, kind="j2k"),
    "JXL": lambda samples, depth, channels: bytes(imagecodecs.jpegxl_encode(samples, lossless=True)),
    "PPM": _encode_pnm,
    "PBM": lambda samples, depth, channels: b"P4\n%d %d\n" % samples.shape[1::-1] + pack(1 - samples, 1),
    "PFM": lambda samples, depth, channels: (
        b"P%c\n%d %d\n-1\n" % (b"F" if channels > 1 else b"f", *samples.shape[1::-1])
        + samples[::-1].tobytes()
    ),
    "HDR": lambda samples, depth, channels: bytes(imagecodecs.rgbe_encode(samples)),
    "EXR": _encode_exr,
    "HEIF": _encode_heif,
    "DDS": lambda samples, depth, channels: _save(samples, "DDS"),
    "ICNS": _encode_icns,
    "ICO": lambda samples, depth, channels: _save(samples, "ICO", sizes=[samples.shape[1::-1]]),
    "PCX": _encode_pcx,
    "QOI": lambda samples, depth, channels: bytes(imagecodecs.qoi_encode(samples)),
    "SGI": _encode_sgi,
    "SUN": _encode_sun,
    "TGA": _encode_tga,
}


def _decode_with_opencv(path: Path) -> Values:
    samples = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert samples is not None
    return samples[..., ::-1] if samples.ndim == 3 else samples


def _decode_with_pillow(path: Path) -> Values:
    with PilImage.open(path) as file:
        mode = "L" if file.mode == "1" else file.mode
        if mode in ("P", "RGBA") and path.suffix == ".gif":
            mode = "RGBA" if file.has_transparency_data else "RGB"
        return np.asarray(file.convert(mode))


def _decode_with(name: str) -> Callable[[Path], Values]:
    return lambda path: np.asarray(getattr(imagecodecs, name)(path.read_bytes()))


def _decode_exr(path: Path) -> Values:
    import OpenEXR

    with OpenEXR.File(str(path), separate_channels=True) as file:
        planes = {name: np.asarray(channel.pixels) for name, channel in file.channels().items()}
    alpha = planes.pop("A", None)
    names = "RGB" if "R" in planes else "Y"
    colours = [planes[name] / (1 if alpha is None else alpha) for name in names]
    return np.stack(colours + ([] if alpha is None else [alpha]), axis=2)


def _decode_heif(path: Path) -> Values:
    import pillow_heif

    return np.asarray(pillow_heif.open_heif(path))


# By format: PNG of 1 bit comes as samples 0 and 1, and so on; `read_second` brings all to parts of 1.
DECODERS: dict[str, Callable[[Path], Values]] = {
    "PNG": _decode_with("png_decode"),
    "JPEG": _decode_with("jpeg8_decode"),
    "WEBP": _decode_with("webp_decode"),
    "TIFF": tifffile.imread,
    "BMP": _decode_with_opencv,
    "GIF": _decode_with_pillow,
    "AVIF": _decode_with("avif_decode"),
    "JPEG2000": _decode_with("jpeg2k_decode"),
    "J2K": _decode_with("jpeg2k_decode"),
    "PPM": _decode_with_opencv,
    "PBM": _decode_with_pillow,
    "PFM": _decode_with_opencv,
    "HDR": _decode_with("rgbe_decode"),
    "EXR": _decode_exr,
    "HEIF": _decode_heif,
}


def read_second(name: str, path: Path, depth: int) -> Values:
    """Decode a file that was written with `depth` bits, as parts of 1: (H, W, C)."""
    samples = DECODERS[name](path)
    values = samples.astype(np.float64)
    if samples.dtype == bool or (depth == 1 and values.max() <= 1):
        return values.reshape(*values.shape[:2], -1)
    top = {"uint8": 255, "uint16": 65535}.get(samples.dtype.name, 1)
    return (values / top).reshape(*values.shape[:2], -1)
