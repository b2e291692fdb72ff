"""Damaged files of our own cost one line, and nothing is lost: results, ratings, jobs, states of training."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.command import BICUBIC_X2, Run
from helpers.networks import CPU
from srcli.bench import results
from srcli.engine.measurements import read_measurement
from srcli.errors import SrError
from srcli.report.rating_page import FORMAT
from srcli.report.ratings import read_ratings
from srcli.train import recipes
from srcli.train.state import STATE, resume, save, start

_ROW = {"dataset": "a", "scale": 2, "method": "m", "images": 1, "psnr_y": 30.0, "ssim_y": 0.9}
_GOOD = {
    "protocol": "y-crop",
    "columns": [{"key": "psnr_y", "heading": "PSNR-Y", "digits": 2, "better": "higher"}],
    "conditions": {"version": "1"},
    "rows": [{**_ROW, "seconds_per_image": 1.0, "params": 0}],
    "images": [{"dataset": "a", "scale": 2, "method": "m", "image": "i", "psnr_y": 30.0, "seconds": 1.0}],
    "failures": [],
}


def change(path: str, value: Any) -> dict[str, Any]:
    """Return a good result file with one value changed; `path` such as `rows.0.scale`."""
    raw: Any = json.loads(json.dumps(_GOOD))
    *above, last = path.split(".")
    target = raw
    for key in above:
        target = target[int(key) if key.isdecimal() else key]
    target[int(last) if last.isdecimal() else last] = value
    return dict(raw)


_CHANGES = [
    ("columns.0.digits", 10**9),
    ("columns.0.digits", -1),
    ("columns.0.better", "sideways"),
    ("columns.0.key", "lpips"),
    ("columns.0.extra", 1),
    ("columns", {"a": 1}),
    ("rows", []),
    ("rows", 5),
    ("rows.0.scale", "2"),
    ("rows.0.scale", -2),
    ("rows.0.scale", 10**400),
    ("rows.0.scale", [1]),
    ("rows.0.method", None),
    ("rows.0.method", "m" * 20_000),
    ("rows.0.params", 1.5),
    ("rows.0.images", True),
    ("rows.0.psnr_y", "many"),
    ("rows.0.psnr_y", float("nan")),
    ("rows.0.psnr_y", []),
    ("images.0.seconds", {}),
    ("images.0", 3),
    ("failures", [{"dataset": 1}]),
    ("conditions", {"threads": "4"}),
    ("conditions", []),
    ("protocol", None),
]


@pytest.mark.parametrize(("path", "value"), [pytest.param(*each, id=str(each)[:40]) for each in _CHANGES])
def test_a_changed_result_file_costs_one_line(path: str, value: Any, tmp_path: Path, sr: Run) -> None:
    file = tmp_path / "r.json"
    file.write_text(json.dumps(change(path, value)))
    outputs = ("--html", tmp_path / "r.html", "--csv", tmp_path / "r.csv", "--stats", "--published")
    done = sr("bench", "--from", file, *outputs)
    if path == "protocol":
        assert done.code == 0
        return
    assert done.code == 1, done.out
    assert done.err.startswith(f"error: {file} holds no results: ")
    assert len(done.err.splitlines()) == 2
    assert len(done.err) < 600


@pytest.mark.parametrize(
    "data", [b"", b"[" * 100_000, b"\xff\xfe", b"{}", b"null", b"1" * 10_000], ids=lambda data: str(data[:5])
)
def test_other_files_are_no_results_and_no_ratings(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(data)
    with pytest.raises(SrError, match="holds no results"):
        results.read_results(tmp_path / "r.json")
    with pytest.raises(SrError, match="not a file of ratings"):
        read_ratings([tmp_path / "r.json"])
    assert read_measurement(tmp_path / "r.json") in (None, {})


@pytest.mark.skipif(not Path("/dev/zero").is_char_device(), reason="needs the device /dev/zero")
def test_endless_files_are_refused(sr: Run) -> None:
    done = sr("bench", "--from", "/dev/zero")
    assert done.code == 1
    assert "holds no results: larger than" in done.err


@pytest.mark.parametrize(
    "damage",
    [
        {"key": "bm90IGpzb24="},
        {"key": "W10="},
        {"key": 5},
        {"ratings": [5]},
        {"ratings": [{"item": "x", "score": 3}]},
        {"ratings": {"a": 1}},
        {"kind": None},
        {"comparison": []},
    ],
    ids=str,
)
def test_damaged_ratings_cost_one_line(damage: dict[str, Any], tmp_path: Path, sr: Run) -> None:
    good = {"format": FORMAT, "session": "s", "comparison": "c", "kind": "scores", "key": "e30="}
    file = tmp_path / "r.json"
    file.write_text(json.dumps(good | {"ratings": [{"item": "a", "score": 3}]} | damage))
    done = sr("bench", "--ratings", file)
    assert done.code == 1
    assert len(done.err.splitlines()) == 2


@pytest.fixture
def job(photos: Path, in_tmp: Path, sr: Run) -> Path:
    """A finished job in the file mine.db."""
    assert sr("upscale", "photos", *BICUBIC_X2, "-o", "out", "--job", "./mine.db").code == 0
    return in_tmp / "mine.db"


def run_again(sr: Run, *arguments: str) -> Any:
    return sr("upscale", "photos", *BICUBIC_X2, "-o", "out", "--job", "./mine.db", *arguments)


def edit(job: Path, statement: str) -> None:
    database = sqlite3.connect(job)
    with database:
        database.execute(statement)
    database.close()


def test_flipped_bits_in_a_job_never_lose_it(job: Path, sr: Run) -> None:
    original, rng = job.read_bytes(), random.Random(0)
    for _ in range(25):
        data = bytearray(original)
        for _ in range(8):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        job.write_bytes(data)
        for command in (("jobs", "show", "./mine.db"), ("jobs", "export", "./mine.db"), ()):
            done = sr(*command) if command else run_again(sr)
            assert done.code in (0, 1, 2, 3)
            assert done.err.count("error: ") <= 1, done.err
        assert job.exists()


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE units SET state = 'odd'", 0),
        ("UPDATE units SET state = 5", 0),
        ("UPDATE units SET target = 5, state = 'pending' WHERE id = 1", 3),
        ("UPDATE units SET source = x'00', state = 'pending' WHERE id = 1", 1),
        ("UPDATE units SET ended = 'late', seconds = 'long'", 0),
        ("UPDATE about SET value = '[[[' WHERE key = 'settings'", 1),
        ("UPDATE about SET value = '5' WHERE key = 'settings'", 1),
        ("DROP TABLE about", 1),
    ],
)
def test_odd_values_in_a_job(statement: str, code: int, job: Path, sr: Run) -> None:
    edit(job, statement)
    shown, exported = sr("jobs", "show", "./mine.db"), sr("jobs", "export", "./mine.db")
    assert {shown.code, exported.code} <= {0, 1}
    again = run_again(sr)
    assert again.code == code, again.err
    assert again.err.count("error: ") == (1 if code else 0)
    assert job.exists()
    assert len(list(Path("out").iterdir())) == 3


def test_deleted_outputs_are_made_again_when_asked(job: Path, sr: Run) -> None:
    Path("out/coffee_x2.png").unlink()
    assert "3 of 3 done" in run_again(sr).err
    assert not Path("out/coffee_x2.png").exists()
    assert run_again(sr, "--rescan").code == 0
    assert Path("out/coffee_x2.png").exists()
    Path("out/chelsea_x2.png").unlink()
    assert "1 images marked" in sr("jobs", "retry", "./mine.db", "--missing").err
    assert run_again(sr).code == 0
    assert Path("out/chelsea_x2.png").exists()


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs mount name spaces")
def test_a_job_on_a_read_only_disk_can_be_shown(job: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    shutil.copy(job, disk / "mine.db")
    script = (
        f"mount --bind {disk} {disk} && mount -o remount,ro,bind {disk} && "
        f"python -m srcli jobs show {disk}/mine.db && python -m srcli jobs export {disk}/mine.db"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{Path(os.sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("needs mount name spaces")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 done" in done.stdout
    assert done.stdout.count(",done,") == 3


@pytest.mark.parametrize(
    "saved",
    [b"", b"PK\x03\x04", {}, [], {"recipe": {}}, {"step": -5}, {"step": True}, {"rate": 0.0}, {"best": "a"}],
    ids=str,
)
def test_a_damaged_state_of_training_costs_one_line(saved: Any, tmp_path: Path) -> None:
    recipe = recipes.find("fsrcnn", 2)
    save(tmp_path, start(recipe, CPU), recipe)
    assert resume(tmp_path, CPU, {})[0].step == 0
    path = tmp_path / STATE
    if isinstance(saved, bytes):
        path.write_bytes(saved)
    elif saved and isinstance(saved, dict) and "recipe" not in saved:
        torch.save(torch.load(path) | saved, path)
    else:
        torch.save(saved, path)
    with pytest.raises(SrError, match=r"state.pt does not fit this run: ."):
        resume(tmp_path, CPU, {})
