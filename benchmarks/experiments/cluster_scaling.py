r"""Simulate how a cluster of N cores scales, from the seconds of each step measured on one core.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/experiments/cluster_scaling.py \
        [--measure] [--bandwidth 1.25] [--latency 30] [--price 0.04]

`--measure` times the steps again. A worker downloads an image, decodes, upscales and encodes it, uploads the
result and takes the next. All workers share one link to the storage. `--bandwidth` of the link is in GB/s,
`--latency` of a request in ms, `--price` of an hour of a core in any currency. Writes
benchmarks/results/cluster_scaling.json and draws docs/scale.png.
"""

import argparse
import heapq
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "cluster_scaling.json"
CHART = ROOT / "docs" / "scale.png"
SAMPLES = ROOT / "srcli" / "samples"
# Side of the images in pixels, scale and output format: photographs for print, scans for an archive.
WORKLOADS = {
    "photographs, 0.26 MP, x4, PNG": (512, 4, ".png"),
    "photographs, 1 MP, x4, JPEG": (1024, 4, ".jpg"),
    "scans, 1 MP, x2, JPEG": (1024, 2, ".jpg"),
}
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
COUNT = 8


@dataclass(frozen=True)
class Image:
    """One image: seconds of each step on one core, bytes read and written."""

    decode: float
    network: float
    encode: float
    bytes_in: int
    bytes_out: int

    @property
    def compute(self) -> float:
        """Seconds of the core for all steps."""
        return self.decode + self.network + self.encode


@dataclass(frozen=True)
class Storage:
    """The link that all workers share: bytes/s, and seconds until the first byte of a request."""

    bandwidth: float
    latency: float


def measure_images(side: int, scale: int, suffix: str, folder: Path) -> list[Image]:
    """Upscale parts of the bundled photographs with the default model and time the steps."""
    from srcli.imaging.image import Image as Picture
    from srcli.imaging.image import read_image, write_image
    from srcli.manifest import DEFAULT_MODEL
    from srcli.methods import load_method

    method, result = load_method(DEFAULT_MODEL, scale), []
    target = folder / f"out{suffix}"
    for number in range(-1, COUNT):  # the first one warms up
        source = _write_picture(side, number, folder)
        started_at = time.perf_counter()
        picture = read_image(source)
        decoded = time.perf_counter()
        large = np.clip(method(picture.pixels, scale), 0, 1)
        enlarged = time.perf_counter()
        write_image(target, Picture(large))
        written = time.perf_counter()
        sizes = (source.stat().st_size, target.stat().st_size)
        result.append(Image(decoded - started_at, enlarged - decoded, written - enlarged, *sizes))
    return result[1:]


def _write_picture(side: int, number: int, folder: Path) -> Path:
    """Write a part of a bundled photograph as JPEG with the given side; return its path."""
    names = sorted(SAMPLES.glob("*.png"))
    rng, path = np.random.default_rng(number + 1), folder / "in.jpg"
    with PilImage.open(names[number % len(names)]) as sample:
        crop = int(rng.integers(256, min(sample.size)))
        x, y = (int(rng.integers(0, length - crop + 1)) for length in sample.size)
        part = sample.convert("RGB").crop((x, y, x + crop, y + crop))
    part.resize((side, side), PilImage.Resampling.BICUBIC).save(path, quality=90)
    return path


def simulate(workers: int, images: list[Image], storage: Storage, rounds: int = 40) -> dict[str, float]:
    """Simulate workers; return images/s in the long run and the share of the time that their cores work.

    The link serves one transfer at a time, in the order of the requests; latencies overlap.
    """
    rng = np.random.default_rng(0)
    count = rounds * workers
    link = busy = last = 0.0
    # Time of the request to the link, worker, and the image to upload; None for a download.
    events: list[tuple[float, int, Image | None]] = [(0.0, number, None) for number in range(workers)]
    started = 0
    while events:
        now, number, made = heapq.heappop(events)
        if made is None and started < count:
            started += 1
            image = images[int(rng.integers(len(images)))]
            link = max(now, link) + image.bytes_in / storage.bandwidth
            busy += image.compute
            heapq.heappush(events, (link + storage.latency + image.compute, number, image))
        elif made:
            link = max(now, link) + made.bytes_out / storage.bandwidth
            last = max(last, link + storage.latency)
            heapq.heappush(events, (link + storage.latency, number, None))
    return {"workers": workers, "images_per_second": count / last, "working": busy / (last * workers)}


