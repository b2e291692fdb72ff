"""Every network, by being in the folder: parameters, receptive field, and tiling that changes nothing."""

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from srcli import archs
from srcli.archs.blocks import bicubic_phases
from srcli.engine.device import Device
from srcli.engine.runtimes import OutOfMemory
from srcli.engine.runtimes.torch import TorchRuntime, prepare
from srcli.engine.upscaler import Upscaler
from srcli.errors import UsageError
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
    ("edsr", 2, {}, 1_369_859),
    ("edsr", 3, {}, 1_554_499),
    ("edsr", 4, {}, 1_517_571),
    ("edsr", 2, {"blocks": 32, "features": 256, "res_scale": 0.1}, 40_729_603),
    ("edsr", 3, {"blocks": 32, "features": 256, "res_scale": 0.1}, 43_680_003),
    ("edsr", 4, {"blocks": 32, "features": 256, "res_scale": 0.1}, 43_089_923),
]

MEMBERS = [(arch, scale) for arch in archs.names() for scale in archs.traits(arch).scales]


@cache
def upscaler(arch: str, scale: int, tile: int = 512, **options: bool) -> Upscaler:
    torch.manual_seed(0)
    runtime = prepare(randomised(arch, scale), 1 if archs.traits(arch).pre_upsampled else scale, CPU)
    return Upscaler(runtime, scale, tile, **options)


def randomised(arch: str, scale: int) -> torch.nn.Module:
    """Weights that let every input reach the output, unlike some initialisations."""
    network = archs.build(arch, scale)
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


@pytest.mark.parametrize(("arch", "scale"), MEMBERS)
def test_halo_is_the_receptive_field(arch: str, scale: int) -> None:
    """A change outside the halo changes nothing; the halo is at most two pixels wider than need be."""
    network = randomised(arch, scale).double().eval()
    step = 1 if archs.traits(arch).pre_upsampled else scale
    halo, channels = int(network.halo), int(network.channels)
    side = 2 * halo + 9
    batch = torch.rand(1, channels, side, side, dtype=torch.float64, requires_grad=True)
    middle = side // 2
    network(batch)[
        ..., middle * step : (middle + 1) * step, middle * step : (middle + 1) * step
    ].sum().backward()
    assert batch.grad is not None
    rows = batch.grad.abs().amax(dim=(0, 1, 3)).nonzero()
    reach = int((rows - middle).abs().max())
    assert halo - 2 <= reach <= halo


@pytest.mark.parametrize(("arch", "scale"), MEMBERS)
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
    method = upscaler(arch, 3)
    if method.runtime.channels != 1:
        pytest.skip("an RGB network")
    out = method(np.repeat(rng.random((8, 8, 1), np.float32), 3, axis=2))
    np.testing.assert_array_equal(out[..., 0], out[..., 1])
    np.testing.assert_array_equal(out[..., 0], out[..., 2])


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
    never = Upscaler(Small(randomised("edsr", 2).eval(), 2, CPU), 2)
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
