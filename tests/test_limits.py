"""Faults stay with the file that has them: records, links, folders, packages, memory, bugs."""

import json
import os
import struct
import zlib
from pathlib import Path

import pytest

from helpers.command import BICUBIC_X2, Run
from helpers.images import write_noise_images
from srcli.imaging.codecs.reading import read_info
from srcli.imaging.metadata.provenance import read_record
from srcli.upscaling.pipeline import Pipeline

_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:sr="urn:sr-cli:provenance:1" sr:record="%s"/></rdf:RDF></x:xmpmeta>'
)
_BAD_RECORDS = {
    "not UTF-8": b"\xff\xfe\x80",
    "nested lists": b"[" * 100_000,
    "nested objects": b"{&quot;a&quot;:" * 100_000,
    "a long number": b"1" * 10_000,
    "wrong types": b"{&quot;version&quot;: [1], &quot;weights&quot;: 3}",
    "a list of weights": json.dumps(
        {"version": "1", "model": "m", "scale": "x2", "size": "1x1", "source": "a", "settings": "b"}
        | {"weights": [1], "where": "", "tile": 1, "options": {}}
    ).replace('"', "&quot;").encode(),
}  # fmt: skip


def write_record(path: Path, record: bytes) -> None:
    """Put XMP with a record of ours into a PNG."""
    raw, chunk = path.read_bytes(), b"iTXt" + b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP % record
    path.write_bytes(
        raw[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + raw[33:]
    )


@pytest.mark.parametrize("kind", _BAD_RECORDS)
def test_a_damaged_record_of_an_output_is_no_record(kind: str, photo: Path, tmp_path: Path, sr: Run) -> None:
    out = tmp_path / "out"
    assert sr("upscale", photo, *BICUBIC_X2, "-o", out / "a.png", "--strip").code == 0
    write_record(out / "a.png", _BAD_RECORDS[kind])
    assert read_record(read_info(out / "a.png").metadata) is None
    assert sr("info", out / "a.png").code == 0
    done = sr("upscale", photo, *BICUBIC_X2, "-o", out / "a.png", "--skip-existing")
    assert done.code == 1
    assert "exists, made from another input" in done.err
    assert sr("upscale", photo, *BICUBIC_X2, "-o", out / "a.png", "--skip-existing", "--overwrite").code == 0


@pytest.mark.parametrize("note", [b"[" * 100_000, b"\xff", b"5", b"{}", b"[1, 2]", b"[1, 2, 3, 4]", b"null"])
def test_a_damaged_note_in_the_cache_is_no_note(note: bytes, photo: Path, tmp_path: Path, sr: Run) -> None:
    command = ("upscale", photo, *BICUBIC_X2, "-o", tmp_path / "a.bmp", "--skip-existing")
    assert sr(*command).code == 0
    assert "is up to date" in sr(*command).out
    (path,) = Path(os.environ["SR_CACHE"], "done").iterdir()
    path.write_bytes(note)
    done = sr(*command)
    assert done.code == 1
    assert "exists, made from another input" in done.err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ZeroDivisionError("odd\nfile"), "b.png failed unexpectedly (ZeroDivisionError: odd file)"),
        (RecursionError("too deep"), "b.png failed unexpectedly (RecursionError: too deep)"),
        (MemoryError(), "not enough memory for"),
        (ModuleNotFoundError("No module", name="defusedxml"), "needs the package defusedxml"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("job", [(), ("--job", "mine")])
def test_whatever_a_file_raises_ends_only_this_file(
    error: Exception,
    message: str,
    job: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sr: Run,
) -> None:
    folder = write_noise_images(tmp_path / "in", 3, 20)
    names = sorted(path.name for path in folder.iterdir())
    (folder / names[1]).rename(folder / "b.png")
    run = Pipeline.run
    calls = []

    def fail_once(self: Pipeline, frame: object) -> object:
        calls.append(frame)
        if len(calls) == 2:
            raise error
        return run(self, frame)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "run", fail_once)
    done = sr("upscale", folder, *BICUBIC_X2, "-o", tmp_path / "out", *job)
    assert done.code == 3
    assert len(calls) == 3
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert message.removeprefix("b.png ") in done.err
    assert "Traceback" not in done.err
    assert "1 of 3 failed" in done.err or "1 failed" in done.err


def test_debug_prints_where_an_error_was_raised(
    photo: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setenv("SR_DEBUG", "")
    monkeypatch.setattr(Pipeline, "run", fail)
    assert "Traceback" not in sr("upscale", photo, *BICUBIC_X2).err
    done = sr("--debug", "upscale", photo, *BICUBIC_X2)
    assert done.code == 1
    assert 'raise ZeroDivisionError("a bug")' in done.err
