"""Training curves: the loss, by term, and PSNR over steps, from the logs of one or more runs."""

from itertools import chain
from pathlib import Path
from typing import Any

from srcli.errors import SrError
from srcli.storage.files import replace_atomically
from srcli.storage.json_text import parse_json


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the validations that `sr train` logged, in order, without lines that were cut off."""
    entries = []
    for line in path.read_text("utf-8").splitlines():
        try:
            entries.append(parse_json(line))
        except ValueError:
            continue
    return entries


def find_score(entry: dict[str, Any]) -> float:
    """Return the validation of a line of a log in dB: PSNR-Y, or PSNR against a teacher's pictures."""
    score = entry["psnr_y"] if "psnr_y" in entry else entry["psnr_teacher"]
    return float(score)


def plot_curves(logs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Write a picture with the curves of each log, given by name. Raises `SrError` without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SrError("curves need matplotlib", "`pip install 'sr-cli[plots]'`") from error
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, log in logs.items():
        steps = [entry["step"] for entry in log]
        for term in dict.fromkeys(chain.from_iterable(entry.get("terms", {"loss": 0}) for entry in log)):
            values = [entry.get("terms", entry).get(term) for entry in log]
            left.plot(steps, values, marker=".", label=f"{name} {term}".strip())
        right.plot(steps, [find_score(entry) for entry in log], marker=".", label=name or "network")
        bicubic = log[-1].get("bicubic") if log else None
        if bicubic:
            right.axhline(bicubic, linestyle="--", color="grey", label=f"{name} bicubic".strip())
    left.set(xlabel="step", title="loss", yscale="log")
    right.set(xlabel="step", title="PSNR-Y of the validation images, dB")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    with replace_atomically(path) as temporary:
        figure.savefig(temporary, dpi=100)
