"""Every network, by being in the folder: parameters, receptive field, and tiling that changes nothing."""

import json
import os
import pickletools
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from helpers.networks import CPU, MEMBERS, SMALL, build_random
from helpers.paths import ROOT, SAMPLES
from srcli import archs
from srcli.archs import lapar, san
from srcli.archs.blocks import GlobalStats, make_bicubic_kernel, non_local_attention, pool_stats
from srcli.engine.device import Device
from srcli.engine.runtimes.base import OutOfMemory
from srcli.engine.runtimes.torch import TorchRuntime, prepare
from srcli.engine.tiles import DEFAULT_TILE
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights import identify
from srcli.errors import UsageError
from srcli.imaging.image import read_image
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import Pixels
from srcli.imaging.resize import resize

COUNTS = [(arch, count) for arch in archs.names() for count in archs.facts(arch).counts]

LOCAL = [(arch, scale) for arch, scale in MEMBERS if archs.traits(arch).local]
# One scale of each: random sizes at every scale would take minutes.
FIRST = list({arch: (arch, scale) for arch, scale in reversed(LOCAL)}.values())
# The upscaling at the end does not matter here: one scale is enough.
GLOBAL = [(arch, archs.traits(arch).scales[0]) for arch in archs.names() if not archs.traits(arch).local]


@cache
def upscaler(arch: str, scale: int, tile: int = 512, **options: bool) -> Upscaler:
    torch.manual_seed(0)
    runtime = prepare(build_random(arch, scale), 1 if archs.traits(arch).pre_upsampled else scale, CPU)
    return Upscaler(runtime, scale, tile, **options)


@pytest.mark.parametrize(("arch", "count"), COUNTS)
def test_parameters_are_the_papers(arch: str, count: archs.Count) -> None:
    with torch.device("meta"):
        network = archs.build(arch, count.scale, count.config)
    assert sum(weight.numel() for weight in network.parameters()) == count.parameters


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "scale"), LOCAL)
def test_halo_is_the_receptive_field(arch: str, scale: int) -> None:
    """A change outside the halo changes nothing; the halo is at most two pixels wider than necessary.

    Networks that pack squares of pixels are tried at each place in a square, at the other scales at two.
    """
    network = build_random(arch, scale).double().eval()
    step = 1 if archs.traits(arch).pre_upsampled else scale
    halo = int(network.halo)
    start = halo + 4
    square = alignment(network)
    offsets = set(range(square)) if (arch, scale) in FIRST else {0, square - 1}
    reach = max(reach_of(network, start + offset, step, 2 * start + 1) for offset in offsets)
    assert reach <= halo
    if len(offsets) == square:
        assert halo - 2 <= reach


def alignment(network: torch.nn.Module) -> int:
    """Networks that pack squares of pixels are the same function only at steps of a square."""
    return int(getattr(network, "alignment", 1))


def reach_of(network: torch.nn.Module, place: int, step: int, side: int) -> int:
    """How far from input pixel (`place`, `place`) its output still depends on the input."""
    batch = torch.rand(1, int(network.channels), side, side, dtype=torch.float64, requires_grad=True)
    own = slice(place * step, (place + 1) * step)
    (gradient,) = torch.autograd.grad(network(batch)[..., own, own].sum(), batch)
    rows = gradient.abs().amax(dim=(0, 1, 3)).nonzero()
    return int((rows - place).abs().max())


