"""One self-contained HTML page on which methods are compared, image by image."""

import hashlib
import math
import re
from dataclasses import dataclass

import numpy as np

from srcli.errors import UsageError
from srcli.imaging.pixels import to_uint8
from srcli.report import embed
from srcli.report.charts import Chart, profile_chart, spectrum_chart
from srcli.report.comparisons import Comparison, Outcome
from srcli.report.pictures import Region

_NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class About:
    """What the page tells of a method, whatever the image."""

    name: str
    licence: str
    params: int
    where: str

    @property
    def where_short(self) -> str:
        """`where` without its reasons, which stand in parentheses."""
        return re.sub(r" \([^)]*\)", "", self.where)


@dataclass(frozen=True)
class Shot:
    """One method on one image: a data URI, the SHA-256 of its samples, and figures if there is a truth."""

    source: str
    digest: str
    seconds: float
    psnr: float | None
    ssim: float | None


@dataclass(frozen=True)
class Scene:
    """One image as the page shows it; `width` and `height` of the enlarged one, `places` in its pixels."""

    name: str
    width: int
    height: int
    thumb: str
    truth: str | None
    shots: tuple[Shot, ...]
    places: tuple[tuple[int, int, int, int], ...]
    charts: tuple[Chart, ...]


def check_size(pixels: int) -> None:
    """Raise `UsageError` where a page of so many pixels would be more than a browser bears."""
    if pixels > embed.LARGEST:
        held = f"a page of these images would hold {pixels / 1e6:.0f} million pixels"
        limit = f"at most {embed.LARGEST / 1e6:.0f}"
        raise UsageError(f"{held}, {limit}", "give fewer or smaller images, or -o sheet.png")


def scene(
    subject: Comparison, outcomes: list[Outcome], places: list[Region], scale: float, charts: bool = True
) -> Scene:
    """All that the page holds of one image, ready to be written."""
    height, width = outcomes[0].pixels.shape[:2]
    return Scene(
        subject.name,
        width,
        height,
        embed.thumbnail(subject.lr),
        None if subject.truth is None else embed.lossless(subject.truth),
        tuple(_shot(one) for one in outcomes),
        tuple(_enlarged(place, scale) for place in places),
        _charts(subject, outcomes, scale) if charts else (),
    )


def _enlarged(place: Region, scale: float) -> tuple[int, int, int, int]:
    x, y, width, height = (round(side * scale) for side in (place.x, place.y, place.width, place.height))
    return x, y, width, height


def _shot(one: Outcome) -> Shot:
    source = embed.lossless(one.pixels)
    digest = hashlib.sha256(to_uint8(one.pixels).tobytes()).hexdigest()
    if one.score is None:
        return Shot(source, digest, one.seconds, None, None)
    return Shot(source, digest, one.seconds, one.score.psnr_y, one.score.ssim_y)


def _charts(subject: Comparison, outcomes: list[Outcome], scale: float) -> tuple[Chart, ...]:
    named = [(one.method, mark, one.pixels) for mark, one in enumerate(outcomes)]
    if subject.truth is not None:
        named.insert(0, ("truth", -1, subject.truth))
        reference = subject.truth
    else:
        reference = np.mean([one.pixels for one in outcomes], axis=0)
    both = (spectrum_chart(named, scale), profile_chart(named, reference, scale))
    return tuple(chart for chart in both if chart)


def page(scenes: list[Scene], abouts: list[About], scale: float, reduced: bool) -> str:
    """The HTML text; `reduced`: the inputs were made of the truth by bicubic."""
    return embed.render(
        "compare.html.j2",
        ["page.css", "compare.css"],
        ["common.js", "view.js", "maps.js", "compare.js"],
        scenes=scenes,
        abouts=abouts,
        scale=scale,
        reduced=reduced,
        rows=[_table(one) for one in scenes],
        data=_data(scenes, abouts, scale),
    )


@dataclass(frozen=True)
class Cells:
    """One method's figures on one image as text, and which of them are the best."""

    psnr: str
    ssim: str
    seconds: str
    best_psnr: bool
    best_ssim: bool


def _table(one: Scene) -> list[Cells]:
    most = [max((getattr(shot, key) or -1 for shot in one.shots), default=-1) for key in ("psnr", "ssim")]
    return [
        Cells(
            _decibels(shot.psnr),
            _NOTHING if shot.ssim is None else f"{shot.ssim:.4f}",
            _duration(shot.seconds),
            shot.psnr is not None and shot.psnr == most[0],
            shot.ssim is not None and shot.ssim == most[1],
        )
        for shot in one.shots
    ]


def _decibels(value: float | None) -> str:
    if value is None:
        return _NOTHING
    return f"{value:.2f}" if math.isfinite(value) else "∞"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _data(scenes: list[Scene], abouts: list[About], scale: float) -> dict[str, object]:
    """What the script needs; pixels are in the page's own images."""
    return {
        "scale": scale,
        "methods": [one.name for one in abouts],
        "scenes": [
            {
                "name": one.name,
                "width": one.width,
                "height": one.height,
                "truth": one.truth is not None,
                "places": one.places,
            }
            for one in scenes
        ],
    }
