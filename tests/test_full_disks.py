"""Every writer on a full disk: one line, nothing half-written, nothing left."""

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import SAMPLES
from srcli.storage import files
from srcli.storage.files import replace_atomically, sweep_folder

_IMAGE = SAMPLES / "chelsea.png"
# The arguments of sr; {disk} is a disk of 100 kB on which nothing is left.
_WRITERS = {
    "an image": f"upscale {_IMAGE} -m bicubic -x4 -o {{disk}}/a.png",
    "an image by rows": f"upscale {_IMAGE} -m bicubic -x4 --stream -o {{disk}}/a.tif",
    "a map": f"upscale {_IMAGE} -m bicubic -x2 -o {{other}}/a.png --overwrite --uncertainty {{disk}}/u.png",
    "a job": f"upscale {SAMPLES} -m bicubic -x2 -o {{other}}/out --job {{disk}}/mine.db",
    "results": "bench -d samples -m bicubic -x4 --json {disk}/r.json",
    "a page": "bench -d samples -m bicubic -x4 --html {disk}/r.html",
    "plots": "bench -d samples -m bicubic -m lanczos -x4 --plots {disk}/plots",
    "saved images": "bench -d samples -m bicubic -x4 --save {disk}/sr",
    "a comparison": f"compare {_IMAGE} -m bicubic -m lanczos -x4 -o {{disk}}/a.html",
    "a figure": f"compare {_IMAGE} -m bicubic -x4 -o {{disk}}/a.pdf",
    "onnx": "export fsrcnn -x2 --to onnx -o {disk}/a.onnx",
    "ncnn": "export fsrcnn -x2 --to ncnn -o {disk}/a.param",
    "torchscript": "export fsrcnn -x2 --to torchscript -o {disk}/a.pt",
    "training": f"train fsrcnn -x2 --data {SAMPLES} --valid {SAMPLES} --allow-leak --steps 2 --patch 16"
    " --batch 1 --out {disk}/run --device cpu",
}
_SLOW = (
    "results",
    "a page",
    "plots",
    "saved images",
    "training",
    "onnx",
    "torchscript",
    "ncnn",
    "a comparison",
    "a figure",
)


@pytest.mark.parametrize(
    "writer", [pytest.param(name, marks=pytest.mark.slow if name in _SLOW else ()) for name in _WRITERS]
)
def test_a_full_disk_costs_one_line(writer: str, tmp_path: Path) -> None:
    disk, other = tmp_path / "disk", tmp_path / "other"
    disk.mkdir()
    other.mkdir()
    command = _WRITERS[writer].format(disk=disk, other=other)
    script = (
        f"mount -t tmpfs -o size=100k tmpfs {disk} && head -c 1000000 /dev/zero > {disk}/filler 2>/dev/null;"
        f" {sys.executable} -m srcli {command}; code=$?; find {disk} -type f; exit $code"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("needs mount name spaces")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1, done.stderr
    left = {Path(line).name for line in done.stdout.splitlines() if line.startswith(str(disk))}
    # A job's files are kept, even empty ones: the next run uses them.
    assert left - {"mine.db", "mine.db-wal", "mine.db-shm", "mine.db.lock"} == {"filler"}


def test_the_next_run_removes_what_killed_processes_left(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from srcli.storage.files import replace_atomically\n"
        "with replace_atomically(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.png")], check=False)
    (left,) = tmp_path.iterdir()
    elsewhere = tmp_path / left.name.replace(files._name_host(), "0" * 6)
    elsewhere.touch()  # by another machine that shares the folder, and may be alive
    sweep_folder.cache_clear()
    with replace_atomically(tmp_path / "b.png") as own:
        sweep_folder.cache_clear()
        sweep_folder(tmp_path)
        assert own.exists()
        own.write_bytes(b"b")
    assert {path.name for path in tmp_path.iterdir()} == {"b.png", elsewhere.name}
