"""The output of `sr train`: a progress bar, messages on stderr, pictures in the run's folder."""

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.progress import TextColumn

from srcli.cli import console
from srcli.cli.stage_bar import StageBar
from srcli.errors import SrError

if TYPE_CHECKING:
    from srcli.train import Summary, events

# Without a terminal, a line on the progress is printed this often, or else one that it is still busy.
_SECONDS_PER_LINE, _SILENCE = 25.0, 30.0
# The steps after which the run time can be estimated.
_STEPS_TO_ESTIMATE = 20
_LONG = 600.0
# The share of the time, spent waiting for data, that is worth telling.
_MUCH_WAITING = 0.1
_SIDE = 48


class TrainReporter:
    """An `emit` for `srcli.train.run`; as a context, it leaves no progress bar behind."""

    def __init__(self) -> None:
        self._bar = StageBar(TextColumn("{task.fields[text]}"))
        self._first: int | None = None
        self._spoke = time.monotonic()
        self._fitted = False
        self._stage = ""
        self._sizes = 1
        self._ended = Event()
        self._watch = Thread(target=self._print_when_silent, daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._watch.join()
        self._bar.close()

    def _print_when_silent(self) -> None:
        """Print a line where a validation, a step or the teacher takes long, and no bar shows it."""
        while not self._ended.wait(_SILENCE / 30):
            if self._stage and self._bar.is_hidden and time.monotonic() - self._spoke > _SILENCE:
                console.err.print(f"still {self._stage} ...", markup=False)
                self._spoke = time.monotonic()

    def __call__(self, event: "events.Event") -> None:
        """Show one event."""
        from srcli.train import events

        match event:
            case events.Started():
                self._show_start(event)
            case events.Preparing(stage, done, total):
                self._show_preparation(stage, done, total)
            case events.DataReady(images, scale, left_out, leaks, cropped):
                self._bar.close()
                for reason in left_out:
                    console.err.print(f"left out: {reason}", markup=False)
                for leak in leaks:
                    console.err.print(f"used although it is in a benchmark: {leak}", markup=False)
                fitted = f", {cropped} cropped to fit their low-resolution partners" if cropped else ""
                sizes = f" (up to {self._sizes} sizes of each)" if self._sizes > 1 else ""
                console.err.print(
                    f"{images} training images at {scale}{sizes}, {len(left_out)} left out{fitted}"
                )
            case events.StepDone():
                self._show_step(event)
            case events.Validated():
                draw_validation(event)
            case events.Fitted():
                self._show_fit(event)
            case events.Interrupted(step, folder):
                self._bar.close()
                console.err.print(
                    f"stopped at step {step}; to continue: sr train --resume {folder}",
                    markup=False,
                    soft_wrap=True,
                )

    def _show_start(self, event: "events.Started") -> None:
        from srcli.train.recipe import Gan, Recipe

        self._sizes = len(event.recipe.rescale_factors)
        plain = asdict(Recipe(event.recipe.arch, event.recipe.scale))
        shown = {key: value for key, value in asdict(event.recipe).items() if value != plain[key]}
        always = ("arch", "scale", "patch", "batch", "steps", "loss", "learning_rate")
        given = {key: getattr(event.recipe, key) for key in always} | shown
        if event.recipe.gan:
            usual = asdict(Gan(steps=0, loss="", discriminator=""))
            given["gan"] = {
                key: value for key, value in asdict(event.recipe.gan).items() if value != usual[key]
            }
        _print_wrapped(f"recipe {event.recipe.title}: {format_fields(given)}")
        console.err.print(f"on {event.device}, into {event.folder}", markup=False)
        if event.warm_start:
            console.err.print(_describe_warm_start(event.warm_start), markup=False)
        gan = event.recipe.gan
        if gan and event.recipe.init and "content" not in gan.loss:
            console.err.print("without the features of VGG19 (--preset paper), results become softer")
        if event.restarted:
            console.err.print(f"torchrun restarted this run; it continues at step {event.step}")

    def _show_preparation(self, stage: str, done: int, total: int | None) -> None:
        if stage != self._stage:
            self._bar.close()
            self._stage = stage
        if total is None:
            console.err.print(f"{stage} ...", markup=False)
            self._spoke = time.monotonic()
            return
        self._bar.update(stage, done, total, text="")
        if self._bar.is_hidden and time.monotonic() - self._spoke > _SECONDS_PER_LINE:
            console.err.print(f"{stage}: {done} of {total}", markup=False)
            self._spoke = time.monotonic()

    def _show_step(self, event: "events.StepDone") -> None:
        self._stage = "training"
        self._bar.update("training", event.step, event.steps, text=format_step(event, brief=True))
        if event.note:
            console.err.print(event.note, markup=False)
        if event.validated:
            console.err.print(f"step {event.step}/{event.steps}  {format_validation(event)}", markup=False)
            self._spoke = time.monotonic()
        elif self._bar.is_hidden and time.monotonic() - self._spoke > _SECONDS_PER_LINE:
            console.err.print(f"step {event.step}/{event.steps}  {format_step(event)}", markup=False)
            self._spoke = time.monotonic()
        self._first = event.step if self._first is None else self._first
        if event.step - self._first == _STEPS_TO_ESTIMATE and not self._fitted:
            self._show_estimate(event)

    def _show_estimate(self, event: "events.StepDone") -> None:
        seconds = (event.steps - event.step) / event.steps_per_second
        if seconds > _LONG:
            console.err.print(
                f"about {format_duration(seconds)}; for less, use --for 1h or --preset quick", markup=False
            )

    def _show_fit(self, event: "events.Fitted") -> None:
        self._fitted = True
        published = (
            f"; the paper's recipe would take about {format_duration(event.paper_seconds)} (--preset paper)"
            if event.paper_seconds
            else ""
        )
        steps = "1 step" if event.steps == 1 else f"{event.steps:,} steps"
        _print_wrapped(f"{steps} in about {format_duration(event.seconds)}{published}")
        if event.validation_side:
            side = event.validation_side
            console.err.print(f"to save time, validation takes {side}x{side} pixels of each image")


def _print_wrapped(text: str) -> None:
    """Print a text that is longer than most terminals are wide, broken between words there."""
    wrapping = {"soft_wrap": False} if sys.stderr.isatty() else {}
    console.err.print(text, markup=False, **wrapping)


def format_fields(fields: Mapping[str, Any], prefix: str = "") -> str:
    """Return the fields of a recipe as `--set` takes them, in one line."""
    texts = []
    for key, value in fields.items():
        if isinstance(value, dict):
            texts.append(format_fields(value, f"{prefix}{key}."))
        elif isinstance(value, tuple | list):
            texts.append(f"{prefix}{key}={','.join(map(str, value))}")
        else:
            texts.append(f"{prefix}{key}={value}")
    return "  ".join(texts)


def format_validation(event: "events.StepDone") -> str:
    """Return the PSNR of a validation beside that of bicubic."""
    return f"PSNR-Y {event.psnr_y:.3f} dB, bicubic {event.bicubic:.3f} dB, loss {event.loss:.3e}"


def format_result(summary: "Summary") -> str:
    """Return the PSNR of the best weights, and how much better or worse than bicubic it is."""
    gain = summary.psnr_y - summary.bicubic
    word = "better" if gain >= 0 else "worse"
    return f"PSNR-Y {summary.psnr_y:.3f} dB, {abs(gain):.3f} dB {word} than bicubic"


def format_duration(seconds: float) -> str:
    """Return a time in its largest sensible unit, as people say it."""
    for limit, size, unit in ((90, 1, "s"), (90 * 60, 60, "min"), (100 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{max(1, round(seconds / size))} {unit}"
    return f"{round(seconds / 86400)} days"


def _describe_warm_start(start: "events.WarmStart") -> str:
    """Return how many tensors came from the file, and the first few that did not."""
    total = start.taken + len(start.missing)
    if not start.missing:
        return f"starts from {start.file}: all {total} tensors"
    names = ", ".join(start.missing[:3]) + (", ..." if len(start.missing) > 3 else "")
    return f"starts from {start.file}: {start.taken} of {total} tensors; initialised: {names}"


def format_step(event: "events.StepDone", *, brief: bool = False) -> str:
    """Return loss terms, PSNR and speed in one line; of several terms, only the sum if `brief`."""
    shown = {"loss": event.loss} if brief and len(event.terms) > 1 else event.terms
    terms = "  ".join(f"{name} {value:.3e}" for name, value in shown.items())
    psnr = "" if event.psnr_y is None else f"  PSNR-Y {event.psnr_y:.3f} dB"
    # Less is of no interest, and a bar of 80 columns has no room for it.
    waiting = f", {event.waiting:.0%} waiting for data" if event.waiting >= _MUCH_WAITING else ""
    return f"{terms}{psnr}  {format_speed(event.steps_per_second)}{waiting}"


def format_speed(steps_per_second: float) -> str:
    """Return a speed; the seconds of a step if that is the larger number."""
    if 0 < steps_per_second < 1:
        return f"{1 / steps_per_second:.1f} s/step"
    return f"{steps_per_second:.1f} steps/s"


def draw_validation(event: "events.Validated") -> None:
    """Write the curves so far, and a crop of the first validation image in all versions."""
    from srcli.imaging.image import Image, write_image
    from srcli.report import training_curves
    from srcli.report.pictures import Panel, draw_sheet, find_busiest
    from srcli.train import loop

    region = find_busiest(event.low, _SIDE)
    height = event.low.shape[0]
    panels = [Panel(name, region.crop(pixels, height)) for name, pixels in event.outputs.items()]
    write_image(event.folder / "samples" / f"step-{event.step:07}.png", Image(draw_sheet(panels)))
    try:
        log = training_curves.read_log(event.folder / loop.LOG)
        training_curves.plot_curves({"": log}, event.folder / "curves.png")
    except SrError as error:
        if event.first:
            console.print_error(error)
