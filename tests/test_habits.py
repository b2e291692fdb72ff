"""Habits of other tools: each is understood, or answered with the way that it works here."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helpers.command import Run
from srcli.cli.app import SUMMARIES
from srcli.cli.habits import insert_command
from srcli.errors import FileError
from srcli.imaging.image import read_image
from srcli.storage import web

FAST = ("-m", "nearest", "-x2")


@pytest.mark.parametrize(
    ("given", "inserted"),
    [
        (["photo.jpg"], True),
        (["photos/*.png", "-x2"], True),
        (["https://example.com/a.jpg"], True),
        (["-"], True),
        (["--debug", "photo.jpg"], True),
        (["here", "-x2"], True),
        (["-x2", "here"], False),  # a folder is no proof
        (["-x2", "here/a.png"], True),
        (["upscale", "photo.jpg"], False),
        (["upscael", "photo.jpg"], False),
        (["--version"], False),
        (["--install-completion=bash"], False),
        ([], False),
    ],
)
def test_a_file_needs_no_command(given: list[str], inserted: bool, in_tmp: Path) -> None:
    (in_tmp / "here").mkdir()
    (in_tmp / "here" / "a.png").touch()
    result = insert_command(given, SUMMARIES)
    assert ("upscale" in result and "upscale" not in given) == inserted
    assert [word for word in result if word not in ("upscale",)] == [w for w in given if w != "upscale"]


def test_a_lone_image_is_upscaled(photo: Path, sr: Run) -> None:
    done = sr(photo, *FAST)
    assert (done.code, photo.with_stem(f"{photo.stem}_x2").exists()) == (0, True)


def test_a_second_name_is_not_taken_for_an_input(photo: Path, in_tmp: Path, sr: Run) -> None:
    before = sorted(in_tmp.rglob("*"))
    done = sr("upscale", photo, "out.png", *FAST)
    assert (done.code, f"sr upscale {photo} -o out.png" in done.err) == (2, True)
    assert sorted(in_tmp.rglob("*")) == before
    # Two images that exist are two inputs, and what does not look like an image is a wrong name.
    (in_tmp / "b.png").write_bytes(photo.read_bytes())
    assert sr("upscale", photo, "b.png", *FAST, "-o", "out").code == 0
    assert "does not exist" in sr("upscale", photo, "out.txt", *FAST, "-o", "out", "--overwrite").err


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        (("-i",), "inputs need no option"),
        (("-s", "4"), "that is `-x` here"),
        (("-n", "realesrgan"), "named with `-m` here"),
        (("-g", "0"), "that is `--device` here"),
        (("--outscale", "2"), "that is `-x` here"),
        (("--nonsense",), "see `sr upscale --help`"),
    ],
)
def test_options_of_other_tools_are_explained(
    option: tuple[str, ...], hint: str, photo: Path, sr: Run
) -> None:
    done = sr("upscale", *option, photo)
    assert (done.code, hint in done.err) == (2, True), done.err
    assert len(list(photo.parent.iterdir())) == 1


@pytest.fixture
def server(photo: Path) -> Iterator[str]:
    """The address of a server with the photograph and an endless file."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/endless.png":
                super().do_GET()
                return
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(2**16))
            except OSError:
                return

        def log_message(self, *words: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=photo.parent)) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def test_web_addresses_are_downloaded(server: str, photo: Path, in_tmp: Path, sr: Run) -> None:
    done = sr(f"{server}/{photo.name}?size=large", *FAST)
    assert done.code == 0, done.err
    output = in_tmp / f"{photo.stem}_x2{photo.suffix}"
    assert read_image(output).pixels.shape[0] == 2 * read_image(photo).pixels.shape[0]
    assert "answers 404" in sr(f"{server}/none.png", *FAST).err
    assert "name a folder with --output" in sr("upscale", f"{server}/{photo.name}", photo, *FAST).err
    assert "cannot be downloaded" in sr("http://127.0.0.1:1/a.png", *FAST).err


def test_downloads_are_bounded(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_LARGEST", 2**20)
    with pytest.raises(FileError, match="has more than 1 MB"):
        web.download(f"{server}/endless.png", tmp_path)
