"""Write docs/formats.md: what codecs say their files can hold, and what `sr upscale` keeps of it, measured.

Files are made by Pillow, tifffile or OpenCV, enlarged by the command, and read again by these; where none of
them knows a format, our own codec makes and reads its files.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import ExifTags, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin
from PIL import Image as PilImage

from srcli.cli.app import run
from srcli.imaging.codecs.base import Codec, Frame
from srcli.imaging.codecs.reading import read_frames
from srcli.imaging.codecs.registry import CODECS
from srcli.imaging.codecs.writing import write_frames

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "formats.md"
KEPT, CANNOT, LOST = "kept", "", "**lost**"
SIZE = (48, 32)

_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="a cup"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


# The table of what codecs say

_CHANNELS = {1: "grey", 2: "grey + alpha", 3: "RGB", 4: "RGBA"}
_FRAMES = {"one": "", "pages": "pages", "animation": "animation"}
_METADATA = {
    "icc": "ICC", "exif": "EXIF", "xmp": "XMP", "dpi": "DPI", "comment": "comment", "chunks": "text, gamma",
    "cicp": "cICP",
}  # fmt: skip


def describe_reading() -> str:
    """Return a Markdown table of what is read, a row for each codec."""
    heads = ["Format", "Suffixes", "Bits", "Channels", "Frames", "Needs"]
    rows = [
        [
            codec.name,
            " ".join((*codec.suffixes, *codec.read_suffixes)),
            _join_depths(codec.all_read_depths),
            ", ".join(_CHANNELS[count] for count in codec.all_read_channels),
            _FRAMES[codec.frame_kind],
            f"`pip install 'sr-cli[{codec.extra}]'`" if codec.extra else "",
        ]
        for codec in CODECS
    ]
    return _join_table(heads, rows)


def describe_writing() -> str:
    """Return a Markdown table of what is written, a row for each codec that writes."""
    heads = ["Format", "Bits", "Channels", "Frames", "Metadata", "Compression", "Largest side"]
    rows = [
        [
            codec.name,
            _join_depths(codec.depths),
            ", ".join(_CHANNELS[count] for count in codec.channels),
            _FRAMES[codec.frame_kind],
            ", ".join(_METADATA[kind] for kind in codec.metadata_kinds),
            _describe_compression(codec),
            f"{codec.largest_side:,}" if codec.largest_side < 2**31 - 1 else "",
        ]
        for codec in CODECS
        if codec.can_write
    ]
    return _join_table(heads, rows)


def _join_table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _join_depths(depths: Sequence[int]) -> str:
    """Write numbers of bits as people do, 32 being floating point.

    >>> _join_depths((1, 2, 3, 4, 8, 10, 32))
    '1 to 4, 8, 10, float'
    """
    series = list[list[int]]()
    for depth in depths:
        if series and depth == series[-1][-1] + 1:
            series[-1].append(depth)
        else:
            series.append([depth])
    words = []
    for row in series:
        numbers = ["float" if depth == 32 else str(depth) for depth in row]
        words += [f"{numbers[0]} to {numbers[-1]}"] if len(row) > 2 else numbers
    return ", ".join(words)


def _describe_compression(codec: Codec) -> str:
    if codec.loss:
        return codec.loss
    if not codec.default_quality:
        return "lossless, or lossy with `--quality`" if codec.has_lossy else "lossless"
    subsampling = f" and {codec.default_subsampling}" if codec.default_subsampling else ""
    lossless = ", or lossless" if codec.has_lossless else ""
    return f"lossy with quality {codec.default_quality}{subsampling}{lossless}"


# What files are made of


def make_samples(channels: int, top: float = 255, dtype: str = "uint8") -> Any:
    """Return (H, W) or (H, W, C): waves that differ from channel to channel and survive any codec."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    planes = [0.5 + 0.45 * np.sin(x / (7 + k) + y / (9 - k) + k) for k in range(channels)]
    values = np.stack(planes, axis=2) * top
    return (values[..., 0] if channels == 1 else values).astype(dtype)


