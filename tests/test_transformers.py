"""What transformers' papers and files say of them, beyond what is asked of every network."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from helpers.networks import CPU, build_random
from helpers.paths import SAMPLES
from srcli import archs
from srcli.archs import dat, hat, swinir
from srcli.archs.attention import (
    gather_dilated,
    make_shift_mask,
    merge_windows,
    scatter_dilated,
    split_windows,
)
from srcli.archs.blocks import run_by_cells
from srcli.engine.complexity import count_cost, count_parameters
from srcli.engine.runtimes.torch import prepare
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights import files
from srcli.imaging.image import read_image
from srcli.imaging.metrics.full_reference import psnr
from tools.models_table import is_within
from tools.parity import DAT_LIGHT

# Bytes of a mask for shifted windows and of an index, which the authors' files carry and ours do not.
MASK, INDEX = 4 * 64 * 64, 8 * 64 * 64


def swinir_extra(side: int, groups: int) -> int:
    """Of each two blocks one is shifted; `side` of the images that it was trained with, in windows."""
    return groups * (3 * side**2 * MASK + 6 * INDEX)


# Two indices: within a window of 16x16, and from it to one of 24x24.
HAT_EXTRA = 8 * 256 * (256 + 576)
# 18 blocks with two kinds of windows of 256 pixels; those of 9 are shifted, in images of 16 windows.
DAT_EXTRA = 2 * (9 * 16 * 4 * 256**2 + 18 * (8 * 256**2 + 4 * 2 * 15 * 63))

# Bytes of files on the Hub, as recorded, and how many of them are tensors that we work out.
SIZES: list[tuple[archs.Spec, int, int]] = [
    (archs.Spec("swinir", 2), 67_277_475, swinir_extra(8, 6)),
    (archs.Spec("swinir", 3), 59_758_497, swinir_extra(6, 6)),
    (archs.Spec("swinir", 8), 68_460_535, swinir_extra(8, 6)),
    (archs.Spec("swinir", 2, swinir.LIGHT), 17_147_989, swinir_extra(8, 4)),
    (archs.Spec("swinir", 4, {"end": "nearest"}), 67_129_861, swinir_extra(8, 6)),
    (archs.Spec("swinir", 4, swinir.VARIANTS[3]), 142_473_939, swinir_extra(8, 9)),
    (archs.Spec("hat", 4), 85_137_601, HAT_EXTRA),
    (archs.Spec("hat", 4, hat.LARGE), 165_774_123, HAT_EXTRA),
    (archs.Spec("dat", 2), 154_100_481, DAT_EXTRA),
    (archs.Spec("dat", 4), 154_692_051, DAT_EXTRA),
    (archs.Spec("dat", 4, dat.SECOND), 140_333_139, DAT_EXTRA),
]


def tensors(spec: archs.Spec) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return archs.build(spec.arch, spec.scale, spec.config).state_dict()


@pytest.mark.parametrize(("spec", "recorded", "extra"), SIZES, ids=str)
def test_tensors_take_as_many_bytes_as_the_file_on_the_hub(
    spec: archs.Spec, recorded: int, extra: int
) -> None:
    held = sum(value.nbytes for value in tensors(spec).values())
    assert held + extra == pytest.approx(recorded, rel=0.01)


@pytest.mark.parametrize(("scale", "recorded"), [(2, 1_655_992), (3, 1_673_302), (4, 1_697_536)])
def test_omnisr_is_saved_in_as_many_bytes_as_on_the_hub(scale: int, recorded: int) -> None:
    """In half precision, with the two convolutions that its files have in each group and never use."""
    state = archs.build("omnisr", scale).state_dict()
    for number in range(5):
        for name in ("conv_max", "conv3_"):
            for part in ("weight", "bias"):
                key = f"residual_layer.{number}.esa.{{}}.{part}"
                state[key.format(name)] = state[key.format("conv3")]
    assert len(save({key: value.half().clone() for key, value in state.items()})) == pytest.approx(
        recorded, rel=0.01
    )
    assert archs.rename("omnisr", state).keys() == tensors(archs.Spec("omnisr", scale)).keys()


# Multiply-adds as published, by the sides of the square output.
MULTIPLY_ADDS = [
    (archs.Spec("hat", 4, hat.SMALL), 256, "54.9G"),
    (archs.Spec("hat", 4), 256, "102.4G"),
    (archs.Spec("dat", 4, dat.SMALL), 512, "203.34G"),
    (archs.Spec("dat", 4), 512, "275.75G"),
    (archs.Spec("dat", 4, dat.SECOND), 512, "216.93G"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "side", "printed"), MULTIPLY_ADDS, ids=str)
def test_multiply_adds_for_other_sizes_are_the_papers(spec: archs.Spec, side: int, printed: str) -> None:
    assert is_within(count_cost(spec, side, side).multiply_adds, printed, 0.03)


def test_the_reason_swinir_tables_holds() -> None:
    spec = archs.Spec("swinir", 2, swinir.LIGHT)
    assert is_within(count_parameters(spec) - 24 * 6 * 15**2, "878K", 0.001)
    # Of the last two convolutions the script counts a third, and 3 of 12 channels.
    pixels, omitted = 520 * 368, 6 * 60 * 60 + 9 * 60 * 9
    assert is_within(count_cost(spec, 1040, 736).multiply_adds - pixels * omitted, "195.6G", 0.01)


@pytest.mark.slow
def test_the_reason_swinir_x3_holds() -> None:
    assert is_within(count_cost(archs.Spec("swinir", 3), 3 * 248, 1280).multiply_adds, "1363G", 0.01)


def test_the_reason_omnisr_counted_holds() -> None:
    state = tensors(archs.Spec("omnisr", 4))
    uncounted = [
        value.numel()
        for key, value in state.items()
        if key.endswith((".temperature", ".rel_pos_bias.weight"))
        # Layer norms over channels: all but those before the attention of pixels.
        or (".norm." in key and not key.split(".norm.")[0].endswith((".2", ".8")))
    ]
    assert sum(uncounted) == 12_880
    assert is_within(sum(value.numel() for value in state.values()) - 12_880, "792K", 0.001)


def test_windows_are_joined_again() -> None:
    grid = torch.rand(2, 8, 18, 5)
    assert torch.equal(merge_windows(split_windows(grid, (4, 6)), (4, 6), 8, 18), grid)
    assert torch.equal(split_windows(grid, (4, 6))[4, 7], grid[0, 5, 7])
    assert torch.equal(scatter_dilated(gather_dilated(grid, 4, 3), 4, 3), grid)
    assert torch.equal(gather_dilated(grid, 4, 3)[:, :4, :3], grid[:, ::2, ::6])


def test_what_a_shift_brings_together_is_kept_apart() -> None:
    """By coordinates: pixels of a window must be as near in the image as in the window."""
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(12), indexing="ij")
    place = torch.roll(torch.stack((rows, columns), 2)[None], (-2, -3), (1, 2))
    cut = split_windows(place, (4, 6))
    far = ((cut[:, :, None] - cut[:, None]).abs() >= torch.tensor((4, 6))).any(3)
    assert torch.equal(make_shift_mask(8, 12, (4, 6), (2, 3), cut), far)


def test_cells_are_of_the_image_and_see_what_is_around() -> None:
    batch = torch.rand(2, 3, 11, 14)
    sizes: list[tuple[int, ...]] = []

    def restore(seen: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(seen.shape[2:]))
        return torch.kron(seen, torch.ones(2, 2))

    assert torch.equal(run_by_cells(batch, 5, 2, 2, restore), torch.kron(batch, torch.ones(2, 2)))
    assert sizes[:3] == [(7, 7), (7, 9), (7, 6)]


def test_nlsn_hashes_alike_each_time() -> None:
    """And otherwise by another seed, where there are more pixels than a chunk has."""
    network = build_random("nlsn", 2, {"blocks": 1, "features": 16, "chunk": 36}).eval()
    other = archs.build("nlsn", 2, {"blocks": 1, "features": 16, "chunk": 36, "seed": 1}).eval()
    other.load_state_dict(network.state_dict())
    batch = torch.rand(1, 3, 20, 24)
    with torch.no_grad():
        first, again, elsewhere = network(batch), network(batch), other(batch)
    assert torch.equal(first, again)
    assert not torch.equal(first, elsewhere)


def test_enlcn_approximates_attention_to_all() -> None:
    """The better, the more random features there are."""
    assert enlcn_error(8192) < 0.5 * enlcn_error(64)
    assert enlcn_error(8192) < 0.05


def enlcn_error(samples: int) -> float:
    """Of its attention beside the exact one: root of mean square, relative to what is found."""
    torch.manual_seed(0)
    network = archs.build("enlcn", 2, {"blocks": 1, "features": 32, "samples": samples})
    layer, batch = network.body[0], torch.rand(1, 32, 6, 7)  # type: ignore[index]
    with torch.no_grad():
        found = ((layer(batch) - batch) / layer.weight).flatten(2)
        asked, keys = (
            torch.nn.functional.normalize(each(batch).flatten(2), dim=1) * 6**0.5
            for each in (layer.conv_match1, layer.conv_match2)
        )
        exact = layer.conv_assembly(batch).flatten(2) @ torch.softmax(asked.mT @ keys, 2).mT
    return float((found - exact).square().mean().sqrt() / exact.square().mean().sqrt())


def test_ipt_runs_on_a_small_image() -> None:
    network = archs.build("ipt", 2).eval()
    with torch.inference_mode():
        out = network(torch.rand(1, 3, 20, 30))
    assert out.shape == (1, 3, 40, 60)
    assert torch.isfinite(out).all()


def library_key(key: str) -> str:
    """How the transformers library calls a tensor of the authors' Swin2SR."""
    inner = key.replace(".residual_group.blocks.", ".layers.").replace(".mlp.fc1", ".intermediate.dense")
    inner = inner.replace(".mlp.fc2", ".output.dense").replace(".attn.proj.", ".attention.output.dense.")
    inner = inner.replace(".norm1.", ".layernorm_before.").replace(".norm2.", ".layernorm_after.")
    inner = inner.replace(".attn.q_bias", ".attention.self.query.bias")
    inner = inner.replace(".attn.v_bias", ".attention.self.value.bias")
    inner = inner.replace(".attn.cpb_mlp.", ".attention.self.continuous_position_bias_mlp.")
    inner = inner.replace(".attn.logit_scale", ".attention.self.logit_scale")
    inner = inner.replace(".patch_embed.proj.", ".patch_embed.projection.")
    for ours, theirs in (
        ("layers.", "swin2sr.encoder.stages."),
        ("patch_embed.proj.", "swin2sr.embeddings.patch_embeddings.projection."),
        ("patch_embed.norm.", "swin2sr.embeddings.patch_embeddings.layernorm."),
        ("norm.", "swin2sr.layernorm."),
        ("conv_first.", "swin2sr.first_convolution."),
        ("conv_after_body.", "swin2sr.conv_after_body."),
        ("conv_before_upsample.0.", "upsample.conv_before_upsample."),
        ("upsample.0.", "upsample.upsample.convolution_0."),
        ("upsample.2.", "upsample.upsample.convolution_1."),
        ("conv_last.", "upsample.final_convolution."),
    ):
        if inner.startswith(ours):
            return theirs + inner.removeprefix(ours)
    return inner


