"""ncnn pairs: a graph (.param) and its weights (.bin beside it), read without ncnn and torch.

Pairs of networks that sr has are recognised by their layers, and their weights can be read back.
https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srcli.archs import Spec
from srcli.dataclass import dataclass
from srcli.errors import WeightsError
from srcli.storage.hashing import hash_once

Array = NDArray[np.float32]
_MAGIC = "7767517"
# A graph of 1000 layers takes 120 kB.
_LARGEST_GRAPH = 2**24
# What precedes an array: it is in half or in single precision. Other tags are of tables and 8-bit integers.
_HALF, _SINGLE = 0x01306B47, 0
# The first number of an array among a layer's parameters; `-23310` is the array with the number 10.
_ARRAYS = -23300


@dataclass(frozen=True)
class Layer:
    """One line of a graph: its kind, the blobs it takes and makes, and its parameters by number."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[int, tuple[float, ...]]

    def number(self, key: int, default: float = 0) -> float:
        """Return a parameter that is one number."""
        found = self.parameters.get(key)
        return found[0] if found else default

    @property
    def kernel(self) -> tuple[int, int]:
        """The height and width of a convolution's kernel."""
        return int(self.number(11, self.number(1))), int(self.number(1))


@dataclass(frozen=True)
class Graph:
    """A pair's files and its layers."""

    param: Path
    layers: tuple[Layer, ...]

    @property
    def bin(self) -> Path:
        """The file of the weights."""
        return self.param.with_suffix(".bin")

    @cached_property
    def input(self) -> str:
        """The name of the blob that takes the image."""
        (name,) = (blob for layer in self.layers if layer.kind == "Input" for blob in layer.outputs)
        return name

    @cached_property
    def output(self) -> str:
        """The name of the blob that no layer takes."""
        taken = {blob for layer in self.layers for blob in layer.inputs}
        (name,) = (blob for layer in self.layers for blob in layer.outputs if blob not in taken)
        return name

    @property
    def channels(self) -> int:
        """The number of channels of the image, if the graph says it; else 0."""
        return int(next(layer.number(2) for layer in self.layers if layer.kind == "Input"))

    def count_weights(self) -> int:
        """Return the number of weights of the layers whose weights are known."""
        return sum(count for layer in self.layers for count, _ in _count_weights(layer) or ())

    @property
    def pools(self) -> tuple[str, ...]:
        """The names of the blobs that are means over the whole image."""
        return tuple(layer.outputs[0] for layer in self.layers if layer.kind == "Pooling" and layer.number(4))


def find_pair(path: Path) -> Path | None:
    """Return the .param file of a pair, given it or its .bin file; None if `path` is neither."""
    if path.suffix not in (".param", ".bin"):
        return None
    param = path.with_suffix(".param")
    return param if param.is_file() else None


def list_pairs(folder: Path) -> list[Path]:
    """Return the .param files in a folder that have a .bin file beside them."""
    return sorted(path for path in folder.glob("*.param") if path.with_suffix(".bin").is_file())


def hash_weights(path: Path) -> str:
    """Return the SHA-256 of what `path` stands for: a pair, the pairs of a folder, or another weight file."""
    pair = find_pair(path)
    params = list_pairs(path) if path.is_dir() else [pair] if pair else []
    if not params:
        return hash_once(path)
    digests = (hash_once(file) for param in params for file in (param, param.with_suffix(".bin")))
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def read_graph(param: Path) -> Graph:
    """Return the graph of a pair. Raises `WeightsError` if there is no such pair, or it is damaged."""
    try:
        state, weights = param.stat(), param.with_suffix(".bin").stat()
    except OSError as error:
        raise WeightsError(
            f"{error.filename} does not exist", "a pair is a .param and a .bin file"
        ) from error
    return _read_graph(param, state.st_mtime_ns, state.st_size, weights.st_size)


@lru_cache(maxsize=16)
def _read_graph(param: Path, changed: int, size: int, weights: int) -> Graph:
    if size > _LARGEST_GRAPH:
        raise WeightsError(f"{param} is too large for a graph: {size:,} bytes", "is it another kind of file?")
    lines = param.read_text("utf-8", "replace").splitlines()
    if not lines or lines[0].strip() != _MAGIC:
        raise WeightsError(f"{param} is not an ncnn graph", "its first line has to be 7767517")
    try:
        graph = Graph(param, tuple(map(_parse_layer, filter(str.strip, lines[2:]))))
        _ = graph.input, graph.output
        stated = int(lines[1].split()[0])
    except (ValueError, IndexError) as error:
        hint = "a graph with one input and one output is needed"
        raise WeightsError(f"{param} is damaged, or has several inputs or outputs", hint) from error
    if stated != len(graph.layers):
        raise WeightsError(f"{param} states {stated} layers and has {len(graph.layers)}", "copy it again")
    try:
        for _layer, _arrays in read_layers(graph):
            pass
    except (ValueError, OverflowError) as error:  # a size that is negative, or infinite
        raise WeightsError(f"{param} is damaged: its sizes make no sense", "copy it again") from error
    return graph


