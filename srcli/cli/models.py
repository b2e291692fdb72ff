"""`sr models`: list models, and manage the weight files behind them."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

import typer

from srcli.cli import completion, console
from srcli.cli.options import parse_scale, require_whole_scale
from srcli.errors import ExitCode, UsageError, WeightsError, wrap_exception
from srcli.scales import ANY, format_scale
from srcli.storage.files import check_can_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from srcli.manifest import Entry

models = typer.Typer(
    help="List models; download, verify, identify and publish weights.",
    invoke_without_command=True,
    add_completion=False,
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
    """List models; download, verify, identify and publish weights."""
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models(
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale",
            "-x",
            parser=parse_scale,
            metavar="NUMBER",
            help="Only for this scale, such as 2 or x3.",
        ),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Only under this licence, such as Apache-2.0.")] = None,
    purpose: Annotated[
        str | None, typer.Option(help="Only classical (clean images), real-world (noise, JPEG) or drawings.")
    ] = None,
    bundled: Annotated[bool, typer.Option("--bundled", help="Only what ships with sr.")] = False,
    cached: Annotated[bool, typer.Option("--cached", help="Only what needs no download.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="List all networks, including those you have to train yourself.")
    ] = False,
    details: Annotated[
        bool, typer.Option("--details", help="List sizes, licences and scores instead of sentences.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list of models.")] = False,
) -> None:
    """List models, with what each is good for, and methods without weights; with --all, list networks."""
    from srcli import manifest
    from srcli.engine.weights.files import find_local

    whole_scale = None if scale is None else require_whole_scale(scale)
    if every:
        if licence or purpose or bundled or cached:
            raise UsageError("--all lists networks, with or without weights", "combine it only with --scale")
        _print_networks(whole_scale)
        return
    if purpose not in (None, *manifest.PURPOSES):
        raise UsageError(f"no purpose called '{purpose}'", f"choose from: {', '.join(manifest.PURPOSES)}")
    entries = [
        entry
        for entry in manifest.load()
        if (whole_scale is None or entry.scale in (whole_scale, ANY))
        and (licence is None or licence.lower() == entry.licence.lower())
        and purpose in (None, entry.purpose)
        and (entry.bundled or not bundled)
        and (not cached or find_local(entry))
    ]
    if json:
        _print_json(entries)
        return
    has_weightless = licence is None and purpose in (None, "classical")
    _print_models(entries, has_weightless=has_weightless, details=details)


@models.command()
def recommend(
    files: Annotated[list[Path], typer.Argument(help="Images.", show_default=False)],
) -> int:
    """Print for each image the models that suit it: at hand, the best, and the fastest."""
    from srcli.engine.limits import choose_max_pixels, explain_fixed_limit
    from srcli.imaging.codecs.reading import read_frames
    from srcli.imaging.picture_kind import examine_picture
    from srcli.methods.auto import find_auto_models
    from srcli.methods.pixel_art import PIXEL_ART
    from srcli.report.model_report import PIXEL_ART_SENTENCE
    from srcli.report.model_sentences import find_sentence

    models_by_wish = {
        "by default": find_auto_models(),
        "best at hand": find_auto_models("quality"),
        "fastest": find_auto_models("speed"),
    }
    failed, is_piped = 0, not sys.stdout.isatty()
    for file in files:
        try:
            with explain_fixed_limit(file):
                frame = next(iter(read_frames(file, choose_max_pixels(file, None))))
            picture = examine_picture(frame.samples)
        except Exception as error:
            failed += 1
            console.print_error(wrap_exception(error, file))
            continue
        console.out.print(f"{file}: {picture.describe()}", markup=False)
        names = {wish: found.choose(picture) for wish, found in models_by_wish.items()}
        for name in dict.fromkeys(names.values()):
            wishes = ", ".join(wish for wish, chosen in names.items() if chosen == name)
            sentence = PIXEL_ART_SENTENCE if name == PIXEL_ART else find_sentence(name)[1]
            console.out.print(f"  -m {name} ({wishes}): {sentence}", markup=False, soft_wrap=is_piped)
    if failed:
        return ExitCode.FAILED if failed == len(files) else ExitCode.PARTLY
    return ExitCode.OK


def _print_json(entries: "list[Entry]") -> None:
    import json

    from srcli.report.model_tables import describe_models
    from srcli.storage.json_record import to_record

    console.out.print_json(
        json.dumps([to_record(model) for model in describe_models(entries)]), ensure_ascii=True
    )


def _print_models(entries: "list[Entry]", *, has_weightless: bool, details: bool) -> None:
    from srcli.imaging.resize import KERNELS
    from srcli.methods import classical
    from srcli.methods.pixel_art import PIXEL_ART
    from srcli.report.model_tables import build_model_tables, build_sentence_table

    if details:
        for table in build_model_tables(entries):
            console.out.print(table)
    else:
        console.out.print(build_sentence_table(entries, console.out.rich.width), soft_wrap=False)
    if has_weightless:
        console.out.print(f"[italic]No network, any scale:[/] {' '.join(KERNELS)} {PIXEL_ART}")
        console.out.print(f"[italic]No training set, any scale:[/] {' '.join(classical.METHODS)}")
    if details:
        console.err.print(
            "PSNR in dB by scale: published, or measured by us if bundled or unpublished."
            " *: not pinned to a commit."
        )
    else:
        console.err.print(
            "fast to slow on a CPU, or a GPU is needed; MP/s: measured here, for models that were used."
            " `sr models list --details` has sizes, licences and scores; `sr models recommend photo.jpg`"
            " looks at a picture."
        )


def _print_networks(scale: int | None) -> None:
    from srcli.report.model_tables import build_network_table

    console.out.print(build_network_table(scale))
    console.err.print("Parameters: of the default configuration, at --scale or else its first scale.")


@models.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="MODEL or MODEL-xSCALE, as `sr models` lists them.", autocompletion=completion.entries
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Download all weights.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Download and verify weights, for a machine that will be offline."""
    from srcli import manifest
    from srcli.engine.weights.files import find_local, locate_weights

    if every == bool(names):
        raise UsageError("which weights?", "name some, or use --all")
    entries = list(manifest.load()) if every else _find_entries(names or [])
    missing = [entry for entry in entries if not find_local(entry)]
    if missing:
        _confirm(missing, yes)

    def download(entry: "Entry") -> str:
        return f"{entry.name}  {locate_weights(entry)}"

    _run_for_each(entries, download)


