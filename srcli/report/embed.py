"""What goes into one self-contained HTML page: images as data URIs, and inline code that its policy names."""

import base64
import hashlib
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from srcli import __version__
from srcli.imaging.pixels import Pixels, to_uint8
from srcli.imaging.resize import resize

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent / "templates"
_WEBP_LARGEST = 16383
_THUMB = 128
# Together as long as a browser on a telephone will bear.
LARGEST = 200_000_000


def lossless(pixels: Pixels) -> str:
    """A data URI with the very 8-bit samples: WebP, or PNG for sides beyond what WebP holds."""
    image = Image.fromarray(to_uint8(pixels))
    if max(image.size) > _WEBP_LARGEST:
        return _uri(image, "png")
    return _uri(image, "webp", lossless=True, quality=40, method=2, exact=True)


def thumbnail(pixels: Pixels) -> str:
    """A data URI of a small, lossy picture."""
    factor = min(1.0, _THUMB / max(pixels.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return _uri(Image.fromarray(to_uint8(resize(pixels, height, width, "bicubic"))), "webp", quality=80)


def _uri(image: Image.Image, kind: str, **options: bool | int) -> str:
    held = io.BytesIO()
    image.save(held, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(held.getvalue()).decode()}"


def render(name: str, style: list[str], script: list[str], **values: object) -> str:
    """The page of a template, with these style sheets and scripts inside it.

    Its policy lets the browser run the very script that is in it, show `data:` images, and nothing else: no
    request can leave the page.
    """
    css, js = (_joined(tuple(files)) for files in (style, script))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; script-src '{_hash(js)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    template = _environment().get_template(name)
    return template.render(css=css, js=js, policy=policy, version=__version__, **values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _joined(files: tuple[str, ...]) -> str:
    return "\n" + "\n".join((_FOLDER / file).read_text("utf-8") for file in files)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
