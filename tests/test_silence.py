"""Libraries are silenced through what threads share: the descriptor of stderr, and Python's stdout."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from srcli.storage.silence import silence_prints, silence_stderr

Silence = Callable[[], AbstractContextManager[None]]


def test_stderr_is_silenced_and_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    with silence_stderr():
        os.write(2, b"lost")
        with silence_stderr():
            os.write(2, b"lost")
        os.write(2, b"lost")
        print("shown")
    os.write(2, b"shown")
    assert capfd.readouterr() == ("shown\n", "shown")


def overlap(silence: Silence, last: Callable[[], object]) -> None:
    """Let a thread leave the block before the one that entered it later, which does `last` in it."""
    entered, in_second, left = threading.Event(), threading.Event(), threading.Event()

    def enter_first() -> None:
        with silence():
            entered.set()
            assert in_second.wait(20)
        left.set()

    thread = threading.Thread(target=enter_first)
    thread.start()
    assert entered.wait(20)
    with silence():
        in_second.set()
        assert left.wait(20)
        last()
    thread.join()


def test_threads_that_overlap_give_stderr_back(capfd: pytest.CaptureFixture[str]) -> None:
    overlap(silence_stderr, lambda: os.write(2, b"lost"))
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"


def test_threads_that_overlap_give_stdout_back(capsys: pytest.CaptureFixture[str]) -> None:
    stream = sys.stdout
    overlap(silence_prints, lambda: print("lost"))
    print("shown")
    assert sys.stdout is stream
    assert capsys.readouterr().out == "shown\n"


def test_prints_of_other_threads_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with silence_prints():
        thread = threading.Thread(target=print, args=["shown"])
        thread.start()
        thread.join()
        kept = sys.stdout  # as a progress bar does that starts now
    print("shown", file=kept)
    assert capsys.readouterr().out == "shown\nshown\n"


@pytest.mark.parametrize("silence", [silence_stderr, silence_prints])
def test_many_threads_leave_nothing_behind(silence: Silence) -> None:
    def decode() -> None:
        for _ in range(100):
            with silence():
                pass

    before = (os.listdir("/proc/self/fd"), sys.stdout)
    threads = [threading.Thread(target=decode) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (os.listdir("/proc/self/fd"), sys.stdout) == before


@pytest.mark.parametrize("closed", ["2", "1", "1, 2"])
def test_closed_descriptors_stay_closed(closed: str) -> None:
    """As after `2>&-`; the number of a closed descriptor is given to the next file that is opened."""
    code = (
        f"import os; closed = [{closed}]\n"
        "for number in closed: os.close(number)\n"
        "from srcli.storage.silence import silence_stderr\n"
        "def check_closed():\n"
        "    for number in (1, 2):\n"
        "        try: os.fstat(number)\n"
        "        except OSError: assert number in closed\n"
        "        else: assert number not in closed\n"
        "with silence_stderr(): check_closed()\n"
        "check_closed()\n"
        "os._exit(7)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