@pytest.mark.parametrize(("arch", "scale"), LOCAL)
def test_networks_are_the_same_everywhere(arch: str, scale: int) -> None:
    """What is cut off at a place where tiles may begin changes only what is within the halo of the cut."""
    network = build_random(arch, scale).double().eval()
    step = 1 if archs.traits(arch).pre_upsampled else scale
    halo, cut = int(network.halo), 3 * alignment(network)
    batch = torch.rand(1, int(network.channels), 2 * halo + cut + 6, 2 * halo + cut + 9, dtype=torch.float64)
    with torch.no_grad():
        whole, part = network(batch), network(batch[..., cut:, cut:])
    assert whole.shape[2:] == (batch.shape[2] * step, batch.shape[3] * step)
    far = (..., slice((cut + halo) * step, None), slice((cut + halo) * step, None))
    near = (..., slice(halo * step, None), slice(halo * step, None))
    torch.testing.assert_close(part[near], whole[far])


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "scale"), GLOBAL)
@pytest.mark.parametrize("sides", [(200, 600), (83, 521)])
def test_tiled_is_close_to_whole_where_the_whole_image_counts(
    arch: str, scale: int, sides: tuple[int, int]
) -> None:
    pixels = read_image(SAMPLES / "coffee.png").pixels[: sides[0], : sides[1]]
    whole, tiled = (upscaler(arch, scale, tile)(pixels) for tile in (1024, DEFAULT_TILE))
    assert psnr(tiled, whole) >= 50


class Centred(torch.nn.Module):
    """Colours less their mean over the image, by their deviation."""

    channels, halo = 3, 0

    def __init__(self) -> None:
        super().__init__()
        self.moments = GlobalStats(variances=True)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        mean, variance = self.moments(batch)
        out: torch.Tensor = (batch - mean) / variance.sqrt()
        return out


def test_tiles_are_told_the_moments_of_the_whole_image(rng: np.random.Generator) -> None:
    pixels = rng.random((70, 90, 3), np.float32) + np.linspace(0, 2, 90, dtype=np.float32)[:, None]
    told: list[tuple[int, int]] = []
    method = Upscaler(prepare(Centred(), 1, CPU), 1, 40, progress=lambda *shares: told.append(shares))
    whole = (pixels - pixels.mean((0, 1))) / pixels.std((0, 1))
    np.testing.assert_allclose(method(pixels), whole, atol=1e-4)
    assert told == [(done, 12) for done in range(1, 13)]
    runtime = upscaler("edsr", 2).runtime
    assert runtime.with_global_stats(iter(())) is runtime


@pytest.mark.parametrize("variances", [False, True])
def test_moments_of_parts_are_pooled_to_those_of_the_whole(variances: bool) -> None:
    batch = torch.rand(2, 3, 7, 30, dtype=torch.float64)
    parts = batch.split((4, 9, 17), dim=3)
    moments = GlobalStats(variances)
    torch.testing.assert_close(
        pool_stats([part[0, 0].numel() for part in parts], [moments(part) for part in parts]), moments(batch)
    )


@pytest.mark.parametrize(("arch", "scale"), FIRST)
@settings(max_examples=10, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), tile=st.integers(5, 80))
def test_tiled_equals_whole(arch: str, scale: int, height: int, width: int, tile: int) -> None:
    check_tiled_equals_whole(arch, scale, height, width, tile)


@pytest.mark.parametrize(("height", "width", "tile"), [(1, 1, 5), (61, 37, 16)])
@pytest.mark.parametrize(("arch", "scale"), LOCAL)
def test_tiled_equals_whole_at_every_scale(arch: str, scale: int, height: int, width: int, tile: int) -> None:
    check_tiled_equals_whole(arch, scale, height, width, tile)


def check_tiled_equals_whole(arch: str, scale: int, height: int, width: int, tile: int) -> None:
    pixels = np.random.default_rng(height * 71 + width).random((height, width, 3), np.float32)
    whole = upscaler(arch, scale)(pixels)
    assert whole.shape == (height * scale, width * scale, 3)
    assert np.abs(whole).max() < 100
    np.testing.assert_allclose(upscaler(arch, scale, tile)(pixels), whole, atol=1e-5)


@pytest.mark.parametrize("arch", archs.names())
def test_self_ensemble_commutes_with_turning(arch: str, rng: np.random.Generator) -> None:
    pixels = rng.random((9, 12, 3), np.float32)
    method = upscaler(arch, 2, self_ensemble=True)
    turned = np.rot90(method(np.rot90(pixels)), -1)
    np.testing.assert_allclose(turned, method(pixels), atol=2e-5)


