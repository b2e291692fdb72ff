"""What README.md says that the program or its result files know better: called from cog blocks."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

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
        figures = (cells[dataset, scale, method] for method in methods)
        shown = " | ".join(f"{r['psnr_y']:.2f} / {r['ssim_y']:.4f}" for r in figures)
        out.append(f"| {dataset} x{scale} | {shown} |")
    return "\n".join(out)


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


def command(recipe: dict[str, object]) -> str:
    """The command line that a recipe is of."""
    start = f" --init {recipe['init']}" if recipe.get("init") else ""
    return (
        f"sr train {recipe['arch']} -x{recipe['scale']} --data DIR --valid DIR --steps {recipe['steps']}"
        f" --patch {recipe['patch']} --batch {recipe['batch']} --loss {recipe['loss']}"
        f" --learning-rate {recipe['learning_rate']}{start}"
    )


def attribution() -> str:
    """How many photographs the weights were trained on, by licence."""
    with (ROOT / "srcli" / "weights" / "ATTRIBUTION.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_licence = dict.fromkeys(sorted({row["licence"] for row in rows}), 0)
    for row in rows:
        by_licence[row["licence"]] += 1
    return "\n".join(f"- {count} under {licence}" for licence, count in by_licence.items())
