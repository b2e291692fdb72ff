"""Files with BasicSR's names: loaded into our networks, they compute what modules built as BasicSR's do.

Modules written for these tests after https://github.com/XPixelGroup/BasicSR, which share no code with sr.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Spec
from srcli.engine.weights import files, identify


def conv(inputs: int, outputs: int, side: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, 1, side // 2)


class Attention(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        small = features // 16
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            conv(features, small, 1),
            nn.ReLU(),
            conv(small, features, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)


class AttentionBlock(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.rcab = nn.Sequential(
            conv(features, features), nn.ReLU(), conv(features, features), Attention(features)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.rcab(x) + x


class Group(nn.Module):
    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.residual_group = nn.Sequential(*(AttentionBlock(features) for _ in range(blocks)))
        self.conv = conv(features, features)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.residual_group(x)) + x


class RCAN(nn.Module):
    def __init__(self, scale: int, features: int, groups: int, blocks: int) -> None:
        super().__init__()
        self.conv_first = conv(3, features)
        self.body = nn.Sequential(*(Group(features, blocks) for _ in range(groups)))
        self.conv_after_body = conv(features, features)
        steps = {2: [2], 3: [3], 4: [2, 2]}[scale]
        pairs = [(conv(features, step * step * features), nn.PixelShuffle(step)) for step in steps]
        self.upsample = nn.Sequential(*(part for pair in pairs for part in pair))
        self.conv_last = conv(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)
        x = self.conv_first((x - mean) * 255)
        x = self.conv_after_body(self.body(x)) + x
        return self.conv_last(self.upsample(x)) / 255 + mean


class PlainBlock(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(features, features), conv(features, features)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.conv1(x)))


class MSRResNet(nn.Module):
    def __init__(self, scale: int, features: int, blocks: int) -> None:
        super().__init__()
        self.scale, step = scale, 2 if scale == 4 else scale
        self.conv_first = conv(3, features)
        self.body = nn.Sequential(*(PlainBlock(features) for _ in range(blocks)))
        self.upconv1 = conv(features, features * step * step)
        if scale == 4:
            self.upconv2 = conv(features, features * 4)
        self.pixel_shuffle = nn.PixelShuffle(step)
        self.conv_hr, self.conv_last = conv(features, features), conv(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(F.leaky_relu(self.conv_first(x), 0.1))
        out = F.leaky_relu(self.pixel_shuffle(self.upconv1(out)), 0.1)
        if self.scale == 4:
            out = F.leaky_relu(self.pixel_shuffle(self.upconv2(out)), 0.1)
        out = self.conv_last(F.leaky_relu(self.conv_hr(out), 0.1))
        return out + F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)


def check(theirs: nn.Module, spec: Spec, folder: Path) -> None:
    """Save a module's weights as BasicSR does, load them as `-w` does, and compare the results."""
    torch.save({"params_ema": theirs.state_dict()}, folder / "net.pth")
    (found,) = identify.find_exact(files.read_state(folder / "net.pth"))
    assert found == spec
    ours = files.load_network(folder / "net.pth", found).eval()
    batch = torch.rand(1, 3, 21, 26)
    with torch.inference_mode():
        assert torch.allclose(ours(batch), theirs.eval()(batch), atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_rcan(scale: int, tmp_path: Path) -> None:
    torch.manual_seed(scale)
    spec = Spec("rcan", scale, {"groups": 2, "blocks": 3, "features": 32})
    check(RCAN(scale, 32, 2, 3), spec, tmp_path)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_msrresnet(scale: int, tmp_path: Path) -> None:
    torch.manual_seed(scale)
    check(MSRResNet(scale, 16, 3), Spec("msrresnet", scale, {"blocks": 3, "features": 16}), tmp_path)
