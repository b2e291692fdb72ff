"""Why residual connections suit super-resolution, and batch normalisation does not: one small network at x2.

    PYTHONPATH=. python benchmarks/experiments/residual_batchnorm.py DATA [--steps 1000] [--seeds 2]

The same body is trained with and without them: same images, steps, batches and seeds, each at the better of
two learning rates. Writes benchmarks/results/residual_batchnorm.json after each run, resumes from it, and
draws docs/residual.png and docs/normalisation.png.
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli import bench, datasets
from srcli.archs.blocks import conv, make_bicubic_kernel
from srcli.datasets import Picture
from srcli.engine.device import keep_freed_memory
from srcli.imaging.degrade import degradations
from srcli.imaging.pixels import Pixels
from srcli.methods import FunctionMethod
from srcli.methods import load_method as method
from srcli.train.augment import Batch
from srcli.train.feed import Feed, draw
from srcli.train.sources import parse
from srcli.train.store import StoreSpec, open_store

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "residual_batchnorm.json"
CHARTS = {"residual": ROOT / "docs" / "residual.png", "normalisation": ROOT / "docs" / "normalisation.png"}
SCALE, PATCH, BATCH = 2, 24, 8
FEATURES, BLOCKS = 24, 12
RATES = (1e-3, 3e-4)
VALIDATE = 100


@dataclass(frozen=True)
class Variant:
    """A network: `blocks` adds around each block and around the body, `image` adds bicubic at the end.

    `norm`: batch normalisation after each convolution of a block, as in SRResNet; `he`: He initialisation,
    which is made for networks without additions.
    """

    blocks: bool = False
    image: bool = False
    norm: bool = False
    he: bool = False


VARIANTS = {
    "plain": Variant(),
    "plain, He's weights": Variant(he=True),
    "image": Variant(image=True),
    "blocks": Variant(blocks=True),
    "blocks and image": Variant(blocks=True, image=True),
    "blocks, normalised": Variant(blocks=True, norm=True),
    "blocks and image, normalised": Variant(blocks=True, image=True, norm=True),
}
QUESTIONS = {
    "residual": ("plain", "plain, He's weights", "image", "blocks", "blocks and image"),
    "normalisation": (
        "blocks",
        "blocks, normalised",
        "blocks and image",
        "blocks and image, normalised",
    ),
}


class Body(nn.Module):
    """A head, 12 blocks of two 3x3 convolutions of 24 features, a convolution, a pixel shuffle."""

    phases: Tensor

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        self.head = conv(3, FEATURES)
        self.blocks = nn.ModuleList(_build_block(variant.norm) for _ in range(BLOCKS))
        self.end = conv(FEATURES, FEATURES)
        self.tail = conv(FEATURES, 3 * SCALE**2)
        self.register_buffer("phases", make_bicubic_kernel(SCALE).repeat(3, 1, 1, 1))
        if variant.he:
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to (N, 3, 2H, 2W)."""
        first = x = self.head(batch)
        for block in self.blocks:
            x = x + block(x) if self.variant.blocks else F.relu(block(x))
        x = self.end(x)
        out = F.pixel_shuffle(self.tail(x + first if self.variant.blocks else x), SCALE)
        return out + self._upscale_bicubic(batch) if self.variant.image else out

    def _upscale_bicubic(self, batch: Tensor) -> Tensor:
        padded = F.pad(batch, (2, 2, 2, 2), mode="replicate")
        return F.pixel_shuffle(F.conv2d(padded, self.phases, groups=3), SCALE)


