"""Stores: what is fetched and put is what a folder would give, whole or not at all; errors are one line."""

import base64
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image as PilImage

from helpers.command import NEAREST_X2, Run, start_sr
from helpers.fake_hub import REVISION, FakeHub
from helpers.fake_s3 import serve_s3
from helpers.images import write_tiny_images
from helpers.jobs import count_states
from srcli import datasets
from srcli.batch import job_store
from srcli.batch.planning import Layout, iterate_tasks, plan_outputs
from srcli.errors import UsageError
from srcli.storage import locations
from srcli.storage.locations import RemotePath, parse_location
from srcli.upscaling.task import UpscaleTask


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty `memory://`."""
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serve_s3() as url:
        yield url


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real S3 server with an empty bucket `box`."""
    s3fs = pytest.importorskip("s3fs")
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = fsspec.filesystem("s3", use_listings_cache=False)
    system.mkdir("box")
    yield system
    system.rm("box", recursive=True)


def send(system: Any, folder: Path, to: str) -> None:
    for path in sorted(folder.rglob("*.*")):
        system.pipe_file(f"{to}/{path.relative_to(folder)}", path.read_bytes())


def pixels(content: bytes) -> "np.ndarray[Any, Any]":
    return np.asarray(PilImage.open(io.BytesIO(content)))


def local(folder: Path, out: Path, sr: Run, *more: str) -> dict[str, "np.ndarray[Any, Any]"]:
    """What the same command makes of a folder."""
    assert sr("upscale", folder, *NEAREST_X2, "-o", out, *more).code == 0
    return {str(path.relative_to(out)): pixels(path.read_bytes()) for path in out.rglob("*.png")}


def same(system: Any, top: str, wanted: dict[str, "np.ndarray[Any, Any]"]) -> bool:
    names = {name.strip("/").removeprefix(f"{top}/") for name in system.find(top)}
    assert names == set(wanted)
    return all((pixels(system.cat_file(f"{top}/{name}")) == wanted[name]).all() for name in wanted)


TEXTS = [
    ("a//b.png", Path("a/b.png")),
    ("file:///a/b.png", Path("/a/b.png")),
    ("s3://b/a.png", RemotePath("s3", "b/a.png")),
    ("S3://b/scans/", RemotePath("s3", "b/scans")),
    ("memory:///a.png", RemotePath("memory", "a.png")),
    ("a:b.png", Path("a:b.png")),
]


@pytest.mark.parametrize(("text", "meant"), TEXTS)
def test_what_names_mean(text: str, meant: object) -> None:
    assert parse_location(text) == meant
    assert parse_location(str(meant)) == meant


@pytest.mark.parametrize(
    ("source", "output", "target"),
    [
        ("s3://b/in/a.png", "s3://c/out", "s3://c/out/a_x4.png"),
        ("s3://b/in/a.png", "out", "out/a_x4.png"),
        ("s3://b/in/a.png", "s3://c/out/large.png", "s3://c/out/large.png"),
        ("in/a.png", "s3://my.bucket", "s3://my.bucket/a_x4.png"),
        ("s3://b/a.raw", "s3://c/v1.2", "s3://c/v1.2/a_x4.png"),
    ],
)
def test_where_outputs_go(source: str, output: str, target: str) -> None:
    assert plan_outputs([parse_location(source)], Layout(parse_location(output))) == [
        UpscaleTask(parse_location(source), parse_location(target))
    ]


def test_nothing_is_put_into_a_store_unasked() -> None:
    with pytest.raises(UsageError, match="so --output is required"):
        plan_outputs([parse_location("s3://b/a.png")], Layout())


@pytest.mark.parametrize("ends", ["in out", "in", "out"])
def test_a_folder_in_memory_becomes_what_a_folder_here_does(
    ends: str, memory: Any, tmp_path: Path, sr: Run
) -> None:
    folder = write_tiny_images(tmp_path / "in", 3)
    write_tiny_images(folder / "deep", 2)
    wanted = local(folder, tmp_path / "wanted", sr, "-r")
    send(memory, folder, "/in")
    memory.pipe_file("/in/notes.txt", b"no image")
    source = "memory://in" if "in" in ends else folder
    target = "memory://out" if "out" in ends else tmp_path / "out"
    done = sr("upscale", source, *NEAREST_X2, "-r", "-o", target)
    assert done.code == 0, done.err
    if "out" in ends:
        assert same(memory, "out", wanted)
    else:
        found = {str(p.relative_to(target)) for p in Path(target).rglob("*.png")}
        assert found == set(wanted)


