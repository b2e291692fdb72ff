"""The Python API: kinds of images, laws, errors, threads, and the examples of its page."""

import contextlib
import doctest
import io
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

import srcli
from helpers.command import Run
from helpers.images import copy_sample
from helpers.paths import ROOT, SAMPLES
from srcli.imaging.image import read_image
from srcli.upscaling.model import Model

PAGE = ROOT / "docs" / "python.md"


@pytest.fixture(scope="module")
def fsrcnn() -> Model:
    return srcli.load("fsrcnn", scale=2, device="cpu")


@pytest.fixture
def pixels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    with PilImage.open(SAMPLES / "coffee.png") as picture:
        return np.asarray(picture.convert("RGB").crop((100, 80, 137, 109)))


def import_in_process(code: str) -> set[str]:
    """Return the modules that are loaded after running `code` in a new process."""
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_loads_nothing() -> None:
    """Counted in modules, since seconds depend on the machine."""
    added = import_in_process("import srcli") - import_in_process("pass")
    assert added == {"srcli"}


def test_torch_waits_for_a_network_that_needs_it() -> None:
    code = "import numpy, srcli\nsrcli.upscale(numpy.zeros((9, 9), numpy.uint8), model={!r}, device='cpu')"
    for model in ("bicubic", "ecbsr"):
        loaded = import_in_process(code.format(model))
        assert "numpy" in loaded
        assert "torch" not in loaded


def test_every_public_name_exists_and_no_other() -> None:
    assert all(getattr(srcli, name) for name in srcli.__all__)
    assert dir(srcli) == sorted(srcli.__all__)
    assert not hasattr(srcli, "enlarge")
    with pytest.raises(AttributeError, match="module 'srcli' has no attribute 'enlarge'"):
        srcli.enlarge  # type: ignore[attr-defined]  # noqa: B018


