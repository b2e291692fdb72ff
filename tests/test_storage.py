"""Atomic writes: what is replaced, what is written to as it is, and what a replaced file keeps."""

import os
import stat
import threading
from pathlib import Path

import pytest

from helpers.command import Run
from srcli.errors import FileError
from srcli.storage.files import check_can_write, replace_atomically


def write(path: Path, content: bytes) -> None:
    with replace_atomically(path) as temporary:
        temporary.write_bytes(content)


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    os.chown(path, 12345, 54321)
    write(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "deep" / "real.bin"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
    link = tmp_path / "link.bin"
    link.symlink_to(target)
    write(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["real.bin"]


def test_a_fifo_is_written_to_and_stays(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.bin"
    os.mkfifo(fifo)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    write(fifo, b"x" * 100_000)
    reader.join(timeout=30)
    assert received == [b"x" * 100_000]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def make_null(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        path.write_bytes(b"")
    except OSError as error:
        pytest.skip(f"no devices can be made here: {error}")


def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    null = tmp_path / "null"
    make_null(null)
    write(null, b"gone")
    assert null.is_char_device()


def test_figures_go_into_a_device(tmp_path: Path, sr: Run) -> None:
    """As root, `sr bench --json /dev/null` used to replace the device by a file."""
    null = tmp_path / "null.json"
    make_null(null)
    done = sr("bench", "-d", "samples", "-x4", "-m", "bicubic", "--json", null)
    assert done.code == 0, done.err
    assert null.is_char_device()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs the device /dev/full")
def test_a_full_device_is_an_error(tmp_path: Path) -> None:
    link = tmp_path / "full.bin"
    link.symlink_to("/dev/full")
    with pytest.raises(FileError, match="No space left"):
        write(link, b"x")
    assert Path("/dev/full").is_char_device()


def test_an_open_descriptor_is_written_to(tmp_path: Path) -> None:
    """As in `sr bench --json /dev/fd/3 3> a.json`: whoever holds the file open sees what was written."""
    with (tmp_path / "a.bin").open("w+b") as file:
        write(Path(f"/dev/fd/{file.fileno()}"), b"seen")
        file.seek(0)
        assert file.read() == b"seen"


def test_a_missing_folder_is_no_special_file(tmp_path: Path) -> None:
    check_can_write(tmp_path / "no" / "such" / "a.bin")
    write(tmp_path / "no" / "such" / "a.bin", b"x")
    assert (tmp_path / "no" / "such" / "a.bin").read_bytes() == b"x"
