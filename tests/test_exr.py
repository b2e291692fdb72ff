"""OpenEXR: with the extra floats with alpha as any other format, without it a hint."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.command import Run
from srcli.errors import ImageError
from srcli.imaging.codecs import base, exr
from srcli.imaging.codecs.reading import read_info
from srcli.imaging.image import Image, read_image, write_image

FAST = ("-m", "bicubic", "-x2")
needs_exr = pytest.mark.skipif(find_spec("OpenEXR") is None, reason="needs OpenEXR")


def by_library(path: Path, channels: dict[str, Any]) -> Path:
    import OpenEXR

    header = {"compression": OpenEXR.PIZ_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))
    return path


def test_without_the_extra_it_says_what_to_install(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    (tmp_path / "a.exr").write_bytes(exr.CODEC.signatures[0] + bytes(90))
    done = sr("upscale", tmp_path / "a.exr", *FAST, "-o", tmp_path / "o.png")
    assert (done.code, "a.exr needs OpenEXR" in done.err) == (1, True)
    assert "pip install 'sr-cli[exr]'" in done.err
    done = sr("upscale", photo, *FAST, "--format", "exr")
    assert (done.code, "writing .exr needs OpenEXR" in done.err) == (1, True)


@needs_exr
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_write_then_read_is_identity(
    grey: bool, alpha: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    pixels = rng.random((9, 7, 1 if grey else 3), np.float32) * 5 * np.ones(3, np.float32)
    plane = rng.random((9, 7), np.float32) * 0.9 + 0.1 if alpha else None
    write_image(tmp_path / "a.exr", Image(pixels, plane, 32, grey))
    image = read_image(tmp_path / "a.exr")
    assert (image.depth, image.grey, image.size) == (32, grey, (7, 9))
    np.testing.assert_allclose(image.pixels, pixels, rtol=1e-5)
    assert (image.alpha is None) == (not alpha)
    if image.alpha is not None:
        np.testing.assert_array_equal(image.alpha, plane)
    found = read_info(tmp_path / "a.exr")
    assert (found.format, found.size, found.depth) == ("EXR", (7, 9), 32)


@needs_exr
def test_half_floats_layers_and_other_channels(tmp_path: Path, rng: np.random.Generator, sr: Run) -> None:
    values = rng.random((8, 9, 3)).astype(np.float16)
    planes = {f"View.Combined.{name}": np.ascontiguousarray(values[..., k]) for k, name in enumerate("RGB")}
    path = by_library(tmp_path / "a.exr", {**planes, "Depth.Z": np.ones((8, 9), np.float32)})
    np.testing.assert_array_equal(read_image(path).pixels, values.astype(np.float32))
    assert sr("upscale", path, *FAST).code == 0
    assert read_image(tmp_path / "a_x2.exr").size == (18, 16)
    assert sr("upscale", path, *FAST, "--format", "hdr").code == 0


@needs_exr
def test_what_is_no_picture_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = by_library(tmp_path / "a.exr", {"Depth.Z": np.ones((8, 9), np.float32)})
    with pytest.raises(ImageError, match=r"no R, G and B and no Y, but Depth\.Z"):
        read_image(path)
    path = by_library(tmp_path / "b.exr", {"Y": np.full((8, 9), np.nan, np.float32)})
    with pytest.raises(ImageError, match="NaN or infinite"):
        read_image(path)
    with pytest.raises(ImageError, match="9x8 pixels, more than the 70 allowed"):
        read_image(path, 70)
    whole = by_library(tmp_path / "c.exr", {"Y": np.random.default_rng(0).random((64, 64))
                                            .astype(np.float32)}).read_bytes()  # fmt: skip
    for length in (5, 60, 300, len(whole) - 9):
        (tmp_path / "c.exr").write_bytes(whole[:length])
        with pytest.raises(ImageError, match="is damaged"):
            read_image(tmp_path / "c.exr")
    assert capfd.readouterr() == ("", "")
