"""EDSR baseline x4 on one megapixel on a GPU, compared with its matrix rate and with a plain PyTorch loop.

    python tools/bench_gpu.py [--device cuda] [--side 1000] [--rounds 10] [--vram 6G] [--compile] [--out FILE]

Reads nothing but a bundled photograph, so it runs on a machine without a network. All variants take turns in
each round, and medians are reported. `--device cpu --side 64 --rounds 1` only checks that this script works.
"""

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srcli import archs
from srcli.engine import memory
from srcli.engine.complexity import count_cost
from srcli.engine.runtimes.base import RuntimeRequest
from srcli.engine.runtimes.torch import TorchRuntime, build, to_batch, to_pixels, try_half
from srcli.engine.tiles import DEFAULT_TILE
from srcli.engine.upscaler import Upscaler
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "gpu.json"
SPEC = archs.Spec("edsr", 4)
# Large enough to reach the full rate of the matrix units; a processor has to make do with a small one.
_PRODUCT = {"cuda": 8192, "cpu": 512}
_TILES = (256, 512, 768, 1024, 2048)
# Images in a row, so that filling and draining the pipeline counts less.
_PICTURES = 4


def synchronise(device: str) -> None:
    """Wait for all pending work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def time_run(device: str, run: Callable[[], object]) -> float:
    """Return the seconds until all work is done."""
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def measure_matrix_rate(device: str) -> float:
    """Return operations/s of a product of random matrices in bfloat16; in float32 on a processor."""
    side = _PRODUCT[device.split(":", maxsplit=1)[0]]
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    for _ in range(3):
        one @ other
    seconds = statistics.median(time_run(device, lambda: one @ other) for _ in range(10))
    return 2 * side**3 / seconds


def measure_copy_rate(device: str) -> float:
    """Return bytes/s of a copy on the device, counting reads and writes."""
    source = torch.randn(2 ** (28 if device != "cpu" else 22), device=device)
    target = torch.empty_like(source)
    seconds = statistics.median(time_run(device, lambda: target.copy_(source)) for _ in range(10))
    return 2 * source.nbytes / seconds


def load_photograph(side: int) -> Pixels:
    """Return a photograph of shape (side, side, 3), repeated if necessary."""
    pixels = read_image(ROOT / "srcli" / "samples" / "coffee.png").pixels
    height, width = pixels.shape[:2]
    return np.tile(pixels, (-(-side // height), -(-side // width), 1))[:side, :side]


def cut_tiles(runtime: TorchRuntime, pixels: Pixels, tile: int) -> list[Pixels]:
    """Cut tiles as the Upscaler would."""
    size = (pixels.shape[0] * SPEC.scale, pixels.shape[1] * SPEC.scale)
    spans = Upscaler(runtime, SPEC.scale).plan(pixels.shape[:2], size, tile)
    return [np.ascontiguousarray(pixels[y.source(), x.source()]) for y, x in spans]


def build_stream_run(runtime: TorchRuntime, tiles: list[Pixels], pictures: int) -> Callable[[], None]:
    """Return a function that upscales the tiles of several images, from pixels to pixels."""

    def run() -> None:
        for _ in runtime.run(itertools.chain.from_iterable([tiles] * pictures)):
            pass

    return run


def build_plain_run(network: nn.Module, pixels: Pixels, device: str, *, tf32: bool) -> Callable[[], None]:
    """Return a function that does what a few lines of PyTorch would: the whole image in single precision."""

    @torch.inference_mode()
    def run() -> None:
        torch.backends.cudnn.allow_tf32 = tf32
        to_pixels(network(to_batch(pixels).to(device)))

    return run


def build_device_run(runtime: TorchRuntime, tile: Pixels) -> Callable[[], Tensor]:
    """Return a function that runs the network alone, on a tile that is already on the device."""
    batch = runtime.backend.upload([tile])
    half = runtime.device.dtype != "float32"
    return lambda: runtime._infer(batch, half=half)


def measure_peak(device: str, run: Callable[[], object]) -> int:
    """Return the peak bytes of device memory that torch reserved; 0 on a processor."""
    if not device.startswith("cuda"):
        run()
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_reserved(device)


def time_in_turns(device: str, runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each, after a warm-up round."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            seconds = time_run(device, run)
            if number:
                spent[name].append(seconds)
    return {name: statistics.median(values) for name, values in spent.items()}


def measure_tiles(runtime: TorchRuntime, pixels: Pixels, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the runtime with tiles of several sizes, starting with the size that it chooses itself."""
    own, device = runtime.largest_tile(DEFAULT_TILE), options.device
    result = []
    for tile in dict.fromkeys([own, *(size for size in _TILES if size < 2 * max(pixels.shape))]):
        tiles = cut_tiles(runtime, pixels, tile)
        run = build_stream_run(runtime, tiles, _PICTURES)
        for _ in range(2):  # calibration and recording of graphs
            run()
        held = measure_peak(device, run)
        runs: dict[str, Callable[[], object]] = {"ours": run, "device": build_device_run(runtime, tiles[0])}
        rounding = runtime.as_uint8()
        if rounding:
            runs["bytes"] = build_stream_run(rounding, tiles, _PICTURES)
        seconds = time_in_turns(device, runs, options.rounds)
        area = tiles[0].shape[0] * tiles[0].shape[1]
        result.append(
            {
                "tile": tile, "own": tile == own, "tiles": len(tiles), "shape": tiles[0].shape[:2],
                "batch_pixels": min(runtime.findings.limit.pixels, 2**62), "bytes": held,
                "seconds": seconds["ours"] / _PICTURES,
                "seconds_in_bytes": seconds.get("bytes", 0) / _PICTURES,
                "operations_per_second_on_device": 2 * count_multiply_adds(area) / seconds["device"],
            }
        )  # fmt: skip
    return result


