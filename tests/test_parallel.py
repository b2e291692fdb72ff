"""Several processes that train one network, on one machine, by gloo."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from srcli.engine.weights import read_state
from srcli.train import state


def words(photos: Path, out: Path, *more: object) -> list[str]:
    fixed = ["-m", "srcli", "train", "espcn", "-x2", "--data", photos, "--valid", photos, "--out", out]
    return [str(word) for word in (*fixed, "--patch", 12, "--set", "warmup=2", *more)]


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


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


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


def test_gpus_starts_the_processes_itself(photos: Path, tmp_path: Path) -> None:
    command = words(photos, tmp_path / "run", "--batch", 2, "--steps", 4, "--gpus", 2, "--device", "cpu")
    done = finished([sys.executable, *command])
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text())["step"] == 4


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
    more = [sys.executable, *command, "--resume", "--steps", str(saved["step"] + 3)]
    done = finished(more)
    assert done.returncode == 0, done.stderr
