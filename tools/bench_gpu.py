"""EDSR baseline x4 on one megapixel on a GPU: against its matrix rate, and against a plain loop in PyTorch.

    python tools/bench_gpu.py [--device cuda] [--side 1000] [--rounds 10] [--vram 6G] [--compile] [--out FILE]

Nothing is read but a bundled photograph, so that it runs on a machine without a network. All takes turns in
each round; medians. `--device cpu --side 64 --rounds 1` shows that the tool works; its figures mean nothing.
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
from srcli.engine.complexity import cost
from srcli.engine.runtimes import select
from srcli.engine.runtimes.half import try_half
from srcli.engine.runtimes.select import RuntimeRequest
from srcli.engine.runtimes.torch import TorchRuntime, to_batch, to_pixels
from srcli.engine.tiles import DEFAULT_TILE
from srcli.engine.upscaler import Upscaler
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "gpu.json"
SPEC = archs.Spec("edsr", 4)
# A product so large takes the matrix units' full rate; on a processor a small one has to do.
_PRODUCT = {"cuda": 8192, "cpu": 512}
_TILES = (256, 512, 768, 1024, 2048)
# Pictures in a row for throughput: what is under way at the ends counts less.
_PICTURES = 4


def synchronise(device: str) -> None:
    """Until all that was begun is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def timed(device: str, run: Callable[[], object]) -> float:
    """Seconds, to the end of what was begun."""
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def matrix_rate(device: str) -> float:
    """Operations a second of a product of random matrices in bfloat16; in float32 on a processor."""
    side = _PRODUCT[device.split(":", maxsplit=1)[0]]
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    for _ in range(3):
        one @ other
    seconds = statistics.median(timed(device, lambda: one @ other) for _ in range(10))
    return 2 * side**3 / seconds


def copy_rate(device: str) -> float:
    """Bytes a second of a copy on the device, those read and those written."""
    source = torch.randn(2 ** (28 if device != "cpu" else 22), device=device)
    target = torch.empty_like(source)
    seconds = statistics.median(timed(device, lambda: target.copy_(source)) for _ in range(10))
    return 2 * source.nbytes / seconds


