"""How large our networks are and what they cost, beside what was published: the tables of docs/models.md.

    PYTHONPATH=. python tools/models_table.py [ARCH ...]

Counts every network, in every published size and at every scale, into benchmarks/results/costs.json. Cog puts
the tables into docs/models.md, from that file and from benchmarks/published.toml.
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
# How far ours may be from what was published, as a share of it; what was rounded away may be off as well.
TOLERANCE: dict[Quantity, float] = {"parameters": 0.01, "multiply_adds": 0.03}


@dataclass(frozen=True)
class Figure:
    """What `source` prints for a scale, as in 1592K and 222.8G; `deviates`: why ours is not near it."""

    scale: int
    source: str
    parameters: str = ""
    multiply_adds: str = ""
    deviates: str = ""


@dataclass(frozen=True)
class Published:
    """A network under the name that its paper gives to this size of it.

    `slow`: counting its multiply-adds takes a minute, so that no test does it anew.
    """

    name: str
    arch: str
    config: dict[str, Any] = field(default_factory=dict)
    slow: bool = False
    figures: tuple[Figure, ...] = ()

    def figure(self, scale: int, quantity: Quantity) -> Figure | None:
        """What is published of it, if anything is."""
        found = [each for each in self.figures if each.scale == scale and getattr(each, quantity)]
        return found[0] if found else None


@dataclass(frozen=True)
class Book:
    """benchmarks/published.toml: sources and reasons by their short names, and networks."""

    sources: dict[str, str]
    deviations: dict[str, str]
    networks: tuple[Published, ...]


@dataclass(frozen=True)
class Row:
    """What we count for a network at a scale; `name` as in `Published`, or after the file."""

    name: str
    arch: str
    config: dict[str, Any]
    scale: int
    parameters: int
    multiply_adds: int

    @property
    def spec(self) -> archs.Spec:
        """What was counted."""
        return archs.Spec(self.arch, self.scale, self.config)


def book() -> Book:
    """What is published."""
    raw = tomllib.loads(PUBLISHED.read_text("utf-8"))
    networks = [
        Published(**{**each, "figures": tuple(Figure(**figure) for figure in each.get("figures", ()))})
        for each in raw["network"]
    ]
    return Book(raw["sources"], raw["deviations"], tuple(networks))


def rows() -> list[Row]:
    """As last counted."""
    return [Row(**raw) for raw in json.loads(RESULTS.read_text())["rows"]]


def main() -> None:
    """Count all networks, or those named and those that are new; and keep."""
    again = sys.argv[1:] or archs.names()
    known = {row.arch: [each for each in rows() if each.arch == row.arch] for row in rows()}
    counted = []
    for arch in archs.names():
        counted += _counted(arch) if arch in again else known.get(arch) or _counted(arch)
    RESULTS.write_text(json.dumps({"rows": [asdict(row) for row in counted]}, indent=1) + "\n")


def _counted(arch: str) -> list[Row]:
    found = []
    for network in sizes(arch):
        for scale in archs.traits(arch).scales:
            found.append(counted_row(network, scale))
            print(f"{found[-1].name} x{scale}: {found[-1].parameters:,}", flush=True)
    return found


def sizes(arch: str) -> Iterator[Published]:
    """The published sizes of a network that can be built; before them its default, if it is none of them."""
    known = [each for each in book().networks if each.arch == arch and _can_be_built(each)]
    if all(each.config for each in known):
        yield Published(f"{arch} by default", arch)
    yield from known


def _can_be_built(network: Published) -> bool:
    try:
        complexity.parameters(archs.Spec(network.arch, archs.traits(network.arch).scales[0], network.config))
    except UsageError:
        return False
    return True


def counted_row(network: Published, scale: int) -> Row:
    """One network at one scale."""
    spec = archs.Spec(network.arch, scale, network.config)
    place = (network.name, network.arch, network.config, scale)
    return Row(*place, **asdict(complexity.cost(spec)))


def value(printed: str) -> float:
    """What is printed as a number.

    >>> value("222.8G")
    222800000000.0
    """
    return float(printed.rstrip("KMG")) * _unit(printed)


def _unit(printed: str) -> float:
    return {"K": 1e3, "M": 1e6, "G": 1e9}.get(printed[-1], 1)


def within(ours: float, printed: str, share: float) -> bool:
    """Whether ours is near what is printed, or would be printed so.

    >>> within(1_422_000_000, "1G", 0.03), within(414_787, "412K", 0.01), within(414_787, "412K", 0.001)
    (True, True, False)
    """
    digits = len(printed.rstrip("KMG").partition(".")[2])
    rounding: float = 0.5 * 10**-digits * _unit(printed)
    return abs(ours - value(printed)) <= max(share * value(printed), rounding)


def networks_table() -> str:
    """Every network: paper, year, scales, and where its weights come from."""
    out = ["| network | paper | year | scales | weights |", "|---|---|---|---|---|"]
    for arch in archs.names():
        paper, scales = archs.paper(arch), " ".join(map(format_scale, archs.traits(arch).weight_scales))
        title = f"[{paper.title}]({paper.url})" if paper.url else paper.title
        out.append(f"| {arch} | {title} | {paper.year or ''} | {scales} | {_weights(arch)} |")
    return "\n".join(out)


def _weights(arch: str) -> str:
    places = dict.fromkeys(_place(entry.file) for entry in manifest.load() if entry.arch == arch)
    return ", ".join(places) or f"train it yourself: `sr train {arch}`"


def _place(file: str | manifest.HubFile) -> str:
    return "bundled" if isinstance(file, str) else f"[{file.repo}](https://huggingface.co/{file.repo})"


def costs_table() -> str:
    """Ours beside what is published, a line for each network and scale."""
    published = {network.name: network for network in book().networks}
    out = [
        "| network | scale | parameters | published | | multiply-adds | published | | |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    out += [_line(row, published.get(row.name, Published(row.name, row.arch))) for row in rows()]
    return "\n".join(out)


def _line(row: Row, network: Published) -> str:
    size, work = (network.figure(row.scale, quantity) for quantity in TOLERANCE)
    figures = [figure for figure in (size, work) if figure]
    sources = ", ".join(dict.fromkeys(figure.source for figure in figures))
    reasons = ", ".join(dict.fromkeys(figure.deviates for figure in figures if figure.deviates))
    cells = (
        row.name,
        f"x{row.scale}",
        f"{row.parameters:,}",
        *_beside(row.parameters, size.parameters if size else ""),
        giga(row.multiply_adds),
        *_beside(row.multiply_adds, work.multiply_adds if work else ""),
        f"{sources}; see {reasons}" if reasons else sources,
    )
    return f"| {' | '.join(cells)} |"


def _beside(ours: int, printed: str) -> tuple[str, str]:
    return (printed, f"{ours / value(printed) - 1:+.1%}".replace("-0.0%", "+0.0%")) if printed else ("", "")


def giga(multiply_adds: int) -> str:
    """As papers print it.

    >>> giga(222_816_000_000), giga(613_785_600)
    ('222.8G', '0.61G')
    """
    amount = multiply_adds / 1e9
    return f"{amount:,.1f}G" if amount >= 10 else f"{amount:.2f}G"


def deviations_list() -> str:
    """Why some figures are not near ours, and which."""
    found = book()
    shown = {row.name for row in rows()}
    out = []
    for reason, text in found.deviations.items():
        of = [
            f"{network.name} x{figure.scale}"
            for network in found.networks
            for figure in network.figures
            if network.name in shown and figure.deviates == reason
        ]
        out += [f"- **{reason}** ({', '.join(of)}). {text}"] if of else []
    return "\n".join(out)


def sources_list() -> str:
    """What the short names of sources mean."""
    return "\n".join(f"- {short}: {long}" for short, long in book().sources.items())


def absent_list() -> str:
    """What has published figures and can't be built."""
    shown = {row.name for row in rows()}
    return ", ".join(network.name for network in book().networks if network.name not in shown) or "none"


if __name__ == "__main__":
    main()
