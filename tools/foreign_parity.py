"""Measure files of other programs, and compare with torch: a table of docs/parity.md.

    PYTHONPATH=. python tools/foreign_parity.py [--elsewhere FOLDER]

Needs the extras onnx, photo and waifu2x; reads Set5 of ../shared/data and weights of ../shared/weights.
FOLDER has public files that ../shared does not have; without it, their rows stay as they are.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from srcli import archs, bench, datasets, manifest, methods
from srcli.engine.export import onnx
from srcli.engine.weights import files, packages
from tools.tensorflow_graph import write_espcn

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("SHARED", ROOT.parent / "shared"))
RESULTS = ROOT / "benchmarks" / "results" / "foreign.json"


@dataclass(frozen=True)
class Row:
    """A foreign file, what ran it, its PSNR-Y on Set5, and that of the same network by torch, in dB.

    `by_torch` is None for a network whose weights exist in this form only.
    """

    file: str
    identity: str
    library: str
    scale: int
    by_torch: float | None
    measured: float


# The graphs of TensorFlow that OpenCV's documentation names, of Saafke/FSRCNN_Tensorflow, by their scales.
ELSEWHERE = {"FSRCNN_x2.pb": 2, "FSRCNN_x3.pb": 3, "FSRCNN_x4.pb": 4}


def main() -> None:
    """Measure everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elsewhere", type=Path, help="folder of the files that ../shared does not have")
    folder_elsewhere: Path | None = parser.parse_args().elsewhere
    kept = [row for row in load() if row.file in ELSEWHERE]
    if folder_elsewhere:
        kept = [_measure(folder_elsewhere / file, None, scale, SHARED) for file, scale in ELSEWHERE.items()]
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for row in measure_all(Path(folder), SHARED):
            print(row, flush=True)
            rows.append(row)
    RESULTS.write_text(json.dumps({"rows": [asdict(row) for row in [*rows, *kept]]}, indent=1) + "\n")


def measure_all(folder: Path, shared: Path) -> Iterator[Row]:
    """Yield a row for each kind of file; those that are written for it go to `folder`."""
    imdn = shared / "weights" / "imdn-x4.pth"
    (spec,) = [spec for spec in files.identify_specs(imdn) if spec.scale == 4]
    onnx.write(files.load_network(imdn, spec).eval(), folder / "imdn-x4.onnx")
    yield _measure(folder / "imdn-x4.onnx", imdn, 4, shared)

    entry = manifest.find_entries("espcn")[4]
    assert entry.bundled
    network = files.load_network(entry.bundled, archs.Spec(entry.arch, 4, entry.config))
    write_espcn(folder / "espcn-x4.pb", network, 4)
    yield _measure(folder / "espcn-x4.pb", entry.bundled, 4, shared)

    for model, scale, published in (
        ("realesr-animevideo", 4, shared / "weights" / "realesr-animevideov3-x4.pth"),
        ("realesrgan-anime", 4, shared / "weights" / "rrdbnet-6b-anime-x4.safetensors"),
        ("waifu2x", 2, None),
        ("waifu2x-photo", 2, None),
    ):
        package = manifest.find_entries(model)[scale].packaged
        pair = package and packages.find_installed(package)
        assert pair
        yield _measure(pair, published or pair, scale, shared)


def _measure(file: Path, same: Path | None, scale: int, shared: Path) -> Row:
    """Return the row of a file; `same` has its network for torch, or is the pair itself to be read back."""
    runtime = "ncnn" if file.suffix == ".param" else "auto"
    ours = methods.load_method_file(file, scale, methods.MethodOptions(device="cpu", runtime=runtime))
    library = ours.description.partition("by ")[2].split()[0].rstrip(",")
    by_torch = None
    if same:
        torch = methods.load_method_file(same, scale, methods.MethodOptions(device="cpu", runtime="torch"))
        by_torch = _score(torch, scale, shared)
    return Row(file.name, ours.identified_as, library, scale, by_torch, _score(ours, scale, shared))


def _score(method: methods.Method, scale: int, shared: Path) -> float:
    pictures = datasets.open_folder(shared / "data" / "Set5").read_pictures()
    return bench.evaluate(method, pictures, scale).psnr_y


def load() -> list[Row]:
    """Return the rows as last measured."""
    return [Row(**row) for row in json.loads(RESULTS.read_text())["rows"]]


def render_table() -> str:
    """Return the latest results as a Markdown table."""
    out = [
        "| file | identified as | run by | scale | torch | measured | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in load():
        theirs, difference = "", ""
        if row.by_torch is not None:
            theirs, difference = f"{row.by_torch:.3f}", f"{row.measured - row.by_torch:+.4f}"
        figures = f"{theirs} | {row.measured:.3f} | {difference}"
        out.append(f"| {row.file} | {row.identity} | {row.library} | x{row.scale} | {figures} |")
    return "\n".join(out)


if __name__ == "__main__":
    main()
