"""The Hub: the real client against a server on the loopback that answers as the Hub does."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import torch

from helpers.fake_hub import REVISION, FakeHub
from helpers.hub_client import WEIGHTS_PATH, code_with_manifest, make_environment, run_python
from helpers.paths import SAMPLES
from srcli import archs
from srcli.engine.weights.hub import is_reachable


def sr(arguments: list[object], tmp_path: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "srcli", *map(str, arguments)]
    return subprocess.run(
        words, capture_output=True, text=True, check=False, env=make_environment(tmp_path, endpoint)
    )


def edsr_file() -> bytes:
    buffer = io.BytesIO()
    torch.manual_seed(0)
    state = archs.build("edsr", 4).state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, buffer)
    return buffer.getvalue()


def upscale_code(tmp_path: Path, content: bytes, photo: Path) -> str:
    target = tmp_path / "out.png"
    return code_with_manifest(
        tmp_path, content, ["upscale", photo, "-o", target, "-m", "edsr", "--overwrite"]
    )


@pytest.mark.slow
def test_weights_are_downloaded_once_and_verified(fake_hub: FakeHub, tmp_path: Path, photo: Path) -> None:
    content = edsr_file()
    fake_hub.files[WEIGHTS_PATH] = content
    code = upscale_code(tmp_path, content, photo)
    first = run_python(code, tmp_path, fake_hub.url)
    assert first.returncode == 0, first.stderr
    assert "80x60 -> 320x240" in first.stdout
    assert any(request.startswith("GET") for request in fake_hub.requests)
    fake_hub.requests.clear()
    again = run_python(code, tmp_path, fake_hub.url)
    assert again.returncode == 0, again.stderr
    assert fake_hub.requests == []


@pytest.mark.slow
def test_a_body_damaged_on_its_way_is_fetched_again(fake_hub: FakeHub, tmp_path: Path, photo: Path) -> None:
    content, place = edsr_file(), WEIGHTS_PATH
    fake_hub.files[place], fake_hub.faults[f"GET {place}"] = content, ["spoil"]
    done = run_python(upscale_code(tmp_path, content, photo), tmp_path, fake_hub.url)
    assert done.returncode == 0, done.stderr
    assert fake_hub.count("GET") == 2


def test_weights_of_another_digest_are_never_used(fake_hub: FakeHub, tmp_path: Path, photo: Path) -> None:
    content, place = edsr_file(), WEIGHTS_PATH
    fake_hub.files[place], fake_hub.faults[f"GET {place}"] = content, ["spoil"] * 9
    done = run_python(upscale_code(tmp_path, content, photo), tmp_path, fake_hub.url)
    assert done.returncode == 1
    assert "SHA-256" in done.stderr
    assert not (tmp_path / "out.png").exists()


def test_a_missing_file_is_one_line(fake_hub: FakeHub, tmp_path: Path, photo: Path) -> None:
    done = run_python(upscale_code(tmp_path, b"x", photo), tmp_path, fake_hub.url)
    assert done.returncode == 1
    assert "error: edsr-x4 is not on this machine" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_network_the_answer_is_quick_and_names_what_works(tmp_path: Path, photo: Path) -> None:
    done = sr(["upscale", photo, "-m", "edsr"], tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("error: edsr-x4 is not on this machine (no network")
    assert "; -m ecbsr or -m espcn or -m fsrcnn or -m slimres works now" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_what_works_instead_is_for_the_same_kind_of_picture(tmp_path: Path, photo: Path) -> None:
    done = sr(["upscale", photo, "-m", "bsrgan"], tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "; -m photo or -m photo-lite works now" in done.stderr


def test_a_name_server_that_never_answers_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*address: object, **options: object) -> None:
        time.sleep(10)
        raise OSError("no answer")

    monkeypatch.setattr("socket.create_connection", hang)
    start = time.monotonic()
    assert not is_reachable("https://hub.invalid", patience=0.2)
    assert time.monotonic() - start < 8  # far more than 0.2 s, as the machine may be busy


def tarball(images: list[Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for image in images:
            tar.add(image, f"Set5_HR/{image.name}")
        link = tarfile.TarInfo("Set5_HR/evil.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return buffer.getvalue()


SET5 = "/datasets/eugenesiow/Set5/resolve/325646fe7cc8811e312562437885c5c018c74966/data/Set5_HR.tar.gz"


def test_a_data_set_is_downloaded_and_unpacked_once(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.files[SET5] = tarball([SAMPLES / "chelsea.png", SAMPLES / "coffee.png"])
    for _ in range(2):
        done = sr(["bench", "-d", "Set5", "-m", "bicubic", "--markdown"], tmp_path, fake_hub.url)
        assert done.returncode == 0, done.stderr
        assert "| Set5 | x4 | bicubic |" in done.stdout
    assert fake_hub.count("GET") == 1
    (folder,) = (tmp_path / "sr" / "datasets").iterdir()
    assert sorted(p.name for p in folder.rglob("*.png")) == ["chelsea.png", "coffee.png"]


@pytest.mark.slow
def test_a_data_set_that_changed_is_refused_by_name(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.files[SET5] = tarball([SAMPLES / "chelsea.png", SAMPLES / "coffee.png"])
    words = ["bench", "-d", "Set5", "-m", "bicubic"]
    assert sr(words, tmp_path, fake_hub.url).returncode == 0
    (folder,) = (tmp_path / "sr" / "datasets").iterdir()
    (changed,) = folder.rglob("coffee.png")
    changed.write_bytes(CHELSEA)
    done = sr(words, tmp_path, fake_hub.url)
    assert done.returncode == 1
    assert "Set5 has changed since its first use: Set5_HR/coffee.png" in done.stderr
    shutil.rmtree(folder)
    assert sr(words, tmp_path, fake_hub.url).returncode == 0


def test_a_damaged_data_set_is_one_line(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.files[SET5] = tarball([SAMPLES / "chelsea.png"])
    fake_hub.faults[f"GET {SET5}"] = ["spoil"]
    done = sr(["bench", "-d", "Set5", "-m", "bicubic"], tmp_path, fake_hub.url)
    assert done.returncode == 1
    assert "damaged in transit" in done.stderr
    done = sr(["bench", "-d", "Set5", "-m", "bicubic"], tmp_path, fake_hub.url)
    assert done.returncode == 0, done.stderr


def test_a_cache_that_cannot_be_written_is_one_line(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.files[SET5] = tarball([SAMPLES / "chelsea.png"])
    (tmp_path / "sr").write_text("a file where the cache would be")
    done = sr(["bench", "-d", "Set5", "-m", "bicubic"], tmp_path, fake_hub.url)
    assert done.returncode == 1
    assert "error: cannot unpack into" in done.stderr
    assert "SR_CACHE" in done.stderr


def offer(fake_hub: FakeHub, files: dict[str, bytes]) -> None:
    """A data set repository `me/pictures` that holds `files`."""
    about = {"id": "me/pictures", "sha": REVISION, "siblings": [{"rfilename": name} for name in files]}
    fake_hub.files["/api/datasets/me/pictures/revision/main"] = json.dumps(about).encode()
    for name, content in files.items():
        fake_hub.files[f"/datasets/me/pictures/resolve/{REVISION}/{name}"] = content


def zipped(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def table(images: list[bytes]) -> bytes:
    """As the `datasets` library writes images."""
    from pyarrow import BufferOutputStream, parquet, table

    out = BufferOutputStream()
    parquet.write_table(table({"image": [{"bytes": data, "path": None} for data in images]}), out)
    return bytes(out.getvalue())


COFFEE, CHELSEA = ((SAMPLES / f"{name}.png").read_bytes() for name in ("coffee", "chelsea"))


@pytest.mark.slow
def test_any_repository_of_images_is_a_data_set(fake_hub: FakeHub, tmp_path: Path) -> None:
    outside = {"b/coffee.png": COFFEE, "../out.png": COFFEE, "/abs.png": COFFEE, "notes.txt": b"no"}
    offer(
        fake_hub,
        {
            "README.md": b"#",
            "train/a.png": CHELSEA,
            "train/more.zip": zipped(outside),
            "train/old.tar.gz": tarball([SAMPLES / "astronaut.png"]),
            "train/rows.parquet": table([COFFEE, CHELSEA]),
            "test/b.png": CHELSEA,
        },
    )
    words = ["bench", "-d", "hub:me/pictures/train", "-m", "bicubic", "--json", tmp_path / "r.json"]
    for _ in range(2):
        done = sr(words, tmp_path, fake_hub.url)
        assert done.returncode == 0, done.stderr
    names = {image["image"] for image in json.loads((tmp_path / "r.json").read_text())["images"]}
    assert names == {"a", "astronaut", "coffee", "rows-000000", "rows-000001"}
    assert sum("/api/" in request for request in fake_hub.requests) == 1
    assert not (tmp_path / "sr" / "datasets" / "out.png").exists()


@pytest.mark.slow
def test_a_repository_trains(fake_hub: FakeHub, tmp_path: Path) -> None:
    offer(fake_hub, {"a.png": CHELSEA, "b.png": COFFEE})
    small = ["--steps", 2, "--patch", 12, "--batch", 2, "--out", tmp_path / "run"]
    done = sr(["train", "espcn", "-x2", "--data", "hub:me/pictures=2", *small], tmp_path, fake_hub.url)
    assert done.returncode == 0, done.stderr
    assert "2 training images" in done.stderr


@pytest.mark.slow
def test_what_is_wrong_with_a_repository_is_one_line(fake_hub: FakeHub, tmp_path: Path) -> None:
    for files, name, message in (
        ({"README.md": b"#"}, "me/pictures", "no images in me/pictures on the Hub"),
        ({"a.png": CHELSEA}, "me/pictures/train", "no images in me/pictures/train on the Hub"),
        ({"a.zip": b"PK no"}, "me/pictures", "a.zip is damaged"),
        ({"b.zip": zipped({"notes.txt": b"no"})}, "me/pictures", "b.zip contains no images"),
        ({}, "me/other", "me/other"),
        ({}, "me/", "'me/' is not a repository"),
    ):
        offer(fake_hub, files)
        done = sr(["bench", "-d", f"hub:{name}", "-m", "bicubic"], tmp_path, fake_hub.url)
        assert done.returncode in (1, 2), done.stdout
        assert message in done.stderr
        assert "hint:" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parity
def test_papers_set5_from_the_hub_passes_the_protocol_check(
    fake_hub: FakeHub, tmp_path: Path, shared: Path
) -> None:
    fake_hub.files[SET5] = tarball(sorted((shared / "data" / "Set5").glob("*.png")))
    done = sr(["bench", "-d", "Set5", "-x2", "-m", "bicubic", "--markdown"], tmp_path, fake_hub.url)
    assert done.returncode == 0, done.stderr
    assert "| Set5 | x2 | bicubic | **33.67** |" in done.stdout


@pytest.mark.hub
def test_the_real_hub_has_what_the_manifest_says() -> None:
    from srcli import manifest
    from srcli.engine.weights import files as weights

    if not is_reachable("https://huggingface.co"):
        pytest.skip("the Hub can't be reached")
    for scale, entry in manifest.find_entries("edsr").items():
        weights.load_network(weights.locate_weights(entry), archs.Spec(entry.arch, scale, entry.config))
