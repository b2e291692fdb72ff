"""Add the weights of `sr train` runs to the package, with their records and manifest entries.

    python tools/bundle.py --tiles ../shared/data/train/tiles.csv RUN_FOLDER ...

For each run: copies the weights to srcli/weights and the log to benchmarks/training, writes the attribution
of the images, and replaces the manifest entry. After `make bench-quality`, `--expect` adds the scores.
"""

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from srcli import archs
from srcli.archs import Spec
from srcli.engine.export.ncnn.convert import convert_network
from srcli.engine.runtimes import converted
from srcli.engine.weights.checkpoint import read_header
from srcli.engine.weights.files import load_network, read_spec, read_state
from srcli.manifest import BUNDLED
from srcli.report.training_curves import plot_curves, read_log
from srcli.storage.hashing import sha256
from srcli.train.recipe import rename_fields

ROOT = Path(__file__).parent.parent
MANIFEST = ROOT / "weights_manifest.json"
TRAINING = ROOT / "benchmarks" / "training"
CURVES = ROOT / "docs" / "weights"
RESULTS = ROOT / "benchmarks" / "results" / "bundled.json"
_PHOTOGRAPHS = "photographs under CC0, CC-BY and CC-BY-SA"
TRAINING_DATA = {
    "classical": _PHOTOGRAPHS,
    "real-world": _PHOTOGRAPHS,
    "drawings": "clip art in the public domain",
}
# The papers' PSNR-Y on Set5 by scale, for networks of the bundled size.
PUBLISHED = {
    "fsrcnn": {2: 37.0, 3: 33.16, 4: 30.71},
    "espcn": {2: 36.83, 4: 30.52},
}


def find_records() -> dict[str, str]:
    """Return the newest record of each weight file."""
    found = [
        path.name.removesuffix(".recipe.json").rpartition("-") for path in TRAINING.glob("*.recipe.json")
    ]
    return {stem: f"{stem}-{stage}" for stem, _, stage in sorted(found, key=lambda each: int(each[2]))}


# Read before any run is added: runs that build on each other are added together.
RECORDS = find_records()


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="folders that `sr train` wrote")
    parser.add_argument(
        "--started-in", type=Path, default=Path(), help="the folder in which `sr train` was run"
    )
    parser.add_argument("--tiles", type=Path, help="table of the training images: original, licence, source")
    parser.add_argument(
        "--natural", type=Path, action="append", default=[], help="the run of a second set of weights"
    )
    parser.add_argument("--pack", action="store_true", help="convert all bundled weights for ncnn again")
    parser.add_argument(
        "--curves", action="store_true", help="draw the training curves of all bundled weights"
    )
    parser.add_argument("--expect", action="store_true", help="copy the scores from benchmarks/results")
    arguments = parser.parse_args()
    entries = json.loads(MANIFEST.read_text())["weights"]
    for run in arguments.runs:
        entries = replace_entry(entries, bundle(run, arguments.started_in))
    for run in arguments.natural:
        bundle_natural(entries, run, arguments.started_in)
    if arguments.pack:
        entries = [repack(entry) if isinstance(entry["file"], str) else entry for entry in entries]
    if arguments.tiles:
        write_attribution(arguments.tiles)
    if arguments.expect:
        fill_expected(entries)
    if arguments.curves:
        draw_curves([Path(entry["file"]).stem for entry in entries if isinstance(entry["file"], str)])
    MANIFEST.write_text(json.dumps({"weights": entries}, indent=1) + "\n")


def bundle(run: Path, started_in: Path) -> dict[str, Any]:
    """Copy the weights and the log of a run; return its manifest entry."""
    (weights,) = run.glob("*.safetensors")
    spec = read_spec(weights)
    if spec is None:
        raise SystemExit(f"{weights} was not written by `sr train`")
    shipped = BUNDLED / weights.name
    TRAINING.mkdir(parents=True, exist_ok=True)
    recipe = json.loads(get_recipe_path(TRAINING / f"{keep_record(weights, started_in)}.jsonl").read_text())
    halve(weights, shipped, recipe)
    purpose = find_purpose(recipe)
    return {
        "model": recipe.get("name") or spec.arch,
        "arch": spec.arch,
        "scale": spec.scale,
        "file": weights.name,
        "sha256": sha256(shipped),
        "bytes": shipped.stat().st_size,
        "packed": write_packed(shipped, spec),
        "config": spec.config,
        "licence": "Apache-2.0",
        "licence_source": "trained by this project",
        "training_data": f"{TRAINING_DATA[purpose]}, named in srcli/weights/ATTRIBUTION.md",
        "paper": recipe.get("paper") or archs.paper(spec.arch).url or "a network of this project",
        "purpose": purpose,
        **get_published(spec.arch, spec.scale),
    }


def bundle_natural(entries: list[dict[str, Any]], run: Path, started_in: Path) -> None:
    """Copy the weights and the log of a run as the second set of its model, which makes up less."""
    (weights,) = run.glob("*.safetensors")
    recipe = json.loads(get_recipe_path(TRAINING / f"{keep_record(weights, started_in)}.jsonl").read_text())
    (entry,) = (e for e in entries if (e["model"], e["scale"]) == (recipe["name"], recipe["scale"]))
    shipped = (BUNDLED / entry["file"]).with_suffix(".natural.safetensors")
    halve(weights, shipped, recipe)
    entry["natural"] = sha256(shipped)


