"""`--watch`: what comes into a folder is done once it stops growing, and Ctrl-C ends it cleanly."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.command import BICUBIC_X2, Run, start_sr, wait_until
from srcli.batch.events import Event, FolderFailed
from srcli.batch.planning import Layout, check_watchable, scan_folders
from srcli.batch.watch import Watcher
from srcli.errors import DatasetError, SrError
from srcli.imaging.image import read_image
from srcli.upscaling.task import UpscaleTask


def iterate_tasks(
    scan: Callable[[], list[UpscaleTask]], rounds: int, errors: list[SrError] | None = None
) -> Iterator[UpscaleTask]:
    """Watch what `scan` returns until `should_stop` was asked `rounds` times, without much of a pause."""
    left = iter(range(rounds))

    def should_stop() -> bool:
        return next(left, None) is None

    def emit(event: Event) -> None:
        if isinstance(event, FolderFailed) and errors is not None:
            errors.append(event.error)

    return Watcher(scan, should_stop, emit, poll_seconds=0.02, settle_seconds=0.05).iterate_tasks()


def taken(folder: Path, rounds: int, **options: object) -> Iterator[str]:
    layout = Layout(**options)  # type: ignore[arg-type]
    return (job.source.name for job in iterate_tasks(lambda: scan_folders([folder], layout), rounds))


def test_each_file_is_taken_once_and_again_when_it_changes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    found = taken(tmp_path, 100)
    assert next(found) == "a.png"
    (tmp_path / "b.png").write_bytes(b"1")
    assert next(found) == "b.png"
    (tmp_path / "a.png").write_bytes(b"12")
    assert next(found) == "a.png"
    (tmp_path / "a.png").unlink()
    assert list(found) == []


def test_a_file_that_grows_is_left_alone(tmp_path: Path) -> None:
    ends: list[float] = []

    def grow() -> None:
        for _ in range(15):
            with (tmp_path / "a.png").open("ab") as file:
                file.write(b"more")
            time.sleep(0.02)
        ends.append(time.monotonic())

    writer = threading.Thread(target=grow)
    writer.start()
    assert next(taken(tmp_path, 1000)) == "a.png"
    assert ends
    assert time.monotonic() - ends[0] > 0.02
    writer.join()


def test_outputs_and_files_in_the_making_are_no_inputs(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in (".sr-123.png", "a.png.part", "notes.txt", "sub/b.png"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a_x4.png").write_bytes(b"1")
    assert list(taken(tmp_path, 12, recursive=True, output=tmp_path / "out")) == ["b.png"]
    source, made = tmp_path / "sub" / "b.png", tmp_path / "out" / "a_x4.png"
    jobs = [UpscaleTask(source, made), UpscaleTask(made, tmp_path / "again.png")]
    assert [job.source for job in iterate_tasks(lambda: jobs, 12)] == [source]


def test_a_folder_that_goes_is_waited_for(tmp_path: Path) -> None:
    folder, trouble = tmp_path / "in", list[SrError]()
    folder.mkdir()
    (folder / "a.png").write_bytes(b"1")
    found = iterate_tasks(lambda: scan_folders([folder], Layout()), 200, trouble)
    assert next(found).source.name == "a.png"
    shutil.rmtree(folder)
    threading.Timer(0.1, lambda: (folder.mkdir(), (folder / "b.png").write_bytes(b"1"))).start()
    assert next(found).source.name == "b.png"
    assert isinstance(trouble[0], DatasetError)


BAD = [
    (["photo.png"], "--watch needs a folder; photo.png is a file"),
    (["-"], "--watch cannot be used with stdin or stdout"),
    (["missing"], "--watch needs a folder; missing does not exist"),
    (["in", "-o", "in"], "in is watched and cannot hold the outputs"),
    (["in", "-o", "one.png"], "one.png is one file, but a folder has many"),
    (["in", "--uncertainty", "map.png"], "--uncertainty writes one map"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_what_cannot_be_watched(
    arguments: list[str], message: str, photo: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    monkeypatch.chdir(photo.parent)
    Path("in").mkdir()
    done = sr("upscale", "--watch", *BICUBIC_X2, *arguments)
    assert done.code == 2
    assert message in done.err


def test_a_folder_within_the_outputs_may_be_watched(tmp_path: Path) -> None:
    check_watchable([tmp_path], Layout(output=tmp_path / "out"))


@pytest.mark.slow
def test_from_the_first_image_to_ctrl_c(photo: Path, tmp_path: Path) -> None:
    """One there before, one that comes in parts, one that is broken; the exit code is of the images."""
    folder, out = tmp_path / "in", tmp_path / "in_x2"
    folder.mkdir()
    shutil.copy(photo, folder / "a.png")
    process = start_sr("upscale", "--watch", folder, *BICUBIC_X2, "--json", cwd=tmp_path)
    wait_until((out / "a_x2.png").exists)
    whole = photo.read_bytes()
    with (folder / "b.png").open("wb") as file:
        for at in range(0, len(whole), len(whole) // 4):
            file.write(whole[at : at + len(whole) // 4])
            file.flush()
            os.fsync(file.fileno())
            time.sleep(0.4)
    (folder / "c.png").write_bytes(b"no image")
    wait_until((out / "b_x2.png").exists)
    time.sleep(0.6)
    process.send_signal(signal.SIGINT)
    told, err = process.communicate(timeout=60)
    records = [json.loads(line) for line in told.splitlines()]
    became = {Path(record["input"]).name: record["status"] for record in records}
    assert became == {"a.png": "done", "b.png": "done", "c.png": "failed"}
    assert len(records) == 3
    assert process.returncode == 3
    assert "Traceback" not in err
    assert json.loads(err.splitlines()[-1]) == {"event": "end", "jobs": 3, "failed": 1, "untried": 0}
    assert sorted(path.name for path in out.iterdir()) == ["a_x2.png", "b_x2.png"]
    assert read_image(out / "b_x2.png").size == (160, 120)


@pytest.mark.slow
def test_nothing_is_done_twice(photo: Path, tmp_path: Path) -> None:
    """Neither when it is started again, nor when a file is only touched; two of one output are told."""
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photo, folder / "a.png")
    for said in ("done", "skipped"):
        process = start_sr(
            "upscale", "--watch", folder, *BICUBIC_X2, "--json", "--format", "png", cwd=tmp_path
        )
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["status"] == said
        if said == "skipped":
            (folder / "a.png").touch()
            assert json.loads(process.stdout.readline())["status"] == "skipped"
            shutil.copy(photo, folder / "a.webp")
            assert "would both be written to" in json.loads(process.stdout.readline())["error"]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == (0 if said == "done" else 3)
