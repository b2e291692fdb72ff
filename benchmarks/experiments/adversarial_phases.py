"""Measure finished runs of `sr train` against a discriminator: bicubic, after each phase, mean of both.

    PYTHONPATH=. python benchmarks/experiments/adversarial_phases.py RUN ... [--side PIXELS]

A run that fine-tunes has one phase: the published weights it started from take the place of the first. Takes
the validation images of the run, reduced as in training, cut to their centre. Measures PSNR-Y, NIQE and, with
`pip install --no-deps stlpips-pytorch`, ST-LPIPS, a form of LPIPS whose package contains its weights.
Writes benchmarks/results/adversarial_phases.json, which docs/adversarial.md shows, and a sheet of crops
`phases.png` into each run. Runs that were measured earlier are kept.
"""

import argparse
import json
import sys
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from srcli import datasets, methods
from srcli.bench.protocols import Y_CROP, Reduction
from srcli.engine.weights import files
from srcli.engine.weights.checkpoint import read_header
from srcli.imaging.color import luma
from srcli.imaging.image import Image, write_image
from srcli.imaging.metrics import niqe
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import Pixels, crop_to_multiple
from srcli.report.pictures import Panel, draw_sheet, find_busiest, stack_sheets
from srcli.train import recipe
from srcli.train.recipe import Recipe
from srcli.train.time_budget import crop_pictures

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "adversarial_phases.json"
_SHEETS, _CROP = 4, 48
Distance = Callable[[Pixels, Pixels], float]


@dataclass(frozen=True)
class Measurement:
    """Mean figures of one version in a run; `st_lpips`: distance to the truth, None without the package."""

    run: str
    steps: str
    version: str
    psnr_y: float
    niqe: float
    st_lpips: float | None


def load_distance() -> Distance | None:
    """Load ST-LPIPS on AlexNet, https://arxiv.org/abs/2207.13686; None if its package is missing."""
    # The package imports these for its other networks and for debugging.
    for name, attribute in (("torchvision", "models"), ("torchsummary", "summary"), ("IPython", "embed")):
        module = types.ModuleType(name)
        setattr(module, attribute, None)
        sys.modules.setdefault(name, module)
    try:
        from stlpips_pytorch import stlpips  # type: ignore[import-not-found]
    except ImportError:
        return None
    metric = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)

    def measure(shown: Pixels, true: Pixels) -> float:
        batches = (torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1)))[None] for p in (shown, true))
        with torch.no_grad():
            return float(metric(*batches, normalize=True))

    return measure


def find_versions(folder: Path) -> tuple[Recipe, dict[str, methods.Method]]:
    """Return the recipe of a run, and bicubic and the networks of its phases by name."""
    (last,) = (path for path in folder.glob("*.safetensors") if not path.name.startswith(("psnr-", "mean")))
    trained = recipe.from_dict(json.loads(read_header(last)["recipe"]))
    found = {"bicubic": methods.load_method("bicubic", trained.scale)}
    first, mean = folder / f"psnr-{last.name}", folder / "mean.safetensors"
    if first.exists():
        files.blend_networks(first, last, 0.5, mean)
        paths = {"after the first phase": first, "after the second": last, "mean of both": mean}
    else:
        paths = {"before": Path(trained.init), "after": last}
    return trained, found | {
        name: methods.load_method_file(path, trained.scale) for name, path in paths.items()
    }


def measure_run(folder: Path, side: int, distance: Distance | None) -> list[Measurement]:
    """Measure all versions of a run on the central `side` pixels of each validation image."""
    trained, versions = find_versions(folder)
    assert trained.gan
    chosen = json.loads((folder / "request.json").read_text())["validation"]
    found = datasets.find_dataset(chosen) if chosen else datasets.load_samples()
    pictures = crop_pictures(list(found.read_pictures()), trained.scale, side)
    reduction = Reduction(Y_CROP.protocol, "" if trained.degrade == "bicubic" else trained.degrade)
    figures: dict[str, list[tuple[float, ...]]] = {name: [] for name in versions}
    sheets = []
    for number, picture in enumerate(pictures):
        true = crop_to_multiple(picture.pixels, trained.scale)
        low = reduction.make_reducer(picture.name, trained.scale)(true)
        panels, region = [], find_busiest(low, _CROP)
        for name, method in versions.items():
            shown = np.clip(method(low, trained.scale), 0, 1).astype(np.float32)
            border = trained.scale
            inner = [luma(p)[border:-border, border:-border] for p in (shown, true)]
            row = (psnr(*inner), niqe.niqe(luma(shown)))
            figures[name].append((*row, distance(shown, true)) if distance else row)
            panels.append(Panel(name, region.crop(shown, low.shape[0])))
        if number < _SHEETS:
            sheets.append(draw_sheet([*panels, Panel("truth", region.crop(true, low.shape[0]))]))
    write_image(folder / "phases.png", Image(stack_sheets(sheets)))
    steps = f"{trained.steps} + {trained.gan.steps}" if trained.steps else str(trained.gan.steps)
    run = f"`{trained.title}` x{trained.scale}" + ("" if trained.steps else ", fine-tuned")
    means = {
        name: [float(np.mean(column)) for column in zip(*rows, strict=True)] for name, rows in figures.items()
    }
    return [
        Measurement(
            run, steps, name, round(row[0], 3), round(row[1], 3), round(row[2], 4) if distance else None
        )
        for name, row in means.items()
    ]


def render_table() -> str:
    """Return the results as a Markdown table."""
    found = [Measurement(**raw) for raw in json.loads(RESULT.read_text())]
    head = ["| run | steps | version | PSNR-Y, dB | NIQE | ST-LPIPS |", "|---|---|---|---:|---:|---:|"]
    rows = [
        f"| {one.run} | {one.steps} | {one.version} | {one.psnr_y:.2f} | {one.niqe:.2f} "
        f"| {'' if one.st_lpips is None else f'{one.st_lpips:.4f}'} |"
        for one in found
    ]
    return "\n".join([*head, *rows])


def main() -> None:
    """Measure the runs and write the results; those of other runs are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--side", type=int, default=384)
    options = parser.parse_args()
    distance = load_distance()
    known = [Measurement(**raw) for raw in json.loads(RESULT.read_text())] if RESULT.exists() else []
    for folder in options.runs:
        new = measure_run(folder, options.side, distance)
        known = [one for one in known if one.run != new[0].run] + new
        RESULT.write_text(json.dumps([asdict(one) for one in known], indent=1) + "\n")
        print(render_table(), flush=True)


if __name__ == "__main__":
    main()
