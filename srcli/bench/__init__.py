"""Benchmarks: methods scored on data sets by the protocol of the papers, as rows of means.

`run(BenchRequest(...))` is `sr bench` from Python; training validates with the same scores. Tables and pages
are made in `srcli.report`.
"""

from srcli.bench.metrics import Score, compute_border, crop_luma, score
from srcli.bench.request import BenchRequest, Execution, Measurement
from srcli.bench.results import PROTOCOL, Failure, ImageScore, Results, Row, average_scores
from srcli.bench.runner import run
from srcli.bench.scoring import evaluate
from srcli.bench.self_check import check_protocol, check_set5

__all__ = [
    "PROTOCOL",
    "BenchRequest",
    "Execution",
    "Failure",
    "ImageScore",
    "Measurement",
    "Results",
    "Row",
    "Score",
    "average_scores",
    "check_protocol",
    "check_set5",
    "compute_border",
    "crop_luma",
    "evaluate",
    "run",
    "score",
]
