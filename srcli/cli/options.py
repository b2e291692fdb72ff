"""Every option, written once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from srcli.cli import completion
from srcli.manifest import DEFAULT_MODEL

SIZE, NAMING, FORMAT, BATCH = "Size", "Names and places", "Format", "Batches"
UNTRAINED = "Methods without a training set"

Scale = Annotated[
    float | None,
    typer.Option(
        "--scale", "-x", help="How many times larger, any number; 4 by default.", rich_help_panel=SIZE
    ),
]
Width = Annotated[int | None, typer.Option(help="Width in pixels.", rich_help_panel=SIZE)]
Height = Annotated[int | None, typer.Option(help="Height in pixels.", rich_help_panel=SIZE)]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="WxH", help="Fit into a box, 1920x1080; or exactly that, 1920x1080!", rich_help_panel=SIZE
    ),
]
LongEdge = Annotated[int | None, typer.Option(help="The longer side in pixels.", rich_help_panel=SIZE)]
Megapixels = Annotated[float | None, typer.Option(help="Millions of pixels.", rich_help_panel=SIZE)]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="File, folder, URL, or - for stdout; beside the input as NAME_x4 by default.",
        rich_help_panel=NAMING,
    ),
]
Suffix = Annotated[
    str | None, typer.Option(help="What to put after the name; _x4 by default.", rich_help_panel=NAMING)
]
Prefix = Annotated[str, typer.Option(help="What to put before the name.", rich_help_panel=NAMING)]
Name = Annotated[
    str | None,
    typer.Option(help='The whole name, as "{stem}_{model}_x{scale}".', rich_help_panel=NAMING),
]
Flat = Annotated[
    bool,
    typer.Option("--flat", help="All into one folder; else as in the input's tree.", rich_help_panel=NAMING),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="png, jpg, webp, tif ...; the input's by default.",
        rich_help_panel=FORMAT,
        autocompletion=completion.formats,
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Of JPEG, WebP, AVIF; 90 or 95 by default.", rich_help_panel=FORMAT),
]
Lossless = Annotated[bool, typer.Option("--lossless", help="WebP without loss.", rich_help_panel=FORMAT)]
Subsampling = Annotated[
    str | None,
    typer.Option(metavar="RATIO", help="4:4:4, 4:2:2 or 4:2:0, of JPEG and AVIF.", rich_help_panel=FORMAT),
]
Depth = Annotated[
    int | None,
    typer.Option(help="Bits: 1, 8, 16, or 32 for float; the input's by default.", rich_help_panel=FORMAT),
]
Strip = Annotated[
    bool,
    typer.Option("--strip", help="Leave out EXIF, XMP, text and how it was made.", rich_help_panel=FORMAT),
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Folders with all that is below.", rich_help_panel=BATCH)
]
FilesFrom = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Inputs listed in a file, or - for stdin.", rich_help_panel=BATCH),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Leave outputs made of the same content with the same settings.",
        rich_help_panel=BATCH,
    ),
]
Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Wait in folders for new images, until Ctrl-C; leaves what is done as --skip-existing does.",
        rich_help_panel=BATCH,
    ),
]
JobName = Annotated[
    str | None,
    typer.Option(
        "--job",
        metavar="NAME",
        help="Keep on disk what is done, and go on with it after any crash; a name, or a file.db.",
        rich_help_panel=BATCH,
        autocompletion=completion.jobs,
    ),
]
Rescan = Annotated[
    bool, typer.Option("--rescan", help="Look for what is new since --job was begun.", rich_help_panel=BATCH)
]
MaxPixels = Annotated[
    int,
    typer.Option(min=1, help="Refuse inputs with more pixels.", rich_help_panel=BATCH),
]
JsonLines = Annotated[
    bool,
    typer.Option(
        "--json", help="A JSON record per image on stdout, events on stderr.", rich_help_panel=BATCH
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.", rich_help_panel=BATCH)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.", rich_help_panel=BATCH)]
Scales = Annotated[list[float], typer.Option("--scale", "-x", help="Scale to test, any number; may repeat.")]
CompareScale = Annotated[float, typer.Option("--scale", "-x", help="How many times larger, any number.")]
ExportScale = Annotated[int, typer.Option("--scale", "-x", help="How many times larger.")]
TrainScale = Annotated[int, typer.Option("--scale", "-x", help="Scale to train for.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help=f"Network or interpolator, {DEFAULT_MODEL} by default; `sr models` lists them.",
        autocompletion=completion.models,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", help="Network or interpolator; may repeat.", autocompletion=completion.models
    ),
]
Weights = Annotated[
    list[Path] | None, typer.Option("--weights", "-w", help="Weight file of any maker; may repeat.")
]
OneWeights = Annotated[
    Path | None,
    typer.Option("--weights", "-w", help="Weight file of any maker, instead of the model's own."),
]
Arch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        help="Network that --weights is for, where the file does not tell.",
        autocompletion=completion.archs,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1 or mps; the fastest by default.", autocompletion=completion.devices),
]
Devices = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="cpu, cuda, cuda:1 or mps; several as cuda:0,cuda:1, or all; the fastest by default.",
        autocompletion=completion.devices,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes side by side, which share cores or GPUs; one for each device by default.",
        rich_help_panel=BATCH,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="By a Ray cluster: auto for the one this machine is in, local for a new one here, or HOST:PORT.",
        rich_help_panel=BATCH,
    ),
]
Runtime = Annotated[
    Literal["auto", "torch", "ncnn"],
    typer.Option(help="What runs networks; auto is ncnn on a CPU, and torch for what ncnn can't run."),
]
Tile = Annotated[int, typer.Option(min=16, help="Tile side in input pixels; less needs less memory.")]
Vram = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Take no more of a GPU's memory than this, as 6G.")
]
SelfEnsemble = Annotated[
    bool, typer.Option("--self-ensemble", help="Mean of 8 orientations: better, 8 times slower.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of all that is drawn at random.", rich_help_panel=UNTRAINED)]
Within = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="As 30s or 2m: the best model that does all by then; for each image, if a method is named.",
    ),
]
BlurKernel = Annotated[
    str | None,
    typer.Option(
        "--kernel",
        metavar="auto|FILE",
        help="What blurred the image: a .npy, an image or a text of numbers; auto estimates it.",
        rich_help_panel=UNTRAINED,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only say what would be done, and how long and how much memory it takes."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace output files that exist.")]
Consistent = Annotated[
    bool, typer.Option("--consistent", help="Change the result so that reduced again it is the input.")
]
Strength = Annotated[float, typer.Option(help="Between bicubic, 0, and the network, 1.")]
ColorFix = Annotated[bool, typer.Option("--color-fix", help="Take the coarse colours of the input.")]
Uncertainty = Annotated[
    Path | None,
    typer.Option(help="Where 8 orientations differ, as a map; white is 25 levels. Of one image."),
]
Stream = Annotated[
    bool | None,
    typer.Option(
        "--stream/--no-stream",
        help="Hold few rows of the picture at a time; by default from 4 megapixels on.",
        show_default=False,
    ),
]
