"""The model card that is published with a weight file: what it is, how it was made, how it scores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srcli.archs import Spec
from srcli.bench import Results
from srcli.report import formatters
from srcli.report.escape import escape_markdown
from srcli.scales import ANY
from srcli.storage.files import replace_atomically
from srcli.storage.json_text import parse_json, read_json


@dataclass(frozen=True)
class Card:
    """A weight file and what is known about it; its training run is described by the files beside it.

    `licence`: an SPDX name; `data`: a description of the training images; `results`: scores by `sr bench`.
    """

    file: Path
    spec: Spec
    parameters: int
    header: dict[str, str]
    licence: str = "unknown"
    data: str = ""
    results: Results | None = None

    @property
    def curves(self) -> Path | None:
        """The training curves beside the file, if there are any."""
        path = self.file.with_name("curves.png")
        return path if path.is_file() else None


def render_card(card: Card) -> str:
    """Return the README.md of a model repository on the Hub."""
    from huggingface_hub import ModelCardData

    spec = card.spec
    metadata = ModelCardData(
        license=card.licence.lower(), pipeline_tag="image-to-image", tags=["super-resolution", spec.arch]
    )
    parts = [
        f"---\n{metadata.to_yaml()}\n---",
        f"# {card.file.stem}",
        f"Upscales images {_describe_scale(spec.scale)}: {spec}, {card.parameters:,} parameters.",
        f"```sh\nsr upscale photo.jpg -x{spec.scale or 2.7} --weights {card.file.name}\n```",
        f"## Training data\n{card.data or _describe_sources(card.file)}",
        _describe_training(card.header),
        f"![Loss and PSNR over the steps]({card.curves.name})" if card.curves else "",
        f"## Scores\n{_describe_scores(card)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_card(card: Card) -> Path:
    """Write the card as README.md beside the weight file, and return its path."""
    path = card.file.with_name("README.md")
    with replace_atomically(path) as temporary:
        temporary.write_text(render_card(card), "utf-8")
    return path


def _describe_sources(file: Path) -> str:
    """Name the images of the run that wrote the file; their licences are for its author to add."""
    try:
        sources = read_json(file.with_name("request.json"))["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return "Not stated."
    named = ", ".join(f"`{escape_markdown(str(source))}`" for source in sources)
    return f"The images in {named}. Their licences: not stated."


def _describe_scores(card: Card) -> str:
    if card.results:
        rows = tuple(row for row in card.results.rows if card.spec.scale in (row.scale, ANY))
        return formatters.format_markdown(replace(card.results, rows=rows))
    if "psnr_y" not in card.header:
        return "Not measured."
    bicubic = f", bicubic {card.header['bicubic']} dB" if "bicubic" in card.header else ""
    return f"PSNR-Y of the images that the run was validated on: {card.header['psnr_y']} dB{bicubic}."


def _describe_scale(scale: int) -> str:
    return "to any size" if scale == ANY else f"by a factor of {scale}"


def _describe_training(header: dict[str, str]) -> str:
    """Return the recipe that `sr train` wrote into the file's header, as a table; empty without one."""
    if "recipe" not in header:
        return ""
    rows = [
        f"| {escape_markdown(key)} | {escape_markdown(value)} |"
        for key, value in _list_fields(parse_json(header["recipe"]))
    ]
    note = f"The weights are those of step {header.get('step', '?')}."
    return "\n".join(["## Recipe", "| field | value |", "|---|---|", *rows, "", note])


def _list_fields(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and values as `sr train --set` takes them; nothing for a field that is empty."""
    for key, value in fields.items():
        if isinstance(value, dict):
            yield from _list_fields(value, f"{prefix}{key}.")
        elif value not in (None, "", []):
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            yield prefix + key, text
