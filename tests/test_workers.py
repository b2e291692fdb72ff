"""Images spread over processes: equal to one by one, whatever becomes of the processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from threading import active_count, current_thread
from typing import Any

import numpy as np
import pytest
import torch

from helpers.backends import BACKENDS, prepare_on
from helpers.command import BICUBIC_X2, Run, has_exited, list_outputs, start_sr, wait_until
from helpers.images import assert_same_image, crop_photo, read_folder, write_noise_images
from helpers.networks import CPU, SMALL, build_random
from helpers.paths import ROOT
from helpers.worker_jobs import Task, begin, begin_failing, begin_killed_once
from srcli import archs
from srcli.batch.events import SkipReason
from srcli.batch.work import BatchSettings, set_up_worker
from srcli.engine import slots
from srcli.engine.runtimes.backends import DeviceBackend
from srcli.engine.runtimes.base import OutOfMemory
from srcli.engine.runtimes.multi_device import MultiDeviceRuntime, share_items
from srcli.engine.runtimes.torch import TorchRuntime, prepare
from srcli.engine.upscaler import Upscaler
from srcli.errors import SrError
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.pixels import to_uint8
from srcli.imaging.size import TargetSize
from srcli.methods import MethodOptions, build_upscaler
from srcli.storage.files import remove_leftovers, replace_atomically
from srcli.upscaling.fingerprint import Fingerprint
from srcli.upscaling.task import UpscaleTask
from srcli.workers import Outcome
from srcli.workers.distribute import WorkerSetup, distribute
from srcli.workers.process_pool import ProcessPool
from srcli.workers.slot import Slot


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers import `helpers.worker_jobs`, and processes that the tests start this very srcli."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "tests"))))


def done(
    jobs: Iterable[Task], workers: int = 2, by: WorkerSetup[Task, str] = begin
) -> dict[str, Outcome[Task, str]]:
    pool: ProcessPool[Task, str] = ProcessPool(by, [Slot()] * workers)
    return {str(outcome.job): outcome for outcome in distribute(jobs, pool)}


def test_every_job_is_answered_once_and_failures_are_named() -> None:
    jobs = [Task(str(k), "error" if k == 3 else "well") for k in range(20)]
    found = done(jobs)
    assert sorted(found) == sorted(map(str, jobs))
    assert [name for name, outcome in found.items() if outcome.error] == ["3"]
    pids = {outcome.result.split(", ")[1] for outcome in found.values() if outcome.result}
    assert 1 <= len(pids) <= 2
    assert str(os.getpid()) not in pids


def test_what_need_not_be_handed_out_is_not() -> None:
    def check(task: Task) -> None:
        if task.word == "no":
            raise SrError(f"{task} need not be tried")

    pool: ProcessPool[Task, str] = ProcessPool(begin, [Slot()])
    jobs = [Task(str(k), "no" if k % 10 else "well") for k in range(30)]
    found = list(distribute(jobs, pool, check))
    assert sorted(int(str(outcome.job)) for outcome in found) == list(range(30))
    assert sum(1 for outcome in found if outcome.result) == 3


def test_a_worker_that_dies_costs_nobody_anything_and_a_deadly_job_is_named() -> None:
    jobs = [Task("once", "die once"), Task("deadly", "die"), *(Task(str(k)) for k in range(6))]
    found = done(jobs)
    assert len(found) == 8
    assert found["once"].result
    assert found["once"].result.endswith("True")
    error = found["deadly"].error
    assert error
    assert error.message == "deadly: its worker was lost 3 times (SIGKILL)"
    assert [name for name, outcome in found.items() if outcome.error] == ["deadly"]


def test_after_a_failure_for_all_the_rest_is_not_tried() -> None:
    taken = []

    def endless() -> Iterator[Task]:
        for k in count():
            taken.append(k)
            yield Task(str(k), "end" if k == 2 else "well")

    found = done(endless())
    assert found["2"].error
    assert len(found) <= len(taken) <= len(found) + 1


def test_a_bug_fails_its_job_and_workers_that_cannot_begin_are_told() -> None:
    found = done([Task("a", "bug"), Task("b")])
    assert "ZeroDivisionError: a bug" in str(found["a"].error)
    assert "Traceback" in getattr(found["a"].error, "details", "")
    assert found["b"].error is None
    with pytest.raises(RuntimeError, match="No module named 'srcli'"):
        done([Task("a")], by=begin_failing)


def test_a_worker_that_is_killed_at_its_start_is_begun_anew_but_not_for_ever(tmp_path: Path) -> None:
    jobs = [Task(str(k)) for k in range(4)]
    found = done(jobs, by=partial(begin_killed_once, tmp_path / "seen"))
    assert not any(outcome.error for outcome in found.values())
    last = list(done(jobs, by=partial(begin_killed_once, tmp_path / "missing" / "seen")).values())[-1]
    assert last.error
    assert last.error.message == "worker processes cannot start"


def test_each_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    pool: ProcessPool[Task, str] = ProcessPool(begin, slots.assign_slots("cpu", 3))
    assert [outcome.result for outcome in distribute([Task("a", "environment")], pool)] == ["2"]


def test_who_sits_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "may_have_gpu", lambda: True)
    monkeypatch.setattr(slots, "select_device", lambda name: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")

    def told(device: str | None, workers: int | None = None, jobs: int | None = None) -> list[object]:
        found = slots.assign_slots(device, workers, jobs)
        return [(seat.device, seat.environment.get("CUDA_VISIBLE_DEVICES")) for seat in found]

    assert told("all") == [(None, "2"), (None, "5")]
    assert told(None, 3) == [(None, "2"), (None, "5"), (None, "2")]
    assert told("cuda:1,cuda:0") == [("cuda", "5"), ("cuda", "2")]
    assert told("cuda:1,cpu", jobs=5) == [("cuda", "5"), ("cpu", None)]
    assert told("all", jobs=1) == [(None, "2")]
    assert slots.configure_pool("all", None, None, 9).slots[0].device is None
    assert slots.resolve_devices("all") == "cuda:0,cuda:1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert slots.resolve_devices("all") is None
    assert slots.configure_pool("all", None, None, 9).is_single


def test_what_was_left_is_swept(tmp_path: Path) -> None:
    with replace_atomically(tmp_path / "a.png") as half:
        left = tmp_path / f"{half.stem}x.png"
        left.touch()
    remove_leftovers(tmp_path / "b.png")
    assert left.exists()
    remove_leftovers(tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_files_are_equal_to_those_of_one_process(photos: Path, in_tmp: Path, sr: Run) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    words = ("upscale", photos, "-x2", "-m", "fsrcnn", "--device")
    alone = sr(*words, "cpu", "-o", "one")
    beside = sr(*words, "cpu", "--workers", 2, "-o", "two")
    assert alone.code == beside.code == 3
    assert read_folder(Path("one")) == read_folder(Path("two"))
    assert len(read_folder(Path("two"))) == 3
    assert sorted(alone.err.splitlines()) == sorted(beside.err.splitlines())
    again = sr(*words, "cpu,cpu", "-o", "two", "--skip-existing", "--json")
    said = [json.loads(line) for line in again.out.splitlines()]
    assert sorted(record["status"] for record in said) == ["failed", *["skipped"] * 3]


def test_two_of_one_output_and_inputs_as_outputs(photos: Path, in_tmp: Path, sr: Run) -> None:
    before = read_folder(photos)
    words = ("--workers", 2, "-m", "bicubic", "-x2")
    told = sr("upscale", photos, "-o", photos, "--name", "{stem}", "--overwrite", *words)
    assert told.code == 1
    assert told.err.count("is the input itself") == 3
    assert read_folder(photos) == before


def test_a_second_try_takes_what_is_done_and_replaces_nothing_else(photo: Path, tmp_path: Path) -> None:
    """The worker that was lost may have been before or behind the file; or never have come to look."""
    recipe = Fingerprint("bicubic", "x2", {})
    do = set_up_worker(BatchSettings(TargetSize(scale=2), recipe, MethodOptions("cpu")), None)
    job, again = UpscaleTask(photo, tmp_path / "out.png"), True
    assert do(job, again).result
    made = job.target.read_bytes()
    assert do(job, again).result is SkipReason.UP_TO_DATE
    write_image(job.target, Image(np.zeros((4, 4, 3), np.float32)))
    with pytest.raises(SrError, match="exists"):
        do(job, again)
    assert do(replace(job, interrupted=True), again).result
    assert job.target.read_bytes() == made


def test_a_job_in_a_ledger_is_done_by_workers(photos: Path, in_tmp: Path, sr: Run) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    words = ("upscale", photos, *BICUBIC_X2, "-o", "out", "--job", in_tmp / "job.db", "--workers", 2)
    first, second = sr(*words), sr(*words)
    assert first.code == second.code == 3
    assert "3 of 4 done" in first.err
    assert first.out.count("->") == 3
    assert second.out == ""


def workers_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def running(tmp_path: Path, images: int = 40) -> "tuple[subprocess.Popen[str], list[int], Path]":
    """A command with two workers, once a few images are done."""
    folder, out = write_noise_images(tmp_path / "in", images, 200), tmp_path / "out"
    process = start_sr("upscale", folder, *BICUBIC_X2, "-o", out, "--workers", 2, cwd=tmp_path)
    wait_until(lambda: out.is_dir() and len(list_outputs(out)) >= 3)
    return process, workers_of(process.pid), out


def test_killed_workers_are_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    process, workers, out = running(tmp_path)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    told, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert told.count("200x200 -> 400x400") + told.count("is up to date") == 40
    assert all(read_image(path).size == (400, 400) for path in list_outputs(out))
    assert len(list(out.iterdir())) == 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_signals_leave_no_process_and_whole_files_only(number: signal.Signals, tmp_path: Path) -> None:
    process, workers, out = running(tmp_path, 60)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    wait_until(lambda: all(map(has_exited, workers)))
    assert 3 <= len(list_outputs(out)) < 60
    assert all(read_image(path).size == (400, 400) for path in list_outputs(out))
    assert list(out.glob(".*")) == []
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert "Traceback" not in err
        assert "of 60 done, add --skip-existing to continue" in err


def test_one_process_loads_nothing_of_it(photo: Path) -> None:
    code = (
        "import sys; from srcli.cli.app import run;"
        f"code = run(['upscale', {str(photo)!r}, '-m', 'bicubic', '--device', 'cpu']);"
        "heavy = {'multiprocessing', 'ray', 'srcli.workers.process_pool'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_watching_is_for_one(tmp_path: Path, sr: Run) -> None:
    for words in (("--workers", 2), ("--device", "cpu,cpu"), ("--ray", "local")):
        told = sr("upscale", tmp_path, "--watch", *words)
        assert told.code == 2
        assert "--watch uses one process" in told.err


def test_a_wrong_device_among_several_is_told_at_once(photo: Path, sr: Run) -> None:
    told = sr("upscale", photo, photo, "--device", "cpu,gpu0")
    assert told.code == 2
    assert "no device called 'gpu0'" in told.err


def test_tiles_of_one_image_over_two_devices(tmp_path: Path, sr: Run) -> None:
    rng = np.random.default_rng(0)
    write_image(tmp_path / "large.png", Image(rng.random((150, 190, 3), np.float32)))
    words = ("upscale", tmp_path / "large.png", "-x2", "-m", "fsrcnn", "--tile", 48, "--runtime", "torch")
    for device, name in (("cpu", "one.png"), ("cpu,cpu", "two.png")):
        assert sr(*words, "--device", device, "-o", tmp_path / name).code == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_devices_know_what_one_of_them_found_out_about_the_whole_image(rng: np.random.Generator) -> None:
    """Of a network with means over the image: tiles of each device are as if it had looked itself."""
    network, spec = (
        archs.build("latticenet", 2, SMALL["latticenet"]),
        archs.Spec("latticenet", 2, SMALL["latticenet"]),
    )
    pixels = rng.random((64, 80, 3), np.float32)
    one = build_upscaler(network, spec, MethodOptions("cpu", tile=32))
    assert isinstance(one.runtime, TorchRuntime)
    assert one.runtime.with_global_stats([pixels]).global_stats
    others = (replace(one.runtime, network=deepcopy(network)) for _ in range(2))
    assert np.array_equal(one(pixels), replace(one, runtime=MultiDeviceRuntime.join((*others,)))(pixels))


@pytest.mark.gpu
def test_workers_on_gpus_make_the_files_of_one(photos: Path, in_tmp: Path, sr: Run) -> None:
    """Two on the first; what is written does not say which it was."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    words = ("upscale", photos, "-x2", "-m", "fsrcnn")
    for device, out in (("cuda", "one"), ("cuda:0,cuda:0", "two")):
        told = sr(*words, "--device", device, "-o", out)
        assert told.code == 0, told.err
    assert read_folder(Path("one")) == read_folder(Path("two"))


