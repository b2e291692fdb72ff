"""Graphs of ONNX and TensorFlow: the image that one takes, and its weights counted, without a library.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

import math
from collections.abc import Iterator
from pathlib import Path

from srcli.dataclass import dataclass
from srcli.errors import WeightsError

SUFFIXES = (".onnx", ".pb")
# The numbers of fields in onnx.proto3.
_GRAPH, _INITIALIZER, _INPUT = 7, 5, 11
_DIMS, _TENSOR_NAME = 1, 8
_NAME, _TYPE, _TENSOR, _ELEMENT, _SHAPE, _DIM, _DIM_VALUE = 1, 2, 1, 1, 2, 1, 1
# Of fields in graph.proto.
_NODE, _OP, _ATTRIBUTE = 1, 2, 5
# Types of elements that images can have.
_DTYPES = {1: "float32", 2: "uint8", 10: "float16"}
# What a file of protocol buffers cannot exceed.
_LARGEST = 2**31


@dataclass(frozen=True)
class GraphInput:
    """The image that a graph takes: its name, type and four sizes; 0 for one that may vary.

    `params`: the number of weights of the graph, if it is known.
    """

    name: str
    dtype: str = "float32"
    shape: tuple[int, ...] = (0, 0, 0, 0)
    params: int = 0


def is_graph(path: Path) -> bool:
    """Return whether a file is a graph of ONNX or TensorFlow, by its name."""
    return path.suffix in SUFFIXES


def read_input(path: Path) -> GraphInput:
    """Return the image that an ONNX file takes. Raises `WeightsError` if it takes none, or is damaged."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("too large")
        graph = b"".join(_find_all(memoryview(path.read_bytes()), _GRAPH))
        weights = [_read_weight(raw) for raw in _find_all(memoryview(graph), _INITIALIZER)]
        inputs = [_read_input(raw) for raw in _find_all(memoryview(graph), _INPUT)]
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}", "check its path") from error
    except (ValueError, IndexError) as error:
        raise WeightsError(
            f"{path} is not an ONNX file, or damaged", "export or download it again"
        ) from error
    names = {name for name, _ in weights}
    images = [one for one in inputs if one.name not in names]
    if len(images) != 1 or len(images[0].shape) != 4:
        shapes = ", ".join(f"{one.name} {list(one.shape)}" for one in images[:4]) or "none"
        raise WeightsError(f"{path} does not take one image; its inputs: {shapes}", "give an upscaler")
    image = images[0]
    return GraphInput(image.name, image.dtype, image.shape, sum(count for _, count in weights))


def read_frozen_graph(path: Path) -> bytes:
    """Return a frozen graph of TensorFlow as OpenCV reads it. Raises `WeightsError` if it is damaged.

    ESPCN and FSRCNN end in a layer whose block OpenCV expects under another name.
    https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/graph.proto
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("too large")
        nodes = list(_find_all(memoryview(path.read_bytes()), _NODE))
        if not nodes:
            raise ValueError("empty")
        return b"".join(_write_field(_NODE, _name_block(node)) for node in nodes)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}", "check its path") from error
    except (ValueError, IndexError) as error:
        raise WeightsError(f"{path} is damaged, or no graph of TensorFlow", "download it again") from error


def _name_block(node: memoryview) -> bytes:
    """Return a node; one that moves channels into space with its block size as OpenCV calls it, too."""
    raw = bytes(node)
    if b"".join(_find_all(node, _OP)) != b"DepthToSpace":
        return raw
    for attribute in _find_all(node, _ATTRIBUTE):
        if b"".join(_find_all(attribute, 1)) == b"block_size":
            (value,) = _find_all(attribute, 2)
            raw += _write_field(_ATTRIBUTE, _write_field(1, b"blocksize") + _write_field(2, bytes(value)))
    return raw


def _write_field(number: int, value: bytes) -> bytes:
    """Return a message or text as the field with that number, which is below 16."""
    out, length = bytearray([number << 3 | 2]), len(value)
    while length > 127:
        out.append(length & 127 | 128)
        length >>= 7
    out.append(length)
    return bytes(out) + value


def _read_weight(raw: memoryview) -> tuple[str, int]:
    """Return the name of a weight, and its number of values."""
    dims: list[int] = []
    for value in (value for number, value in _read_fields(raw) if number == _DIMS):
        dims += [value] if isinstance(value, int) else list(_read_varints(value))
    (name,) = [bytes(value).decode() for value in _find_all(raw, _TENSOR_NAME)] or [""]
    return name, math.prod(dims)


def _read_input(raw: memoryview) -> GraphInput:
    """Return the name, type and sizes of an input."""
    name = b"".join(_find_all(raw, _NAME)).decode()
    tensor = memoryview(b"".join(_find_all(memoryview(b"".join(_find_all(raw, _TYPE))), _TENSOR)))
    element = next((value for number, value in _read_fields(tensor) if number == _ELEMENT), 1)
    shape = memoryview(b"".join(_find_all(tensor, _SHAPE)))
    sizes = (
        next((value for number, value in _read_fields(dim) if number == _DIM_VALUE), 0)
        for dim in _find_all(shape, _DIM)
    )
    dtype = _DTYPES.get(element if isinstance(element, int) else 0, "another type")
    return GraphInput(name, dtype, tuple(size if isinstance(size, int) else 0 for size in sizes))


def _find_all(raw: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the messages or texts in the field with that number."""
    for number, value in _read_fields(raw):
        if number == wanted and not isinstance(value, int):
            yield value


def _read_fields(raw: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and value of each field of a message. Raises `ValueError` or `IndexError`."""
    place = 0
    while place < len(raw):
        key, place = _read_varint(raw, place)
        match key & 7:
            case 0:
                value, place = _read_varint(raw, place)
                yield key >> 3, value
            case 2:
                length, place = _read_varint(raw, place)
                if place + length > len(raw):
                    raise ValueError("cut off")
                yield key >> 3, raw[place : place + length]
                place += length
            case 1 | 5 as kind:
                place += 8 if kind == 1 else 4
            case _:
                raise ValueError("no such type")


def _read_varints(raw: memoryview) -> Iterator[int]:
    place = 0
    while place < len(raw):
        value, place = _read_varint(raw, place)
        yield value


def _read_varint(raw: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("too long")
