"""ncnn's graph as data: layers, their simplification, and the two files that ncnn reads.

The formats: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Parameter = int | float | tuple[int, ...] | tuple[float, ...]

_MAGIC = 7767517
# Before weights that are stored in half precision, and before those that are not.
_HALF, _SINGLE = b"\x47\x6b\x30\x01", b"\x00\x00\x00\x00"
# Numbers of a convolution's parameters, the same in all four kinds.
_BIAS_TERM, _ACTIVATION, _ACTIVATION_VALUES = 5, 9, 10
_CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise")
_ADD, _MULTIPLY = 0, 2


@dataclass(frozen=True)
class Layer:
    """One layer: names of its blobs, parameters by ncnn's numbers, and weights in ncnn's order.

    `kind` is ncnn's, or `Affine`, which ncnn does not have: x * weights[0] + weights[1], each (1,) or (C,).
    Of a convolution, the weights are the kernel (outputs first) and the bias.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[int, Parameter]
    weights: tuple[Tensor, ...] = ()


def simplify_graph(layers: list[Layer]) -> list[Layer]:
    """Return fewer layers that compute the same, all of kinds that ncnn has."""
    fused = _fuse(_hoist(_drop_unused(layers)))
    return _add_copies([plain for layer in fused for plain in _lower(layer)])


def _drop_unused(layers: list[Layer]) -> list[Layer]:
    """Drop layers whose results are not used; the last one's is the network's result."""
    wanted = set(layers[-1].outputs)
    kept: list[Layer] = []
    for layer in reversed(layers):
        if layer.kind == "Input" or wanted & set(layer.outputs):
            wanted |= set(layer.inputs)
            kept.append(layer)
    return kept[::-1]


def _find_sole_makers(layers: list[Layer]) -> dict[str, int]:
    """Return which layer makes each blob that is used once."""
    uses = Counter(blob for layer in layers for blob in layer.inputs)
    return {blob: at for at, layer in enumerate(layers) for blob in layer.outputs if uses[blob] == 1}


def _hoist(layers: list[Layer]) -> list[Layer]:
    """Move a factor or offset that all channels share from behind a pixel shuffle to before it."""
    makers = _find_sole_makers(layers)
    out = list(layers)
    for at, layer in enumerate(layers):
        before = makers.get(layer.inputs[0]) if layer.inputs else None
        if before is None or layer.kind != "Affine" or out[before].kind != "PixelShuffle":
            continue
        if max(weight.numel() for weight in layer.weights) == 1:
            shuffle = out[before]
            out[before] = replace(layer, inputs=shuffle.inputs, outputs=shuffle.outputs)
            out[at] = replace(shuffle, inputs=shuffle.outputs, outputs=layer.outputs)
    return out


def _fuse(layers: list[Layer]) -> list[Layer]:
    """Fuse factors, offsets and activations with the layer before them, if that can hold them."""
    makers = _find_sole_makers(layers)
    out: list[Layer | None] = list(layers)
    for at, layer in enumerate(layers):
        before = makers.get(layer.inputs[0]) if layer.inputs else None
        earlier = out[before] if before is not None else None
        merged = _merge(earlier, layer) if earlier else None
        if merged and before is not None:
            out[before] = merged
            out[at] = None
            makers |= {blob: before for blob in layer.outputs if blob in makers}
    return [layer for layer in out if layer]


def _merge(first: Layer, second: Layer) -> Layer | None:
    """Return two successive layers as one; None if ncnn has no such layer."""
    outputs = second.outputs
    if second.kind == "Affine" and first.kind == "Affine":
        (factor, offset), (later_factor, later_offset) = first.weights, second.weights
        return replace(
            first, outputs=outputs, weights=(factor * later_factor, offset * later_factor + later_offset)
        )
    if first.kind not in _CONVOLUTIONS or _ACTIVATION in first.parameters:
        return None
    if second.kind == "Affine":
        factor, offset = second.weights
        return _scale(first, factor, offset, outputs)
    if second.kind == "ReLU":
        slope = second.parameters[0]
        activation: dict[int, Parameter] = {_ACTIVATION: 2, _ACTIVATION_VALUES: (slope,)}  # type: ignore[dict-item]
        more = activation if slope else {_ACTIVATION: 1}
        return replace(first, outputs=outputs, parameters={**first.parameters, **more})
    return None


