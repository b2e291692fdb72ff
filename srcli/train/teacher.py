"""Teachers: networks whose output is imitated, in RGB or luma, whatever the student's channels are."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from srcli import archs
from srcli.engine.device import Device
from srcli.engine.weights import files
from srcli.errors import UsageError
from srcli.train.degrade import resize
from srcli.train.losses import Images
from srcli.train.luma import convert_channels


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


def load_teacher(path: Path, scale: int, device: Device) -> Teacher:
    """Load a weight file as a teacher. Raises `UsageError` if it is not for this scale."""
    fitting = [spec for spec in files.identify_specs(path) if spec.scale == scale]
    if not fitting:
        raise UsageError(f"the teacher {path} is not for x{scale}", "use weights of the same scale")
    network = files.load_network(path, fitting[0]).eval().requires_grad_(requires_grad=False)
    placed: nn.Module = network.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pre_upsampled = archs.traits(fitting[0].arch).pre_upsampled
    return Teacher(placed, int(network.channels), pre_upsampled)  # type: ignore[arg-type]
