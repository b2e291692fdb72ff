"""Translation of ncnn graphs into ONNX, which other libraries read; without torch.

`translate_to_levels` adds what is around a network: luma and chroma are split and merged by convolutions
beside it, before its pixel shuffle, so that only the last step touches the large image.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from srcli.engine.runtimes.base import UnsupportedNetwork
from srcli.engine.runtimes.onnx_model import OnnxGraph
from srcli.engine.weights.ncnn import Array, Graph, Layer, read_layers
from srcli.imaging.color import LUMA_GAIN, LUMA_OFFSET, LUMA_WEIGHTS
from srcli.imaging.resize import KERNELS

INPUT = "image"
# Pixels that bicubic interpolation looks at beyond the border; the caller mirrors them.
MARGIN = 2
_WHITE = 255.0
_PADDING_MODES = ("constant", "edge", "reflect")
_OPERATIONS = ("Add", "Sub", "Mul", "Div")
_RELU, _LEAKY_RELU = 1, 2
_BYTE = 2  # ONNX's number of uint8


def translate(graph: Graph, channels: int) -> bytes:
    """Return a model that takes and gives float32 in [0, 1], as (1, C, H, W).

    Raises `UnsupportedNetwork` if a layer is of a kind that is not translated.
    """
    model = OnnxGraph()
    out = _translate_layers(model, _read_layers(graph), INPUT, graph.output)
    source = (INPUT, "float32", (1, channels, "height", "width"))
    return model.encode(source, (out, "float32", (1, channels, "tall", "wide")))


def translate_to_levels(graph: Graph, channels: int, scale: int, *, rounds_last: bool) -> bytes:
    """Return a model of RGB in [0, 1] that gives levels of RGB from 0 to 255, ready to be cut off.

    It takes float32 of (1, H + 4, W + 4, 3), mirrored at the borders, and gives (1, H, W, s*s*3): of each
    input pixel, the pixels that it becomes, row by row, as uint8. `rounds_last`: bytes are put into their
    order as floats, which some libraries do faster. Raises `UnsupportedNetwork` like `translate`, and if the
    network does not end in a pixel shuffle.
    """
    layers = _read_layers(graph)
    last = layers[-1][0]
    if last.kind != "PixelShuffle" or last.number(0) != scale or last.number(1):
        raise UnsupportedNetwork(f"it ends in a layer {last.kind}")
    model = OnnxGraph()
    margins = model.add("Transpose", [INPUT], perm=(0, 3, 1, 2))
    source = _crop(model, margins)
    if channels == 1:
        source = _add_luma(model, source)
    planes = _translate_layers(model, layers, source, last.inputs[0])
    levels = _spread_planes(model, planes, channels, scale)
    if channels == 1:
        levels = model.add("Add", [levels, _add_chroma(model, margins, scale)])
    bounds = (model.constant(np.array(bound, np.float32)) for bound in (0, _WHITE))
    out = model.add("Clip", [levels, *bounds])
    if rounds_last:
        out = model.add("Cast", [model.add("Transpose", [out], perm=(0, 2, 3, 1))], to=_BYTE)
    else:
        out = model.add("Transpose", [model.add("Cast", [out], to=_BYTE)], perm=(0, 2, 3, 1))
    shape = (1, "tall", "wide", 3 * scale**2)
    return model.encode((INPUT, "float32", (1, "height", "width", 3)), (out, "uint8", shape))


def _crop(model: OnnxGraph, planes: str) -> str:
    """Remove the margin of (1, C, H, W)."""
    bounds = (np.array([each, each], np.int64) for each in (MARGIN, -MARGIN))
    starts, stops = (model.constant(each) for each in bounds)
    return model.add("Slice", [planes, starts, stops, model.constant(np.array([2, 3], np.int64))])


def _add_luma(model: OnnxGraph, planes: str) -> str:
    weights = LUMA_WEIGHTS.astype(np.float32).reshape(1, 3, 1, 1)
    constants = [model.constant(weights), model.constant(np.array([LUMA_OFFSET], np.float32))]
    return model.add("Conv", [planes, *constants], kernel_shape=(1, 1))


def _spread_planes(model: OnnxGraph, planes: str, channels: int, scale: int) -> str:
    """Bring what a pixel shuffle would take into the order of the output, in levels and with three channels.

    A convolution does that faster than copies; of RGB, it also adds the half for rounding.
    """
    phases, gain = scale**2, _WHITE * (LUMA_GAIN if channels == 1 else 1)
    weights = np.zeros((phases, 3, channels, phases), np.float32)
    for phase in range(phases):
        weights[phase, :, :, phase] = gain * np.eye(3) if channels == 3 else gain
    constants = [model.constant(weights.reshape(3 * phases, channels * phases, 1, 1))]
    if channels == 3:
        constants.append(model.constant(np.full(3 * phases, 0.5, np.float32)))
    return model.add("Conv", [planes, *constants], kernel_shape=(1, 1))


def _add_chroma(model: OnnxGraph, planes: str, scale: int) -> str:
    """Add the interpolation of what is left of RGB without its luma, which is a linear function of it.

    The result is in levels, with what luma lacks: its offset, and a half for rounding.
    """
    rest = np.eye(3) - LUMA_GAIN * np.tile(LUMA_WEIGHTS, (3, 1))
    kernel = _WHITE * np.einsum("ci,pyx->pciyx", rest, _make_phases(scale)).reshape(3 * scale**2, 3, 5, 5)
    offset = np.full(3 * scale**2, 0.5 - LUMA_GAIN * LUMA_OFFSET * _WHITE, np.float32)
    taps = [model.constant(kernel.astype(np.float32)), model.constant(offset)]
    return model.add("Conv", [planes, *taps], kernel_shape=(5, 5))


def _make_phases(scale: int) -> NDArray[np.float64]:
    """Return the kernels (scale**2, 5, 5) of bicubic interpolation for each output of an input pixel."""
    centres = (np.arange(scale) + 0.5) / scale - 0.5
    weights = KERNELS["bicubic"].weight(centres[:, None] - np.arange(-MARGIN, MARGIN + 1))
    weights /= weights.sum(axis=1, keepdims=True)
    phases: NDArray[np.float64] = np.einsum("ai,bj->abij", weights, weights).reshape(scale**2, 5, 5)
    return phases


# A layer and its weights.
_LoadedLayer = tuple[Layer, list[Array]]


def _read_layers(graph: Graph) -> list[_LoadedLayer]:
    """Return the layers, of which a transposed convolution at the end becomes one before a pixel shuffle."""
    layers = list(read_layers(graph))
    if len(layers) < len(graph.layers):
        kind = graph.layers[len(layers)].kind
        reason = "weights in a format" if kind in _TRANSLATORS else f"a layer {kind}"
        raise UnsupportedNetwork(f"it has {reason} that is not translated")
    if layers[-1][0].kind == "Deconvolution":
        layers[-1:] = _split_deconvolution(*layers[-1])
    return layers


def _split_deconvolution(layer: Layer, arrays: list[Array]) -> list[_LoadedLayer]:
    """Return a convolution for each phase of the output, and a pixel shuffle; or the layer if it is no such.

    Output s*q + r of a transposed convolution is the sum of input q + t times weight r + p - t*s, with the
    step s and the border p.
    """
    geometry = _read_geometry(layer)
    step, border, side = (geometry[key][0] for key in ("strides", "pads", "kernel_shape"))
    added = int(layer.number(18))
    is_even = all(len(set(geometry[key])) == 1 for key in ("strides", "pads", "kernel_shape"))
    keeps_size = side - 2 * border + added == step and added == layer.number(19, added)
    if not is_even or not keeps_size or tuple(geometry["dilations"]) != (1, 1):
        return [(layer, arrays)]
    outputs = int(layer.number(0))
    weights = arrays[0].reshape(outputs, -1, side, side)
    first, last = -((side - 1 - border) // step), (step - 1 + border) // step
    taps = [(r, t, r + border - t * step) for r in range(step) for t in range(first, last + 1)]
    inside = [(r, t - first, k) for r, t, k in taps if 0 <= k < side]
    kernel = np.zeros((outputs, step, step, weights.shape[1], last - first + 1, last - first + 1), np.float32)
    for (row, up, high), (column, left, wide) in product(inside, repeat=2):
        kernel[:, row, column, :, up, left] = weights[:, :, high, wide]
    phases, reach = outputs * step**2, last - first + 1
    parameters = {0: phases, 1: reach, 4: -first, 15: last, 16: last, 5: len(arrays) > 1, 6: kernel.size}
    activation = {key: layer.parameters[key] for key in (9, 10) if key in layer.parameters}
    planes = f"{layer.outputs[0]} in phases"
    one = {key: (float(value),) for key, value in parameters.items()} | activation
    convolution = Layer("Convolution", layer.inputs, (planes,), one)
    shuffle = Layer("PixelShuffle", (planes,), layer.outputs, {0: (float(step),)})
    biases = [array.repeat(step**2) for array in arrays[1:]]
    return [(convolution, [kernel, *biases]), (shuffle, [])]


def _translate_layers(model: OnnxGraph, layers: list[_LoadedLayer], source: str, blob: str) -> str:
    """Add the layers that make a blob, from the value `source` on, and return its name in the model."""
    names: dict[str, str] = {}
    for layer, arrays in layers:
        if layer.kind == "Input":
            name = source
        elif layer.kind == "Split":
            name = names[layer.inputs[0]]
        elif layer.kind in _TRANSLATORS:
            name = _TRANSLATORS[layer.kind](model, layer, [names[each] for each in layer.inputs], arrays)
        else:
            raise UnsupportedNetwork(f"it has a layer {layer.kind}, which is not translated")
        names.update(dict.fromkeys(layer.outputs, name))
        if blob in names:
            break
    return names[blob]


def _add_convolution(model: OnnxGraph, layer: Layer, inputs: list[str], arrays: list[Array]) -> str:
    kernel = arrays[0].reshape(int(layer.number(0)), -1, *layer.kernel)
    constants = [model.constant(each) for each in (kernel, *arrays[1:])]
    groups = int(layer.number(7, 1))
    return _activate(
        model, layer, model.add("Conv", [*inputs, *constants], group=groups, **_read_geometry(layer))
    )


def _add_deconvolution(model: OnnxGraph, layer: Layer, inputs: list[str], arrays: list[Array]) -> str:
    kernel = arrays[0].reshape(int(layer.number(0)), -1, *layer.kernel).swapaxes(0, 1)
    constants = [model.constant(each) for each in (kernel, *arrays[1:])]
    added = [int(layer.number(19, layer.number(18))), int(layer.number(18))]
    name = model.add("ConvTranspose", [*inputs, *constants], output_padding=added, **_read_geometry(layer))
    return _activate(model, layer, name)


def _activate(model: OnnxGraph, layer: Layer, name: str) -> str:
    """Add the activation that a convolution contains."""
    kind = int(layer.number(9))
    if kind == _RELU:
        return model.add("Relu", [name])
    if kind == _LEAKY_RELU:
        return model.add("LeakyRelu", [name], alpha=float(layer.parameters[10][0]))
    if kind:
        raise UnsupportedNetwork(f"it has an activation {kind}, which is not translated")
    return name


def _add_prelu(model: OnnxGraph, layer: Layer, inputs: list[str], arrays: list[Array]) -> str:
    return model.add("PRelu", [*inputs, model.constant(arrays[0].reshape(-1, 1, 1))])


def _add_relu(model: OnnxGraph, layer: Layer, inputs: list[str], arrays: list[Array]) -> str:
    return model.add("LeakyRelu", inputs, alpha=float(layer.number(0)))


def _add_tanh(model: OnnxGraph, layer: Layer, inputs: list[str], arrays: list[Array]) -> str:
    return model.add("Tanh", inputs)


def _add_operation(model: OnnxGraph, layer: Layer, inputs: list[str], arrays: list[Array]) -> str:
    kind = int(layer.number(0))
    if kind >= len(_OPERATIONS):
        raise UnsupportedNetwork(f"it has an operation {kind}, which is not translated")
    other = [model.constant(np.array([layer.number(2)], np.float32))] if layer.number(1) else []
    return model.add(_OPERATIONS[kind], [*inputs, *other])


def _add_padding(model: OnnxGraph, layer: Layer, inputs: list[str], arrays: list[Array]) -> str:
    top, bottom, left, right, kind = (int(layer.number(key)) for key in range(5))
    pads = model.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    value = [] if kind else [model.constant(np.array(layer.number(5), np.float32))]
    return model.add("Pad", [*inputs, pads, *value], mode=_PADDING_MODES[kind])


def _add_shuffle(model: OnnxGraph, layer: Layer, inputs: list[str], arrays: list[Array]) -> str:
    if layer.number(1):
        raise UnsupportedNetwork("it has a pixel shuffle in another order, which is not translated")
    return model.add("DepthToSpace", inputs, blocksize=int(layer.number(0)), mode="CRD")


_TRANSLATORS = {
    "Convolution": _add_convolution,
    "ConvolutionDepthWise": _add_convolution,
    "Deconvolution": _add_deconvolution,
    "PReLU": _add_prelu,
    "ReLU": _add_relu,
    "TanH": _add_tanh,
    "BinaryOp": _add_operation,
    "Padding": _add_padding,
    "PixelShuffle": _add_shuffle,
}


def _read_geometry(layer: Layer) -> dict[str, Sequence[int]]:
    """Return the kernel, steps and borders of a convolution, in ONNX's terms."""

    def read_pair(high: int, wide: int, default: int) -> tuple[int, int]:
        across = layer.number(wide, default)
        return int(layer.number(high, across)), int(across)

    top, left = read_pair(14, 4, 0)
    return {
        "kernel_shape": layer.kernel,
        "dilations": read_pair(12, 2, 1),
        "strides": read_pair(13, 3, 1),
        "pads": (top, left, int(layer.number(16, top)), int(layer.number(15, left))),
    }
