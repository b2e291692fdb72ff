"""The request and the result of a training run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainRequest:
    """A training run.

    `data`: sources of images, as in `sources.parse`; `network`: its recipe; `preset`: "paper" or "quick";
    `start_from`: weights to fine-tune, as MODEL-xSCALE or a file; `validation`: a folder, by default the
    built-in samples; `output`: the folder of the run, by default runs/NETWORK-xSCALE. `changes`: fields of
    the recipe by name, None to leave one; `assignments`: fields as "name=value". `resume` continues the run
    in `output`; `allow_leak` accepts images of benchmarks.
    """

    data: tuple[str, ...]
    network: str | None = None
    scale: int = 4
    preset: str = "paper"
    start_from: str | None = None
    validation: Path | None = None
    output: Path | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    assignments: tuple[str, ...] = ()
    resume: bool = False
    allow_leak: bool = False
    tensorboard: bool = False
    device: str | None = None


@dataclass(frozen=True)
class Summary:
    """The result of a run: its best weights and their PSNR-Y in dB, and whether it was interrupted."""

    weights: Path
    psnr_y: float
    step: int
    interrupted: bool = False
