"""JPEGs that were cut off: refused, or decoded as far as they go."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.command import Run
from helpers.images import crop_photo
from srcli.errors import ImageError
from srcli.imaging.codecs.reading import read_frames

SIDE = 160
PHOTO = np.rint(crop_photo(SIDE, SIDE) * 255).astype(np.uint8)


def encode(pixels: Any = PHOTO, **options: Any) -> bytes:
    buffer = io.BytesIO()
    PilImage.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def salvage(path: Path, data: bytes) -> tuple[Any, str]:
    path.write_bytes(data)
    (frame,) = read_frames(path, salvage=True)
    return frame.samples, " ".join(frame.notes)


@pytest.mark.parametrize("options", [{}, {"subsampling": "4:2:0"}, {"restart_marker_rows": 1}])
def test_the_rows_that_are_there_are_right(options: dict[str, Any], tmp_path: Path) -> None:
    data = encode(quality=90, **options)
    whole = np.asarray(PilImage.open(io.BytesIO(data)))
    samples, note = salvage(tmp_path / "a.jpg", data[: len(data) // 2])
    percent = int(note.removeprefix("salvaged: ").removesuffix(" % of the rows"))
    rows = SIDE * percent // 100
    assert 30 < percent < 70
    assert samples.shape == whole.shape
    # The last row of blocks is incomplete, and chroma is interpolated across its edge.
    assert np.array_equal(samples[: rows - 18], whole[: rows - 18])
    assert np.all(samples[rows + 2 :] == 128)


def test_progressive_files_lose_details(tmp_path: Path) -> None:
    data = encode(progressive=True, quality=90)
    samples, note = salvage(tmp_path / "a.jpg", data[: len(data) * 6 // 10])
    assert note == "salvaged: 100 % of the rows, without the last details"
    error = np.abs(samples.astype(int) - PHOTO).mean()
    assert 1 < error < 30


def test_white_at_the_end_counts_as_there(tmp_path: Path) -> None:
    pixels = PHOTO.copy()
    pixels[100:] = 255
    data = encode(pixels)
    _, note = salvage(tmp_path / "a.jpg", data[:-10])
    assert note in ("salvaged: 100 % of the rows", "salvaged: 99 % of the rows")


def test_sound_files_are_read_as_ever(tmp_path: Path) -> None:
    samples, note = salvage(tmp_path / "a.jpg", encode())
    assert note == ""
    assert np.array_equal(samples, np.asarray(PilImage.open(tmp_path / "a.jpg")))


def test_orientation_is_applied(tmp_path: Path) -> None:
    exif = PilImage.Exif()
    exif[0x0112] = 6
    data = encode(PHOTO[:, :80], exif=exif)
    samples, _ = salvage(tmp_path / "a.jpg", data[: len(data) // 2])
    assert samples.shape == (80, SIDE, 3)
    assert np.all(samples[:, :16] == 128)


def test_nothing_to_salvage(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode()[:100])
    with pytest.raises(ImageError, match=r"is damaged|is not an image"):
        list(read_frames(tmp_path / "a.jpg", salvage=True))
    (tmp_path / "a.jpg").write_bytes(encode()[:3000])
    with pytest.raises(ImageError, match="more than the 1,000 allowed"):
        list(read_frames(tmp_path / "a.jpg", 1000, salvage=True))


def test_salvage_on_the_command_line(in_tmp: Path, sr: Run) -> None:
    data = encode()
    Path("a.jpg").write_bytes(data[: len(data) // 2])
    done = sr("upscale", "a.jpg", "-m", "bicubic", "-x2", "-o", "b.png")
    assert done.code == 1
    assert "hint: copy or download the file again; --salvage decodes what is there" in done.err
    assert not Path("b.png").exists()
    done = sr("upscale", "a.jpg", "-m", "bicubic", "-x2", "-o", "b.png", "--salvage", "--json")
    assert done.code == 0
    (note,) = json.loads(done.out)["notes"]
    assert note.startswith("salvaged: ")
    (Path("c.png")).write_bytes(Path("b.png").read_bytes()[:-3000])
    done = sr("upscale", "c.png", "-m", "bicubic", "-x2", "-o", "d.png", "--salvage")
    assert done.code == 1
    assert "--salvage" not in done.err
