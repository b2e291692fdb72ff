"""XMP: what depends on the size is replaced, everything else stays to the byte, and no text takes long."""

import time

import pytest

from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.metadata.provenance import Record, add_record, read_record
from srcli.imaging.metadata.xmp import MAX_BYTES, scale_xmp

_HEAD = b'<?xpacket begin="\xef\xbb\xbf"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n<rdf:RDF>'
_TAIL = b"</rdf:RDF></x:xmpmeta>\n   \n<?xpacket end='w'?>"
_RECORD = Record("1", "m", "x2", "1x1", "a", "b")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<a tiff:Orientation='6' b=\"1 > 0\"/>", b"<a tiff:Orientation='1' b=\"1 > 0\"/>"),
        (
            b'<a b="tiff:Orientation=6" tiff:ImageWidth = "8"/>',
            b'<a b="tiff:Orientation=6" tiff:ImageWidth = "20"/>',
        ),
        (
            b"<exif:PixelYDimension> 6\n</exif:PixelYDimension>",
            b"<exif:PixelYDimension>10</exif:PixelYDimension>",
        ),
        (b"<tiff:Orientation/>", b"<tiff:Orientation/>"),
        (b"<tiff:Orientation>six</tiff:Orientation>", b"<tiff:Orientation>six</tiff:Orientation>"),
        (
            b"<b/><xmp:Thumbnails a='>'><tiff:ImageWidth>5</tiff:ImageWidth></xmp:Thumbnails ><c/>",
            b"<b/><c/>",
        ),
        (b"<xmp:Thumbnails/><c/>", b"<c/>"),
        (
            b"<!-- <tiff:Orientation>6</tiff:Orientation> -->",
            b"<!-- <tiff:Orientation>6</tiff:Orientation> -->",
        ),
    ],
)
def test_only_what_depends_on_the_size_changes(before: bytes, after: bytes) -> None:
    assert scale_xmp(_HEAD + before + _TAIL + b"\0\0", (20, 10)) == _HEAD + after + _TAIL + b"\0\0"


def test_a_damaged_packet_is_changed_up_to_the_damage() -> None:
    text = _HEAD + b"<tiff:Orientation>6</tiff:Orientation></wrong><tiff:ImageWidth>6</tiff:ImageWidth>"
    assert scale_xmp(text, (20, 10)) == text.replace(b"Orientation>6", b"Orientation>1")


def test_entities_are_not_expanded() -> None:
    bomb = b"<!DOCTYPE a [<!ENTITY b 'cccccccc'><!ENTITY d '&b;&b;&b;&b;'>]><a tiff:Orientation='6'>&d;</a>"
    assert scale_xmp(bomb, (20, 10)) == bomb


def test_a_packet_that_is_too_large_is_not_kept() -> None:
    assert scale_xmp(b" " * (MAX_BYTES + 1), (20, 10)) is None


_TEXTS = {
    "open thumbnails": b"<a>" + b"<xmp:Thumbnails>" * 60_000,
    "empty thumbnails": b"<a>" + b"<xmp:Thumbnails/>" * 60_000 + b"</a>",
    "nested thumbnails": b"<xmp:Thumbnails>" * 30_000 + b"</xmp:Thumbnails>" * 30_000,
    "nested numbers": b"<tiff:Orientation>" * 30_000 + b"</tiff:Orientation>" * 30_000,
    "spaces": b"<a tiff:Orientation" + b" " * 900_000 + b"='6'/>",
    "attributes": b"<a " + b" ".join(b"a%d='>'" % k for k in range(60_000)) + b" tiff:Orientation='6'/>",
    "records": b'<rdf:Description rdf:about="" xmlns:sr="urn:sr-cli:provenance:1" sr:record="' * 12_000,
    "comments": b"<!--" * 200_000,
    "lines": b"sr: {" * 180_000,
    "short lines": b"sr: {\n" * 150_000,
}  # fmt: skip


@pytest.mark.parametrize("name", _TEXTS)
def test_the_time_grows_linearly(name: str) -> None:
    text, start = _TEXTS[name], time.process_time()
    scale_xmp(text, (20, 10))
    metadata = Metadata(xmp=text, comment=text)
    assert read_record(metadata) is None
    add_record(metadata, _RECORD, ("xmp",))
    add_record(metadata, _RECORD, ("comment",))
    assert time.process_time() - start < 5


@pytest.mark.parametrize("comment", [b"", b"mine", b"mine\n\nof two lines\n", b"sr: nothing"])
def test_a_comment_stays_beside_the_record(comment: bytes) -> None:
    once = add_record(Metadata(comment=comment), _RECORD, ("comment",))
    twice = add_record(once, _RECORD, ("comment",))
    assert once == twice
    assert read_record(twice) == _RECORD
    assert (twice.comment or b"").startswith(comment)
