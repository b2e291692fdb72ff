"""`sr upscale --job`: after any crash it goes on, exactly once in effect; and `sr jobs`, which shows it."""

import csv
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.command import NEAREST_X2, Run, start_sr, wait_until
from helpers.images import write_tiny_images
from helpers.jobs import count_states
from helpers.json_objects import check_object
from srcli.batch import job_store
from srcli.batch.planning import Layout, ListedTask, iterate_images, iterate_tasks
from srcli.errors import FileError, SrError, UsageError
from srcli.imaging.image import read_image
from srcli.upscaling.task import UpscaleTask


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file for a ledger, in the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "job.db"


def written(out: Path) -> dict[str, int]:
    """Outputs and when they were written, which tells whether one was written again."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("[!.]*")}


def count(out: Path) -> int:
    return sum(name[0] != "." for name in os.listdir(out)) if out.exists() else 0


def killed_at(process: "subprocess.Popen[str]", ready: Iterator[bool]) -> None:
    wait_until(lambda: next(ready) or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, "it was done before it could be killed"


def after(out: Path, more: int, rng: random.Random) -> Iterator[bool]:
    """Whether so many more are there now, and a random moment has passed."""
    goal = count(out) + more
    while count(out) < goal:
        yield False
    time.sleep(rng.uniform(0, 0.005))
    yield True


@pytest.mark.slow
def test_two_thousand_images_survive_ten_kills(job: Path, tmp_path: Path) -> None:
    """At moments drawn at random, two of them in listing; none is lost, or half written, or done twice."""
    folder, out, rng = write_tiny_images(tmp_path / "in", 2000), tmp_path / "out", random.Random(11)
    command = ("upscale", folder, *NEAREST_X2, "-o", out, "--job", job, "-q")
    made: dict[str, int] = {}
    for kill in range(10):
        ready = iter(job.exists, None) if kill < 2 else after(out, rng.randrange(1, 190), rng)
        killed_at(start_sr(*command, cwd=tmp_path), ready)
        now = written(out)
        assert now | made == now, "an output was written again"
        made = now
    process = start_sr(*command, cwd=tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert count_states(job) == {"done": 2000}
    last = written(out)
    assert len(last) == 2000
    assert not list(out.glob(".sr-*")), "what was being written when it was killed is left"
    assert last | made == last
    for number in range(0, 2000, 37):
        small = np.asarray(PilImage.open(folder / f"{number:04}.png"))
        large = np.asarray(PilImage.open(out / f"{number:04}_x2.png"))
        assert (large == small.repeat(2, 0).repeat(2, 1)).all()


@pytest.mark.slow
def test_a_job_of_several_workers_survives_a_kill(job: Path, tmp_path: Path) -> None:
    folder, out = write_tiny_images(tmp_path / "in", 150), tmp_path / "out"
    command = ("upscale", folder, *NEAREST_X2, "-o", out, "--job", job, "--workers", 2, "-q")
    killed_at(start_sr(*command, cwd=tmp_path), after(out, 40, random.Random(3)))
    now = -1
    while now != count(out):  # the workers see that nobody is there any more, and end
        now = count(out)
        time.sleep(0.5)
    made = written(out)
    process = start_sr(*command, cwd=tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert count_states(job) == {"done": 150}
    last = written(out)
    assert len(last) == 150
    assert last | made == last


@pytest.mark.parametrize("more", [(), ("--format", "bmp"), ("--strip",)])
def test_what_was_in_hand_is_not_done_again(
    more: tuple[str, ...], job: Path, tmp_path: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the output and the note of it: by what the output says, or as nothing else was there."""
    write_tiny_images(tmp_path / "in", 3)
    command = ("upscale", "in", *NEAREST_X2, "-o", "out", "--job", job, *more)
    assert sr(*command).code == 0
    was = written(tmp_path / "out")
    with sqlite3.connect(job) as db:
        db.execute("UPDATE units SET state = 'running', own = ? WHERE id = 2", (bool(more),))
    db.close()
    if more:  # what the cache remembers is written after the output, too
        shutil.rmtree(Path(os.environ["SR_CACHE"]) / "done")
    done = sr(*command)
    assert done.code == 0, done.err
    assert "1 were in progress when a run was killed" in done.err
    assert count_states(job) == {"done": 3}
    if not more:
        assert written(tmp_path / "out") == was