@pytest.mark.parametrize("drive", BACKENDS)
def test_busy_devices_share_tiles(drive: Callable[[], DeviceBackend]) -> None:
    """With batches under way on each, and rounded to bytes there."""
    network, pixels = build_random("edsr", 2).eval(), crop_photo(75, 110)
    plain = Upscaler(prepare(network, 2, CPU), 2, 32)(pixels)
    both = MultiDeviceRuntime.join(
        (prepare_on(drive(), network, 2), prepare_on(drive(), deepcopy(network), 2))
    )
    assert_same_image(Upscaler(both, 2, 32)(pixels), plain)
    rounding = both.as_uint8()
    assert rounding
    levels = Upscaler(rounding, 2, 32)(pixels)
    assert np.abs(levels.astype(int) - to_uint8(plain)).max() in (0, 1)


Piece = tuple[int, float]


def slow(pieces: Iterable[Piece]) -> Iterator[Any]:
    for number, seconds in pieces:
        time.sleep(seconds)
        yield number


def in_fours(pieces: Iterable[Piece]) -> Iterator[Any]:
    for four in batched(slow(pieces), 4):
        yield from four


def batched(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while some := list(islice(items, size)):
        yield some


@pytest.mark.parametrize("number", [0, 1, 7, 90])
def test_what_is_dealt_comes_back_in_order(number: int) -> None:
    """Of a device that is slow, and of one that wants four before it begins."""
    taken_by = set()

    def pieces() -> Iterator[Piece]:
        for k in range(number):
            taken_by.add(current_thread())
            yield k, 0.002 * (k % 3)

    assert list(share_items(pieces(), [slow, in_fours, slow])) == list(range(number))
    assert taken_by <= {current_thread()}
    assert list(share_items(pieces(), [in_fours])) == list(range(number))


def test_what_one_device_raises_ends_all() -> None:
    def fails(pieces: Iterable[Piece]) -> Iterator[Any]:
        next(iter(pieces))
        raise OutOfMemory("a tile does not fit")
        yield

    before = active_count()
    with pytest.raises(OutOfMemory):
        list(share_items(((number, 0.001) for number in range(100)), [slow, fails]))
    begun = share_items(((number, 0.001) for number in range(100)), [slow, slow])
    assert next(begun) == 0
    begun.close()  # type: ignore[attr-defined]
    assert active_count() <= before
