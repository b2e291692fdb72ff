"""A torch network for ncnn: torch exports its graph, and every operation becomes layers."""

import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, export
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from srcli.engine.export import UnexportableError, check_fixed_graph
from srcli.engine.export.ncnn import graph
from srcli.engine.export.ncnn.operations import OPERATIONS, Blob, Builder, ChannelTable, Size, read_shape
from srcli.engine.runtimes.converted import ConvertedNetwork
from srcli.engine.runtimes.torch import describe_network

# Sizes to trace with: not equal, not square, multiples of everything that networks are aligned to.
_HEIGHT, _WIDTH = 48, 64
# torch assumes of every size that may vary that it is not 1, whatever the network.
_SMALLEST_SYMBOL = 2


def write_network(network: nn.Module, scale: int) -> ConvertedNetwork:
    """Return the network, which is in evaluation mode, as ncnn's graph and weights.

    `scale` is that of its own tensors. Raises `UnexportableError` if ncnn has no layer for an operation.
    """
    check_fixed_graph(network)
    with _literal_layers(network):
        program = trace_network(network)
    layers = graph.simplify_graph(_build_layers(program))
    info = describe_network(network, scale, _smallest_side(program))
    return ConvertedNetwork(
        info, {"param": graph.format_graph(layers).encode(), "bin": graph.pack_weights(layers)}
    )


@contextmanager
def _literal_layers(network: nn.Module) -> Iterator[None]:
    """Have layers computed as they are called, where they are computed otherwise to suit torch."""
    parts: list[Any] = [part for part in network.modules() if hasattr(part, "literal")]
    for part in parts:
        part.literal = True
    try:
        yield
    finally:
        for part in parts:
            part.literal = False


def trace_network(network: nn.Module) -> ExportedProgram:
    """Return the network's operations on an image of any height and width, of multiples of its alignment."""
    info = describe_network(network, 1)
    example = torch.rand(1, info.channels, _HEIGHT, _WIDTH)
    sides: Any = (Dim.AUTO, Dim.AUTO)
    if info.alignment > 1:
        sides = (info.alignment * Dim("rows", min=2), info.alignment * Dim("columns", min=2))
    try:
        return export(network.eval(), (example,), dynamic_shapes=({2: sides[0], 3: sides[1]},))
    except RuntimeError as error:
        raise UnexportableError("its operations depend on the content of the image") from error


def _smallest_side(program: ExportedProgram) -> int:
    """Return the smallest side that the graph holds for, in multiples of the alignment."""
    ranges = program.range_constraints.items()
    lowest = (int(span.lower) for symbol, span in ranges if symbol.is_Symbol)
    return max((side for side in lowest if side > _SMALLEST_SYMBOL), default=1)


def _build_layers(program: ExportedProgram) -> list[graph.Layer]:
    builder = Builder()
    signature = program.graph_signature
    tensors = {**program.state_dict, **program.constants}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    inputs = [node for node in program.graph.nodes if node.op == "placeholder"]
    (image,) = (node for node in inputs if node.name in signature.user_inputs)
    first = Blob("in0", read_shape(image))
    builder.by_size[first.shape[2:]] = first
    builder.layers.append(graph.Layer("Input", (), (first.name,), {}))
    arguments = [first if node is image else tensors[names[node.name]] for node in inputs]
    (out,) = _run_module(builder, program.graph_module, arguments)
    if not isinstance(out, Blob):
        raise UnexportableError("its result does not depend on the image")
    return [*builder.layers, graph.Layer("Affine", (out.name,), ("out0",), {}, _IDENTITY)]


# Names the result, and is fused with the layer before it.
_IDENTITY = (torch.ones(1), torch.zeros(1))


def _run_module(builder: Builder, module: GraphModule, arguments: Iterable[Any]) -> Any:
    """Run the module's operations in turn: at once if all inputs are known, else as layers."""
    values: dict[Node, Any] = {}
    waiting = iter(arguments)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(waiting)
        elif node.op == "get_attr":
            values[node] = operator.attrgetter(str(node.target))(module)
        elif node.op == "output":
            return map_arg(node.args[0], values.__getitem__)
        else:
            values[node] = _run_node(builder, node, values)
    raise AssertionError("a graph ends with its output")


def _run_node(builder: Builder, node: Node, values: dict[Node, Any]) -> Any:
    args: Any = map_arg(node.args, values.__getitem__)
    kwargs: Any = map_arg(node.kwargs, values.__getitem__)
    if not any(_depends_on_image(values[each]) for each in node.all_input_nodes):
        return node.target(*args, **kwargs)  # type: ignore[operator]
    modules = [leaf for leaf in args if isinstance(leaf, GraphModule)]
    if modules:  # a region with its own settings of autocast is a module within
        return _run_module(builder, modules[0], args[args.index(modules[0]) + 1 :])
    name = str(node.target)
    if name not in OPERATIONS:
        if isinstance(node.meta.get("val"), torch.SymInt):
            return Size(str(node.meta["val"]))
        raise UnexportableError(f"no layer for {name.removeprefix('aten.').split('.')[0]}")
    return OPERATIONS[name](builder, node, *args, **kwargs)


def _depends_on_image(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_depends_on_image, value))
    return isinstance(value, Blob | Size | ChannelTable)
