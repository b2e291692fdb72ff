"""Colours that are not sRGB come out right in files that cannot say so."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from PIL import ImageCms, PngImagePlugin

from helpers.command import Run
from srcli.imaging import colorspace
from srcli.imaging.codecs import registry
from srcli.imaging.codecs.base import Frame
from srcli.imaging.codecs.color_fit import fit_colors
from srcli.imaging.codecs.reading import read_frames
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.profiles import make_grey_profile, make_profile, parse_profile

P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
D65 = (0.3127, 0.3290)


def convert_with_lcms(samples: np.ndarray, icc: bytes) -> np.ndarray:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    picture = PilImage.fromarray(samples)
    mode = picture.mode
    target = ImageCms.createProfile("sRGB")
    return np.asarray(
        ImageCms.profileToProfile(
            picture, profile, target, outputMode="RGB", renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
    )[..., : 1 if mode == "L" else 3]


def fit(frame: Frame, suffix: str) -> Frame:
    return fit_colors(frame, registry.find_codec(Path(f"x{suffix}")))


@pytest.mark.parametrize(("primaries", "gamma"), [(P3, 0.0), (ADOBE, 2.2), (P3, 1.0), (ADOBE, 1.8)])
def test_conversion_agrees_with_littlecms(
    primaries: tuple[tuple[float, float], ...], gamma: float, rng: np.random.Generator
) -> None:
    icc = make_profile(primaries, D65, gamma)
    samples = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    converted = fit(Frame(samples, 8, Metadata(icc=icc)), ".bmp")
    assert converted.metadata.icc is None
    assert converted.notes == ("colours converted to sRGB",)
    difference = np.abs(converted.samples.astype(int) - convert_with_lcms(samples, icc))
    assert difference.max() <= 2
    deep = fit(Frame(samples.astype(np.uint16) * 257, 16, Metadata(icc=icc)), ".ppm")
    np.testing.assert_allclose(deep.samples / 257, converted.samples, atol=0.51)


def test_grey_is_converted_by_its_curve() -> None:
    icc = make_grey_profile(1.0)
    samples = np.arange(256, dtype=np.uint8).reshape(16, 16)
    converted = fit(Frame(samples, 8, Metadata(icc=icc)), ".gif").samples
    np.testing.assert_allclose(converted, 255 * colorspace.encode_srgb(samples / 255), atol=0.51)
    # LittleCMS interpolates in a table of its own, which is coarse near black.
    assert np.abs(converted[4:, :, None].astype(int) - convert_with_lcms(samples, icc)[4:]).max() <= 1


def test_srgb_is_left_alone(rng: np.random.Generator) -> None:
    for icc in (
        colorspace.make_srgb_profile(),
        make_profile(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), D65, 0),
    ):
        profile = parse_profile(icc)
        assert profile is not None
        assert profile.is_srgb
        frame = fit(Frame(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), 8, Metadata(icc=icc)), ".bmp")
        assert not frame.notes


def test_alpha_is_no_colour(rng: np.random.Generator) -> None:
    samples = rng.integers(0, 256, (9, 9, 4), dtype=np.uint8)
    frame = fit(Frame(samples, 8, Metadata(icc=make_profile(P3, D65, 2.2))), ".gif")
    np.testing.assert_array_equal(frame.samples[..., 3], samples[..., 3])
    assert (frame.samples[..., :3] != samples[..., :3]).any()


@pytest.mark.parametrize("cut", [0, 100, 130, 200, 400, 600])
def test_a_damaged_profile_is_named_not_raised(cut: int, rng: np.random.Generator) -> None:
    samples = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    icc = make_profile(P3, D65, 2.2)[:cut] or b"?"
    frame = fit(Frame(samples, 8, Metadata(icc=icc)), ".bmp")
    assert frame.metadata.icc is None
    assert len(frame.notes) == 1


def test_gamma_and_chromaticities_of_a_png_become_a_profile(tmp_path: Path, sr: Run) -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100000))
    info.add(b"cHRM", struct.pack(">8I", *(round(v * 100000) for pair in (D65, *P3) for v in pair)))
    PilImage.new("RGB", (32, 32), (60, 90, 120)).save(tmp_path / "a.png", pnginfo=info)
    expected = make_profile(P3, D65, 1.0)
    for suffix in (".jpg", ".webp", ".tif", ".avif"):
        done = sr("upscale", tmp_path / "a.png", "-x2", "-m", "bicubic", "-o", tmp_path / f"b{suffix}")
        assert done.code == 0, done.err
        (frame,) = read_frames(tmp_path / f"b{suffix}")
        assert frame.metadata.icc == expected
        np.testing.assert_allclose(frame.samples[5, 5], (60, 90, 120), atol=4)
    for suffix in (".bmp", ".gif", ".ppm"):
        done = sr("upscale", tmp_path / "a.png", "-x2", "-m", "bicubic", "-o", tmp_path / f"b{suffix}")
        assert "colours converted to sRGB" in done.out, done.err
        (frame,) = read_frames(tmp_path / f"b{suffix}")
        pixel = np.array([[[60, 90, 120]]], np.uint8)
        np.testing.assert_allclose(frame.samples[5, 5], convert_with_lcms(pixel, expected)[0, 0], atol=2)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_that_is_lost_is_named(transfer: int, name: str, tmp_path: Path, sr: Run) -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"cICP", bytes([9, transfer, 0, 1]))
    PilImage.new("RGB", (16, 16), (60, 90, 120)).save(tmp_path / "a.png", pnginfo=info)
    done = sr("upscale", tmp_path / "a.png", "-x2", "-m", "bicubic", "-o", tmp_path / "b.jpg")
    assert f"{name} colours are not kept" in done.out, done.err
    done = sr("upscale", tmp_path / "a.png", "-x2", "-m", "bicubic")
    assert "not kept" not in done.out
    (frame,) = read_frames(tmp_path / "a_x2.png")
    assert frame.metadata.cicp == bytes([9, transfer, 0, 1])