@cache
def make_profile() -> bytes:
    """Return a colour profile."""
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def make_exif() -> PilImage.Exif:
    """Return the EXIF of a photograph taken on its side, with its size, and what the picture shows."""
    block = PilImage.Exif()
    block[ExifTags.Base.Orientation] = 6
    block[ExifTags.Base.ImageDescription] = "a cup"
    block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = SIZE[0]
    block.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    return block


# Making a file that has a property; False if its format cannot have it

Make = Callable[[Path, Codec], bool]


def _save(picture: PilImage.Image, path: Path, codec: Codec, **options: Any) -> bool:
    try:
        picture.save(path, "JPEG2000" if codec.name == "J2K" else codec.name, **options)
    except (OSError, ValueError, KeyError):  # KeyError: Pillow does not know the format
        return False
    return True


def _save_mode(mode: str, path: Path, codec: Codec) -> bool:
    """Save a picture of a mode that Pillow also reads again."""
    sources = {"LA": make_samples(2), "RGBA": make_samples(4)}
    picture = PilImage.fromarray(sources.get(mode, make_samples(3))).convert(mode)
    return _save(picture, path, codec) and _read_mode(path) == mode


def _read_mode(path: Path) -> str:
    with PilImage.open(path) as file:
        return file.mode


def _save_samples(samples: Any, path: Path, codec: Codec) -> bool:
    """Save 16 bits or floats with tifffile, with OpenCV, or else with our codec."""
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    depth = 32 if samples.dtype == np.float32 else 16
    if depth not in codec.depths or channels not in codec.channels:
        return False
    if path.suffix == ".tif":
        photometric = "rgb" if channels > 2 else "minisblack"
        extra = ["unassalpha"] if channels in (2, 4) else None
        tifffile.imwrite(path, samples, photometric=photometric, metadata=None, extrasamples=extra)
        return True
    try:
        swapped = samples[..., [2, 1, 0, *range(3, channels)]] if channels > 2 else samples
        done = cv2.imwrite(str(path), swapped)
    except cv2.error:
        done = False
    if not done or _read_samples(path).shape != samples.shape:
        write_frames(path, [Frame(samples, depth)])
    return True


def _save_deep(channels: int, path: Path, codec: Codec) -> bool:
    return _save_samples(make_samples(channels, 65535, "uint16"), path, codec)


def _save_float(channels: int, path: Path, codec: Codec) -> bool:
    samples = make_samples(channels, 4, "float32")
    samples[..., 3:] /= 4
    return _save_samples(samples, path, codec)


def _save_model(photometric: str, dtype: str, channels: int, path: Path, codec: Codec) -> bool:
    """Save a colour model other than RGB, for which TIFF alone has a place."""
    if path.suffix != ".tif":
        return False
    samples = make_samples(channels, int(np.iinfo(dtype).max), dtype)
    tifffile.imwrite(path, samples, photometric=photometric, metadata=None)
    return True


def _save_with(name: str, value: Callable[[], Any], path: Path, codec: Codec) -> bool:
    """Save with metadata that Pillow also finds again."""
    if not _save(PilImage.fromarray(make_samples(3)), path, codec, **{name: value()}):
        return False
    with PilImage.open(path) as file:
        return bool(file.info.get(name))


# Each plugin of Pillow takes the argument that it knows, and ignores the others.


def _save_exif(path: Path, codec: Codec) -> bool:
    block, tags = make_exif(), TiffImagePlugin.ImageFileDirectory_v2()
    for tag in (ExifTags.Base.Orientation, ExifTags.Base.ImageDescription):
        tags[tag] = block[tag]
    for pointer in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        tags[pointer] = block.get_ifd(pointer)
    options = {"tiffinfo": tags} if path.suffix == ".tif" else {"exif": block}
    if not _save(PilImage.fromarray(make_samples(3)), path, codec, **options):
        return False
    with PilImage.open(path) as file:
        return bool(file.getexif())


