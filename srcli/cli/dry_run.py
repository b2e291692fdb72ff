"""`--dry-run` and `--within`: what a batch would take, and the model that fits into a time."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from srcli.cli import console
from srcli.errors import SrError

if TYPE_CHECKING:
    from srcli.imaging.size import TargetSize
    from srcli.methods import MethodOptions
    from srcli.upscaling.estimate import Estimate, PlannedImage
    from srcli.upscaling.files import UpscaleSettings
    from srcli.upscaling.task import UpscaleTask


def tell(jobs: "list[UpscaleTask]", work: "UpscaleSettings", *, as_json: bool) -> None:
    """What each image would take, and the whole. Raises `SrError` for images that can't be read."""
    from srcli.imaging.codecs.reading import read_info
    from srcli.storage.locations import open_local_copy
    from srcli.upscaling import estimate
    from srcli.upscaling.files import compute_scale, decide_streaming

    spent = most = 0.0
    for job in jobs:
        with open_local_copy(job.source) as source:
            found = read_info(source)
        size = work.target.resolve(found.size)
        scale = compute_scale(found.size, size, work.target)
        streams = decide_streaming(found.frames, found.size, size, work)
        image = estimate.PlannedImage(found, size, scale, streams)
        told = estimate.estimate_image(work.load_method(scale) if scale > 1 else None, image)
        _say(job, found.size, size, told, as_json)
        spent, most = spent + told.seconds, max(most, told.bytes)
    if len(jobs) > 1 and not as_json:
        console.out.print(f"{len(jobs)} images: about {in_words(spent)}, {most / 1e6:.0f} MB at most")


def _say(
    job: "UpscaleTask", old: tuple[int, int], new: tuple[int, int], told: "Estimate", as_json: bool
) -> None:
    if as_json:
        record = {"input": str(job.source), "output": str(job.target), "from": old, "to": new}
        print(json.dumps(record | asdict(told)), flush=True)  # noqa: T201
        return
    sizes = " -> ".join("x".join(map(str, size)) for size in (old, new))
    parts = [
        f"{told.parameters:,} parameters" if told.parameters else "",
        f"{told.operations / 1e9:,.1f} GFLOP" if told.operations else "",
        f"{told.tiles} tile{'s' if told.tiles > 1 else ''}" if told.tiles else "",
        f"about {in_words(told.seconds)}",
        f"{told.bytes / 1e6:.0f} MB" + (", streamed" if told.streamed else ""),
    ]
    line = f"{job.source} -> {job.target}  {sizes}  {told.model}: {', '.join(filter(None, parts))}"
    console.out.print(line, markup=False)


def in_words(seconds: float) -> str:
    """`0.8 s`, `45 s`, `3 min 20 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def within(
    time: str, named: str | None, jobs: "list[UpscaleTask]", aim: "TargetSize", settings: "MethodOptions"
) -> "str | None":
    """The best model that is done with all jobs in that time, unless one is named.

    Raises `UsageError` where there is none, or where a network that is named would take longer.
    """
    from srcli import manifest
    from srcli.methods.classical import parse_duration
    from srcli.upscaling import estimate

    limit, images = parse_duration(time), list(_images(jobs, aim))
    if named is None:
        found = estimate.choose_model(limit, images, settings)
        console.err.print(f"{found} is the best within {in_words(limit)}", markup=False)
        return found
    if named in manifest.models():
        estimate.check_time(named, limit, images, settings)
    return named


def _images(jobs: "list[UpscaleTask]", aim: "TargetSize") -> "Iterator[PlannedImage]":
    """What can be read of the inputs; what can't be is told in its turn."""
    from srcli.imaging.codecs.reading import read_info
    from srcli.storage.locations import open_local_copy
    from srcli.upscaling.estimate import PlannedImage
    from srcli.upscaling.files import compute_scale

    for job in jobs:
        try:
            with open_local_copy(job.source) as source:
                found = read_info(source)
            size = aim.resolve(found.size)
            scale = compute_scale(found.size, size, aim)
        except SrError:
            continue
        yield PlannedImage(found, size, scale)
