"""The model card that is published with a weight file: what it is, how it was made, how it scores."""

import json
from dataclasses import replace
from pathlib import Path

from srcli.archs import Spec
from srcli.bench import Results
from srcli.report import formatters
from srcli.report.escape import escape_markdown
from srcli.scales import ANY


def render_card(
    file: str,
    spec: Spec,
    parameters: int,
    header: dict[str, str],
    licence: str,
    data: str,
    results: Results | None,
) -> str:
    """Return the README.md of a model repository on the Hub."""
    from huggingface_hub import ModelCardData

    measured = (
        replace(results, rows=tuple(r for r in results.rows if spec.scale in (r.scale, ANY)))
        if results
        else None
    )

    metadata = ModelCardData(
        license=licence.lower(), pipeline_tag="image-to-image", tags=["super-resolution", spec.arch]
    )
    parts = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {Path(file).stem}",
        f"Upscales images {_describe_scale(spec.scale)}: {spec}, {parameters:,} parameters.",
        f"```sh\nsr upscale photo.jpg -x{spec.scale or 2.7} --weights {file}\n```",
        f"## Training data\n{data}",
        _describe_training(header),
        "## Scores\n" + (formatters.format_markdown(measured) if measured else "Not measured."),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _describe_scale(scale: int) -> str:
    return "to any size" if scale == ANY else f"by a factor of {scale}"


def _describe_training(header: dict[str, str]) -> str:
    """Return the recipe that `sr train` wrote into the file's header, as a table; empty without one."""
    if "recipe" not in header:
        return ""
    rows = [
        f"| {escape_markdown(key)} | {escape_markdown(str(value))} |"
        for key, value in json.loads(header["recipe"]).items()
    ]
    note = f"The weights are those of step {header.get('step', '?')}."
    return "\n".join(["## Recipe", "| field | value |", "|---|---|", *rows, "", note])
