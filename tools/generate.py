"""What README.md says that the program or its result files know better: called from cog blocks."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from srcli.bench.published import book
from srcli.bench.results import read
from srcli.report import formatters
from srcli.report.table import PLAIN, Show
from srcli.train import recipes

ROOT = Path(__file__).parent.parent


def help_text(*command: str) -> str:
    """The help of a command as a code block."""
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    words = [sys.executable, "-m", "srcli", *command, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    lines = (line.rstrip() for line in done.stdout.strip().splitlines())
    return "```text\n" + "\n".join(lines) + "\n```"


def results_table(name: str) -> str:
    """PSNR-Y / SSIM-Y of `benchmarks/results/NAME.json`: a line per set and scale, a column per method."""
    rows = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["rows"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    cells = {(row["dataset"], row["scale"], row["method"]): row for row in rows}
    out = [f"| | {' | '.join(methods)} |", "|---|" + "---|" * len(methods)]
    for dataset, scale in dict.fromkeys((row["dataset"], row["scale"]) for row in rows):
        figures = (cells.get((dataset, scale, method)) for method in methods)
        shown = " | ".join(f"{r['psnr_y']:.2f} / {r['ssim_y']:.4f}" if r else "" for r in figures)
        out.append(f"| {dataset} x{scale} | {shown} |")
    return "\n".join(out)


# Whose published figures are set beside ours. No source prints ECBSR of this size; VDSR is seven times it.
RIVALS = {"fsrcnn": "fsrcnn", "espcn": "espcn", "ecbsr": "vdsr"}


def against_papers(name: str) -> str:
    """PSNR-Y of the bundled weights beside what papers print, and the difference."""
    rows = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["rows"]
    out = ["| weights | data set | ours | published | | difference |", "|---|---|---:|---|---:|---:|"]
    for row in rows:
        rival = RIVALS.get(row["method"], "")
        figure = book().figure(rival, row["scale"], row["dataset"])
        if figure:
            difference = round(row["psnr_y"], 2) - figure.psnr_y
            place = f"{row['method']} | {row['dataset']} x{row['scale']}"
            theirs = f"{figure.network} | {figure.psnr_y:.2f} | {difference:+.2f}"
            out.append(f"| {place} | {row['psnr_y']:.2f} | {theirs} |")
    return "\n".join([*out[:2], *sorted(out[2:])])


def bench_table(name: str, places: Sequence[tuple[str, int]] = (), show: Show = PLAIN) -> str:
    """What `sr bench --markdown` prints of `benchmarks/results/NAME.json`: of these places, or of all."""
    found = read(ROOT / "benchmarks" / "results" / f"{name}.json")
    rows = tuple(row for row in found.rows if not places or (row.dataset, row.scale) in places)
    return formatters.markdown(replace(found, rows=rows), show)


def training_table() -> str:
    """How the bundled weights were trained: from the recipes and logs that `tools/bundle.py` keeps."""
    folder = ROOT / "benchmarks" / "training"
    out = ["| weights | command | steps run | best validation PSNR-Y |", "|---|---|---:|---|"]
    for path in sorted(folder.glob("*.recipe.json")):
        recipe = json.loads(path.read_text())
        name = path.name.removesuffix(".recipe.json")
        log = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        best = max(log, key=lambda entry: entry["psnr_y"])
        figures = f"{log[-1]['step']:,} | {best['psnr_y']:.3f} dB at step {best['step']:,}"
        out.append(f"| {name} | `{command(recipe)}` | {figures} |")
    return "\n".join(out)


_FLAGS = ("steps", "patch", "batch", "loss", "learning_rate", "degrade", "init")


def command(recipe: dict[str, Any]) -> str:
    """The command line that a recipe is of: what differs from the network's own recipe."""
    usual = asdict(recipes.find(recipe.get("name") or recipe["arch"], recipe["scale"]))
    changed = {k: v for k, v in recipe.items() if v != _like_json(usual.get(k)) and k != "validate_every"}
    config = {f"config.{key}": value for key, value in changed.pop("config", {}).items()}
    words = [f"sr train {recipe['arch']} -x{recipe['scale']} --data DIR --valid DIR"]
    words += [f"--{key.replace('_', '-')} {value}" for key, value in changed.items() if key in _FLAGS]
    others = {key: value for key, value in changed.items() if key not in _FLAGS} | config
    words += [f"--set {key}={_text(value)}" for key, value in others.items()]
    return " ".join(words)


def _like_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def trial(name: str) -> str:
    """Where a run that was tried stood last: of `benchmarks/training`, which has its log."""
    log = ROOT / "benchmarks" / "training" / f"{name}.jsonl"
    last = json.loads(log.read_text().splitlines()[-1])
    return f"{last['psnr_y']:.3f} dB at step {last['step']:,}"


