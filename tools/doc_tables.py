"""Tables and help texts for README.md and docs/, made from the program and its result files by cog blocks."""

import csv
import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import typer.main

from srcli import archs, manifest
from srcli.bench.published import load_published
from srcli.bench.results import read_results
from srcli.cli.app import app
from srcli.report import formatters
from srcli.report.table import PLAIN, TableOptions
from srcli.report.training_curves import find_score
from srcli.train import recipes
from tools.published_recipes import describe_comparison, read_published

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TRAINING = ROOT / "benchmarks" / "training"


def load_result(name: str) -> dict[str, Any]:
    """Return the content of benchmarks/results/NAME.json."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


# docs/real.md: spoilt pictures


def render_spoilt() -> str:
    """Return how near methods come to Real-ESRGAN on spoilt pictures, means over all cases."""
    result = load_result("spoilt")
    out = [
        "| model | PSNR to Real-ESRGAN | correlation of detail | share of detail | NIQE | gradient |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for method, rows in result["figures"].items():
        mean = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        psnr = f"{mean['psnr']:.2f} dB" if "psnr" in mean else ""
        near = f"{mean['correlation']:.3f} | {mean['share']:.2f}"
        out.append(f"| {method} | {psnr} | {near} | {mean['niqe']:.2f} | {mean['gradient']:.1f} |")
    return "\n".join(out)


# README.md: how to install it


def render_install_line(note: str = "in a checkout of this repository; Python 3.11 or newer, {} MB") -> str:
    """Return the line that installs the core, with its size to ten megabytes."""
    size = round(load_result("install")["core_bytes"] / 1e7) * 10
    return f"```sh\npip install .       # {note.format(size)}\n```"


def render_install_line_in_chinese() -> str:
    """Return the same line for README.zh-CN.md."""
    return render_install_line("在本仓库的根目录下运行；需要 Python 3.11 或更高版本，占用 {} MB")


# The published network that each bundled one is compared with. VDSR stands in for ECBSR, of which no paper
# has this size, and for SlimRes, which is ours; it is larger than both.
COUNTERPARTS = {"fsrcnn": "fsrcnn", "espcn": "espcn", "ecbsr": "vdsr", "slimres": "vdsr"}

# README.md: which model?

# Model, the advice that goes with it, and what it runs on.
CHOICES = (
    (manifest.DEFAULT_MODEL, "a clean image"),
    ("ecbsr", "many clean images, nearly as sharp and faster"),
    ("fsrcnn", "many clean images, as fast as possible"),
    ("edsr-baseline", "a clean image, somewhat better and much slower"),
    ("swinir", "a clean image, as good as it gets; wants a GPU"),
    ("photo", "noise, blur or JPEG artefacts"),
    ("photo-lite", "the same, several times as fast"),
    ("realesrgan", "the same, with invented texture; wants a GPU"),
    ("anime", "drawings and anime"),
    ("bicubic", "no network at all"),
)


# The same table in README.zh-CN.md.
CHINESE = {
    "you have or want": "您的图像或需求",
    "| use |": "| 选项 |",
    "| weights |": "| 权重 |",
    "a clean image, as good as it gets; wants a GPU": "干净的图像，质量最好；建议使用 GPU",
    "a clean image, somewhat better and much slower": "干净的图像，质量略好，但慢得多",
    "many clean images, as fast as possible": "大量干净的图像，速度优先",
    "many clean images, nearly as sharp and faster": "大量干净的图像，清晰度相近，更快",
    "a clean image": "干净的图像",
    "drawings and anime": "绘画与动漫",
    "noise, blur or JPEG artefacts": "有噪声、模糊或 JPEG 压缩伪影",
    "the same, several times as fast": "同上，速度快数倍",
    "the same, with invented texture; wants a GPU": "同上，但会凭空生成纹理；建议使用 GPU",
    "no network at all": "不使用网络",
    "| bundled |": "| 内置 |",
    "| download, ": "| 需下载，",
    "| download": "| 需下载",
    "| none |": "| 无 |",
}


def render_choices_in_chinese() -> str:
    """Return the table of `render_choices` in Chinese."""
    text = render_choices()
    for english, chinese in CHINESE.items():
        text = text.replace(english, chinese)
    return text


def render_choices(scale: int = 4) -> str:
    """Return which model suits what, its download size and its PSNR-Y on Set5.

    The figure is our own measurement if the weights are bundled, with the difference from the network in
    COUNTERPARTS; else the paper's.
    """
    entries = {entry.model: entry for entry in manifest.load_own() if entry.scale == scale}
    rows = load_result("bundled")["rows"]
    measured = {
        row["method"]: row["psnr_y"] for row in rows if (row["dataset"], row["scale"]) == ("Set5", scale)
    }
    out = [f"| you have or want | use | weights | Set5 x{scale} |", "|---|---|---|---:|"]
    for model, advice in CHOICES:
        entry = entries.get(model)
        figure = measured.get(model) or (entry.published.get("Set5") if entry else None)
        if entry and entry.purpose != "classical":
            figure = None  # Set5 is clean: not what these networks are for
        shown = f"{figure:.2f} dB" if figure else ""
        paper = load_published().find(COUNTERPARTS.get(model, ""), scale, "Set5")
        if paper and figure:
            shown += f" ({paper.network} {round(figure, 2) - paper.psnr_y:+.2f})"
        cells = (advice, f"`-m {model}`", _describe_weights(entry), shown)
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def _describe_weights(entry: manifest.Entry | None) -> str:
    if entry is None:
        return "none"
    if entry.bundled:
        return "bundled"
    return f"download, {entry.bytes / 1e6:.0f} MB" if entry.bytes else "download"


# docs/auto.md


def render_picture_kinds() -> str:
    """Return how often each kind of picture is taken for which, as a table."""
    rows = load_result("picture_kinds")["rows"]
    out = [f"| is \\ taken for | {' | '.join(row['is'] for row in rows)} |", "|---|" + "---:|" * len(rows)]
    counts = {row["is"]: [str(count or "") for count in row["taken_for"].values()] for row in rows}
    out += [f"| {kind} | {' | '.join(cells)} |" for kind, cells in counts.items()]
    right = sum(row["taken_for"][row["is"]] for row in rows)
    total = sum(sum(row["taken_for"].values()) for row in rows)
    return "\n".join([*out, "", f"{right} of {total} are right."])


# docs/cli.md


EXIT_CODES = {
    0: "everything done",
    1: "nothing done; stderr says why",
    2: "wrong command line",
    3: "some images failed and are named on stderr; the others are done",
    130: "stopped by Ctrl-C or SIGTERM",
}


def render_help(*command: str) -> str:
    """Return the help of a command as a code block, 100 columns wide."""
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    words = [sys.executable, "-m", "srcli", *command, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    lines = (line.rstrip() for line in done.stdout.strip().splitlines())
    return "```text\n" + "\n".join(lines) + "\n```"


def list_commands() -> Iterator[tuple[str, ...]]:
    """Yield every command and subcommand of the program, as words after `sr`."""
    for name, command in typer.main.get_group(app).commands.items():
        yield (name,)
        yield from ((name, sub) for sub in getattr(command, "commands", ()))


def render_all_help() -> str:
    """Return a section with the help of each command."""
    sections = ["## sr\n" + render_help()]
    for command in list_commands():
        level = "#" * (1 + len(command))
        sections.append(f"{level} sr {' '.join(command)}\n{render_help(*command)}")
    return "\n\n".join(sections)


# share/


def render_man_page() -> str:
    """Return the man page sr(1) without its first line, in the macros of man(7)."""
    group = typer.main.get_group(app)
    lines = [".SH NAME", "sr \\- upscale images with super\\-resolution networks"]
    lines += [".SH SYNOPSIS", ".B sr", ".I command", "[options]"]
    lines += [".SH DESCRIPTION", _escape_roff(group.help or "")]
    lines += [".SH OPTIONS", *_list_man_options(group)]
    for words in list_commands():
        command: Any = group
        for word in words:
            command = command.commands[word]
        if not hasattr(command, "commands") or command.invoke_without_command:
            summary = _escape_roff(" ".join((command.help or "").split()))
            lines += [f".SH SR {' '.join(words).upper()}", summary]
            lines += _list_man_options(command)
    lines += [".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES.items():
        lines += [".TP", f".B {code}", _escape_roff(meaning)]
    return "\n".join(lines)


def _list_man_options(command: Any) -> list[str]:
    """Return a tagged paragraph for each argument and option of a command."""
    context = typer.Context(command)
    lines = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        names = ", ".join((*parameter.opts, *parameter.secondary_opts))
        is_argument = parameter.param_type_name == "argument"
        label = parameter.make_metavar(context) if is_argument else names
        help_text = getattr(parameter, "help", None) or ""
        lines += [".TP", f".B {_escape_roff(label)}", _escape_roff(" ".join(help_text.split()))]
    return lines


def _escape_roff(text: str) -> str:
    """Return a line of text in which nothing is a request or an escape."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