SHAPES = [(), (1,), (2,), (3,), (4,)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
def test_the_same_kind_of_array_comes_out(
    shape: tuple[int, ...], dtype: str, fsrcnn: Model, rng: np.random.Generator
) -> None:
    whole = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    array = (rng.random((11, 14, *shape)) * whole).astype(dtype)
    before = array.copy()
    large = fsrcnn(array)
    assert (large.shape, large.dtype) == ((22, 28, *shape), array.dtype)
    np.testing.assert_array_equal(array, before)
    assert abs(large.mean() / whole - array.mean() / whole) < 0.05


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_the_same_kind_of_picture_comes_out(mode: str, fsrcnn: Model) -> None:
    with PilImage.open(SAMPLES / "chelsea.png") as sample:
        part = sample.crop((0, 0, 20, 15))
    picture = part.convert("L").convert(mode) if mode == "I;16" else part.convert(mode)
    picture.info["icc_profile"] = b"a profile"
    large = fsrcnn(picture)
    assert (type(large), large.mode, large.size) == (PilImage.Image, mode, (40, 30))
    assert large.info["icc_profile"] == b"a profile"


@pytest.mark.parametrize(("mode", "becomes"), [("1", "L"), ("P", "RGB"), ("CMYK", "RGB"), ("PA", "RGBA")])
def test_other_modes_are_converted(mode: str, becomes: str, fsrcnn: Model) -> None:
    picture = PilImage.new("RGBA" if mode == "PA" else "RGB", (8, 6), "orange").convert(mode)
    assert fsrcnn(picture).mode == becomes


def test_arrays_pictures_and_files_agree_with_the_command(photo: Path, tmp_path: Path, sr: Run) -> None:
    assert sr("upscale", photo, "-x3", "-m", "ecbsr", "-o", tmp_path / "command.png").code == 0
    with PilImage.open(tmp_path / "command.png") as picture:
        expected = np.asarray(picture)
    with PilImage.open(photo) as picture:
        np.testing.assert_array_equal(np.asarray(srcli.upscale(picture, 3, "ecbsr")), expected)
        np.testing.assert_array_equal(srcli.upscale(np.asarray(picture), 3, "ecbsr"), expected)
    path = srcli.upscale(photo, 3, "ecbsr")
    assert path == photo.with_name("photo_x3.png")
    assert path.read_bytes() == (tmp_path / "command.png").read_bytes()  # its record, too
    written = path.stat().st_mtime_ns
    assert sr("upscale", photo, "-x3", "-m", "ecbsr", "--skip-existing").code == 0
    assert path.stat().st_mtime_ns == written


def test_options_are_those_of_the_command(photo: Path, tmp_path: Path, sr: Run) -> None:
    model = srcli.load("ecbsr", 2, self_ensemble=True, runtime="ncnn")
    postprocess = srcli.Postprocess(strength=0.5, consistent=True, color_fix=True)
    ours = model.upscale_file(
        photo, tmp_path / "ours.jpg", postprocess=postprocess, encoding=srcli.EncodingOptions(quality=70)
    )
    words = ("--strength", "0.5", "--consistent", "--color-fix", "--self-ensemble", "--quality", "70")
    words += ("--runtime", "ncnn")
    assert sr("upscale", photo, "-x2", "-m", "ecbsr", *words, "-o", tmp_path / "theirs.jpg").code == 0
    assert ours.read_bytes() == (tmp_path / "theirs.jpg").read_bytes()


def test_transparency_and_light_above_white_are_kept(pixels: np.ndarray[Any, Any], fsrcnn: Model) -> None:
    alpha = np.zeros(pixels.shape[:2], np.uint8)
    alpha[:, 20:] = 255
    hidden, shown = pixels.copy(), pixels.copy()
    hidden[:, :20] = 0
    first, second = (fsrcnn(np.dstack([one, alpha])) for one in (hidden, shown))
    np.testing.assert_array_equal(first[:, 44:], second[:, 44:])
    bright = (pixels / 255).astype(np.float32)
    bright[5:15, 5:15] *= 8
    assert 4 < fsrcnn(bright).max() < 12


def test_an_exact_size_may_be_asked_for(pixels: np.ndarray[Any, Any], fsrcnn: Model) -> None:
    for size in ((80, 41), (74, 58), (300, 20), (10, 5), (37, 29)):
        assert fsrcnn(pixels, size=size).shape == (size[1], size[0], 3)
    np.testing.assert_array_equal(fsrcnn(pixels, size=(74, 58)), fsrcnn(pixels))


def test_progress_is_reported_to_the_call_that_asked(pixels: np.ndarray[Any, Any]) -> None:
    model = srcli.load("ecbsr", 2, tile=32, device="cpu")
    wide = np.tile(pixels, (1, 3, 1))
    steps: list[tuple[int, int]] = []
    model(wide, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] > 1
    count = len(steps)
    model(wide)
    assert len(steps) == count


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_threads_share_a_model(runtime: str, rng: np.random.Generator) -> None:
    """Each gets what it would get alone, whatever the others do meanwhile."""
    model = srcli.load("fsrcnn", 2, device="cpu", runtime=runtime)
    images = [rng.integers(0, 256, (20 + 3 * k, 31 - k, 3), np.uint8) for k in range(6)]
    expected = [model(image) for image in images]
    start = threading.Barrier(len(images))

    def run(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        start.wait()
        return model(image)

    with ThreadPoolExecutor(len(images)) as pool:
        for result, alone in zip(pool.map(run, images), expected, strict=True):
            np.testing.assert_array_equal(result, alone)


def test_a_model_says_what_it_is(tmp_path: Path, fsrcnn: Model) -> None:
    info = fsrcnn.info
    assert (info.name, info.scale, info.params, info.licence) == ("fsrcnn", 2, 12_809, "Apache-2.0")
    assert info.device.startswith("cpu, float32")
    assert "fsrcnn x2 on cpu" in repr(fsrcnn)
    with pytest.raises(FrozenInstanceError):
        info.scale = 3  # type: ignore[misc]
    file = copy_weights(tmp_path)
    mine = srcli.load(weights=file, scale=2)
    assert (mine.info.name, mine.info.identified_as, mine.info.licence) == ("mine", "fsrcnn x2", "unknown")
    pixels = np.zeros((4, 5), np.uint8)
    np.testing.assert_array_equal(srcli.upscale(pixels, 2, weights=file), fsrcnn(pixels))


def copy_weights(folder: Path) -> Path:
    """Copy the bundled weights of FSRCNN x2 under a name of its own."""
    from srcli import manifest
    from srcli.engine.weights import files

    target = folder / "mine.safetensors"
    target.write_bytes(files.locate_weights(manifest.find_entries("fsrcnn")[2]).read_bytes())
    return target


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros(3, np.uint8), r"shape \(3,\) is not an image"),
        (np.zeros((2, 2, 5), np.uint8), r"shape \(2, 2, 5\) is not an image"),
        (np.zeros((0, 4, 3), np.uint8), "has no pixels"),
        (np.zeros((4, 4), np.int32), "int32 is not an image"),
        (np.zeros((4, 4), bool), "bool is not an image"),
        (np.full((4, 4), np.nan), "NaN or infinity"),
        (np.full((4, 4), np.inf, np.float32), "NaN or infinity"),
        (PilImage.new("F", (4, 4)), "mode F have no fixed range"),
        (PilImage.new("RGB", (0, 4)), "has no pixels"),
        (42, "int is not an image"),
        ("missing.png", "missing.png does not exist"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_image_is_refused(image: Any, message: str, fsrcnn: Model, in_tmp: Path) -> None:
    with pytest.raises(srcli.ImageError, match=message):
        fsrcnn(image)
    assert not list(in_tmp.iterdir())


def test_other_mistakes_are_named(photo: Path, fsrcnn: Model) -> None:
    for mistake, message in (
        (lambda: srcli.load("edrs"), "no model called 'edrs'"),
        (lambda: srcli.load("liif"), "liif is a network without published weights"),
        (lambda: srcli.load(scale=1), "cannot upscale by 1"),
        (lambda: srcli.load("ecbsr", weights="w.pth"), "model cannot be used with weights"),
        (lambda: srcli.load(arch="edsr"), "arch needs weights"),
        (lambda: srcli.load("ecbsr", runtime="abacus"), "no runtime called 'abacus'"),
        (lambda: fsrcnn(np.zeros((2, 2)), size=(0, 9)), "is not a size in pixels"),
        (lambda: fsrcnn(np.zeros((2, 2)), postprocess=srcli.Postprocess(strength=2)), "--strength 2"),
        (lambda: srcli.upscale(np.zeros((2, 2)), output="a.png"), "output and overwrite are for files"),
    ):
        with pytest.raises(srcli.UsageError, match=re.escape(message)):
            mistake()  # type: ignore[no-untyped-call]
    with pytest.raises(srcli.WeightsError, match=r"nowhere\.pth does not exist"):
        srcli.load(weights="nowhere.pth")
    with pytest.raises(srcli.DatasetError, match="no data set or folder"):
        srcli.score("nowhere")


def test_outputs_are_not_replaced_unasked(photo: Path, tmp_path: Path, fsrcnn: Model) -> None:
    target = fsrcnn(photo)
    content = target.read_bytes()
    with pytest.raises(srcli.SrError, match=r"photo_x2\.png exists"):
        fsrcnn(photo)
    target.write_bytes(b"old")
    assert fsrcnn.upscale_file(photo, overwrite=True) == target
    assert target.read_bytes() == content
    with pytest.raises(srcli.SrError, match="is the input itself"):
        fsrcnn.upscale_file(photo, photo, overwrite=True)
    (tmp_path / "folder").mkdir()
    assert fsrcnn.upscale_file(str(photo), tmp_path / "folder") == tmp_path / "folder" / "photo_x2.png"


def test_rows_are_those_of_bench(photos: Path, tmp_path: Path, sr: Run) -> None:
    rows = srcli.score(photos, scale=[2, 3], models=["fsrcnn"], metrics=["mse"], device="cpu")
    assert [(row.method, row.scale) for row in rows] == [
        (method, scale) for scale in (2, 3) for method in ("nearest", "bilinear", "bicubic", "fsrcnn")
    ]
    assert {"psnr_y", "ssim_y", "mse_y", "mse_rgb"} <= set(rows[0].figures)
    done = sr("bench", "-d", photos, "-x2", "-m", "fsrcnn", "--csv", tmp_path / "rows.csv", "--device", "cpu")
    assert done.code == 0, done.err
    text = (tmp_path / "rows.csv").read_text()
    assert f"{rows[3].psnr_y:.2f}" in text
    with pytest.raises(FrozenInstanceError):
        rows[0].images = 1  # type: ignore[misc]


BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def test_the_examples_of_the_page_run(in_tmp: Path, photos: Path, photo: Path) -> None:
    """In order, in one namespace; what a block prints is what the text block below it says."""
    read_image(photo)
    with PilImage.open(photo) as picture:
        picture.save("photo.jpg")
    copy_sample("camera.png", in_tmp).rename("other.png")
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    namespace: dict[str, object] = {}
    checker, pairs = doctest.OutputChecker(), 0
    for number, (language, code) in enumerate(blocks):
        if language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{PAGE.name}[{number}]", "exec"), namespace)
        after = blocks[number + 1] if number + 1 < len(blocks) else ("", "")
        expected = after[1] if after[0] == "text" else ""
        assert checker.check_output(expected, printed.getvalue(), doctest.ELLIPSIS), printed.getvalue()
        pairs += after[0] == "text"
    assert pairs >= 6
