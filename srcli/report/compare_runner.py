"""Comparing methods on images: from a request to sheets, figures and pages."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from srcli.engine.slots import resolve_devices
from srcli.errors import UsageError
from srcli.imaging.codecs.writing import check_writable
from srcli.imaging.image import Image, write_image
from srcli.manifest import DEFAULT_MODEL
from srcli.methods import Method, check_own_scale, check_scale, find_licence, load_methods
from srcli.report import compare_events as events
from srcli.report import comparisons
from srcli.report.compare_events import Emit
from srcli.report.compare_page import MethodSummary, Scene, build_scene, check_page_size, render_compare_page
from srcli.report.compare_request import CompareRequest
from srcli.report.comparisons import Comparison, ComparisonSource, MethodResult, format_score
from srcli.report.paper_figure import (
    FigureScene,
    build_figure_scene,
    check_can_draw,
    is_figure,
    write_figure,
)
from srcli.report.pictures import LabelledPanels, Panel, Region, draw_error_map, draw_sheet, stack_sheets
from srcli.report.rating_page import check_method_count, render_rating_page
from srcli.scales import simplify_scale
from srcli.storage.files import check_can_write, replace_atomically
from srcli.workers.progress import ignore

_DEFAULT_MODELS = ("nearest", "bicubic", DEFAULT_MODEL)
_REGIONS = 4


def compare(request: CompareRequest, emit: Emit = ignore) -> tuple[Path, ...]:
    """Run every method on every image, write sheets, figures and pages, and return their paths.

    Raises `SrError`, before any method runs, for images that cannot be read or do not match their truth, for
    methods that do not exist, and for outputs that cannot be written.
    """
    check_scale(request.scale)
    request = replace(request, scale=simplify_scale(request.scale), outputs=_choose_outputs(request))
    _check_outputs(request)
    scale, rating = request.scale, request.rating
    names = list(dict.fromkeys(request.models or (() if request.weights else _DEFAULT_MODELS)))
    for name in names:
        check_own_scale(name, scale)
    listed = comparisons.list_sources(list(request.images), request.truth, request.is_truth)
    sources = [replace(source, max_pixels=request.max_pixels) for source in listed]
    pixels = comparisons.check_sources(sources, scale, request.crop)
    untrained = request.options.untrained.divide_time(len(sources))
    options = replace(request.options, device=resolve_devices(request.options.device), untrained=untrained)
    methods = _name_apart(load_methods(names, list(request.weights), scale, options))
    has_page = any(map(is_page, request.outputs))
    if has_page:
        check_page_size(pixels * (len(methods) + bool(request.is_truth or request.truth)))
    if rating:
        check_method_count(len(methods))
    for method in methods:
        if method.identified_as:
            emit(events.WeightsIdentified(method.name, method.identified_as))
    panels: list[LabelledPanels] = []
    scenes: list[Scene] = []
    figure: list[FigureScene] = []
    for comparison, results in _run_methods(sources, methods, scale, emit):
        regions = (
            [request.crop] if request.crop else comparisons.find_differences(comparison, results, _REGIONS)
        )
        panels.append(LabelledPanels(comparison.name, tuple(_make_panels(comparison, results, regions[0]))))
        if any(map(is_figure, request.outputs)):
            figure.append(build_figure_scene(comparison, results, regions[0], scale))
        if has_page:
            scenes.append(build_scene(comparison, results, regions, scale, charts=not rating))
        emit(events.ImageCompared(comparison.name, len(sources), tuple(results)))
    emit(events.AllCompared(tuple(panels)))
    summaries = _summarise_methods(methods, names, scale)
    for path in request.outputs:
        if is_figure(path):
            write_figure(path, figure)
        else:
            _write_output(path, request, panels, scenes, summaries)
        emit(events.FileWritten(path))
    return request.outputs


def is_page(path: Path) -> bool:
    """Return whether an output is an HTML page."""
    return path.suffix.lower() in (".html", ".htm")


def _choose_outputs(request: CompareRequest) -> tuple[Path, ...]:
    """Return the outputs, or the default ones. A sheet would reveal the methods to raters: `UsageError`."""
    if request.rating and not all(map(is_page, request.outputs)):
        raise UsageError("--rate writes a page", "use an --output that ends in .html")
    default = (Path("rating.html"),) if request.rating else (Path("compare.png"), Path("compare.html"))
    return tuple(dict.fromkeys(request.outputs)) or default


def _check_outputs(request: CompareRequest) -> None:
    inputs = [path for path in (*request.images, request.truth) if path and path.exists()]
    for output in request.outputs:
        if output.exists() and any(output.samefile(path) for path in inputs):
            raise UsageError(f"{output} is itself an input", "choose another --output")
        if output.exists() and not request.overwrite:
            raise UsageError(f"{output} exists", "add --overwrite, or choose another --output")
        if is_figure(output):
            check_can_draw()
        (check_can_write if is_page(output) or is_figure(output) else check_writable)(output)


def _name_apart(methods: list[Method]) -> list[Method]:
    """Give methods distinct names: two weight files may share one."""
    seen: Counter[str] = Counter()
    out = []
    for method in methods:
        seen[method.name] += 1
        number = seen[method.name]
        out.append(method if number == 1 else replace(method, name=f"{method.name} ({number})"))
    return out


def _run_methods(
    sources: list[ComparisonSource], methods: list[Method], scale: float, emit: Emit
) -> Iterator[tuple[Comparison, list[MethodResult]]]:
    for number, source in enumerate(sources, 1):
        comparison = comparisons.load_comparison(source, scale)
        emit(events.ImageStarted(comparison.name, number, len(sources), len(methods)))
        results = []
        for method in methods:
            results.append(comparisons.run_method(method, comparison, scale))
            emit(events.MethodFinished())
        yield comparison, results


def _make_panels(comparison: Comparison, results: list[MethodResult], region: Region) -> list[Panel]:
    height = comparison.lr.shape[0]
    crops = [region.crop(result.pixels, height) for result in results]
    if comparison.truth is None:
        return [Panel(result.method, crop) for result, crop in zip(results, crops, strict=True)]
    truth = region.crop(comparison.truth, height)
    panels = [
        Panel(result.method, crop, format_score(result.score), draw_error_map(crop, truth))
        for result, crop in zip(results, crops, strict=True)
    ]
    return [*panels, Panel("truth", truth, "the original")]


def _summarise_methods(methods: list[Method], names: list[str], scale: float) -> list[MethodSummary]:
    licences = [find_licence(name, scale) for name in names]
    licences += ["unknown"] * (len(methods) - len(names))
    return [
        MethodSummary(method.name, licence, method.params, method.description)
        for method, licence in zip(methods, licences, strict=True)
    ]


def _write_output(
    path: Path,
    request: CompareRequest,
    panels: list[LabelledPanels],
    scenes: list[Scene],
    methods: list[MethodSummary],
) -> None:
    if not is_page(path):
        several = len(panels) > 1
        sheets = [draw_sheet(list(each.panels), each.name if several else "") for each in panels]
        write_image(path, Image(stack_sheets(sheets)))
        return
    if request.rating:
        text = render_rating_page(scenes, methods, request.scale, request.rating)
    else:
        text = render_compare_page(scenes, methods, request.scale, request.is_truth)
    with replace_atomically(path) as temporary:
        temporary.write_text(text, "utf-8")
