"""Sizes of networks: counted rightly, as published or for a reason that holds, and as docs/models.md says."""

import pytest
import torch
from torch import nn

from srcli import archs
from srcli.engine.complexity import Cost, count_cost, count_parameters
from srcli.errors import UsageError
from tools import models_table

PUBLISHED = models_table.read_published()
ROWS = models_table.read_counted()
SLOW = {network.name for network in PUBLISHED.networks if network.slow}
FIGURES = [
    pytest.param(row, figure, id=f"{row.name} x{row.scale} {figure.source}")
    for row in ROWS
    for network in PUBLISHED.networks
    for figure in network.figures
    if (row.name, row.scale) == (network.name, figure.scale)
]


@pytest.mark.parametrize(("row", "figure"), FIGURES)
def test_sizes_are_as_published_unless_a_reason_is_named(
    row: models_table.CountedCost, figure: models_table.PublishedCost
) -> None:
    """A reason where ours is near what is published would be wrong as well."""
    far = [
        quantity
        for quantity, share in models_table.TOLERANCE.items()
        if getattr(figure, quantity)
        and not models_table.is_within(getattr(row, quantity), getattr(figure, quantity), share)
    ]
    assert bool(far) == bool(figure.deviates), far


def test_every_published_name_is_explained() -> None:
    figures = [figure for network in PUBLISHED.networks for figure in network.figures]
    assert {figure.source for figure in figures} == set(PUBLISHED.sources)
    assert {figure.deviates for figure in figures} - {""} <= set(PUBLISHED.deviations)
    names = [network.name for network in PUBLISHED.networks]
    assert len(names) == len(set(names))


@pytest.mark.slow
@pytest.mark.parametrize("arch", models_table.list_counted_archs())
def test_what_was_counted_is_of_this_code(arch: str) -> None:
    """The parameters of each size, and the cost of one; `make docs` counts again."""
    own = [row for row in ROWS if row.arch == arch]
    wanted = [
        (each.name, scale)
        for each in models_table.list_sizes(arch)
        for scale in models_table.list_scales(arch)
    ]
    assert [(row.name, row.scale) for row in own] == wanted
    of_each = {row.name: row for row in own}.values()
    assert [count_parameters(row.spec) for row in of_each] == [row.parameters for row in of_each]
    if own[-1].name not in SLOW:
        assert count_cost(own[-1].spec) == Cost(own[-1].parameters, own[-1].multiply_adds)


def test_sizes_of_srcnn_are_the_sums_on_paper() -> None:
    weights = 9 * 9 * 64 + 64 * 5 * 5 * 32 + 32 * 5 * 5
    found = count_cost(archs.Spec("srcnn", 3), 30, 60)
    assert found == Cost(weights + 64 + 32 + 1, weights * 30 * 60)
    assert (
        count_cost(archs.Spec("espcn", 3), 30, 60).multiply_adds * 9
        == (25 * 64 + 9 * 64 * 32 + 9 * 32 * 9) * 1800
    )


@pytest.mark.parametrize(
    "spec",
    [
        archs.Spec("carn", 2, {"groups": 4, "recursive": True}),
        archs.Spec("dbpn", 4, {"stages": 2}),
        archs.Spec("lapsrn", 4),
        archs.Spec("rcan", 3, {"groups": 1, "blocks": 1}),
        archs.Spec("latticenet", 2),
    ],
    ids=str,
)
def test_multiply_adds_are_what_the_layers_do(spec: archs.Spec) -> None:
    assert count_cost(spec, 72, 144).multiply_adds == by_layer(spec, 72, 144)


def by_layer(spec: archs.Spec, height: int, width: int, *, at_output: bool = False) -> int:
    """Multiply-adds by another way: each layer's kernel times the places where it is applied."""
    network = archs.build(spec.arch, spec.scale, spec.config)
    total = 0

    def add(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        reads = isinstance(layer, nn.ConvTranspose2d) and not at_output
        places = inputs[0] if reads else output
        total += layer.weight.numel() * places.shape[2] * places.shape[3]

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(add)
    step = 1 if archs.traits(spec.arch).pre_upsampled else spec.scale
    batch = torch.zeros(1, int(network.channels), height // step, width // step)  # type: ignore[arg-type]
    with torch.inference_mode():
        if spec.arch == "fsrcnn":  # whose forward has another way to compute its last layer
            network.last_part(network.mid_part(network.first_part(batch)))  # type: ignore[operator]
        else:
            network(batch)
    return total


@pytest.mark.parametrize(
    ("spec", "printed"),
    [
        (archs.Spec("fsrcnn", 2), "6.0G"),
        (archs.Spec("fsrcnn", 3), "5.0G"),
        (archs.Spec("fsrcnn", 4), "4.6G"),
        (archs.Spec("lapsrn", 4), "149.4G"),
    ],
    ids=str,
)
def test_the_reason_at_output_holds(spec: archs.Spec, printed: str) -> None:
    counted = by_layer(spec, 72, 144, at_output=True) * (1280 * 720) / (72 * 144)
    assert models_table.is_within(counted, printed, 0.01)


def test_the_reason_lapsrn_x2_holds() -> None:
    assert models_table.is_within(count_parameters(archs.Spec("lapsrn", 4)), "813K", 0.001)
    assert models_table.is_within(
        by_layer(archs.Spec("lapsrn", 2), 36, 64, at_output=True) * 100, "29.9G", 0.01
    )


def test_the_reason_other_network_holds() -> None:
    assert models_table.is_within(count_cost(archs.Spec("rfdn", 4)).multiply_adds, "23.9G", 0.01)


@pytest.mark.parametrize("network", [each for each in PUBLISHED.networks if each.arch in ("srcnn", "fsrcnn")])
def test_the_reason_weights_only_holds(network: models_table.PublishedNetwork) -> None:
    with torch.device("meta"):
        values = archs.build(network.arch, 3, network.config).parameters()
    kernels = sum(value.numel() for value in values if value.ndim > 1)
    printed = {figure.parameters for figure in network.figures if figure.deviates == "weights-only"}
    assert all(models_table.is_within(kernels, each, 0) for each in printed)


def test_branches_that_only_training_needs_do_not_count() -> None:
    with_branches, without = (
        count_cost(archs.Spec("span", 2, {"features": 8, "branches": branches})) for branches in (True, False)
    )
    assert with_branches == without


def test_counting_what_cannot_be_built_is_told() -> None:
    with pytest.raises(UsageError, match="x3"):
        count_cost(archs.Spec("lapsrn", 3))
