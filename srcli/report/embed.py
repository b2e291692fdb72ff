"""Self-contained HTML pages: images as data URIs, and scripts that a content security policy allows."""

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
    from jinja2 import Environment, Template

_FOLDER = Path(__file__).parent / "templates"
_WEBP_LARGEST = 16383
_THUMB = 128
# As many pixels as a browser on a phone can handle.
MAX_PIXELS = 200_000_000


def embed_lossless(pixels: Pixels) -> str:
    """Return a data URI with the exact 8-bit samples: WebP, or PNG if a side is too long for WebP."""
    image = Image.fromarray(to_uint8(pixels))
    if max(image.size) > _WEBP_LARGEST:
        return _encode_uri(image, "png")
    return _encode_uri(image, "webp", lossless=True, quality=40, method=2, exact=True)


def embed_thumbnail(pixels: Pixels) -> str:
    """Return a data URI of a small, lossy picture."""
    factor = min(1.0, _THUMB / max(pixels.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return _encode_uri(
        Image.fromarray(to_uint8(resize(pixels, height, width, "bicubic"))), "webp", quality=80
    )


def _encode_uri(image: Image.Image, kind: str, **options: bool | int) -> str:
    encoded = io.BytesIO()
    image.save(encoded, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(encoded.getvalue()).decode()}"


def render_page(name: str, style: list[str], script: list[str], **values: object) -> str:
    """Render a template with these style sheets and scripts inlined.

    The page's policy allows this one script and `data:` images, and nothing else: no request leaves the page.
    """
    css, js = (_join(tuple(files)) for files in (style, script))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; script-src '{_hash(js)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return get_template(name).render(css=css, js=js, policy=policy, version=__version__, **values)


def get_template(name: str) -> "Template":
    """Return a template of this package; undefined variables are errors."""
    return _make_environment().get_template(name)


@cache
def _make_environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _join(files: tuple[str, ...]) -> str:
    return "\n" + "\n".join((_FOLDER / file).read_text("utf-8") for file in files)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