def _confirm(entries: "list[Entry]", yes: bool) -> None:
    """Print what will be downloaded, and ask whether to continue. Raises `UsageError` without a terminal."""
    sizes = [_find_size(entry) for entry in entries]
    known = sum(size for size in sizes if size)
    unknown = sizes.count(None)
    more = f" and {unknown} of unknown size" if unknown else ""
    files = "1 file" if len(entries) == 1 else f"{len(entries)} files"
    console.err.print(f"{files} to download, {known / 1e6:.1f} MB{more}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("cannot ask for confirmation without a terminal", "use --yes")
    typer.confirm("Continue?", abort=True, err=True)


def _find_size(entry: "Entry") -> int | None:
    """Return the size in bytes from the manifest or, if it is not there, from the Hub."""
    from srcli.engine.weights import hub
    from srcli.manifest import HubFile

    if entry.bytes or not isinstance(entry.file, HubFile):
        return entry.bytes
    try:
        return hub.fetch_metadata(entry.file).size
    except hub.HubError as error:
        if error.affects_all:
            raise  # to ask again for each file would take long
        return None


def _find_entries(names: list[str]) -> "list[Entry]":
    from srcli import manifest

    entries = [entry for name in names for entry in manifest.find_named(name)]
    return list({entry.name: entry for entry in entries}.values())


def _run_for_each(entries: "Iterable[Entry]", work: "Callable[[Entry], str]") -> None:
    """Run `work` for every entry and print its line; after errors, exit with FAILED at the end."""
    failed = 0
    for entry in entries:
        try:
            console.out.print(work(entry), markup=False)
        except Exception as error:
            failure = wrap_exception(error, entry.name)
            console.print_error(failure)
            failed += 1
            if failure.affects_all:
                break
    if failed:
        raise typer.Exit(ExitCode.FAILED)


@models.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only these; all weights on this machine by default.", autocompletion=completion.entries
        ),
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="Also check that the files on the Hub are unchanged.")
    ] = False,
) -> None:
    """Check the SHA-256 of the weights on this machine."""
    from srcli import manifest
    from srcli.engine.weights.files import find_local

    entries = _find_entries(names) if names else list(manifest.load())

    def check(entry: "Entry") -> str:
        local = _check_local(entry)
        remote = _check_remote(entry) if online else ""
        return f"{entry.name}  {', '.join(filter(None, (local, remote)))}"

    _run_for_each((entry for entry in entries if online or names or find_local(entry)), check)


