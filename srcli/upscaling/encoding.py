"""The encoding of an output: as its source is coded, if the format stays; and what the output loses."""

from dataclasses import replace

from srcli.dataclass import dataclass
from srcli.imaging.codecs.base import Codec, Coding, EncodingOptions
from srcli.imaging.metadata.fields import TEXT_CHUNKS, Metadata

_KINDS = {
    "icc": "colour profile", "exif": "EXIF", "xmp": "XMP", "dpi": "resolution", "comment": "comment",
    "cicp": "colour code points",
}  # fmt: skip


# What programs write that know nothing of the size on paper.
_DEFAULT_DPI = (72, 96)


@dataclass(frozen=True)
class EncodingChoice:
    """The encoding of an output, with notes on what is unusual and from the source, and on what is lost."""

    encoding: EncodingOptions
    notes: tuple[str, ...] = ()


def choose_encoding(source: Codec, coding: Coding, target: Codec, asked: EncodingOptions) -> EncodingChoice:
    """Return the encoding for a file of `target`, made from one of `source` that is coded like `coding`.

    If both are one format, what `asked` leaves open is as in the source.
    """
    chosen = asked
    taken: list[str] = []
    if source.name == target.name:
        if coding.is_lossless and target.has_lossless and asked.quality is None:
            chosen = replace(chosen, lossless=True)
            taken += [] if asked.lossless else ["lossless"]
        if coding.quality and asked.quality is None and target.default_quality and not chosen.lossless:
            chosen = replace(chosen, quality=coding.quality)
            taken += [f"quality {coding.quality}"] if coding.quality != target.default_quality else []
        if coding.subsampling and asked.subsampling is None and target.default_subsampling:
            chosen = replace(chosen, subsampling=coding.subsampling)
            taken += [coding.subsampling] if coding.subsampling != target.default_subsampling else []
    notes = [f"{' and '.join(taken)} as in the input"] if taken else []
    return EncodingChoice(chosen, (*notes, *_list_coding_losses(coding, target, chosen)))


def _list_coding_losses(coding: Coding, target: Codec, chosen: EncodingOptions) -> list[str]:
    losses = []
    is_lossy = target.default_quality and not chosen.lossless
    if coding.is_lossless and is_lossy:
        losses.append(f"lossless -> lossy, quality {chosen.quality or target.default_quality}")
    if coding.quality and chosen.quality and chosen.quality < coding.quality:
        losses.append(f"quality {coding.quality} -> {chosen.quality}")
    subsampling = chosen.subsampling or target.default_subsampling
    if coding.subsampling and target.default_subsampling and subsampling < coding.subsampling:  # as text
        losses.append(f"{coding.subsampling} -> {subsampling}")
    return losses


def describe_lost_metadata(metadata: Metadata, target: Codec) -> str:
    """Describe the metadata that the format of `target` cannot hold, or return an empty string."""
    names = []
    for kind in target.list_lost_metadata(metadata):
        if kind == "chunks":
            names += ["text"] if any(name in TEXT_CHUNKS for name, _ in metadata.chunks) else []
        elif kind != "dpi" or not metadata.dpi or metadata.dpi[0] not in _DEFAULT_DPI:
            names.append(_KINDS[kind])
    return f"{', '.join(names)} not kept" if names else ""
