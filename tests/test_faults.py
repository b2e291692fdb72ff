"""What goes wrong in the middle: signals, disks, folders and bombs leave no half-written file."""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from helpers.command import BICUBIC_X2, Run, start_sr, wait_until
from helpers.images import write_noise_images
from srcli.batch import execution
from srcli.imaging.codecs.png import PngCodec
from srcli.imaging.image import Image, read_image, write_image
from srcli.upscaling.pipeline import Pipeline


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_leave_whole_files_only(number: signal.Signals, tmp_path: Path) -> None:
    folder, out = write_noise_images(tmp_path / "in", 40), tmp_path / "out"
    process = start_sr("upscale", folder, *BICUBIC_X2, "-o", out, cwd=tmp_path)
    wait_until(lambda: out.is_dir() and len(list(out.glob("[!.]*.png"))) >= 3)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    done = list(out.glob("[!.]*.png"))
    assert 3 <= len(done) < 40
    for path in done:
        assert read_image(path).size == (600, 600)
    if number == signal.SIGKILL:
        return
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "of 40 done, add --skip-existing to continue" in err
    assert list(out.glob(".*")) == []


def test_killed_and_gone_on(tmp_path: Path) -> None:
    folder, out = write_noise_images(tmp_path / "in", 15), tmp_path / "out"
    words = ("upscale", folder, *BICUBIC_X2, "-o", out, "--skip-existing")
    process = start_sr(*words, cwd=tmp_path)
    wait_until(lambda: out.is_dir() and len(list(out.glob("[!.]*.png"))) >= 3)
    process.kill()
    process.communicate(timeout=60)
    before = {path: path.stat().st_mtime_ns for path in out.glob("[!.]*.png")}
    process = start_sr(*words, cwd=tmp_path)
    told, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert told.count("is up to date") == len(before)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert len(list(out.glob("[!.]*.png"))) == 15


def test_a_full_disk_is_told_once(tmp_path: Path) -> None:
    """On a small disk of its own; what fits stays, the rest is not tried."""
    folder, disk = write_noise_images(tmp_path / "in", 12, 200), tmp_path / "disk"
    disk.mkdir()
    words = [sys.executable, "-m", "srcli", "upscale", str(folder), *BICUBIC_X2, "-o", str(disk)]
    mount = f"mount -t tmpfs -o size=2m tmpfs {disk} && {' '.join(words)}; code=$?; ls -A {disk}; exit $code"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("needs mount name spaces")
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("No space left on device") == 1
    assert "not tried" in done.stderr
    left = [line for line in done.stdout.splitlines() if " -> " not in line]
    assert left
    assert all(name.endswith("_x2.png") and not name.startswith(".") for name in left)


