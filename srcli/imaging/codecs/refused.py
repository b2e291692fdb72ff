"""Files that are known and not read: what they are, and which tool makes images of them."""

import re

from srcli.dataclass import dataclass


@dataclass(frozen=True)
class RefusedKind:
    """A kind of file whose first bytes match `pattern`; `hint` has {path} for the name of the file."""

    name: str
    pattern: re.Pattern[bytes]
    hint: str


REFUSED = (
    RefusedKind(
        "a PDF document",
        re.compile(rb"\s*%PDF-"),
        "make images of its pages first: pdftoppm -r 300 -png {path} page (from poppler)",
    ),
    RefusedKind(
        "an SVG drawing, which has no pixels",
        # What may come before it is anything but another element, so that no way back is tried twice.
        re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[?!][^<]*)*+<svg[\s>:]"),
        "draw it at the size that you need: rsvg-convert -w 4000 {path} -o large.png (from librsvg)",
    ),
    RefusedKind(
        "a PostScript program",
        re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"),
        "make an image of it first: gs -dSAFER -sDEVICE=png16m -r300 -o page.png {path} (Ghostscript)",
    ),
    RefusedKind(
        "a Photoshop document", re.compile(rb"8BPS"), "export it as TIFF or PNG from the program that made it"
    ),
    RefusedKind("a GIMP document", re.compile(rb"gimp xcf"), "export it as TIFF or PNG from GIMP"),
    RefusedKind(
        "a video",
        re.compile(rb"....ftyp(isom|iso[2-6]|mp4[12]|M4V |qt  |avc1)|\x1aE\xdf\xa3|RIFF....AVI ", re.DOTALL),
        "make images of its frames first: ffmpeg -i {path} frames/%06d.png",
    ),
)


def find_refused(head: bytes) -> RefusedKind | None:
    """Return what a file that no codec knows is, by its first bytes, or None."""
    return next((kind for kind in REFUSED if kind.pattern.match(head)), None)
