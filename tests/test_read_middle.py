"""The middle of an image is what all of it has there, and takes little memory if the image is large."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.command import Run
from srcli.errors import ImageError
from srcli.imaging.codecs import base, jpeg, png, png_rows
from srcli.imaging.codecs.base import Frame, find_middle
from srcli.imaging.codecs.reading import read_frames, read_middle
from srcli.imaging.codecs.writing import write_frames


def test_the_middle_is_as_large_as_asked() -> None:
    assert find_middle((10, 4), 6) == (slice(0, 4), slice(2, 8))
    assert find_middle((9, 9), 4) == (slice(2, 6), slice(2, 6))


@pytest.fixture
def bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every PNG count as large, and bands and blocks end within the picture."""
    monkeypatch.setattr(png, "_LARGE", 0)
    monkeypatch.setattr(png_rows, "_BAND", 7)
    monkeypatch.setattr(png_rows, "_BLOCK", 100)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "I;16"])
@pytest.mark.usefixtures("bands")
def test_a_large_png_is_read_band_by_band(mode: str, tmp_path: Path, rng: np.random.Generator) -> None:
    noise = PilImage.fromarray(rng.integers(0, 256, (61, 53, 4), dtype=np.uint8))
    if mode == "I;16":
        picture = PilImage.fromarray(rng.integers(0, 65536, (61, 53), dtype=np.uint16))
    else:
        picture = noise.convert("RGB").convert(mode) if mode in "1LP" else noise.convert(mode)
    path = tmp_path / "a.png"
    picture.save(path)  # with adaptive filters
    (frame,) = read_frames(path)
    window = read_middle(path, 20)
    assert window is not None
    np.testing.assert_array_equal(window, frame.samples[find_middle((53, 61), 20)])


@pytest.mark.parametrize(("depth", "channels"), [(8, 1), (8, 2), (8, 3), (8, 4), (16, 1), (16, 2)])
@pytest.mark.usefixtures("bands")
def test_our_own_png_is_read_band_by_band(
    depth: int, channels: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    shape = (61, 53) if channels == 1 else (61, 53, channels)
    samples = rng.integers(0, 2**depth, shape).astype(f"uint{depth}")
    write_frames(tmp_path / "a.png", [Frame(samples, depth)])
    window = read_middle(tmp_path / "a.png", 20)
    assert window is not None
    np.testing.assert_array_equal(window, samples[find_middle((53, 61), 20)])


@pytest.mark.usefixtures("bands")
def test_a_large_png_that_is_cut_off_is_damaged(tmp_path: Path, rng: np.random.Generator) -> None:
    out = io.BytesIO()
    PilImage.fromarray(rng.integers(0, 256, (61, 53), dtype=np.uint8)).save(out, "PNG")
    (tmp_path / "a.png").write_bytes(out.getvalue()[:900])
    with pytest.raises(ImageError, match="is damaged"):
        read_middle(tmp_path / "a.png", 20)


@pytest.mark.usefixtures("bands")
def test_what_does_not_come_in_rows_is_not_examined(tmp_path: Path) -> None:
    write_frames(tmp_path / "a.png", [Frame(np.zeros((9, 9, 3), np.uint16), 16)])
    assert read_middle(tmp_path / "a.png", 4) is None


def test_of_a_large_jpeg_the_luma_is_read(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg, "_LARGE", 0)
    with PilImage.open(photo) as file:
        picture = file.convert("RGB")
    picture.save(tmp_path / "a.jpg", quality=95)
    window = read_middle(tmp_path / "a.jpg", 32)
    assert window is not None
    grey = np.asarray(picture.convert("L"))[find_middle(picture.size, 32)]
    assert window.shape == (32, 32)
    assert np.abs(window.astype(int) - grey).mean() < 2
    monkeypatch.setattr(jpeg, "MAX_DECODED_BYTES", picture.width * picture.height)
    assert read_middle(tmp_path / "a.jpg", 32) is not None
    picture.save(tmp_path / "a.jpg", progressive=True)
    assert read_middle(tmp_path / "a.jpg", 32) is None


@pytest.mark.parametrize("name", ["a.bmp", "a.tif", "a.webp"])
def test_other_formats_are_decoded_if_memory_allows(
    name: str, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    with PilImage.open(photo) as file:
        file.convert("RGB").save(tmp_path / name)
    (frame,) = read_frames(tmp_path / name)
    height, width = frame.samples.shape[:2]
    window = read_middle(tmp_path / name, 32)
    assert window is not None
    np.testing.assert_array_equal(window, frame.samples[find_middle((width, height), 32)])
    monkeypatch.setattr(base, "MAX_DECODED_BYTES", 8 * width * height - 1)
    assert read_middle(tmp_path / name, 32) is None
    done = sr("info", tmp_path / name, "--json")
    assert done.code == 0
    assert json.loads(done.out)["kind"] is None
    assert "not examined" in sr("info", tmp_path / name).out


def test_info_has_the_limit(photo: Path, sr: Run) -> None:
    done = sr("info", photo, "--max-pixels", "4799")
    assert done.code == 1
    assert "80x60 pixels, more than the 4,799 allowed" in done.err
    assert sr("info", photo, "--max-pixels", "4800").code == 0


@pytest.mark.slow
def test_484_megapixels_take_less_than_500_mb(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PilImage.new("L", (22_000, 22_000), 200).save(path)
    code = (
        "import atexit, sys\nfrom pathlib import Path\nfrom srcli.cli.app import main\n"
        "status = Path('/proc/self/status')\n"
        "atexit.register(lambda: print(status.read_text().split('VmHWM:')[1].split()[0]))\n"
        f"sys.argv = ['sr', 'info', {str(path)!r}, '--max-pixels', '500000000']\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "484.0 megapixels" in done.stdout
    assert int(done.stdout.split()[-1]) < 200_000  # kilobytes