@pytest.mark.parametrize("arch", archs.names())
def test_luma_networks_keep_grey_grey(arch: str, rng: np.random.Generator) -> None:
    method = upscaler(arch, archs.traits(arch).scales[-1])
    if method.runtime.info.channels != 1:
        pytest.skip("an RGB network")
    out = method(np.repeat(rng.random((8, 8, 1), np.float32), 3, axis=2))
    np.testing.assert_array_equal(out[..., 0], out[..., 1])
    np.testing.assert_array_equal(out[..., 0], out[..., 2])


# The keys of all networks in all public configurations, without their numbers: building them takes minutes.
PATTERNS: dict[str, list[str]] = json.loads(identify.KEYS.read_text())


def state_of(arch: str) -> dict[str, torch.Tensor]:
    """Return tensors with the keys of a network and no more than their number of axes."""
    keys = [pattern.replace("#", "2") for pattern in PATTERNS.get(arch, [])]
    return {key: torch.zeros((1,) * (1 if key.endswith("bias") else 4)) for key in keys}


@pytest.mark.parametrize("arch", archs.names())
def test_renaming_leaves_own_keys_and_takes_any_others(arch: str) -> None:
    with torch.device("meta"):
        network = archs.build(arch, archs.traits(arch).scales[0], archs.facts(arch).small)
    own = network.state_dict()
    assert archs.rename(arch, own) == own
    # Patterns are of all configurations at once, of which some drop what others need.
    assert archs.rename(arch, state_of(arch)).keys() <= state_of(arch).keys()
    for other in PATTERNS:
        archs.rename(arch, state_of(other))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_fsrcnn_is_the_transposed_convolution_of_its_paper(scale: int) -> None:
    network = build_random("fsrcnn", scale).double()
    batch = torch.rand(2, 1, 7, 9, dtype=torch.float64)
    features = network.mid_part(network.first_part(batch))  # type: ignore[operator]
    torch.testing.assert_close(network(batch), network.last_part(features))  # type: ignore[operator]


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("residual", ["nearest", "bicubic"])
def test_ecbsr_deployed_is_the_sum_of_its_branches(residual: str, identity: bool) -> None:
    """Each branch run as the paper draws it: 1x1, padded with its bias, then 3x3 or an edge filter."""
    config = {"residual": residual, "identity": identity, "blocks": 2, "features": 4}
    network = archs.build("ecbsr", 3, config).double()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    for block in network.backbone:  # type: ignore[union-attr]
        batch = torch.rand(2, block.conv3x3.in_channels, 6, 5, dtype=torch.float64)
        total = block.conv3x3(batch) + (batch if block.identity else 0)
        for name in ("sbx", "sby", "lpl"):
            branch = getattr(block, f"conv1x1_{name}")
            wide = padded_with(F.conv2d(batch, branch.k0, branch.b0), branch.b0)
            kernel = branch.scale * branch.mask
            total = total + F.conv2d(wide, kernel, branch.bias, groups=len(kernel))
        branch = block.conv1x1_3x3
        wide = padded_with(F.conv2d(batch, branch.k0, branch.b0), branch.b0)
        total = total + F.conv2d(wide, branch.k1, branch.b1)
        torch.testing.assert_close(F.conv2d(batch, *block.merge(), padding=1), total)
    plain, plain_config = archs.deploy("ecbsr", 3, config, network)
    batch = torch.rand(1, 1, 7, 9)
    torch.testing.assert_close(plain(batch), network.float()(batch))
    again = archs.build("ecbsr", 3, plain_config)
    again.load_state_dict(plain.state_dict())
    torch.testing.assert_close(again(batch), plain(batch))


@pytest.mark.parametrize("config", [{}, {"branches": False}])
def test_span_deployed_is_its_convolutions_in_a_row(config: dict[str, bool]) -> None:
    """Each merged layer run as the authors draw it: padded once, then 1x1, 3x3 and 1x1 beside a 1x1."""
    network = archs.build("span", 2, {"features": 4, **config}).double().eval()
    batch = torch.rand(1, 3, 7, 9, dtype=torch.float64)
    layer: Any = network.conv_1
    if layer.branches:
        first, middle, last = layer.conv
        middle = F.conv2d(first(F.pad(batch, (1, 1, 1, 1))), middle.weight, middle.bias)
        torch.testing.assert_close(layer(batch), last(middle) + layer.sk(batch))
    plain, plain_config = archs.deploy("span", 2, {"features": 4, **config}, network.float())
    torch.testing.assert_close(plain(batch.float()), network(batch.float()))
    assert plain_config == {"features": 4, "branches": False}


