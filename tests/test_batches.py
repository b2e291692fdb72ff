"""Many images in one command: where they go, what is done already, what scripts are told."""

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.command import CommandResult, Run
from helpers.images import copy_sample
from helpers.paths import ROOT
from srcli import manifest
from srcli.imaging.codecs import registry
from srcli.imaging.codecs.registry import CODECS
from srcli.imaging.image import Image, read_image, write_image
from srcli.upscaling.fingerprint import Fingerprint

FAST = ("-m", "bicubic", "-x2")


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def album(photo: Path, tmp_path: Path) -> Path:
    """photos at the top and two levels down, with equal names and one file that is no image."""
    folder = tmp_path / "album"
    for place in ("a.png", "b.png", "sub/a.png", "sub/deep/c.png"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder / place)
    (folder / "notes.txt").write_text("no image")
    return folder


def pipe(
    *arguments: object, data: bytes = b"", cwd: Path | None = None
) -> "subprocess.CompletedProcess[bytes]":
    words = [sys.executable, "-m", "srcli", *map(str, arguments)]
    return subprocess.run(words, input=data, capture_output=True, check=False, cwd=cwd, timeout=120)


def test_folders_are_mirrored_or_flattened(album: Path, tmp_path: Path, sr: Run) -> None:
    out = tmp_path / "out"
    assert sr("upscale", album, *FAST, "-o", out).code == 0
    assert tree(out) == ["a_x2.png", "b_x2.png"]
    assert sr("upscale", album, *FAST, "-o", tmp_path / "all", "-r").code == 0
    assert tree(tmp_path / "all") == ["a_x2.png", "b_x2.png", "sub/a_x2.png", "sub/deep/c_x2.png"]
    done = sr("upscale", album, *FAST, "-o", tmp_path / "flat", "-r", "--flat")
    assert done.code == 3
    assert "would both be written to" in done.err
    assert tree(tmp_path / "flat") == ["a_x2.png", "b_x2.png", "c_x2.png"]
    shutil.rmtree(tmp_path / "flat")
    (album / "sub" / "a.png").rename(album / "sub" / "d.png")
    assert sr("upscale", album, *FAST, "-o", tmp_path / "flat", "-r", "--flat").code == 0
    assert tree(tmp_path / "flat") == ["a_x2.png", "b_x2.png", "c_x2.png", "d_x2.png"]
    assert sr("upscale", album, *FAST, "-r").code == 0
    assert len(tree(tmp_path / "album_x2")) == 4


def test_outputs_within_the_input_are_no_inputs(album: Path, sr: Run) -> None:
    for _ in range(2):
        assert sr("upscale", album, *FAST, "-r", "-o", album / "large", "--overwrite").code == 0
    assert len(tree(album / "large")) == 4


def test_patterns_and_lists(album: Path, in_tmp: Path, sr: Run) -> None:
    assert sr("upscale", "album/*.png", *FAST, "-o", "one").code == 0
    assert tree(Path("one")) == ["a_x2.png", "b_x2.png"]
    assert sr("upscale", "album/**/[cd].png", *FAST, "-o", "two").code == 0
    assert tree(Path("two")) == ["c_x2.png"]
    done = sr("upscale", "album/*.jpg", *FAST)
    assert (done.code, "no file matches album/*.jpg" in done.err) == (2, True)
    shutil.copy(album / "a.png", "we[ir]d*.png")
    assert sr("upscale", "we[ir]d*.png", *FAST).code == 0
    Path("list.txt").write_text("album/a.png\n\nalbum/b.png\n")
    assert sr("upscale", "--files-from", "list.txt", *FAST, "-o", "three").code == 0
    assert tree(Path("three")) == ["a_x2.png", "b_x2.png"]
    done = pipe(
        "upscale", "--files-from", "-", *FAST, "-o", "four", data=b"album/a.png\0album/b.png\0", cwd=in_tmp
    )
    assert done.returncode == 0
    assert tree(Path("four")) == ["a_x2.png", "b_x2.png"]
    done = sr("upscale", "--files-from", "missing", *FAST)
    assert (done.code, "missing cannot be read" in done.err) == (2, True)


