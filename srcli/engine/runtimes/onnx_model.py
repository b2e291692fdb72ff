"""A writer of ONNX models, as far as networks of convolutions need it. https://onnx.ai/onnx/repo-docs/IR.html"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_IR_VERSION, _OPSET = 8, 13
_TYPES = {"float32": 1, "uint8": 2, "int64": 7}
# The kinds of an attribute's value.
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7
Attribute = float | int | str | Sequence[int]


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= 2**64 - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(key: int, value: int) -> bytes:
    return _varint(key << 3) + _varint(value)


def _bytes(key: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(key << 3 | 2) + _varint(len(raw)) + raw


def _encode_attribute(name: str, value: Attribute) -> bytes:
    out = _bytes(1, name)
    if isinstance(value, float):
        return out + _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, _FLOAT)
    if isinstance(value, int):
        return out + _number(3, value) + _number(20, _INT)
    if isinstance(value, str):
        return out + _bytes(4, value) + _number(20, _STRING)
    return out + b"".join(_number(8, each) for each in value) + _number(20, _INTS)


def _encode_value(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    dims = (_bytes(2, each) if isinstance(each, str) else _number(1, each) for each in shape)
    tensor = _number(1, _TYPES[dtype]) + _bytes(2, b"".join(_bytes(1, each) for each in dims))
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


@dataclass
class OnnxGraph:
    """A graph under construction: nodes and constants, each with a name of its own."""

    _nodes: list[bytes] = field(default_factory=list)
    _constants: list[bytes] = field(default_factory=list)

    def add(self, kind: str, inputs: Sequence[str], **attributes: Attribute) -> str:
        """Add a node and return the name of its output."""
        name = f"v{len(self._nodes)}"
        parts = [_bytes(1, each) for each in inputs] + [_bytes(2, name), _bytes(3, name), _bytes(4, kind)]
        parts += [_bytes(5, _encode_attribute(key, value)) for key, value in attributes.items()]
        self._nodes.append(b"".join(parts))
        return name

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add an array and return its name."""
        name = f"c{len(self._constants)}"
        parts = [_number(1, side) for side in values.shape] + [_number(2, _TYPES[values.dtype.name])]
        parts += [_bytes(8, name), _bytes(9, np.ascontiguousarray(values).tobytes())]
        self._constants.append(b"".join(parts))
        return name

    def encode(
        self, source: tuple[str, str, Sequence[int | str]], target: tuple[str, str, Sequence[int | str]]
    ) -> bytes:
        """Return the model; input and output are (name, dtype, shape), with a text for an open side."""
        parts = [_bytes(1, node) for node in self._nodes] + [_bytes(2, "network")]
        parts += [_bytes(5, constant) for constant in self._constants]
        parts += [_bytes(11, _encode_value(*source)), _bytes(12, _encode_value(*target))]
        return _number(1, _IR_VERSION) + _bytes(7, b"".join(parts)) + _bytes(8, _number(2, _OPSET))
