"""Every option, written once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from srcli.manifest import DEFAULT_MODEL

Scale = Annotated[float, typer.Option("--scale", "-x", help="How many times larger, e.g. -x4.")]
Scales = Annotated[list[int], typer.Option("--scale", "-x", help="Scale to test; may repeat.")]
CompareScale = Annotated[int, typer.Option("--scale", "-x", help="How many times larger.")]
TrainScale = Annotated[int, typer.Option("--scale", "-x", help="Scale to train for.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help=f"Network or interpolator, {DEFAULT_MODEL} by default; `sr models` lists them."
    ),
]
Models = Annotated[
    list[str] | None, typer.Option("--model", "-m", help="Network or interpolator; may repeat.")
]
Weights = Annotated[
    list[Path] | None, typer.Option("--weights", "-w", help="Weight file of any maker; may repeat.")
]
OneWeights = Annotated[
    Path | None,
    typer.Option("--weights", "-w", help="Weight file of any maker, instead of the model's own."),
]
Arch = Annotated[
    str | None, typer.Option("--arch", help="Network that --weights is for, where the file does not tell.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; the fastest by default.")]
Runtime = Annotated[
    Literal["auto", "torch", "ncnn"],
    typer.Option(help="What runs networks; auto is ncnn on a CPU, and torch for what ncnn can't run."),
]
Tile = Annotated[int, typer.Option(min=16, help="Tile side in input pixels; less needs less memory.")]
SelfEnsemble = Annotated[
    bool, typer.Option("--self-ensemble", help="Mean of 8 orientations: better, 8 times slower.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace output files that exist.")]
