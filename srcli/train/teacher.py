"""Teachers: methods whose output is imitated, in RGB or luma, whatever the student's channels are.

A network of ours is a `Teacher`, which runs at each step; `pairs_store` makes the output of others ahead.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from srcli import archs, manifest
from srcli.engine.device import Device
from srcli.engine.weights import files, lut, ncnn, onnx
from srcli.errors import UsageError
from srcli.methods import WEIGHTLESS, check_model, resolve_name
from srcli.train.degrade import resize
from srcli.train.losses import Images
from srcli.train.luma import convert_channels


@dataclass(frozen=True)
class Teacher:
    """A network (N, C, h, w) -> (N, C, h*scale, w*scale) with fixed weights."""

    network: nn.Module
    channels: int
    pre_upsampled: bool

    @torch.no_grad()
    def upscale(self, images: Images, fed: Tensor) -> Tensor:
        """Return its output for `images.lr`, in its own channels; `fed` is the student's input."""
        enlarged = fed.shape[2:] == images.hr.shape[2:] != images.lr.shape[2:]
        if enlarged != self.pre_upsampled:
            fed = resize(images.lr, *images.hr.shape[2:]) if self.pre_upsampled else images.lr
        shown: Tensor = self.network(convert_channels(fed, self.channels))
        return shown


def imitation_loss(images: Images) -> Tensor:
    """Compute mean |sr - teacher|, in luma if either has only that."""
    assert images.teacher is not None
    channels = min(images.teacher.shape[1], images.sr.shape[1])
    sr, shown = (convert_channels(batch, channels) for batch in (images.sr, images.teacher))
    return nn.functional.l1_loss(sr, shown)


def replace_target(images: Images, target: str) -> Images:
    """Return the images with the target that a recipe names: `truth`, `teacher`, or the `mean` of both.

    Raises `UsageError` if a teacher of luma alone would have to give a target in RGB.
    """
    if images.teacher is None or target == "truth":
        return images
    if images.teacher.shape[1] < images.hr.shape[1]:
        raise UsageError("the teacher has luma only, the student RGB", "use --set target=truth")
    shown = convert_channels(images.teacher, images.hr.shape[1])
    return replace(images, hr=shown if target == "teacher" else (shown + images.hr) / 2)


def find_own_network(name: str, scale: int) -> Path | None:
    """Return the weight file of a teacher that is a network of ours; None for any other method.

    `name` is a file or a model of `sr models`. Raises `SrError` for what is neither, or not at hand.
    """
    path = Path(name)
    if path.exists():
        if path.is_dir() or ncnn.find_pair(path) or onnx.is_graph(path) or lut.is_table(path):
            return None
        return path if files.identify_specs(path) else None
    model = resolve_name(name)
    check_model(model, scale)
    entry = None if model in WEIGHTLESS else manifest.select_entry(manifest.find_entries(model), scale)
    if entry is None or entry.scale != scale:
        return None
    found = files.locate_weights(entry)
    return None if ncnn.find_pair(found) else found


def load_teacher(path: Path, scale: int, device: Device) -> Teacher:
    """Load a weight file as a teacher. Raises `UsageError` if it is not for this scale."""
    fitting = [spec for spec in files.identify_specs(path) if spec.scale == scale]
    if not fitting:
        raise UsageError(f"the teacher {path} is not for x{scale}", "use weights of the same scale")
    network = files.load_network(path, fitting[0]).eval().requires_grad_(requires_grad=False)
    placed: nn.Module = network.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pre_upsampled = archs.traits(fitting[0].arch).pre_upsampled
    return Teacher(placed, int(network.channels), pre_upsampled)  # type: ignore[arg-type]
