"""Train `photo`: a small network that imitates Real-ESRGAN on the pairs of photo_pairs.py.

    python benchmarks/experiments/photo_student.py PAIRS OUT STEPS

Writes OUT/photo-x4.safetensors, a log and a state; started again, it continues. The first shard is never
trained on: the log has PSNR and the correlation of detail against the teacher on it, and the share of the
teacher's detail. Targets have the coarse colours of their inputs, as Real-ESRGAN darkens photographs.
"""

import copy
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srcli import archs
from srcli.archs import Spec
from srcli.engine.weights.files import save_network
from srcli.imaging import rows
from srcli.imaging.color import luma
from srcli.imaging.pixels import from_uint8, to_uint8
from srcli.imaging.postprocess import transfer_colours
from srcli.train.soap import Soap

Samples = NDArray[np.uint8]

SPEC = Spec("slimres", 4, {"blocks": 8, "features": 64, "channels": 3})
SCALE, SIDE = 4, 112
PATCH, BATCH, RATE, WARMUP, FREQUENCY = 40, 16, 1e-3, 300, 0.2
# Pixels of the input at each border that are not trained on: there the teacher saw less.
MARGIN = 6


@dataclass
class Pairs:
    """Inputs (N, 112, 112, 3) and the teacher's results, four times as large."""

    low: Samples
    large: Samples

    @classmethod
    def read(cls, files: list[Path]) -> "Pairs":
        """Read shards, and correct the colours of the results."""
        shards = [np.load(file) for file in files]
        low, large = (np.concatenate([shard[name] for shard in shards]) for name in ("lo", "teacher"))
        for number, (small, result) in enumerate(zip(low, large, strict=True)):
            fixed = transfer_colours(rows.of(from_uint8(result)), rows.of(from_uint8(small)))
            large[number] = to_uint8(fixed.whole())
        return cls(low, large)

    def draw(self, rng: np.random.Generator, batch: int) -> tuple[Tensor, Tensor]:
        """Return a batch of random crops, turned and mirrored."""
        crops = []
        for _ in range(batch):
            number, turns = int(rng.integers(len(self.low))), int(rng.integers(4))
            top, left = rng.integers(MARGIN, SIDE - MARGIN - PATCH + 1, 2)
            step = -1 if rng.random() < 0.5 else 1
            crops.append(
                [
                    np.rot90(
                        picture[number, top * s : (top + PATCH) * s, left * s : (left + PATCH) * s], turns
                    )[:, ::step]
                    for picture, s in ((self.low, 1), (self.large, SCALE))
                ]
            )
        low, large = (_as_batch(np.stack(side)) for side in zip(*crops, strict=True))
        return low, large


def _as_batch(pictures: Samples) -> Tensor:
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255)
    return batch.to(memory_format=torch.channels_last)


