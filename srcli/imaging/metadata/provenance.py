"""The record of how an image was made, written into it as XMP, or as a comment in formats without XMP.

Source: XMP specification part 1, section 7; the record is one property in a namespace of our own.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, field, fields, replace
from typing import Annotated

from srcli.dataclass import dataclass
from srcli.imaging.metadata.fields import Metadata
from srcli.storage.json_text import parse_json

_NAMESPACE = "urn:sr-cli:provenance:1"
# Like `html.escape`, whose module takes longer to import than all the rest of this one.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
_ELEMENT = '<rdf:Description rdf:about="" xmlns:sr="{namespace}" sr:record="{record}"/>'
_PACKET = (
    '<?xpacket begin="\N{ZERO WIDTH NO-BREAK SPACE}" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
_START, _END = _ELEMENT.format(namespace=_NAMESPACE, record="|").encode().split(b"|")
_COMMENT = b"sr: {"
# `sr` writes no longer record.
_MAX_RECORD = 2**20


@dataclass(frozen=True)
class Record:
    """A record of how an image was made."""

    version: Annotated[str, "version of sr"]
    model: Annotated[str, "model that upscaled it"]
    scale: Annotated[str, "scale or size that was asked for"]
    size: Annotated[str, "size of the source, as 80x60"]
    source: Annotated[str, "SHA-256 of the source file"]
    settings: Annotated[str, "SHA-256 of all options that decide how the image looks"]
    weights: Annotated[dict[str, str], "SHA-256 of the weight files, by name"] = field(default_factory=dict)
    where: Annotated[str, "device and library that ran the model"] = ""
    tile: Annotated[int, "side of the tiles in pixels"] = 0
    options: Annotated[dict[str, str], "other options, by name"] = field(default_factory=dict)


def add_record(metadata: Metadata, record: Record, kinds: Collection[str]) -> Metadata:
    """Add a record in place of an older one, if XMP or comments are among the `kinds` a format holds."""
    text = json.dumps(asdict(record), separators=(",", ":"), sort_keys=True)
    if "xmp" in kinds:
        return replace(metadata, xmp=_add_to_packet(metadata.xmp, text))
    if "comment" in kinds:
        before = _drop_lines(metadata.comment or b"")
        return replace(metadata, comment=before + (b"\n" if before else b"") + b"sr: " + text.encode())
    return metadata


def _add_to_packet(xmp: bytes | None, text: str) -> bytes:
    packet = _drop_elements(xmp or _PACKET.encode())
    element = _ELEMENT.format(namespace=_NAMESPACE, record=text.translate(_ESCAPES)).encode()
    # A packet without this end tag stays as it is: the data of a user is worth more than our record.
    return packet.replace(b"</rdf:RDF>", element + b"</rdf:RDF>", 1)


def _find_element(xmp: bytes) -> bytes:
    """Return the text of the first record in a packet, or an empty string."""
    start = xmp.find(_START)
    stop = xmp.find(b'"', start + len(_START), start + len(_START) + _MAX_RECORD) if start >= 0 else -1
    return xmp[start + len(_START) : stop] if xmp.startswith(_END, max(stop, 0)) else b""


def _drop_elements(xmp: bytes) -> bytes:
    """Return a packet without records."""
    first, *others = xmp.split(_START)
    kept = [first]
    for other in others:
        _, end, rest = other.partition(b'"')
        is_whole = (end + rest).startswith(_END)
        kept.append((end + rest)[len(_END) :] if is_whole else _START + other)
    return b"".join(kept)


def _find_in_line(line: bytes) -> bytes:
    """Return the record in a line of a comment, or an empty string."""
    start, stop = line.find(_COMMENT), line.rfind(b"}")
    at = start + len(_COMMENT) - 1
    return line[at : stop + 1] if start >= 0 and at < stop <= at + _MAX_RECORD else b""


def _drop_lines(comment: bytes) -> bytes:
    """Return a comment without records and the lines that they leave empty."""
    kept = []
    for line in comment.split(b"\n"):
        record = _find_in_line(line)
        rest = line.replace(_COMMENT[:-1] + record, b"") if record else line
        kept += [rest] if rest or not record else []
    return b"\n".join(kept)


def read_record(metadata: Metadata) -> Record | None:
    """Return the record in the metadata of a file, or None if it has no readable one."""
    element, text = _find_element(metadata.xmp or b""), ""
    if element:
        from html import unescape

        text = unescape(element.decode("utf-8", "replace"))
    if not text:
        lines = map(_find_in_line, (metadata.comment or b"").split(b"\n"))
        text = next(filter(None, lines), b"").decode("utf-8", "replace")
    try:
        values = parse_json(text)
        record = Record(**{f.name: values[f.name] for f in fields(Record)})
    except (ValueError, LookupError, TypeError):
        return None
    return record if _has_expected_types(record) else None


def _has_expected_types(record: Record) -> bool:
    """Return whether a record that anyone may have written has the types that `Record` states."""
    tables = (record.weights, record.options)
    if type(record.tile) is not int or not all(isinstance(table, dict) for table in tables):
        return False
    texts = (record.version, record.model, record.scale, record.size, record.source, record.settings)
    inner = (value for table in tables for value in table.values())
    return all(isinstance(text, str) for text in (*texts, record.where, *inner))
