"""Convolutions by NNPACK: the same numbers, where a trial shows that they are faster."""

import numpy as np
import pytest
import torch
from torch import nn

from srcli import archs
from srcli.engine.device import Device
from srcli.engine.measurements import describe_machine
from srcli.engine.runtimes import winograd
from srcli.engine.runtimes.torch import prepare
from srcli.imaging.pixels import quantise

CPU = Device("cpu", "float32", "test")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 50), (47, 31)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_same_convolution(height: int, width: int, *, bias: bool) -> None:
    torch.manual_seed(0)
    conv, batch = nn.Conv2d(24, 40, 3, padding=1, bias=bias), torch.rand(2, 24, height, width)
    with torch.inference_mode():
        torch.testing.assert_close(winograd.Winograd(conv)(batch), conv(batch), atol=2e-5, rtol=1e-4)


def test_only_what_is_that_convolution_is_exchanged() -> None:
    others = [
        nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.Conv2d(8, 8, 5, padding=1), nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.ReLU(),
    ]  # fmt: skip
    assert not any(map(winograd._is_replaceable, others))
    assert winograd._is_replaceable(nn.Conv2d(8, 8, 3, padding=1))


def test_a_hastened_network_makes_the_same_image(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """At most one 8-bit level in a thousandth of the samples, as for every runtime."""
    torch.manual_seed(0)
    network = archs.build("edsr", 2, {"blocks": 2, "features": 32}).eval()
    count = sum(value.numel() for value in network.parameters())
    tile = rng.random((61, 40, 3), np.float32)
    plain = next(prepare(network, 2, CPU).run([tile]))
    monkeypatch.setattr(winograd, "_is_faster", lambda out, channels: out >= 32)
    monkeypatch.setattr(winograd, "_MIN_GAIN", 0)
    assert winograd.use_winograd(network, 3, "edsr")
    assert any(isinstance(part, winograd.Winograd) for part in network.modules())
    assert sum(value.numel() for value in network.parameters()) == count
    quick = next(prepare(network, 2, CPU, channels_last=False).run([tile]))
    steps = np.abs(quantise(quick) - quantise(plain))
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 1e-3


def test_where_nothing_is_won_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = archs.build("edsr", 2, {"blocks": 1, "features": 16}).eval()
    before = [type(part) for part in network.modules()]
    monkeypatch.setattr(winograd, "_MIN_GAIN", 1e9)
    assert not winograd.use_winograd(network, 3, "edsr")
    assert [type(part) for part in network.modules()] == before


def test_a_verdict_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    monkeypatch.setattr(winograd, "_try_layers", lambda *given: tried.append(1) or {})
    for _ in range(2):
        winograd.use_winograd(archs.build("edsr", 2, {"blocks": 1, "features": 16}), 3, "edsr")
    assert tried == [1]
    assert describe_machine()
