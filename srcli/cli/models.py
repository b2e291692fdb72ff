"""`sr models`: what `--model` takes, and the weight files behind it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcli.cli import completion, console
from srcli.errors import ExitCode, SrError, UsageError, WeightsError
from srcli.scales import ANY
from srcli.storage.files import check_can_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.table import Table

    from srcli.engine.weights.identify import Fit
    from srcli.manifest import Entry

models = typer.Typer(
    help="List the models; fetch, check and look into weight files.", invoke_without_command=True
)

Names = Annotated[
    list[str],
    typer.Argument(
        help="MODEL or MODEL-xSCALE, as `sr models` lists them.",
        show_default=False,
        autocompletion=completion.entries,
    ),
]


@models.callback()
def default(context: typer.Context) -> None:
    """List the models; fetch, check and look into weight files."""
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models(
    scale: Annotated[int | None, typer.Option("--scale", "-x", help="Only for this scale.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Only under this licence, as in --licence Apache-2.0.")
    ] = None,
    purpose: Annotated[
        str | None, typer.Option(help="Only classical (undo bicubic) or real-world (noise, JPEG).")
    ] = None,
    bundled: Annotated[bool, typer.Option("--bundled", help="Only what ships with sr.")] = False,
    cached: Annotated[bool, typer.Option("--cached", help="Only what works now, with no download.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Every network, those that you have to train yourself too.")
    ] = False,
) -> None:
    """List weights by model and scale, and the interpolators; or with --all the networks."""
    from srcli import manifest
    from srcli.engine.weights.files import present

    if every:
        if licence or purpose or bundled or cached:
            raise UsageError("--all lists networks, with weights or without", "only --scale goes with it")
        _print_networks(scale)
        return
    if purpose not in (None, *manifest.PURPOSES):
        raise UsageError(f"no purpose called '{purpose}'", f"there are: {', '.join(manifest.PURPOSES)}")
    chosen = [
        entry
        for entry in manifest.load()
        if (scale is None or entry.scale in (scale, ANY))
        and (licence is None or licence.lower() == entry.licence.lower())
        and purpose in (None, entry.purpose)
        and (entry.bundled or not bundled)
        and (not cached or present(entry))
    ]
    _print_tables(chosen, interpolators=licence is None and purpose in (None, "classical"))


_PURPOSES = {
    "classical": "Classical: for images that are sharp and clean, only small",
    "real-world": "Real-world: for noise, blur and JPEG too",
}


def _print_tables(entries: "list[Entry]", *, interpolators: bool) -> None:
    """One table for each purpose; below them what needs no weights."""
    from srcli.imaging.resize import KERNELS
    from srcli.methods import classical

    for purpose, title in _PURPOSES.items():
        group = [entry for entry in entries if entry.purpose == purpose]
        names = dict.fromkeys(entry.model for entry in group)
        if names:
            rows = [_cells([entry for entry in group if entry.model == name]) for name in names]
            console.out.print(_table(title, rows))
    if interpolators:
        console.out.print(f"[italic]No network, any scale:[/] {' '.join(KERNELS)}")
        console.out.print(f"[italic]No training set, any scale:[/] {' '.join(classical.METHODS)}")
    console.err.print(
        "PSNR in dB for each scale: the paper's; ours of what is bundled, or where it has none."
        " *: at no known commit."
    )


def _print_networks(scale: int | None) -> None:
    """Every network that can be built for the scale, its paper and where its weights come from."""
    from rich import box
    from rich.table import Table

    from srcli import archs

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("Network", "Scale", "Parameters"):
        table.add_column(heading, no_wrap=True, justify="right" if heading == "Parameters" else "left")
    table.add_column("Paper; weights")
    for arch in archs.names():
        if scale in (None, *archs.traits(arch).scales) or archs.traits(arch).any_scale:
            table.add_row(*_network_cells(arch, scale))
    console.out.print(table)
    console.err.print(
        "Parameters: of the network as it is by default, at the first scale or the one asked for."
    )


def _network_cells(arch: str, scale: int | None) -> tuple[str, ...]:
    from srcli import archs, manifest
    from srcli.engine.complexity import parameters

    paper, traits = archs.paper(arch), archs.traits(arch)
    models = manifest.models_of(arch)
    places = " and ".join(dict.fromkeys("bundled" if m.bundled else "Hub" for m in models.values()))
    weights = f"{places}: {' '.join(models)}" if models else f"train it yourself: sr train {arch}"
    return (
        arch,
        _numbers(traits.weight_scales),
        f"{parameters(archs.Spec(arch, scale or traits.scales[0])):,}",
        f"{paper}\n[italic]{weights}[/]",
    )


def _table(title: str, rows: list[tuple[str, ...]]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0,
    )
    widths = {"Model": 18, "Scale": 5, "Weights": 7, "Size": 8, "Licence": 15, "PSNR-Y on Set5": 17}
    for heading, width in widths.items():
        table.add_column(
            heading, min_width=width, no_wrap=True, justify="right" if heading == "Size" else "left"
        )
    for row in rows:
        table.add_row(*row)
    return table


def _cells(entries: "list[Entry]") -> tuple[str, ...]:
    """One model: its scales, where its weights are, how large they are in all, terms, the papers' figures."""
    from srcli.manifest import HubFile

    unpinned = any(isinstance(entry.file, HubFile) and not entry.file.pinned for entry in entries)
    figures = [f"{psnr:.2f}" if (psnr := _psnr(entry)) else "  -  " for entry in entries]
    return (
        entries[0].model,
        _numbers(entry.scale for entry in entries),
        "/".join(dict.fromkeys(_place(entry) for entry in entries)) + "*" * unpinned,
        _total([entry.bytes for entry in entries]),
        "/".join(dict.fromkeys(entry.licence for entry in entries)),
        " ".join(figures).rstrip(" -"),  # nothing is said of the last scales by many papers
    )