def find_purpose(recipe: dict[str, Any]) -> str:
    """Return what the weights of a recipe are for, as the manifest says it."""
    if recipe["degrade"].startswith("bicubic"):
        return "classical"
    return "drawings" if recipe.get("name") == "anime" else "real-world"


def repack(entry: dict[str, Any]) -> dict[str, Any]:
    """Convert the network of an entry for ncnn again; return the new entry."""
    spec = Spec(entry["arch"], entry["scale"], entry["config"])
    return {**entry, "packed": write_packed(BUNDLED / entry["file"], spec)}


def write_packed(shipped: Path, spec: Spec) -> str:
    """Write the network for ncnn next to its weights, compared with torch; return its card's SHA-256."""
    made, difference = convert_network(load_network(shipped, spec), spec.own_scale)
    print(f"{shipped.name} packed: {difference}")
    path = converted.locate_bundled(shipped, "ncnn")
    converted.write(path, made, sha256(shipped))
    return sha256(Path(f"{path}.json"))


def get_published(arch: str, scale: int) -> dict[str, Any]:
    """Return the paper's figure as a field of the entry, if there is one for this scale."""
    psnr = PUBLISHED.get(arch, {}).get(scale)
    return {"published": {"Set5": psnr}} if psnr else {}


def halve(weights: Path, target: Path, recipe: dict[str, Any]) -> None:
    """Write the file in half precision with its recipe; `make verify` checks that nothing is lost."""
    state = {key: value.half() for key, value in read_state(weights).items()}
    notes = {**read_header(weights), "recipe": json.dumps(recipe)}
    save_file(state, target, metadata={"format": "pt", **notes})
    target.chmod(0o644)


def keep_record(weights: Path, started_in: Path) -> str:
    """Copy the recipe and the log of a run, and those of the run that it started from; return its name.

    Runs are numbered along the chain: fsrcnn-x2-2 started from the weights of fsrcnn-x2-1. Bundled weights
    already have a record; weights that no run wrote have their origin in the header.
    """
    if weights.parent == BUNDLED:
        return RECORDS[weights.stem]
    recipe = rename_fields({"init": "", **json.loads(read_header(weights)["recipe"])})
    stage = 1
    header = read_header(started_in / recipe["init"]) if recipe["init"] else {}
    origin = header.get("origin", "" if "recipe" in header else Path(recipe["init"]).name)
    if origin:
        recipe["init"] = origin
    elif recipe["init"]:
        recipe["init"] = keep_record(started_in / recipe["init"], started_in)
        stage = int(recipe["init"].rpartition("-")[2]) + 1
    name = f"{weights.stem}-{stage}"
    shutil.copyfile(weights.parent / "log.jsonl", TRAINING / f"{name}.jsonl")
    (TRAINING / f"{name}.recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
    return name


def replace_entry(entries: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """Replace the entry for the same model and scale by `new`; sort bundled entries first."""
    others = [e for e in entries if (e["model"], e["scale"]) != (new["model"], new["scale"])]
    return sorted([*others, new], key=lambda e: (not isinstance(e["file"], str), e["model"], e["scale"]))


def write_attribution(tiles: Path) -> None:
    """Write a line per original photograph: name, licence, source."""
    with tiles.open(newline="") as file:
        rows = sorted({(row["original"], row["licence"], row["source"]) for row in csv.DictReader(file)})
    with (BUNDLED / "ATTRIBUTION.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("original", "licence", "source"))
        writer.writerows(rows)


def draw_curves(names: list[str]) -> None:
    """Draw docs/weights/NAME.png: loss and PSNR of each run that led to a weight file."""
    for name in names:
        logs = {f"run {path.stem.rpartition('-')[2]}": read_log(path) for path in find_logs(name)}
        plot_curves(logs, CURVES / f"{name}.png")


def find_logs(name: str) -> list[Path]:
    """Return the logs of the runs that led to these weights, oldest first."""
    newest = max(TRAINING.glob(f"{name}-[0-9]*.jsonl"), key=lambda path: int(path.stem.rpartition("-")[2]))
    logs = [newest]
    while (
        log := TRAINING / f"{json.loads(get_recipe_path(logs[0]).read_text()).get('init')}.jsonl"
    ).exists():
        logs.insert(0, log)
    return logs


def get_recipe_path(log: Path) -> Path:
    """Return the path of the recipe next to a log."""
    return log.with_name(f"{log.stem}.recipe.json")


def fill_expected(entries: list[dict[str, Any]]) -> None:
    """Copy the scores of `make bench-quality` into the manifest."""
    for row in json.loads(RESULTS.read_text())["rows"]:
        for entry in entries:
            if (entry["model"], entry["scale"]) == (row["method"], row["scale"]):
                figures = {"psnr_y": round(row["psnr_y"], 4), "ssim_y": round(row["ssim_y"], 5)}
                entry.setdefault("expect", {})[row["dataset"]] = figures


if __name__ == "__main__":
    main()
