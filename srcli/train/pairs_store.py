"""Pairs for distillation, made ahead of training: degraded images, and what a teacher makes of them.

Any method can be the teacher, also one that is too slow to run at each step. Several processes fill a store,
also of several runs at once; a store that was begun is completed, and one that is too small is appended to.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from srcli import manifest
from srcli.engine.device import count_threads
from srcli.engine.slots import configure_pool
from srcli.engine.weights.files import find_digest
from srcli.engine.weights.ncnn import hash_weights
from srcli.errors import DatasetError, UsageError
from srcli.imaging import rows
from srcli.imaging.degrade.degradations import degrade_image
from srcli.imaging.pixels import from_uint8, to_uint8
from srcli.methods import (
    WEIGHTLESS,
    Method,
    MethodOptions,
    load_method,
    load_method_file,
    plan_entries,
    resolve_name,
)
from srcli.storage.files import get_cache_folder
from srcli.train import cache, decode
from srcli.train.planes import Boxes, Samples, Tick, layout, map_file
from srcli.train.sources import parse
from srcli.train.store import Store, StoreSpec, open_store
from srcli.upscaling.postprocess import Postprocess
from srcli.workers import run_jobs
from srcli.workers.distribute import JobFunction, distribute
from srcli.workers.progress import ignore

# Pairs that are made, and recorded as complete, together: a slow teacher takes half a minute for them.
SHARD = 4
# Sides of the teacher's input in pixels, and of the border whose output is discarded: there the teacher sees
# less than in a whole image.
INPUT, BORDER = 112, 8
STAGE = "running the teacher"
# Increase it when the content of the files changes.
VERSION = 3

_PLANES = ("lr", "teacher", "truth")
_Shard = tuple[int, bool]


@dataclass(frozen=True)
class PairSpec:
    """The settings that decide the pairs of a store.

    `teacher`: the name of a method, or a weight file; `count`: the pairs that are needed; `data` as in
    `sources.parse`; `student`: the crops to be cut from the pairs, and their degradation.
    """

    teacher: str
    count: int
    data: tuple[str, ...]
    student: StoreSpec

    @property
    def scale(self) -> int:
        """The scale of teacher and student."""
        return self.student.scale

    @property
    def side(self) -> int:
        """The side of an input in pixels, without the border."""
        return max(INPUT - 2 * BORDER, self.student.side)

    @property
    def shards(self) -> int:
        """The number of shards that hold `count` pairs."""
        return -(-self.count // SHARD)

    def open_images(self, tick: Tick) -> Store:
        """Open the images to draw from, at their full size. Raises `SrError` as `open_store` does."""
        sources = [parse(text, self.scale) for text in self.data]
        if any(source.partners for source in sources):
            hint = "name only the folder of the high-resolution images"
            raise UsageError("a teacher's pairs cannot be made from pairs of images", hint)
        side = (self.side + 2 * BORDER) * self.scale
        full = replace(self.student, scale=1, patch=side, enlarged=False, large_only=True)
        return open_store(sources, full, tick)

    @cached_property
    def folder(self) -> Path:
        """The folder of the store, which depends on teacher, degradation and images, not on `count`."""
        sources = [parse(text, self.scale) for text in self.data]
        work = decode.tasks(sources, self.student.rescale_factors, self.student.max_pixels)
        settings = [repr(self.student.degradation), self.scale, self.student.sharpen, self.side]
        teacher = hash_teacher(self.teacher, self.scale)
        return get_cache_folder() / "pairs" / cache.key([VERSION, teacher, settings, decode.facts(work)])


def hash_teacher(name: str, scale: int) -> list[str]:
    """Return what identifies a teacher: the SHA-256 of its weights, or the name of one without weights."""
    if Path(name).exists():
        return [hash_weights(Path(name))]
    model = resolve_name(name)
    if model in WEIGHTLESS:
        return [model]
    return [model, *(find_digest(entry) for entry in plan_entries(manifest.find_entries(model), scale))]


def load_teacher_method(name: str, scale: int, device: str | None = None) -> Method:
    """Return the teacher, a weight file or a model's name, as a method. Raises `SrError` if it cannot run."""
    options = MethodOptions(device=device, approximate=True)
    if Path(name).exists():
        return load_method_file(Path(name), scale, options)
    return load_method(resolve_name(name), scale, options)


def open_pairs(wanted: PairSpec, device: str | None, tick: Tick) -> Store:
    """Return the pairs as a store whose crops have a teacher; those that are missing are made first.

    Reports to `tick(stage, done, all)`. Raises `SrError` if the teacher cannot run here,
    or the images do not suit.
    """
    images = wanted.open_images(tick)
    _make_missing(wanted, device, tick)
    count = np.full(wanted.shards * SHARD, wanted.side)
    low, high = layout(count, count), layout(count * wanted.scale, count * wanted.scale)
    lr, teacher, truth = (
        map_file(wanted.folder / f"{name}.bin", low if name == "lr" else high) for name in _PLANES
    )
    sums = np.arange(1, len(count) + 1) / len(count)
    return Store(wanted.student, truth, lr, None, count, count, sums, images.left_out, images.leaks, teacher)