def test_patterns_and_single_files(memory: Any, tmp_path: Path, sr: Run) -> None:
    folder = write_tiny_images(tmp_path / "in", 3)
    write_tiny_images(folder / "deep", 2)
    send(memory, folder, "/in")
    for given, names in (
        ("memory://in/0001.png", {"0001"}),
        ("memory://in/000[12].png", {"0001", "0002"}),
        ("memory://in/*.png", {"0000", "0001", "0002"}),
        ("memory://in/**/*1.png", {"0001"}),
    ):
        done = sr("upscale", given, *NEAREST_X2, "-o", "memory://out", "--flat", "--overwrite")
        if "**" in given:  # one in each of two folders
            assert "would both be written to" in done.err
        else:
            assert done.code == 0, done.err
            assert {Path(name).stem for name in memory.find("/out")} == {f"{name}_x2" for name in names}
            memory.rm("/out", recursive=True)


def test_existing_outputs_in_a_store(memory: Any, tmp_path: Path, sr: Run) -> None:
    """Kept if made of the same, an error if not, replaced if asked for: as in a folder."""
    send(memory, write_tiny_images(tmp_path / "in", 2), "/in")
    command = ("upscale", "memory://in", *NEAREST_X2, "-o", "memory://out")
    assert sr(*command).code == 0
    made = dict(memory.store)
    done = sr(*command)
    assert done.code == 1
    assert "memory://out/0000_x2.png exists" in done.err
    assert "sr-" not in done.err, "a temporary name is told"
    assert sr(*command, "--skip-existing").out.count("is up to date") == 2
    memory.pipe_file("/in/0001.png", memory.cat_file("/in/0000.png"))
    assert "made from another input" in sr(*command, "--skip-existing").err
    assert all(memory.store[name] is made[name] for name in made if "out" in name)
    assert sr(*command, "--overwrite").code == 0
    assert pixels(memory.cat_file("/out/0001_x2.png"))[0, 0, 0] == 0


