"""What `sr upscale` keeps of what a file holds: measured for every format, and written to docs/formats.md.

Files are made by Pillow, tifffile and OpenCV, enlarged by the command, and read again by these.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import ExifTags, ImageCms, PngImagePlugin, TiffImagePlugin
from PIL import Image as PilImage

from srcli.cli.app import run
from srcli.imaging.codecs.base import Codec
from srcli.imaging.codecs.registry import CODECS

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "formats.md"
KEPT, CANNOT, LOST = "kept", "", "**lost**"
SIZE = (48, 32)

_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="a cup"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


def smooth(channels: int, top: int = 255, dtype: str = "uint8") -> Any:
    """(H, W) or (H, W, C): waves that differ from channel to channel and survive any codec."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    planes = [0.5 + 0.45 * np.sin(x / (7 + k) + y / (9 - k) + k) for k in range(channels)]
    values = np.stack(planes, axis=2) * top
    return (values[..., 0] if channels == 1 else values).astype(dtype)


@cache
def profile() -> bytes:
    """A colour profile that is not the usual one."""
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def exif() -> PilImage.Exif:
    """A photograph taken on its side, with its size, and what the picture shows."""
    block = PilImage.Exif()
    block[ExifTags.Base.Orientation] = 6
    block[ExifTags.Base.ImageDescription] = "a cup"
    block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = SIZE[0]
    block.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    return block


def _save(picture: PilImage.Image, path: Path, form: Codec, **options: Any) -> bool:
    """Whether Pillow can write such a picture, and reads it again in the same mode."""
    if form.name in ("PFM", "HDR", "EXR"):
        return False
    try:
        picture.save(path, form.name, **options)
    except (OSError, ValueError):
        return False
    with PilImage.open(path) as file:
        return file.mode == picture.mode


def _colour(path: Path, form: Codec) -> bool:
    return _save(PilImage.fromarray(smooth(3)), path, form)


def _mode(mode: str) -> Callable[[Path, Codec], bool]:
    def make(path: Path, form: Codec) -> bool:
        return _save(PilImage.fromarray(smooth(3)).convert(mode), path, form)

    return make


def _alpha(channels: int) -> Callable[[Path, Codec], bool]:
    def make(path: Path, form: Codec) -> bool:
        return _save(PilImage.fromarray(smooth(channels)), path, form)

    return make


def _deep(channels: int) -> Callable[[Path, Codec], bool]:
    def make(path: Path, form: Codec) -> bool:
        if 16 not in form.depths:
            return False
        samples = smooth(channels, 65535, "uint16")
        if form.name == "TIFF":
            tifffile.imwrite(
                path, samples, photometric="rgb" if channels > 2 else "minisblack", metadata=None
            )
            return True
        if form.name == "PPM" and channels != 3:
            return False
        return bool(cv2.imwrite(str(path), samples))

    return make


def _of_model(photometric: str, dtype: str, channels: int) -> Callable[[Path, Codec], bool]:
    """TIFF of a colour model that is no RGB."""

    def make(path: Path, form: Codec) -> bool:
        if form.name == "TIFF":
            samples = smooth(channels, int(np.iinfo(dtype).max), dtype)
            tifffile.imwrite(path, samples, photometric=photometric, metadata=None)
        return form.name == "TIFF"

    return make


def _float(channels: int) -> Callable[[Path, Codec], bool]:
    def make(path: Path, form: Codec) -> bool:
        if 32 not in form.depths or (channels == 4 and not form.has_alpha):
            return False
        samples = smooth(channels, 4, "float32")
        samples[..., 3:] /= 4
        if form.name == "TIFF":
            extra = ["unassalpha"] if channels == 4 else None
            tifffile.imwrite(path, samples, photometric="rgb", metadata=None, extrasamples=extra)
            return True
        if form.name == "EXR":
            return _exr(path, samples)
        return bool(cv2.imwrite(str(path), samples[..., ::-1]))

    return make


def _exr(path: Path, samples: Any) -> bool:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGBA"[: samples.shape[2]]: samples}) as file:
        file.write(str(path))
    return True


def _exr_samples(path: Path) -> Any:
    import OpenEXR

    with OpenEXR.File(str(path)) as file:
        (channel,) = file.channels().values()
        return channel.pixels


