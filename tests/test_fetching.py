"""Every way in which a download can fail, ordered from the stand-in: one line with a hint, or mended."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.fake_hub import REVISION, FakeHub, serve
from helpers.hub_client import WEIGHTS_PATH, code_with_manifest, make_environment, run_python
from srcli.engine.weights import transfer

CONTENT = bytes(range(256)) * 4096
HEAD, GET = f"HEAD {WEIGHTS_PATH}", f"GET {WEIGHTS_PATH}"


def fetch(
    fake_hub: FakeHub, tmp_path: Path, *arguments: str, **changes: object
) -> subprocess.CompletedProcess[str]:
    """`sr models fetch edsr --yes` of a file with CONTENT."""
    fake_hub.files.setdefault(WEIGHTS_PATH, CONTENT)
    words = list(arguments) or ["models", "fetch", "edsr", "--yes"]
    return run_python(code_with_manifest(tmp_path, CONTENT, [*words], **changes), tmp_path, fake_hub.url)


def cached(tmp_path: Path) -> list[Path]:
    """All whole files that the cache holds."""
    blobs = tmp_path / "hf" / "hub" / "models--who--edsr" / "blobs"
    return [blob for blob in blobs.glob("*") if not blob.name.endswith(".incomplete")]


def is_one_line(done: subprocess.CompletedProcess[str], message: str, hint: str = "") -> None:
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1, done.stderr
    assert len(errors) == 1
    assert message in errors[0]
    assert hint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_first_download_then_no_request(fake_hub: FakeHub, tmp_path: Path) -> None:
    done = fetch(fake_hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 file to download, 1.0 MB" in done.stderr
    path = Path(done.stdout.split("  ")[1].strip())
    assert path.read_bytes() == CONTENT
    fake_hub.requests.clear()
    again = fetch(fake_hub, tmp_path)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert fetch(fake_hub, tmp_path, "models", "path", "edsr").stdout.strip() == str(path)
    assert fake_hub.requests == []


@pytest.mark.parametrize("fault", ["busy", "spoil", "reset"])
def test_a_fault_that_passes_is_mended(fault: str, fake_hub: FakeHub, tmp_path: Path) -> None:
    faults = {"busy": HEAD, "spoil": GET, "reset": GET}
    fake_hub.faults[faults[fault]] = [fault]
    done = fetch(fake_hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [blob.read_bytes() for blob in cached(tmp_path)] == [CONTENT]


@pytest.mark.slow
def test_a_server_that_falls_silent_in_mid_body_is_resumed(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.files[WEIGHTS_PATH] = CONTENT
    fake_hub.faults[GET] = ["stall"]
    code = "import os\nos.environ['HF_HUB_DOWNLOAD_TIMEOUT'] = '1'\n"
    code += code_with_manifest(tmp_path, CONTENT, ["models", "fetch", "edsr", "--yes"])
    done = run_python(code, tmp_path, fake_hub.url)
    assert done.returncode == 0, done.stderr
    assert fake_hub.count("GET") == 2
    assert [blob.read_bytes() for blob in cached(tmp_path)] == [CONTENT]


def test_transfers_that_always_break_off_are_told(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.faults[GET] = ["reset"] * 99
    is_one_line(fetch(fake_hub, tmp_path), "download of who/edsr/edsr.pt failed", "try again later")
    assert cached(tmp_path) == []


def test_a_wrong_digest_twice_names_both_and_keeps_nothing(fake_hub: FakeHub, tmp_path: Path) -> None:
    listed = "1" * 64
    done = fetch(fake_hub, tmp_path, sha256=listed)
    is_one_line(done, f"not {listed}")
    assert fake_hub.count("GET") == 2
    assert cached(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        ("no repository", "there is no repository who/edsr", "HF_TOKEN"),
        ("no revision", f"who/edsr has no revision {REVISION}", "update sr"),
        ("no file", "who/edsr has no file edsr.pt", "update sr"),
        ("gated", "who/edsr is gated", "accept its terms"),
    ],
)
def test_what_the_hub_refuses_is_told(
    fault: str, message: str, hint: str, fake_hub: FakeHub, tmp_path: Path
) -> None:
    fake_hub.faults[HEAD] = [fault] * 9
    is_one_line(fetch(fake_hub, tmp_path), message, hint)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["busy", "hang"])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_server_that_stays_down_costs_ten_seconds(
    size: int | None, fault: str, fake_hub: FakeHub, tmp_path: Path
) -> None:
    fake_hub.faults[HEAD] = [fault] * 99
    start = time.monotonic()
    done = fetch(fake_hub, tmp_path, bytes=size)
    assert time.monotonic() - start < 40  # 10 s are promised; a busy machine starts Python slowly
    is_one_line(done, "who/edsr/edsr.pt")
    # Not once for the size and once more for the file.
    assert fake_hub.count("HEAD") <= 20


def test_bodies_may_come_from_another_host(fake_hub: FakeHub, tmp_path: Path) -> None:
    with serve() as other:
        other.files[WEIGHTS_PATH] = CONTENT
        fake_hub.elsewhere = other.url.replace("127.0.0.1", "localhost")
        done = fetch(fake_hub, tmp_path)
        assert done.returncode == 0, done.stderr
        assert other.count("GET") == 1
        assert fake_hub.count("GET") == 0


def test_offline_with_and_without_cache(fake_hub: FakeHub, tmp_path: Path) -> None:
    offline = "import os\nos.environ['HF_HUB_OFFLINE'] = '1'\n"
    code = offline + code_with_manifest(tmp_path, CONTENT, ["models", "fetch", "edsr", "--yes"])
    is_one_line(run_python(code, tmp_path, fake_hub.url), "HF_HUB_OFFLINE is set", "unset it")
    assert fetch(fake_hub, tmp_path).returncode == 0
    fake_hub.requests.clear()
    done = run_python(code, tmp_path, fake_hub.url)
    assert done.returncode == 0, done.stderr
    assert fake_hub.requests == []


def test_a_cache_that_cannot_be_written(fake_hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "hf").write_text("a file where the cache would be")
    is_one_line(fetch(fake_hub, tmp_path), "cannot write into", "HF_HOME")


def test_a_full_disk(fake_hub: FakeHub, tmp_path: Path) -> None:
    """A file system of 200 kB, mounted where only the client sees it."""
    (tmp_path / "hf").mkdir()
    mount = f"mount -t tmpfs -o size=200k tmpfs {tmp_path / 'hf'}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a file system")
    fake_hub.files[WEIGHTS_PATH] = CONTENT
    code = code_with_manifest(tmp_path, CONTENT, ["models", "fetch", "edsr", "--yes"])
    (tmp_path / "code.py").write_text(code)
    script = f"{mount} && exec {sys.executable} {tmp_path / 'code.py'}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=make_environment(tmp_path, fake_hub.url),
    )
    is_one_line(done, "no room for edsr.pt", "free some disk space")


def test_two_processes_fetch_the_same_file(fake_hub: FakeHub, tmp_path: Path) -> None:
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: results.append(fetch(fake_hub, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.returncode for done in results] == [0, 0], results
    assert len({done.stdout for done in results}) == 1
    assert [blob.read_bytes() for blob in cached(tmp_path)] == [CONTENT]


def test_a_digest_that_only_the_hub_states_is_checked(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.faults[GET] = ["spoil"]
    done = fetch(fake_hub, tmp_path, sha256="stated by the Hub")
    assert done.returncode == 0, done.stderr
    assert fake_hub.count("GET") == 2
    fake_hub.files[WEIGHTS_PATH] = CONTENT[::-1]
    (blob,) = cached(tmp_path)
    blob.write_bytes(CONTENT[::-1])
    done = fetch(fake_hub, tmp_path, "models", "verify", sha256="stated by the Hub")
    is_one_line(done, "edsr-x4 is damaged: its SHA-256 is", "sr models rm edsr-x4")


def test_verify_online_asks_by_head_alone(fake_hub: FakeHub, tmp_path: Path) -> None:
    done = fetch(fake_hub, tmp_path, "models", "verify", "--online", bytes=len(CONTENT))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "edsr-x4  not on this machine, unchanged on the Hub, 1.0 MB\n"
    fake_hub.files[WEIGHTS_PATH] = CONTENT + b"more"
    done = fetch(fake_hub, tmp_path, "models", "verify", "--online", bytes=len(CONTENT))
    is_one_line(done, "edsr-x4: the Hub states digest", "update sr")
    assert fake_hub.count("GET") == 0


@pytest.mark.slow
def test_rm_deletes_the_content(fake_hub: FakeHub, tmp_path: Path) -> None:
    assert fetch(fake_hub, tmp_path).returncode == 0
    assert fetch(fake_hub, tmp_path, "models", "rm", "edsr-x4").stdout == "edsr-x4  deleted\n"
    assert cached(tmp_path) == []
    is_one_line(
        fetch(fake_hub, tmp_path, "models", "path", "edsr"), "not on this machine", "sr models fetch edsr-x4"
    )
    assert fetch(fake_hub, tmp_path, "models", "rm", "edsr-x4").stdout == "edsr-x4  not on this machine\n"


def parts(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "hf" / "hub" / "models--who--edsr" / "blobs").glob("*.incomplete"))


@pytest.mark.parametrize("fault", ["endless", "gzip"])
def test_a_body_ends_at_its_stated_size(fault: str, fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.faults[GET] = [fault] * 9
    done = fetch(fake_hub, tmp_path, bytes=len(CONTENT))
    is_one_line(done, "sends more than the 1,048,576 bytes of edsr.pt")
    assert (cached(tmp_path), parts(tmp_path)) == ([], [])


def test_what_is_there_of_a_file_is_continued_and_what_is_old_is_swept(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    blobs = tmp_path / "hf" / "hub" / "models--who--edsr" / "blobs"
    blobs.mkdir(parents=True)
    part = blobs / f"{hashlib.sha256(CONTENT).hexdigest()}.incomplete"
    part.write_bytes(CONTENT[:700_000])
    old, new = blobs / "a.1234.incomplete", blobs / "b.1234.incomplete"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, 0))
    sent: list[str] = []
    fake_hub.ranges = sent
    done = fetch(fake_hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sent == ["bytes=700000-"]
    assert [blob.read_bytes() for blob in cached(tmp_path)] == [CONTENT]
    assert parts(tmp_path) == [new]


def test_a_transfer_that_breaks_off_is_continued_by_the_next_command(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    fake_hub.faults[GET] = ["reset"] * 3
    assert fetch(fake_hub, tmp_path).returncode == 1
    sent: list[str] = []
    fake_hub.ranges = sent
    assert fetch(fake_hub, tmp_path).returncode == 0
    assert [blob.read_bytes() for blob in cached(tmp_path)] == [CONTENT]
    assert len(sent) <= 1


def test_get_is_repeated_like_head(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.faults[GET] = ["busy", "busy"]
    fake_hub.faults[HEAD] = ["busy", "busy"]
    done = fetch(fake_hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert fake_hub.count("GET") == 3


@pytest.mark.parametrize("method", [HEAD, GET])
def test_a_server_may_ask_for_some_patience(method: str, fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.faults[method] = ["wait 2"]
    start = time.monotonic()
    done = fetch(fake_hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start > 2


@pytest.mark.parametrize("method", [HEAD, GET])
def test_more_than_30_seconds_are_told(method: str, fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.faults[method] = ["wait 3600"] * 9
    done = fetch(fake_hub, tmp_path, bytes=len(CONTENT))
    is_one_line(done, "answers 503 for who/edsr/edsr.pt", "try again in 3,600 s")
    assert len(fake_hub.faults[method]) == 8


def test_all_waits_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy(Exception):  # noqa: N818
        response = SimpleNamespace(headers={"Retry-After": "12"})

    now = [100.0]
    monkeypatch.setattr(transfer.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: now.append(now.pop() + seconds))
    give_up = now[0] + transfer.DEADLINE
    waits = 0
    while transfer.wait_for_server(Busy(), give_up):
        waits += 1
    assert waits == 2


@pytest.mark.slow
def test_a_server_that_refuses_bodies_costs_ten_seconds(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.faults[GET] = ["busy"] * 99
    start = time.monotonic()
    is_one_line(fetch(fake_hub, tmp_path), "answers 503 for who/edsr/edsr.pt")
    assert time.monotonic() - start < 40  # 10 s are promised; a busy machine starts Python slowly


@pytest.mark.parametrize(
    ("method", "fault", "message"),
    [
        (GET, "page", "sends a web page instead of edsr.pt"),
        (HEAD, "page", "answers without the commit of edsr.pt: it is no Hub, or a proxy or a login page"),
        (HEAD, "bare", "answers without the commit of edsr.pt"),
        (HEAD, "astray", "redirects to http://localhost:9/login without the commit of edsr.pt"),
    ],
)
def test_who_answers_in_place_of_the_hub_is_told(
    method: str, fault: str, message: str, fake_hub: FakeHub, tmp_path: Path
) -> None:
    fake_hub.faults[method] = [fault] * 9
    is_one_line(fetch(fake_hub, tmp_path), message, "HF_ENDPOINT")
    assert cached(tmp_path) == []


def test_a_damaged_copy_is_told_when_no_other_can_be_had(fake_hub: FakeHub, tmp_path: Path) -> None:
    assert fetch(fake_hub, tmp_path).returncode == 0
    (blob,) = cached(tmp_path)
    blob.write_bytes(CONTENT[::-1])
    offline = "import os\nos.environ['HF_HUB_OFFLINE'] = '1'\n"
    code = offline + code_with_manifest(tmp_path, CONTENT, ["models", "fetch", "edsr", "--yes"])
    message = "the copy of who/edsr/edsr.pt in the cache is damaged, and no other can be had: HF_HUB_OFFLINE"
    is_one_line(run_python(code, tmp_path, fake_hub.url), message)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HF_ENDPOINT", "huggingface", "HF_ENDPOINT=huggingface is not an address"),
        ("HF_ENDPOINT", "http://127.0.0.1:99999", "is not an address"),
        ("HF_ENDPOINT", "ftp://a", "is not an address"),
        ("HTTP_PROXY", "http://127.0.0.1:port", "http_proxy=http://127.0.0.1:port is not an address"),
        ("HTTP_PROXY", "socks9://127.0.0.1:1", "is not an address"),
        ("http_proxy", "http://[::1", "is not an address"),
        ("HF_HUB_ETAG_TIMEOUT", "soon", "HF_HUB_ETAG_TIMEOUT=soon is not a number of seconds"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "-1", "HF_HUB_DOWNLOAD_TIMEOUT=-1 is not a number of seconds"),
    ],
)
def test_a_wrong_variable_is_one_line(
    name: str, value: str, message: str, fake_hub: FakeHub, tmp_path: Path
) -> None:
    code = f"import os\nos.environ[{name!r}] = {value!r}\n"
    code += code_with_manifest(tmp_path, CONTENT, ["models", "fetch", "edsr", "--yes"])
    is_one_line(run_python(code, tmp_path, fake_hub.url), message)
