"""The commands as a user meets them."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from safetensors.torch import save_file

from helpers.command import Run
from helpers.images import copy_sample
from srcli import archs
from srcli.cli.app import SUMMARIES
from srcli.cli.lazy_group import CommandTable
from srcli.engine.weights import files as weights
from srcli.imaging.image import Image, read_image, write_image


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_upscale_writes_beside_the_input(photo: Path, sr: Run) -> None:
    done = sr("upscale", photo)
    assert done.code == 0
    assert read_image(photo.with_name("photo_x4.png")).size == (320, 240)
    assert "80x60 -> 320x240" in done.out
    assert "slimres on cpu" in done.err


@pytest.mark.parametrize("model", ["nearest", "bilinear", "bicubic", "lanczos", "fsrcnn"])
@pytest.mark.parametrize("scale", ["-x2", "-x2.5", "--scale=3"])
def test_upscale_by_any_model_and_scale(model: str, scale: str, photo: Path, tmp_path: Path, sr: Run) -> None:
    done = sr("upscale", photo, scale, "-m", model, "-o", tmp_path / "out.png")
    assert done.code == 0, done.err
    factor = float(scale.strip("-x").removeprefix("scale="))
    assert read_image(tmp_path / "out.png").size == (80 * factor, 60 * factor)


@pytest.mark.parametrize("text", ["2", "x2", "2.0", "X2"])
def test_every_command_takes_the_same_scales(text: str, photo: Path, tmp_path: Path, sr: Run) -> None:
    for command, output in {
        ("upscale", photo, "-m", "bicubic"): tmp_path / "a.png",
        ("compare", photo, "-m", "bicubic"): tmp_path / "b.png",
        ("export", "fsrcnn", "--to", "torchscript"): tmp_path / "fsrcnn.pt",
    }.items():
        done = sr(*command, "-x", text, "-o", output)
        assert done.code == 0, done.err
        assert output.exists()
    assert sr("bench", "-d", photo.parent, "-m", "bicubic", "-x", text).code == 0
    assert sr("train", "--list", "-x", text).code == 0


def test_networks_of_fractions_are_neither_trained_nor_exported(sr: Run) -> None:
    for command in (("train", "fsrcnn", "--data", "."), ("export", "fsrcnn")):
        done = sr(*command, "-x2.5")
        assert (done.code, "no network has scale x2.5" in done.err) == (2, True)


def test_upscale_equals_the_network_itself(photo: Path, tmp_path: Path, sr: Run) -> None:
    """Tiled, or by way of a file, nothing changes; the ensemble does."""
    for name, option in {"a": (), "b": ("--tile", "16"), "c": ("--self-ensemble",)}.items():
        assert sr("upscale", photo, "-x2", "-o", tmp_path / f"{name}.png", *option).code == 0
    a, b, c = (read_image(tmp_path / f"{name}.png").pixels for name in "abc")
    assert np.abs(a - b).max() <= 1 / 255 + 1e-6
    assert (a != b).mean() < 1e-3
    assert 0 < np.abs(a - c).mean() < 0.05


def test_a_folder_goes_into_a_folder(photos: Path, monkeypatch: pytest.MonkeyPatch, sr: Run) -> None:
    assert sr("upscale", photos, "-x2", "-m", "bicubic").code == 0
    assert names(photos.with_name("photos_x2")) == ["astronaut_x2.png", "chelsea_x2.png", "coffee_x2.png"]
    assert sr("upscale", photos, "-x2", "-m", "bicubic", "-o", photos.parent / "there").code == 0
    assert len(names(photos.parent / "there")) == 3
    assert len(names(photos)) == 3
    monkeypatch.chdir(photos)
    assert sr("upscale", ".", "-x3", "-m", "bicubic").code == 0
    assert len(names(photos.with_name("photos_x3"))) == 3


def test_one_bad_image_does_not_stop_the_others(photos: Path, tmp_path: Path, sr: Run) -> None:
    (photos / "bad.png").write_bytes(b"oops")
    (photos / "empty.jpg").write_bytes(b"")
    done = sr("upscale", photos, "-x2", "-m", "bicubic", "-o", tmp_path / "out")
    assert done.code == 3
    assert len(names(tmp_path / "out")) == 3
    assert "2 of 5 failed" in done.err
    assert "bad.png" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_rgb_networks_take_files_too(photo: Path, tmp_path: Path, sr: Run) -> None:
    spec = weights.Spec("edsr", 2, {"blocks": 1, "features": 8})
    weights.save_network(tmp_path / "w.safetensors", archs.build("edsr", 2, spec.config), spec, {})
    done = sr("upscale", photo, "-x2", "-w", tmp_path / "w.safetensors", "-o", tmp_path / "out.png")
    assert done.code == 0, done.err
    assert read_image(tmp_path / "out.png").size == (160, 120)


def test_grey_stays_one_channel_and_alpha_stays(tmp_path: Path, sr: Run) -> None:
    camera = copy_sample("camera.png", tmp_path)
    assert sr("upscale", camera, "-x2").code == 0
    with PilImage.open(tmp_path / "camera_x2.png") as file:
        assert (file.mode, file.size) == ("L", (1024, 1024))
    cut = read_image(camera)
    write_image(tmp_path / "cut.png", Image(cut.pixels[:40, :40], cut.pixels[:40, :40, 0]))
    assert sr("upscale", tmp_path / "cut.png", "-x2").code == 0
    with PilImage.open(tmp_path / "cut_x2.png") as file:
        assert (file.mode, file.size) == ("RGBA", (80, 80))


def test_sixteen_bits_stay_sixteen(tmp_path: Path, rng: np.random.Generator, sr: Run) -> None:
    write_image(tmp_path / "deep.png", Image(rng.random((20, 20, 3), np.float32), depth=16))
    assert sr("upscale", tmp_path / "deep.png", "-x2").code == 0
    assert read_image(tmp_path / "deep_x2.png").depth == 16


BAD = [
    (["missing.png"], 1, "does not exist"),
    (["empty.png"], 1, "is empty"),
    (["text.png"], 1, "is not an image"),
    (["truncated.png"], 1, "is damaged"),
    (["photo.png", "-m", "edrs"], 2, "no model called 'edrs'"),
    (["photo.png", "-x0"], 2, "cannot upscale by 0"),
    (["photo.png", "-x1000"], 2, "cannot upscale by 1000"),
    (["photo.png", "-xabc"], 2, "'abc' is not a number such as 2, 2.5 or x3"),
    (["photo.png", "-xnan"], 2, "'nan' is not a number"),
    (["photo.png", "-o", "photo.png", "--overwrite"], 1, "is the input itself"),
    (["photo.png", "-o", "taken.png"], 1, "taken.png exists"),
    (["photo.png", "-o", "out.xyz"], 1, "cannot write '.xyz'"),
    (["photo.png", "text.png", "-o", "out.png"], 2, "one file"),
    (["photo.png", "-o", "text.png/out.png"], 1, "cannot write into"),
    (["photo.png", "--device", "tpu"], 2, "no device called 'tpu'"),
    (["photo.png", "--device", "cpu:7"], 2, "no device called 'cpu:7'"),
    (["photo.png", "--weights", "missing.safetensors"], 1, "does not exist"),
    (["photo.png", "--weights", "text.png"], 1, "is a text file"),
    (["photo.png", "-m", "bicubic", "--weights", "plain.safetensors"], 2, "model cannot be used with"),
    (["photo.png", "--arch", "bicubic", "--weights", "plain.safetensors"], 2, "bicubic has no weights"),
    (["photo.png", "--arch", "edrs", "--weights", "plain.safetensors"], 2, "no model called 'edrs'"),
    (["photo.png", "--arch", "edsr"], 2, "arch needs weights"),
    (["photo.png", "--weights", "plain.safetensors"], 1, "does not fit any network that sr has"),
    (
        ["photo.png", "--weights", "plain.safetensors", "--arch", "edsr"],
        1,
        "does not fit any edsr that sr has",
    ),
    (["hollow"], 2, "no images in hollow"),
    ([], 2, "no input given"),
    (["photo.png", "--nonsense"], 2, "No such option"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "message"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_bad_input_is_one_line_and_a_hint(
    arguments: list[str], code: int, message: str, in_tmp: Path, photo: Path, sr: Run
) -> None:
    Path("empty.png").touch()
    Path("text.png").write_text("not an image")
    Path("truncated.png").write_bytes(photo.read_bytes()[:2000])
    save_file({"a": torch.zeros(1)}, "plain.safetensors")
    Path("hollow").mkdir()
    shutil.copy(photo, "taken.png")
    before = {path: path.read_bytes() for path in in_tmp.rglob("*") if path.is_file()}
    done = sr("upscale", *arguments)
    assert done.code == code, done.err
    assert done.out == ""
    talk = [line for line in done.err.splitlines() if "on cpu" not in line]
    assert [line.split(":")[0] for line in talk] == ["error", "hint"]
    assert message in talk[0]
    assert {path: path.read_bytes() for path in in_tmp.rglob("*") if path.is_file()} == before


def test_a_read_only_folder_is_refused(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    """Asked before a network is loaded; and where only the attempt shows it, the attempt says it."""
    locked = tmp_path / "locked"
    locked.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode, **kind: mode != os.W_OK)
        done = sr("upscale", photo, "-o", locked / "out.png")
        assert done.code == 1
        assert f"error: cannot write into {locked}" in done.err

    plain = os.open

    def refuse(path: str | Path, flags: int, mode: int = 0o777, **more: Any) -> int:
        if flags & os.O_EXCL:
            raise PermissionError(13, "Permission denied")
        return plain(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", refuse)
    done = sr("upscale", photo, "-m", "bicubic", "-o", locked / "out.png")
    assert done.code == 1
    assert "Permission denied" in done.err
    assert list(locked.iterdir()) == []


def cli(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "srcli", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd)


def list_loaded(*arguments: str) -> set[str]:
    """Return the modules that a command has loaded at its end."""
    code = f"import sys; from srcli.cli.app import run; run({arguments!r}); print('modules:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("modules: ")[2].split())


def test_help_loads_little() -> None:
    """A budget of modules, not of seconds: those are the processor's."""
    loaded = list_loaded("--help")
    own = {name for name in loaded if name.startswith("srcli.cli.")}
    assert own == {"srcli.cli.app", "srcli.cli.console", "srcli.cli.habits", "srcli.cli.lazy_group"}
    assert not {"torch", "cv2", "numpy", "huggingface_hub", "PIL", "fsspec", "srcli.manifest"} & loaded
    assert len(loaded) < 350  # 327 (CPython 3.11)