def _save_xmp(path: Path, codec: Codec) -> bool:
    info, tags = PngImagePlugin.PngInfo(), TiffImagePlugin.ImageFileDirectory_v2()
    info.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    tags[700] = _XMP
    options = {"xmp": _XMP, "pnginfo": info, "tiffinfo": tags}
    if not _save(PilImage.fromarray(make_samples(3)), path, codec, **options):
        return False
    with PilImage.open(path) as file:
        return bool(file.info.get("xmp"))


def _save_text(path: Path, codec: Codec) -> bool:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a cup")
    if not _save(PilImage.fromarray(make_samples(3)), path, codec, pnginfo=info, comment=b"a cup"):
        return False
    return _read_text(path) == "a cup"


def _read_text(path: Path) -> str:
    with PilImage.open(path) as file:
        text = file.info.get("Title") or file.info.get("comment") or ""
    return text if isinstance(text, str) else text.decode()


def _save_frames(path: Path, codec: Codec) -> bool:
    pictures = [PilImage.fromarray(np.roll(make_samples(3), 5 * k, axis=1)) for k in range(3)]
    options = {"save_all": True, "append_images": pictures[1:]}
    if codec.frame_kind == "animation":
        options |= {"duration": [100, 200, 300], "loop": 2}
    if not _save(pictures[0], path, codec, **options):
        return False
    with PilImage.open(path) as file:
        return getattr(file, "n_frames", 1) == 3


# Checking what became of it, in a word

Check = Callable[[Path, Path, Codec], str]


def _check_mode(expected: dict[str, str], source: Path, target: Path, codec: Codec) -> str:
    return expected.get(_read_mode(target), LOST)


def _read_samples(path: Path) -> Any:
    """Read 16 bits or floats with tifffile, with OpenCV, or else with our codec."""
    if path.suffix == ".tif":
        return tifffile.imread(path)
    samples = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return samples if samples is not None else next(read_frames(path)).samples


def _check_samples(dtype: str, channels: int, word: str, source: Path, target: Path, codec: Codec) -> str:
    samples = _read_samples(target)
    found = 1 if samples.ndim == 2 else samples.shape[2]
    return word if samples.dtype == dtype and found == channels else LOST


def _check_profile(source: Path, target: Path, codec: Codec) -> str:
    with PilImage.open(target) as file:
        return KEPT if file.info.get("icc_profile") == make_profile() else LOST


def _check_exif(source: Path, target: Path, codec: Codec) -> str:
    with PilImage.open(source) as file:
        width, height = ImageOps.exif_transpose(file).size
    with PilImage.open(target) as file:
        block = file.getexif()
        values = (
            block.get(ExifTags.Base.Orientation, 1),
            block.get(ExifTags.Base.ImageDescription),
            block.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ExifImageWidth),
            block.get_ifd(ExifTags.IFD.GPSInfo).get(1),
        )
        is_upright = file.size == (2 * width, 2 * height)
        return KEPT if is_upright and values == (1, "a cup", 2 * width, "N") else LOST


def _check_xmp(source: Path, target: Path, codec: Codec) -> str:
    with PilImage.open(target) as file:
        xmp = file.info.get("xmp", b"")
    return KEPT if b'dc:format="a cup"' in (xmp.encode() if isinstance(xmp, str) else xmp) else LOST


def _check_dpi(source: Path, target: Path, codec: Codec) -> str:
    with PilImage.open(target) as file:
        return KEPT if np.allclose(file.info.get("dpi", (0, 0)), 600, atol=0.5) else LOST


def _check_text(source: Path, target: Path, codec: Codec) -> str:
    return KEPT if "a cup" in _read_text(target) else LOST


def _check_frames(source: Path, target: Path, codec: Codec) -> str:
    with PilImage.open(target) as file:
        count, loops = getattr(file, "n_frames", 1), file.info.get("loop")
        durations = []
        for k in range(count):
            file.seek(k)
            file.load()
            durations.append(file.info.get("duration"))
    if codec.frame_kind == "pages":
        return KEPT if count == 3 else LOST
    return KEPT if durations == [100, 200, 300] and loops in (2, None) else LOST


