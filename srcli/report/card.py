"""The model card that goes to the Hub with a weight file: what it is, how it was made, how well it does."""

import json
from dataclasses import replace
from pathlib import Path

from srcli.archs import Spec
from srcli.bench import Results
from srcli.report import formatters
from srcli.scales import ANY


def card(
    file: str,
    spec: Spec,
    parameters: int,
    header: dict[str, str],
    licence: str,
    data: str,
    results: Results | None,
) -> str:
    """README.md of a model repository, in the Hub's form."""
    from huggingface_hub import ModelCardData

    measured = (
        replace(results, rows=tuple(r for r in results.rows if spec.scale in (r.scale, ANY)))
        if results
        else None
    )

    about = ModelCardData(
        license=licence.lower(), pipeline_tag="image-to-image", tags=["super-resolution", spec.arch]
    )
    parts = [
        f"---\n{about.to_yaml()}\n---",
        f"# {Path(file).stem}",
        f"Enlarges images {_how_far(spec.scale)}: {spec}, {parameters:,} parameters.",
        f"```sh\nsr upscale photo.jpg -x{spec.scale or 2.7} --weights {file}\n```",
        f"## Training data\n{data}",
        _training(header),
        "## Measured\n" + (formatters.format_markdown(measured) if measured else "Not measured."),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _how_far(scale: int) -> str:
    return "to any size" if scale == ANY else f"{scale} times"


def _training(header: dict[str, str]) -> str:
    """The recipe that `sr train` leaves in a file's header, as a table."""
    if "recipe" not in header:
        return ""
    rows = [f"| {key} | {value} |" for key, value in json.loads(header["recipe"]).items()]
    stopped = f"The weights are those of step {header.get('step', '?')}."
    return "\n".join(["## Recipe", "| field | value |", "|---|---|", *rows, "", stopped])