@pytest.mark.parametrize("model", ["B", "C"])
def test_falsr_cells_see_as_far_as_they_say(model: str) -> None:
    network = build_random("falsr", 2, {"model": model, "features": 32}).double().eval()
    for weight in network.parameters():
        weight.data.abs_()  # or a corner's one way through five rectifiers is closed somewhere
    halo = int(network.halo)  # type: ignore[arg-type]
    reach = reach_of(network, halo + 4, 2, 2 * halo + 9)
    assert halo - 2 <= reach <= halo


def test_falsr_takes_the_names_of_the_authors_graphs() -> None:
    own = archs.build("falsr", 2, {"model": "B"}).state_dict()
    of_head = {"n32s1.c.kernel": "head.weight", "n32s1.2.0.bias": "fusion.bias", "yout.kernel": "yout.weight"}
    of_cells = {
        "cell0.invertBotConE2_f16_k3_b1_isskip_conv_supple.kernel": "cells.0.enter.weight",
        "cell3.invertBotConE2_f32_k3_b4_noskip_b3_conv_1.kernel": "cells.3.body.3.widen.weight",
        "cell1.invertBotConE2_f48_k1_b2_isskip_b1depth_wise.W_depthwise2d": "cells.1.body.1.depth.weight",
        "cell1.invertBotConE2_f48_k1_b2_isskip_b1depth_wise.b_depthwise2d": "cells.1.body.1.depth.bias",
        "cell1.invertBotConE2_f48_k1_b2_isskip_b0_conv_2.bias": "cells.1.body.0.narrow.bias",
        "cell5.groupConG4_f16_k3_b4_noskip_b2.W": "cells.5.2.weight",
        "cell5.groupConG4_f16_k3_b4_noskip_b2.b": "cells.5.2.bias",
        "cell6.conv_f16_k3_b1_isskip_b0.kernel": "cells.6.0.weight",
    }
    for theirs, ours in (of_head | of_cells).items():
        turned = (2, 3, 0, 1) if "depthwise2d" in theirs else (2, 3, 1, 0)
        value = own[ours].permute(turned) if own[ours].ndim == 4 else own[ours]
        ((name, renamed),) = archs.rename("falsr", {f"test_sr_evaluator_i1_b0_g.{theirs}": value}).items()
        assert name == ours
        torch.testing.assert_close(renamed, own[ours])


def test_lapar_dictionary_is_the_authors(shared: Path) -> None:
    """Their file is a pickle: its one block of bytes is taken out without running it."""
    operations = pickletools.genops((shared / "weights" / "lapar-kernel-dictionary-72x5x5.pkl").read_bytes())
    (block,) = (value for operation, value, _ in operations if operation.name == "BINBYTES")
    theirs = torch.frombuffer(bytearray(block), dtype=torch.float64).view(72, 5, 5)
    torch.testing.assert_close(lapar.build_dictionary(), theirs, atol=1e-15, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lapar_is_the_mixture_of_what_its_kernels_give(scale: int) -> None:
    """As the paper has it: every kernel over the bicubic enlargement, then a weighted sum for each pixel."""
    network: Any = build_random("lapar", scale).double().eval()
    batch = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    enlarged = F.interpolate(batch, scale_factor=scale, mode="bicubic").flatten(0, 1)[:, None]
    filtered = F.conv2d(F.pad(enlarged, (2, 2, 2, 2), mode="reflect"), network.decom_conv.weight)
    coefficients = network.w_conv(network.shift.enter(batch))
    mixed = (coefficients[:, None] * filtered.unflatten(0, (2, 3))).sum(2)
    torch.testing.assert_close(network(batch), mixed)


def test_lapar_deployed_has_the_same_kernels() -> None:
    network = build_random("lapar", 2).eval()
    plain, plain_config = archs.deploy("lapar", 2, SMALL["lapar"], network)
    batch = torch.rand(1, 3, 7, 9)
    torch.testing.assert_close(plain(batch), network(batch))
    assert plain_config == {**SMALL["lapar"], "normed": False}
    kernels = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv2d(3, 8, 3))
    layer: Any = network.w_conv.head[0]  # type: ignore[union-attr, index]
    kernels.parametrizations.weight.original0.data = layer.weight_g.data
    kernels.parametrizations.weight.original1.data = layer.weight_v.data
    torch.testing.assert_close(layer.merge(), kernels.weight)