def training_speed() -> str:
    """Steps per second of `sr train` and of a minimal loop, as `make bench-train` measured them in turns."""
    found = json.loads((ROOT / "benchmarks" / "results" / "train.json").read_text())
    about = f"batch {found['batch']}, patch {found['patch']}, x4, processor threads: {found['threads']}"
    rows = [
        f"| {row['network']} | {row['ours']:.2f} | {row['minimal']:.2f} | {row['ratio']:.2f} |"
        for row in found["rows"]
    ]
    head = ["| network | `sr train`, steps/s | minimal loop, steps/s | ratio |", "|---|---:|---:|---:|"]
    return "\n".join([f"Speed ({about}):\n", *head, *rows])


# What is to be won over bicubic at x2 at least, in dB.
_ASKED = {"tv": 0.3, "ibp": 0.2, "zssr": 1.5, "selfex": 0.5, "sparse": 0.5}


def classical_table() -> str:
    """Return the gains of the untrained methods over bicubic on Set5."""
    rows = json.loads((ROOT / "benchmarks" / "results" / "classical.json").read_text())["rows"]
    out = [
        "| method | PSNR-Y | SSIM-Y | over bicubic | aim | seconds an image |",
        "|---|---|---|---|---|---:|",
    ]
    for row in rows:
        asked = f"{_ASKED[row['method']]:+.1f} dB" if row["method"] in _ASKED else ""
        figures = f"{row['psnr_y']:.2f} | {row['ssim_y']:.4f} | {row['gain']:+.2f} dB"
        out.append(f"| `{row['method']}` | {figures} | {asked} | {row['seconds']:.1f} |")
    return "\n".join(out)


