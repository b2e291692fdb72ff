"""Write a network of ours as a frozen graph of TensorFlow, as OpenCV's dnn_superres distributes networks.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/graph.proto
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import nn

# The numbers of types in types.proto.
_FLOAT, _INT32 = 1, 3


def _field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _node(name: str, op: str, inputs: Iterable[str] = (), **attributes: bytes) -> bytes:
    parts = [_field(1, name), _field(2, op), *(_field(3, one) for one in inputs)]
    parts += [_field(5, _field(1, key) + _field(2, value)) for key, value in attributes.items()]
    return _field(1, b"".join(parts))


def _tensor(values: np.ndarray) -> bytes:
    shape = b"".join(_field(2, _field(1, int(size))) for size in values.shape)
    kind = _FLOAT if values.dtype == np.float32 else _INT32
    content = np.ascontiguousarray(values).tobytes()
    return _field(8, _field(1, kind) + _field(2, shape) + _field(4, content))


def _constant(name: str, values: np.ndarray) -> bytes:
    kind = _field(6, _FLOAT if values.dtype == np.float32 else _INT32)
    return _node(name, "Const", dtype=kind, value=_tensor(values))


def write_espcn(path: Path, network: nn.Module, scale: int) -> None:
    """Write an ESPCN (`srcli.archs.espcn`) as a .pb file: NHWC, any size, tanh, depth to space."""
    kind, layout = _field(6, _FLOAT), _field(2, "NHWC")
    strides = _field(1, b"".join(_field(3, 1) for _ in range(4)))
    nodes, last = [_node("input", "Placeholder", dtype=kind)], "input"
    for number in (1, 2, 3):
        layer = network.get_submodule(f"conv_{number}")
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        kernel = layer.weight.detach().numpy().transpose(2, 3, 1, 0)
        nodes += [
            _constant(f"w{number}", kernel),
            _constant(f"b{number}", layer.bias.detach().numpy()),
            _node(
                f"c{number}", "Conv2D", (last, f"w{number}"),
                T=kind, strides=strides, padding=_field(2, "SAME"), data_format=layout,
            ),
            _node(f"a{number}", "BiasAdd", (f"c{number}", f"b{number}"), T=kind, data_format=layout),
        ]  # fmt: skip
        last = f"a{number}"
        if number < 3:
            nodes.append(_node(f"t{number}", "Tanh", (last,), T=kind))
            last = f"t{number}"
    nodes.append(
        _node("NHWC_output", "DepthToSpace", (last,), T=kind, block_size=_field(3, scale), data_format=layout)
    )  # fmt: skip
    path.write_bytes(b"".join(nodes))
