"""The user's own models: added from files and addresses, run by name, removed."""

import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

from srcli import archs, manifest, methods
from srcli.cli import completion
from srcli.cli.app import run
from srcli.engine.export import onnx
from srcli.engine.weights import download, files, packages
from srcli.errors import ManifestError, WeightsError
from srcli.storage.hashing import sha256


class Server(ThreadingHTTPServer):
    """Serves `content` at every path but /none; `breaks`: how many answers stop after half of it."""

    content = b""
    breaks = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.ranges.append(wanted)
        if self.path == "/none":
            self.send_error(404)
            return
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = self.server.content[begin:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "x3.pth"
    torch.save({"params": archs.build("srvgg", 3, {"convs": 1}).state_dict()}, path)
    return path


def test_a_file_is_a_model_from_then_on(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "add", str(weights), "--name", "My_Net"]) == 0
    assert "sr upscale IMAGE -m my-net" in capsys.readouterr().out
    weights.unlink()
    method = methods.load_method("my-net", 3)
    assert method(np.zeros((9, 8, 3), np.float32), 3).shape == (27, 24, 3)
    assert ("my-net", "x3") in completion.models("my")
    assert completion.user_entries("") == [("my-net-x3", "srvgg")]
    assert run(["models", "verify", "my-net"]) == 0
    assert run(["models", "rm", "my-net"]) != 0
    assert run(["models", "remove", "my-net"]) == 0
    assert [path.name for path in manifest.find_user_folder().iterdir()] == ["manifest.json"]
    assert "my-net" not in methods.list_models()