def _numbers(scales: "Iterable[int]") -> str:
    """As in a column that is headed by what they are."""
    return " ".join("any" if scale == ANY else str(scale) for scale in scales)


def _psnr(entry: "Entry") -> float | None:
    """On Set5: of what is bundled as we measured it, of others by the paper where it says something."""
    measured = entry.expect.get("Set5", {}).get("psnr_y")
    return measured if measured and entry.bundled else entry.published.get("Set5") or measured


def _total(sizes: list[int | None]) -> str:
    """The sum, with a plus where some are not known."""
    from rich.filesize import decimal

    known = [size for size in sizes if size]
    return f"{'+' if len(known) < len(sizes) else ''}{decimal(sum(known))}" if known else "?"


def _place(entry: "Entry") -> str:
    from srcli.engine.weights.files import present

    if isinstance(entry.file, str):
        return "bundled"
    return "cached" if present(entry) else "Hub"


@models.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="MODEL or MODEL-xSCALE, as `sr models` lists them.", autocompletion=completion.entries
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Download and verify weights, for a machine that will be offline."""
    from srcli import manifest
    from srcli.engine.weights.files import locate, present

    if every == bool(names):
        raise UsageError("which weights?", "give names, or --all for all of them")
    wanted = list(manifest.load()) if every else _named(names or [])
    absent = [entry for entry in wanted if not present(entry)]
    if absent:
        _confirm(absent, yes)

    def get(entry: "Entry") -> str:
        return f"{entry.name}  {locate(entry)}"

    _each(wanted, get)


def _confirm(entries: "list[Entry]", yes: bool) -> None:
    """Say what will be downloaded, and ask if anybody is there to answer."""
    import sys

    sizes = [_size_of(entry) for entry in entries]
    known = sum(size for size in sizes if size)
    unknown = sizes.count(None)
    more = f" and {unknown} of unknown size" if unknown else ""
    files = "1 file" if len(entries) == 1 else f"{len(entries)} files"
    console.err.print(f"{files} to download, {known / 1e6:.1f} MB{more}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm the download", "give --yes")
    typer.confirm("Go on?", abort=True, err=True)


def _size_of(entry: "Entry") -> int | None:
    """Bytes by the manifest or, where it does not know, by the Hub."""
    from srcli.engine.weights import hub

    if entry.bytes or isinstance(entry.file, str):
        return entry.bytes
    try:
        return hub.ask(entry.file).size
    except hub.HubError:
        return None


def _named(names: list[str]) -> "list[Entry]":
    from srcli import manifest

    found = [entry for name in names for entry in manifest.named(name)]
    return list({entry.name: entry for entry in found}.values())


def _each(entries: "Iterable[Entry]", work: "Callable[[Entry], str]") -> None:
    """Do `work` for every entry and print its line; failures are told, and make the exit code, at the end."""
    failed = 0
    for entry in entries:
        try:
            console.out.print(work(entry), markup=False)
        except SrError as error:
            console.print_error(error)
            failed += 1
    if failed:
        raise typer.Exit(ExitCode.FAILED)


@models.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Only these; all that are here by default.", autocompletion=completion.entries),
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="Ask the Hub too, without downloading: is each file as listed?")
    ] = False,
) -> None:
    """Hash the weights on this machine again and compare."""
    from srcli import manifest
    from srcli.engine.weights.files import present

    chosen = _named(names) if names else list(manifest.load())

    def check(entry: "Entry") -> str:
        here = _check_here(entry)
        there = _check_there(entry) if online else ""
        return f"{entry.name}  {', '.join(filter(None, (here, there)))}"

    _each((entry for entry in chosen if online or names or present(entry)), check)


def _check_here(entry: "Entry") -> str:
    from srcli.engine.weights import hub
    from srcli.engine.weights.files import present

    path = present(entry)
    if path is None:
        return "not on this machine"
    problem = hub.damaged(path, entry.digest)
    if problem:
        hint = "reinstall sr" if entry.bundled else f"`sr models rm {entry.name}`, then fetch it again"
        raise WeightsError(f"{entry.name} is damaged: {problem}", hint)
    return "sound"


def _check_there(entry: "Entry") -> str:
    """What the Hub states for the file, against the manifest. Raises `SrError` where they differ."""
    from srcli.engine.weights import hub

    if isinstance(entry.file, str):
        return "bundled"
    stated = hub.ask(entry.file)
    listed = {"digest": (entry.digest, stated.digest), "size": (entry.bytes, stated.size)}
    for what, (ours, theirs) in listed.items():
        if ours and theirs and ours != theirs:
            raise WeightsError(f"{entry.name}: the Hub states {what} {theirs}, sr lists {ours}", "update sr")
    return (
        f"on the Hub as listed, {_total([stated.size])}"
        if stated.digest
        else "on the Hub, which states no SHA-256"
    )


@models.command()
def info(file: Annotated[Path, typer.Argument(help="A weight file.", show_default=False)]) -> None:
    """Say what a weight file is: network, scale, size; or the nearest network and what does not fit."""
    from srcli import archs
    from srcli.engine.weights import files as weights
    from srcli.engine.weights import identify, lut

    if lut.is_table(file):
        console.out.print("\n".join(_table_lines(file)), markup=False)
        return
    state = weights.read_state(file)
    kinds = sorted({str(value.dtype).removeprefix("torch.") for value in state.values()})
    values = sum(value.numel() for value in state.values())
    lines = [f"{file}: {len(state)} tensors, {values:,} values, {', '.join(kinds)}"]
    lines += [f"header: {key} = {value}" for key, value in weights.read_header(file).items()]
    found = identify.fits(state)
    exact = [fit.spec for fit in found if fit.faults == 0]
    for spec in exact:
        network = archs.build(spec.arch, spec.scale, spec.config)
        parameters = sum(value.numel() for value in network.parameters())
        lines.append(f"fits: {spec}, {parameters:,} parameters")
    if not exact:
        lines += _nearest(found[:1])
    console.out.print("\n".join(lines), markup=False)
    if not exact:
        raise typer.Exit(ExitCode.FAILED)


def _table_lines(file: Path) -> list[str]:
    from srcli.engine.weights import files as weights
    from srcli.engine.weights import lut

    spec, found = lut.read(file)
    values = sum(table.size for table in found.values())
    kinds = sorted({str(table.dtype) for table in found.values()})
    number = "1 array" if len(found) == 1 else f"{len(found)} arrays"
    lines = [f"{file}: {number}, {values:,} values, {', '.join(kinds)}"]
    lines += [f"header: {key} = {value}" for key, value in weights.read_header(file).items()]
    shape = " x ".join(map(str, next(iter(found.values())).shape))
    return [*lines, f"a look-up table of {spec}, the first {shape}; it runs without a network"]


def _nearest(found: "list[Fit]") -> list[str]:
    if not found:
        return ["fits nothing: no network of sr is anything like it"]
    (fit,) = found
    shown = {"missing": fit.missing, "unexpected": fit.unexpected, "of another shape": fit.misshapen}
    return [f"fits nothing; nearest is {fit.spec}"] + [
        f"  {len(keys)} {what}: {', '.join(keys[:5])}{' ...' if len(keys) > 5 else ''}"
        for what, keys in shown.items()
        if keys
    ]


@models.command()
def path(names: Names) -> None:
    """Print where weights lie on this machine."""
    from srcli.engine.weights.files import present

    def find(entry: "Entry") -> str:
        found = present(entry)
        if found is None:
            raise WeightsError(f"{entry.name} is not on this machine", f"`sr models fetch {entry.name}`")
        return str(found)

    _each(_named(names), find)


@models.command()
def rm(names: Names) -> None:
    """Delete downloaded weights from the cache."""
    from srcli.engine.weights import hub
    from srcli.engine.weights.files import present

    def delete(entry: "Entry") -> str:
        if isinstance(entry.file, str):
            raise WeightsError(f"{entry.name} is part of sr", "only downloaded weights can be deleted")
        found = present(entry)
        if found is None:
            return f"{entry.name}  not on this machine"
        hub.forget(found)
        return f"{entry.name}  deleted"

    _each(_named(names), delete)


@models.command()
def push(
    file: Annotated[Path, typer.Argument(help="A weight file that `sr train` wrote.", show_default=False)],
    repo: Annotated[str, typer.Option(help="OWNER/NAME on the Hub.", show_default=False)],
    licence: Annotated[str, typer.Option(help="SPDX name, as in Apache-2.0.", show_default=False)],
    data: Annotated[str, typer.Option(help="What it was trained on, in words.")] = "Not stated.",
    results: Annotated[Path | None, typer.Option(help="Scores that `sr bench --json` wrote.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the model card and what would be sent; send nothing.")
    ] = False,
) -> None:
    """Publish a weight file on the Hub with a model card."""
    from srcli.bench.results import read_results
    from srcli.engine.weights import files as weights
    from srcli.engine.weights import hub
    from srcli.report.model_card import render_card

    spec = weights.read_spec(file)
    if spec is None:
        raise WeightsError(f"{file} was not written by sr", "only such files say what they are")
    network = weights.load(file, spec)
    parameters = sum(value.numel() for value in network.parameters())
    measured = read_results(results) if results else None
    text = render_card(file.name, spec, parameters, weights.read_header(file), licence, data, measured)
    if dry_run:
        console.out.print(text, markup=False)
        console.err.print(f"would send to {repo}: README.md, {file.name} ({_total([file.stat().st_size])})")
        return
    address = hub.publish(repo, {"README.md": text.encode(), file.name: file}, f"{spec}, from sr", private)
    console.out.print(address, markup=False)


@models.command()
def blend(
    first: Annotated[Path, typer.Argument(help="A weight file.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Another of the same network.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.", show_default=False)],
    share: Annotated[float, typer.Option(min=0, max=1, help="How much of the second.")] = 0.5,
) -> None:
    """Mix two weight files of one network, as one for PSNR and one trained against a discriminator."""
    from srcli.engine.weights import files as weights

    check_can_write(output)
    if output.exists():
        raise UsageError(f"{output} exists", "choose another --output")
    spec = weights.blend(first, second, share, output)
    console.out.print(f"{output}  {spec}", markup=False)