def test_upscaling_an_image_loads_little(photo: Path) -> None:
    loaded = list_loaded("upscale", str(photo), "--device", "cpu")
    assert not {"torch", "numpy.ma", "huggingface_hub", "fsspec", "sqlite3", "rich", "PIL.ImageCms"} & loaded
    assert len(loaded) < 440  # 414 (CPython 3.11)


def test_help_lists_what_the_commands_say() -> None:
    """The list of `sr --help` is written down, as importing all commands would take longer than the rest."""
    commands = CommandTable("srcli.cli", SUMMARIES)
    assert {name: command.help.splitlines()[0] for name, command in commands.items()} == SUMMARIES


@pytest.mark.parametrize("model", ["bicubic", "ecbsr", "fsrcnn"])
def test_interpolators_and_bundled_networks_load_no_torch(model: str, photo: Path) -> None:
    code = (
        "import sys; from srcli.cli.app import run;"
        f"code = run(['upscale', {str(photo)!r}, '-m', {model!r}, '--device', 'cpu']);"
        "sys.exit(1 if 'torch' in sys.modules else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_small_image_loads_little(photo: Path) -> None:
    """What is in no list here costs every run some milliseconds; add to it only what each image needs."""
    loaded = list_loaded("upscale", str(photo))
    packages = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert packages <= {
        "PIL", "__main__", "_distutils_hack", "annotated_doc", "cython_runtime", "ncnn", "numpy",
        "shellingham", "srcli", "typer",
    }  # fmt: skip
    assert {name for name in loaded if name.startswith("srcli.cli.")} == {
        f"srcli.cli.{name}"
        for name in (
            "app", "completion", "config", "console", "habits", "large_images", "lazy_group", "options",
            "pipes", "reporters", "terminal", "upscale",
        )
    }  # fmt: skip
    unused = {
        "argparse", "asyncio", "concurrent.futures", "html", "http", "PIL.ImageCms", "pkgutil", "socket",
        "sqlite3", "srcli.batch.dry_run", "srcli.batch.job_store", "srcli.batch.watch",
        "srcli.engine.weights.checkpoint", "srcli.engine.weights.hub", "srcli.engine.weights.identify",
        "srcli.imaging.codecs.jpeg", "srcli.imaging.codecs.tiff", "srcli.imaging.degrade",
        "srcli.upscaling.estimate", "xml", "zipfile",
    }  # fmt: skip
    assert not unused & loaded
    assert len(loaded) < 440  # 414 (CPython 3.11), where torch alone is 1,500


def test_bench_writes_what_it_prints(photos: Path, tmp_path: Path, sr: Run) -> None:
    files = ("--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv")
    done = sr("bench", "-d", photos, "-x2", "-x3", "-m", "fsrcnn", *files, "--markdown")
    assert done.code == 0, done.err
    raw = json.loads((tmp_path / "r.json").read_text())
    methods = ["nearest", "bilinear", "bicubic", "fsrcnn"]
    assert [(r["scale"], r["method"]) for r in raw["rows"]] == [(x, m) for x in (2, 3) for m in methods]
    assert len(raw["images"]) == 2 * 4 * 3
    assert set(raw["rows"][0]) == {
        "dataset", "scale", "method", "images", "psnr_y", "ssim_y", "seconds_per_image", "params", "where",
    }  # fmt: skip
    assert done.out.count("| photos |") == 8
    assert (tmp_path / "r.csv").read_text().count("\n") == 9


def test_bench_says_what_is_wrong(in_tmp: Path, sr: Run) -> None:
    Path("file").touch()
    Path("hollow").mkdir()
    for arguments, message in (
        (["-d", "Set55"], "no data set or folder called 'Set55'"),
        (["-d", "hollow"], "no images in hollow"),
        (["-d", "Manga109"], "Manga109 cannot be downloaded"),
        (["-d", "mine="], "'mine=' lacks a name or a folder"),
        (["-d", "samples,lr="], "names no folder of partners"),
        (["-d", "samples,lr=hollow"], "has no partner in hollow"),
        (["-x3", "-m", "srgan"], "srgan has no weights for x3"),
        (["--protocol", "z"], "no protocol called 'z'"),
        (["--degrade", "blurr"], "no degradation called 'blurr'"),
        (["--metric", "psrn"], "no built-in metric is called 'psrn'"),
        (["--from", "file"], "file holds no results"),
        (["--from", "a.json", "-m", "fsrcnn"], "--from does not measure"),
        (["--save", "file/images"], "cannot write into"),
        (["-m", "nope"], "no model called 'nope'"),
        (["-x1"], "cannot upscale by 1"),
        (["--json", "file/r.json"], "cannot write into"),
    ):
        done = sr("bench", *arguments)
        assert done.code in (1, 2)
        assert message in done.err
        assert "hint:" in done.err


def test_images_too_small_to_score_are_named(photos: Path, tmp_path: Path, sr: Run) -> None:
    for side, message in ((1, "too small to downscale by 4"), (15, "too small to score")):
        write_image(photos / "tiny.png", Image(np.zeros((side, side, 3), np.float32)))
        done = sr("bench", "-d", photos)
        assert done.code == 1
        assert "tiny of photos: an image of" in done.err
        assert message in done.err
        done = sr("compare", photos / "tiny.png", "--hr", "-o", tmp_path / "c.png")
        assert done.code == 1
        assert message in done.err
        assert not (tmp_path / "c.png").exists()


def test_compare_with_and_without_truth(photo: Path, tmp_path: Path, sr: Run) -> None:
    done = sr("compare", photo, "-o", tmp_path / "plain.png", "-m", "nearest", "-m", "fsrcnn")
    assert done.code == 0, done.err
    assert "dB" not in done.out
    done = sr("compare", photo, "--hr", "-x2", "-o", tmp_path / "scored.png")
    assert done.code == 0, done.err
    assert done.out.count("dB  SSIM") == 3
    small = tmp_path / "small.png"
    PilImage.fromarray(np.asarray(PilImage.open(photo))[::2, ::2]).save(small)
    done = sr("compare", small, "--truth", photo, "-x2", "-o", tmp_path / "truth.png")
    assert done.code == 0, done.err
    assert done.out.count("dB  SSIM") == 3
    plain, scored = (read_image(tmp_path / name).size for name in ("plain.png", "scored.png"))
    assert scored[1] > plain[1]


def test_compare_says_what_is_wrong(photo: Path, tmp_path: Path, sr: Run) -> None:
    out = tmp_path / "o.png"
    shutil.copy(photo, tmp_path / "taken.png")
    for arguments, message in (
        (["--truth", photo], "is 80x60, not 320x240"),
        (["--truth", photo, "--hr"], "--hr cannot be used with --truth"),
        (["--crop", "1,2"], "is not X,Y,WIDTH,HEIGHT"),
        (["--crop", "70,0,20,20"], "is outside the image"),
        (["-o", photo, "--overwrite"], "is itself an input"),
        (["-o", photo.with_name("taken.png")], "exists"),
        (["--hr", "-x0"], "cannot upscale by 0"),
        (["-m", "nope"], "no model called 'nope'"),
    ):
        done = sr("compare", photo, "-o", out, *arguments)
        assert done.code in (1, 2)
        assert message in done.err
        assert not out.exists()


def test_models_lists_everything(sr: Run) -> None:
    done = sr("models")
    assert done.code == 0
    for word in ("fsrcnn", "edsr", "bicubic"):
        assert word in done.out
    details = sr("models", "list", "--details").out
    for word in ("fsrcnn", "bundled", "edsr", "bicubic", "Apache-2.0"):
        assert word in details


def test_sr_alone_shows_its_help(sr: Run) -> None:
    done = sr()
    assert done.code == 2
    assert "Usage: sr" in done.out
    assert done.err == ""


def test_version(sr: Run) -> None:
    from srcli import __version__

    assert sr("--version").out.strip() == f"sr {__version__}"


def test_results_stay_on_stdout_while_a_bar_is_on_the_terminal(photo: Path, tmp_path: Path) -> None:
    """Stderr is a terminal, stdout a pipe, whose end may be the same terminal: no bar may be in between."""
    parent, child = pty.openpty()
    words = [sys.executable, "-m", "srcli", "upscale", str(photo), "-m", "bicubic"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=child, text=True, cwd=tmp_path) as process:
        out, _ = process.communicate(timeout=60)
    os.close(child)
    talk = os.read(parent, 65536).decode()
    os.close(parent)
    assert "80x60 -> 320x240" in out
    assert "320x240" not in talk