def test_swin2sr_of_the_transformers_library_is_read(tmp_path: Path) -> None:
    network = archs.build("swin2sr", 4, {"features": 12, "groups": 2, "blocks": 2, "heads": 2})
    theirs: dict[str, torch.Tensor] = {}
    for key, value in network.state_dict().items():
        if key.endswith(".attn.qkv.weight"):
            stem = library_key(key.removesuffix(".attn.qkv.weight") + ".attention.self.")
            parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
            theirs |= {f"{stem}{name}.weight": part for name, part in parts}
        else:
            theirs[library_key(key)] = value
    assert not any(".attn." in key for key in theirs)
    named = archs.rename("swin2sr", theirs)
    assert named.keys() == network.state_dict().keys()
    for key, value in network.state_dict().items():
        assert torch.equal(named[key], value)


def test_act_and_edt_files_of_their_authors_are_read() -> None:
    state = tensors(archs.Spec("edt", 3, {"groups": 1, "blocks": 1}))
    theirs = {
        key.replace("head.", "head_sr_x3.").replace("tail.", "tail_sr_x3."): value
        for key, value in state.items()
    }
    theirs["body.layers.0.residual_group.blocks.0.attn_mask_h"] = torch.zeros(1)
    assert archs.rename("edt", theirs).keys() == state.keys()
    state = tensors(archs.Spec("act", 2, {"stages": 1, "blocks": 1}))
    theirs = {f"net.{key}": value for key, value in state.items()}
    theirs["net.cnn_branch.1.weight"] = theirs["net.sub_mean.weight"] = torch.zeros(1)
    theirs["net.mhsa_block.0.0.fn.to_qkv.weight"] = theirs.pop("net.mhsa_block.0.0.to_qkv.weight")
    assert archs.rename("act", theirs).keys() == state.keys()


@pytest.mark.parity
@pytest.mark.slow
def test_dat_with_real_weights_tiled_is_close_to_whole(shared: Path) -> None:
    file = shared / "weights" / "dat-light-x2.pth"
    runtime = prepare(files.load_network(file, archs.Spec("dat", 2, DAT_LIGHT)), 2, CPU)
    pixels = read_image(SAMPLES / "coffee.png").pixels[100:228, 100:292]
    whole, tiled = (Upscaler(runtime, 2, tile)(pixels) for tile in (512, 96))
    assert psnr(tiled, whole) >= 50