NAMES = [
    (["--suffix", "_big"], "photo_big.png"),
    (["--prefix", "hd-"], "hd-photo_x2.png"),
    (["--prefix", "hd-", "--suffix", ""], "hd-photo.png"),
    (["--name", "{stem}_{model}_x{scale}"], "photo_bicubic_x2.png"),
    (["--name", "{model}/{stem}"], "bicubic/photo.png"),
    (["--format", "jpg"], "photo_x2.jpg"),
    (["--format", "TIFF"], "photo_x2.tif"),
    (["--suffix", "{x}"], "photo{x}.png"),
]


@pytest.mark.parametrize(("arguments", "name"), NAMES)
def test_names(arguments: list[str], name: str, photo: Path, sr: Run) -> None:
    done = sr("upscale", photo, *FAST, *arguments)
    assert done.code == 0, done.err
    assert tree(photo.parent) == sorted(["photo.png", name])
    assert read_image(photo.parent / name).size == (160, 120)


@pytest.mark.parametrize("template", ["{nope}", "{stem", "{}", "{0}"])
def test_templates_that_cannot_be_filled(template: str, photo: Path, sr: Run) -> None:
    done = sr("upscale", photo, *FAST, "--name", template)
    assert done.code == 2
    assert "--name" in done.err


def test_what_is_done_is_known_by_content_and_settings(album: Path, tmp_path: Path, sr: Run) -> None:
    def again(*arguments: object) -> CommandResult:
        return sr("upscale", album, *FAST, "-r", "-o", tmp_path / "out", "--skip-existing", *arguments)

    assert again().code == 0
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    done = again()
    assert done.code == 0
    assert done.out.count("is up to date") == 4
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")} == stamps
    changed = read_image(album / "b.png")
    write_image(album / "b.png", Image(changed.pixels[::-1]))
    done = again()
    assert done.code == 3
    assert "b_x2.png exists, made from another input or with other settings" in done.err
    done = again("--overwrite")
    assert done.code == 0
    assert done.out.count("is up to date") == 3
    assert sr("upscale", album, "-m", "lanczos", "-x2", "-o", tmp_path / "out", "--skip-existing").code == 1