def _scale(layer: Layer, factor: Tensor, offset: Tensor, outputs: tuple[str, ...]) -> Layer:
    """Return a convolution with a factor and an offset for each of its outputs."""
    kernel, *rest = layer.weights
    bias = rest[0] if rest else torch.zeros(len(kernel))
    weights = (kernel * factor.view(-1, 1, 1, 1), bias * factor + offset)
    return replace(layer, outputs=outputs, parameters={**layer.parameters, _BIAS_TERM: 1}, weights=weights)


def _lower(layer: Layer) -> Iterator[Layer]:
    """Yield the layers of ncnn that compute a layer."""
    if layer.kind != "Affine":
        yield layer
        return
    factor, offset = layer.weights
    if max(factor.numel(), offset.numel()) > 1:
        channels = max(factor.numel(), offset.numel())
        weights = (factor.expand(channels), offset.expand(channels))
        yield replace(layer, kind="Scale", parameters={0: channels, 1: 1}, weights=weights)
        return
    steps = [(_MULTIPLY, factor.item())] * (factor.item() != 1) + [(_ADD, offset.item())] * (
        offset.item() != 0
    )
    steps = steps or [(_MULTIPLY, 1.0)]
    blobs = [*layer.inputs, *(f"{layer.outputs[0]}_{n}" for n in range(1, len(steps))), *layer.outputs]
    for (kind, value), before, after in zip(steps, blobs, blobs[1:], strict=False):
        yield Layer("BinaryOp", (before,), (after,), {0: kind, 1: 1, 2: value})


def _add_copies(layers: list[Layer]) -> list[Layer]:
    """Add a layer that copies each blob that is used more than once: ncnn gives a blob to one layer only."""
    uses = Counter(blob for layer in layers for blob in layer.inputs)
    taken: Counter[str] = Counter()
    out: list[Layer] = []
    for layer in layers:
        inputs = []
        for blob in layer.inputs:
            inputs.append(f"{blob}_copy{taken[blob]}" if uses[blob] > 1 else blob)
            taken[blob] += 1
        out.append(replace(layer, inputs=tuple(inputs)))
        for blob in layer.outputs:
            if uses[blob] > 1:
                copies = tuple(f"{blob}_copy{number}" for number in range(uses[blob]))
                out.append(Layer("Split", (blob,), copies, {}))
    return out


def format_graph(layers: list[Layer]) -> str:
    """Return the graph as ncnn's text."""
    blobs = sum(len(layer.outputs) for layer in layers)
    lines = [str(_MAGIC), f"{len(layers)} {blobs}"]
    for number, layer in enumerate(layers):
        counts = (len(layer.inputs), len(layer.outputs))
        words = [layer.kind, f"{layer.kind.lower()}{number}", *counts, *layer.inputs, *layer.outputs]
        settings = (_format_setting(key, value) for key, value in sorted(layer.parameters.items()))
        lines.append(" ".join([*map(str, words), *settings]))
    return "\n".join(lines) + "\n"


def _format_setting(key: int, value: Parameter) -> str:
    if isinstance(value, tuple):
        return f"{-23300 - key}={len(value)}," + ",".join(map(_format_number, value))
    return f"{key}={_format_number(value)}"


def _format_number(value: float) -> str:
    """Format a number for ncnn, which takes what has a point or an exponent for a float."""
    return f"{value:.9e}" if isinstance(value, float) else str(value)


def pack_weights(layers: list[Layer]) -> bytes:
    """Return the weights as ncnn's binary file, with kernels in half precision if that loses nothing."""
    parts: list[bytes] = []
    for layer in layers:
        tagged = layer.kind in _CONVOLUTIONS
        for number, weight in enumerate(layer.weights):
            single = weight.detach().float().contiguous()
            parts += _tag_weight(single) if tagged and number == 0 else [single.numpy().tobytes()]
    return b"".join(parts)


def _tag_weight(weight: Tensor) -> list[bytes]:
    half = weight.half()
    if not torch.equal(half.float(), weight):
        return [_SINGLE, weight.numpy().tobytes()]
    raw = half.numpy().tobytes()
    return [_HALF, raw, b"\0" * (-len(raw) % 4)]