def test_an_output_that_is_another_s_is_left(job: Path, tmp_path: Path, sr: Run) -> None:
    write_tiny_images(tmp_path / "in", 2)
    other = tmp_path / "out" / "0001_x2.bmp"
    other.parent.mkdir()
    PilImage.new("RGB", (8, 8)).save(other)
    was = other.read_bytes()
    command = ("upscale", "in", *NEAREST_X2, "-o", "out", "--job", job, "--format", "bmp")
    for _ in range(2):
        done = sr(*command)
        assert done.code == 3
        assert count_states(job) == {"done": 1, "failed": 1}
        assert other.read_bytes() == was
        sr("jobs", "retry", job)


def test_failures_are_named_and_retried(job: Path, tmp_path: Path, sr: Run) -> None:
    folder = write_tiny_images(tmp_path / "in", 3)
    whole = (folder / "0001.png").read_bytes()
    (folder / "0001.png").write_bytes(b"no image")
    command = ("upscale", folder, *NEAREST_X2, "-o", tmp_path / "out", "--job", job)
    done = sr(*command)
    assert done.code == 3
    assert "2 of 3 done, 1 failed" in done.err
    assert "sr jobs retry" in done.err
    shown = sr("jobs", "show", job)
    assert shown.code == 3
    assert "failed: " in shown.out
    assert "0001.png" in shown.out
    (folder / "0001.png").write_bytes(whole)
    assert sr(*command).code == 3, "what failed waits until it is asked for"
    assert "1 images marked" in sr("jobs", "retry", job).err
    assert sr(*command).code == 0
    assert count_states(job) == {"done": 3}
    assert sr("jobs", "show", job).code == 0


def test_new_and_changed_files_are_found_when_asked_for(job: Path, tmp_path: Path, sr: Run) -> None:
    folder = write_tiny_images(tmp_path / "in", 2)
    command = ("upscale", folder, *NEAREST_X2, "-o", tmp_path / "out", "--job", job)
    assert sr(*command).code == 0
    write_tiny_images(folder, 3)
    PilImage.new("RGB", (5, 5)).save(folder / "0000.png")
    assert "2 images, 0 to do" in sr(*command).err
    done = sr(*command, "--rescan", "--overwrite")
    assert done.code == 0
    assert "3 images, 3 to do" in done.err  # all were written again, those of the same content are there
    assert read_image(tmp_path / "out" / "0000_x2.png").size == (10, 10)