def blind_table() -> str:
    """Return what a known or an estimated blur kernel gains over none."""
    rows = json.loads((ROOT / "benchmarks" / "results" / "classical.json").read_text())["blind"]
    told = ("nothing", "auto", "truth")
    out = [
        "| images | blur | found, mean | bicubic | method | not told | `auto` | the truth | at worst |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = " | ".join(f"{row[key]:.2f}" for key in told)
        along, across = row["estimates"]
        found = f"{along:.2f} and {across:.2f} | {row['bicubic']:.2f} | `{row['method']}`"
        out.append(f"| {row['set']} | {row['blur']} | {found} | {figures} | {row['worst']:+.2f} dB |")
    return "\n".join(out)


def fuzz_table() -> str:
    """What became of damaged files, as `make fuzz` counted it."""
    found = json.loads((ROOT / "benchmarks" / "results" / "fuzz.json").read_text())
    out = ["| kind | cases | read all the same | refused in one line | faults |", "|---|---:|---:|---:|---:|"]
    totals = [0, 0, 0, 0]
    for kind, row in found["kinds"].items():
        figures = [row["cases"], row["read"], row["refused"], len(row["faults"])]
        totals = [total + figure for total, figure in zip(totals, figures, strict=True)]
        out.append(f"| {kind} | {' | '.join(map(str, figures))} |")
    return "\n".join([*out, f"| all | {' | '.join(f'{total:,}' for total in totals)} |"])


def soak() -> str:
    """How much memory grew over many images, as `make soak` measured it."""
    found = json.loads((ROOT / "benchmarks" / "results" / "soak.json").read_text())
    return (
        f"{found['images']:,} images in one command: at most {found['first_50']:.0f} MiB resident over the "
        f"first 50, at most {found['later']:.0f} MiB after that ({found['growth']:+.1%})."
    )


def attribution() -> str:
    """How many photographs the weights were trained on, by licence."""
    counts = Counter(row["licence"] for row in _photographs())
    return "\n".join(f"- {counts[licence]} under {licence}" for licence in sorted(counts))


def photographs() -> str:
    """The photographs by name, a list for each set of images and licence."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in _photographs():
        name = row["original"].partition("/")[2]
        groups.setdefault((row["source"], row["licence"]), []).append(f"`{name}`")
    parts = [
        f"## {source}\n{licence}, {len(names)} photographs: {', '.join(names)}"
        for (source, licence), names in sorted(groups.items())
    ]
    return "\n\n".join(parts)


def _photographs() -> list[dict[str, str]]:
    with (ROOT / "srcli" / "weights" / "ATTRIBUTION.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def curves() -> str:
    """A picture of the training of each weight file that was drawn by `tools/bundle.py --curves`."""
    names = sorted(path.stem for path in (ROOT / "docs" / "weights").glob("*.png"))
    return "\n".join(f"![{name}: loss and PSNR over steps, stage by stage]({name}.png)" for name in names)


def memory_table() -> str:
    """Time and peak memory over the size of the input, as `make bench-memory` measured them."""
    found = _result("memory")
    out = ["| megapixels in | seconds | foretold | peak MiB | foretold |", "|---:|---:|---:|---:|---:|"]
    for row in found["rows"]:
        times = f"{row['seconds']:.1f} | {row['foretold_seconds']:.1f}"
        peaks = f"{row['bytes'] / 2**20:.0f} | {row['foretold_bytes'] / 2**20:.0f}"
        out.append(f"| {row['megapixels']:g} | {times} | {peaks} |")
    return "\n".join([_circumstances(found, f"x{found['scale']}, default model"), "", *out])


def peers_table() -> str:
    """Whole processes and networks alone, as `make bench-peers` measured them in turns."""
    found = _result("peers")
    about = f"x4, medians of {found['rounds']} rounds, fp32 peak {found['peak_gflops']} GFLOP/s"
    out = [_circumstances(found, about), ""]
    out.append(
        "| network, picture | tool | start to file, s | sr / it | network alone, s | sr / it | of peak |"
    )
    out.append("|---|---|---:|---:|---:|---:|---:|")
    for row in found["rows"]:
        case = f"{row['network']}, {row['side']}x{row['side']}"
        if "reason" in row:
            out.append(f"| {case} | {row['tool']} | did not run: {_short(row['reason'])} | | | | |")
            continue
        figures = (
            f"{row['whole']:.2f} | {row['whole_ratio']:.2f} | {row['alone']:.2f} | {row['alone_ratio']:.2f}"
        )
        out.append(f"| {case} | {row['tool']} | {figures} | {row['gflops'] / found['peak_gflops']:.0%} |")
    return "\n".join(out)


# What `make bench-peers` is held to: whose figure, which one, at most; with which pictures (None: all).
BARS = (
    ("fastest", "whole_ratio", 1.0, 256),
    ("fastest", "whole_ratio", 0.95, 1024),
    ("ncnn", "alone_ratio", 1.05, None),
    ("torch", "alone_ratio", 0.6, None),
    ("super-image", "whole_ratio", 0.35, None),
    ("spandrel", "whole_ratio", 0.35, None),
)


def bars_table() -> str:
    """What we want to be at most, in times of another tool's, and what was measured for each network."""
    measured = [row for row in _result("peers")["rows"] if "reason" not in row and row["tool"] != "sr"]
    cases = list(dict.fromkeys((row["network"], row["side"]) for row in measured))
    out = ["| sr over | of | at most | met | measured |", "|---|---|---:|---:|---|"]
    for tool, figure, most, only in BARS:
        found = {}
        for network, side in cases:
            rows = [row for row in measured if (row["network"], row["side"]) == (network, side)]
            ratios = [row[figure] for row in rows if tool in ("fastest", row["tool"])]
            if ratios and only in (None, side):
                found[f"{network} {side}"] = max(ratios)
        met = sum(ratio <= most for ratio in found.values())
        shown = ", ".join(f"{name}: {_bold(f'{ratio:.2f}', ratio > most)}" for name, ratio in found.items())
        what = "start to file" if figure == "whole_ratio" else "network alone"
        whose = "the fastest of all" if tool == "fastest" else tool
        out.append(f"| {whose} | {what} | {most} | {met} of {len(found)} | {shown} |")
    return "\n".join(out)


def _bold(text: str, missed: bool) -> str:
    return f"**{text}**" if missed else text


def folder_line() -> str:
    """A folder of small pictures against one picture at a time, as `make bench-folder` measured it."""
    found = _result("folder")
    count, side = found["count"], found["side"]
    networks = count * found["network"]
    share = networks / (networks + found["start_up"])
    about = f"{count} pictures of {side}x{side}, x4, medians of {found['rounds']}"
    times = f"{found['single']:.2f} s, of which the network has {found['network']:.3f} s"
    line = (
        f"The folder takes {found['folder']:.1f} s; one picture {times}. "
        f"That is {found['ratio_to_commands']:.2f} of {count} commands, "
        f"and {found['ratio']:.2f} of {count} times that network and one start-up; wanted is at most 0.6. "
        f"That network alone is {share:.2f} of it; decoding, colours and encoding are the rest."
    )
    return f"{_circumstances(found, about)}\n\n{line}"


def _result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return found


def _circumstances(found: dict[str, Any], about: str) -> str:
    note = f" {found['note'][:1].upper()}{found['note'][1:]}." if found["note"] else ""
    return f"{found['machine']}, {found['threads']} threads, load {found['load']:.1f}; {about}.{note}"


def _short(reason: str) -> str:
    return reason.replace("|", "/").splitlines()[0][:90]
