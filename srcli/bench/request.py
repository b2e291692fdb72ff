"""The request for a benchmark: data, methods, protocol and execution."""

from dataclasses import dataclass, field
from pathlib import Path

from srcli.methods import MethodOptions

BASELINES = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True)
class Measurement:
    """The protocol by name, the metrics in addition to its own, and whether costs are measured too.

    `degrade` replaces the protocol's way to make low resolution, in the notation of `--degrade`; `seed` is
    for what is random in it.
    """

    protocol: str = "y-crop"
    metrics: tuple[str, ...] = ()
    costs: bool = False
    degrade: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Execution:
    """Devices and workers, in the notation of `--device`, `--workers` and `--ray`, and fault handling.

    `resume` takes over the scores of an interrupted run; `skip_unreadable` leaves out images that cannot be
    read instead of refusing to start. `max_pixels`: the most pixels of an image; by default, it follows from
    the size of its file.
    """

    device: str | None = None
    workers: int | None = None
    ray: str | None = None
    resume: bool = True
    skip_unreadable: bool = False
    max_pixels: int | None = None


@dataclass(frozen=True)
class BenchRequest:
    """Every method, on every image of every data set, at every scale.

    `datasets` in the notation of `--dataset`. The interpolators of `BASELINES` are always measured, and the
    default model if neither `models` nor `weights` are given. `save_lr` and `save_sr` are folders for the
    low-resolution and the upscaled images; None keeps none. The device of `options` is ignored in favour of
    that of `execution`.
    """

    datasets: tuple[str, ...] = ("samples",)
    scales: tuple[float, ...] = (4,)
    models: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    measurement: Measurement = Measurement()
    execution: Execution = Execution()
    options: MethodOptions = field(default_factory=MethodOptions)
    save_lr: Path | None = None
    save_sr: Path | None = None