def padded_with(batch: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    padded = bias[:, None, None].repeat(len(batch), 1, batch.shape[2] + 2, batch.shape[3] + 2)
    padded[:, :, 1:-1, 1:-1] = batch
    return padded


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_phases_are_the_papers_resize(scale: int, rng: np.random.Generator) -> None:
    pixels = rng.random((9, 12, 1), np.float32)
    padded = F.pad(torch.from_numpy(pixels[None, ..., 0]), (2, 2, 2, 2), mode="replicate")[None]
    ours = F.pixel_shuffle(F.conv2d(padded, make_bicubic_kernel(scale)), scale)[0, 0].numpy()
    inner = slice(3 * scale, -3 * scale)
    theirs = resize(pixels, 9 * scale, 12 * scale)[..., 0]
    np.testing.assert_allclose(ours[inner, inner], theirs[inner, inner], atol=1e-5)


def test_bsrn_s_takes_matrices_for_its_convolutions() -> None:
    """As its authors' file has them: linear layers over the channels, and no list of blocks."""
    config = {"blocks": 2, "features": 16, "lean": True}
    state = archs.build("bsrn", 4, config).state_dict()
    published = {
        key.replace("B.0.", "B1.").replace("B.1.", "B2."): value[..., 0, 0]
        if value.shape[2:] == (1, 1) and ".pw." not in key
        else value
        for key, value in state.items()
    }
    renamed = archs.rename("bsrn", published)
    assert renamed.keys() == state.keys()
    assert all(renamed[key].shape == state[key].shape for key in state)


def test_non_local_is_the_softmax_of_all_pairs() -> None:
    queries, keys, values = (torch.randn(2, 5, *size) for size in ((4, 6), (3, 2), (3, 2)))
    weights = torch.einsum("nchw,ncij->nhwij", queries, keys).flatten(3).softmax(3)
    expected = torch.einsum("nhwk,nck->nchw", weights, values.flatten(2))
    torch.testing.assert_close(non_local_attention(queries, keys, values), expected)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_superresnet_begins_with_a_bilinear_enlargement(scale: int) -> None:
    network: Any = archs.build("superresnet", scale, SMALL["superresnet"])
    torch.nn.init.zeros_(network.reconstruct.weight)
    batch = torch.rand(2, 3, 7, 9)
    expected = F.interpolate(batch, scale_factor=scale, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(batch), expected)


def test_san_takes_the_root_of_covariances() -> None:
    """Near where the eigenvalues are alike: the authors' five steps have not yet brought up small ones."""
    turn = torch.linalg.qr(torch.randn(1, 6, 6, dtype=torch.float64))[0]
    values = torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0, 4.0], dtype=torch.float64)
    root = san._root(turn * values @ turn.mT)
    torch.testing.assert_close(root @ root, turn * values @ turn.mT, rtol=1e-2, atol=1e-2)
    batch = torch.rand(2, 3, 5, 7)
    own = torch.stack([torch.cov(image.flatten(1), correction=0) for image in batch])
    torch.testing.assert_close(san._covariance(batch), own)
    flat = torch.full((1, 16, 5, 7), 0.5, requires_grad=True)
    san._SecondOrder(16)(flat).sum().backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_san_takes_the_authors_names() -> None:
    ours = archs.build("san", 2, SMALL["san"]).state_dict()
    wrapped = {"non_local.g.": "non_local.g.0.", "non_local.phi.": "non_local.phi.0."}
    theirs = {}
    for key, value in ours.items():
        name = next((key.replace(old, new) for old, new in wrapped.items() if old in key), key)
        theirs[f"non_local.{name}" if name.startswith("non_local.") else name] = value
    unused = ("sub_mean.weight", "conv_last.weight", "RG.1.gamma", "non_local.soca.conv_du.0.bias")
    assert archs.rename("san", theirs | dict.fromkeys(unused, torch.zeros(1))) == ours


