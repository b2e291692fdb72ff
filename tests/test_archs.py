"""Every network, by being in the folder: parameters, receptive field, and tiling that changes nothing."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from conftest import SAMPLES, SMALL
from srcli import archs
from srcli.archs.blocks import bicubic_phases
from srcli.engine.device import Device
from srcli.engine.runtimes import OutOfMemory
from srcli.engine.runtimes.torch import TorchRuntime, prepare
from srcli.engine.tiles import DEFAULT_TILE
from srcli.engine.upscaler import Upscaler
from srcli.errors import UsageError
from srcli.imaging.image import read
from srcli.imaging.metrics import psnr
from srcli.imaging.pixels import Pixels
from srcli.imaging.resize import resize

CPU = Device("cpu", "float32", "test")

# Parameters by (network, scale, config): from the papers, exact where the layers determine them.
PARAMETERS = [
    ("srcnn", 2, {}, 57_281),
    ("srcnn", 2, {"mapping": 1}, 8_129),
    ("srcnn", 2, {"mapping": 3}, 24_513),
    ("fsrcnn", 2, {}, 12_809),
    ("fsrcnn", 4, {}, 12_809),
    ("espcn", 2, {}, 21_284),
    ("espcn", 4, {}, 24_752),
    ("espcn", 3, {"channels": 3}, 31_131),
    ("ecbsr", 2, {"branches": False, "blocks": 16, "features": 64}, 594_884),
    ("ecbsr", 4, {"branches": False, "blocks": 16, "features": 64}, 601_808),
    ("ecbsr", 4, {"branches": False}, 97_776),
    ("vdsr", 2, {}, 664_704),  # 665K
    ("vdsr", 2, {"bias": True}, 665_921),
    ("drrn", 2, {}, 297_216),  # 297K
    ("drrn", 2, {"units": 9}, 297_216),
    ("srvgg", 4, {}, 621_424),  # the published files'
    ("srvgg", 4, {"convs": 32}, 1_213_296),
    ("rrdbnet", 4, {}, 16_697_987),  # 16.7M
    ("rrdbnet", 4, {"blocks": 6}, 4_467_779),
    ("rrdbnet", 2, {}, 16_703_171),
    ("srresnet", 4, {}, 1_547_350),  # 1.5M in the EDSR paper
    ("carn", 2, {"tails": [2, 3, 4]}, 1_591_939),  # 1592K
    ("carn", 2, {"tails": [2, 3, 4], "groups": 4, "recursive": True}, 414_787),  # 412K
    ("mdsr", 2, {"tails": [2, 3, 4]}, 7_953_987),  # 8.0M
    ("mdsr", 2, {"blocks": 16, "tails": [2, 3, 4]}, 3_227_203),  # 3.2M
    ("rcan", 2, {}, 15_444_643),  # 15.44M
    ("rcan", 3, {}, 15_629_283),  # 15.63M
    ("rcan", 4, {}, 15_592_355),  # 15.59M
    ("han", 4, {}, 16_071_745),  # 16.07M
    ("latticenet", 2, {}, 756_196),  # 756K
    ("latticenet", 3, {}, 764_851),  # 765K
    ("latticenet", 4, {}, 776_968),  # 777K
    ("rlfn", 2, {}, 526_856),  # 527K
    ("rlfn", 4, {}, 543_740),  # 544K
    ("rlfn", 2, {"features": 48}, 454_620),  # RLFN-S: 454K
    ("bsrn", 2, {}, 331_628),  # 332K
    ("bsrn", 4, {}, 352_400),  # 352K
    ("falsr", 2, {}, 1_021_401),  # 1021K
    ("rfdn", 4, {}, 433_448),  # 0.433M in the report of AIM 2020
    ("rdn", 2, {}, 22_123_395),  # 22.1M
    ("rdn", 3, {}, 22_308_035),
    ("rdn", 4, {}, 22_271_107),
    ("srdensenet", 4, {}, 2_659_585),  # the port's; the paper gives none, and others count 2015K
    ("drcn", 2, {}, 1_775_121),  # 1774K
    ("dbpn", 2, {}, 5_953_526),  # 5953K
    ("dbpn", 4, {}, 10_426_358),  # 10426K
    ("dbpn", 8, {}, 23_205_878),  # 23205K
    ("span", 2, {"branches": False}, 481_324),  # 481K
    ("span", 2, {"branches": False, "features": 48}, 410_700),  # SPAN-S: 411K
    ("lapsrn", 2, {}, 435_344),
    ("lapsrn", 4, {}, 870_112),  # tables say 813K, which is what kernels of 3x3 for doubling would have
    ("imdn", 2, {}, 694_404),  # 694K
    ("imdn", 3, {}, 703_059),  # 703K
    ("imdn", 4, {}, 715_176),  # 715K
    ("safmn", 2, {}, 227_820),  # 228K
    ("safmn", 3, {}, 232_695),  # 233K
    ("safmn", 4, {}, 239_520),  # 240K
    ("safmn", 4, {"features": 128, "blocks": 16}, 5_600_816),  # 5.60M
    ("srlut", 4, {}, 18_000),
    ("srlut", 4, {"kernel": "f"}, 17_936),
    ("srlut", 2, {"kernel": "v"}, 17_092),
    ("splut", 4, {}, 165_920),  # as in the authors' files, as are the next two
    ("splut", 4, {"size": "m"}, 85_360),
    ("splut", 4, {"size": "s"}, 83_800),
    ("edsr", 2, {}, 1_369_859),
    ("edsr", 3, {}, 1_554_499),
    ("edsr", 4, {}, 1_517_571),
    ("edsr", 2, {"blocks": 32, "features": 256, "res_scale": 0.1}, 40_729_603),
    ("edsr", 3, {"blocks": 32, "features": 256, "res_scale": 0.1}, 43_680_003),
    ("edsr", 4, {"blocks": 32, "features": 256, "res_scale": 0.1}, 43_089_923),
]

MEMBERS = [(arch, scale) for arch in archs.names() for scale in archs.traits(arch).scales]
LOCAL = [(arch, scale) for arch, scale in MEMBERS if archs.traits(arch).local]
# What is enlarged in the end has no part in it: one scale tells.
GLOBAL = [(arch, archs.traits(arch).scales[0]) for arch in archs.names() if not archs.traits(arch).local]


@cache
def upscaler(arch: str, scale: int, tile: int = 512, **options: bool) -> Upscaler:
    torch.manual_seed(0)
    runtime = prepare(randomised(arch, scale), 1 if archs.traits(arch).pre_upsampled else scale, CPU)
    return Upscaler(runtime, scale, tile, **options)


def randomised(arch: str, scale: int) -> torch.nn.Module:
    """Weights that let every input reach the output, unlike some initialisations."""
    network = archs.build(arch, scale, SMALL.get(arch))
    for weight in network.parameters():
        torch.nn.init.normal_(
            weight, std=(0.5 / max(1, weight[0].numel())) ** 0.5 if weight.ndim > 1 else 0.1
        )
    return network


@pytest.mark.parametrize(("arch", "scale", "config", "expected"), PARAMETERS)
def test_parameters_are_the_papers(arch: str, scale: int, config: dict[str, float], expected: int) -> None:
    with torch.device("meta"):
        network = archs.build(arch, scale, config)
    assert sum(weight.numel() for weight in network.parameters()) == expected


@pytest.mark.parametrize(("arch", "scale"), LOCAL)
def test_halo_is_the_receptive_field(arch: str, scale: int) -> None:
    """A change outside the halo changes nothing; the halo is at most two pixels wider than need be."""
    network = randomised(arch, scale).double().eval()
    step = 1 if archs.traits(arch).pre_upsampled else scale
    halo = int(network.halo)
    start = halo + 4
    reach = max(
        reach_of(network, place, step, 2 * start + 1) for place in range(start, start + aligned(network))
    )
    assert halo - 2 <= reach <= halo


def aligned(network: torch.nn.Module) -> int:
    """Networks that pack squares of pixels are the same function only at steps of a square."""
    return int(getattr(network, "aligned", 1))


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
    network = randomised(arch, scale).double().eval()
    step = 1 if archs.traits(arch).pre_upsampled else scale
    halo, cut = int(network.halo), 3 * aligned(network)
    batch = torch.rand(1, int(network.channels), 2 * halo + cut + 6, 2 * halo + cut + 9, dtype=torch.float64)
    with torch.no_grad():
        whole, part = network(batch), network(batch[..., cut:, cut:])
    assert whole.shape[2:] == (batch.shape[2] * step, batch.shape[3] * step)
    far = (..., slice((cut + halo) * step, None), slice((cut + halo) * step, None))
    near = (..., slice(halo * step, None), slice(halo * step, None))
    torch.testing.assert_close(part[near], whole[far])


@pytest.mark.parametrize(("arch", "scale"), GLOBAL)
@pytest.mark.parametrize("sides", [(200, 600), (83, 521)])
def test_tiled_is_close_to_whole_where_the_whole_image_counts(
    arch: str, scale: int, sides: tuple[int, int]
) -> None:
    pixels = read(SAMPLES / "coffee.png").pixels[: sides[0], : sides[1]]
    whole, tiled = (upscaler(arch, scale, tile)(pixels) for tile in (1024, DEFAULT_TILE))
    assert psnr(tiled, whole) >= 50


@pytest.mark.parametrize(("arch", "scale"), LOCAL)
@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), tile=st.integers(5, 80))
@example(height=1, width=1, tile=5)
@example(height=61, width=37, tile=16)
def test_tiled_equals_whole(arch: str, scale: int, height: int, width: int, tile: int) -> None:
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
    if method.runtime.channels != 1:
        pytest.skip("an RGB network")
    out = method(np.repeat(rng.random((8, 8, 1), np.float32), 3, axis=2))
    np.testing.assert_array_equal(out[..., 0], out[..., 1])
    np.testing.assert_array_equal(out[..., 0], out[..., 2])


@pytest.mark.parametrize("arch", archs.names())
def test_renaming_takes_any_networks_keys_and_leaves_its_own(arch: str) -> None:
    states = {other: list(variant_states(other)) for other in archs.names()}
    for state in states.pop(arch):
        assert archs.rename(arch, state) == state
    for state in (state for found in states.values() for state in found):
        archs.rename(arch, state)


@cache
def variant_states(arch: str) -> list[dict[str, torch.Tensor]]:
    """The tensors of a network in every configuration that public files have, without their values."""
    with torch.device("meta"):
        networks = [
            archs.build(arch, scale, config)
            for config in archs.variants(arch)
            for scale in archs.traits(arch).scales
        ]
    return [network.state_dict() for network in networks]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_fsrcnn_is_the_transposed_convolution_of_its_paper(scale: int) -> None:
    network = randomised("fsrcnn", scale).double()
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
        torch.testing.assert_close(F.conv2d(batch, *block.merged(), padding=1), total)
    plain, plain_config = archs.deployed("ecbsr", 3, config, network)
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
    plain, plain_config = archs.deployed("span", 2, {"features": 4, **config}, network.float())
    torch.testing.assert_close(plain(batch.float()), network(batch.float()))
    assert plain_config == {"features": 4, "branches": False}


def padded_with(batch: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    padded = bias[:, None, None].repeat(len(batch), 1, batch.shape[2] + 2, batch.shape[3] + 2)
    padded[:, :, 1:-1, 1:-1] = batch
    return padded


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_phases_are_the_papers_resize(scale: int, rng: np.random.Generator) -> None:
    pixels = rng.random((9, 12, 1), np.float32)
    padded = F.pad(torch.from_numpy(pixels[None, ..., 0]), (2, 2, 2, 2), mode="replicate")[None]
    ours = F.pixel_shuffle(F.conv2d(padded, bicubic_phases(scale)), scale)[0, 0].numpy()
    inner = slice(3 * scale, -3 * scale)
    theirs = resize(pixels, 9 * scale, 12 * scale)[..., 0]
    np.testing.assert_allclose(ours[inner, inner], theirs[inner, inner], atol=1e-5)


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
    small = Small(whole.runtime.network, 2, CPU)  # type: ignore[attr-defined]
    pixels = rng.random((150, 40, 3), np.float32)
    np.testing.assert_allclose(Upscaler(small, 2)(pixels), whole(pixels), atol=1e-5)
    never = Upscaler(Small(archs.build("edsr", 2).eval(), 2, CPU), 2)
    with pytest.raises(OutOfMemory):
        never(rng.random((200, 40, 3), np.float32))


def test_half_precision_that_overflows_is_rerun_in_single() -> None:
    network = randomised("espcn", 2).eval()
    runtime = TorchRuntime(network, 2, Device("cpu", "float16", "test"))
    tile = np.full((8, 8, 1), 0.5, np.float32)
    near = next(runtime.run([tile]))
    exact = next(TorchRuntime(network, 2, CPU).run([tile]))
    assert 0 < np.abs(near - exact).max() < 0.1
    with torch.no_grad():
        network.conv_3.bias += 1e6  # type: ignore[operator]
    again = next(runtime.run([tile]))
    np.testing.assert_array_equal(again, next(TorchRuntime(network, 2, CPU).run([tile])))


def test_unknown_networks_and_scales_are_named() -> None:
    with pytest.raises(UsageError, match="no network called 'nope'"):
        archs.build("nope", 2)
    with pytest.raises(UsageError, match="cannot be built for x7"):
        archs.build("fsrcnn", 7)
    with pytest.raises(UsageError, match="unexpected keyword argument 'colour'"):
        archs.build("fsrcnn", 2, {"colour": 1})


@pytest.mark.gpu
@pytest.mark.parametrize(("arch", "scale"), MEMBERS)
def test_gpu_equals_cpu(arch: str, scale: int, rng: np.random.Generator) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    pixels = rng.random((40, 50, 3), np.float32)
    network = randomised(arch, scale)
    step = 1 if archs.traits(arch).pre_upsampled else scale
    cpu = Upscaler(prepare(network, step, CPU), scale)(pixels)
    gpu = Upscaler(prepare(network, step, Device("cuda", "float32", "test")), scale)(pixels)
    np.testing.assert_allclose(gpu, cpu, atol=2e-3)
