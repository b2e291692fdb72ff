"""The request and the result of a training run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainRequest:
    """A training run.

    `data`: sources of images, as in `sources.parse`; `network`: its recipe; `preset`: "paper", "quick" or, by
    default, the first with a GPU and the second without; `start_from`: weights to fine-tune, as MODEL-xSCALE
    or a file; `validation`: a set as for `sr bench`, by default the built-in samples; `output`: the folder of
    the run, by default runs/NETWORK-xSCALE. `changes`: fields of the recipe by name, None to leave one;
    `assignments`: fields as "name=value". `seconds`: the number of steps is chosen to fit into this time.
    `resume`: the folder of a run to continue, which knows all else. `allow_leak` accepts images of
    benchmarks. `validation_side`: validate on the central square of that many pixels of each image; 0: on
    whole images. `max_pixels`: the most pixels of an image; by default, it follows from the size of its file.
    `workers`: processes that degrade batches; by default, with a GPU, the cores that are idle.
    """

    data: tuple[str, ...] = ()
    network: str | None = None
    scale: int = 4
    preset: str | None = None
    start_from: str | None = None
    validation: str | Path | None = None
    output: Path | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    assignments: tuple[str, ...] = ()
    seconds: float | None = None
    resume: Path | None = None
    allow_leak: bool = False
    tensorboard: bool = False
    device: str | None = None
    workers: int | None = None
    validation_side: int = 0
    max_pixels: int | None = None


@dataclass(frozen=True)
class Summary:
    """The result of a run: its best weights and their PSNR-Y in dB, and whether it was interrupted.

    `bicubic`: the PSNR-Y of bicubic upscaling on the same images.
    `is_first`: whether this process validated and saved; of several processes, only one does.
    """

    weights: Path
    psnr_y: float
    step: int
    bicubic: float
    interrupted: bool = False
    is_first: bool = True
