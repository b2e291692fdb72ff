"""torch's operations in layers of ncnn, one function each.

A function gets the builder, the operation's node in the graph, and its arguments: a `Blob` for what is
computed from the image, a `Size` for a number that depends on the image's size; everything else is known.
"""

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from srcli.engine.export import UnexportableError
from srcli.engine.export.ncnn.graph import Layer, Parameter

_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE = 0, 1, 2, 3
_DIVIDED = 8
_SQUARE, _SQRT = 4, 5
_SUM, _MEAN, _MAX = 0, 3, 4
_NEAREST, _BILINEAR, _BICUBIC = 1, 2, 3
_PADDINGS = {"constant": 0, "replicate": 1, "reflect": 2}
_END = 2**31 - 1


@dataclass(frozen=True)
class Blob:
    """A tensor computed from the image: its name in ncnn's graph, and its shape, with sizes as symbols."""

    name: str
    shape: tuple[str, ...]

    @property
    def channels(self) -> int:
        """The number of channels."""
        return int(self.shape[1])


@dataclass(frozen=True)
class Size:
    """A number that depends on the image's height and width."""

    expression: str


@dataclass(frozen=True)
class ChannelTable:
    """A blob whose channels are viewed as a table of `groups` rows, perhaps `swapped` with its columns."""

    blob: Blob
    groups: int
    swapped: bool = False


@dataclass
class Builder:
    """The layers so far, and a blob of each size that occurred, for others to be resized to."""

    layers: list[Layer] = field(default_factory=list)
    by_size: dict[tuple[str, ...], Blob] = field(default_factory=dict)

    def blob(self, shape: tuple[str, ...]) -> Blob:
        """Return a new blob of `shape`."""
        new = Blob(f"b{len(self.layers)}", shape)
        self.by_size.setdefault(shape[2:], new)
        return new

    def add(
        self,
        kind: str,
        inputs: list[Blob],
        shape: tuple[str, ...],
        parameters: dict[int, Parameter] | None = None,
        weights: tuple[Tensor, ...] = (),
    ) -> Blob:
        """Add a layer, and return its result."""
        out = self.blob(shape)
        names = tuple(blob.name for blob in inputs)
        self.layers.append(Layer(kind, names, (out.name,), parameters or {}, weights))
        return out


def read_shape(node: Node) -> tuple[str, ...]:
    """Return the shape of an operation's result, with sizes as symbols."""
    value = node.meta["val"]
    return tuple(map(str, value.shape)) if isinstance(value, Tensor) else ()


Operation = Callable[..., Any]


def _same(kind: str, **parameters: Parameter) -> Operation:
    """Return an operation that is one layer and keeps the shape; parameters are named p and ncnn's number."""
    numbered = {int(key[1:]): value for key, value in parameters.items()}

    def operation(builder: Builder, node: Node, blob: Blob, *rest: Any, **options: Any) -> Blob:
        return builder.add(kind, [blob], blob.shape, dict(numbered))

    return operation


def _unary(kind: int) -> Operation:
    return _same("UnaryOp", p0=kind)


def _conv2d(
    builder: Builder,
    node: Node,
    blob: Blob,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, ...] = (1, 1),
    padding: tuple[int, ...] = (0, 0),
    dilation: tuple[int, ...] = (1, 1),
    groups: int = 1,
) -> Blob:
    _check_known("a convolution", weight, bias)
    parameters = _convolution(weight, len(weight), bias, stride, padding, dilation)
    kind = "Convolution" if groups == 1 else "ConvolutionDepthWise"
    parameters |= {7: groups} if groups > 1 else {}
    return builder.add(kind, [blob], read_shape(node), parameters, _list_weights(weight, bias))


