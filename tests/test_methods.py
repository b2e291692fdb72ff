"""Methods: any name, any scale, one kind of thing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srcli import archs, methods
from srcli.cli.app import run
from srcli.errors import UsageError
from srcli.imaging.resize import KERNELS
from srcli.methods.choice import ModelChoice


@pytest.mark.parametrize(
    ("scale", "chain"),
    [
        (2, (2,)),
        (3, (3,)),
        (4, (4,)),
        (1.5, (2,)),
        (2.5, (3,)),
        (5, (4,)),  # and resized: x3 x2 would cost ten times as much
        (6, (3, 2)),
        (9, (3, 3)),
        (17, (4, 4)),
        (8, (4, 2)),
        (16, (4, 4)),
        (32, (4, 4, 2)),
    ],
)
def test_scale_chain(scale: float, chain: tuple[int, ...]) -> None:
    assert sorted(methods.plan_scale_chain(scale, (2, 3, 4)), reverse=True) == sorted(chain, reverse=True)


@given(st.floats(1.01, 32), st.sets(st.integers(2, 4), min_size=1))
def test_a_chain_reaches_the_scale_with_no_step_too_many(scale: float, available: set[int]) -> None:
    chain = methods.plan_scale_chain(scale, tuple(available))
    assert set(chain) <= available
    product = np.prod(chain)
    assert product * 1.3 >= scale
    assert product // max(chain) < scale or len(chain) == 1


def test_networks_that_keep_the_size_are_for_scale_1_only() -> None:
    assert methods.plan_scale_chain(1, (1, 2)) == (1,)
    assert methods.plan_scale_chain(4, (1, 2)) == (2, 2)
    with pytest.raises(UsageError, match="-x1 needs a network that keeps the size"):
        methods.plan_scale_chain(1, (2, 4))
    with pytest.raises(UsageError, match="the network keeps the size"):
        methods.plan_scale_chain(2, (1,))


def test_the_scale_of_a_weight_file_is_its_default(tmp_path: Path) -> None:
    for scale in (1, 3):
        torch.save(archs.build("srvgg", scale, {"convs": 1}).state_dict(), tmp_path / f"{scale}.pth")
        assert methods.find_own_scale(tmp_path / f"{scale}.pth") == scale
    torch.save(archs.build("fsrcnn", 2).state_dict(), tmp_path / "any.pth")
    assert methods.find_own_scale(tmp_path / "any.pth") is None


def test_the_result_of_a_restoring_network_has_the_size_of_its_input(tmp_path: Path) -> None:
    network = archs.build("srvgg", 1, {"convs": 1})
    torch.save(network.state_dict(), tmp_path / "a.pth")
    Image.new("RGB", (20, 16), (90, 60, 30)).save(tmp_path / "in.png")
    args = [
        "upscale",
        str(tmp_path / "in.png"),
        "-w",
        str(tmp_path / "a.pth"),
        "-o",
        str(tmp_path / "out.png"),
    ]
    assert run(args) == 0
    out = np.asarray(Image.open(tmp_path / "out.png"))
    assert out.shape == (16, 20, 3)
    assert np.ptp(out) > 70, "the network ran"
    assert run([*args, "-x2", "--overwrite"]) == 2


def test_what_is_resized_after_the_networks_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (20, 16)).save(tmp_path / "in.png")
    out = str(tmp_path / "out.png")
    assert run(["upscale", str(tmp_path / "in.png"), "-x5", "-m", "fsrcnn", "-o", out]) == 0
    assert "20x16 -> 100x80  x4, then resized" in capsys.readouterr().out


@pytest.mark.parametrize("name", [*KERNELS, "fsrcnn"])
@pytest.mark.parametrize("scale", [2, 1.37, 3.5, 6])
def test_every_method_takes_any_scale(name: str, scale: float, rng: np.random.Generator) -> None:
    pixels = rng.random((13, 17, 3), np.float32)
    out = methods.load_method(name, scale)(pixels, scale)
    assert out.shape == (*methods.compute_output_size(pixels, scale), 3)
    assert out.dtype == np.float32


@pytest.mark.parametrize("scale", [0, -2, 1, 33, float("nan"), float("inf")])
def test_impossible_scales(scale: float) -> None:
    with pytest.raises(UsageError, match="cannot upscale by"):
        methods.load_method("bicubic", scale)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("RealESRGAN_x4plus", "realesrgan"),
        ("realesrgan-x4plus", "realesrgan"),
        ("realesrgan-x4", "realesrgan"),
        ("RealESRGAN_x4plus_anime_6B", "realesrgan-anime"),
        ("realesrgan-x4plus-anime", "realesrgan-anime"),
        ("realesr-animevideov3", "realesr-animevideo"),
        ("4x-UltraSharp", "ultrasharp"),
        ("ultrasharp-4x", "ultrasharp"),
        ("4x_foolhardy_Remacri", "remacri"),
        ("EDSR", "edsr"),
        ("Bicubic", "bicubic"),
        ("rcan", "rcan"),
        ("nonsense", "nonsense"),
    ],
)
def test_names_of_other_programs_are_understood(name: str, model: str) -> None:
    assert methods.resolve_name(name) == model
    assert ModelChoice(name).label == model


def test_every_name_means_itself() -> None:
    for name in (*methods.list_models(), *archs.names()):
        assert methods.resolve_name(name) == name


def test_a_slip_of_the_pen_gets_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        methods.load_method("bicubik", 2)
    assert "did you mean 'bicubic'" in caught.value.hint