@pytest.mark.parametrize("sides", [(1, 1), (1, 7), (3, 2), (400, 5)])
def test_attention_in_parts_takes_any_size(sides: tuple[int, int]) -> None:
    for arch in ("san", "csnln"):
        out = build_random(arch, 3).eval()(torch.rand(1, 3, *sides))
        assert out.shape == (1, 3, 3 * sides[0], 3 * sides[1])
        assert torch.isfinite(out).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_csnln_is_undivided_up_to_its_cell(scale: int) -> None:
    network: Any = archs.build("csnln", scale, {**SMALL["csnln"], "cell": 12}).eval()
    batch = torch.rand(2, 3, 6, 12)
    torch.testing.assert_close(network(batch), network._restore(batch))
    # The second cell is seen with as much of the first as lies within the overlap.
    wide = torch.rand(1, 3, 12, 24)
    torch.testing.assert_close(
        network(wide)[..., 12 * scale :], network._restore(wide[..., 6:])[..., 6 * scale :]
    )


def test_cran_has_kernels_for_each_image_alone() -> None:
    network = build_random("cran", 2).eval()
    batch = torch.rand(3, 3, 9, 11)
    alone = torch.cat([network(image[None]) for image in batch])
    torch.testing.assert_close(network(batch), alone, atol=1e-5, rtol=1e-4)


OLD_ESRGAN = {
    "conv_first": "model.0",
    "conv_body": "model.1.sub.1",
    "body.0.rdb2.conv3": "model.1.sub.0.RDB2.conv3.0",
    "conv_up1": "model.3",
    "conv_up2": "model.6",
    "conv_hr": "model.8",
    "conv_last": "model.10",
}
BSRGAN = {
    "conv_first": "conv_first",
    "conv_body": "trunk_conv",
    "body.0.rdb2.conv3": "RRDB_trunk.0.RDB2.conv3",
    "conv_up1": "upconv1",
    "conv_up2": "upconv2",
    "conv_hr": "HRconv",
    "conv_last": "conv_last",
}


@pytest.mark.parametrize("names", [OLD_ESRGAN, BSRGAN])
def test_rrdbnet_takes_the_names_of_older_files(names: dict[str, str]) -> None:
    published = {f"{old}.{kind}": (new, kind) for new, old in names.items() for kind in ("weight", "bias")}
    assert archs.rename("rrdbnet", published) == {
        f"{new}.{kind}": (new, kind) for new, kind in published.values()
    }
    own = archs.build("rrdbnet", 4, {**SMALL["rrdbnet"]}).state_dict()
    assert set(archs.rename("rrdbnet", published)) <= set(own)


def test_old_esrgan_at_other_scales_has_fewer_layers() -> None:
    for scale, numbers in ((1, (0, 2, 4)), (2, (0, 3, 5, 7))):
        config = {**SMALL["rrdbnet"], "unshuffle": False}
        own = archs.build("rrdbnet", scale, config).state_dict()
        published = {f"model.{number}.bias": number for number in numbers} | {"model.1.sub.1.bias": 1}
        assert set(archs.rename("rrdbnet", published)) == {
            key for key in own if key.startswith("conv") and "bias" in key
        }


def test_mdsr_counts_scales_as_the_authors_do() -> None:
    ours = archs.build("mdsr", 3, {**SMALL["mdsr"], "tails": [2, 3, 4]}).state_dict()
    theirs = {}
    for key, value in ours.items():
        part, number, rest = key.split(".", 2)
        scaled = part in ("pre_process", "upsample")
        theirs[f"{part}.{int(number) - 2}.{rest}" if scaled else key] = value
    theirs["sub_mean.weight"] = theirs["add_mean.bias"] = torch.zeros(1)
    renamed = archs.rename("mdsr", theirs)
    assert {key: value.shape for key, value in renamed.items()} == {key: v.shape for key, v in ours.items()}


