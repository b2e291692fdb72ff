"""Faults stay with the file that has them: records, links, folders, packages, memory, bugs."""

import csv
import dataclasses
import errno
import json
import os
import re
import shutil
import struct
import threading
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


# Clears the screen, changes the title, moves up a line, deletes by backspace, turns the text around.
_EVIL = "\x1b[2J\x1b]0;owned\x07\x1b[1A\x08\x9b1m\r\n\u202egnp.exe"
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


def test_names_of_files_cannot_control_the_terminal(photo: Path, in_tmp: Path, sr: Run) -> None:
    folder = in_tmp / "in"
    folder.mkdir()
    bad, damaged = folder / f"a{_EVIL}.png", folder / f"b{_EVIL}[bold]x.png"
    bad.write_bytes(photo.read_bytes())
    damaged.write_bytes(b"no image")
    commands = [
        ("upscale", folder, *BICUBIC_X2, "-o", in_tmp / "out", "-v"),
        ("upscale", folder, *BICUBIC_X2, "-o", in_tmp / "job", "--job", "mine"),
        ("jobs", "show", "mine"),
        ("upscale", bad, "-m", "bicubic", "--dry-run"),
        ("info", bad, damaged),
        ("info", "--json", bad, damaged),
        ("bench", "-d", folder, "-m", "bicubic", "--keep-going"),
        ("compare", bad, "-m", "bicubic", "-m", "lanczos", "-x2", "-o", in_tmp / f"c{_EVIL}.png"),
        ("upscale", f"no {_EVIL}"),
        ("upscale", "-m", _EVIL, bad),
        ("models", "path", _EVIL),
    ]
    for command in commands:
        done = sr(*command)
        assert not _CONTROLS.search(done.out + done.err), command
        lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == done.err.count("error: "), command
        assert "gnp.exe" in done.out + done.err or command[0] in ("bench", "jobs")


def test_a_record_in_an_image_cannot_control_the_terminal(photo: Path, tmp_path: Path, sr: Run) -> None:
    assert sr("upscale", photo, *BICUBIC_X2, "-o", tmp_path / "b.png").code == 0
    record = read_record(read_info(tmp_path / "b.png").metadata)
    assert record
    assert sr("upscale", photo, *BICUBIC_X2, "-o", tmp_path / "a.png", "--strip").code == 0
    evil = dataclasses.asdict(record) | {
        "model": f"bicubic{_EVIL}",
        "where": _EVIL,
        "options": {_EVIL: _EVIL},
    }
    write_record(tmp_path / "a.png", json.dumps(evil).replace('"', "&quot;").encode())
    done = sr("info", tmp_path / "a.png")
    assert done.code == 0
    assert "bicubic\\x1b[2J" in done.out.replace("\n", "").replace(" ", "")
    assert not _CONTROLS.search(done.out)


def write_results(path: Path) -> None:
    """Write a result file whose names attack whatever shows them."""
    row = {"dataset": "../../x", "scale": 2, "images": 2, "psnr_y": 30.0, "ssim_y": 0.9, "params": 0}
    methods = ["=cmd|' /C calc'!A0", f"[red]{_EVIL}|<script>alert(1)</script>"]
    rows = [row | {"method": m, "seconds_per_image": 0.1 * k} for k, m in enumerate(methods, 1)]
    images = [
        {"dataset": "../../x", "scale": 2, "method": m, "image": f"{k}<script>{_EVIL}"}
        | {"psnr_y": 30.0 + k, "ssim_y": 0.9, "seconds": 1.0}
        for m in methods
        for k in range(3)
    ]
    failures = [
        {"dataset": "../../x", "scale": 2, "method": "", "image": _EVIL, "reason": f"<img src=x>|{_EVIL}"}
    ]
    raw = {"protocol": f"y-crop{_EVIL}[bold]", "rows": rows, "images": images, "failures": failures}
    path.write_text(json.dumps(raw))


def test_a_result_file_cannot_control_what_shows_it(in_tmp: Path, sr: Run) -> None:
    work = in_tmp / "a" / "b" / "c"
    work.mkdir(parents=True)
    write_results(work / "r.json")
    outputs = ("--csv", work / "r.csv", "--html", work / "r.html", "--latex", work / "r.tex")
    done = sr("bench", "--from", work / "r.json", *outputs, "--plots", work / "plots")
    assert done.code in (0, 3), done.err
    assert not _CONTROLS.search(done.out + done.err)
    assert "[red]" in done.out
    assert {path.name for path in in_tmp.iterdir()} == {"a"}
    assert {path.name for path in (in_tmp / "a").iterdir()} == {"b"}
    assert all(path.name.startswith("x-x2-") for path in (work / "plots").iterdir())
    rows = list(csv.reader((work / "r.csv").read_text().splitlines()))
    assert not any(cell[:1] in ("=", "@", "+") for row in rows for cell in row)
    page = (work / "r.html").read_text()
    assert "<script>alert" not in page
    assert "<img src=x>" not in page
    markdown = sr("bench", "--from", work / "r.json", "--markdown").out
    assert "<script>" not in markdown
    assert not _CONTROLS.search(markdown)