@torch.inference_mode()
def score(network: nn.Module, held: Pairs) -> dict[str, float]:
    """Return PSNR in dB, correlation of detail and share of detail against the teacher, means over pairs."""
    border, found = slice(32, -32), []
    for low, large in zip(held.low, held.large, strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            result = network(_as_batch(low[None]))[0].float().clamp(0, 1).permute(1, 2, 0).numpy()
        ours, theirs = result[border, border], from_uint8(large)[border, border]
        detail, wanted = (plane - cv2.GaussianBlur(plane, (0, 0), 2) for plane in (luma(ours), luma(theirs)))
        correlation = np.corrcoef(detail.ravel(), wanted.ravel())[0, 1]
        error = np.mean((ours - theirs) ** 2)
        found.append((-10 * np.log10(error), correlation, detail.std() / wanted.std()))
    names = ("psnr_teacher", "correlation", "share")
    return dict(zip(names, map(float, np.mean(found, 0)), strict=True))


def measure_loss(result: Tensor, target: Tensor) -> Tensor:
    """Compute mean |difference| plus FREQUENCY times that of its spectrum."""
    difference = result.float() - target
    spectrum = torch.view_as_real(torch.fft.rfft2(difference, norm="ortho"))
    return difference.abs().mean() + FREQUENCY * spectrum.abs().mean()


def find_rate(step: int, steps: int) -> float:
    """Return the learning rate: constant for half of the steps, then linear to 1 %."""
    progress = max(0.0, step / steps - 0.5) / 0.5
    return RATE * min(1, (step + 1) / WARMUP) * (1 - 0.99 * progress)


@dataclass(kw_only=True)
class Run:
    """The state of a training run: the network, the mean of its weights over time, and the optimiser."""

    PARTS: ClassVar[tuple[str, ...]] = ("network", "mean", "optimiser")
    network: nn.Module
    mean: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def start(cls) -> "Run":
        """Return a run at step 0."""
        torch.manual_seed(0)
        network = archs.build(SPEC.arch, SPEC.scale, SPEC.config)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = Soap([{"params": list(network.parameters())}], RATE)
        return cls(network=network, mean=copy.deepcopy(network), optimiser=optimiser)

    def load(self, path: Path) -> None:
        """Continue from a saved state."""
        saved = torch.load(path, weights_only=True)
        self.step = saved["step"]
        for name in self.PARTS:
            getattr(self, name).load_state_dict(saved[name])

    def save(self, path: Path) -> None:
        """Write a state to continue from."""
        parts = {name: getattr(self, name).state_dict() for name in self.PARTS}
        torch.save({"step": self.step, **parts}, path)

    def advance(self, loss: Tensor, rate: float) -> None:
        """Take a step, and add the new weights to the mean."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.average(0.999)

    def average(self, most: float) -> None:
        """Count a step, and keep a share of the mean that grows to `most`."""
        self.step += 1
        share = min(most, self.step / (self.step + 10))
        with torch.no_grad():
            for average, weight in zip(self.mean.parameters(), self.network.parameters(), strict=True):
                average.lerp_(weight, 1 - share)


def main(folder: Path, out: Path, steps: int) -> None:
    """Train, or continue, to `steps`."""
    files = sorted(folder.glob("[0-9]*.npz"))
    held, pairs = Pairs.read(files[:1]), Pairs.read(files[1:])
    out.mkdir(parents=True, exist_ok=True)
    run, state = Run.start(), out / "state.pt"
    if state.exists():
        run.load(state)
    forward, losses, saved_at = torch.compile(run.network), [], time.monotonic()
    while run.step < steps:
        low, large = pairs.draw(np.random.default_rng((1, run.step, len(pairs.low))), BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            result = forward(low)
        loss = measure_loss(result, large)
        run.advance(loss, find_rate(run.step, steps))
        losses.append(float(loss.detach()))
        if run.step % 250 == 0 or run.step == steps:
            line = {"step": run.step, "loss": float(np.mean(losses)), **score(run.mean, held)}
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line | {"pairs": len(pairs.low)}) + "\n")
            losses = []
        if time.monotonic() - saved_at > 240 or run.step == steps:
            run.save(state)
            saved_at = time.monotonic()
    notes = {"recipe": json.dumps(describe_recipe(steps))}
    save_network(out / "photo-x4.safetensors", run.mean, SPEC, notes)


def describe_recipe(steps: int) -> dict[str, object]:
    """Return what `tools/bundle.py` records of the run."""
    return {
        "name": "photo", "arch": SPEC.arch, "scale": SPEC.scale, "config": SPEC.config, "init": "",
        "script": "benchmarks/experiments/photo_student.py", "teacher": "realesrgan", "steps": steps,
        "patch": PATCH, "batch": BATCH, "optimiser": "soap", "learning_rate": RATE, "warmup": WARMUP,
        "loss": f"l1=1,frequency={FREQUENCY}", "degrade": "photo_pairs.py", "ema": 0.999,
        "precision": "bfloat16", "paper": "https://arxiv.org/abs/2107.10833",
    }  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