def count_multiply_adds(pixels: float) -> float:
    """Return the multiply-adds of the network for a number of input pixels, counted on a square."""
    side = 64
    return count_cost(SPEC, side * SPEC.scale, side * SPEC.scale).multiply_adds / side**2 * pixels


def measure_bounded(network: nn.Module, pixels: Pixels, options: argparse.Namespace) -> dict[str, float]:
    """Measure peak memory and time under `--vram`."""
    limit = memory.parse_bytes(options.vram)
    wanted = RuntimeRequest("torch", options.device, limit)
    runtime = build(network, SPEC.own_scale, wanted)
    method = Upscaler(runtime, SPEC.scale)
    method(pixels)
    held = measure_peak(options.device, lambda: method(pixels))
    seconds = time_run(options.device, lambda: method(pixels))
    if options.device.startswith("cuda"):
        torch.cuda.set_per_process_memory_fraction(1.0, torch.device(options.device).index or 0)
    return {"limit": limit, "bytes": held, "seconds": seconds}


def measure_compiled(runtime: TorchRuntime, tile: Pixels, options: argparse.Namespace) -> dict[str, float]:
    """Measure torch.compile on the largest tile: time to compile, then time per run."""
    quick: Any = torch.compile(runtime.network, dynamic=False, mode="max-autotune-no-cudagraphs")
    other = replace(runtime, network=quick, graphs=None)
    first = time_run(options.device, build_device_run(other, tile))
    seconds = time_in_turns(
        options.device,
        {"eager": build_device_run(runtime, tile), "compiled": build_device_run(other, tile)},
        options.rounds,
    )
    return {"first_seconds": first, **seconds}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    torch.manual_seed(0)
    device, pixels = options.device, load_photograph(options.side)
    network = archs.build(SPEC.arch, SPEC.scale).eval()
    rate, bandwidth = measure_matrix_rate(device), measure_copy_rate(device)
    runtime = build(network, SPEC.own_scale, RuntimeRequest("torch", device))
    eager = time_in_turns(
        device,
        {
            name: build_plain_run(runtime.network, pixels, device, tf32=name == "tf32")
            for name in ("fp32", "tf32")
        },
        max(1, options.rounds // 3),
    )
    rows = measure_tiles(runtime, pixels, options)
    work, best = 2 * count_multiply_adds(options.side**2), rows[0]
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "torch": torch.__version__, "side": options.side, "precision": runtime.description,
        "half": str(try_half(runtime)) if device.startswith("cuda") else "",
        "matrix_rate": rate, "copy_rate": bandwidth, "operations": work, "eager": eager, "rows": rows,
        "share_of_matrix_rate": work / best["seconds"] / rate,
        "share_on_device": best["operations_per_second_on_device"] / rate,
        "times_plain_fp32": eager["fp32"] / best["seconds"],
        "times_plain_tf32": eager["tf32"] / best["seconds"],
        "graphs": [list(shape) for shape in runtime.graphs.graphs] if runtime.graphs else [],
    }  # fmt: skip
    if options.vram:
        result["bounded"] = measure_bounded(network, pixels, options)
    if options.compile:
        tile = cut_tiles(runtime, pixels, best["tile"])[0]
        result["compiled"] = measure_compiled(runtime, tile, options)
    return result


def format_report(result: dict[str, Any]) -> str:
    """Return the results as readable lines."""
    lines = [
        f"{result['device']}, torch {result['torch']}; {result['precision']}",
        f"matrix rate {result['matrix_rate'] / 1e12:.3g} TFLOP/s, "
        f"copies {result['copy_rate'] / 1e9:.4g} GB/s",
    ]
    for row in result["rows"]:
        rate = result["operations"] / row["seconds"] / result["matrix_rate"]
        alone = row["operations_per_second_on_device"] / result["matrix_rate"]
        own = " (own choice)" if row["own"] else ""
        lines.append(
            f"tile {row['tile']}{own}: {row['tiles']} tiles, {row['seconds'] * 1e3:.1f} ms per image "
            f"({row['seconds_in_bytes'] * 1e3:.1f} rounded to bytes on the device), "
            f"{rate:.1%} of the matrix rate, on the device alone {alone:.1%}, {row['bytes'] / 2**30:.2f} GiB"
        )
    times = (
        f"{result['times_plain_fp32']:.2f} plain fp32 (target 4), {result['times_plain_tf32']:.2f} plain tf32"
    )
    lines.append(f"share {result['share_of_matrix_rate']:.1%} (target 35 %), speed-up: {times}")
    if "bounded" in result:
        bound = result["bounded"]
        lines.append(
            f"with --vram {bound['limit'] / 2**30:.2f} GiB: {bound['bytes'] / 2**30:.2f} GiB held, "
            f"{bound['seconds'] * 1e3:.0f} ms per image from array to array"
        )
    if "compiled" in result:
        once = result["compiled"]
        saved = once["eager"] - once["compiled"]
        pays = f"pays after {once['first_seconds'] / saved:.0f} tiles" if saved > 0 else "never pays"
        lines.append(f"torch.compile: {once['eager'] / once['compiled']:.2f} times as fast, {pays}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--vram", default="")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU here; --device cpu --side 64 --rounds 1 shows that this works")
    result = measure(options)
    print(format_report(result))
    target = options.out or (RESULT if options.device.startswith("cuda") else None)
    if target:
        target.write_text(json.dumps(result, indent=1, default=lambda value: math.inf) + "\n")


if __name__ == "__main__":
    main()