# docs/benchmarks.md and docs/bench.md


def render_results(name: str) -> str:
    """Return PSNR-Y / SSIM-Y of a result file: a line per data set and scale, a column per method."""
    rows = load_result(name)["rows"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    cells = {(row["dataset"], row["scale"], row["method"]): row for row in rows}
    out = [f"| | {' | '.join(methods)} |", "|---|" + "---|" * len(methods)]
    for dataset, scale in dict.fromkeys((row["dataset"], row["scale"]) for row in rows):
        figures = (cells.get((dataset, scale, method)) for method in methods)
        shown = " | ".join(f"{r['psnr_y']:.2f} / {r['ssim_y']:.4f}" if r else "" for r in figures)
        out.append(f"| {dataset} x{scale} | {shown} |")
    return "\n".join(out)


def render_comparison(name: str) -> str:
    """Return PSNR-Y of the bundled weights, the papers' figures and the differences."""
    out = []
    for row in load_result(name)["rows"]:
        counterpart = COUNTERPARTS.get(row["method"], "")
        figure = load_published().find(counterpart, row["scale"], row["dataset"])
        if figure:
            difference = round(row["psnr_y"], 2) - figure.psnr_y
            ours = f"{row['method']} | {row['dataset']} x{row['scale']} | {row['psnr_y']:.2f}"
            out.append(f"| {ours} | {figure.network} | {figure.psnr_y:.2f} | {difference:+.2f} |")
    head = ["| weights | data set | ours | published | | difference |", "|---|---|---:|---|---:|---:|"]
    return "\n".join([*head, *sorted(out)])


def render_bench(name: str, subset: Sequence[tuple[str, int]] = (), show: TableOptions = PLAIN) -> str:
    """Return the table that `sr bench --markdown` prints for a result file.

    `subset`: data sets and scales to include; all if empty.
    """
    results = read_results(RESULTS / f"{name}.json")
    rows = tuple(row for row in results.rows if not subset or (row.dataset, row.scale) in subset)
    return formatters.format_markdown(replace(results, rows=rows), show)


def render_memory() -> str:
    """Return time and peak memory by input size, measured by `make bench-memory`."""
    result = load_result("memory")
    out = [
        "| megapixels in | seconds | estimate | peak MiB | estimate |",
        "|---:|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        times = f"{row['seconds']:.1f} | {row['foretold_seconds']:.1f}"
        peaks = f"{row['bytes'] / 2**20:.0f} | {row['foretold_bytes'] / 2**20:.0f}"
        out.append(f"| {row['megapixels']:g} | {times} | {peaks} |")
    return "\n".join([_describe_machine(result, f"x{result['scale']}, default model"), "", *out])


def render_folder() -> str:
    """Return the cost of a folder of small images compared with one command per image."""
    result = load_result("folder")
    count, side = result["count"], result["side"]
    share = result["networks"] / result["folder"]
    about = f"{count} images of {side}x{side}, x4, medians of {result['rounds']} rounds"
    line = (
        f"One command for the whole folder takes {result['folder']:.1f} s. One command for a single image "
        f"takes {result['single']:.2f} s, of which the network takes {result['network']:.3f} s. The folder "
        f"therefore takes {result['ratio_to_commands']:.2f} of the time of {count} commands, and "
        f"{result['ratio']:.2f} of the time of {count} network runs plus one start-up (target: "
        f"at most 1.15). The network runs alone are {share:.2f} of the folder's time."
    )
    return f"{_describe_machine(result, about)}\n\n{line}"


def render_runtimes() -> str:
    """Return the start and the rate of the libraries that run bundled networks, measured in turns."""
    result = load_result("runtimes")
    side = str(result["side"])
    about = f"load {result['load']}, peak {result['peak_gflops']} GFLOP/s, copies {result['copy_gbs']} GB/s"
    out = [f"{result['machine']}, one thread; {about}.", ""]
    sides = list(result["rows"][0]["ms"])
    heads = " | ".join(f"{each}x{each}, ms" for each in sides)
    out.append(f"| network | library | start, s | {heads} | GFLOP/s | of peak | of copies |")
    out.append("|---|---|---:|" + "---:|" * len(sides) + "---:|---:|---:|")
    for row in result["rows"]:
        times = " | ".join(f"{row['ms'][each]:.0f}" for each in sides)
        traffic = row["bytes"] * result["side"] ** 2 / row["ms"][side] / 1e6 / result["copy_gbs"]
        out.append(
            f"| {row['network']} | {row['library']} | {row['start']:.2f} | {times} | {row['gflops']:.0f} "
            f"| {row['gflops'] / result['peak_gflops']:.0%} | {traffic:.0%} |"
        )
    return "\n".join(out)


def render_peers() -> str:
    """Return the times of `sr` and of other tools, measured in turns by `make bench-peers`."""
    result = load_result("peers")
    about = f"x4, medians of {result['rounds']} rounds, fp32 peak {result['peak_gflops']} GFLOP/s"
    out = [_describe_machine(result, about), ""]
    out.append("| network, image | tool | whole process, s | ratio | network alone, s | ratio | of peak |")
    out.append("|---|---|---:|---:|---:|---:|---:|")
    for row in result["rows"]:
        case = f"{row['network']}, {row['side']}x{row['side']}"
        if "reason" in row:
            reason = row["reason"].replace("|", "/").splitlines()[0][:90]
            out.append(f"| {case} | {row['tool']} | did not run: {reason} | | | | |")
            continue
        whole = f"{row['whole']:.2f} | {row['whole_ratio']:.2f}"
        alone = f"{row['alone']:.2f} | {row['alone_ratio']:.2f}"
        share = f"{row['gflops'] / result['peak_gflops']:.0%}"
        out.append(f"| {case} | {row['tool']} | {whole} | {alone} | {share} |")
    return "\n".join(out)


# Targets of `make bench-peers`: tool, ratio, upper limit, side of the images (None: all).
TARGETS = (
    ("fastest", "whole_ratio", 1.0, 256),
    ("fastest", "whole_ratio", 0.95, 1024),
    ("ncnn", "alone_ratio", 1.05, None),
    ("torch", "alone_ratio", 0.6, None),
    ("super-image", "whole_ratio", 0.35, None),
    ("spandrel", "whole_ratio", 0.35, None),
)


def render_targets() -> str:
    """Return the targets of `make bench-peers` and the measured ratios; missed ones are bold."""
    rows = [row for row in load_result("peers")["rows"] if "reason" not in row and row["tool"] != "sr"]
    out = ["| sr's time over that of | what | target | met | measured |", "|---|---|---:|---:|---|"]
    for tool, key, limit, side in TARGETS:
        ratios = _find_ratios(rows, tool, key, side)
        met = sum(ratio <= limit for ratio in ratios.values())
        shown = ", ".join(f"{n}: {r:.2f}" if r <= limit else f"{n}: **{r:.2f}**" for n, r in ratios.items())
        what = "whole process" if key == "whole_ratio" else "network alone"
        whose = "the fastest tool" if tool == "fastest" else tool
        out.append(f"| {whose} | {what} | {limit} | {met} of {len(ratios)} | {shown} |")
    return "\n".join(out)


def _find_ratios(rows: list[dict[str, Any]], tool: str, key: str, side: int | None) -> dict[str, float]:
    """Return the largest ratio for each network and image side that a target applies to."""
    ratios: dict[str, float] = {}
    for row in rows:
        if tool in ("fastest", row["tool"]) and side in (None, row["side"]):
            case = f"{row['network']} {row['side']}"
            ratios[case] = max(row[key], ratios.get(case, 0.0))
    return ratios


def _describe_machine(result: dict[str, Any], about: str) -> str:
    note = f" {result['note'][:1].upper()}{result['note'][1:]}." if result["note"] else ""
    return f"{result['machine']}, {result['threads']} threads, load {result['load']:.1f}; {about}.{note}"


# docs/weights: how the bundled weights were trained


def render_training_runs() -> str:
    """Return command, steps and best validation of each run kept in benchmarks/training."""
    out = ["| weights | command | steps run | best validation PSNR-Y |", "|---|---|---:|---|"]
    for path in sorted(TRAINING.glob("*.recipe.json")):
        name = path.name.removesuffix(".recipe.json")
        log = [json.loads(line) for line in (TRAINING / f"{name}.jsonl").read_text().splitlines()]
        figures = f"{log[-1]['step']:,} | {_format_score(max(log, key=find_score))}"
        out.append(f"| {name} | `{format_command(json.loads(path.read_text()))}` | {figures} |")
    return "\n".join(out)


_FLAGS = ("steps", "patch", "batch", "loss", "learning_rate", "degrade", "init")


def format_command(recipe: dict[str, Any]) -> str:
    """Return the command line that gives a recipe.

    It has options only for what differs from the network's own recipe.
    """
    if "script" in recipe:
        return f"python {recipe['script']}"
    usual = asdict(recipes.find(recipe.get("name") or recipe["arch"], recipe["scale"]))
    changed = {k: v for k, v in recipe.items() if v != _to_json(usual.get(k)) and k != "validate_every"}
    config = {f"config.{key}": value for key, value in changed.pop("config", {}).items()}
    words = [f"sr train {recipe.get('name') or recipe['arch']} -x{recipe['scale']} --data DIR --valid DIR"]
    words += [f"--{key.replace('_', '-')} {value}" for key, value in changed.items() if key in _FLAGS]
    others = {key: value for key, value in changed.items() if key not in _FLAGS} | config
    words += [f"--set {key}={_format_value(value)}" for key, value in others.items()]
    return " ".join(words)


def _to_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _format_value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def format_trial(name: str) -> str:
    """Return the last validation of a run in benchmarks/training."""
    last = json.loads((TRAINING / f"{name}.jsonl").read_text().splitlines()[-1])
    return _format_score(last)


def _format_score(entry: dict[str, Any]) -> str:
    whose = "" if "psnr_y" in entry else " to its teacher"
    return f"{find_score(entry):.3f} dB{whose} at step {entry['step']:,}"


def format_generalisation() -> str:
    """Return how much better a network does on its training tiles than on held-out images."""
    found = json.loads((RESULTS / "generalisation.json").read_text())
    return (
        f"No: held-out images gain {found['difference']:+.2f} dB against training tiles of equal difficulty,"
        f" with a standard error of {found['standard_error']:.2f} ({found['images']} images,"
        f" {found['tiles']} tiles)."
    )


def render_recipes(scale: int = 4) -> str:
    """Return a table of the fields of all recipes that differ between them, at one scale."""
    rows = [
        "| recipe | loss | steps | patch | batch | optimiser | rate | schedule | averaged | degraded by |",
        "|---|---|---:|---:|---:|---|---:|---|---:|---|",
    ]
    for name in recipes.RECIPES:
        found = recipes.find(name, scale)
        loss = found.loss + (f", then {found.gan.loss}" if found.gan else "")
        optimiser = f"{found.optimiser}, {found.beta2:g}" + (
            f", decay {found.weight_decay:g}" if found.weight_decay else ""
        )
        shape = found.schedule + (f" at {_format_shares(found.decay_at)}" if found.decay_at else "")
        rows.append(
            f"| `{name}` | {loss} | {found.all_steps:,} | {found.patch} | {found.batch * found.accumulate} "
            f"| {optimiser} | {found.learning_rate:g} | {shape} | {found.ema or ''} | {found.degrade} |"
        )
    return "\n".join(rows)


def _format_shares(shares: Sequence[float]) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)


def render_recipe_notes(scale: int = 4) -> str:
    """Return what each recipe follows, and how it differs from its authors' options, or its source."""
    notes, published = [], read_published()
    for name, recipe in recipes.RECIPES.items():
        text = " ".join((recipe.__doc__ or "").split())
        source = recipes.SOURCES.get(name) or archs.paper(recipes.find(name, scale).arch).url
        if name in published:
            text += f" {describe_comparison(published[name])}"
        elif source:
            text += f" [Source]({source})"
        notes.append(f"- `{name}`: {text}")
    return "\n".join(notes)


def render_training_speed() -> str:
    """Return the speed of `sr train` and of a minimal loop, measured in turns by `make bench-train`."""
    result = load_result("train")
    about = f"batch {result['batch']}, patch {result['patch']}, x4, {result['threads']} processor thread"
    rows = [
        f"| {row['network']} | {precision} | {rate:.2f} | {plain:.2f} | {rate / plain:.2f} |"
        for row, plain in ((row, row["minimal"]) for row in result["rows"])
        for precision, rate in row["ours"].items()
    ]
    head = [
        "| network | precision | `sr train`, steps/s | minimal loop, steps/s | ratio |",
        "|---|---|---:|---:|---:|",
    ]
    return "\n".join([f"Measured with {about}:\n", *head, *rows])


def render_soap_cost() -> str:
    """Return how much longer a step takes with SOAP than with Adam, at the sizes of the recipes."""
    parts = [
        f"{row['network']} (patch {row['patch']}, batch {row['batch']}) {row['longer']:.0%}"
        for row in load_result("train")["soap"]
    ]
    return f"A step with SOAP takes longer than one with Adam by: {', '.join(parts)}."


def render_data_cores() -> str:
    """Return how many cores a GPU wants for degrading images, by its steps per second."""
    data = load_result("train")["data"]
    rate = data["rate"]
    cores = [f"{math.ceil(steps * data['batch'] / rate)} at {steps:g}" for steps in (0.5, 1, 2, 4)]
    return (
        f"One core draws and degrades {rate:.1f} images of {data['side']} px per second by "
        f"`{data['degrade']}`. "
        f"At batch {data['batch']}, a GPU therefore wants this many cores: {', '.join(cores)} steps/s."
    )


def count_photographs() -> str:
    """Return how many training photographs there are under each licence."""
    counts = Counter(row["licence"] for row in _read_photographs())
    return "\n".join(f"- {counts[licence]} under {licence}" for licence in sorted(counts))


def list_photographs() -> str:
    """Return the names of the training photographs, a section for each source and licence."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in _read_photographs():
        name = row["original"].partition("/")[2]
        groups.setdefault((row["source"], row["licence"]), []).append(f"`{name}`")
    parts = [
        f"## {source}\n{licence}, {len(names)} photographs: {', '.join(names)}"
        for (source, licence), names in sorted(groups.items())
    ]
    return "\n\n".join(parts)


def _read_photographs() -> list[dict[str, str]]:
    with (ROOT / "srcli" / "weights" / "ATTRIBUTION.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def list_curves() -> str:
    """Return an image link for each training curve drawn by `tools/bundle.py --curves`."""
    names = sorted(path.stem for path in (ROOT / "docs" / "weights").glob("*.png"))
    return "\n".join(f"![{name}: loss and PSNR over steps, stage by stage]({name}.png)" for name in names)


# docs/classical.md

# The least gain over bicubic at x2 that each method has to reach, in dB.
_TARGET_GAINS = {"tv": 0.3, "ibp": 0.2, "zssr": 1.5, "selfex": 0.5, "sparse": 0.5}


def render_untrained() -> str:
    """Return the gains of the untrained methods over bicubic on Set5."""
    out = [
        "| method | PSNR-Y | SSIM-Y | over bicubic | target | seconds per image |",
        "|---|---|---|---|---|---:|",
    ]
    for row in load_result("classical")["rows"]:
        target = f"{_TARGET_GAINS[row['method']]:+.1f} dB" if row["method"] in _TARGET_GAINS else ""
        figures = f"{row['psnr_y']:.2f} | {row['ssim_y']:.4f} | {row['gain']:+.2f} dB"
        out.append(f"| `{row['method']}` | {figures} | {target} | {row['seconds']:.1f} |")
    return "\n".join(out)


def render_blind() -> str:
    """Return what a known or an estimated blur kernel gains over none."""
    out = [
        "| images | true blur | mean estimate | bicubic | method | no kernel | `auto` | true one | worst |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in load_result("classical")["blind"]:
        figures = " | ".join(f"{row[key]:.2f}" for key in ("nothing", "auto", "truth"))
        along, across = row["estimates"]
        estimate = f"{along:.2f} and {across:.2f} | {row['bicubic']:.2f} | `{row['method']}`"
        out.append(f"| {row['set']} | {row['blur']} | {estimate} | {figures} | {row['worst']:+.2f} dB |")
    return "\n".join(out)


# docs/reliability.md


def render_fuzz() -> str:
    """Return the outcomes for damaged files, counted by `make fuzz`."""
    out = ["| kind | cases | read anyway | refused in one line | faults |", "|---|---:|---:|---:|---:|"]
    totals = [0, 0, 0, 0]
    for kind, row in load_result("fuzz")["kinds"].items():
        figures = [row["cases"], row["read"], row["refused"], len(row["faults"])]
        totals = [total + figure for total, figure in zip(totals, figures, strict=True)]
        out.append(f"| {kind} | {' | '.join(map(str, figures))} |")
    return "\n".join([*out, f"| all | {' | '.join(f'{total:,}' for total in totals)} |"])


def render_torture() -> str:
    """Return the outcomes of attacks, counted by `make torture`."""
    out = [
        "| attack | commands | faults | longest, processor | largest memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for kind, row in load_result("torture")["kinds"].items():
        figures = f"{len(row['faults'])} | {row['seconds']:.1f} s | {row['bytes'] / 1e6:.0f} MB"
        out.append(f"| {kind} | {row['cases']} | {figures} |")
    return "\n".join(out)


def render_soak() -> str:
    """Return how much memory grew over many images, measured by `make soak`."""
    result = load_result("soak")
    return (
        f"{result['images']:,} images in one command: at most {result['first_50']:.0f} MiB resident during "
        f"the first 50, at most {result['later']:.0f} MiB after that ({result['growth']:+.1%})."
    )
