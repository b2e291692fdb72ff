"""Published scores of networks on data sets, to compare with measured ones; from published.toml."""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from srcli.bench.results import Results, Row
from srcli.datasets import SIZES

_DATA = Path(__file__).parent / "published.toml"
# The only protocol whose scores are comparable with published ones.
_PROTOCOL = "y-crop"


@dataclass(frozen=True)
class PublishedScore:
    """PSNR in dB and SSIM of luma as printed in `source`.

    `conflict` says what other publications print for the metrics in `disputed`.
    """

    network: str
    psnr_y: float
    ssim_y: float | None
    source: str
    conflict: str = ""
    disputed: tuple[str, ...] = ()

    def get(self, key: str) -> float | None:
        """Return the score for the metric of that key."""
        return {"psnr_y": self.psnr_y, "ssim_y": self.ssim_y}.get(key)


@dataclass(frozen=True)
class PublishedScores:
    """Full titles of sources, networks by our model names, and scores by network, scale and data set."""

    sources: dict[str, str]
    models: dict[str, str]
    scores: dict[tuple[str, float, str], PublishedScore]

    def find(self, model: str, scale: float, dataset: str) -> PublishedScore | None:
        """Return the score of a model, or of a weight file named after a network."""
        bare = model.partition(" (")[0].removesuffix(f"-x{scale}")
        network = self.models.get(bare, bare)
        return self.scores.get((network.lower(), scale, dataset))


@lru_cache(maxsize=1)
def load_published() -> PublishedScores:
    """Read the scores that ship with sr."""
    raw = tomllib.loads(_DATA.read_text("utf-8"))
    conflicts = {(c["network"], c["scale"], c["dataset"]): _describe_conflict(c) for c in raw["conflict"]}
    scores = {}
    for group in raw["figures"]:
        network, scale = group["network"], group["scale"]
        for dataset, (psnr, *ssim) in group["of"].items():
            conflict = conflicts.get((network, scale, dataset), ("", ()))
            score = PublishedScore(network, psnr, ssim[0] if ssim else None, group["source"], *conflict)
            scores[network.lower(), scale, dataset] = score
    return PublishedScores(raw["sources"], raw["models"], scores)


def _describe_conflict(conflict: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return a footnote, such as `37.05 / 0.9560 (RCAN)`, and the metrics that it is about."""
    printed = [f"{conflict['psnr']:.2f}"] if "psnr" in conflict else []
    printed += [f"{conflict['ssim']:.4f}"] if "ssim" in conflict else []
    why = f": {conflict['why']}" if "why" in conflict else ""
    disputed = tuple(f"{name}_y" for name in ("psnr", "ssim") if name in conflict)
    return f"{' / '.join(printed)} ({conflict['sources']}{why})", disputed


def find_published(results: Results, row: Row) -> PublishedScore | None:
    """Return what is published for a row; None if it is not comparable.

    Comparable is the papers' protocol on a data set of the papers' size.
    """
    whole = SIZES.get(row.dataset) == row.images
    if results.protocol != _PROTOCOL or not whole:
        return None
    return load_published().find(row.method, row.scale, row.dataset)


def list_footnotes(results: Results) -> list[str]:
    """Return a line for each source of published scores, and for each score that publications disagree on."""
    pairs = [(row, score) for row in results.rows if (score := find_published(results, row))]
    if not pairs:
        return ["no published scores to compare with: those are for y-crop on the papers' complete data sets"]
    sources = sorted({score.source for _, score in pairs}, key=str.lower)
    titles = load_published().sources
    return [f"{source}: {titles[source]}" for source in sources] + [
        f"* {score.network} on {row.dataset} x{row.scale}: other sources report {score.conflict}"
        for row, score in pairs
        if score.conflict
    ]