@pytest.mark.slow
def test_what_is_wrong_is_not_added(
    weights: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    add = ["models", "add", str(weights), "--name"]
    (tmp_path / "a.txt").write_text("hello")
    for arguments, message in [
        ([*add, "edsr"], "sr has a model called edsr"),
        ([*add, "../up"], "cannot be a model's name"),
        ([*add, "one", "--sha256", "0" * 64], "its SHA-256 is"),
        ([*add, "one", "--sha256", "0"], "64 hexadecimal digits"),
        ([*add, "one", "-x2"], "is not for x2"),
        (["models", "add", str(tmp_path / "a.txt"), "--name", "one"], "is a text file"),
        (["models", "add"], "which file?"),
        (["models", "remove", "one"], "you added no model called 'one'"),
    ]:
        assert run(arguments) in (1, 2)
        assert message in capsys.readouterr().err
    assert manifest.load_user() == ()
    assert run([*add, "one"]) == 0
    assert run([*add, "one"]) == 2
    assert "one-x3 exists" in capsys.readouterr().err
    assert run(["models", "add", str(weights)]) == 0
    assert f"-m {weights.stem.lower()}" in capsys.readouterr().out


def test_a_broken_download_is_continued(server: Server, weights: Path) -> None:
    server.content, server.breaks = weights.read_bytes(), 2
    assert run(["models", "add", f"{server.url}/net.pth", "--name", "net", "--sha256", sha256(weights)]) == 0
    assert server.ranges[0] is None
    assert all(str(wanted).startswith("bytes=") for wanted in server.ranges[1:3])
    assert sha256(manifest.find_user_folder() / "net-x3.pth") == sha256(weights)
    assert methods.load_method("net", 3)


def test_what_is_not_what_it_should_be_is_not_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(path: str = "/a.pth", digest: str | None = None) -> Path:
        return download.download(server.url + path, tmp_path / "models", digest, lambda done, total: None)

    server.content = b"<!DOCTYPE html><title>Sign in</title>"
    with pytest.raises(WeightsError, match=r"http://.*/a\.pth is a web page"):
        fetch()
    server.content = b"\x80\x02" + bytes(100)
    with pytest.raises(WeightsError, match="its SHA-256 is"):
        fetch(digest="0" * 64)
    with pytest.raises(WeightsError, match="answers 404"):
        fetch("/none")
    assert list((tmp_path / "models").iterdir()) == []
    monkeypatch.setattr(download, "LARGEST_FILE", 50)
    with pytest.raises(WeightsError, match="too large"):
        fetch()


def test_a_description_of_openmodeldb_is_taken(server: Server, weights: Path, tmp_path: Path) -> None:
    server.content = weights.read_bytes()
    urls = [f"{server.url}/none", f"{server.url}/3x-Fine.pth"]
    resource = {"platform": "pytorch", "type": "pth", "sha256": sha256(weights).upper(), "urls": urls}
    raw = {"name": "Fine", "license": "CC-BY-4.0", "architecture": "compact", "scale": 3}
    entry = tmp_path / "3x-Fine.json"
    entry.write_text(json.dumps({**raw, "resources": [{"type": "onnx", "urls": []}, resource]}))
    assert run(["models", "add", "--entry", str(entry)]) == 0
    (added,) = manifest.load_user()
    assert (added.name, added.licence, added.scale) == ("3x-fine-x3", "CC-BY-4.0", 3)
    for bad in ("[", "[1]", "{}", '{"resources": []}', "[" * 10**5, json.dumps({**raw, "resources": [{}]})):
        entry.write_text(bad)
        assert run(["models", "add", "--entry", str(entry)]) == 1


def test_a_damaged_manifest_of_the_user_is_named() -> None:
    path = manifest.find_user_manifest()
    path.write_text("{")
    with pytest.raises(ManifestError, match="is not a weights manifest") as caught:
        manifest.load()
    assert str(path) in caught.value.hint


@pytest.mark.slow
def test_the_first_use_says_what_it_waits_for_and_is_not_booked_on_the_image(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ncnn")
    Image.new("RGB", (20, 16)).save(tmp_path / "in.png")
    command = ["upscale", str(tmp_path / "in.png"), "-w", str(weights), "--overwrite", "--json"]
    assert run([*command, "-o", str(tmp_path / "out.png")]) == 0
    result, messages = capsys.readouterr()
    (prepared,) = [json.loads(line) for line in messages.splitlines() if '"prepared"' in line]
    assert prepared["text"] == "packing x3.pth for ncnn, once"
    assert json.loads(result)["seconds"] < prepared["seconds"]
    assert run([*command, "-o", str(tmp_path / "out.png")]) == 0
    assert "prepared" not in capsys.readouterr().err


def test_an_ncnn_pair_of_a_network_of_ours_can_be_added(capsys: pytest.CaptureFixture[str]) -> None:
    package = manifest.find_entries("waifu2x-photo")[2].packaged
    assert package
    pair = packages.find_installed(package)
    assert pair
    assert run(["models", "add", str(pair.with_suffix(".bin")), "--name", "mine"]) == 0
    assert "upconv7 x2" in capsys.readouterr().out
    (entry,) = manifest.load_user()
    assert entry.config == {}
    assert sorted(path.suffix for path in manifest.find_user_folder().glob("mine*")) == [".bin", ".param"]
    small = np.random.default_rng(0).random((20, 24, 3), np.float32)
    for runtime in ("auto", "torch"):
        ours, theirs = (
            methods.load_method(name, 2, methods.MethodOptions(device="cpu", runtime=runtime))(small, 2)
            for name in ("mine", "waifu2x-photo")
        )
        assert np.array_equal(ours, theirs)
    assert run(["models", "verify", "mine"]) == 0
    (manifest.find_user_folder() / "mine-x2.bin").write_bytes(b"x")
    assert run(["models", "verify", "mine"]) == 1
    assert "`sr models remove mine-x2`" in capsys.readouterr().err
    assert run(["models", "remove", "mine"]) == 0
    assert not list(manifest.find_user_folder().glob("mine*"))


def write_graph(path: Path) -> None:
    """Write the bundled ESPCN as ONNX."""
    file = manifest.BUNDLED / "espcn-x2.safetensors"
    (spec,) = files.identify_specs(file)
    onnx.write(files.load_network(file, spec).eval(), path)


def test_files_that_only_a_library_runs_can_be_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pair of unknown layers and an ONNX file: they upscale as they do with -w, and do nothing else."""
    for suffix in ("param", "bin"):
        shutil.copy(manifest.BUNDLED / f"photo-lite-x4.ncnn.{suffix}", tmp_path / f"pair.{suffix}")
    write_graph(tmp_path / "graph.onnx")
    small = np.random.default_rng(0).random((20, 24, 3), np.float32)
    for file, scale, library in (("pair.param", 4, "ncnn"), ("graph.onnx", 2, "ONNX or OpenCV")):
        name = file.partition(".")[0]
        assert run(["models", "add", str(tmp_path / file), "--name", name]) == 0
        assert f"no network of ours, run by {library}, x{scale}" in capsys.readouterr().out
        named = methods.load_method(name, scale)
        assert named.name == name
        assert np.array_equal(
            named(small, scale), methods.load_method_file(tmp_path / file, scale)(small, scale)
        )
        assert methods.load_method(name, scale * scale)(small[:9, :9], scale * scale).shape[0] == 9 * scale**2
        assert run(["export", name, f"-x{scale}", "-o", str(tmp_path / "out.pt")]) == 2
        assert "no network that sr has" in capsys.readouterr().err
        assert run(["models"]) == 0
        assert name in capsys.readouterr().out
        assert run(["models", "add", str(tmp_path / file), "--name", "other", "--scale", "3"]) == 1
    assert run(["models", "add", "http://127.0.0.1:1/a.param", "--name", "half"]) == 2
    assert "half of an ncnn pair" in capsys.readouterr().err


def test_an_onnx_file_can_be_downloaded(server: Server, tmp_path: Path) -> None:
    write_graph(tmp_path / "a.onnx")
    server.content = (tmp_path / "a.onnx").read_bytes()
    assert run(["models", "add", f"{server.url}/a.onnx?x=1", "--name", "far"]) == 0
    assert [path.name for path in manifest.find_user_folder().glob("far*")] == ["far-x2.onnx"]
    assert not list(manifest.find_user_folder().glob("*.part"))