def _check_local(entry: "Entry") -> str:
    from srcli.engine.weights.files import describe_damage, find_local
    from srcli.manifest import UserFile

    path = find_local(entry)
    if path is None:
        return "not on this machine"
    problem = describe_damage(entry, path)
    if problem:
        is_installed = entry.bundled or path.suffix == ".param"
        again = f"`sr models rm {entry.name}`, then fetch it again"
        hint = "reinstall its package" if is_installed else again
        if isinstance(entry.file, UserFile):
            hint = f"`sr models remove {entry.name}`, then add it again"
        raise WeightsError(f"{entry.name} is damaged: {problem}", hint)
    return "ok"


def _check_remote(entry: "Entry") -> str:
    """Compare what the Hub says of the file with the manifest. Raises `SrError` if they differ."""
    from srcli.engine.weights import hub
    from srcli.manifest import HubFile, UserFile
    from srcli.report.model_tables import format_total

    if not isinstance(entry.file, HubFile):
        where = {str: "bundled", UserFile: "your own"}
        return where.get(type(entry.file), "part of another package")
    stated = hub.fetch_metadata(entry.file)
    facts = {"digest": (entry.digest, stated.digest), "size": (entry.bytes, stated.size)}
    for name, (ours, theirs) in facts.items():
        if ours and theirs and ours != theirs:
            message = f"{entry.name}: the Hub states {name} {theirs}, but sr expects {ours}"
            raise WeightsError(message, "update sr")
    if not stated.digest:
        return "on the Hub, which gives no SHA-256"
    return f"unchanged on the Hub, {format_total([stated.size])}"


@models.command()
def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FILE",
            help="Model, as `sr models` lists it, or weight file.",
            show_default=False,
            autocompletion=completion.models,
        ),
    ],
) -> None:
    """Describe a model: its use, speed, weights and licence; or say to which network a file belongs."""
    from srcli.report.weights_report import describe_weights

    if _is_model_name(name):
        _print_model(name)
        return
    report = describe_weights(Path(name))
    for line in report.lines:
        console.out.print(line, markup=False)
    if not report.is_identified:
        raise typer.Exit(ExitCode.FAILED)


def _is_model_name(name: str) -> bool:
    """Return whether a text is the name of a model and not of a file. A model of that name comes first."""
    from srcli.methods import list_models, resolve_name

    if resolve_name(name) in list_models():
        return True
    return not (os.path.lexists(name) or "." in name or os.sep in name)