def test_out_of_memory_is_answered_by_smaller_tiles(rng: np.random.Generator) -> None:
    class Small(TorchRuntime):
        def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
            for tile in tiles:
                if tile.shape[0] > 60:
                    raise OutOfMemory("full")
                yield from super().run([tile])

    whole = upscaler("fsrcnn", 2)
    small = Small(**vars(whole.runtime))
    pixels = rng.random((150, 40, 3), np.float32)
    np.testing.assert_allclose(Upscaler(small, 2)(pixels), whole(pixels), atol=1e-5)
    never = Upscaler(Small(**vars(prepare(archs.build("edsr", 2), 2, CPU))), 2)
    with pytest.raises(OutOfMemory):
        never(rng.random((200, 40, 3), np.float32))


def test_half_precision_that_overflows_is_rerun_in_single() -> None:
    network = build_random("espcn", 2).eval()
    runtime = prepare(network, 2, Device("cpu", "float16", "test"))
    tile = np.full((8, 8, 1), 0.5, np.float32)
    near = next(runtime.run([tile]))
    exact = next(prepare(network, 2, CPU).run([tile]))
    assert 0 < np.abs(near - exact).max() < 0.1
    with torch.no_grad():
        network.conv_3.bias += 1e6  # type: ignore[operator]
    again = next(runtime.run([tile]))
    np.testing.assert_array_equal(again, next(prepare(network, 2, CPU).run([tile])))


def test_unknown_networks_and_scales_are_named() -> None:
    with pytest.raises(UsageError, match="no network called 'nope'"):
        archs.build("nope", 2)
    with pytest.raises(UsageError, match="cannot be built for x7"):
        archs.build("fsrcnn", 7)
    with pytest.raises(UsageError, match="unexpected keyword argument 'colour'"):
        archs.build("fsrcnn", 2, {"colour": 1})
    with pytest.raises(UsageError, match="there is no FALSR-D"):
        archs.build("falsr", 2, {"model": "D"})


@pytest.mark.gpu
@pytest.mark.parametrize(("arch", "scale"), MEMBERS)
def test_gpu_equals_cpu(arch: str, scale: int, rng: np.random.Generator) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    pixels = rng.random((40, 50, 3), np.float32)
    network = build_random(arch, scale)
    step = 1 if archs.traits(arch).pre_upsampled else scale
    cpu = Upscaler(prepare(network, step, CPU), scale)(pixels)
    gpu = Upscaler(prepare(network, step, Device("cuda", "float32", "test")), scale)(pixels)
    np.testing.assert_allclose(gpu, cpu, atol=2e-3)


TEN_LINES = """
from torch import nn
from srcli.archs.blocks import conv
class Network(nn.Module):
    def __init__(self, *, scale: int, features: int = 16) -> None:
        super().__init__()
        self.channels, self.halo = 3, 2
        layers = (conv(3, features), nn.ReLU(), conv(features, 3 * scale**2))
        self.body = nn.Sequential(*layers, nn.PixelShuffle(scale))
    def forward(self, batch):
        return self.body(batch)
"""
PLUGIN = "import srcli.archs\nsrcli.archs.__path__.append({!r})\n"


@pytest.mark.slow
def test_a_file_of_ten_lines_is_a_network(tmp_path: Path) -> None:
    archs_folder = tmp_path / "archs"
    archs_folder.mkdir()
    (archs_folder / "newcomer.py").write_text(TEN_LINES)
    (tmp_path / "with_newcomer.py").write_text(PLUGIN.format(str(archs_folder)))
    words = "-m pytest -p with_newcomer -p no:cacheprovider -n 0 -rA --arch newcomer tests"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        [sys.executable, *words.split()],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for name in ("halo_is", "tiled_equals_whole", "runtimes_agree", "can_be_exported", "network_learns"):
        assert re.search(rf"PASSED .*{name}.*newcomer", done.stdout), name