def _build_block(norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for last in (False, True):
        layers.append(conv(FEATURES, FEATURES, bias=not norm))
        layers += [nn.BatchNorm2d(FEATURES)] if norm else []
        layers += [] if last else [nn.ReLU()]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Run:
    """One training run: PSNR-Y in dB on the bundled samples after every `VALIDATE` steps.

    `own`: the last one, measured with each image's own mean and deviation, as in training, instead of the
    running averages; the same without normalisation.
    """

    variant: str
    rate: float
    seed: int
    steps: int
    psnr_y: list[float]
    own: float

    @property
    def key(self) -> tuple[str, float, int]:
        """Variant, rate and seed, which identify the run."""
        return (self.variant, self.rate, self.seed)


def train(name: str, rate: float, seed: int, steps: int, feed: Feed, pictures: list[Picture]) -> Run:
    """Train with L1, Adam, a cosine schedule and gradient norms clipped at 1."""
    torch.manual_seed(seed)
    network, rng = Body(VARIANTS[name]), np.random.default_rng(seed)
    optimiser = torch.optim.Adam(network.parameters(), rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, rate / 100)
    curve = []
    for step in range(1, steps + 1):
        batch = draw(feed, PATCH, BATCH, rng)
        take_step(network, optimiser, batch)
        falling.step()
        if step % VALIDATE == 0:
            curve.append(score(network.eval(), pictures))
            network.train()
    own = score(network, pictures)
    return Run(name, rate, seed, steps, curve, own)


def take_step(network: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch) -> None:
    """Take one step on a batch."""
    optimiser.zero_grad()
    F.l1_loss(network(batch.fed), batch.hr).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


def time_steps(feed: Feed, rounds: int = 7, steps: int = 8) -> dict[str, float]:
    """Return the milliseconds of a step of each variant: medians of rounds in which they take turns."""
    batch = draw(feed, PATCH, BATCH, np.random.default_rng(0))
    networks = {name: Body(variant) for name, variant in VARIANTS.items()}
    spent: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, network in networks.items():
            optimiser = torch.optim.Adam(network.parameters())
            begun = time.perf_counter()
            for _ in range(steps):
                take_step(network, optimiser, batch)
            spent[name].append(1000 * (time.perf_counter() - begun) / steps)
    return {name: round(statistics.median(times), 2) for name, times in spent.items()}


@torch.no_grad()
def score(network: nn.Module, pictures: list[Picture]) -> float:
    """Return PSNR-Y in dB, measured by the code of `sr bench`."""

    def enlarge(pixels: Pixels, scale: float) -> Pixels:
        out = network(torch.from_numpy(pixels).movedim(2, 0)[None])
        return np.asarray(out[0].movedim(0, 2).numpy())

    return round(bench.evaluate(FunctionMethod("network", run=enlarge), pictures, SCALE).psnr_y, 4)


def choose_rates(runs: list[Run]) -> dict[str, list[Run]]:
    """Return the runs of each variant at the rate whose first seed ended best."""
    best = {}
    for name in VARIANTS:
        first = [run for run in runs if run.variant == name and run.seed == 0]
        if first:
            rate = max(first, key=lambda run: run.psnr_y[-1]).rate
            best[name] = [run for run in runs if run.variant == name and run.rate == rate]
    return best


def render_table(question: str) -> str:
    """Return the results as Markdown: means over seeds, with the worst and the best."""
    result = json.loads(RESULT.read_text())
    best = choose_rates([Run(**raw) for raw in result["runs"]])
    steps = result["steps"]
    out = [
        f"x2, {result['parameters']:,} parameters, {steps:,} steps on {BATCH} patches of "
        f"{PATCH}x{PATCH}, L1,",
        f"Adam, {min(map(len, best.values()))} seeds, each at the better of two learning rates. PSNR-Y on",
        f"the bundled samples in dB, where bicubic has {result['bicubic']:.2f}.",
        "",
        f"| has | learning rate | {VALIDATE} steps | {steps // 2} steps | {steps} steps | worst to best "
        "| own statistics | ms a step |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines = (_render_row(name, best[name], result["step_ms"][name]) for name in QUESTIONS[question])
    return "\n".join([*out, *lines])


def _render_row(name: str, runs: list[Run], step_ms: float) -> str:
    curves = [run.psnr_y for run in runs]
    ends = sorted(curve[-1] for curve in curves)
    early, half, late = (
        statistics.mean(curve[at] for curve in curves) for at in (0, len(curves[0]) // 2 - 1, -1)
    )
    own = statistics.mean(run.own for run in runs)
    reached = f"{early:.2f} | {half:.2f} | {late:.2f} | {ends[0]:.2f} to {ends[-1]:.2f}"
    return f"| {name} | {runs[0].rate:g} | {reached} | {own:.2f} | {step_ms:.0f} |"


def draw_curves(runs: list[Run], bicubic: float) -> None:
    """Draw PSNR over steps, a picture per question: means over seeds, shaded from worst to best."""
    from matplotlib.figure import Figure

    best = choose_rates(runs)
    for question, names in QUESTIONS.items():
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        axes = figure.subplots()
        for name in names:
            curves = np.array([run.psnr_y for run in best[name]])
            steps = VALIDATE * np.arange(1, curves.shape[1] + 1)
            [line] = axes.plot(steps, curves.mean(0), label=f"{name} ({best[name][0].rate:g})")
            axes.fill_between(steps, curves.min(0), curves.max(0), color=line.get_color(), alpha=0.2)
        axes.axhline(bicubic, color="grey", linestyle=":", label="bicubic")
        ends = [run.psnr_y[-1] for name in names for run in best[name]]
        axes.set(xlabel="steps", ylabel="PSNR-Y, dB", ylim=(min(bicubic - 4, min(ends) - 1), max(ends) + 0.3))
        axes.legend(fontsize="small")
        figure.savefig(CHARTS[question], dpi=90)


def main() -> None:
    """Train what is not in the results yet, then draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    keep_freed_memory()
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": []}
    runs = [Run(**raw) for raw in result["runs"]]
    store = open_store(
        [parse(str(options.data), SCALE)],
        StoreSpec(SCALE, PATCH, degradations.parse_degradation("bicubic"), enlarged=False),
        lambda stage, done, total: None,
    )
    feed, pictures = Feed(store, 3), list(datasets.load_samples().read_pictures())
    bicubic = round(bench.evaluate(method("bicubic", SCALE), pictures, SCALE).psnr_y, 4)

    about: dict[str, Any] = {"steps": options.steps, "bicubic": bicubic, "parameters": _count_parameters()}

    def keep() -> None:
        RESULT.write_text(json.dumps(about | {"runs": [asdict(run) for run in runs]}, indent=1) + "\n")

    def once(name: str, rate: float, seed: int) -> None:
        if (name, rate, seed) in {run.key for run in runs if run.steps == options.steps}:
            return
        runs.append(train(name, rate, seed, options.steps, feed, pictures))
        print(name, rate, seed, runs[-1].psnr_y[-1], flush=True)
        keep()

    for name in VARIANTS:
        for rate in RATES:
            once(name, rate, 0)
    for name, of_best in choose_rates(runs).items():
        for seed in range(1, options.seeds):
            once(name, of_best[0].rate, seed)
    about["step_ms"] = time_steps(feed)
    keep()
    draw_curves(runs, bicubic)
    for name, best in choose_rates(runs).items():
        print(name, best[0].rate, statistics.mean(run.psnr_y[-1] for run in best))


def _count_parameters() -> int:
    return sum(weight.numel() for weight in Body(VARIANTS["plain"]).parameters())


if __name__ == "__main__":
    main()
