"""`-m auto`: each picture gets the model that suits it, says so, and gets the same one again."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.command import Run
from helpers.paths import SAMPLES
from srcli.batch.request import UpscaleRequest
from srcli.imaging.image import read_image
from srcli.imaging.picture_kind import Kind, Picture
from srcli.methods import MethodOptions, choice, load_method
from srcli.methods.auto import AutoModels, find_auto_models
from srcli.methods.pixel_art import even_squares
from tools import picture_cases


@pytest.fixture
def only_bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that no other package brings weights, and that nothing was downloaded."""
    monkeypatch.setattr("srcli.engine.weights.packages.find_installed", lambda package: None)
    monkeypatch.setattr("srcli.engine.weights.hub.find_cached", lambda file: None)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with one small picture of each kind that gets another model."""
    with PilImage.open(SAMPLES / "coffee.png") as file:
        photo = file.resize((120, 80), PilImage.Resampling.LANCZOS)
    photo.save(tmp_path / "clean.png")
    picture_cases.add_noise(photo, np.random.default_rng(0), 20, grey=False).save(tmp_path / "noisy.png")
    text, drawing = (
        next(samples for drawn, samples in picture_cases.draw_cases(range(2)) if drawn is kind)
        for kind in (Kind.TEXT, Kind.DRAWING)
    )
    PilImage.fromarray(text[:90, :120]).save(tmp_path / "text.png")
    PilImage.fromarray(drawing).save(tmp_path / "drawing.png")
    sprite = np.random.default_rng(1).integers(0, 2, (12, 16, 1)).astype(np.uint8) * np.uint8([250, 60, 90])
    PilImage.fromarray(sprite.repeat(4, 0).repeat(4, 1)).save(tmp_path / "sprite.png")
    return tmp_path


def test_each_picture_gets_its_model(pictures: Path, only_bundled: None, sr: Run) -> None:
    same = ["-x2", "--runtime", "ncnn"]  # of several, the fastest for so many pixels would run
    done = sr("upscale", pictures, *same, "-o", pictures / "out", "--json")
    assert done.code == 0, done.err
    records = {Path(r["input"]).stem: r for r in map(json.loads, done.out.splitlines())}
    models = {stem: record["model"] for stem, record in records.items()}
    assert models == {
        "clean": "slimres", "noisy": "photo", "text": "slimres", "drawing": "anime", "sprite": "pixel-art",
    }  # fmt: skip
    assert records["text"]["notes"][0] == "slimres for text"
    # The same as with the model named.
    assert sr("upscale", pictures / "noisy.png", *same, "-m", "photo", "-o", pictures / "named.png").code == 0
    named, chosen = (
        read_image(file).pixels for file in (pictures / "named.png", pictures / "out" / "noisy_x2.png")
    )
    np.testing.assert_array_equal(named, chosen)


def test_the_choice_is_recorded_and_recognised(pictures: Path, only_bundled: None, sr: Run) -> None:
    photo, out = pictures / "noisy.png", pictures / "out.png"
    command = ["upscale", photo, "-x2", "-o", out]
    assert "photo for noise of about" in sr(*command).out
    made = json.loads(sr("info", out, "--json").out)["made"]
    assert made["model"] == "photo"
    assert made["weights"].keys() == {"photo-x2"}
    assert made["options"]["auto"].startswith("noise of about")
    assert "is up to date" in sr(*command, "--skip-existing").out
    # Other preferences may take other models.
    assert sr(*command, "--skip-existing", "--prefer", "speed").code == 1


def test_names_have_the_model_that_was_taken(pictures: Path, only_bundled: None, sr: Run) -> None:
    (pictures / "bad.png").write_text("no image")
    out = pictures / "out"
    command = ["upscale", pictures, "-x2", "-o", out, "--name", "{stem}_{model}"]
    assert sr(*command).code == 3
    made = {file.name: json.loads(sr("info", file, "--json").out)["made"]["model"] for file in out.iterdir()}
    assert made == {
        "clean_slimres.png": "slimres", "noisy_photo.png": "photo", "text_slimres.png": "slimres",
        "drawing_anime.png": "anime", "sprite_pixel-art.png": "pixel-art",
    }  # fmt: skip
    assert sr(*command, "--skip-existing").out.count("is up to date") == len(made)


def test_workers_choose_alike(pictures: Path, sr: Run) -> None:
    texts = []
    for workers in ("1", "2"):
        out = pictures / f"out{workers}"
        files = (pictures / "noisy.png", pictures / "sprite.png")
        done = sr("upscale", *files, "-x2", "--runtime", "ncnn", "-o", out, "--workers", workers)
        assert done.code == 0, done.err
        texts.append([file.read_bytes() for file in sorted(out.iterdir())])
    assert texts[0] == texts[1]


def test_time_and_preference(pictures: Path, only_bundled: None, sr: Run) -> None:
    noisy = pictures / "noisy.png"
    done = sr("upscale", noisy, "-x2", "-o", pictures / "a.png", "--within", "10m")
    assert "slimres is the best model within" in done.err
    assert "photo for noise" in done.out
    assert "fsrcnn for" in sr("upscale", pictures / "clean.png", "-x2", "--prefer", "speed").out
    done = sr("upscale", noisy, "-x2", "-m", "ecbsr", "--prefer", "speed")
    assert (done.code, "--prefer is for -m auto" in done.err) == (2, True)


def test_only_upscale_has_it(pictures: Path, sr: Run) -> None:
    done = sr("bench", "-m", "auto", "--dataset", pictures, "-x2")
    assert (done.code, "auto needs a picture to look at" in done.err) == (2, True)
    assert choice.ModelChoice("auto").is_auto
    assert not UpscaleRequest(()).model.is_auto  # the library's default is a model


def test_dry_runs_look_at_the_pictures(pictures: Path, only_bundled: None, sr: Run) -> None:
    done = sr("upscale", pictures / "noisy.png", pictures / "sprite.png", "-x2", "--dry-run")
    assert done.code == 0, done.err
    assert "  photo: " in done.out
    assert "  pixel-art: " in done.out


def test_installed_packages_are_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("srcli.engine.weights.hub.find_cached", lambda file: None)
    monkeypatch.setattr("srcli.engine.weights.packages.find_installed", lambda package: tmp_path)
    assert find_auto_models().drawing == "realesr-animevideo"
    assert find_auto_models("quality").degraded == "realesrgan"
    assert find_auto_models("speed") == AutoModels("fsrcnn", "photo-lite", "fsrcnn")


def test_drawings_never_get_a_model_for_clean_photographs_for_quality(only_bundled: None) -> None:
    """It would sharpen the ripples of JPEG."""
    assert find_auto_models("quality").drawing == "anime"


@pytest.mark.parametrize("kind", Kind)
def test_text_and_pixel_art_never_get_a_denoiser(kind: Kind) -> None:
    models = AutoModels("clean", "degraded", "drawing", "pixels")
    found = models.choose(Picture(kind))
    assert (found == "degraded") == Picture(kind).is_degraded
    if kind in (Kind.TEXT, Kind.PIXEL_ART):
        assert found in ("clean", "pixels")


# The scaler for pixel art


@pytest.mark.parametrize("scale", [2, 3, 2.5, 1.25])
def test_squares_stay_equal(scale: float) -> None:
    sprite = np.random.default_rng(2).random((20, 30, 3)).astype(np.float32).round(1)
    large = sprite.repeat(4, 0).repeat(4, 1)
    method = load_method("pixel-art", scale, MethodOptions())
    side = round(4 * scale)
    np.testing.assert_allclose(method(large, scale), sprite.repeat(side, 0).repeat(side, 1), atol=1e-6)


@pytest.mark.parametrize("cut", [(0, 0), (1, 3), (2, 1)])
def test_jpeg_is_taken_out_of_squares(cut: tuple[int, int]) -> None:
    sprite = np.random.default_rng(3).integers(0, 2, (20, 30, 1)) * np.uint8([200, 90, 40])
    large = sprite.repeat(6, 0).repeat(6, 1)[cut[0] :, cut[1] :].astype(np.uint8)
    saved = np.asarray(picture_cases.save_as_jpeg(PilImage.fromarray(large), 90, 0), np.float32) / 255
    found = even_squares(saved, 6)
    assert found.shape == saved.shape
    assert (
        np.abs(found - large / np.float32(255)).max() < 0.03 < np.abs(saved - large / np.float32(255)).max()
    )