@pytest.mark.parametrize("name", ["png", "jpg", "webp", "tif", "avif", "gif", "bmp", "ppm", "jp2"])
@pytest.mark.parametrize("strip", [(), ("--strip",), ("--depth", "16")])
def test_every_format_is_known_again(name: str, strip: tuple[str, ...], photo: Path, sr: Run) -> None:
    if "16" in strip and 16 not in registry.find_codec(Path(f"a.{name}")).depths:
        pytest.skip("no format of 16 bits")
    words = ("upscale", photo, *FAST, "--format", name, "--skip-existing", *strip)
    first, second = sr(*words), sr(*words)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "is up to date" not in first.out
    assert "is up to date" in second.out
    out = photo.with_name(f"photo_x2.{name}")
    content = out.read_bytes()
    out.write_bytes(content[: len(content) // 3])
    assert sr(*words).code == 1


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif", "webp"])
def test_pipes(suffix: str, photo: Path, tmp_path: Path) -> None:
    with PilImage.open(photo) as file:
        file.save(tmp_path / f"in.{suffix}")
    done = pipe("upscale", "-", "-o", "-", *FAST, data=(tmp_path / f"in.{suffix}").read_bytes())
    assert done.returncode == 0, done.stderr
    (tmp_path / f"out.{suffix}").write_bytes(done.stdout)
    with PilImage.open(tmp_path / f"out.{suffix}") as file:
        assert (file.size, file.format) == ((160, 120), PilImage.registered_extensions()[f".{suffix}"])
    assert b"stdout  80x60 -> 160x120" in done.stderr
    done = pipe("upscale", photo, "-o", "-", *FAST, "--format", "webp")
    assert done.stdout[8:12] == b"WEBP"
    done = pipe("upscale", "-", "-o", tmp_path / "named.png", *FAST, data=photo.read_bytes())
    assert done.returncode == 0
    assert read_image(tmp_path / "named.png").size == (160, 120)


def test_a_broken_pipe_of_bytes(tmp_path: Path) -> None:
    for data in (b"", b"no image at all"):
        done = pipe("upscale", "-", "-o", "-", *FAST, data=data, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stdout == b""
        assert done.stderr.startswith(b"error: stdin is ")
        assert b"Traceback" not in done.stderr


def test_records_for_scripts(album: Path, tmp_path: Path, sr: Run) -> None:
    (album / "bad.png").write_bytes(b"oops")
    done = sr("upscale", album, *FAST, "-o", tmp_path / "out", "--json")
    assert done.code == 3
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [record["status"] for record in records] == ["done", "done", "failed"]
    assert records[0] | {"seconds": 0} == {
        "input": str(album / "a.png"), "output": str(tmp_path / "out" / "a_x2.png"), "status": "done",
        "model": "bicubic", "from": [80, 60], "to": [160, 120], "depth": 8, "frames": 1, "seconds": 0,
    }  # fmt: skip
    assert "is not an image" in records[2]["error"]
    events = [json.loads(line) for line in done.err.splitlines()]
    assert events[-1] == {"event": "end", "jobs": 3, "failed": 1, "untried": 0}
    assert [event["event"] for event in events].count("begin") == 3


def test_quiet_and_verbose(photo: Path, sr: Run) -> None:
    quiet = sr("upscale", photo, *FAST, "-q")
    assert (quiet.out, quiet.err) == ("", "")
    loud = sr("upscale", photo, *FAST, "-v", "--overwrite")
    assert f"{photo} -> " in loud.err
    assert "8 -> 8 bits" in loud.out
    missing = sr("upscale", photo.with_name("missing.png"), *FAST, "-q")
    assert "does not exist" in missing.err


LONG = "n" * 250
ODD = ["with space.png", "tab\there.png", "-x9.png", "quote'\".png", "[bold]x.png", "日本語.png", "😀.png",
       unicodedata.normalize("NFD", "é.png"), "new\nline.png", ".png.png", f"{LONG}.png",
       f"{'é' * 122}.png"]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_names(name: str, photo: Path, tmp_path: Path, sr: Run) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    shutil.copy(photo, folder / name)
    done = sr("upscale", *FAST, "-o", tmp_path / "out", "--", folder / name)
    assert done.code == 0, done.err
    (out,) = (tmp_path / "out").iterdir()
    assert read_image(out).size == (160, 120)
    assert len(os.fsencode(out.name)) <= 255


def test_names_that_are_no_text(photo: Path, tmp_path: Path) -> None:
    shutil.copy(photo, os.fsencode(tmp_path) + b"/caf\xe9.png")
    done = pipe("upscale", os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"), *FAST)
    assert done.returncode == 0, done.stderr
    assert os.path.exists(os.fsencode(tmp_path) + b"/caf\xe9_x2.png")


def test_long_names_stay_apart(photo: Path, tmp_path: Path, sr: Run) -> None:
    for k in range(2):
        shutil.copy(photo, tmp_path / f"{LONG}{k}.png")
    assert (
        sr("upscale", *(tmp_path / f"{LONG}{k}.png" for k in range(2)), *FAST, "-o", tmp_path / "o").code == 0
    )
    assert len(list((tmp_path / "o").iterdir())) == 2


def test_a_name_beyond_any_file_system(tmp_path: Path, sr: Run) -> None:
    done = sr("upscale", tmp_path / ("n" * 300 + ".png"), *FAST)
    assert done.code == 1
    assert "File name too long" in done.err


def test_links(album: Path, photo: Path, tmp_path: Path, sr: Run) -> None:
    """To files and folders they are followed; a circle ends; a broken one fails alone; outputs stay links."""
    (album / "link.png").symlink_to(photo)
    (album / "circle").symlink_to(album)
    (album / "broken.png").symlink_to(tmp_path / "nowhere.png")
    done = sr("upscale", album, *FAST, "-r", "-o", tmp_path / "out")
    assert (done.code, "broken.png does not exist" in done.err) == (3, True)
    assert tree(tmp_path / "out") == [
        "a_x2.png",
        "b_x2.png",
        "link_x2.png",
        "sub/a_x2.png",
        "sub/deep/c_x2.png",
    ]
    done = sr("upscale", album / "broken.png", *FAST)
    assert (done.code, "does not exist" in done.err) == (1, True)
    before = photo.read_bytes()
    (tmp_path / "o.png").symlink_to(photo)
    done = sr("upscale", album / "a.png", album / "b.png", *FAST, "-o", tmp_path / "o", "--name", "x{stem}")
    assert done.code == 0
    done = sr("upscale", album / "a.png", *FAST, "-o", tmp_path / "o.png", "--overwrite")
    assert done.code == 0
    assert (tmp_path / "o.png").is_symlink()
    assert photo.read_bytes() != before
    done = sr("upscale", album / "link.png", *FAST, "-o", photo, "--overwrite")
    assert "is the input itself" in done.err


def test_an_output_that_is_another_input(album: Path, sr: Run) -> None:
    shutil.copy(album / "a.png", album / "a_x2.png")
    done = sr("upscale", album, *FAST, "-o", album, "--overwrite")
    assert done.code == 3
    assert "a_x2.png is also an input" in done.err


def test_inputs_that_may_only_be_read(photo: Path, tmp_path: Path, sr: Run) -> None:
    photo.chmod(0o444)
    assert sr("upscale", photo, *FAST).code == 0
    assert os.access(tmp_path / "photo_x2.png", os.W_OK)
    assert photo.stat().st_mode & 0o777 == 0o444


def test_two_hundred_files_of_which_twenty_are_broken(photo: Path, tmp_path: Path, sr: Run) -> None:
    """The night's batch of issue 8, by content: 180 outputs, 20 named errors, 3; then no work twice.

    Of every format and depth that can be written here, broken in five ways.
    """
    folder, small = tmp_path / "in", read_image(photo).pixels[:12, :16]
    kinds = [
        (form.suffixes[0], depth)
        for form in CODECS
        if form.can_write and not form.missing_package
        for depth in form.depths
    ]
    made = []
    for k in range(180):
        suffix, depth = kinds[k % len(kinds)]
        made.append(folder / str(k % 3) / f"{k:03}{suffix}")
        side = 4 if (suffix, depth) == (".jp2", 16) else 1  # the encoder takes none smaller
        pixels = np.tile(np.roll(small, k, axis=1), (side, side, 1))
        write_image(made[-1], Image(pixels, depth=depth, grey=k % 7 == 0))
    for k in range(20):
        whole = made[9 * k].read_bytes()
        broken = (b"", whole[: len(whole) // 2], b"text", whole[:12], whole[::-1])[k % 5]
        made[9 * k].with_stem(f"bad{k:02}").write_bytes(broken)
    words = ("upscale", folder, *FAST, "-r", "-o", tmp_path / "out", "--skip-existing")
    done = sr(*words)
    assert done.code == 3
    assert len(tree(tmp_path / "out")) == 180
    assert done.err.count("error: ") == 20
    assert all(f"bad{k:02}." in done.err for k in range(20))
    assert "20 of 200 failed" in done.err
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}
    done = sr(*words)
    assert done.code == 3
    assert done.out.count("is up to date") == 180
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")} == stamps


@pytest.mark.parametrize("count", [150, pytest.param(500, marks=pytest.mark.slow)])
def test_memory_stays_flat(count: int, tmp_path: Path) -> None:
    """Resident memory after 50 images and to the end, of many sizes: within 5 %; `make soak` has more."""
    words = [sys.executable, str(ROOT / "tools" / "soak.py"), str(count), str(tmp_path / "soak.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["images"] == count, done.stderr
    assert found["growth"] < 0.05


def test_camera_sample(tmp_path: Path, sr: Run) -> None:
    """A whole photograph with the default network, as a first user does it."""
    assert sr("upscale", copy_sample("camera.png", tmp_path), "--long-edge", "600").code == 0
    assert read_image(tmp_path / "camera_l600.png").size == (600, 600)


def test_what_all_images_share_is_read_once(tmp_path: Path) -> None:
    """The manifest, and the weights whose digest goes into every record."""
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes(b"weights")
    recipe = Fingerprint("mine", "x2", {}, weights)
    found = (recipe.digest, recipe.weight_digests(2))
    weights.unlink()
    assert (recipe.digest, recipe.weight_digests(2)) == found
    assert replace(recipe, scale="x3").model == "mine"
    assert manifest.load() is manifest.load()
