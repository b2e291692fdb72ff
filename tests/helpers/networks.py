"""Networks with random weights, small enough for any machine."""

from typing import Any

import torch

from srcli import archs
from srcli.engine.device import Device

__all__ = ["CPU", "MEMBERS", "SMALL", "build_random"]

CPU = Device("cpu", "float32", "test")
SMALL = {arch: archs.facts(arch).small for arch in archs.names()}
MEMBERS = [(arch, scale) for arch in archs.names() for scale in archs.traits(arch).scales]


def build_random(arch: str, scale: int, config: dict[str, Any] | None = None) -> torch.nn.Module:
    """Build a network with weights that let every input reach the output, unlike some initialisations."""
    network = archs.build(arch, scale, SMALL[arch] if config is None else config)
    for weight in network.parameters():
        torch.nn.init.normal_(
            weight, std=(0.5 / max(1, weight[0].numel())) ** 0.5 if weight.ndim > 1 else 0.1
        )
    return network
