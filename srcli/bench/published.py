"""What papers print for a network on a data set, to be set beside what we measure; from published.toml."""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from srcli.bench.results import Results, Row
from srcli.datasets import SIZES

_DATA = Path(__file__).parent / "published.toml"
# The one protocol whose figures are comparable with these.
_PROTOCOL = "y-crop"


@dataclass(frozen=True)
class Figure:
    """PSNR in dB and SSIM of luma as `source` prints them.

    `conflict`: what others print, of the columns in `disputed`.
    """

    network: str
    psnr_y: float
    ssim_y: float | None
    source: str
    conflict: str = ""
    disputed: tuple[str, ...] = ()

    def get(self, key: str) -> float | None:
        """The figure in the column of that key."""
        return {"psnr_y": self.psnr_y, "ssim_y": self.ssim_y}.get(key)


@dataclass(frozen=True)
class Book:
    """All of it: long names of sources, networks by our names for them, figures by network, scale and set."""

    sources: dict[str, str]
    models: dict[str, str]
    figures: dict[tuple[str, int, str], Figure]

    def figure(self, model: str, scale: int, dataset: str) -> Figure | None:
        """Of a model, or of a weight file that is called after a network."""
        bare = model.partition(" (")[0].removesuffix(f"-x{scale}")
        network = self.models.get(bare, bare)
        return self.figures.get((network.lower(), scale, dataset))


@lru_cache(maxsize=1)
def book() -> Book:
    """What ships."""
    raw = tomllib.loads(_DATA.read_text("utf-8"))
    conflicts = {(c["network"], c["scale"], c["dataset"]): _told(c) for c in raw["conflict"]}
    figures = {}
    for group in raw["figures"]:
        network, scale = group["network"], group["scale"]
        for dataset, (psnr, *ssim) in group["of"].items():
            conflict = conflicts.get((network, scale, dataset), ("", ()))
            figure = Figure(network, psnr, ssim[0] if ssim else None, group["source"], *conflict)
            figures[network.lower(), scale, dataset] = figure
    return Book(raw["sources"], raw["models"], figures)


def _told(conflict: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """As a footnote says it, `37.05 / 0.9560 (RCAN)`; and the columns that it is about."""
    printed = [f"{conflict['psnr']:.2f}"] if "psnr" in conflict else []
    printed += [f"{conflict['ssim']:.4f}"] if "ssim" in conflict else []
    why = f": {conflict['why']}" if "why" in conflict else ""
    disputed = tuple(f"{name}_y" for name in ("psnr", "ssim") if name in conflict)
    return f"{' / '.join(printed)} ({conflict['sources']}{why})", disputed


def beside(results: Results, row: Row) -> Figure | None:
    """What is published for a row; None where it is not comparable.

    Comparable is the papers' protocol on a set of the papers' size.
    """
    whole = SIZES.get(row.dataset) == row.images
    if results.protocol != _PROTOCOL or not whole:
        return None
    return book().figure(row.method, row.scale, row.dataset)


def footnotes(results: Results) -> list[str]:
    """Where the figures beside a table are from, and where publications disagree; a line for each."""
    found = [(row, figure) for row in results.rows if (figure := beside(results, row))]
    if not found:
        return ["nothing published is comparable: the papers' sets, whole, by y-crop, have figures"]
    sources = sorted({figure.source for _, figure in found}, key=str.lower)
    return [f"{source}: {book().sources[source]}" for source in sources] + [
        f"* {figure.network} on {row.dataset} x{row.scale}: others print {figure.conflict}"
        for row, figure in found
        if figure.conflict
    ]