def _parse_layer(line: str) -> Layer:
    kind, _name, inputs, outputs, *rest = line.split()
    first, last = int(inputs), int(inputs) + int(outputs)
    pairs = (text.partition("=") for text in rest[last:])
    return Layer(
        kind, tuple(rest[:first]), tuple(rest[first:last]), dict(_parse_value(k, v) for k, _, v in pairs)
    )


def _parse_value(key: str, text: str) -> tuple[int, tuple[float, ...]]:
    number, values = int(key), tuple(map(float, text.split(",")))
    return (_ARRAYS - number, values[1:]) if number <= _ARRAYS else (number, values)


def _count_weights(layer: Layer) -> list[tuple[int, bool]] | None:
    """Return the lengths of a layer's arrays, and whether a tag precedes them; None for unknown layers."""
    outputs = int(layer.number(0))
    match layer.kind:
        case "Convolution" | "Deconvolution" | "ConvolutionDepthWise" | "DeconvolutionDepthWise":
            computed = 28 if layer.kind.startswith("De") else 19
            if layer.number(8) or layer.number(computed):  # 8 bits, or weights that are computed
                return None
            return [(int(layer.number(6)), True)] + [(outputs, False)] * bool(layer.number(5))
        case "InnerProduct":
            return [(int(layer.number(2)), True)] + [(outputs, False)] * bool(layer.number(1))
        case "PReLU":
            return [(outputs, False)]
        case "Scale" if outputs == -233:  # its factors are another blob
            return []
    return [] if layer.kind in _WEIGHTLESS else None


_WEIGHTLESS = {
    *(
        "Input",
        "Split",
        "Concat",
        "Slice",
        "Crop",
        "Padding",
        "Reshape",
        "Permute",
        "Flatten",
        "Noop",
        "Dropout",
    ),
    *("Dropout", "Eltwise", "BinaryOp", "UnaryOp", "Reduction", "Pooling", "Interp", "PixelShuffle", "Reorg"),
    *("ReLU", "Clip", "Sigmoid", "TanH", "Swish", "HardSigmoid", "HardSwish", "Mish", "GELU"),
}


def read_layers(graph: Graph) -> Iterator[tuple[Layer, list[Array]]]:
    """Yield the layers with their arrays, up to the first whose weights are unknown.

    Raises `WeightsError` if the file of the weights is too short, or goes on after the last layer.
    """
    raw = np.memmap(graph.bin, np.uint8, "r") if graph.bin.stat().st_size else np.empty(0, np.uint8)
    place = 0
    for layer in graph.layers:
        counts = _count_weights(layer)
        if counts is None:
            return
        arrays = []
        for count, tagged in counts:
            found = _read_array(raw, place, count, tagged)
            if found is None:
                return
            array, place = found
            if place > len(raw):
                raise WeightsError(
                    f"{graph.bin} is too short for {graph.param.name}", "the two do not belong together"
                )
            arrays.append(array)
        yield layer, arrays
    if place != len(raw):
        raise WeightsError(
            f"{graph.bin} has {len(raw):,} bytes, but {graph.param.name} needs {place:,}",
            "the two do not belong together",
        )


