"""Pictures in a terminal: by the kitty or sixel protocol if it has one, otherwise as half blocks."""

import base64
import io
import os
import select
import sys
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

from srcli.imaging.pixels import Pixels, to_uint8
from srcli.imaging.resize import resize
from srcli.report.pictures import Panel

_QUERY = b"\x1b[c"
_TIMEOUT = 0.3  # seconds; terminals answer within a few milliseconds, also over ssh
_KITTY_CHUNK = 4096
_KITTY_PROGRAMS = ("ghostty", "WezTerm", "konsole")
_COLOURS = 256
_WIDEST = 1200
_NARROWEST = 12


def detect_graphics(environment: Mapping[str, str]) -> str:
    """Return the best that the terminal supports: `kitty`, `sixel` or `blocks`; `none` without a terminal."""
    if not sys.stdout.isatty() or environment.get("TERM") == "dumb":
        return "none"
    if "KITTY_WINDOW_ID" in environment or environment.get("TERM_PROGRAM") in _KITTY_PROGRAMS:
        return "kitty"
    return "sixel" if has_sixel() else "blocks"


def has_sixel() -> bool:
    """Return whether the terminal lists sixel (4) among its attributes; False without a terminal."""
    try:
        import termios
        import tty

        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except (ImportError, OSError):
        return False
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        os.write(terminal, _QUERY)
        return b"4" in _read_answer(terminal).strip(b"\x1b[?c").split(b";")
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
        os.close(terminal)


def _read_answer(terminal: int) -> bytes:
    """Return what the terminal sends until the end of its answer or the timeout."""
    out = b""
    while not out.endswith(b"c") and select.select([terminal], [], [], _TIMEOUT)[0]:
        out += os.read(terminal, 64)
    return out


def render_blocks(panels: list[Panel], columns: int) -> Text:
    """Draw the crops side by side, two pixels per character, each below its label and score."""
    per_row = max(1, min(len(panels), columns // (_NARROWEST + 1)))
    width = min(48, columns // per_row - 1)
    rows = [panels[k : k + per_row] for k in range(0, len(panels), per_row)]
    return Text("\n").join(line for row in rows for line in _render_block_row(row, width))


def _render_block_row(panels: list[Panel], width: int) -> list[Text]:
    names = Text(" ").join(Text(_fit_text(panel.label, width), "bold") for panel in panels)
    scores = Text(" ").join(Text(_fit_text(panel.score, width), "dim") for panel in panels)
    pictures = [_render_block_picture(panel.crop, width) for panel in panels]
    empty = Text(" " * width)
    height = max(map(len, pictures))
    lines = [Text(" ").join(p[k] if k < len(p) else empty for p in pictures) for k in range(height)]
    return [names, *([scores] if scores.plain.strip() else []), *lines]


def _fit_text(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"


def _render_block_picture(crop: Pixels, width: int) -> list[Text]:
    height = max(1, round(width * crop.shape[0] / crop.shape[1] / 2))
    samples = to_uint8(resize(crop, 2 * height, width, "bicubic"))
    return [
        Text.assemble(*(("▀", _make_style(*pair)) for pair in zip(upper, lower, strict=True)))
        for upper, lower in zip(samples[::2], samples[1::2], strict=True)
    ]


def _make_style(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> Style:
    return Style(color=Color.from_rgb(*map(int, upper)), bgcolor=Color.from_rgb(*map(int, lower)))


def render_kitty(sheet: Pixels) -> str:
    """Return the escape sequences of kitty's graphics protocol for a picture, as PNG in chunks."""
    png = io.BytesIO()
    Image.fromarray(to_uint8(sheet)).save(png, "png")
    text = base64.b64encode(png.getvalue()).decode()
    chunks = [text[k : k + _KITTY_CHUNK] for k in range(0, len(text), _KITTY_CHUNK)]
    out = []
    for number, chunk in enumerate(chunks):
        more = int(number < len(chunks) - 1)
        out.append(f"\x1b_G{'a=T,f=100,q=2,' if number == 0 else ''}m={more};{chunk}\x1b\\")
    return "".join(out) + "\n"


def render_sixel(sheet: Pixels) -> str:
    """Return the escape sequence of a sixel picture, in 256 colours and at most 1200 pixels wide."""
    factor = min(1.0, _WIDEST / sheet.shape[1])
    height, width = (max(1, round(side * factor)) for side in sheet.shape[:2])
    small = sheet if factor == 1 else resize(sheet, height, width, "bicubic")
    image = Image.fromarray(to_uint8(small)).quantize(_COLOURS)
    palette = np.asarray(image.getpalette()).reshape(-1, 3)
    indices = np.asarray(image)
    colours = "".join(
        f"#{k};2;{';'.join(str(round(int(v) * 100 / 255)) for v in rgb)}" for k, rgb in enumerate(palette)
    )
    bands = "-".join(_encode_band(indices[top : top + 6]) for top in range(0, height, 6))
    return f'\x1bPq"1;1;{width};{height}{colours}{bands}\x1b\\\n'


def _encode_band(rows: NDArray[np.uint8]) -> str:
    """Encode up to six rows: for each colour, one character per column with a bit per row."""
    weights = 1 << np.arange(len(rows))
    return "$".join(
        f"#{colour}{_encode_runs(np.where(rows == colour, weights[:, None], 0).sum(axis=0) + 63)}"
        for colour in np.unique(rows)
    )


def _encode_runs(codes: NDArray[np.integer]) -> str:
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    lengths = np.diff(np.append(starts, len(codes)))
    pieces = zip(codes[starts], lengths, strict=True)
    return "".join(chr(code) * n if n < 4 else f"!{n}{chr(code)}" for code, n in pieces)
