"""A real cluster of Ray's, two nodes on this machine: its files are those of one process, whoever dies."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.command import (
    BICUBIC_X2,
    Run,
    assert_same_scores,
    has_exited,
    list_outputs,
    start_sr,
    wait_until,
)
from helpers.images import read_folder, write_noise_images
from helpers.paths import ROOT
from helpers.worker_jobs import Task, begin, begin_failing
from srcli.errors import SrError
from srcli.imaging.image import read_image
from srcli.workers.distribute import distribute
from srcli.workers.ray_pool import RayPool

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ray = pytest.importorskip("ray")
_NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_log_monitor": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of a CPU each, with no more of Ray's helpers than they need, and this process part of it."""
    from ray.cluster_utils import Cluster

    quiet = {"ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": 0, "USAGE_STATS_ENABLED": 0, "memory_monitor_refresh_ms": 0}
    lean = {"prestart_worker_first_driver": 0, "enable_worker_prestart": 0, "enable_metrics_collection": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "tests"))))
        for name, value in (quiet | lean).items():
            patch.setenv(f"RAY_{name}", str(value))
        head = {**_NODE, "include_dashboard": False, "no_monitor": True}
        found = Cluster(initialize_head=True, head_node_args=head)
        found.add_node(**_NODE)
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(found.address, log_to_driver=False, logging_level="ERROR")
        signal.signal(signal.SIGTERM, handler)
        yield found
        ray.shutdown()
        found.shutdown()


def find_workers() -> list[int]:
    """Processes of workers, by what Ray calls them."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = place.read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::RayWorker"):
            found.append(int(place.parent.name))
    return found


def test_killed_in_the_middle_and_equal_to_one_process(cluster: Any, in_tmp: Path, sr: Run) -> None:
    """Every worker that there is, once; a broken image is named as ever."""
    write_noise_images(in_tmp / "in", 12, 150)
    (in_tmp / "in" / "broken.png").write_bytes(b"no image")
    killed = []

    def kill() -> None:
        wait_until(lambda: len(list_outputs(in_tmp / "two")) >= 2)
        for pid in find_workers():
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    words = ("upscale", "in", "-m", "fsrcnn", "-x2")
    beside = sr(*words, "-o", "two", "--ray", "auto")
    killer.join()
    alone = sr(*words, "-o", "one")
    assert killed
    assert beside.code == alone.code == 3
    assert sorted(beside.err.splitlines()) == sorted(alone.err.splitlines())
    assert read_folder(Path("two")) == read_folder(Path("one"))
    assert len(read_folder(Path("two"))) == 12


def test_figures_are_equal_to_those_of_one_process(cluster: Any, photos: Path, in_tmp: Path, sr: Run) -> None:
    words = ("bench", "-d", photos, "-x2", "-m", "fsrcnn")
    for more, name in (((), "one.json"), (("--ray", "auto", "--workers", 1), "two.json")):
        told = sr(*words, *more, "--json", name)
        assert told.code == 0, told.err
    assert_same_scores(Path("one.json"), Path("two.json"))


def test_a_cluster_that_grows_is_used_and_one_that_shrinks_or_lags_does_all(cluster: Any) -> None:
    """A third node comes and is lost, with whatever its worker has in hand; the last job lags."""
    pool: RayPool[Task, str] = RayPool(begin, "auto", straggler_after=1.0)
    end = time.monotonic() + 60
    nodes: list[Any] = []
    given = []

    def jobs() -> Iterator[Task]:
        while pool.size < 3:
            assert time.monotonic() < end
            yield Task("one")
        cluster.remove_node(nodes[0], allow_graceful=False)
        for k in range(9):
            yield Task(str(k))
        yield Task("late", "lag")

    def counted() -> Iterator[Task]:
        for job in jobs():
            given.append(job.name)
            yield job

    found = []
    for outcome in distribute(counted(), pool):
        if not nodes:
            nodes.append(cluster.add_node(**_NODE))
        assert outcome.result
        found.append(outcome.result)
        time.sleep(0.02)
    assert sorted(each.split(", ")[0] for each in found) == sorted(given)
    assert next(each for each in found if each.startswith("late")).endswith("True")


def test_workers_that_cannot_begin_are_told(cluster: Any) -> None:
    pool: RayPool[Task, str] = RayPool(begin_failing, "auto")
    with pytest.raises(SrError, match=r"a Ray worker cannot start: .*No module named 'srcli'"):
        list(distribute([Task("a")], pool))


def test_ctrl_c_ends_the_job_and_leaves_whole_files(cluster: Any, in_tmp: Path) -> None:
    write_noise_images(in_tmp / "in", 120, 100)
    out = in_tmp / "out"
    words = ("upscale", "in", *BICUBIC_X2, "-o", "out", "--ray", cluster.address)
    process = start_sr(*words, cwd=in_tmp)
    wait_until(lambda: len(list_outputs(out)) >= 3)
    workers = find_workers()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "of 120 done, add --skip-existing to continue" in err
    wait_until(lambda: all(map(has_exited, workers)))
    assert 3 <= len(list_outputs(out)) < 120
    assert all(read_image(path).size == (200, 200) for path in list_outputs(out))
    assert list(out.glob(".*")) == []


def test_what_is_wrong_is_told_in_a_line(photo: Path, sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told = sr("upscale", photo, "--ray", "auto", "--device", "cuda:1")
    assert told.code == 2
    assert "Ray chooses the GPU of each worker" in told.err
    told = sr("upscale", "-", "-o", photo.with_name("out.png"), "--ray", "auto")
    assert told.code == 2
    assert "--ray cannot be used with stdin or stdout" in told.err
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for address, reason in (("127.0.0.1:1", "Connection refused"), ("nonsense", "Invalid address format")):
        told = sr("upscale", photo, "--ray", address)
        assert told.code == 1
        assert f"error: no Ray cluster at {address}: " in told.err
        assert reason in told.err
    monkeypatch.setitem(sys.modules, "ray", None)
    told = sr("upscale", photo, "--ray", "auto")
    assert told.code == 1
    assert told.err.splitlines() == [
        "error: --ray needs Ray, which is not installed",
        'hint: pip install "sr-cli[ray]"',
    ]
