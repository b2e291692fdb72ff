"""The Python API for benchmarks: `score`."""

import os
from collections.abc import Sequence
from pathlib import Path

from srcli.bench.request import BenchRequest, Execution, Measurement
from srcli.bench.results import Row
from srcli.bench.runner import run
from srcli.errors import SrError

PathLike = str | os.PathLike[str]


def score(
    folder: PathLike = "samples",
    scale: float | Sequence[float] = 4,
    models: Sequence[str] = (),
    *,
    weights: Sequence[PathLike] = (),
    metrics: Sequence[str] = (),
    protocol: str = "y-crop",
    device: str = "auto",
) -> list[Row]:
    """Score models and weight files on a folder of images, and return the rows that `sr bench` prints.

    `folder` may be anything that `--dataset` accepts. Nearest, bilinear and bicubic are always scored, and
    the default model if neither `models` nor `weights` are given. `metrics` are measured in addition to PSNR
    and SSIM. Raises `SrError`, also if a method fails on an image.
    """
    request = BenchRequest(
        (os.fspath(folder),),
        tuple(scale) if isinstance(scale, Sequence) else (scale,),
        tuple(models),
        tuple(Path(path) for path in weights),
        Measurement(protocol, tuple(metrics)),
        Execution(None if device == "auto" else device, resume=False),
    )
    results = run(request)
    for failure in results.failures:
        raise SrError(
            f"{failure.method} failed on {failure.image}: {failure.reason}", "leave out one of them"
        )
    return list(results.rows)
