"""Tables of models, with their weights, and of networks, with their papers, for the terminal."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from rich import box
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table

from srcli import archs, manifest
from srcli.engine.complexity import count_parameters
from srcli.engine.measurements import read_speed
from srcli.engine.weights.files import find_local
from srcli.manifest import Entry, HubFile, UserFile
from srcli.report.model_sentences import Speed, find_sentence
from srcli.scales import ANY

_TITLES = {
    "classical": "Classical: for small images that are clean and sharp",
    "real-world": "Real-world: for images with noise, blur or JPEG artefacts",
    "drawings": "Drawings: for anime and the like, also with noise or JPEG artefacts",
}
Place = Literal["bundled", "yours", "package", "cached", "Hub", "pip"]
_NARROW = 76  # columns
# Equal widths let the tables of both purposes line up.
_WIDTHS = {"Model": 18, "Scale": 5, "Weights": 7, "Size": 8, "Licence": 15, "PSNR-Y on Set5": 17}


@dataclass(frozen=True)
class ListedWeights:
    """The weights of a model for one scale."""

    scale: Annotated[int | Literal["any"], 'scale, or "any" for networks of any scale']
    place: Annotated[Place, "where the file is, or where it comes from if it is not on this machine"]
    bytes: Annotated[int | None, "size of the file; null if unknown"]
    licence: Annotated[str, "licence of the weights"]
    sha256: Annotated[str | None, "SHA-256 of the file; null if it is not known in advance"]
    psnr_y_set5: Annotated[float | None, "PSNR of luma on Set5 in dB, measured or published"]


@dataclass(frozen=True)
class ListedModel:
    """A model of `sr models list --json`."""

    model: Annotated[str, "name that `-m` takes"]
    network: Annotated[str, "architecture"]
    purpose: Annotated[
        str, "classical for clean images, real-world for noisy and blocked ones, drawings for drawings"
    ]
    speed: Annotated[Speed, "amount of work: fast to slow on a CPU, or a GPU is needed"]
    megapixels_per_second: Annotated[
        float | None, "best speed on this machine in the last 30 days, of the output; null if it was not used"
    ]
    sentence: Annotated[str, "what it is good and bad for"]
    paper: Annotated[str, "address of the paper, or what there is instead"]
    weights: Annotated[tuple[ListedWeights, ...], "weights by scale"]


def build_model_tables(entries: list[Entry]) -> list[Table]:
    """Return a table for each purpose, with one line per model."""
    tables = []
    for purpose, title in _TITLES.items():
        group = [entry for entry in entries if entry.purpose == purpose]
        table = Table(
            title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0
        )
        for heading, width in _WIDTHS.items():
            table.add_column(
                heading, min_width=width, no_wrap=True, justify="right" if heading == "Size" else "left"
            )
        for name in dict.fromkeys(entry.model for entry in group):
            table.add_row(*_list_model_cells([entry for entry in group if entry.model == name]))
        if group:
            tables.append(table)
    return tables


def build_sentence_table(entries: list[Entry], width: int) -> Table:
    """Return a table with a sentence on each model, below its name if `width` columns are too few.

    A model that was used on this machine has its speed there.
    """
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    speeds = {entry.model: _describe_speed(entry.model) for entry in entries}
    is_narrow, has_speeds = width < _NARROW, any(speeds.values())
    for _ in range(0 if is_narrow else 3 + has_speeds):
        table.add_column(no_wrap=True)
    table.add_column()
    for name, measured in speeds.items():
        speed, sentence = find_sentence(name)
        scales = "x" + _format_scales(entry.scale for entry in entries if entry.model == name).replace(
            " ", ","
        )
        if is_narrow:
            table.add_row(", ".join(filter(None, (f"[bold]{name}[/] {scales}", speed, measured))))
            table.add_row(Padding(sentence, (0, 0, 0, 2)))
        else:
            cells = (f"[bold]{name}[/]", scales.replace("xany", "any"), speed)
            table.add_row(*cells, *([measured] if has_speeds else []), sentence)
    return table


def _describe_speed(model: str) -> str:
    """Return the speed that was measured, in output megapixels per second; empty if it is not known."""
    speed = read_speed(model)
    return f"{speed:.2g} MP/s" if speed else ""


def describe_models(entries: list[Entry]) -> list[ListedModel]:
    """Return what is known of each model, for JSON."""
    described = []
    for name in dict.fromkeys(entry.model for entry in entries):
        group = [entry for entry in entries if entry.model == name]
        speed, sentence = find_sentence(name)
        weights = tuple(map(_describe_weights, group))
        first = group[0]
        described.append(
            ListedModel(
                name, first.arch, first.purpose, speed, read_speed(name), sentence, first.paper, weights
            )
        )
    return described


def _describe_weights(entry: Entry) -> ListedWeights:
    scale: int | Literal["any"] = "any" if entry.scale == ANY else entry.scale
    return ListedWeights(
        scale, _find_place(entry), entry.bytes, entry.licence, entry.digest, _find_psnr(entry)
    )


def _list_model_cells(entries: list[Entry]) -> tuple[str, ...]:
    """Return a model's name, scales, place and total size of its weights, licences, and PSNR by scale."""
    is_unpinned = any(isinstance(entry.file, HubFile) and not entry.file.pinned for entry in entries)
    scores = [f"{psnr:.2f}" if (psnr := _find_psnr(entry)) else "  -  " for entry in entries]
    return (
        entries[0].model,
        _format_scales(entry.scale for entry in entries),
        "/".join(dict.fromkeys(_find_place(entry) for entry in entries)) + "*" * is_unpinned,
        format_total([entry.bytes for entry in entries]),
        "/".join(dict.fromkeys(entry.licence for entry in entries)),
        " ".join(scores).rstrip(" -"),  # many papers have no score for the last scales
    )


