"""Tables of models, with their weights, and of networks, with their papers, for the terminal."""

from collections.abc import Iterable

from rich import box
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table

from srcli import archs, manifest
from srcli.engine.complexity import count_parameters
from srcli.engine.weights.files import find_local
from srcli.manifest import Entry, HubFile, UserFile
from srcli.report.model_sentences import find_sentence
from srcli.scales import ANY

_TITLES = {
    "classical": "Classical: for small images that are clean and sharp",
    "real-world": "Real-world: for images with noise, blur or JPEG artefacts",
}
_NARROW = 76  # columns
# Equal widths let the tables of both purposes line up.
_WIDTHS = {"Model": 18, "Scale": 5, "Weights": 7, "Size": 8, "Licence": 15, "PSNR-Y on Set5": 17}


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
    """Return a table with a sentence on each model, below its name if `width` columns are too few."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    is_narrow = width < _NARROW
    for _ in range(0 if is_narrow else 3):
        table.add_column(no_wrap=True)
    table.add_column()
    for name in dict.fromkeys(entry.model for entry in entries):
        speed, sentence = find_sentence(name)
        scales = "x" + _format_scales(entry.scale for entry in entries if entry.model == name).replace(
            " ", ","
        )
        if is_narrow:
            table.add_row(f"[bold]{name}[/] {scales}, {speed}")
            table.add_row(Padding(sentence, (0, 0, 0, 2)))
        else:
            table.add_row(f"[bold]{name}[/]", scales.replace("xany", "any"), speed, sentence)
    return table


def describe_models(entries: list[Entry]) -> list[dict[str, object]]:
    """Return what is known of each model, for JSON."""
    described: list[dict[str, object]] = []
    for name in dict.fromkeys(entry.model for entry in entries):
        group = [entry for entry in entries if entry.model == name]
        speed, sentence = find_sentence(name)
        described.append({
            "model": name, "network": group[0].arch, "purpose": group[0].purpose, "speed": speed,
            "sentence": sentence, "paper": group[0].paper,
            "weights": [
                {
                    "scale": "any" if entry.scale == ANY else entry.scale, "place": _find_place(entry),
                    "bytes": entry.bytes, "licence": entry.licence, "sha256": entry.digest,
                    "psnr_y_set5": _find_psnr(entry),
                }
                for entry in group
            ],
        })  # fmt: skip
    return described


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


def _find_place(entry: Entry) -> str:
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
