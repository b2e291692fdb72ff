"""`sr info`: what a picture has been through, and how ours was made."""

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.command import Run
from helpers.images import copy_sample
from helpers.paths import SAMPLES
from srcli import __version__, manifest
from srcli.imaging.codecs.base import Codec
from srcli.imaging.codecs.reading import read_info
from srcli.imaging.codecs.registry import CODECS
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.metadata.provenance import Record, add_record, read_record
from srcli.imaging.picture_kind import Kind, examine_picture
from srcli.imaging.pixels import Pixels, quantise, to_uint8
from srcli.imaging.quality_estimate import estimate_noise
from srcli.imaging.resize import resize
from tools import formats as table

PHOTOS = ["astronaut", "camera", "chelsea", "coffee"]


def photo_of(name: str) -> Pixels:
    return read_image(SAMPLES / f"{name}.png").pixels


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("deviation", [0, 5, 10])
def test_noise_is_about_what_was_added(name: str, deviation: int) -> None:
    pixels = photo_of(name)
    noisy = pixels + np.random.default_rng(0).normal(0, deviation / 255, pixels.shape[:2])[..., None]
    found = estimate_noise((quantise(noisy) / 255).astype(np.float32) @ np.array([0.299, 0.587, 0.114]))
    assert found == pytest.approx(deviation, abs=1.5)


