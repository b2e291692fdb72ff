"""SwinIR: groups of transformer blocks with attention within windows, shifted in every other block.

Keys as in the authors' code (JingyunLiang/SwinIR): conv_first, patch_embed, layers, norm, conv_after_body,
and what enlarges. Their files also carry masks and indices, which are worked out here.
"""

from typing import Any

from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import (
    Mlp,
    TransformerBody,
    TransformerNetwork,
    WindowAttention,
    count_window,
    describe_end,
    drop_keys,
    init_transformer,
    make_end_conv,
    to_batch,
    to_grid,
)
from srcli.archs.blocks import conv, count_numbers

PAPER = Paper("SwinIR: Image Restoration Using Swin Transformer", 2021, "https://arxiv.org/abs/2108.10257")
TRAITS = Traits(scales=(2, 3, 4, 8, 1), local=False)
LIGHT: dict[str, Any] = {"features": 60, "groups": 4, "end": "direct"}
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    LIGHT,
    {"end": "nearest"},
    {"features": 240, "groups": 9, "heads": 8, "end": "nearest", "narrow": True},
)
FACTS = Facts(
    small={"features": 12, "groups": 2, "blocks": 2, "heads": 2, "window": 4, "end": "direct"},
    counts=(
        Count(2, 11_752_487),  # 11.75M
        Count(3, 11_937_127),  # 11.94M
        Count(4, 11_900_199),  # 11.90M
        Count(2, 910_152, LIGHT),  # 878K and 32,400 in tables of relative positions
        Count(4, 929_628, LIGHT),  # 897K and as many
        Count(4, 28_013_059, VARIANTS[3]),
    ),
    export_errors={"ncnn": "windows", "onnx": "windows", "torchscript": "windows"},
)


class Network(TransformerNetwork):
    """The medium size for reduced images by default; `VARIANTS` has S for those, and M and L for photographs.

    Those that remove noise and JPEG's traces are x1 and end with a `residual`. `end`, `narrow`: see
    `TransformerNetwork`; `ratio`: of the features within the blocks' linear layers; `channels`: 1 for luma.
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 180,
        groups: int = 6,
        blocks: int = 6,
        heads: int = 6,
        window: int = 8,
        ratio: int = 2,
        end: str = "steps",
        narrow: bool = False,
        channels: int = 3,
    ) -> None:
        super().__init__(scale, features, window, end, narrow, channels)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(features)})
        self.layers = _make_groups(groups, blocks, features, heads, window, ratio, narrow)
        self.norm = nn.LayerNorm(features)
        self.apply(init_transformer)


class Encoder(TransformerBody):
    """The medium size as tails of other kinds begin with it: its body, and `width` features at its end."""

    def __init__(self, groups: int = 6, width: int = 64) -> None:
        features, window = 180, 8
        super().__init__(features, window)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(features)})
        self.layers = _make_groups(groups, 6, features, 6, window, 2)
        self.norm = nn.LayerNorm(features)
        self.conv_before_upsample = nn.Sequential(conv(features, width), nn.LeakyReLU())
        self.apply(init_transformer)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, width, H, W)."""
        height, width = batch.shape[2:]
        out: Tensor = self.conv_before_upsample(self.extract_features(batch))
        return out[:, :, :height, :width]


def _make_groups(
    groups: int, blocks: int, features: int, heads: int, window: int, ratio: int, narrow: bool = False
) -> nn.ModuleList:
    return nn.ModuleList(
        Group([Block(features, heads, window, ratio, place) for place in range(blocks)], features, narrow)
        for _ in range(groups)
    )


class Group(nn.Module):
    """Blocks and a convolution, with a skip connection."""

    def __init__(self, blocks: list[nn.Module], features: int, narrow: bool = False) -> None:
        super().__init__()
        self.residual_group = nn.ModuleDict({"blocks": nn.Sequential(*blocks)})
        self.conv = make_end_conv(features, narrow)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        deep = to_batch(self.residual_group["blocks"](grid))
        return grid + to_grid(self.conv(deep))


class Block(nn.Module):
    """Attention within windows, then two linear layers; at odd places windows begin half a window later."""

    def __init__(self, features: int, heads: int, window: int, ratio: int, place: int) -> None:
        super().__init__()
        self.begin = place % 2 * (window // 2)
        self.norm1 = nn.LayerNorm(features)
        self.attn = WindowAttention(features, (window, window), heads)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = Mlp(features, features * ratio)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape, multiples of the window."""
        grid = grid + self.attn(self.norm1(grid), (self.begin, self.begin))
        out: Tensor = grid + self.mlp(self.norm2(grid))
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop what the network works out itself; the other keys are ours."""
    return drop_keys(state, ".relative_position_index", ".attn_mask")


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show."""
    block = "layers.0.residual_group.blocks.0."
    table = state[f"{block}attn.relative_position_bias_table"]
    hidden, features = state[f"{block}mlp.fc1.weight"].shape
    end, window = describe_end(state), count_window(table)
    # The authors' networks against JPEG's traces, with windows of 7 pixels, take other values.
    values = {"values": "0..255 less mean" if end["channels"] == 3 else "0..255"} if window == 7 else {}
    return {
        "groups": count_numbers(state, "layers."),
        "blocks": count_numbers(state, "layers.0.residual_group.blocks."),
        "heads": table.shape[1],
        "window": window,
        "ratio": hidden // features,
        "narrow": "conv_after_body.0.weight" in state,
        **end,
        **values,
    }