def _print_model(name: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from srcli import manifest
    from srcli.methods import check_model, resolve_name
    from srcli.report.model_report import describe_model

    model = resolve_name(name)
    check_model(model, 2)
    entries = [entry for entry in manifest.load() if entry.model == model]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for label, text in describe_model(model, entries):
        table.add_row(Text(label, "bold"), Text(text, overflow="fold"))
    console.out.print(model, markup=False)
    console.out.print(table, soft_wrap=False)


@models.command()
def path(names: Names) -> None:
    """Print the paths of weights on this machine."""
    from srcli.engine.weights.files import find_local

    def find(entry: "Entry") -> str:
        file = find_local(entry)
        if file is None:
            raise WeightsError(f"{entry.name} is not on this machine", f"`sr models fetch {entry.name}`")
        return str(file)

    _run_for_each(_find_entries(names), find)


@models.command()
def rm(names: Names) -> None:
    """Delete downloaded weights from the cache."""
    from srcli.engine.weights import hub
    from srcli.engine.weights.files import find_local
    from srcli.manifest import UserFile

    def delete(entry: "Entry") -> str:
        file = find_local(entry)
        if isinstance(entry.file, UserFile):
            raise WeightsError(f"{entry.name} is your own model", f"`sr models remove {entry.name}`")
        if entry.bundled or (file and file.suffix == ".param"):
            where = "sr" if entry.bundled else f"an installed package: {file}"
            raise WeightsError(f"{entry.name} is part of {where}", "only downloaded weights can be deleted")
        if file is None:
            return f"{entry.name}  not on this machine"
        hub.remove_cached(file)
        return f"{entry.name}  deleted"

    _run_for_each(_find_entries(names), delete)


@models.command()
def add(
    source: Annotated[
        str | None,
        typer.Argument(help="Weight file, or the address of one.", show_default=False, metavar="FILE|URL"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name for --model; that of the file by default.")] = None,
    digest: Annotated[
        str | None, typer.Option("--sha256", help="SHA-256 that the file must have.", metavar="HEX")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale", "-x", parser=parse_scale, metavar="NUMBER", help="If the file fits several scales."
        ),
    ] = None,
    entry: Annotated[
        Path | None, typer.Option(help="JSON file of OpenModelDB that describes the model.")
    ] = None,
) -> None:
    """Add a weight file to the models: -m NAME works from then on."""
    from dataclasses import replace

    from srcli.engine.weights import user_models
    from srcli.engine.weights.user_models import ModelSource
    from srcli.methods.registry import find_own_scale

    if digest is not None and not re.fullmatch("[0-9a-fA-F]{64}", digest):
        raise UsageError("--sha256 takes 64 hexadecimal digits", "`sha256sum FILE` prints them")
    if entry is None and source is None:
        raise UsageError("which file?", "sr models add FILE, or --entry FILE.json")
    wanted = user_models.read_description(entry) if entry else ModelSource((), _choose_name(source or ""))
    wanted = replace(
        wanted,
        places=(source,) if source else wanted.places,
        name=name or wanted.name,
        digest=digest.lower() if digest else wanted.digest,
        scale=wanted.scale if scale is None else require_whole_scale(scale),
    )
    with console.make_progress_bar() as bar:
        task = bar.add_task("downloading", total=None, visible=False)
        added = user_models.add_model(
            wanted,
            lambda done, total: bar.update(task, completed=done, total=total, visible=True),
            find_own_scale,
        )
    library = f"no network of ours, run by {'ONNX or OpenCV' if added.arch == 'graph' else added.arch},"
    spec = f"{library if added.is_foreign else added.arch} {format_scale(added.scale)}"
    console.out.print(f"{added.name}  {spec}  use it: sr upscale IMAGE -m {added.model}", markup=False)


def _choose_name(source: str) -> str:
    """Return a name for the model in a file or at an address.

    >>> _choose_name("https://huggingface.co/me/net/resolve/main/4x_Net%20(v2).pth")
    '4x-net-v2'
    """
    last = unquote(urlsplit(source).path if "://" in source else source)
    return re.sub(r"[^a-z0-9.+]+", "-", Path(last).stem.lower()).strip("-.+")


@models.command()
def remove(
    names: Annotated[
        list[str], typer.Argument(help="MODEL or MODEL-xSCALE.", autocompletion=completion.user_entries)
    ],
) -> None:
    """Delete models that were added with `sr models add`."""
    from srcli.engine.weights.user_models import remove_models

    for name in remove_models(names):
        console.out.print(f"{name}  removed", markup=False)


@models.command()
def push(
    file: Annotated[Path, typer.Argument(help="Weight file written by `sr train`.", show_default=False)],
    repo: Annotated[str, typer.Option(help="OWNER/NAME on the Hub.", show_default=False)],
    licence: Annotated[str, typer.Option(help="SPDX name, such as Apache-2.0.", show_default=False)],
    data: Annotated[
        str, typer.Option(help="Description of the training data; the run's folders by default.")
    ] = "",
    results: Annotated[Path | None, typer.Option(help="Scores written by `sr bench --json`.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the model card and what would be uploaded.")
    ] = False,
) -> None:
    """Publish a weight file on the Hub with a model card."""
    from srcli.bench.results import read_results
    from srcli.engine.weights import files as weights
    from srcli.engine.weights import hub
    from srcli.engine.weights.checkpoint import read_header
    from srcli.report.model_card import Card, render_card
    from srcli.report.model_tables import format_total

    spec = weights.read_spec(file)
    if spec is None:
        raise WeightsError(f"{file} was not written by sr", "only files written by sr name their network")
    network = weights.load_network(file, spec)
    parameters = sum(value.numel() for value in network.parameters())
    scores = read_results(results) if results else None
    card = Card(file, spec, parameters, read_header(file), licence, data, scores)
    text = render_card(card)
    if dry_run:
        console.print_lines(text)
        size = format_total([file.stat().st_size])
        console.err.print(f"would upload to {repo}: README.md, {file.name} ({size})", markup=False)
        return
    sent: dict[str, bytes | Path] = {"README.md": text.encode(), file.name: file}
    if card.curves:
        sent[card.curves.name] = card.curves
    address = hub.publish(repo, sent, f"{spec}, from sr", private)
    console.out.print(address, markup=False)


@models.command()
def blend(
    first: Annotated[Path, typer.Argument(help="Weight file.", show_default=False)],
    second: Annotated[
        Path, typer.Argument(help="Another weight file of the same network.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)],
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the second file.")] = 0.5,
) -> None:
    """Interpolate two weight files of one network, for example one for PSNR and one trained as a GAN."""
    from srcli.engine.weights import files as weights

    check_can_write(output)
    if output.exists():
        raise UsageError(f"{output} exists", "choose another --output")
    spec = weights.blend_networks(first, second, share, output)
    console.out.print(f"{output}  {spec}", markup=False)
