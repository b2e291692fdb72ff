"""Make pairs of spoilt pictures and Real-ESRGAN's results, to train `photo` from.

    python benchmarks/experiments/photo_pairs.py ../shared/data/train PAIRS FIRST LAST

Writes PAIRS/NNNNN.npz for shards FIRST to LAST - 1 of 32 pairs each; shards that exist are kept, so that
several processes can fill a folder. Inputs are what people have: second-order degradations, JPEG of the
picture as it is, once or twice, noise of sensors, slight blur, and clean pictures. Needs the extra photo, and
a processor that is fast in bfloat16.
"""

import csv
import io
import sys
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from srcli import manifest
from srcli.archs import Spec
from srcli.engine.weights.files import load_network, locate_weights
from srcli.imaging.degrade.degradations import Degradation, degrade_image, parse_degradation
from srcli.imaging.pixels import from_uint8, to_uint8
from srcli.storage.files import replace_atomically

Samples = NDArray[np.uint8]
Rng = np.random.Generator

SHARD, SIDE, SCALE = 32, 112, 4
# Shares of the kinds of spoiling, in the order of `spoil`.
SHARES = (0.28, 0.12, 0.33, 0.15, 0.12)
REDUCTIONS = {
    Image.Resampling.BICUBIC: 0.4,
    Image.Resampling.BILINEAR: 0.2,
    Image.Resampling.BOX: 0.2,
    Image.Resampling.LANCZOS: 0.2,
}
SCREENSHOTS = "gb82_sc"


def spoil(hr: Samples, kind: int, rng: Rng, severe: tuple[Degradation, Degradation]) -> Samples:
    """Return the picture at a quarter of its size: twice degraded (0, 1), JPEG (2), noisy (3), clean (4)."""
    if kind < 2:
        low = degrade_image(from_uint8(hr), SCALE, severe[kind], rng)
        return to_uint8(low)
    small = reduce(hr, rng)
    if kind == 4:
        return small
    if rng.random() < 0.6:
        small = blur(small, rng.uniform(0, 0.8)).astype(np.uint8)
    if kind == 3:
        noisy = add_noise(small, rng)
        return recompress(noisy, rng.uniform(70, 95), 2) if rng.random() < 0.5 else noisy
    small = recompress(small, rng.uniform(30, 95), 0 if rng.random() < 0.3 else 2)
    if rng.random() < 0.4:  # saved again, with other blocks
        shift = int(rng.integers(0, 8))
        moved = recompress(np.roll(small, (shift, shift), (0, 1)), rng.uniform(45, 95), 2)
        small = np.roll(moved, (-shift, -shift), (0, 1))
    return small


def reduce(hr: Samples, rng: Rng) -> Samples:
    """Reduce by one of REDUCTIONS."""
    chosen = rng.choice(len(REDUCTIONS), p=tuple(REDUCTIONS.values()))
    return np.asarray(Image.fromarray(hr).resize((SIDE, SIDE), list(REDUCTIONS)[chosen]))


def blur(pixels: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Blur by a Gaussian, unless it is too narrow to matter."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma)) if sigma > 0.15 else pixels


def add_noise(pixels: Samples, rng: Rng) -> Samples:
    """Add noise of 1 to 12 levels, grey or coloured, stronger in the light or not, fine or coarse."""
    values, level = pixels.astype(np.float32), rng.uniform(1, 12)
    channels = 3 if rng.random() < 0.5 else 1
    noise = rng.normal(0, 1, (*values.shape[:2], channels)).astype(np.float32) * np.float32(level)
    noise = np.broadcast_to(noise, values.shape)
    if rng.random() < 0.5:
        noise = noise * np.sqrt(np.clip(values, 8, 255) / 128)
    if rng.random() < 0.4:
        noise = blur(noise, 0.6) * 1.6
    return np.clip(np.round(values + noise), 0, 255).astype(np.uint8)


def recompress(pixels: Samples, quality: float, subsampling: int) -> Samples:
    """Save as JPEG and read again."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=int(quality), subsampling=subsampling)
    return np.asarray(Image.open(data).convert("RGB"))


def draw_crop(files: list[Path], rng: Rng) -> Samples:
    """Return a random part of a random picture, at its own size or a little smaller, turned and mirrored."""
    picture = Image.open(files[rng.integers(len(files))]).convert("RGB")
    if rng.random() < 0.5:
        picture = picture.resize((448, 448), Image.Resampling.LANCZOS)
    pixels, side = np.asarray(picture), SIDE * SCALE
    top, left = (int(rng.integers(0, length - side + 1)) for length in pixels.shape[:2])
    crop = np.rot90(pixels[top : top + side, left : left + side], int(rng.integers(4)))
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


@torch.inference_mode()
def upscale(teacher: torch.nn.Module, low: Samples) -> Samples:
    """Return the teacher's result in bfloat16."""
    batch = torch.from_numpy(low.copy()).permute(2, 0, 1)[None].float().div(255)
    with torch.autocast("cpu", torch.bfloat16):
        large = teacher(batch.to(memory_format=torch.channels_last))
    return to_uint8(large[0].float().clamp(0, 1).permute(1, 2, 0).numpy())


def main(folder: Path, out: Path, first: int, last: int) -> None:
    """Make the shards that are missing."""
    torch.set_num_threads(1)  # one process for each core is faster
    with (folder / "tiles.csv").open(newline="", encoding="utf-8") as file:
        files = [folder / row["file"] for row in csv.DictReader(file) if row["set"] != SCREENSHOTS]
    entry = manifest.select_entry(manifest.find_entries("realesrgan"), SCALE)
    assert entry is not None
    network = load_network(locate_weights(entry), Spec(entry.arch, SCALE, dict(entry.config)))
    teacher = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    severe = (parse_degradation("second-order"), parse_degradation("bsrgan"))
    out.mkdir(parents=True, exist_ok=True)
    for shard in range(first, last):
        target = out / f"{shard:05}.npz"
        if target.exists():
            continue
        rng = np.random.default_rng((7, shard))
        crops = [draw_crop(files, rng) for _ in range(SHARD)]
        kinds = rng.choice(len(SHARES), SHARD, p=SHARES)
        lows = [spoil(crop, int(kind), rng, severe) for crop, kind in zip(crops, kinds, strict=True)]
        larges = list(map(partial(upscale, teacher), lows))
        with replace_atomically(target) as temporary, temporary.open("wb") as written:
            np.savez(written, lo=np.stack(lows), teacher=np.stack(larges), truth=np.stack(crops), kinds=kinds)
        print(f"shard {shard}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