def compute_bounds(images: list[Image], storage: Storage) -> dict[str, float]:
    """Return the means of the images, the images/s that the link can carry, and the cores that fill it."""
    names = Image.__annotations__
    mean = {name: float(np.mean([getattr(image, name) for image in images])) for name in names}
    moved = mean["bytes_in"] + mean["bytes_out"]
    compute = float(np.mean([image.compute for image in images]))
    carried = storage.bandwidth / moved
    return mean | {"compute": compute, "link_images_per_second": carried, "cores_at_link": carried * compute}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw images/s over workers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, workload in result["workloads"].items():
        rows = workload["cluster"]
        axes.loglog([r["workers"] for r in rows], [r["images_per_second"] for r in rows], ".-", label=name)
    axes.set(xlabel="cores", ylabel="images/s")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=90)


def render_table() -> str:
    """Return the result as Markdown tables."""
    result = json.loads(RESULT.read_text())
    out = [
        f"{result['machine']}, one core, default model. A link of {result['bandwidth'] / 1e9:g} GB/s with",
        f"{result['latency'] * 1000:g} ms per request; a core costs {result['price']:g} per hour.",
        "",
        "| workload | decode, s | network, s | encode, s | MB in | MB out | link full at "
        "| core-hours per million | cost |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(_render_costs(name, each, result["price"]) for name, each in result["workloads"].items()),
        "",
        "| cores | " + " | ".join(result["workloads"]) + " |",
        "|---:|" + "---:|" * len(result["workloads"]),
    ]
    for at, workers in enumerate(WORKERS):
        rows = [each["cluster"][at] for each in result["workloads"].values()]
        cells = (f"{row['images_per_second']:,.2f}/s, {row['working']:.0%}" for row in rows)
        out.append(f"| {workers:,} | " + " | ".join(cells) + " |")
    return "\n".join(out)


def _render_costs(name: str, each: dict[str, Any], price: float) -> str:
    one, hours = each["image"], each["cluster"][0]["seconds_per_million"] / 3600
    steps = f"{one['decode']:.3f} | {one['network']:.2f} | {one['encode']:.2f}"
    moved = f"{one['bytes_in'] / 1e6:.2f} | {one['bytes_out'] / 1e6:.1f} | {one['cores_at_link']:,.0f} cores"
    return f"| {name} | {steps} | {moved} | {hours:,.0f} | {hours * price:,.0f} |"


def main() -> None:
    """Measure if asked to, simulate, write and draw."""
    from srcli.engine.measurements import describe_machine

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--bandwidth", type=float, default=1.25)
    parser.add_argument("--latency", type=float, default=30)
    parser.add_argument("--price", type=float, default=0.04)
    options = parser.parse_args()
    storage = Storage(options.bandwidth * 1e9, options.latency / 1000)
    about: dict[str, Any] = {"machine": describe_machine(), **asdict(storage), "price": options.price}
    known = {} if options.measure else json.loads(RESULT.read_text())["workloads"]
    workloads = {}
    for name, (side, scale, suffix) in WORKLOADS.items():
        with tempfile.TemporaryDirectory() as folder:
            images = (
                [Image(**raw) for raw in known[name]["images"]]
                if known
                else measure_images(side, scale, suffix, Path(folder))
            )
        cluster = [simulate(workers, images, storage) for workers in WORKERS]
        for row in cluster:
            row["seconds_per_million"] = 1e6 / row["images_per_second"]
        workloads[name] = {
            "image": compute_bounds(images, storage),
            "cluster": cluster,
            "images": [asdict(image) for image in images],
        }
        print(name, json.dumps(workloads[name]["image"]), flush=True)
    result = about | {"workloads": workloads}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    draw(result, CHART)


if __name__ == "__main__":
    main()
