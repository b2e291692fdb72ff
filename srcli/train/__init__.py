"""Training: recipes, data, losses, the loop, and checkpoints that upscale, bench and compare can load.

`run(TrainRequest(...))` is `sr train` from Python. Validation is that of `srcli.bench`; pictures and curves
are drawn in `srcli.report`.
"""

from srcli.train.request import Summary, TrainRequest
from srcli.train.runner import run

__all__ = ["Summary", "TrainRequest", "run"]
