"""Measure our networks with published weights and compare with the expected figures.

    PYTHONPATH=. python tools/parity.py [FILE ...]

Reads ../shared/weights, the folder --elsewhere for other public files, and Set5 of ../shared/data; writes
benchmarks/results/parity.json for docs/parity.md. With file names, measures only these and keeps the other
figures.
"""

import argparse
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from srcli import archs, bench, datasets, methods
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights import files as weights
from srcli.engine.weights import lut
from srcli.imaging.color import luma, rgb_to_ycbcr, ycbcr_to_rgb
from srcli.imaging.image import read_image
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import crop_to_multiple
from srcli.imaging.resize import resize

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
RESULTS = ROOT / "benchmarks" / "results" / "parity.json"


@dataclass(frozen=True)
class Row:
    """A weight file, how it is scored on Set5, and the scores that its paper and independent code have.

    `way`: "rgb", the protocol of `sr bench`; "y", luma alone in double precision, nothing rounded, as the
    papers of luma networks do; "ycbcr", the protocol with a network that works on YCbCr.
    `must`: PSNR-Y in dB that the file itself scored elsewhere; `note`: why a file is not as published.
    `gan`: made to please, not to score.
    """

    file: str
    arch: str
    scale: int
    published: float | None = None
    must: float | None = None
    way: Literal["rgb", "y", "ycbcr"] = "rgb"
    config: dict[str, Any] = field(default_factory=dict)
    gan: bool = False
    note: str = ""
    measured: float | None = None


PORT = "trained by a port, not by the authors"
LIIF = "no Set5 figure in the paper; EDSR with this encoder: 37.99, 34.37, 32.09"
CARN_M = {"tails": [2, 3, 4], "groups": 4, "recursive": True}
DAT_LIGHT = {"features": 60, "groups": 1, "blocks": 18, "ratio": 2, "end": "direct", "narrow": True}
ROWS = (
    Row("srcnn-955-y-x2.safetensors", "srcnn", 2, 36.66, 36.71, "y"),
    Row("srcnn-955-y-x3.safetensors", "srcnn", 3, 32.75, 32.77, "y"),
    Row("srcnn-955-y-x4.safetensors", "srcnn", 4, 30.49, 30.50, "y"),
    Row("fsrcnn-y-x2.pth", "fsrcnn", 2, 37.00, 37.17, "y"),
    Row("fsrcnn-y-x4.pth", "fsrcnn", 4, 30.71, 30.52, "y"),
    Row("espcn-rgb-x3.pt", "espcn", 3, way="ycbcr", config={"channels": 3}),
    Row("vdsr-y-x234.safetensors", "vdsr", 2, 37.53, 37.65, "y"),
    Row("vdsr-y-x234.safetensors", "vdsr", 3, 33.66, 33.77, "y"),
    Row("vdsr-y-x234.safetensors", "vdsr", 4, 31.35, 31.45, "y"),
    Row("drrn-b1u25-y-x234.safetensors", "drrn", 2, 37.74, None, "y", note=PORT),
    Row("drrn-b1u25-y-x234.safetensors", "drrn", 3, 34.03, 34.02, "y"),
    Row("drrn-b1u25-y-x234.safetensors", "drrn", 4, 31.68, None, "y", note=PORT),
    Row("carn-m-x234.pth", "carn", 2, 37.53, 37.69, config=CARN_M),
    Row("carn-m-x234.pth", "carn", 3, 33.99, 34.07, config=CARN_M),
    Row("carn-m-x234.pth", "carn", 4, 31.92, 31.88, config=CARN_M),
    Row("imdn-x2.pth", "imdn", 2, 38.00, 38.01),
    Row("imdn-x4.pth", "imdn", 4, 32.21, 32.20),
    Row("latticenet-x2.pt", "latticenet", 2, 38.15, note=PORT),
    Row("latticenet-x4.pt", "latticenet", 4, 32.30, note=PORT),
    Row("rlfn-x4.pth", "rlfn", 4, 32.24),
    Row("bsrn-x4.pth", "bsrn", 4, 32.35),
    Row("dat-light-x2.pth", "dat", 2, 38.24, config=DAT_LIGHT),
    Row("dat-light-x4.pth", "dat", 4, 32.57, config=DAT_LIGHT),
    Row("falsr-a-x2.safetensors", "falsr", 2, 37.82, note="the paper's code truncates; that gives 37.81"),
    Row("srlut-s-x2.npy", "srlut", 2),
    Row("srlut-s-x4.npy", "srlut", 4, 29.82),
    Row("liif-edsr-baseline.safetensors", "liif", 2, note=LIIF),
    Row("liif-edsr-baseline.safetensors", "liif", 3, note=LIIF),
    Row("liif-edsr-baseline.safetensors", "liif", 4, note=LIIF),
    Row("realesr-animevideov3-x4.pth", "srvgg", 4, gan=True),
    Row("rrdbnet-6b-anime-x4.safetensors", "rrdbnet", 4, config={"blocks": 6}, gan=True),
    Row(
        "srgan-generator-x4.pth",
        "srresnet",
        4,
        config={"blocks": 5, "bias": True, "tanh": True, "prelu_end": True},
        gan=True,
    ),
)