def photograph(side: int) -> Pixels:
    """(side, side, 3), a photograph side by side with itself."""
    pixels = read_image(ROOT / "srcli" / "samples" / "coffee.png").pixels
    height, width = pixels.shape[:2]
    return np.tile(pixels, (-(-side // height), -(-side // width), 1))[:side, :side]


def tiles_of(runtime: TorchRuntime, pixels: Pixels, tile: int) -> list[Pixels]:
    """As the Upscaler would cut them."""
    size = (pixels.shape[0] * SPEC.scale, pixels.shape[1] * SPEC.scale)
    spans = Upscaler(runtime, SPEC.scale).plan(pixels.shape[:2], size, tile)
    return [np.ascontiguousarray(pixels[y.source(), x.source()]) for y, x in spans]


def streamed(runtime: TorchRuntime, tiles: list[Pixels], pictures: int) -> Callable[[], None]:
    """Tiles of several pictures, from pixels to pixels."""

    def run() -> None:
        for _ in runtime.run(itertools.chain.from_iterable([tiles] * pictures)):
            pass

    return run


def plain(network: nn.Module, pixels: Pixels, device: str, *, tf32: bool) -> Callable[[], None]:
    """What a few lines of PyTorch do: the whole picture, in single precision."""

    @torch.inference_mode()
    def run() -> None:
        torch.backends.cudnn.allow_tf32 = tf32
        to_pixels(network(to_batch(pixels).to(device)))

    return run


def on_device(runtime: TorchRuntime, tile: Pixels) -> Callable[[], Tensor]:
    """The network alone: a tile that is on the device already."""
    batch = runtime.backend.upload([tile])
    half = runtime.device.dtype != "float32"
    return lambda: runtime._once(batch, half=half)


def peak(device: str, run: Callable[[], object]) -> int:
    """Bytes that torch held of the device's memory at most; 0 on a processor."""
    if not device.startswith("cuda"):
        run()
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_reserved(device)


def in_turns(device: str, runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, after a round that is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            seconds = timed(device, run)
            if number:
                spent[name].append(seconds)
    return {name: statistics.median(values) for name, values in spent.items()}


def rows_of(runtime: TorchRuntime, pixels: Pixels, given: argparse.Namespace) -> list[dict[str, Any]]:
    """The runtime with tiles of several sizes, those of its own choice first."""
    own, device = runtime.largest_tile(DEFAULT_TILE), given.device
    found = []
    for tile in dict.fromkeys([own, *(size for size in _TILES if size < 2 * max(pixels.shape))]):
        tiles = tiles_of(runtime, pixels, tile)
        run = streamed(runtime, tiles, _PICTURES)
        for _ in range(2):  # what is measured and recorded on the way
            run()
        held = peak(device, run)
        runs: dict[str, Callable[[], object]] = {"ours": run, "device": on_device(runtime, tiles[0])}
        rounding = runtime.as_uint8()
        if rounding:
            runs["bytes"] = streamed(rounding, tiles, _PICTURES)
        seconds = in_turns(device, runs, given.rounds)
        area = tiles[0].shape[0] * tiles[0].shape[1]
        found.append(
            {
                "tile": tile, "own": tile == own, "tiles": len(tiles), "shape": tiles[0].shape[:2],
                "batch_pixels": min(runtime.findings.limit.pixels, 2**62), "bytes": held,
                "seconds": seconds["ours"] / _PICTURES,
                "seconds_in_bytes": seconds.get("bytes", 0) / _PICTURES,
                "operations_per_second_on_device": 2 * multiply_adds(area) / seconds["device"],
            }
        )  # fmt: skip
    return found


def multiply_adds(pixels: float) -> float:
    """Of the network, for so many pixels of its input; counted on a square."""
    side = 64
    return cost(SPEC, side * SPEC.scale, side * SPEC.scale).multiply_adds / side**2 * pixels


def bounded(network: nn.Module, pixels: Pixels, given: argparse.Namespace) -> dict[str, float]:
    """What is held where a bound is given, and how long it takes then."""
    limit = memory.amount(given.vram)
    wanted = RuntimeRequest("torch", given.device, limit)
    runtime = select.on_torch(network, SPEC.scale, archs.traits(SPEC.arch), wanted)
    method = Upscaler(runtime, SPEC.scale)
    method(pixels)
    held = peak(given.device, lambda: method(pixels))
    seconds = timed(given.device, lambda: method(pixels))
    if given.device.startswith("cuda"):
        torch.cuda.set_per_process_memory_fraction(1.0, torch.device(given.device).index or 0)
    return {"limit": limit, "bytes": held, "seconds": seconds}


def compiled(runtime: TorchRuntime, tile: Pixels, given: argparse.Namespace) -> dict[str, float]:
    """The network alone by torch.compile, on the largest tile: how long it takes to compile, and then."""
    quick: Any = torch.compile(runtime.network, dynamic=False, mode="max-autotune-no-cudagraphs")
    other = replace(runtime, network=quick, graphs=None)
    first = timed(given.device, on_device(other, tile))
    seconds = in_turns(
        given.device, {"eager": on_device(runtime, tile), "compiled": on_device(other, tile)}, given.rounds
    )
    return {"first_seconds": first, **seconds}


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    torch.manual_seed(0)
    device, pixels = given.device, photograph(given.side)
    network = archs.build(SPEC.arch, SPEC.scale).eval()
    rate, bandwidth = matrix_rate(device), copy_rate(device)
    runtime = select.on_torch(network, SPEC.scale, archs.traits(SPEC.arch), RuntimeRequest("torch", device))
    eager = in_turns(
        device,
        {name: plain(runtime.network, pixels, device, tf32=name == "tf32") for name in ("fp32", "tf32")},
        max(1, given.rounds // 3),
    )
    rows = rows_of(runtime, pixels, given)
    work, best = 2 * multiply_adds(given.side**2), rows[0]
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "torch": torch.__version__, "side": given.side, "precision": runtime.description,
        "half": str(try_half(runtime)) if device.startswith("cuda") else "",
        "matrix_rate": rate, "copy_rate": bandwidth, "operations": work, "eager": eager, "rows": rows,
        "share_of_matrix_rate": work / best["seconds"] / rate,
        "share_on_device": best["operations_per_second_on_device"] / rate,
        "times_plain_fp32": eager["fp32"] / best["seconds"],
        "times_plain_tf32": eager["tf32"] / best["seconds"],
        "graphs": [list(shape) for shape in runtime.graphs.recorded] if runtime.graphs else [],
    }  # fmt: skip
    if given.vram:
        found["bounded"] = bounded(network, pixels, given)
    if given.compile:
        tile = tiles_of(runtime, pixels, best["tile"])[0]
        found["compiled"] = compiled(runtime, tile, given)
    return found


def told(found: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"{found['device']}, torch {found['torch']}; {found['precision']}",
        f"matrix rate {found['matrix_rate'] / 1e12:.3g} TFLOP/s, copies {found['copy_rate'] / 1e9:.4g} GB/s",
    ]
    for row in found["rows"]:
        rate = found["operations"] / row["seconds"] / found["matrix_rate"]
        alone = row["operations_per_second_on_device"] / found["matrix_rate"]
        own = " (own choice)" if row["own"] else ""
        lines.append(
            f"tile {row['tile']}{own}: {row['tiles']} tiles, {row['seconds'] * 1e3:.1f} ms a picture "
            f"({row['seconds_in_bytes'] * 1e3:.1f} rounded to bytes there), "
            f"{rate:.1%} of the matrix rate, on the device alone {alone:.1%}, {row['bytes'] / 2**30:.2f} GiB"
        )
    times = f"{found['times_plain_fp32']:.2f} plain fp32 (bar 4), {found['times_plain_tf32']:.2f} plain tf32"
    lines.append(f"share {found['share_of_matrix_rate']:.1%} (bar 35 %), times as fast: {times}")
    if "bounded" in found:
        bound = found["bounded"]
        lines.append(
            f"with --vram {bound['limit'] / 2**30:.2f} GiB: {bound['bytes'] / 2**30:.2f} GiB held, "
            f"{bound['seconds'] * 1e3:.0f} ms a picture from array to array"
        )
    if "compiled" in found:
        once = found["compiled"]
        saved = once["eager"] - once["compiled"]
        pays = f"pays after {once['first_seconds'] / saved:.0f} tiles" if saved > 0 else "never pays"
        lines.append(f"torch.compile: {once['eager'] / once['compiled']:.2f} times as fast, {pays}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--vram", default="")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU here; --device cpu --side 64 --rounds 1 shows that this works")
    found = measured(given)
    print(told(found))
    target = given.out or (RESULT if given.device.startswith("cuda") else None)
    if target:
        target.write_text(json.dumps(found, indent=1, default=lambda value: math.inf) + "\n")


if __name__ == "__main__":
    main()
