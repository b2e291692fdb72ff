"""Pictures in a terminal: half blocks anywhere, the kitty or sixel protocol where the terminal has it."""

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

_ASK = b"\x1b[c"
_PATIENCE = 0.3  # seconds; terminals answer within a few milliseconds, also over ssh
_KITTY_CHUNK = 4096
_KITTY_PROGRAMS = ("ghostty", "WezTerm", "konsole")
_COLOURS = 256
_WIDEST = 1200
_NARROWEST = 12


def best(environment: Mapping[str, str]) -> str:
    """`kitty`, `sixel` or `blocks`, what this terminal can show; `none` where there is no terminal."""
    if not sys.stdout.isatty() or environment.get("TERM") == "dumb":
        return "none"
    if "KITTY_WINDOW_ID" in environment or environment.get("TERM_PROGRAM") in _KITTY_PROGRAMS:
        return "kitty"
    return "sixel" if has_sixel() else "blocks"


def has_sixel() -> bool:
    """Whether the terminal names sixel, 4, among its attributes when asked. False where there is none."""
    try:
        import termios
        import tty

        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except (ImportError, OSError):
        return False
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        os.write(terminal, _ASK)
        return b"4" in _answer(terminal).strip(b"\x1b[?c").split(b";")
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
        os.close(terminal)


def _answer(terminal: int) -> bytes:
    """What comes back, until its end or until patience is."""
    out = b""
    while not out.endswith(b"c") and select.select([terminal], [], [], _PATIENCE)[0]:
        out += os.read(terminal, 64)
    return out


def blocks(panels: list[Panel], columns: int) -> Text:
    """The crops side by side, two pixels to a character, each below its label and score."""
    per_row = max(1, min(len(panels), columns // (_NARROWEST + 1)))
    width = min(48, columns // per_row - 1)
    rows = [panels[k : k + per_row] for k in range(0, len(panels), per_row)]
    return Text("\n").join(line for row in rows for line in _block_row(row, width))


def _block_row(panels: list[Panel], width: int) -> list[Text]:
    names = Text(" ").join(Text(_fitted(panel.label, width), "bold") for panel in panels)
    scores = Text(" ").join(Text(_fitted(panel.score, width), "dim") for panel in panels)
    pictures = [_block_picture(panel.crop, width) for panel in panels]
    empty = Text(" " * width)
    height = max(map(len, pictures))
    lines = [Text(" ").join(p[k] if k < len(p) else empty for p in pictures) for k in range(height)]
    return [names, *([scores] if scores.plain.strip() else []), *lines]


def _fitted(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"


def _block_picture(crop: Pixels, width: int) -> list[Text]:
    height = max(1, round(width * crop.shape[0] / crop.shape[1] / 2))
    samples = to_uint8(resize(crop, 2 * height, width, "bicubic"))
    return [
        Text.assemble(*(("▀", _style(*pair)) for pair in zip(upper, lower, strict=True)))
        for upper, lower in zip(samples[::2], samples[1::2], strict=True)
    ]


def _style(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> Style:
    return Style(color=Color.from_rgb(*map(int, upper)), bgcolor=Color.from_rgb(*map(int, lower)))


def kitty(sheet: Pixels) -> str:
    """The escape sequences of kitty's graphics protocol that show a picture, as PNG in chunks."""
    held = io.BytesIO()
    Image.fromarray(to_uint8(sheet)).save(held, "png")
    text = base64.b64encode(held.getvalue()).decode()
    chunks = [text[k : k + _KITTY_CHUNK] for k in range(0, len(text), _KITTY_CHUNK)]
    out = []
    for number, chunk in enumerate(chunks):
        more = int(number < len(chunks) - 1)
        out.append(f"\x1b_G{'a=T,f=100,q=2,' if number == 0 else ''}m={more};{chunk}\x1b\\")
    return "".join(out) + "\n"


def sixel(sheet: Pixels) -> str:
    """The escape sequence of a sixel picture, of 256 colours and at most 1200 pixels wide."""
    factor = min(1.0, _WIDEST / sheet.shape[1])
    height, width = (max(1, round(side * factor)) for side in sheet.shape[:2])
    small = sheet if factor == 1 else resize(sheet, height, width, "bicubic")
    image = Image.fromarray(to_uint8(small)).quantize(_COLOURS)
    palette = np.asarray(image.getpalette()).reshape(-1, 3)
    indices = np.asarray(image)
    colours = "".join(
        f"#{k};2;{';'.join(str(round(int(v) * 100 / 255)) for v in rgb)}" for k, rgb in enumerate(palette)
    )
    bands = "-".join(_band(indices[top : top + 6]) for top in range(0, height, 6))
    return f'\x1bPq"1;1;{width};{height}{colours}{bands}\x1b\\\n'


def _band(rows: NDArray[np.uint8]) -> str:
    """Six rows: each colour's bits, column by column, one colour over the other."""
    weights = 1 << np.arange(len(rows))
    return "$".join(
        f"#{colour}{_run_lengths(np.where(rows == colour, weights[:, None], 0).sum(axis=0) + 63)}"
        for colour in np.unique(rows)
    )


def _run_lengths(codes: NDArray[np.integer]) -> str:
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    lengths = np.diff(np.append(starts, len(codes)))
    pieces = zip(codes[starts], lengths, strict=True)
    return "".join(chr(code) * n if n < 4 else f"!{n}{chr(code)}" for code, n in pieces)