def test_links_and_folders_that_cannot_be_followed_fail_alone(in_tmp: Path, photo: Path, sr: Run) -> None:
    for name in ("a.png", "sub/b.png", "locked/c.png"):
        (in_tmp / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (in_tmp / "in" / name).write_bytes(photo.read_bytes())
    (in_tmp / "in" / "loop.png").symlink_to("loop.png")
    (in_tmp / "in" / "self").symlink_to(".")
    for job in ((), ("--job", "mine")):
        done = sr("upscale", "in", *BICUBIC_X2, "-r", "-o", f"out{len(job)}", *job)
        assert done.code == 3
        assert "loop.png does not exist" in done.err
        assert len(list((in_tmp / f"out{len(job)}").rglob("*.png"))) == 3


@pytest.mark.parametrize("job", [(), ("--job", "mine")])
def test_a_subfolder_that_cannot_be_listed_is_named_and_counted(
    job: tuple[str, ...], in_tmp: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    for name in ("a.png", "locked/b.png"):
        (in_tmp / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (in_tmp / "in" / name).write_bytes(photo.read_bytes())
    scan = os.scandir

    def refuse(path: Path) -> object:  # root may list everything
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(path)

    command = ("upscale", "in", *BICUBIC_X2, "-r", "-o", "out", *job)
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        done = sr(*command)
    assert done.code == 3
    assert "error: cannot list" in done.err
    assert "locked: Permission denied" in done.err
    assert [path.name for path in (in_tmp / "out").rglob("*.png")] == ["a_x2.png"]
    again = sr(*command, *(() if job else ("--skip-existing",)))
    assert again.code == 0, again.err
    assert len(list((in_tmp / "out").rglob("*.png"))) == 2


def test_a_folder_that_is_too_deep_is_named(in_tmp: Path, photo: Path, sr: Run) -> None:
    (in_tmp / "in").mkdir()
    (in_tmp / "in" / "a.png").write_bytes(photo.read_bytes())
    current = os.open("in", os.O_RDONLY)
    for _ in range(45):
        os.mkdir("d" * 100, dir_fd=current)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = below
    os.close(current)
    done = sr("upscale", "in", *BICUBIC_X2, "-r")
    shutil.rmtree("in")
    assert done.code == 3
    assert "File name too long" in done.err
    assert max(map(len, done.err.splitlines())) < 500
    assert (in_tmp / "in_x2" / "a_x2.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--name", "{stem:d}"), "--name has no field {stem:d}"),
        (("--name", "{stem!r}"), "--name has no field {stem!r}"),
        (("--name", "{stem:>999999999}"), "--name has no field"),
        (("--name", "{stem.__class__}"), "--name has no field"),
        (("--name", "{stem[0]}"), "--name has no field"),
        (("--name", "{}"), "--name has no field {}"),
        (("--name", "{stem"), "a single {"),
        (("--name", "stem}"), "a single }"),
        (("--name", ""), "has no file name"),
        (("--name", "{stem}/"), "has no file name"),
        (("--name", "../{stem}"), "leaves the output folder"),
        (("--name", "a/../../{stem}"), "leaves the output folder"),
        (("--name", "/tmp/{stem}"), "leaves the output folder"),
        (("--name", ".."), "leaves the output folder"),
        (("--name", "a\0b"), "NUL"),
        (("--name", "x" * 5000), "--name has a name of 5000 bytes"),
        (("--name", "a/{stem}" + "é" * 200), "--name has a name of 401 bytes"),
        (("--prefix", "x" * 256), "--prefix has a name of 256 bytes"),
        (("--suffix", "x" * 256), "--suffix has a name of 256 bytes"),
        (("--prefix", "../"), "--prefix takes part of a name"),
        (("--prefix", "/etc/"), "--prefix takes part of a name"),
        (("--suffix", "/../../x"), "--suffix takes part of a name"),
    ],
)  # fmt: skip
def test_names_stay_in_the_output_folder(
    arguments: tuple[str, ...], message: str, photo: Path, in_tmp: Path, sr: Run
) -> None:
    done = sr("upscale", photo, *BICUBIC_X2, "-o", in_tmp / "a" / "b" / "out", *arguments)
    assert done.code == 2, done.out
    assert message in done.err
    assert not (in_tmp / "a").exists()


def test_an_image_goes_into_what_is_no_file(photo: Path, in_tmp: Path, sr: Run) -> None:
    command = ("upscale", photo, *BICUBIC_X2, "--format", "png", "-o")
    assert sr(*command, "plain.png").code == 0
    os.mkfifo("fifo")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(Path("fifo").read_bytes()))
    reader.start()
    assert sr(*command, "fifo").code == 0
    reader.join()
    assert Path("fifo").is_fifo()
    with open("opened", "wb") as opened:
        done = sr(*command, f"/dev/fd/{opened.fileno()}")
    assert done.code == 0, done.err
    assert received == [Path("opened").read_bytes()] == [Path("plain.png").read_bytes()]
    assert sr(*command, "fifo", "--job", "a").code == 2


def test_braces_and_dots_in_names(photo: Path, in_tmp: Path, sr: Run) -> None:
    odd = in_tmp / "in" / "...png"
    odd.parent.mkdir()
    odd.write_bytes(photo.read_bytes())
    assert sr("upscale", odd, *BICUBIC_X2, "-o", "out", "--name", "{{{model}}}/{stem}/{scale}").code == 0
    assert [str(path.relative_to(in_tmp)) for path in (in_tmp / "out").rglob("*.png")] == [
        "out/{bicubic}/_/2.png"
    ]