@dataclass(frozen=True)
class Property:
    """A property that an image can have: how to make a file with it, and how to check the output."""

    make: Make
    check: Check


def _mode(mode: str, **otherwise: str) -> Property:
    """Return the property of having a mode; `otherwise` are words for other modes of the output."""
    return Property(partial(_save_mode, mode), partial(_check_mode, {mode: KEPT, **otherwise}))


def _deep(channels: int) -> Property:
    return Property(partial(_save_deep, channels), partial(_check_samples, "uint16", channels, KEPT))


def _float(channels: int) -> Property:
    return Property(partial(_save_float, channels), partial(_check_samples, "float32", channels, KEPT))


def _deep_model(photometric: str, channels: int) -> Property:
    make = partial(_save_model, photometric, "uint16", channels)
    return Property(make, partial(_check_samples, "uint16", 3, "as sRGB 16"))


PROPERTIES = {
    "1 bit": _mode("1", L="as 8-bit grey"),
    "grey": _mode("L"),
    "grey, alpha": _mode("LA"),
    "palette": _mode("P", RGB="as RGB"),
    "RGB": _mode("RGB"),
    "RGBA": _mode("RGBA"),
    "CMYK": _mode("CMYK", RGB="as sRGB"),
    "LAB": Property(partial(_save_model, "cielab", "uint8", 3), partial(_check_mode, {"RGB": "as sRGB"})),
    "CMYK 16": _deep_model("separated", 4),
    "LAB 16": _deep_model("cielab", 3),
    "grey 16": _deep(1),
    "RGB 16": _deep(3),
    "RGBA 16": _deep(4),
    "float": _float(3),
    "float, alpha": _float(4),
    "ICC": Property(partial(_save_with, "icc_profile", make_profile), _check_profile),
    "EXIF": Property(_save_exif, _check_exif),
    "XMP": Property(_save_xmp, _check_xmp),
    "DPI": Property(partial(_save_with, "dpi", lambda: (300, 300)), _check_dpi),
    "text": Property(_save_text, _check_text),
    "frames": Property(_save_frames, _check_frames),
}


def measure(codec: Codec, name: str, folder: Path) -> str:
    """Return what becomes of a property: kept, lost, changed in a word, or empty if files cannot have it."""
    source = folder / f"{codec.name}-{name.replace(' ', '-').replace(',', '')}{codec.suffixes[0]}"
    if not PROPERTIES[name].make(source, codec):
        return CANNOT
    target = source.with_name(f"out-{source.name}")
    if run(["upscale", str(source), "-x2", "-m", "bicubic", "-o", str(target), "--quiet", "--overwrite"]):
        return LOST
    return PROPERTIES[name].check(source, target, codec)


def measure_codecs(folder: Path) -> str:
    """Return a Markdown table, a row for each property, a column for each format that is written here."""
    codecs = [codec for codec in CODECS if codec.can_write and not codec.missing_package]
    for codec in codecs:
        _register(codec)
    lines = [f"| | {' | '.join(codec.name for codec in codecs)} |", "|---" * (len(codecs) + 1) + "|"]
    cells = {name: [measure(codec, name, folder) for codec in codecs] for name in PROPERTIES}
    lines += [f"| {name} | {' | '.join(cells[name])} |" for name in PROPERTIES]
    return "\n".join(lines)


def _register(codec: Codec) -> None:
    """Make a plugin from outside of Pillow known to it, so that it can be asked directly."""
    load_plugin = getattr(codec, "load_plugin", None)
    if codec.package and load_plugin:
        load_plugin()


def make_page(folder: Path) -> str:
    """Return docs/formats.md with the table of what is kept as it is now; cog makes the others."""
    text = PAGE.read_text("utf-8")
    head, _, tail = text.partition("<!-- measured -->\n")
    _, _, rest = tail.partition("<!-- end -->\n")
    return f"{head}<!-- measured -->\n{measure_codecs(folder)}\n<!-- end -->\n{rest}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        page = make_page(Path(scratch))
    PAGE.write_text(page, "utf-8")
    sys.exit(LOST in page)