def test_nothing_is_listed_again(job: Path, tmp_path: Path, sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_images(tmp_path / "in", 2)
    command = ("upscale", folder, *NEAREST_X2, "-o", tmp_path / "out", "--job", job)
    assert sr(*command).code == 0
    folder.rename(tmp_path / "elsewhere")
    assert sr(*command).code == 0


def test_a_job_is_run_once_at_a_time(job: Path, tmp_path: Path, sr: Run) -> None:
    write_tiny_images(tmp_path / "in", 1)
    command = ("upscale", "in", *NEAREST_X2, "-o", "out", "--job", job)
    with job_store.open_locked(job) as store:
        store.create({})
        for words in (command, ("jobs", "retry", job)):
            done = sr(*words)
            assert done.code == 1
            assert "error: another process is running the job" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ctrl_c_leaves_a_job_to_go_on_with(job: Path, tmp_path: Path) -> None:
    folder, out = write_tiny_images(tmp_path / "in", 600), tmp_path / "out"
    command = ("upscale", folder, *NEAREST_X2, "-o", out, "--job", job)
    process = start_sr(*command, cwd=tmp_path)
    wait_until(lambda: len(written(out)) > 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; run the same command again to continue" in err
    assert "Traceback" not in err
    now = count_states(job)
    assert now.keys() == {"done", "pending"}, "nothing is left in hand"
    before = written(out)
    assert len(before) - now["done"] in range(4), "those in progress may have been written but not noted"
    again = start_sr(*command, cwd=tmp_path)
    again.communicate(timeout=120)
    assert again.returncode == 0
    assert count_states(job) == {"done": 600}
    after = written(out)
    assert len(after) == 600
    assert before.items() <= after.items(), "what was written is not made again"


OTHER = [
    (("-m", "bicubic", "-x2"), "model was nearest, is bicubic"),
    (("-m", "nearest", "-x3"), "scale was x2, is x3"),
    ((*NEAREST_X2, "--depth", "16"), "depth was not given, is 16"),
    ((*NEAREST_X2, "--format", "webp"), "format was not given, is .webp"),
    ((*NEAREST_X2, "-r"), "recursive was not given, is yes"),
]


@pytest.mark.parametrize(("settings", "message"), OTHER)
def test_other_settings_are_another_job(
    settings: tuple[str, ...], message: str, job: Path, tmp_path: Path, sr: Run
) -> None:
    write_tiny_images(tmp_path / "in", 1)
    assert sr("upscale", "in", *NEAREST_X2, "-o", "out", "--job", job).code == 0
    done = sr("upscale", "in", *settings, "-o", "out", "--job", job)
    assert done.code == 2
    assert message in done.err
    assert "hint: use the settings it was started with, or another --job" in done.err


def test_a_name_that_is_no_text_does_not_end_a_run(job: Path, tmp_path: Path) -> None:
    folder = write_tiny_images(tmp_path / "in", 1)
    shutil.copy(folder / "0000.png", folder / os.fsdecode(b"\xff.png"))
    done = subprocess.run(
        [sys.executable, "-m", "srcli", "upscale", folder, *NEAREST_X2, "-o", tmp_path / "out", "--job", job],
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"\xff_x2.png" in done.stdout


def test_files_that_are_no_jobs(job: Path, tmp_path: Path, sr: Run) -> None:
    write_tiny_images(tmp_path / "in", 1)
    foreign, broken, text = (tmp_path / f"{name}.db" for name in ("foreign", "broken", "text"))
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE other (a)")
    db.close()
    assert sr("upscale", "in", *NEAREST_X2, "-o", "out", "--job", broken).code == 0
    damaged = bytearray(broken.read_bytes())
    damaged[4096:] = b"\xff" * (len(damaged) - 4096)
    broken.write_bytes(damaged)
    text.write_text("not a database at all, " * 100)
    for path, message in (
        (foreign, "is not a job of sr"),
        (broken, "cannot be used"),
        (text, "cannot be used"),
    ):
        was = path.read_bytes()
        for words in (("upscale", "in", *NEAREST_X2, "-o", "out", "--job", path), ("jobs", "show", path)):
            done = sr(*words)
            assert done.code == 1, done
            assert message in done.err
            assert "hint: " in done.err
            assert len(done.err.splitlines()) == 2
        assert path.read_bytes() == was


BAD = [
    (("in", "--rescan"), "--rescan needs --job"),
    (("in", "--job", "a b"), "'a b' is not a valid job name"),
    (("in", "--job", "../a"), "'../a' is not a valid job name"),
    (("in", "--job", "a", "--watch"), "--watch cannot be used with --job"),
    (("in", "--job", "a", "--dry-run"), "--dry-run cannot be used with --job"),
    (("-", "--job", "a", "-o", "out"), "--job cannot be used with stdin or stdout"),
    (("in", "--job", "a", "--uncertainty", "m.png"), "--uncertainty writes one map"),
    (("in", "--job", "a", "-o", "one.png"), "one.png is one file, but a job may have many"),
    (("empty", "--job", "a"), "no images in"),
    (("missing", "--job", "a"), "does not exist"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_what_is_no_job(words: tuple[str, ...], message: str, job: Path, sr: Run) -> None:
    write_tiny_images(job.parent / "in", 1)
    (job.parent / "empty").mkdir()
    done = sr("upscale", *words, *NEAREST_X2)
    assert done.code in (1, 2)
    assert message in done.err
    assert "Traceback" not in done.err
    assert "no jobs" in sr("jobs").err or words[0] == "missing"


def test_jobs_are_listed_exported_and_removed(job: Path, tmp_path: Path, sr: Run) -> None:
    folder = write_tiny_images(tmp_path / "in", 3)
    (folder / "0002.png").write_bytes(b"no image")
    odd = folder / "b\udcff.png"  # a name that is no text
    shutil.copy(folder / "0000.png", odd)
    assert sr("upscale", folder, *NEAREST_X2, "-o", tmp_path / "out", "--job", "scans", "-q").code == 3
    assert "scans  3 of 4 done, 1 failed" in sr("jobs").out
    rows = list(csv.DictReader(io.StringIO(sr("jobs", "export", "scans").out)))
    assert sorted(row["state"] for row in rows) == ["done", "done", "done", "failed"]
    assert {Path(row["source"]).name for row in rows} == {"0000.png", "0001.png", "0002.png", "b\\udcff.png"}
    exported = tmp_path / "failed.json"
    assert sr("jobs", "export", "scans", "-o", exported, "--state", "failed").code == 0
    (only,) = json.loads(exported.read_text())
    for image in json.loads(sr("jobs", "export", "scans", "--json").out):
        check_object(image, "ExportedImage")
    assert only["error"]
    assert only["attempts"] == 1
    assert sr("jobs", "export", "scans", "-o", "x.txt").code == 2
    assert sr("jobs", "remove", "scans").code == 0
    assert "no jobs" in sr("jobs").err
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert "no job called 'scans'" in sr("jobs", "show", "scans").err


def many(count: int, start: int = 0) -> Iterator[ListedTask]:
    for number in range(start, count):
        name = f"scan-{number:08}.png"
        yield ListedTask(UpscaleTask(Path("/in", name), Path("/out", name)), f"{number}:1")


@pytest.mark.slow
def test_many_names_are_not_held(job: Path) -> None:
    """Ten times as many take no more memory, in listing and in going through them."""
    peaks = []
    with job_store.open_locked(job) as store:
        store.create({})
        for total in (3_000, 3_000, 30_000):  # the first loads modules and fills caches
            if total == 30_000:  # most of them where memory is not traced, which is slow
                store.add(many(27_000))
            tracemalloc.start()
            store.add(many(total, total - 3_000))
            for number, _ in enumerate(store.take_pending(lambda job: False)):
                if number == 1_500:
                    break
            assert sum(1 for _ in islice(store.iterate_images(), 3_000)) == 3_000
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert store.count().total == 30_000
    assert peaks[2] < 1.2 * peaks[1] < 6e6


def test_a_folder_is_listed_as_it_is_walked(tmp_path: Path) -> None:
    for name in ("a", "b/c", ".hidden"):
        write_tiny_images(tmp_path / name, 2)
    names = {str(path.relative_to(tmp_path)) for path in iterate_images(tmp_path, recursive=True)}
    assert names == {"a/0000.png", "a/0001.png", "b/c/0000.png", "b/c/0001.png"}
    layout = Layout(tmp_path / "out", recursive=True)
    targets = {str(each.task.target.relative_to(tmp_path)) for each in iterate_tasks([tmp_path], layout)}
    assert targets == {f"out/{name.replace('.png', '_x4.png')}" for name in names}


def test_one_collision_of_names_stops_one_image_of_a_job(photos: Path, in_tmp: Path, sr: Run) -> None:
    shutil.copy(photos / "coffee.png", photos / "coffee.webp")
    words = (
        "upscale",
        photos,
        "-m",
        "bicubic",
        "-x2",
        "--format",
        "png",
        "-o",
        "out",
        "--job",
        in_tmp / "job.db",
    )
    for _ in range(2):  # told again by every run
        done = sr(*words)
        assert done.code == 3, done.err
        assert "would both be written to" in done.err
    assert len(list(Path("out").iterdir())) == len(list(photos.glob("*.png")))


def test_outputs_that_are_inputs(job: Path) -> None:
    with pytest.raises(UsageError, match=r"/b\.png is also an input"):
        collide(job, [("/a.png", "/b.png"), ("/b.png", "/c.png")])
    assert not job.exists(), "a job of which nothing is listed is not kept"


def collide(job: Path, pairs: list[tuple[str, str]]) -> None:
    with job_store.open_locked(job) as store:
        store.create({})
        store.add(ListedTask(UpscaleTask(Path(source), Path(target)), "1:1") for source, target in pairs)


def test_what_kills_every_run_comes_last_and_is_given_up(job: Path) -> None:
    """Each run ends in the middle of the first that it takes; the others are done all the same."""
    with job_store.open_locked(job) as store:
        store.create({})
        store.add(many(3))
    for _ in range(job_store.MAX_INTERRUPTIONS + 2):
        with job_store.open_locked(job) as store:
            store.recover_interrupted()
            for unit in store.take_pending(lambda job: False):
                if unit.source.name == "scan-00000000.png":
                    break  # as by kill -9: nothing is noted any more
                store.mark_done(unit, "", 0.1)
    assert count_states(job) == {"done": 2, "failed": 1}
    with job_store.open_for_reading(job) as store:
        (failed,) = store.iterate_images("failed")
    assert (failed.attempts, failed.interruptions) == (
        job_store.MAX_INTERRUPTIONS,
        job_store.MAX_INTERRUPTIONS,
    )
    assert "5 runs ended while it was in progress" in (failed.error or "")


def test_what_would_fail_for_all_is_left_to_be_done(job: Path) -> None:
    with job_store.open_locked(job) as store:
        store.create({})
        store.add(many(1))
        only = next(store.take_pending(lambda job: False))
        store.mark_failed(only, FileError("the disk is full", affects_all=True))
    assert count_states(job) == {"pending": 1}


def test_a_full_disk_is_told(job: Path) -> None:
    def fill() -> None:
        with job_store.open_locked(job) as store:
            store.create({})
            store._db.execute("PRAGMA max_page_count = 12")
            store.add(many(100_000))

    with pytest.raises(SrError, match="cannot be used: database or disk is full"):
        fill()
