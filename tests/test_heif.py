"""HEIC: with the extra as any other format, without it a hint."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from helpers.command import Run
from srcli.imaging.codecs import base
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.metadata.fields import Metadata
from tools import formats as table

HAS = find_spec("pillow_heif") is not None


def test_without_the_extra_it_says_what_to_install(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sr: Run
) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(90))
    done = sr("upscale", tmp_path / "a.heic", "-m", "bicubic", "-o", tmp_path / "o.png")
    assert done.code == 1
    assert "reading" in done.err
    assert "pip install 'sr-cli[heif]'" in done.err
    done = sr("upscale", photo, "-m", "bicubic", "--format", "heic")
    assert done.code == 1
    assert "writing .heic needs pillow-heif" in done.err


@pytest.mark.skipif(not HAS, reason="needs pillow-heif")
@pytest.mark.parametrize(("mode", "channels"), [("L;16", 1), ("RGB;16", 3), ("RGBA;16", 4)])
def test_ten_bits_are_not_turned_to_eight(mode: str, channels: int, tmp_path: Path, sr: Run) -> None:
    import pillow_heif

    samples = np.linspace(0, 65535, 48 * 64 * channels).reshape(48, 64, channels).astype(np.uint16)
    pillow_heif.from_bytes(mode, (64, 48), samples.tobytes()).save(tmp_path / "a.heic", quality=-1)
    image = read_image(tmp_path / "a.heic")
    assert (image.depth, image.grey, image.size) == (16, channels == 1, (64, 48))
    np.testing.assert_allclose(image.pixels[..., :channels], samples[..., :3] / 65535, atol=1.1 / 1023)
    assert image.pixels.max() == 1
    assert "16 -> 8 bits" in sr("upscale", tmp_path / "a.heic", "-x2", "-m", "bicubic").out


@pytest.mark.skipif(not HAS, reason="needs pillow-heif")
@pytest.mark.parametrize("alpha", [False, True])
def test_with_the_extra_it_is_kept(alpha: bool, photo: Path, tmp_path: Path, sr: Run) -> None:
    pixels = read_image(photo).pixels
    plane = np.linspace(0, 1, 80, dtype=np.float32) * np.ones((60, 1), np.float32) if alpha else None
    about = Metadata(icc=table.make_profile(), exif=table.make_exif().tobytes())
    write_image(tmp_path / "a.heic", Image(pixels, plane, metadata=about))
    done = sr("upscale", tmp_path / "a.heic", "-x2", "-m", "bicubic")
    assert done.code == 0, done.err
    out = read_image(tmp_path / "a_x2.heic")
    assert sorted(out.size) == [120, 160]
    assert (out.alpha is not None) == alpha
    assert out.metadata.icc == table.make_profile()
    assert b"a cup" in (out.metadata.exif or b"")
    (tmp_path / "b.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:500])
    assert sr("upscale", tmp_path / "b.heic", "-x2", "-m", "bicubic").code == 1