def _format_scales(scales: Iterable[int]) -> str:
    return " ".join("any" if scale == ANY else str(scale) for scale in scales)


def _find_psnr(entry: Entry) -> float | None:
    """Return PSNR on Set5: measured if bundled, otherwise published, otherwise measured."""
    measured = entry.expect.get("Set5", {}).get("psnr_y")
    return measured if measured and entry.bundled else entry.published.get("Set5") or measured


def _find_place(entry: Entry) -> Place:
    if isinstance(entry.file, str):
        return "bundled"
    if isinstance(entry.file, UserFile):
        return "yours"
    found = find_local(entry)
    if found is None:
        return "Hub" if isinstance(entry.file, HubFile) else "pip"
    return "package" if found.suffix == ".param" else "cached"


def _find_source(entry: Entry) -> str:
    if entry.bundled:
        return "bundled"
    return "Hub" if isinstance(entry.file, HubFile) else "pip"


def format_total(sizes: list[int | None]) -> str:
    """Return the sum of sizes in bytes, as far as they are known."""
    known = [size for size in sizes if size]
    if len(known) < len(sizes):
        return f">{decimal(sum(known))}" if known else "unknown"
    return decimal(sum(known))


def build_network_table(scale: int | None) -> Table:
    """Return a table of every network that has the scale, its paper, and where its weights come from."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("Network", "Scale", "Parameters"):
        table.add_column(heading, no_wrap=True, justify="right" if heading == "Parameters" else "left")
    table.add_column("Paper; weights")
    for arch in archs.names():
        traits = archs.traits(arch)
        if scale in (None, *traits.scales) or traits.any_scale:
            table.add_row(*_list_network_cells(arch, scale))
    return table


def _list_network_cells(arch: str, scale: int | None) -> tuple[str, ...]:
    paper, traits = archs.paper(arch), archs.traits(arch)
    models = manifest.find_models(arch)
    places = " and ".join(dict.fromkeys(_find_source(entry) for entry in models.values()))
    weights = f"{places}: {' '.join(models)}" if models else f"train it yourself: sr train {arch}"
    return (
        arch,
        _format_scales(sorted(traits.weight_scales)),
        f"{count_parameters(archs.Spec(arch, scale or traits.scales[0])):,}",
        f"{paper}\n[italic]{weights}[/]",
    )