@pytest.mark.parametrize("name", PHOTOS)
def test_what_was_enlarged_before_is_found_out(name: str) -> None:
    pixels = photo_of(name)
    height, width = (side // 4 * 4 for side in pixels.shape[:2])
    assert examine_picture(to_uint8(pixels)).spare == 1
    for factor in (2, 4):
        small = resize(pixels, height // factor, width // factor)
        found = examine_picture(to_uint8(resize(small, height, width)))
        assert found.kind is Kind.UPSCALED
        assert factor * 0.75 <= found.spare <= factor * 1.5


@pytest.mark.parametrize("quality", [10, 40, 50, 75, 90, 98])
def test_jpeg_quality(quality: int, tmp_path: Path, sr: Run) -> None:
    from PIL import Image as PilImage

    with PilImage.open(SAMPLES / "coffee.png") as file:
        file.save(tmp_path / "a.jpg", quality=quality)
    assert read_info(tmp_path / "a.jpg").quality == pytest.approx(quality, abs=1)


def test_what_an_output_says_of_itself(tmp_path: Path, sr: Run) -> None:
    photo = copy_sample("chelsea.png", tmp_path)
    assert sr("upscale", photo, "-x3", "--format", "jpg").code == 0
    done = sr("info", tmp_path / "chelsea_x3.jpg", "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)["made"]
    entry = manifest.find_entries("slimres")[3]
    assert made["weights"] == {"slimres-x3": entry.sha256}
    assert (made["version"], made["model"], made["scale"]) == (__version__, "slimres", "x3")
    assert made["size"] == "451x300"
    assert "float32" in made["where"]
    shown = sr("info", tmp_path / "chelsea_x3.jpg").out
    assert f"sr {__version__}, slimres x3, slimres-x3 sha256 {entry.sha256[:16]}" in " ".join(shown.split())


def test_advice(tmp_path: Path, sr: Run) -> None:
    photo = copy_sample("coffee.png", tmp_path)
    assert "use -m slimres for a clean photograph" in sr("info", photo).out
    noise = np.random.default_rng(0).normal(0, 0.05, read_image(photo).pixels.shape).astype(np.float32)
    write_image(tmp_path / "noisy.png", Image(np.clip(read_image(photo).pixels + noise, 0, 1)))
    assert "use -m photo for noise of about 8 in 255" in sr("info", tmp_path / "noisy.png").out


def test_info_of_what_is_no_image(tmp_path: Path, sr: Run) -> None:
    (tmp_path / "a.png").write_text("no")
    done = sr("info", tmp_path / "a.png", tmp_path / "b.png")
    assert done.code == 1
    assert "is not an image" in done.err


def test_info_of_a_tiny_image(tmp_path: Path, sr: Run) -> None:
    write_image(tmp_path / "a.tif", Image(np.zeros((1, 1, 3), np.float32), depth=16))
    done = sr("info", tmp_path / "a.tif")
    assert done.code == 0
    assert "RGB, 16 bit" in done.out


def test_a_bad_file_stops_nothing(photo: Path, tmp_path: Path, sr: Run) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    done = sr("info", tmp_path / "bad.png", photo)
    assert done.code == 3
    assert "bad.png is not an image" in done.err
    assert "80x60" in done.out
    assert sr("info", tmp_path / "bad.png").code == 1
    done = sr("info", tmp_path / "bad.png", "--json")
    assert "is not an image" in json.loads(done.out)["error"]


def test_profiles_are_named(photo: Path, tmp_path: Path, sr: Run) -> None:
    write_image(
        tmp_path / "a.png", Image(read_image(photo).pixels, metadata=Metadata(icc=table.make_profile()))
    )
    assert "sRGB" in json.loads(sr("info", tmp_path / "a.png", "--json").out)["profile"]
    write_image(tmp_path / "b.tif", Image(read_image(photo).pixels, metadata=Metadata(icc=b"no profile")))
    assert json.loads(sr("info", tmp_path / "b.tif", "--json").out)["profile"] == "unnamed"
    assert json.loads(sr("info", photo, "--json").out)["profile"] is None


RECORD = Record("1.0", 'mine "<&>" 猫', "x2", "3x4", "ab", "cd", {"w": "ef"}, "cpu", 512, {"quality": "9"})


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_records_come_back_and_replace_each_other(codec: Codec) -> None:
    own = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description dc:a="b"/></rdf:RDF></x:xmpmeta>'
    for before in (Metadata(), Metadata(xmp=own, comment=b"mine")):
        once = add_record(before, RECORD, codec.metadata_kinds)
        twice = add_record(once, RECORD, codec.metadata_kinds)
        kinds = {"xmp", "comment"} & set(codec.metadata_kinds)
        assert read_record(twice) == (RECORD if kinds else None)
        assert twice == once
        if before.xmp and "xmp" in kinds:
            assert b'dc:a="b"' in (twice.xmp or b"")
        if before.comment and kinds == {"comment"}:
            assert (twice.comment or b"").startswith(b"mine\n")


@pytest.mark.parametrize(
    "text", ['sr:record="{}"', 'sr:record="[1"', "", 'sr:record="{&quot;version&quot;:1}"']
)
def test_records_of_others_are_none(text: str) -> None:
    element = f'<rdf:Description rdf:about="" xmlns:sr="urn:sr-cli:provenance:1" {text}/>'
    assert read_record(Metadata(xmp=element.encode())) is None


def test_a_folder_has_a_line_for_each_image_and_a_total(tmp_path: Path, sr: Run) -> None:
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for name in ("coffee.png", "chelsea.png"):
        copy_sample(name, tmp_path).rename(folder / name)
    copy_sample("camera.png", tmp_path).rename(folder / "inner" / "camera.png")
    (folder / "bad.png").write_text("no image")
    done = sr("info", folder)
    assert done.code == 3
    lines = done.out.splitlines()
    assert f"{folder / 'coffee.png'}  PNG  600x400  clean photograph  -m slimres" in lines
    assert lines[-1].startswith("2 images, 0.4 megapixels, ")
    assert lines[-1].endswith(" kB: clean photograph (2)")
    (folder / "bad.png").unlink()
    assert sr("info", folder, "-r").out.splitlines()[-1].startswith("3 images, 0.6 megapixels")
    (tmp_path / "empty").mkdir()
    done = sr("info", tmp_path / "empty")
    assert (done.code, "no images in" in done.err) == (2, True)
