"""Teachers: networks whose output is imitated, in RGB or luma, whatever the student's channels are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from srcli import archs
from srcli.engine.device import Device
from srcli.engine.weights import files
from srcli.errors import UsageError
from srcli.imaging.color import luma
from srcli.train.degrade import resize
from srcli.train.losses import Images

# Luma is an affine function: its value at black, and what each channel adds to it.
_OFFSET = float(luma(np.zeros(3)))
_WEIGHTS = luma(np.eye(3)) - _OFFSET


@dataclass(frozen=True)
class Teacher:
    """A network (N, C, h, w) -> (N, C, h*scale, w*scale) with fixed weights."""

    network: nn.Module
    channels: int
    pre_upsampled: bool

    def imitation_loss(self, images: Images, fed: Tensor) -> Tensor:
        """Compute mean |sr - teacher|, in luma if either has only that; `fed` is the student's input."""
        enlarged = fed.shape[2:] == images.hr.shape[2:] != images.lr.shape[2:]
        if enlarged != self.pre_upsampled:
            fed = resize(images.lr, *images.hr.shape[2:]) if self.pre_upsampled else images.lr
        with torch.no_grad():
            shown = self.network(convert_channels(fed, self.channels))
        channels = min(self.channels, images.sr.shape[1])
        return nn.functional.l1_loss(convert_channels(images.sr, channels), convert_channels(shown, channels))


def convert_channels(batch: Tensor, channels: int) -> Tensor:
    """Convert (N, 1, h, w) of luma to grey RGB, or (N, 3, h, w) of RGB to luma; or return it as it is."""
    if batch.shape[1] == channels:
        return batch
    if channels == 1:
        weights = torch.from_numpy(_WEIGHTS).to(batch)
        return torch.einsum("c,nchw->nhw", weights, batch)[:, None] + _OFFSET
    return ((batch - _OFFSET) / float(_WEIGHTS.sum())).expand(-1, 3, -1, -1)


def load_teacher(path: Path, scale: int, device: Device) -> Teacher:
    """Load a weight file as a teacher. Raises `UsageError` if it is not for this scale."""
    fitting = [spec for spec in files.identify_specs(path) if spec.scale == scale]
    if not fitting:
        raise UsageError(f"the teacher {path} is not for x{scale}", "use weights of the same scale")
    network = files.load_network(path, fitting[0]).eval().requires_grad_(requires_grad=False)
    placed: nn.Module = network.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pre_upsampled = archs.traits(fitting[0].arch).pre_upsampled
    return Teacher(placed, int(network.channels), pre_upsampled)  # type: ignore[arg-type]
