"""`sr bench`: PSNR and SSIM of methods on data sets, next to the interpolators."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcli.cli import console, options
from srcli.engine.tiles import DEFAULT_TILE
from srcli.files import check_place
from srcli.manifest import DEFAULT_MODEL
from srcli.scales import plain

if TYPE_CHECKING:
    from srcli.bench import ImageScore

_BASELINES = ("nearest", "bilinear", "bicubic")


def bench(
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset", "-d", help="Set5, Set14, BSD100, Urban100, samples or a folder; may repeat."
        ),
    ] = None,
    scale: options.Scales = [4],  # noqa: B006 (Typer copies it)
    model: options.Models = None,
    weights: options.Weights = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write rows and per-image scores here.")
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the rows here.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    device: options.Device = None,
    runtime: options.Runtime = "auto",
    tile: options.Tile = DEFAULT_TILE,
    self_ensemble: options.SelfEnsemble = False,
) -> None:
    """Score methods on images; nearest, bilinear and bicubic are always in the table."""
    from srcli import datasets
    from srcli.bench import bench as measure
    from srcli.methods import Options, find_all
    from srcli.report import tables

    for place in filter(None, (json_file, csv_file)):
        check_place(place)
    named = model or ([] if weights else [DEFAULT_MODEL])
    settings = Options(device, tile, self_ensemble, runtime=runtime)
    chosen = [datasets.find(name) for name in dataset or ["samples"]]
    scales = dict.fromkeys(map(plain, scale))
    methods = {x: find_all([*_BASELINES, *named], weights or [], x, settings) for x in scales}
    console.tell_taken(method for found in methods.values() for method in found)
    images = len(methods) * sum(len(one.files) for one in chosen)
    with console.bar() as bar:
        task = bar.add_task("scoring", total=images * len(methods[next(iter(scales))]))

        def tell(score: "ImageScore") -> None:
            bar.update(task, advance=1, description=f"{score.dataset} x{score.scale:g}")

        results = measure(chosen, methods, methods.__getitem__, tell)
    if markdown:
        console.result.print(tables.markdown(results), markup=False)
    else:
        console.result.print(tables.rich_table(results))
    for path, render in ((json_file, tables.to_json), (csv_file, tables.to_csv)):
        if path:
            console.save(path, render(results))
