"""A torch network for ncnn: torch exports its graph, every operation becomes layers."""

import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, export
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from srcli.engine.export import Unexportable, check_undivided
from srcli.engine.export.ncnn import graph
from srcli.engine.export.ncnn.operations import OPERATIONS, Blob, Builder, Grouped, Size, shape_of
from srcli.engine.weights.ncnn_cache import Packed, Shape

# Sizes to trace with: not equal, not square, multiples of all that networks pack.
_HEIGHT, _WIDTH = 48, 64
# torch says of every size that it may vary that it is not 1, whatever the network.
_SMALLEST_SYMBOL = 2


def write(network: nn.Module, scale: int) -> Packed:
    """The network, in evaluation mode, as ncnn's graph and weights.

    `scale` is that of its own tensors. Raises `Unexportable` where ncnn has no such layer.
    """
    check_undivided(network)
    with _literal(network):
        program = traced(network)
    layers = graph.simplified(_layers(program))
    shape = Shape(
        scale=scale,
        halo=int(network.halo),  # type: ignore[arg-type]
        align=_aligned(network),
        channels=int(network.channels),  # type: ignore[arg-type]
        params=sum(weight.numel() for weight in network.parameters()),
        least=_least(program) * _aligned(network),
        multiple=_aligned(network),
    )
    return Packed(shape, graph.param_text(layers), graph.bin_bytes(layers))


@contextmanager
def _literal(network: nn.Module) -> Iterator[None]:
    """Layers that are written otherwise for torch's sake are what they are called."""
    parts: list[Any] = [part for part in network.modules() if hasattr(part, "literal")]
    for part in parts:
        part.literal = True
    try:
        yield
    finally:
        for part in parts:
            part.literal = False


def traced(network: nn.Module) -> ExportedProgram:
    """The network's operations on an image of any height and width (of multiples of what it packs)."""
    channels, multiple = int(network.channels), _aligned(network)  # type: ignore[arg-type]
    example = torch.rand(1, channels, _HEIGHT, _WIDTH)
    sides: Any = (Dim.AUTO, Dim.AUTO)
    if multiple > 1:
        sides = (multiple * Dim("rows", min=2), multiple * Dim("columns", min=2))
    try:
        return export(network.eval(), (example,), dynamic_shapes=({2: sides[0], 3: sides[1]},))
    except (RuntimeError, torch._dynamo.exc.UserError) as error:
        raise Unexportable("what it does depends on the image") from error


def _aligned(network: nn.Module) -> int:
    return int(getattr(network, "alignment", 1))


def _least(program: ExportedProgram) -> int:
    """The smallest side that the graph holds for, in squares of pixels where it packs them."""
    spans = program.range_constraints.items()
    lowest = (int(span.lower) for symbol, span in spans if symbol.is_Symbol)
    return max((side for side in lowest if side > _SMALLEST_SYMBOL), default=1)


def _layers(program: ExportedProgram) -> list[graph.Layer]:
    builder = Builder()
    given = program.graph_signature
    tensors = {**program.state_dict, **program.constants}
    names = {
        **given.inputs_to_parameters,
        **given.inputs_to_buffers,
        **given.inputs_to_lifted_tensor_constants,
    }
    places = [node for node in program.graph.nodes if node.op == "placeholder"]
    (image,) = (node for node in places if node.name in given.user_inputs)
    first = Blob("in0", shape_of(image))
    builder.of_size[first.shape[2:]] = first
    builder.layers.append(graph.Layer("Input", (), (first.name,), {}))
    arguments = [first if node is image else tensors[names[node.name]] for node in places]
    (out,) = _run(builder, program.graph_module, arguments)
    if not isinstance(out, Blob):
        raise Unexportable("its result does not depend on the image")
    return [*builder.layers, graph.Layer("Affine", (out.name,), ("out0",), {}, _NOTHING)]


# What names the result, and is taken into the layer before it.
_NOTHING = (torch.ones(1), torch.zeros(1))


def _run(builder: Builder, module: GraphModule, arguments: Iterable[Any]) -> Any:
    """The module's operations in turn: done now where all is known, else as layers."""
    values: dict[Node, Any] = {}
    waiting = iter(arguments)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(waiting)
        elif node.op == "get_attr":
            values[node] = operator.attrgetter(str(node.target))(module)
        elif node.op == "output":
            return pytree.tree_map_only(Node, values.__getitem__, node.args[0])
        else:
            values[node] = _done(builder, node, values)
    raise AssertionError("a graph ends with its output")


def _done(builder: Builder, node: Node, values: dict[Node, Any]) -> Any:
    args, kwargs = pytree.tree_map_only(Node, values.__getitem__, (node.args, node.kwargs))
    if not any(isinstance(leaf, Blob | Size | Grouped) for leaf in pytree.tree_leaves((args, kwargs))):
        return node.target(*args, **kwargs)  # type: ignore[operator]
    modules = [leaf for leaf in args if isinstance(leaf, GraphModule)]
    if modules:  # what a region with its own settings of autocast is wrapped in
        return _run(builder, modules[0], args[args.index(modules[0]) + 1 :])
    name = str(node.target)
    if name not in OPERATIONS:
        if isinstance(node.meta.get("val"), torch.SymInt):
            return Size(str(node.meta["val"]))
        raise Unexportable(f"no layer for {name.removeprefix('aten.').split('.')[0]}")
    return OPERATIONS[name](builder, node, *args, **kwargs)