@pytest.mark.parametrize("arguments", [("-o", "-"), ()])
@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs the device /dev/full")
def test_a_full_disk_behind_stdout(arguments: tuple[str, ...], photo: Path) -> None:
    words = [sys.executable, "-m", "srcli", "upscale", str(photo), *BICUBIC_X2, *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "error: cannot write to stdout: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Whole outputs only, however far it was; and all is done in the end."""
    folder, out = write_noise_images(tmp_path / "in", 8), tmp_path / "out"
    words = ("upscale", folder, *BICUBIC_X2, "-o", out, "--skip-existing")
    moments = np.random.default_rng(int(time.time())).uniform(0.3, 1.5, 3)
    for moment in moments:
        process = start_sr(*words, cwd=tmp_path)
        time.sleep(moment)
        process.kill()
        process.communicate(timeout=60)
        for path in out.glob("[!.]*.png"):
            assert read_image(path).size == (600, 600), moments
    process = start_sr(*words, cwd=tmp_path)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert len(list(out.glob("[!.]*.png"))) == 8
    assert len(list(out.glob(".*"))) <= len(moments)


def test_the_output_folder_vanishes_under_a_running_batch(tmp_path: Path) -> None:
    """What comes later is there; at most the image in hand is lost, and named."""
    folder, out = write_noise_images(tmp_path / "in", 15), tmp_path / "out"
    process = start_sr("upscale", folder, *BICUBIC_X2, "-o", out, "--json", cwd=tmp_path)
    wait_until(lambda: out.is_dir() and len(list(out.glob("[!.]*.png"))) >= 3)
    gone = {path.name for path in out.glob("[!.]*.png")}
    out.rename(tmp_path / "moved")
    told, err = process.communicate(timeout=60)
    records = [json.loads(line) for line in told.splitlines()]
    failed = [record for record in records if record["status"] == "failed"]
    assert len(failed) <= 1
    assert process.returncode == (3 if failed else 0)
    assert "Traceback" not in err
    there = {path.name for place in (out, tmp_path / "moved") for path in place.glob("[!.]*.png")}
    assert len(there) == 15 - len(failed)
    assert gone <= there


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write anywhere")
def test_the_right_to_write_is_lost_under_a_running_batch(tmp_path: Path) -> None:
    folder, out = write_noise_images(tmp_path / "in", 15), tmp_path / "out"
    prefix = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()
    process = start_sr("upscale", folder, *BICUBIC_X2, "-o", out, cwd=tmp_path, prefix=prefix)
    wait_until(lambda: out.is_dir() and len(list(out.glob("[!.]*.png"))) >= 3)
    out.chmod(0o555)
    _, err = process.communicate(timeout=60)
    out.chmod(0o755)
    done = list(out.glob("[!.]*.png"))
    assert process.returncode == 3
    assert 3 <= len(done) < 15
    assert f"{15 - len(done)} of 15 failed" in err
    assert err.count("error: ") <= 2
    assert "ermission denied" in err or f"cannot write into {out}" in err
    assert all(read_image(path).size == (600, 600) for path in done)


def test_a_folder_that_vanishes_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    folder, out = write_noise_images(tmp_path / "in", 4, 20), tmp_path / "out"
    plain, written = PngCodec.write, []

    def encode(*arguments: object) -> None:
        plain(*arguments)  # type: ignore[arg-type]
        written.append(1)
        if len(written) == 2:
            shutil.rmtree(out)

    monkeypatch.setattr(PngCodec, "write", encode)
    monkeypatch.setattr(execution, "_MOST_OVERLAPPED", 1)  # else, those that are lost depend on chance
    done = sr("upscale", folder, *BICUBIC_X2, "-o", out)
    assert done.code == 3
    assert "cannot write" in done.err
    assert sorted(path.name for path in out.iterdir()) == ["002_x2.png", "003_x2.png"]


def test_permission_lost_in_the_middle_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    folder, out = write_noise_images(tmp_path / "in", 6, 20), tmp_path / "out"
    plain = os.access

    def access(path: object, mode: int) -> bool:
        return plain(path, mode) and not (  # type: ignore[arg-type]
            mode == os.W_OK and str(path) == str(out) and len(list(out.iterdir())) >= 2
        )

    monkeypatch.setattr(os, "access", access)
    done = sr("upscale", folder, *BICUBIC_X2, "-o", out)
    assert done.code == 3
    assert len(list(out.iterdir())) == 2
    assert done.err.count("error: ") == 1
    assert f"cannot write into {out}" in done.err
    assert "4 of 6 failed" in done.err


def test_memory_that_does_not_suffice_is_named(photo: Path, monkeypatch: pytest.MonkeyPatch, sr: Run) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Pipeline, "run", fail)
    done = sr("upscale", photo, *BICUBIC_X2)
    assert done.code == 1
    assert "not enough memory for" in done.err


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG whose header promises more than anybody has."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )
    return path


def headers(tmp_path: Path) -> list[Path]:
    hdr, pfm, ppm, tif = (tmp_path / f"bomb.{name}" for name in ("hdr", "pfm", "ppm", "tif"))
    hdr.write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 999999 +X 999999\n")
    pfm.write_bytes(b"PF\n999999 999999\n-1.0\n")
    ppm.write_bytes(b"P6 999999 999999 255\n")
    entries = [
        (256, 4, 999999),
        (257, 4, 999999),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (279, 4, 8),
    ]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    tif.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4))
    return [bomb(tmp_path / "bomb.png", 999999, 999999), hdr, pfm, ppm, tif]


def test_bombs_are_refused_at_once_in_every_format(tmp_path: Path, sr: Run) -> None:
    for path in headers(tmp_path):
        done = sr("upscale", path, *BICUBIC_X2, "-o", tmp_path / "o.png")
        assert done.code == 1
        assert "999999x999999 pixels, more than the 16,777,216 allowed" in done.err, path
        assert "--max-pixels" in done.err


@pytest.mark.parametrize(("name", "side"), [("webp", 16384), ("gif", 65536), ("jpg", 65536), ("avif", 32769)])
def test_what_a_format_is_too_small_for_is_told_first(name: str, side: int, tmp_path: Path, sr: Run) -> None:
    write_image(tmp_path / "long.png", Image(np.zeros((4, 4096, 3), np.float32)))
    done = sr("upscale", tmp_path / "long.png", "-m", "bicubic", "--size", f"{side}x4!", "--format", name)
    assert done.code == 1
    assert f".{name} holds" in done.err
    assert f"not {side}x4" in done.err


def test_the_limit_is_the_users(photo: Path, sr: Run) -> None:
    done = sr("upscale", photo, *BICUBIC_X2, "--max-pixels", "4799")
    assert (done.code, "80x60 pixels, more than the 4,799 allowed" in done.err) == (1, True)
    assert sr("upscale", photo, *BICUBIC_X2, "--max-pixels", "4800").code == 0
    assert (
        sr("upscale", bomb(photo.with_name("b.png"), 9999, 9999), *BICUBIC_X2, "--max-pixels", "5").code == 1
    )
