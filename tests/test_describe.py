"""Sizes read from the tensors of a file: each network finds its own configuration again."""

from typing import Any

import pytest
import torch

from srcli import archs
from srcli.archs import Spec
from srcli.engine.weights import identify

CASES: list[tuple[str, dict[str, Any]]] = [
    ("srvgg", {"convs": 10, "features": 24}),
    ("srvgg", {"channels": 1}),
    ("rrdbnet", {"blocks": 3, "features": 32, "growth": 16}),
    ("rrdbnet", {"channels": 1, "blocks": 2}),
    ("span", {"features": 28}),
    ("span", {"features": 28, "branches": False}),
    ("span", {"norm": False, "features": 48}),
    ("rlfn", {"features": 30, "blocks": 3}),
    ("rlfn", {"hidden": 20, "squeezed": 8}),
    ("imdn", {"blocks": 3, "features": 32}),
    ("imdn", {"attention": False, "blocks": 5}),
    ("edsr", {"blocks": 8, "features": 32}),
    ("edsr", {"blocks": 20, "features": 256, "res_scale": 0.1}),
    ("rcan", {"groups": 2, "blocks": 3, "features": 32}),
    ("srresnet", {"blocks": 4}),
    ("srresnet", {"bias": True, "blocks": 3, "features": 32}),
    ("msrresnet", {"blocks": 5, "features": 32}),
    (
        "swinir",
        {"features": 36, "groups": 2, "blocks": 3, "heads": 3, "window": 4, "ratio": 3, "end": "direct"},
    ),
    ("hat", {"features": 48, "groups": 2, "blocks": 2, "heads": 4, "window": 8, "squeeze": 12}),
    ("dat", {"features": 64, "groups": 2, "blocks": 4, "heads": 8, "ratio": 2}),
    ("omnisr", {"features": 32, "groups": 2, "blocks": 2, "window": 4}),
]


@pytest.mark.parametrize(("arch", "config"), CASES)
def test_a_size_that_no_list_has_is_read_from_the_tensors(arch: str, config: dict[str, Any]) -> None:
    assert config not in archs.variants(arch)
    for scale in {archs.traits(arch).weight_scales[0], archs.traits(arch).weight_scales[-1]}:
        spec = Spec(arch, scale, config)
        with torch.device("meta"):
            state = archs.build(arch, scale, config).state_dict()
        assert identify.find_exact(state, arch) == [spec]
        wrapped = {f"net._orig_mod.{key}": value for key, value in state.items()}
        assert identify.find_exact(wrapped, arch) == [spec]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"end": "residual", "groups": 2}, {}),
        ({"end": "residual", "groups": 2, "channels": 1}, {}),
        # The authors' networks against JPEG's traces, with windows of 7, take values up to 255.
        ({"end": "residual", "groups": 2, "window": 7}, {"values": "0..255 less mean"}),
        ({"end": "residual", "groups": 2, "window": 7, "channels": 1}, {"values": "0..255"}),
    ],
)
def test_networks_that_restore_at_the_same_size(config: dict[str, Any], found: dict[str, Any]) -> None:
    with torch.device("meta"):
        state = archs.build("swinir", 1, config).state_dict()
    assert identify.find_exact(state, "swinir") == [Spec("swinir", 1, config | found)]


def test_files_with_positions_tell_the_windows_of_dat() -> None:
    for split in ([8, 16], [8, 32]):
        config = {"features": 64, "groups": 1, "blocks": 2, "heads": 4, "split": split}
        state = archs.build("dat", 2, config).state_dict()
        steps = (torch.arange(1 - side, side) for side in split)
        state["layers.0.blocks.0.attn.attns.0.rpe_biases"] = torch.cartesian_prod(*steps).float()
        (spec,) = identify.find_exact(state, "dat")
        assert list(spec.config.get("split", (8, 32))) == split


def test_basicsr_names_of_edsr_and_rcan() -> None:
    """The names of https://github.com/XPixelGroup/BasicSR, with the tensors in its order."""
    edsr = archs.build("edsr", 4, {"blocks": 2, "features": 16}).state_dict()
    names = {
        "head.0": "conv_first",
        "body.0.body.0": "body.0.conv1",
        "body.0.body.2": "body.0.conv2",
        "body.1.body.0": "body.1.conv1",
        "body.1.body.2": "body.1.conv2",
        "body.2": "conv_after_body",
        "tail.0.0": "upsample.0",
        "tail.0.2": "upsample.2",
        "tail.1": "conv_last",
    }
    theirs = {names[key.rpartition(".")[0]] + "." + key.rpartition(".")[2]: edsr[key] for key in edsr}
    assert identify.find_exact(theirs) == [Spec("edsr", 4, {"blocks": 2, "features": 16})]
    renamed = archs.rename("edsr", theirs)
    assert all(renamed[key] is value for key, value in edsr.items())

    rcan = archs.build("rcan", 2, {"groups": 1, "blocks": 1, "features": 32}).state_dict()
    names = {
        "head.0": "conv_first",
        "body.0.body.0.body.0": "body.0.residual_group.0.rcab.0",
        "body.0.body.0.body.2": "body.0.residual_group.0.rcab.2",
        "body.0.body.0.body.3.conv_du.0": "body.0.residual_group.0.rcab.3.attention.1",
        "body.0.body.0.body.3.conv_du.2": "body.0.residual_group.0.rcab.3.attention.3",
        "body.0.body.1": "body.0.conv",
        "body.1": "conv_after_body",
        "tail.0.0": "upsample.0",
        "tail.1": "conv_last",
    }
    theirs = {names[key.rpartition(".")[0]] + "." + key.rpartition(".")[2]: rcan[key] for key in rcan}
    assert identify.find_exact(theirs) == [Spec("rcan", 2, {"groups": 1, "blocks": 1, "features": 32})]


@pytest.mark.parametrize("arch", archs.names())
def test_tensors_of_another_network_describe_nothing(arch: str) -> None:
    assert archs.describe(arch, {"a": torch.zeros(1)}) is None