def count_affordable(wanted: PairSpec, device: str | None, seconds: float) -> int:
    """Return how many of the pairs the teacher can make in `seconds`; a shard at least.

    Pairs of earlier runs take no time.
    """
    made = sum(_marker(wanted.folder, shard).exists() for shard in range(wanted.shards))
    if made == wanted.shards:
        return wanted.count
    teacher = load_teacher_method(wanted.teacher, wanted.scale, device)
    side = wanted.side + 2 * BORDER
    teacher(np.full((32, 32, 3), 0.5, np.float32), wanted.scale)  # loads the network
    began = time.perf_counter()
    teacher(np.full((side, side, 3), 0.5, np.float32), wanted.scale)
    shards = made + int(max(0.0, seconds) / (time.perf_counter() - began)) // SHARD
    return min(wanted.count, max(1, shards) * SHARD)


def _make_missing(wanted: PairSpec, device: str | None, tick: Tick) -> None:
    missing = [shard for shard in range(wanted.shards) if not _marker(wanted.folder, shard).exists()]
    if not missing:
        return
    with cache.lock_folder(wanted.folder):
        _reserve(wanted)
    # What another run is busy with is waited for at the end.
    jobs: list[_Shard] = [(shard, False) for shard in missing] + [(shard, True) for shard in missing]
    tick(STAGE, (wanted.shards - len(missing)) * SHARD, wanted.shards * SHARD)
    done: set[int] = set()
    for shard in _run_jobs(wanted, jobs, device, len(missing)):
        done.update(shard)
        tick(STAGE, (wanted.shards - len(missing) + len(done)) * SHARD, wanted.shards * SHARD)


def _run_jobs(
    wanted: PairSpec, jobs: Sequence[_Shard], device: str | None, shards: int
) -> Iterator[list[int]]:
    """Yield the shards that exist after each job, made by a process for each core, or by one with a GPU."""
    setup = partial(prepare_worker, wanted)
    on_cpu = device in (None, "cpu")
    pool = configure_pool("cpu" if on_cpu else device, min(count_threads(), shards) if on_cpu else 1, None)
    if pool.is_single:
        work = setup(device)
        started_before = False
        outcomes = (outcome for outcome in run_jobs(jobs, lambda job: work(job, started_before)))
    else:
        outcomes = distribute(jobs, pool.start(setup))
    with closing(outcomes):
        for outcome in outcomes:
            if outcome.error:
                raise outcome.error
            yield outcome.result or []


def _reserve(wanted: PairSpec) -> None:
    """Extend the files to the pairs wanted, so that each process can write at its own place."""
    for name in _PLANES:
        path = wanted.folder / f"{name}.bin"
        with path.open("ab") as file:
            size = wanted.shards * SHARD * _bytes(wanted, name)
            if file.tell() < size:
                file.truncate(size)


def _bytes(wanted: PairSpec, plane: str) -> int:
    """Return the bytes of one image of a plane."""
    return 3 * (wanted.side * (1 if plane == "lr" else wanted.scale)) ** 2


def _marker(folder: Path, shard: int) -> Path:
    """Return the file that says that a shard is complete."""
    return folder / f"{shard:06}.done"


def prepare_worker(wanted: PairSpec, device: str | None) -> JobFunction[_Shard, list[int]]:
    """Return the function that makes a shard; it returns the shard, or nothing if another run makes it."""
    torch.set_num_threads(count_threads())
    images = wanted.open_images(ignore)
    teacher = load_teacher_method(wanted.teacher, wanted.scale, device)

    def make(job: _Shard, again: bool) -> list[int]:
        shard, waits = job
        if not _marker(wanted.folder, shard).exists():
            lock = FileLock(wanted.folder / f"{shard:06}.lock")
            try:
                with lock.acquire(timeout=-1 if waits else 0):
                    if not _marker(wanted.folder, shard).exists():
                        _make_shard(wanted, images, teacher, shard)
            except Timeout:
                return []
        return [shard]

    return make


def _make_shard(wanted: PairSpec, images: Store, teacher: Method, shard: int) -> None:
    """Make the pairs of a shard, which depend on its number only, and write them at its place."""
    rng = np.random.default_rng((VERSION, shard))
    degradation, scale, margin = wanted.student.degradation, wanted.scale, BORDER
    side = images.wanted.patch
    number = np.searchsorted(images.sums, rng.random(SHARD), side="right")
    top, left = (rng.integers(sides[number] - side + 1) for sides in (images.rows, images.columns))
    crops = images.hr.cut(Boxes(number, top, left, np.zeros(SHARD, np.int64)), side).numpy()
    made: list[list[Samples]] = []
    # Many networks for photographs shift colours. What they make up is to be learned, so nothing is blended.
    fix = Postprocess(faithful=False).for_method(teacher)
    for crop in crops:
        low = degrade_image(from_uint8(crop), scale, degradation, rng)
        large = fix.apply(rows.of(teacher(low, scale)), rows.of(low)).whole()
        outputs = (to_uint8(low), to_uint8(np.clip(large, 0, 1)), crop)
        steps = (1, scale, scale)
        made.append([_cut_border(image, margin * step) for image, step in zip(outputs, steps, strict=True)])
    try:
        for name, plane in zip(_PLANES, zip(*made, strict=True), strict=True):
            with (wanted.folder / f"{name}.bin").open("r+b") as file:
                file.seek(shard * SHARD * _bytes(wanted, name))
                file.writelines(np.ascontiguousarray(image).data for image in plane)
        _marker(wanted.folder, shard).touch()
    except OSError as error:
        reason = f"cannot write into {wanted.folder}: {error.strerror}"
        raise DatasetError(reason, "free the disk, or set SR_CACHE to another folder") from error


def _cut_border(image: Samples, margin: int) -> Samples:
    return image[margin:-margin, margin:-margin]