def _with(**options: Any) -> Callable[[Path, Codec], bool]:
    def make(path: Path, form: Codec) -> bool:
        if form.name == "TIFF" and not options.keys() & {"dpi", "icc_profile"}:
            return _tiff_with(path, **options)
        if not _save(PilImage.fromarray(smooth(3)), path, form, **options):
            return False
        if "xmp" in options and form.name == "PNG":  # Pillow wants it as text there
            info = PngImagePlugin.PngInfo()
            info.add_itxt("XML:com.adobe.xmp", _XMP.decode())
            _save(PilImage.fromarray(smooth(3)), path, form, pnginfo=info)
        with PilImage.open(path) as file:
            held = {"icc_profile": "icc_profile", "exif": "exif", "xmp": "xmp", "dpi": "dpi"}
            names = [held[name] for name in options if name in held]
            return all(file.info.get(name) or (name == "exif" and file.getexif()) for name in names)

    return make


def _tiff_with(path: Path, **options: Any) -> bool:
    """With tags that Pillow has no options for."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    if "exif" in options:
        block = options["exif"]
        for tag in (ExifTags.Base.Orientation, ExifTags.Base.ImageDescription):
            tags[tag] = block[tag]
        for pointer in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            tags[pointer] = block.get_ifd(pointer)
    if "xmp" in options:
        tags[700] = options["xmp"]
    PilImage.fromarray(smooth(3)).save(path, tiffinfo=tags)
    return True


def _text(path: Path, form: Codec) -> bool:
    picture = PilImage.fromarray(smooth(3))
    if form.name == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Title", "a cup")
        return _save(picture, path, form, pnginfo=info)
    if not _save(picture.convert("P") if form.name == "GIF" else picture, path, form, comment=b"a cup"):
        return False
    with PilImage.open(path) as file:
        return b"a cup" in _bytes(file.info.get("comment", b""))


def _bytes(text: Any) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


def _frames(path: Path, form: Codec) -> bool:
    pictures = [PilImage.fromarray(np.roll(smooth(3), 5 * k, axis=1)) for k in range(3)]
    options: dict[str, Any] = (
        {"duration": [100, 200, 300], "loop": 2} if form.name not in ("TIFF", "HEIF") else {}
    )
    try:
        pictures[0].save(path, form.name, save_all=True, append_images=pictures[1:], **options)
        with PilImage.open(path) as file:
            return getattr(file, "n_frames", 1) == 3
    except (OSError, ValueError, KeyError):
        return False


@dataclass(frozen=True)
class Property:
    """`make` says whether the format holds it; `check` whether the output does, or how else it is kept."""

    make: Callable[[Path, Codec], bool]
    check: Callable[[Path], str]


def _is(mode: str, otherwise: dict[str, str] | None = None) -> Callable[[Path], str]:
    def check(path: Path) -> str:
        with PilImage.open(path) as file:
            return KEPT if file.mode == mode else (otherwise or {}).get(file.mode, LOST)

    return check


def _is_deep(channels: int, dtype: str, word: str = KEPT) -> Callable[[Path], str]:
    def check(path: Path) -> str:
        other = lambda path: cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYDEPTH)  # noqa: E731
        read: dict[str, Any] = {".tif": tifffile.imread, ".exr": _exr_samples}
        samples: Any = read.get(path.suffix, other)(path)
        shown = 1 if samples.ndim == 2 else samples.shape[2]
        return word if samples.dtype == dtype and shown == channels else LOST

    return check


def _info(name: str, value: Callable[[], Any]) -> Callable[[Path], str]:
    def check(path: Path) -> str:
        with PilImage.open(path) as file:
            return KEPT if file.info.get(name) == value() else LOST

    return check


def _exif_kept(path: Path) -> str:
    with PilImage.open(path) as file:
        block = file.getexif()
        inner = block.get_ifd(ExifTags.IFD.Exif)
        kept = (
            block.get(ExifTags.Base.Orientation, 1),
            block.get(ExifTags.Base.ImageDescription),
            inner.get(ExifTags.Base.ExifImageWidth),
            block.get_ifd(ExifTags.IFD.GPSInfo).get(1),
        )
        # HEIF turns images by a box of its own; what EXIF says there counts for nothing.
        width, height = SIZE if path.suffix == ".heic" else SIZE[::-1]
        upright = file.size == (2 * width, 2 * height)
        return KEPT if upright and kept == (1, "a cup", 2 * width, "N") else LOST


def _xmp_kept(path: Path) -> str:
    with PilImage.open(path) as file:
        return KEPT if b'dc:format="a cup"' in _bytes(file.info.get("xmp", b"")) else LOST


def _dpi_kept(path: Path) -> str:
    with PilImage.open(path) as file:
        return KEPT if np.allclose(file.info.get("dpi", (0, 0)), 600, atol=0.5) else LOST


def _text_kept(path: Path) -> str:
    with PilImage.open(path) as file:
        return KEPT if "a cup" in str(file.info.get("Title") or file.info.get("comment")) else LOST


def _frames_kept(path: Path) -> str:
    with PilImage.open(path) as file:
        count, loops = getattr(file, "n_frames", 1), file.info.get("loop")
        times = []
        for k in range(count):
            file.seek(k)
            file.load()
            times.append(file.info.get("duration"))
    if path.suffix in (".tif", ".heic"):
        return KEPT if count == 3 else LOST
    return KEPT if times == [100, 200, 300] and loops in (2, None) else LOST


PROPERTIES = {
    "1 bit": Property(_mode("1"), _is("1", {"L": "as 8-bit grey"})),
    "grey": Property(_mode("L"), _is("L")),
    "grey, alpha": Property(_alpha(2), _is("LA")),
    "palette": Property(_mode("P"), _is("P", {"RGB": "as RGB"})),
    "RGB": Property(_colour, _is("RGB", {"P": KEPT})),
    "RGBA": Property(_alpha(4), _is("RGBA")),
    "CMYK": Property(_mode("CMYK"), _is("CMYK", {"RGB": "as sRGB"})),
    "LAB": Property(_of_model("cielab", "uint8", 3), _is("LAB", {"RGB": "as sRGB"})),
    "CMYK 16": Property(_of_model("separated", "uint16", 4), _is_deep(3, "uint16", "as sRGB 16")),
    "LAB 16": Property(_of_model("cielab", "uint16", 3), _is_deep(3, "uint16", "as sRGB 16")),
    "grey 16": Property(_deep(1), _is_deep(1, "uint16")),
    "RGB 16": Property(_deep(3), _is_deep(3, "uint16")),
    "RGBA 16": Property(_deep(4), _is_deep(4, "uint16")),
    "float": Property(_float(3), _is_deep(3, "float32")),
    "float, alpha": Property(_float(4), _is_deep(4, "float32")),
    "ICC": Property(_with(icc_profile=profile()), _info("icc_profile", profile)),
    "EXIF": Property(_with(exif=exif()), _exif_kept),
    "XMP": Property(_with(xmp=_XMP), _xmp_kept),
    "DPI": Property(_with(dpi=(300, 300)), _dpi_kept),
    "text": Property(_text, _text_kept),
    "frames": Property(_frames, _frames_kept),
}


def cell(form: Codec, name: str, folder: Path) -> str:
    """What becomes of a property in a format: kept, lost, changed in a word, or empty where it can't be."""
    kind = PROPERTIES[name]
    source = folder / f"{form.name}-{name.replace(' ', '-').replace(',', '')}{form.suffixes[0]}"
    if not kind.make(source, form):
        return CANNOT
    target = source.with_name(f"out-{source.name}")
    if run(["upscale", str(source), "-x2", "-m", "bicubic", "-o", str(target), "--quiet", "--overwrite"]):
        return LOST
    return kind.check(target)


def table(folder: Path) -> str:
    """All of it in Markdown, a row for each property, a column for each format that works here."""
    forms = [form for form in CODECS if not form.missing_package]
    if any(form.name == "HEIF" for form in forms):
        import pillow_heif

        pillow_heif.register_heif_opener()
    lines = [f"| | {' | '.join(form.name for form in forms)} |", "|---" * (len(forms) + 1) + "|"]
    rows = (f"| {name} | {' | '.join(cell(form, name, folder) for form in forms)} |" for name in PROPERTIES)
    return "\n".join([*lines, *rows])


def page(folder: Path) -> str:
    """The whole of docs/formats.md."""
    head, _, tail = TABLE.read_text("utf-8").partition("<!-- table -->\n")
    _, _, rest = tail.partition("<!-- end -->\n")
    return f"{head}<!-- table -->\n{table(folder)}\n<!-- end -->\n{rest}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        text = page(Path(scratch))
    TABLE.write_text(text, "utf-8")
    sys.exit(LOST in text)
