"""Data set x methods -> rows, by the protocol of the papers; the same scores guide training."""

from srcli.bench.measure import check_set5, run, self_check
from srcli.bench.results import PROTOCOL, ImageScore, Results, Row, mean_row
from srcli.bench.scoring import Score, border_of, compared_plane, score
from srcli.bench.work import evaluate

__all__ = [
    "PROTOCOL",
    "ImageScore",
    "Results",
    "Row",
    "Score",
    "border_of",
    "check_set5",
    "compared_plane",
    "evaluate",
    "mean_row",
    "run",
    "score",
    "self_check",
]
