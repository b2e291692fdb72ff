"""From a request to a batch that is ready to run: everything that can be checked or decided in advance."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from srcli import manifest
from srcli.batch.events import Emit, ModelChosen, Preparation
from srcli.batch.name_template import check_affix
from srcli.batch.planning import Layout, SkippedEntries, check_watchable, plan_outputs
from srcli.batch.request import Execution, UpscaleRequest
from srcli.batch.task_list import TaskList
from srcli.batch.work import BatchSettings, find_model
from srcli.dataclass import dataclass
from srcli.engine import slots
from srcli.errors import SrError, UsageError
from srcli.imaging.codecs.reading import read_info
from srcli.imaging.codecs.registry import find_suffix
from srcli.imaging.codecs.writing import check_writable
from srcli.imaging.size import TargetSize
from srcli.manifest import DEFAULT_MODEL
from srcli.methods import MethodOptions, check_model, check_scale, classical, find_arch
from srcli.methods.auto import AutoModels, find_auto_models
from srcli.methods.choice import ModelChoice
from srcli.storage.hashing import sha256
from srcli.storage.locations import Location, check_bucket, is_many, open_local_copy
from srcli.upscaling.files import compute_scale
from srcli.upscaling.fingerprint import Fingerprint, list_choices
from srcli.upscaling.task import UpscaleTask
from srcli.workers.config import PoolConfig

if TYPE_CHECKING:
    from srcli.upscaling.estimate import PlannedImage

_ORIENTATIONS = 8


@dataclass(frozen=True)
class BatchPlan:
    """A batch that is ready to run; `tasks` is None if they are found while it runs.

    `unlisted`: folders that could not be listed.
    """

    inputs: list[Location]
    layout: Layout
    settings: BatchSettings
    tasks: TaskList | None
    pool: PoolConfig
    unlisted: int = 0


def prepare(request: UpscaleRequest, emit: Emit) -> BatchPlan:
    """Check a request and decide what it leaves open. Raises `SrError` if it cannot be carried out."""
    request.check()
    inputs, policy = request.locations, request.policy
    if request.output:
        check_bucket(request.output)
    open_ended = policy.watch or bool(policy.job) or any(map(is_many, inputs))
    if open_ended and policy.within is not None:
        raise UsageError("--within needs local files", "the number of images has to be known in advance")
    images = [] if policy.within is None else _read_images(_list_tasks(request, inputs), request.size)
    if open_ended and request.naming.in_place:
        raise UsageError("--in-place needs local files", "name an --output for remote ones")
    model = _choose_model(request, images, emit)
    auto = _find_auto_models(request, images, emit)
    settings = _make_settings(request, model, images, auto)
    layout = _make_layout(request, model, partial(find_model, settings=settings) if auto else None)
    if policy.watch:
        check_watchable(inputs, layout)
    skipped = SkippedEntries()
    tasks = None if open_ended else plan_outputs(inputs, layout, skipped)
    skipped.report(emit)
    _check_uncertainty(request, tasks)
    settings = replace(settings, options=replace(settings.options, pixels=_estimate_pixels(tasks)))
    execution = request.execution
    count = None if tasks is None else len(tasks)
    pool = slots.configure_pool(execution.device, execution.workers, execution.ray, count)
    if policy.watch and not pool.is_single:
        raise UsageError("--watch uses one process", "leave out --workers, --ray and all but one --device")
    return BatchPlan(inputs, layout, settings, tasks, pool, len(skipped.failures))


def _list_tasks(request: UpscaleRequest, inputs: Sequence[Location]) -> TaskList:
    """Return the tasks before the model is known, which may be part of their names."""
    naming = request.naming
    return plan_outputs(inputs, Layout(request.output, recursive=request.policy.recursive, flat=naming.flat))


def _read_images(tasks: Sequence[UpscaleTask], target: TargetSize) -> "list[PlannedImage]":
    """Return what is known of the inputs from their headers; those that cannot be read fail later."""
    from srcli.upscaling.estimate import PlannedImage

    images = []
    for task in tasks:
        try:
            with open_local_copy(task.source) as source:
                info = read_info(source)
            size = target.resolve(info.size)
            scale = compute_scale(info.size, size, target)
        except Exception:  # reading the image will raise it again and report it
            continue
        images.append(PlannedImage(info, size, scale))
    return images


def _choose_model(request: UpscaleRequest, images: "list[PlannedImage]", emit: Emit) -> ModelChoice:
    """Return the requested model, or the best one that finishes in time. Raises `UsageError` if none does."""
    model, within, execution = request.model, request.policy.within, request.execution
    if model.is_auto:
        check_model(DEFAULT_MODEL, 2 if request.size.scale is None else request.size.scale)
        return model
    if within is not None and model.weights is None:
        from srcli.upscaling.estimate import check_time, choose_model

        options = _make_trial_options(execution, images, emit)
        if model.name is None:
            model = ModelChoice(choose_model(within, images, options))
            emit(ModelChosen(model.label, within))
        elif model.name in manifest.list_models():
            check_time(model.name, within, images, options)
    scale = 2 if request.size.scale is None else request.size.scale
    if model.weights:
        check_scale(scale, has_one=True)
        return replace(model, arch=find_arch(model.arch) if model.arch else None)
    check_model(model.name or DEFAULT_MODEL, scale)
    return model


def _make_trial_options(execution: Execution, images: "list[PlannedImage]", emit: Emit) -> MethodOptions:
    """Return the options that decide how long a model takes; trials are events."""
    return MethodOptions(
        slots.resolve_devices(execution.device),
        execution.tile,
        execution.self_ensemble,
        execution.realism,
        runtime=execution.runtime,
        pixels=sum(math.prod(image.info.size) * image.info.frames for image in images) or None,
        wait=lambda text, seconds: emit(Preparation(text, seconds)),
    )


def _find_auto_models(request: UpscaleRequest, images: "list[PlannedImage]", emit: Emit) -> AutoModels | None:
    """Return the models that pictures may take, each of which finishes all images in time."""
    within = request.policy.within
    if not request.model.is_auto:
        return None
    models = find_auto_models(request.model.prefer)
    if within is None:
        return models
    from srcli.upscaling.estimate import choose_model, estimate_total

    options = _make_trial_options(request.execution, images, emit)
    clean = choose_model(within, images, options)
    emit(ModelChosen(clean, within))

    def fits(name: str) -> bool:
        return estimate_total(name, images, options) <= within

    degraded, drawing = (name if fits(name) else clean for name in (models.degraded, models.drawing))
    return replace(models, clean=clean, degraded=degraded, drawing=drawing)


def _make_layout(
    request: UpscaleRequest, model: ModelChoice, find: Callable[[Location], str] | None
) -> Layout:
    naming, label = request.naming, request.size.label
    check_affix("--prefix", naming.prefix)
    check_affix("--suffix", naming.suffix or "")
    suffix = f"_{label}" if naming.suffix is None else naming.suffix
    return Layout(
        request.output,
        name=naming.name if naming.name is not None else f"{_escape(naming.prefix)}{{stem}}{_escape(suffix)}",
        scale=label.removeprefix("x"),
        model=model.label,
        find_model=find,
        suffix=find_suffix(naming.format) if naming.format else None,
        recursive=request.policy.recursive,
        flat=naming.flat,
        folder_suffix=suffix or f"_{label}",
        in_place=naming.in_place,
    )


def _escape(text: str) -> str:
    """Return a template that stands for the text itself."""
    return text.replace("{", "{{").replace("}", "}}")


def _check_uncertainty(request: UpscaleRequest, tasks: TaskList | None) -> None:
    """Raise `SrError` if the map of uncertainty cannot be written, or would be of several images."""
    target = request.postprocess.uncertainty
    if target is None:
        return
    if tasks is None or len(tasks) > 1:
        raise UsageError(
            "--uncertainty writes one map, but there are several inputs", "run it for each image"
        )
    if os.path.exists(target) and not request.policy.overwrite:  # also for names that are too long
        raise SrError(f"{target} exists", "add --overwrite, or choose another --uncertainty")
    check_writable(target)


def _estimate_pixels(tasks: TaskList | None) -> int | None:
    """Return about how many pixels all inputs have, from the first header; None if that is not known."""
    first = tasks[0].source if tasks else None
    if not isinstance(first, Path):
        return None
    try:
        info = read_info(first)
    except Exception:  # reading the image will raise it again and report it
        return None
    return info.size[0] * info.size[1] * info.frames * len(tasks or ())


def _make_settings(
    request: UpscaleRequest, model: ModelChoice, images: "list[PlannedImage]", auto: AutoModels | None
) -> BatchSettings:
    execution, postprocess, policy = request.execution, request.postprocess, request.policy
    options = MethodOptions(
        slots.resolve_devices(execution.device),
        execution.tile,
        # The map needs the eight results one by one: the pipeline makes them then.
        execution.self_ensemble and not postprocess.uncertainty,
        execution.realism,
        runtime=execution.runtime,
        untrained=_make_untrained_settings(request, model, images),
        vram=execution.vram,
    )
    chosen = list_choices(request.encoding, postprocess, execution) | _list_untrained_choices(request, model)
    return BatchSettings(
        request.size,
        Fingerprint(model.label, request.size.label, chosen, model.weights, auto),
        options,
        model.arch,
        request.encoding,
        postprocess,
        policy.max_pixels,
        execution.stream,
        policy.overwrite,
        policy.skip_existing or policy.watch or bool(policy.job),
        policy.only_enlarge,
        policy.again,
        request.naming.in_place,
        policy.keep_dates,
        policy.salvage,
    )


def _make_untrained_settings(
    request: UpscaleRequest, model: ModelChoice, images: "list[PlannedImage]"
) -> classical.UntrainedSettings:
    """Return the settings of untrained methods; the time is divided evenly over images and their frames."""
    kernel, within = request.untrained.kernel, request.policy.within
    if kernel:
        classical.check_kernel([] if model.weights else [model.label])
    known = None
    if kernel and kernel != classical.AUTO:
        from srcli.imaging.degrade.kernels import load_kernel

        known = load_kernel(Path(kernel))
    settings = classical.UntrainedSettings(
        request.untrained.seed, within, classical.AUTO if kernel == classical.AUTO else known
    )
    runs = sum(image.info.frames for image in images)
    return settings.divide_time(runs * (_ORIENTATIONS if request.postprocess.uncertainty else 1))


def _list_untrained_choices(request: UpscaleRequest, model: ModelChoice) -> dict[str, str]:
    """Return the options of an untrained method, for the record; a kernel is known by its contents."""
    if model.weights or model.label not in classical.METHODS:
        return {}
    seed, kernel, within = request.untrained.seed, request.untrained.kernel, request.policy.within
    digest = sha256(Path(kernel)) if kernel and kernel != classical.AUTO else kernel
    chosen = {"seed": seed or "", "within": "" if within is None else f"{within:g}s", "kernel": digest}
    return {key: str(value) for key, value in chosen.items() if value}