def replace_weights(graph: Graph, old: Mapping[str, NDArray[Any]], new: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the content of the .bin file after its network's tensors changed from `old` to `new`.

    Each array is the tensor that has its values. Raises `WeightsError` if a tensor is not in the file.
    """
    names = {value.astype(np.float32).tobytes(): name for name, value in old.items()}
    content, place = bytearray(graph.bin.read_bytes()), 0
    for layer, arrays in read_layers(graph):
        for array, (count, tagged) in zip(arrays, _count_weights(layer) or (), strict=True):
            is_half = tagged and int.from_bytes(content[place : place + 4], "little") == _HALF
            place += 4 * tagged
            size = count * (2 if is_half else 4)
            name = names.pop(array.tobytes(), None)
            if name is not None:
                content[place : place + size] = new[name].astype("<f2" if is_half else "<f4").tobytes()
            place += -(-size // 4) * 4
    if names:
        raise WeightsError(f"{graph.bin} has no {next(iter(names.values()))}", "convert the network again")
    return bytes(content)


def _read_array(raw: NDArray[np.uint8], place: int, count: int, tagged: bool) -> tuple[Array, int] | None:
    """Return an array and where it ends, which may be after the end of the file; None for unknown formats."""
    tag = _SINGLE
    if tagged:
        tag = int.from_bytes(raw[place : place + 4].tobytes(), "little")
        place += 4
    if tag not in (_HALF, _SINGLE):
        return None
    if count < 0:
        raise ValueError("negative")
    size = count * 2 if tag == _HALF else count * 4
    end = place + -(-size // 4) * 4
    values = raw[place : place + size] if end <= len(raw) else raw[:0]
    return values.view(np.float16 if tag == _HALF else np.float32).astype(np.float32), end


# What a layer is, in one letter. A convolution is `C`, with a leaky ReLU after it `L` (0.2) or `l` (0.1).
def _write_signature(graph: Graph) -> str:
    letters = ""
    for layer in graph.layers:
        if layer.kind == "ReLU" and letters.endswith("C"):
            letters = letters[:-1] + _describe_slope(layer.number(0))
        elif layer.kind not in ("Input", "Split"):
            letters += _find_letter(layer)
    return letters


def _find_letter(layer: Layer) -> str:
    match layer.kind:
        case "Convolution":
            slope = layer.parameters.get(10, (0.0,))[0]
            return {0: "C", 2: _describe_slope(slope)}.get(int(layer.number(9)), "?")
        case "Eltwise":
            coefficients = layer.parameters.get(1, (1.0, 1.0))
            return {"1 1": "+", "0.2 1": "r"}.get(" ".join(f"{one:.4g}" for one in coefficients), "?")
        case "BinaryOp":
            if layer.number(1):
                return "*" if layer.number(0) == 2 and round(layer.number(2), 4) == 0.2 else "?"
            return "?" if layer.number(0) else "+"
        case "Interp":
            return {1: "i", 3: "b"}.get(int(layer.number(0)), "?")
    return {"Concat": "c", "PReLU": "P", "PixelShuffle": "S", "Deconvolution": "D"}.get(layer.kind, "?")


def _describe_slope(slope: float) -> str:
    return {0.2: "L", 0.1: "l"}.get(round(slope, 4), "?")


_DENSE = r"LcLcLcLcC(?:r|\*\+)"
_RRDBNET = re.compile(rf"C((?:(?:{_DENSE}){{3}}(?:r|\*\+))+)C\+((?:iL)*)LC")
_SRVGG = re.compile(r"CP((?:CP)+)C(?:Si|iS)\+(b?)")


# A layer needs memory for what it takes and makes, and its Winograd transforms for about twice as much.
_WORKSPACE = 3


def count_pixel_bytes(graph: Graph) -> float:
    """Return about how many bytes in single precision the largest layer takes for each pixel of the image."""
    largest = max(sum(channels * area for channels, area in blobs) for _, blobs in _measure_layers(graph))
    return _WORKSPACE * 4 * largest


def count_operations(graph: Graph) -> float:
    """Return the multiplications and additions of the convolutions for each pixel of the image."""
    operations = 0.0
    for layer, blobs in _measure_layers(graph):
        if "onvolution" in layer.kind:
            # A transposed one computes at each pixel that it takes.
            _, area = blobs[0 if layer.kind.startswith("De") else -1]
            operations += 2 * layer.number(6) * area
    return operations


def _measure_layers(graph: Graph) -> Iterator[tuple[Layer, list[tuple[float, float]]]]:
    """Yield each layer with the channels and area of the blobs that it takes, and last that which it makes.

    Areas are pixels for each pixel of the image.
    """
    known: dict[str, tuple[float, float]] = {}
    for layer in graph.layers:
        taken = [known[name] for name in layer.inputs if name in known]
        made = _measure_blob(layer, taken)
        known.update(dict.fromkeys(layer.outputs, made))
        yield layer, [*taken, made]


def _measure_blob(layer: Layer, taken: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the channels and area of what a layer makes of blobs with these; unknown layers keep them."""
    channels, area = taken[0] if taken else (layer.number(2) or 3, 1.0)
    match layer.kind:
        case "Convolution" | "ConvolutionDepthWise":
            return layer.number(0), area / layer.number(3, 1) ** 2
        case "Deconvolution" | "DeconvolutionDepthWise":
            return layer.number(0), area * layer.number(3, 1) ** 2
        case "PixelShuffle":
            return channels / layer.number(0, 1) ** 2, area * layer.number(0, 1) ** 2
        case "Interp":
            return channels, area * (layer.number(1, 1) or 1) * (layer.number(2, 1) or 1)
        case "Concat":
            return sum(each for each, _ in taken), area
    return channels, area


@dataclass(frozen=True)
class KnownPair:
    """A pair of a network that sr has; `names`: its keys for the layers with weights, in their order.

    `halo`, `margin` and `alignment` are as in `NetworkInfo`; importing the network would import torch.
    """

    spec: Spec
    halo: int
    names: tuple[str, ...]
    margin: int = 0
    alignment: int = 1


def identify_graph(graph: Graph) -> KnownPair | None:
    """Return which of our networks has these layers, or None if none does."""
    return next(filter(None, (identify(graph) for identify in _FAMILIES)), None)


def _identify_rrdbnet(graph: Graph) -> KnownPair | None:
    match = _RRDBNET.fullmatch(_write_signature(graph))
    convolutions = [layer for layer in graph.layers if layer.kind == "Convolution"]
    if match is None or not all(_has_plain_kernel(layer) for layer in convolutions):
        return None
    steps = len(match[2]) // 2
    blocks = (len(convolutions) - 4 - steps) // 15
    if steps not in (0, 1, 2, 3) or not all(_doubles(layer) for layer in graph.layers):
        return None
    features, growth = (int(convolutions[k].number(0)) for k in (0, 1))
    config = {"blocks": blocks, "features": features, "growth": growth}
    defaults = {"blocks": 23, "features": 64, "growth": 32}
    own = {key: value for key, value in config.items() if defaults[key] != value}
    own |= {"unshuffle": False} if steps < 2 else {}
    body = (f"body.{b}.rdb{r}.conv{c}" for b in range(blocks) for r in (1, 2, 3) for c in range(1, 6))
    ups = (f"conv_up{number}" for number in range(1, steps + 1))
    names = ("conv_first", *body, "conv_body", *ups, "conv_hr", "conv_last")
    return _check_shapes(graph, KnownPair(Spec("rrdbnet", 2**steps, own), min(15 * blocks + 4, 64), names))


def _identify_srvgg(graph: Graph) -> KnownPair | None:
    match = _SRVGG.fullmatch(_write_signature(graph))
    convolutions = [layer for layer in graph.layers if layer.kind == "Convolution"]
    if match is None or not all(_has_plain_kernel(layer) for layer in convolutions):
        return None
    scales = {layer.number(0) for layer in graph.layers if layer.kind == "PixelShuffle"}
    resized = [layer for layer in graph.layers if layer.kind == "Interp"]
    scales |= {layer.number(k) for layer in resized if layer.number(0) == 1 for k in (1, 2)}
    factors = {layer.number(k) for layer in resized if layer.number(0) == 3 for k in (1, 2)} or {1.0}
    convs, features = len(match[1]) // 2, int(convolutions[0].number(0))
    if len(scales) != 1 or len(factors) != 1 or features != convolutions[1].number(0):
        return None
    inner = int(scales.pop())
    scale = inner * factors.pop()
    if scale not in (1, 2, 3, 4) or scale > inner:
        return None
    config = {"convs": convs, "features": features}
    own = {key: value for key, value in config.items() if {"convs": 16, "features": 64}[key] != value}
    own |= {"inner": inner} if match[2] else {}
    names = tuple(f"body.{number}" for number in range(2 * convs + 3))
    halo = convs + 2 + bool(match[2])
    return _check_shapes(graph, KnownPair(Spec("srvgg", int(scale), own), halo, names))


# The layers of waifu2x's networks in the order of a pair: key, and kind, outputs, kernel and step.
_UPCONV7 = {f"net.{2 * k}": f"C{n} 3 1" for k, n in enumerate((16, 32, 64, 128, 128, 256))} | {
    "net.12": "D3 4 2"
}


def _list_unet(prefix: str, *layers: tuple[str, str]) -> dict[str, str]:
    return {f"{prefix}.{name}": shape for name, shape in layers}


def _list_block(name: str, middle: int, outputs: int, squeezed: int = 0) -> tuple[tuple[str, str], ...]:
    convolutions = ((f"{name}.conv.0", f"C{middle} 3 1"), (f"{name}.conv.2", f"C{outputs} 3 1"))
    attention = ((f"{name}.seblock.conv1", f"I{squeezed}"), (f"{name}.seblock.conv2", f"I{outputs}"))
    return convolutions + (attention if squeezed else ())


def _list_cunet(bottom: str) -> dict[str, str]:
    """Return the layers of CUNet; `bottom` ends its first U-Net."""
    first = (
        *(*_list_block("conv1", 32, 64), ("conv1_down", "C64 2 2"), *_list_block("conv2", 128, 64, 8)),
        *(("conv2_up", "D64 2 2"), ("conv3", "C64 3 1"), ("conv_bottom", bottom)),
    )
    second = (
        *(*_list_block("conv1", 32, 64), ("conv1_down", "C64 2 2"), *_list_block("conv2", 64, 128, 16)),
        *(("conv2_down", "C128 2 2"), *_list_block("conv3", 256, 128, 16), ("conv3_up", "D128 2 2")),
        *(*_list_block("conv4", 64, 64, 8), ("conv4_up", "D64 2 2"), ("conv5", "C64 3 1")),
        ("conv_bottom", "C3 3 1"),
    )
    return _list_unet("unet1", *first) | _list_unet("unet2", *second)


_WAIFU2X = (
    (KnownPair(Spec("upconv7", 2), 7, tuple(_UPCONV7), margin=7), tuple(_UPCONV7.values())),
    *(
        (KnownPair(Spec("cunet", scale), margin, tuple(layers), margin, 4 // scale), tuple(layers.values()))
        for scale, margin, layers in ((1, 28, _list_cunet("C3 3 1")), (2, 18, _list_cunet("D3 4 2")))
    ),
)


def _identify_waifu2x(graph: Graph) -> KnownPair | None:
    shapes = tuple(
        f"{layer.kind[0]}{layer.number(0):g}"
        + ("" if layer.kind == "InnerProduct" else f" {layer.number(1):g} {layer.number(3, 1):g}")
        for layer, arrays in read_layers(graph)
        if arrays
    )
    return next((known for known, wanted in _WAIFU2X if wanted == shapes), None)


_FAMILIES: tuple[Callable[[Graph], KnownPair | None], ...] = (
    _identify_rrdbnet,
    _identify_srvgg,
    _identify_waifu2x,
)


def _has_plain_kernel(layer: Layer) -> bool:
    """Return whether a convolution is 3x3 with a bias and keeps the size."""
    numbers = (layer.number(2, 1), layer.number(3, 1), layer.number(4), layer.number(5))
    return layer.kernel == (3, 3) and numbers == (1, 1, 1, 1)


def _doubles(layer: Layer) -> bool:
    """Return whether a layer that resizes does so by 2."""
    return layer.kind != "Interp" or layer.number(1) == layer.number(2) == 2


def _check_shapes(graph: Graph, known: KnownPair) -> KnownPair | None:
    """Return the pair if every array could be read, so that nothing but its numbers can be wrong."""
    if any(layer.kind == "Input" and layer.number(2, 3) != 3 for layer in graph.layers):
        return None
    read = [layer for layer, arrays in read_layers(graph) if arrays]
    return known if len(read) == len(known.names) else None


def read_known(param: Path) -> dict[str, Array]:
    """Return the weights of a pair by the keys of our network. Raises `WeightsError` for unknown networks."""
    graph = read_graph(param)
    known = identify_graph(graph)
    if known is None:
        raise WeightsError(f"{param} is of no network that sr has", "it runs by ncnn, and by nothing else")
    found = ((layer, arrays) for layer, arrays in read_layers(graph) if arrays)
    return dict(_name_arrays(zip(known.names, found, strict=True)))


def _name_arrays(named: Iterable[tuple[str, tuple[Layer, list[Array]]]]) -> Iterator[tuple[str, Array]]:
    for name, (layer, (weight, *bias)) in named:
        shape = {"PReLU": (-1,), "InnerProduct": (int(layer.number(0)), -1, 1, 1)}.get(
            layer.kind, (int(layer.number(0)), -1, *layer.kernel)
        )
        shaped = weight.reshape(shape)
        # PyTorch has the inputs of a transposed convolution first.
        yield f"{name}.weight", shaped.swapaxes(0, 1).copy() if layer.kind == "Deconvolution" else shaped
        for array in bias:
            yield f"{name}.bias", array
