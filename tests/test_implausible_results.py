"""Networks that return no picture: an error of that image on every runtime."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from srcli import archs, methods
from srcli.cli.app import run
from srcli.engine.device import Device
from srcli.engine.runtimes import torch as torch_runtime
from srcli.engine.runtimes.base import ImplausibleResult
from srcli.engine.weights import files
from srcli.errors import ExitCode, WeightsError
from srcli.methods import MethodOptions

PIXELS = np.full((20, 24, 3), 0.5, np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    state = archs.build("espcn", 2).state_dict()
    state["conv_2.bias"][3] = value
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"not finite: conv_2\.bias"):
        methods.load_method_file(tmp_path / "a.pth", 2)


@pytest.mark.parametrize("runtime", ["torch", "ncnn"])
def test_what_is_no_picture_is_an_error(runtime: str, tmp_path: Path) -> None:
    if runtime == "ncnn":
        pytest.importorskip("ncnn")
    state = {key: torch.zeros_like(value) for key, value in archs.build("espcn", 2).state_dict().items()}
    state["conv_3.bias"] += 2_000_000
    torch.save(state, tmp_path / "a.pth")
    method = methods.load_method_file(tmp_path / "a.pth", 2, MethodOptions(runtime=runtime))
    with pytest.raises(ImplausibleResult, match=r"values up to 2e\+06"):
        method(PIXELS, 2)


def test_what_is_rounded_on_the_device_is_checked_there() -> None:
    network = archs.build("espcn", 2)
    runtime = replace(torch_runtime.prepare(network, 2, Device("cpu", "float32", "")), returns_uint8=True)
    tile = PIXELS[..., :1]
    assert next(runtime.run([tile])).dtype == np.uint8
    with torch.no_grad():
        network.conv_3.bias.fill_(math.nan)  # type: ignore[union-attr]
    with pytest.raises(ImplausibleResult):
        next(runtime.run([tile]))


def test_a_network_of_any_scale_is_checked_too() -> None:
    network = archs.build("liif", 0, archs.facts("liif").small)
    with torch.no_grad():
        list(network.parameters())[-1].fill_(1e30)
    upscaler = methods.build_upscaler(network, archs.Spec("liif", 0), MethodOptions(device="cpu"))
    with pytest.raises(ImplausibleResult):
        upscaler(PIXELS, (40, 48))


@pytest.mark.usefixtures("in_tmp")
def test_only_that_image_fails_and_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that overflow where a pixel is not black."""
    network = archs.build("srvgg", 2, {"convs": 1, "features": 4})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
            if parameter.ndim == 4:
                parameter[0, 0, 1, 1] = 1e20
    spec = archs.Spec("srvgg", 2, {"convs": 1, "features": 4})
    files.save_network(Path("a.safetensors"), network, spec, {})
    for name, level in {"black": 0, "grey": 90, "also black": 0}.items():
        Image.new("RGB", (20, 16), (level,) * 3).save(f"{name}.png")
    code = run(
        ["upscale", "black.png", "grey.png", "also black.png", "-x2", "-w", "a.safetensors", "-o", "out"]
    )
    assert code == ExitCode.PARTLY
    assert "instead of colours" in capsys.readouterr().err
    assert sorted(path.name for path in Path("out").iterdir()) == ["also black_x2.png", "black_x2.png"]
