"""Make `photo` crisper: the second phase of its training, against a discriminator.

    python benchmarks/experiments/photo_critic.py PAIRS START.safetensors OUT STEPS

Continues from the weights of photo_student.py on the same pairs. A U-Net sees a result beside its input and
tells the student's from Real-ESRGAN's; the student also matches what the U-Net finds in Real-ESRGAN's result.
Writes OUT/photo-x4.safetensors, a log and a state; started again, it continues.
"""

import copy
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.experiments import photo_student as student
from benchmarks.experiments.photo_student import Pairs
from srcli.engine.weights.files import load_network, save_network
from srcli.train.discriminators import UNet

BATCH, RATE, CRITIC_RATE, MEAN = 8, 2e-4, 6e-4, 0.998
# Weights of the terms beside mean |difference| and its spectrum.
MATCHING, ADVERSARIAL = 0.05, 0.05


class Critic(nn.Module):
    """A U-Net that returns its logits and, for each of its layers, what it found.

    It works at half the size: 2x2 pixels of a result are 12 channels, beside the input at that size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = UNet(channels=15, features=32)
        self.found: list[Tensor] = []
        for layer in (*self.net.down, *self.net.up):
            layer.register_forward_hook(lambda layer, given, out: self.found.append(out))

    def forward(self, low: Tensor, large: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge results (N, 3, 4H, 4W) of inputs (N, 3, H, W)."""
        self.found = []
        seen = F.interpolate(low, scale_factor=student.SCALE / 2, mode="nearest")
        logits: Tensor = self.net(torch.cat((seen, F.pixel_unshuffle(large, 2)), 1))
        return logits, self.found


@dataclass(kw_only=True)
class Run(student.Run):
    """The state of the second phase."""

    PARTS: ClassVar[tuple[str, ...]] = (*student.Run.PARTS, "critic", "critic_optimiser")
    critic: Critic
    critic_optimiser: torch.optim.Optimizer

    @classmethod
    def continue_from(cls, weights: Path) -> "Run":
        """Return a run at step 0, from the weights of the first phase."""
        torch.manual_seed(0)
        network = load_network(weights, student.SPEC).train()
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.requires_grad_()
        critic = Critic()
        critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ours, theirs = (
            torch.optim.Adam(each.parameters(), RATE, (0.9, 0.99), fused=True) for each in (network, critic)
        )
        mean = copy.deepcopy(network)
        return cls(network=network, mean=mean, optimiser=ours, critic=critic, critic_optimiser=theirs)


def measure_difference(ours: Tensor, theirs: Tensor) -> Tensor:
    """Compute mean |difference|, as a share of what there is."""
    theirs = theirs.detach().float()
    return (ours.float() - theirs).abs().mean() / theirs.abs().mean()


def advance(run: Run, low: Tensor, large: Tensor) -> dict[str, float]:
    """Train the student, then the discriminator, by one step each; return the terms of the losses."""
    with torch.autocast("cpu", torch.bfloat16):
        result = run.network(low)
        real, wanted = run.critic(low, large)
        run.critic.requires_grad_(requires_grad=False)
        logits, found = run.critic(low, result)
        run.critic.requires_grad_()
    pixels = student.measure_loss(result, large)
    matching = torch.stack([measure_difference(*pair) for pair in zip(found, wanted, strict=True)])
    adversarial = F.softplus(-logits.float()).mean()
    loss = pixels + MATCHING * matching.mean() + ADVERSARIAL * adversarial
    run.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.network.parameters(), 1.0)
    run.optimiser.step()
    with torch.autocast("cpu", torch.bfloat16):
        fake, _ = run.critic(low, result.detach())
    judged = F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()
    run.critic_optimiser.zero_grad()
    judged.backward()  # type: ignore[no-untyped-call]
    run.critic_optimiser.step()
    run.average(MEAN)
    terms = {
        "loss": loss,
        "pixels": pixels,
        "matching": matching.mean(),
        "adversarial": adversarial,
        "critic": judged,
    }
    return {name: float(value.detach()) for name, value in terms.items()}


def main(folder: Path, weights: Path, out: Path, steps: int) -> None:
    """Train, or continue, to `steps`."""
    files = sorted(folder.glob("[0-9]*.npz"))
    held, pairs = Pairs.read(files[:1]), Pairs.read(files[1:])
    out.mkdir(parents=True, exist_ok=True)
    run, state = Run.continue_from(weights), out / "state.pt"
    if state.exists():
        run.load(state)
    terms, saved_at = [], time.monotonic()
    while run.step < steps:
        low, large = pairs.draw(np.random.default_rng((2, run.step, len(pairs.low))), BATCH)
        share = min(1.0, 2 - 2 * run.step / steps)  # constant, then linear to zero
        for optimiser, rate in ((run.optimiser, RATE), (run.critic_optimiser, CRITIC_RATE)):
            for group in optimiser.param_groups:
                group["lr"] = rate * share
        terms.append(advance(run, low, large))
        if run.step % 100 == 0 or run.step == steps:
            means = {name: float(np.mean([each[name] for each in terms])) for name in terms[0]}
            line = {"step": run.step, **means, **student.score(run.mean, held), "pairs": len(pairs.low)}
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            terms = []
        if time.monotonic() - saved_at > 240 or run.step == steps:
            run.save(state)
            save_network(out / "photo-x4.safetensors", run.mean, student.SPEC, notes(weights, steps))
            saved_at = time.monotonic()


def notes(weights: Path, steps: int) -> dict[str, str]:
    """Return what `tools/bundle.py` records of the run."""
    recipe = student.describe_recipe(steps) | {
        "init": weights.name, "script": "benchmarks/experiments/photo_critic.py", "batch": BATCH,
        "optimiser": "adam", "learning_rate": RATE, "warmup": 0, "ema": MEAN,
        "loss": f"l1=1,frequency={student.FREQUENCY},matching={MATCHING},vanilla={ADVERSARIAL}",
    }  # fmt: skip
    return {"recipe": json.dumps(recipe)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