def _conv_transpose2d(
    builder: Builder,
    node: Node,
    blob: Blob,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, ...] = (1, 1),
    padding: tuple[int, ...] = (0, 0),
    output_padding: tuple[int, ...] = (0, 0),
    groups: int = 1,
    dilation: tuple[int, ...] = (1, 1),
) -> Blob:
    _check_known("a transposed convolution", weight, bias)
    inputs, outputs, *size = weight.shape
    turned = weight.view(groups, inputs // groups, outputs, *size).transpose(1, 2)
    kernel = turned.reshape(groups * outputs, inputs // groups, *size)
    parameters = _convolution(kernel, groups * outputs, bias, stride, padding, dilation)
    down, right = _pair(output_padding)
    parameters |= {18: right, 19: down} | ({7: groups} if groups > 1 else {})
    kind = "Deconvolution" if groups == 1 else "DeconvolutionDepthWise"
    return builder.add(kind, [blob], read_shape(node), parameters, _list_weights(kernel, bias))


def _convolution(
    kernel: Tensor, outputs: int, bias: Tensor | None, stride: Any, padding: Any, dilation: Any
) -> dict[int, Parameter]:
    """Return the parameters that all kinds of convolution have."""
    (down, right), (high, wide), (dilated_y, dilated_x) = map(_pair, (stride, padding, dilation))
    return {
        0: outputs,
        1: kernel.shape[3],
        11: kernel.shape[2],
        2: dilated_x,
        12: dilated_y,
        3: right,
        13: down,
        4: wide,
        14: high,
        15: wide,
        16: high,
        5: int(bias is not None),
        6: kernel.numel(),
    }


def _pair(value: Any) -> tuple[int, int]:
    """Return vertical and horizontal, which may be given as one number."""
    pair = tuple(value)
    return (pair[0], pair[0]) if len(pair) == 1 else (pair[0], pair[1])


def _list_weights(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
    return (weight,) if bias is None else (weight, bias)


def _check_known(what: str, *weights: Any) -> None:
    if not all(weight is None or isinstance(weight, Tensor) for weight in weights):
        raise UnexportableError(f"no layer for {what} with a kernel that depends on the image")


def _affine(builder: Builder, blob: Blob, factor: Tensor | float, offset: Tensor | float) -> Blob:
    """Add blob * factor + offset, with one value for all channels or one for each."""
    weights = tuple(_per_channel(value, blob) for value in (factor, offset))
    return builder.add("Affine", [blob], blob.shape, {}, weights)


def _per_channel(value: Tensor | float, blob: Blob) -> Tensor:
    """Return (1,) or (C,). Raises `UnexportableError` for values that differ from pixel to pixel."""
    tensor = torch.as_tensor(value, dtype=torch.float32).detach()
    if tensor.numel() == 1:
        return tensor.reshape(1)
    if tensor.numel() == blob.channels == tensor.shape[max(0, tensor.ndim - 3)]:
        return tensor.reshape(-1)
    raise UnexportableError(f"no layer for a constant of shape {tuple(tensor.shape)}")


def _add(builder: Builder, node: Node, one: Any, other: Any, alpha: float = 1) -> Blob:
    if isinstance(one, Blob) and isinstance(other, Blob) and alpha == 1:
        return builder.add("BinaryOp", [one, other], read_shape(node), {0: _ADD})
    blob, value = _split_operands(one, other, node)
    factor, offset = (1, value * alpha) if blob is one else (alpha, value)
    return _affine(builder, blob, factor, offset)


def _subtract(builder: Builder, node: Node, one: Any, other: Any, alpha: float = 1) -> Blob:
    if isinstance(one, Blob) and isinstance(other, Blob) and alpha == 1:
        return builder.add("BinaryOp", [one, other], read_shape(node), {0: _SUBTRACT})
    blob, value = _split_operands(one, other, node)
    return _affine(builder, blob, 1, -value * alpha) if blob is one else _affine(builder, blob, -alpha, value)


def _multiply(builder: Builder, node: Node, one: Any, other: Any) -> Blob:
    if isinstance(one, Blob) and isinstance(other, Blob):
        return builder.add("BinaryOp", [one, other], read_shape(node), {0: _MULTIPLY})
    blob, value = _split_operands(one, other, node)
    return _affine(builder, blob, value, 0)


def _divide(builder: Builder, node: Node, one: Any, other: Any) -> Blob:
    if isinstance(one, Blob) and isinstance(other, Blob):
        return builder.add("BinaryOp", [one, other], read_shape(node), {0: _DIVIDE})
    blob, value = _split_operands(one, other, node)
    if blob is one:
        return _affine(builder, blob, 1 / value, 0)
    parameters: dict[int, Parameter] = {0: _DIVIDED, 1: 1, 2: float(_per_channel(value, blob).item())}
    return builder.add("BinaryOp", [blob], blob.shape, parameters)


def _split_operands(one: Any, other: Any, node: Node) -> tuple[Blob, Any]:
    """Return the computed operand first, then the known one."""
    blob, value = (one, other) if isinstance(one, Blob) else (other, one)
    if isinstance(value, Tensor | float | int) and isinstance(blob, Blob):
        return blob, value
    raise UnexportableError(f"no layer for {node.target} of {type(one).__name__} and {type(other).__name__}")


def _relu(builder: Builder, node: Node, blob: Blob, slope: float = 0.0) -> Blob:
    return builder.add("ReLU", [blob], blob.shape, {0: float(slope)})


def _leaky_relu(builder: Builder, node: Node, blob: Blob, slope: float = 0.01) -> Blob:
    return _relu(builder, node, blob, slope)


def _prelu(builder: Builder, node: Node, blob: Blob, slopes: Tensor) -> Blob:
    _check_known("a PReLU", slopes)
    return builder.add("PReLU", [blob], blob.shape, {0: slopes.numel()}, (slopes,))


def _clip(builder: Builder, node: Node, blob: Blob, low: Any = None, high: Any = None) -> Blob:
    largest = torch.finfo(torch.float32).max
    limits = (-largest if low is None else float(low), largest if high is None else float(high))
    return builder.add("Clip", [blob], blob.shape, {0: limits[0], 1: limits[1]})


def _gelu(builder: Builder, node: Node, blob: Blob, approximate: str = "none") -> Blob:
    return builder.add("GELU", [blob], blob.shape, {0: int(approximate == "tanh")})


def _batch_norm(
    builder: Builder,
    node: Node,
    blob: Blob,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    training: bool,
    momentum: float,
    epsilon: float,
    *rest: Any,
) -> Blob:
    if training:
        raise UnexportableError("no layer for a normalisation in training mode")
    factor = (torch.ones_like(mean) if weight is None else weight) / (variance + epsilon).sqrt()
    offset = (0 if bias is None else bias) - mean * factor
    return _affine(builder, blob, factor, offset)


def _mean(builder: Builder, node: Node, blob: Blob, axes: Any, keep: bool = False, **options: Any) -> Blob:
    return _reduce(builder, node, blob, axes, keep, _MEAN)


def _sum(builder: Builder, node: Node, blob: Blob, axes: Any, keep: bool = False, **options: Any) -> Blob:
    return _reduce(builder, node, blob, axes, keep, _SUM)


def _amax(builder: Builder, node: Node, blob: Blob, axes: Any, keep: bool = False) -> Blob:
    return _reduce(builder, node, blob, axes, keep, _MAX)


def _reduce(builder: Builder, node: Node, blob: Blob, axes: Any, keep: bool, kind: int) -> Blob:
    """Reduce one axis at a time, the last first: sums of sums lose less than one long sum."""
    if not keep or len(blob.shape) != 4:
        raise UnexportableError(f"no layer for {node.target} that drops an axis")
    for axis in sorted({axis % 4 for axis in axes}, reverse=True):
        shape = (*blob.shape[:axis], "1", *blob.shape[axis + 1 :])
        blob = builder.add("Reduction", [blob], shape, {0: kind, 1: 0, 3: (axis - 1,), 4: 1, 5: 1})
    return blob


def _variance(
    builder: Builder, node: Node, blob: Blob, axes: Any, *, correction: float = 1, keepdim: bool = False
) -> Blob:
    if correction:
        raise UnexportableError("no layer for a variance that is divided by one less than the count")
    mean = _reduce(builder, node, blob, axes, keepdim, _MEAN)
    centred = builder.add("BinaryOp", [blob, mean], blob.shape, {0: _SUBTRACT})
    squares = builder.add("UnaryOp", [centred], blob.shape, {0: _SQUARE})
    return _reduce(builder, node, squares, axes, keepdim, _MEAN)


def _pixel_shuffle(builder: Builder, node: Node, blob: Blob, factor: int) -> Blob:
    return builder.add("PixelShuffle", [blob], read_shape(node), {0: factor})


def _pixel_unshuffle(builder: Builder, node: Node, blob: Blob, factor: int) -> Blob:
    return builder.add("Reorg", [blob], read_shape(node), {0: factor})


def _cat(builder: Builder, node: Node, blobs: list[Blob], axis: int = 0) -> Blob:
    if axis % 4 != 1 or not all(isinstance(blob, Blob) for blob in blobs):
        raise UnexportableError("no layer for a concatenation of other axes than channels")
    return builder.add("Concat", list(blobs), read_shape(node), {0: 0})


def _repeat(builder: Builder, node: Node, blob: Blob, times: list[int]) -> Blob:
    if [times[0], *times[2:]] != [1, 1, 1]:
        raise UnexportableError("no layer for a repetition of other axes than channels")
    return builder.add("Concat", [blob] * times[1], read_shape(node), {0: 0})


def _slice(
    builder: Builder,
    node: Node,
    blob: Blob,
    axis: int = 0,
    start: Any = None,
    stop: Any = None,
    step: int = 1,
) -> Blob:
    if read_shape(node) == blob.shape:
        return blob
    if axis % 4 != 1 or step != 1:
        raise UnexportableError("no layer for a slice of other axes than channels")
    first, last, _ = slice(start, stop).indices(blob.channels)
    return _crop_channels(builder, blob, first, last)


def _crop_channels(builder: Builder, blob: Blob, first: int, last: int) -> Blob:
    shape = (blob.shape[0], str(last - first), *blob.shape[2:])
    return builder.add("Crop", [blob], shape, {9: (first,), 10: (last,), 11: (0,)})


def _chunk(builder: Builder, node: Node, blob: Blob, count: int, axis: int = 0) -> list[Blob]:
    if axis % 4 != 1:
        raise UnexportableError("no layer for chunking of other axes than channels")
    return list(_crop_pieces(builder, blob, [-(-blob.channels // count)] * count))


def _split(builder: Builder, node: Node, blob: Blob, sizes: Any, axis: int = 0) -> list[Blob]:
    if axis % 4 != 1:
        raise UnexportableError("no layer for a split of other axes than channels")
    even = [sizes] * -(-blob.channels // sizes) if isinstance(sizes, int) else sizes
    return list(_crop_pieces(builder, blob, even))


def _crop_pieces(builder: Builder, blob: Blob, sizes: list[int]) -> Iterator[Blob]:
    first = 0
    for size in sizes:
        if first < blob.channels:
            yield _crop_channels(builder, blob, first, min(blob.channels, first + size))
        first += size


def _pad(
    builder: Builder, node: Node, blob: Blob, sides: list[Any], mode: str = "constant", value: Any = 0.0
) -> Blob:
    if read_shape(node) == blob.shape:
        return blob
    if len(sides) > 4 or mode not in _PADDINGS or not all(isinstance(side, int) for side in sides):
        raise UnexportableError("no layer for a padding that depends on the size")
    left, right, top, bottom = [*sides, 0, 0][:4]
    parameters = {0: top, 1: bottom, 2: left, 3: right, 4: _PADDINGS[mode], 5: float(value or 0)}
    return builder.add("Padding", [blob], read_shape(node), parameters)


def _max_pool2d(
    builder: Builder,
    node: Node,
    blob: Blob,
    size: Any,
    stride: Any = (),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    ceil: bool = False,
) -> Blob:
    (high, wide), (down, right) = _pair(size), _pair(stride or size)
    if any((*padding, ceil)) or set(dilation) != {1}:
        raise UnexportableError("no layer for a pooling with padding")
    return builder.add(
        "Pooling", [blob], read_shape(node), {0: 0, 1: wide, 11: high, 2: right, 12: down, 5: 1}
    )


def _upsample_nearest(
    builder: Builder, node: Node, blob: Blob, size: Any, factors: list[float] | None = None
) -> Blob:
    return _resize(builder, node, blob, _NEAREST, size, factors)


def _upsample_smooth(
    kind: int,
    builder: Builder,
    node: Node,
    blob: Blob,
    size: Any,
    corners: bool,
    factors: list[float] | None = None,
) -> Blob:
    return _resize(builder, node, blob, kind, size, factors, corners)


def _resize(
    builder: Builder,
    node: Node,
    blob: Blob,
    kind: int,
    size: Any,
    factors: list[float] | None,
    corners: bool = False,
) -> Blob:
    """Resize by a factor, or to the size of an earlier blob."""
    shape = read_shape(node)
    if shape == blob.shape:
        return blob
    if factors:
        parameters: dict[int, Parameter] = {0: kind, 1: float(factors[0]), 2: float(factors[1])}
        return builder.add("Interp", [blob], shape, parameters | {6: int(corners)})
    model = builder.by_size.get(shape[2:])
    if model is None:
        raise UnexportableError("no layer for resizing to an unrelated size")
    return builder.add("Interp", [blob, model], shape, {0: kind, 5: 1, 6: int(corners)})


def _zeros_like(builder: Builder, node: Node, blob: Blob, **options: Any) -> Tensor:
    return torch.zeros(1)


def _identity(builder: Builder, node: Node, blob: Blob, *rest: Any, **options: Any) -> Blob:
    return blob


def _sym_size(builder: Builder, node: Node, blob: Blob, axis: int) -> Size | int:
    size = blob.shape[axis]
    return int(size) if size.isdigit() else Size(size)


def _item(builder: Builder, node: Node, items: Any, index: int) -> Any:
    return items[index]


def _view(builder: Builder, node: Node, blob: Blob, shape: Any) -> ChannelTable:
    wanted = read_shape(node)
    channels_in_two = len(wanted) == 5 and (wanted[0], *wanted[3:]) == (blob.shape[0], *blob.shape[2:])
    if not channels_in_two or int(wanted[1]) * int(wanted[2]) != blob.channels:
        raise UnexportableError("no layer for this reshape")
    return ChannelTable(blob, int(wanted[1]))


def _transpose(builder: Builder, node: Node, table: Any, one: int, other: int) -> ChannelTable:
    if not isinstance(table, ChannelTable) or {one, other} != {1, 2}:
        raise UnexportableError("no layer for a transposition")
    return ChannelTable(table.blob, table.groups, not table.swapped)


def _flatten(builder: Builder, node: Node, table: Any, first: int = 0, last: int = -1) -> Blob:
    if not isinstance(table, ChannelTable) or (first, last) != (1, 2):
        raise UnexportableError("no layer for this reshape")
    blob = table.blob
    return builder.add("ShuffleChannel", [blob], blob.shape, {0: table.groups}) if table.swapped else blob


def _negative(builder: Builder, node: Node, blob: Blob) -> Blob:
    return _affine(builder, blob, -1, 0)


def _power(builder: Builder, node: Node, blob: Blob, exponent: float) -> Blob:
    if not math.isclose(exponent, 2):
        raise UnexportableError(f"no layer for a power of {exponent}")
    return builder.add("UnaryOp", [blob], blob.shape, {0: _SQUARE})


OPERATIONS: dict[str, Operation] = {
    "aten.conv2d.default": _conv2d,
    "aten.conv_transpose2d.input": _conv_transpose2d,
    "aten.add.Tensor": _add,
    "aten.add.Scalar": _add,
    "aten.sub.Tensor": _subtract,
    "aten.rsub.Scalar": lambda builder, node, one, other: _subtract(builder, node, other, one),
    "aten.mul.Tensor": _multiply,
    "aten.mul.Scalar": _multiply,
    "aten.div.Tensor": _divide,
    "aten.div.Scalar": _divide,
    "aten.neg.default": _negative,
    "aten.pow.Tensor_Scalar": _power,
    "aten.square.default": _unary(_SQUARE),
    "aten.sqrt.default": _unary(_SQRT),
    "aten.relu.default": _relu,
    "aten.relu_.default": _relu,
    "aten.leaky_relu.default": _leaky_relu,
    "aten.leaky_relu_.default": _leaky_relu,
    "aten.prelu.default": _prelu,
    "aten.clamp.default": _clip,
    "aten.clamp_min.default": _clip,
    "aten.hardtanh.default": _clip,
    "aten.gelu.default": _gelu,
    "aten.sigmoid.default": _same("Sigmoid"),
    "aten.tanh.default": _same("TanH"),
    "aten.silu.default": _same("Swish"),
    "aten.batch_norm.default": _batch_norm,
    "aten.mean.dim": _mean,
    "aten.sum.dim_IntList": _sum,
    "aten.amax.default": _amax,
    "aten.var.correction": _variance,
    "aten.max_pool2d.default": _max_pool2d,
    "aten.pixel_shuffle.default": _pixel_shuffle,
    "aten.pixel_unshuffle.default": _pixel_unshuffle,
    "aten.cat.default": _cat,
    "aten.repeat.default": _repeat,
    "aten.slice.Tensor": _slice,
    "aten.chunk.default": _chunk,
    "aten.split.Tensor": _split,
    "aten.split_with_sizes.default": _split,
    "aten.pad.default": _pad,
    "aten.upsample_nearest2d.vec": _upsample_nearest,
    "aten.upsample_bilinear2d.vec": partial(_upsample_smooth, _BILINEAR),
    "aten.upsample_bicubic2d.vec": partial(_upsample_smooth, _BICUBIC),
    "aten.zeros_like.default": _zeros_like,
    "aten.view.default": _view,
    "aten.transpose.int": _transpose,
    "aten.flatten.using_ints": _flatten,
    "aten.sym_size.int": _sym_size,
    "aten.contiguous.default": _identity,
    "aten.clone.default": _identity,
    "aten.dropout.default": _identity,
    "aten.alias.default": _identity,
    str(operator.getitem): _item,
}