def test_what_fails_leaves_nothing(
    memory: Any, tmp_path: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half file under the name, nor under a temporary one, nor a copy here."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    send(memory, write_tiny_images(tmp_path / "in", 1), "/in")
    memory.pipe_file("/in/broken.png", b"no image")

    def cut(self: Any, here: str, there: str, **options: object) -> None:
        self.pipe_file(there, Path(here).read_bytes()[:20])
        raise ConnectionError("the line is cut")

    done = sr("upscale", "memory://in/broken.png", *NEAREST_X2, "-o", "memory://out")
    assert done.code == 1
    assert "error: memory://in/broken.png" in done.err
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", cut)
        done = sr("upscale", "memory://in/0000.png", *NEAREST_X2, "-o", "memory://out")
    assert done.code == 1
    assert "error: memory://out/0000_x2.png: the line is cut" in done.err
    assert not [name for name in memory.store if name.startswith("/out")]
    assert not list((tmp_path / "temporary").iterdir())


def test_a_job_with_a_store_goes_on(memory: Any, tmp_path: Path, sr: Run) -> None:
    """Also where outputs can't say themselves what they are, and when a file has changed."""
    job = tmp_path / "job.db"
    send(memory, write_tiny_images(tmp_path / "in", 3), "/in")
    command = ("upscale", "memory://in", *NEAREST_X2, "-o", "memory://out", "--format", "bmp", "--job", job)
    memory.pipe_file("/in/0001.png", b"no image")
    assert sr(*command).code == 3
    assert count_states(job) == {"done": 2, "failed": 1}
    was = dict(memory.store)
    assert sr(*command).code == 3
    assert memory.store == was
    memory.pipe_file("/in/0001.png", memory.cat_file("/in/0000.png"))
    done = sr(*command, "--rescan")
    assert done.code == 0, done.err
    assert count_states(job) == {"done": 3}
    assert memory.store["/out/0000_x2.bmp"] is was["/out/0000_x2.bmp"]


def test_a_data_set_in_a_store(memory: Any, photos: Path, sr: Run) -> None:
    send(memory, photos, "/sets/part=1")
    done = sr("bench", "-d", "memory://sets/part=1", "-m", "bicubic", "-x2", "--json", photos / "a.json")
    assert done.code == 0, done.err
    assert {row["dataset"] for row in json.loads((photos / "a.json").read_text())["rows"]} == {"part=1"}
    found = datasets.find_dataset("mine=memory://sets/part=1/c*.png")
    assert found.name == "mine"
    assert found.names == ("chelsea", "coffee")
    again = datasets.find_dataset("memory://sets/part=1/c*.png")
    assert again.files == found.files, "it is fetched once"
    memory.pipe_file("/sets/part=1/coffee.png", memory.cat_file("/sets/part=1/chelsea.png"))
    assert datasets.find_dataset("memory://sets/part=1/c*.png").files != found.files
    send(memory, photos, "/low/X2")
    paired = datasets.find_dataset("memory://sets/part=1,lr=memory://low")
    assert [path.stem for path in paired.find_partners(2)] == ["astronaut", "chelsea", "coffee"]


WRONG = [
    (("ftp://host/a.png", "-o", "out"), "unknown protocol ftp://"),
    (("s3://", "-o", "out"), "s3:// has no path"),
    (("memory://none/a.png", "-o", "out"), "memory://none/a.png does not exist"),
    (("memory://none", "-o", "out", "--watch"), "--watch cannot watch memory://none"),
    (("memory://in/a.png",), "so --output is required"),
    (("memory://in/*.gif", "-o", "out"), "no images in memory://in/*.gif"),
    (("memory://*/a.png", "-o", "out"), "the bucket is a pattern"),
    (("memory://in", "-o", "memory://one.png"), "memory://one.png is one file"),
    (("gs://b/a.png", "-o", "out"), "gs:// needs a package that is not installed"),
    (("memory://in/a.png", "-o", "gs://b/c"), "gs:// needs a package that is not installed"),
    (("memory://in/a.png", "-o", "memory://in/a.png", "--overwrite"), "is the input itself"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_what_is_wrong_is_told(
    words: tuple[str, ...], message: str, memory: Any, in_tmp: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    send(memory, write_tiny_images(in_tmp / "in", 1), "/in")
    memory.pipe_file("/in/a.png", memory.cat_file("/in/0000.png"))
    done = sr("upscale", *words, *NEAREST_X2)
    assert done.code in (1, 2)
    assert message in done.err + done.out
    assert "Traceback" not in done.err
    assert not (in_tmp / "out").exists()


def test_nothing_of_this_is_loaded_for_a_file_here(photo: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from srcli.cli.app import run;"
        f"assert run(['upscale', {str(photo)!r}, '-m', 'nearest', '-x2', '-o', {str(tmp_path)!r}]) == 0;"
        "assert not {'fsspec', 's3fs', 'asyncio', 'sqlite3', 'filelock'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Entry(dict[str, Any]):
    """What is listed of a file, counted while it is held."""

    held = most = 0

    def __init__(self, **about: object) -> None:
        super().__init__(about)
        Entry.held += 1
        Entry.most = max(Entry.most, Entry.held)

    def __del__(self) -> None:
        Entry.held -= 1


class Endless(MemoryFileSystem):
    """A bucket with more names than anyone should hold."""

    protocol = "endless"

    def info(self, path: str, **options: object) -> dict[str, Any]:
        return {"name": path, "size": 0, "type": "directory"}

    def ls(self, path: str, detail: bool = True, **options: object) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        return (Entry(name=f"{path}/{number:09}.png", size=number, type="file") for number in range(10_000))


def test_a_listing_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("endless", Endless, clobber=True)
    monkeypatch.setitem(locations.BACKENDS, "endless", locations.Backend())
    with job_store.open_locked(tmp_path / "job.db") as store:
        store.create({})
        assert (
            store.add(iterate_tasks([parse_location("endless://b")], Layout(parse_location("memory://out"))))
            == 10_000
        )
    assert Entry.most < 10


def test_a_repository_of_the_hub(fake_hub: FakeHub, photo: Path, tmp_path: Path) -> None:
    """Listed, read and written as the Hub's own client does it, against a stand-in."""
    api, image = "/api/datasets/o/n", photo.read_bytes()
    entry = {"type": "file", "path": "in/a.png", "size": len(image), "oid": "b" * 40}
    fake_hub.files[api] = json.dumps({"id": "o/n", "sha": REVISION, "siblings": []}).encode()
    folder = {"type": "directory", "path": "in", "oid": "c" * 40, "size": 0}
    for where, entries in (("", [folder]), ("/in", [entry])):
        key = f"{api}/tree/main{where}?recursive=false&expand=false"
        fake_hub.files[key] = json.dumps(entries).encode()
    fake_hub.files["/datasets/o/n/resolve/main/in/a.png"] = image
    words = ("upscale", "hf://datasets/o/n/in", *NEAREST_X2, "-o", "hf://datasets/o/n/out")
    done = subprocess.run(
        [sys.executable, "-m", "srcli", *words],
        env={**os.environ, "HF_ENDPOINT": fake_hub.url, "HF_TOKEN": "hf_x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [committed] = fake_hub.posted[f"{api}/commit/main"]
    *_, file = (json.loads(line)["value"] for line in committed.splitlines())
    assert file["path"] == "out/a_x2.png"
    assert (pixels(base64.b64decode(file["content"]))[::2, ::2] == pixels(image)).all()


def test_s3_lists_by_pages(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.png", "a/2.png", "a/3.png", "a/sub/4.png", "a/.hidden/5.png"):
        s3.pipe_file(f"box/{name}", b"x")
    s3.touch("box/a/")
    pages = []
    plain = s3.call_s3

    def small(method: str, **asked: object) -> dict[str, Any]:
        pages.append(asked)
        return dict(plain(method, **asked, MaxKeys=2))

    monkeypatch.setattr(s3, "call_s3", small)
    monkeypatch.setattr(locations, "_open_filesystem", lambda where: s3)
    names = {one.location.path for one in locations.walk_files(parse_location("s3://box/a"), recursive=True)}  # type: ignore[arg-type]
    assert names == {"box/a/1.png", "box/a/2.png", "box/a/3.png", "box/a/sub/4.png"}
    assert len(pages) > 3
    assert {one.identity for one in locations.walk_files(parse_location("s3://box/a"), recursive=True)} == {  # type: ignore[arg-type]
        "9dd4e461268c8034f5c8564e155c67a6"
    }


def test_a_bucket_becomes_what_a_folder_does(s3: Any, tmp_path: Path, sr: Run) -> None:
    folder = write_tiny_images(tmp_path / "in", 3)
    write_tiny_images(folder / "deep", 2)
    wanted = local(folder, tmp_path / "wanted", sr, "-r")
    send(s3, folder, "box/in")
    done = sr("upscale", "s3://box/in", *NEAREST_X2, "-r", "-o", "s3://box/out")
    assert done.code == 0, done.err
    assert same(s3, "box/out", wanted)


def test_s3_refuses_in_one_line(s3: Any, photo: Path, sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done = sr("upscale", photo, *NEAREST_X2, "-o", "s3://nobody-s/x")
    assert done.err.splitlines() == [
        "error: s3://nobody-s does not exist",
        "hint: create the bucket first, or check its name",
    ]
    assert (
        "s3://box/none.png does not exist"
        in sr("upscale", "s3://box/none.png", *NEAREST_X2, "-o", photo.parent).err
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(s3).clear_instance_cache()
    done = sr("upscale", "s3://box/a.png", *NEAREST_X2, "-o", photo.parent)
    assert done.code == 1
    assert "Could not connect" in done.err
    assert len(done.err.splitlines()) == 2
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(photo.parent))
    type(s3).clear_instance_cache()
    done = sr("upscale", "s3://box/a.png", *NEAREST_X2, "-o", photo.parent)
    assert "Unable to locate credentials" in done.err
    assert "hint: AWS_ACCESS_KEY_ID" in done.err


@pytest.mark.slow
def test_a_job_on_s3_survives_a_kill(s3: Any, tmp_path: Path, sr: Run) -> None:
    """The bucket keeps every version of what was ever put: there is one of each."""
    folder, job, rng = write_tiny_images(tmp_path / "in", 60), tmp_path / "job.db", random.Random(5)
    s3.mkdir("kept")
    s3.call_s3("put_bucket_versioning", Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    send(s3, folder, "box/in")
    command = ("upscale", "s3://box/in", *NEAREST_X2, "-o", "s3://kept/out", "--job", job, "-q")
    process = start_sr(*command, cwd=tmp_path)
    while len(versions(s3)) < 20 and process.poll() is None:
        time.sleep(rng.uniform(0.01, 0.05))
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    done = sr(*command)
    assert done.code == 0, done.err
    assert count_states(job) == {"done": 60}
    put = versions(s3)
    assert len(put) == len(set(put)) == 60
    assert same(s3, "kept/out", local(folder, tmp_path / "wanted", sr))


def versions(s3: Any) -> list[str]:
    """The names of all that was put, as often as it was put."""
    found = s3.call_s3("list_object_versions", Bucket="kept")
    return [one["Key"] for one in found.get("Versions", [])]
