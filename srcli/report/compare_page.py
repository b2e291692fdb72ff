"""A self-contained HTML page that compares methods image by image."""

import hashlib
import math
import re
from dataclasses import dataclass

import numpy as np

from srcli.errors import UsageError
from srcli.imaging.pixels import to_uint8
from srcli.report import embed
from srcli.report.charts import Chart, draw_profile, draw_spectrum
from srcli.report.comparisons import Comparison, MethodResult
from srcli.report.pictures import Region

_NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class MethodSummary:
    """Facts about a method that do not depend on the image."""

    name: str
    licence: str
    params: int
    description: str

    @property
    def short_description(self) -> str:
        """The description without its reasons, which are in parentheses."""
        return re.sub(r" \([^)]*\)", "", self.description)


@dataclass(frozen=True)
class SceneResult:
    """One method on one image: a data URI, the SHA-256 of its samples, and scores if there is a truth."""

    source: str
    digest: str
    seconds: float
    psnr: float | None
    ssim: float | None


@dataclass(frozen=True)
class Scene:
    """One image on the page; `width`, `height` and `places` are in pixels of the upscaled image."""

    name: str
    width: int
    height: int
    thumb: str
    truth: str | None
    results: tuple[SceneResult, ...]
    places: tuple[tuple[int, int, int, int], ...]
    charts: tuple[Chart, ...]


def check_page_size(pixels: int) -> None:
    """Raise `UsageError` if the page would have more pixels than a browser can handle."""
    if pixels > embed.MAX_PIXELS:
        message = f"a page of these images would have {pixels / 1e6:.0f} million pixels"
        limit = f"the limit is {embed.MAX_PIXELS / 1e6:.0f}"
        raise UsageError(f"{message}; {limit}", "use fewer or smaller images, or -o sheet.png")


def build_scene(
    comparison: Comparison,
    results: list[MethodResult],
    places: list[Region],
    scale: float,
    charts: bool = True,
) -> Scene:
    """Return everything that the page shows of one image, encoded."""
    height, width = results[0].pixels.shape[:2]
    return Scene(
        comparison.name,
        width,
        height,
        embed.embed_thumbnail(comparison.lr),
        None if comparison.truth is None else embed.embed_lossless(comparison.truth),
        tuple(_encode_result(one) for one in results),
        tuple(_scale_region(place, scale) for place in places),
        _draw_charts(comparison, results, scale) if charts else (),
    )


def _scale_region(place: Region, scale: float) -> tuple[int, int, int, int]:
    x, y, width, height = (round(side * scale) for side in (place.x, place.y, place.width, place.height))
    return x, y, width, height


def _encode_result(one: MethodResult) -> SceneResult:
    source = embed.embed_lossless(one.pixels)
    digest = hashlib.sha256(to_uint8(one.pixels).tobytes()).hexdigest()
    if one.score is None:
        return SceneResult(source, digest, one.seconds, None, None)
    return SceneResult(source, digest, one.seconds, one.score.psnr_y, one.score.ssim_y)


def _draw_charts(comparison: Comparison, results: list[MethodResult], scale: float) -> tuple[Chart, ...]:
    named = [(one.method, mark, one.pixels) for mark, one in enumerate(results)]
    if comparison.truth is not None:
        named.insert(0, ("truth", -1, comparison.truth))
        reference = comparison.truth
    else:
        reference = np.mean([one.pixels for one in results], axis=0)
    both = (draw_spectrum(named, scale), draw_profile(named, reference, scale))
    return tuple(chart for chart in both if chart)


def render_compare_page(
    scenes: list[Scene], methods: list[MethodSummary], scale: float, reduced: bool
) -> str:
    """Return the HTML text; with `reduced`, the inputs were made from the truth by bicubic."""
    return embed.render_page(
        "compare.html.j2",
        ["page.css", "compare.css"],
        ["common.js", "view.js", "maps.js", "compare.js"],
        scenes=scenes,
        methods=methods,
        scale=scale,
        reduced=reduced,
        rows=[_list_rows(one) for one in scenes],
        data=_collect_data(scenes, methods, scale),
    )


@dataclass(frozen=True)
class TableRow:
    """One method's scores on one image as text, and which of them are the best."""

    psnr: str
    ssim: str
    seconds: str
    best_psnr: bool
    best_ssim: bool


def _list_rows(one: Scene) -> list[TableRow]:
    most = [
        max((getattr(result, key) or -1 for result in one.results), default=-1) for key in ("psnr", "ssim")
    ]
    return [
        TableRow(
            _format_decibels(result.psnr),
            _NOTHING if result.ssim is None else f"{result.ssim:.4f}",
            _format_duration(result.seconds),
            result.psnr is not None and result.psnr == most[0],
            result.ssim is not None and result.ssim == most[1],
        )
        for result in one.results
    ]


def _format_decibels(value: float | None) -> str:
    if value is None:
        return _NOTHING
    return f"{value:.2f}" if math.isfinite(value) else "∞"


def _format_duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _collect_data(scenes: list[Scene], methods: list[MethodSummary], scale: float) -> dict[str, object]:
    """Return what the page's script needs besides the images."""
    return {
        "scale": scale,
        "methods": [one.name for one in methods],
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
