"""Several processes that train one network, on one machine, by gloo."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from helpers.command import wait_until
from helpers.fake_s3 import find_free_port
from srcli.engine.weights.files import read_state
from srcli.train import state

_MARK = "TEST_STARTED_FOR"


def words(photos: Path, out: Path, *more: object) -> list[str]:
    fixed = ["-m", "srcli", "train", "espcn", "-x2", "--preset", "paper"]
    images = ["--data", photos, "--valid", photos, "--out", out]
    return [str(word) for word in (*fixed, *images, "--patch", 12, "--set", "warmup=2", *more)]


def launched(count: int, arguments: list[str]) -> list[str]:
    """By torchrun, on a port of its own."""
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={count}",
        *arguments,
    ]


def finished(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment())


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


@pytest.mark.slow
def test_two_processes_equal_one_with_the_double_batch(photos: Path, tmp_path: Path) -> None:
    steps = ("--steps", 10, "--validate-every", 10)
    for name, command in (
        ("one", [sys.executable, *words(photos, tmp_path / "one", "--batch", 8, *steps)]),
        ("two", launched(2, words(photos, tmp_path / "two", "--batch", 4, *steps))),
    ):
        done = finished(command)
        assert done.returncode == 0, f"{name}: {done.stderr}"
    one, two = (read_state(tmp_path / name / "espcn-x2.safetensors") for name in ("one", "two"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=1e-5, rtol=1e-5)
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 1


@pytest.mark.slow
def test_gpus_starts_the_processes_itself(photos: Path, tmp_path: Path) -> None:
    command = words(photos, tmp_path / "run", "--batch", 2, "--steps", 4, "--gpus", 2, "--device", "cpu")
    done = finished([sys.executable, *command])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("recipe espcn") == 1
    assert (tmp_path / "run" / "README.md").exists()
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text())["step"] == 4


@pytest.mark.slow
def test_ctrl_c_stops_all_processes_with_one_line(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = words(photos, out, "--batch", 2, "--validate-every", 10, "--gpus", 2, "--device", "cpu")
    run = subprocess.Popen(
        [sys.executable, *command],
        stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while not (out / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)
    _, talk = run.communicate(timeout=120)
    assert run.returncode == 130, talk
    assert talk.count("stopped at step") == 1
    assert "another process" not in talk
    assert "Traceback" not in talk


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run_with_a_state_to_resume(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = words(photos, out, "--batch", 2, "--validate-every", 10)
    run = subprocess.Popen(launched(2, command), stderr=subprocess.PIPE, text=True, env=environment())
    deadline = time.monotonic() + 90
    while not (out / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    second = next(
        pid for pid in children if b"RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    )
    os.kill(int(second), signal.SIGKILL)
    _, talk = run.communicate(timeout=120)
    assert run.returncode != 0
    assert "another process of this run is gone" in talk or "stopped at step" in talk
    saved = torch.load(out / state.STATE, weights_only=True)
    assert saved["step"] >= 10
    more = [sys.executable, "-m", "srcli", "train", "--resume", str(out), "--steps", str(saved["step"] + 3)]
    done = finished(more)
    assert done.returncode == 0, done.stderr


def agents(port: int, arguments: list[str], talk: Path) -> list["subprocess.Popen[bytes]"]:
    """Two nodes of one process each, that meet on the loopback as they would on a network."""
    words = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--max-restarts=3",
        "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=lasting",
        "--local-addr=127.0.0.1", *arguments,
    ]  # fmt: skip
    nodes, marked = [], environment(**{_MARK: str(talk)})
    for number in range(2):
        with (talk / f"node{number}.txt").open("ab") as said:
            nodes.append(subprocess.Popen(words, stderr=said, env=marked, start_new_session=True))
    return nodes


def list_started(talk: Path) -> list[int]:
    """Return the agents that run, and what they have started in sessions of its own, by their environment."""
    mark, started = os.fsencode(f"{_MARK}={talk}"), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to somebody else
            if mark in (process / "environ").read_bytes().split(b"\0"):
                started.append(int(process.name))
    return started


def end_all(nodes: list["subprocess.Popen[bytes]"], talk: Path) -> None:
    for node in nodes:
        if node.poll() is None:
            node.kill()
        node.wait()
    for pid in list_started(talk):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def test_only_what_a_test_started_is_ended(tmp_path: Path) -> None:
    """A process that merely names the folder, as a pytest worker or an editor may, lives on."""
    code = [sys.executable, "-c", "input()", str(tmp_path)]
    bystander, own = (
        subprocess.Popen(code, stdin=subprocess.PIPE, env=environment(**more))
        for more in ({}, {_MARK: str(tmp_path)})
    )
    try:
        assert list_started(tmp_path / "other") == []
        end_all([], tmp_path)
        assert own.wait(20) == -signal.SIGKILL
        assert bystander.poll() is None
    finally:
        for process in (bystander, own):
            process.kill()
            process.communicate()


def saved_step(out: Path) -> int:
    return int(torch.load(out / state.STATE, weights_only=True)["step"])


def rank_of(pid: str) -> str:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended since it was listed
        return ""
    return next((entry[5:].decode() for entry in entries if entry.startswith(b"RANK=")), "")


def codes_of(nodes: list["subprocess.Popen[bytes]"], talk: Path, seconds: float) -> list[int | None]:
    """The exit codes; None for what has not ended in time, of which all is then."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and any(node.poll() is None for node in nodes):
        time.sleep(0.1)
    codes = [node.poll() for node in nodes]
    end_all(nodes, talk)
    return codes


@pytest.mark.slow
def test_two_nodes_go_on_from_the_last_checkpoint_when_a_rank_dies(photos: Path, tmp_path: Path) -> None:
    """The first dies, which alone keeps the checkpoints; both nodes start again.

    By themselves, but for the times when torchrun's agents wait for each other: then the command is ended
    and given again, as docs/training-cluster.md says.
    """
    out = tmp_path / "run"
    command = words(photos, out, "--batch", 2, "--validate-every", 150, "--steps", 1200)
    nodes = agents(find_free_port(), command, tmp_path)
    try:
        wait_until((out / "log.jsonl").exists, 200)
        while saved_step(out) < 150:
            time.sleep(0.1)
        for node in nodes:
            for pid in Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split():
                if rank_of(pid) == "0":
                    os.kill(int(pid), signal.SIGKILL)
        codes = codes_of(nodes, tmp_path, 40)
        if codes != [0, 0]:
            nodes = agents(find_free_port(), command, tmp_path)
            codes = codes_of(nodes, tmp_path, 90)
    finally:
        end_all(nodes, tmp_path)
    told = [(tmp_path / f"node{number}.txt").read_text() for number in range(2)]
    assert codes == [0, 0], told
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)), "a validation is done twice"
    assert steps[-1] == 1200
    starts = [int(found) for text in told for found in re.findall(r"it continues at step (\d+)", text)]
    assert len(starts) == 1, "only the first process reports"
    assert starts[0] >= 150
    assert saved_step(out) == 1200
