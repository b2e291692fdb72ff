"""The events of a training run, passed to `emit`."""

import math
from dataclasses import dataclass
from pathlib import Path

from srcli.imaging.pixels import Pixels
from srcli.train.recipe import Recipe


@dataclass(frozen=True)
class WarmStart:
    """The tensors of a network that were taken from `file`, and the names of those that were not there."""

    file: Path
    taken: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Started:
    """A run begins, or continues, at `step`; `restarted` by torchrun after a process was lost.

    `warm_start`: what was taken from the weight file it begins with, if there is one.
    """

    recipe: Recipe
    device: str
    folder: Path
    step: int
    restarted: bool
    warm_start: WarmStart | None = None


@dataclass(frozen=True)
class Fitted:
    """The number of steps was chosen: they take about `seconds`, and the paper's recipe `paper_seconds`.

    `validation_side`: the side of the central square of each image that is validated on; 0: whole images.
    """

    steps: int
    seconds: float
    paper_seconds: float | None
    validation_side: int = 0


@dataclass(frozen=True)
class Preparing:
    """Progress of a stage before training, such as "decoding": `done` of `total` images.

    Without a total, the stage begins; it reports no progress.
    """

    stage: str
    done: int = 0
    total: int | None = None


@dataclass(frozen=True)
class DataReady:
    """The training images for one scale, or "any scale"; files left out, and benchmark images allowed.

    `cropped`: how many images were cropped to fit their low-resolution partners.
    """

    images: int
    scale: str
    left_out: tuple[str, ...]
    leaks: tuple[str, ...]
    cropped: int = 0


@dataclass(frozen=True)
class StepDone:
    """The state of a run after a step; `psnr_y` is the newest validation's, None before the first.

    `bicubic`: the PSNR-Y of bicubic upscaling on the same images; NaN if it was not measured. `terms` of the
    loss; `waiting` is the share of the time spent on data; `note` is for the user.
    """

    step: int
    steps: int
    terms: dict[str, float]
    psnr_y: float | None
    steps_per_second: float
    waiting: float = 0.0
    validated: bool = False
    note: str = ""
    bicubic: float = math.nan

    @property
    def loss(self) -> float:
        """The sum of all terms."""
        return sum(self.terms.values())


@dataclass(frozen=True)
class Validated:
    """A validation was logged; `outputs` of `low`, by name: bicubic, the network and the truth."""

    step: int
    folder: Path
    low: Pixels
    outputs: dict[str, Pixels]
    first: bool


@dataclass(frozen=True)
class Interrupted:
    """The run stopped at `step`, with its state saved in `folder`."""

    step: int
    folder: Path


Event = Started | Fitted | Preparing | DataReady | StepDone | Validated | Interrupted