NTIRE = "Amazingren/NTIRE2024_ESR"
# Public files that ../shared does not have, by the names in the folder that --elsewhere gives.
ELSEWHERE = (
    Row("rfdn-x4.pth", "rfdn", 4, 32.24, 32.16, note="njulj/RFDN"),
    Row("bsrn-s-x4.pth", "bsrn", 4, config={"blocks": 5, "features": 48, "lean": True}, note="xiaom233/BSRN"),
    Row(
        "rlfn-ntire-x4.pth",
        "rlfn",
        4,
        config={"blocks": 4, "features": 46, "hidden": 48},
        note="bytedance/RLFN",
    ),
    Row("span-28-x4.pth", "span", 4, config={"features": 28, "branches": False}, note=NTIRE),
    Row("span-26-x4.pth", "span", 4, config={"features": 26, "branches": False}, note=NTIRE),
    Row("vapsr-x4.pth", "vapsr", 4, 32.38, note="zhoumumu/VapSR"),
    Row(
        "vapsr-s-x4.pth",
        "vapsr",
        4,
        32.14,
        config={"features": 32, "blocks": 11, "groups": 2},
        note="zhoumumu/VapSR",
    ),
)


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="measure these only")
    parser.add_argument("--elsewhere", type=Path, help="folder of the files that ../shared does not have")
    options = parser.parse_args()
    files = options.files
    known = {(row.file, row.scale): row.measured for row in load()}
    rows = []
    for row in ROWS:
        measured = known.get((row.file, row.scale)) if files and row.file not in files else measure(row)
        rows.append(replace(row, measured=measured))
        print(line(rows[-1]), flush=True)
    for row in ELSEWHERE:
        keep = options.elsewhere is None or (files and row.file not in files)
        measured = known.get((row.file, row.scale)) if keep else measure(row, folder=options.elsewhere)
        rows.append(replace(row, measured=measured))
        print(line(rows[-1]), flush=True)
    RESULTS.write_text(json.dumps({"rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def load() -> list[Row]:
    """Return the rows as last measured."""
    if not RESULTS.exists():
        return []
    return [Row(**row) for row in json.loads(RESULTS.read_text())["rows"]]


def measure(row: Row, shared: Path = SHARED, folder: Path | None = None) -> float:
    """Mean PSNR-Y on Set5 in dB; `folder`: where the file is, if not among the shared weights."""
    step = upscaler(row, shared, folder)
    if row.way == "y":
        return float(np.mean([_score_luma(path, row, step) for path in sorted(_set5(shared).glob("*.png"))]))
    run = (lambda pixels: ycbcr_to_rgb(step(rgb_to_ycbcr(pixels)))) if row.way == "ycbcr" else step
    method = methods.FunctionMethod(row.arch, run=lambda pixels, scale: run(pixels))
    return bench.evaluate(method, datasets.open_folder(_set5(shared)).read_pictures(), row.scale).psnr_y


def upscaler(row: Row, shared: Path = SHARED, folder: Path | None = None) -> Upscaler:
    """Build the upscaler of a row on the CPU."""
    file = (folder or shared / "weights") / row.file
    if lut.is_table(file):
        return methods.load_table(file, methods.MethodOptions(device="cpu"))[1]
    spec = archs.Spec(row.arch, row.scale, row.config)
    network = weights.load_network(file, spec)
    return methods.build_upscaler(network, spec, methods.MethodOptions(device="cpu"))


def _set5(shared: Path) -> Path:
    return shared / "data" / "Set5"


def _score_luma(path: Path, row: Row, step: Upscaler) -> float:
    """PSNR of one image's luma, which goes through the network as it is, without colours around it."""
    scale = row.scale
    true = luma(crop_to_multiple(read_image(path).pixels, scale).astype(np.float64))
    height, width = true.shape
    low = resize(true, height // scale, width // scale)
    fed = resize(low, height, width) if archs.traits(row.arch).pre_upsampled else low
    (out,) = step.runtime.run([fed.astype(np.float32)[..., None]])
    inside = (slice(scale, -scale), slice(scale, -scale))
    return psnr(out[..., 0][inside], true[inside])


def render_table() -> str:
    """Return the latest results as a Markdown table."""
    out = [
        "| file | network | scale | scored | published | expected | measured | difference | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*out, *map(line, load())])


def line(row: Row) -> str:
    """One line of the table."""
    figures = [row.published, row.must, row.measured]
    shown = " | ".join("" if figure is None else f"{figure:.2f}" for figure in figures)
    missing = row.must is None or row.measured is None
    difference = "" if missing else f"{row.measured - row.must:+.3f}"  # type: ignore[operator]
    way = "GAN" if row.gan else row.way
    return f"| {row.file} | {row.arch} | x{row.scale} | {way} | {shown} | {difference} | {row.note} |"


if __name__ == "__main__":
    main()
