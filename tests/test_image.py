"""Files: what goes in comes out, and what is broken is said to be."""

import contextlib
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from PIL import ImageCms

from helpers.paths import SAMPLES
from srcli.errors import FileError, ImageError
from srcli.imaging.codecs.writing import check_writable
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.pixels import to_uint8

LOSSLESS = [".png", ".tif", ".bmp", ".ppm"]


def random_image(rng: np.random.Generator, depth: int = 8, alpha: bool = False, grey: bool = False) -> Image:
    top = 2**depth - 1
    pixels = (rng.integers(0, top + 1, (6, 9, 3)) / top).astype(np.float32)
    if grey:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    plane = (rng.integers(0, top + 1, (6, 9)) / top).astype(np.float32) if alpha else None
    return Image(pixels, plane, depth, grey)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_write_then_read_is_identity(suffix: str, tmp_path: Path, rng: np.random.Generator) -> None:
    image = random_image(rng)
    write_image(tmp_path / f"a{suffix}", image)
    again = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert (again.depth, again.grey, again.alpha) == (8, False, None)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_depth_alpha_and_grey_survive(
    suffix: str, depth: int, alpha: bool, grey: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    image = random_image(rng, depth, alpha, grey)
    write_image(tmp_path / f"a{suffix}", image)
    again = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(again.pixels, image.pixels, atol=1e-7)
    assert again.depth == depth
    assert again.grey == grey
    if image.alpha is None:
        assert again.alpha is None
    else:
        np.testing.assert_allclose(again.alpha, image.alpha, atol=1e-7)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_lossy_formats_come_near(suffix: str, tmp_path: Path) -> None:
    image = read_image(SAMPLES / "chelsea.png")
    write_image(tmp_path / f"a{suffix}", image)
    assert np.abs(read_image(tmp_path / f"a{suffix}").pixels - image.pixels).mean() < 0.02


def test_orientation_is_applied_and_reset(tmp_path: Path) -> None:
    samples = to_uint8(read_image(SAMPLES / "coffee.png").pixels[:40, :64])
    for tag in range(1, 9):
        exif = PilImage.Exif()
        exif[0x0112], exif[0x010E] = tag, "a cup"
        path = tmp_path / f"{tag}.png"
        PilImage.fromarray(samples).save(path, exif=exif)
        image = read_image(path)
        with PilImage.open(path) as file:
            from PIL import ImageOps

            upright = np.asarray(ImageOps.exif_transpose(file))
        np.testing.assert_array_equal(to_uint8(image.pixels), upright)
        write_image(tmp_path / "out.png", image)
        with PilImage.open(tmp_path / "out.png") as file:
            kept = file.getexif()
        assert (kept[0x0112], kept[0x010E]) == (1, "a cup")


def test_colour_profile_is_kept(tmp_path: Path, photo: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with PilImage.open(photo) as file:
        file.save(tmp_path / "p.png", icc_profile=profile)
    write_image(tmp_path / "out.jpg", read_image(tmp_path / "p.png"))
    with PilImage.open(tmp_path / "out.jpg") as file:
        assert file.info["icc_profile"] == profile


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "LA", "RGBA"])
def test_modes_that_people_have(mode: str, tmp_path: Path, photo: Path) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    with PilImage.open(photo) as file:
        file.convert(mode).save(path)
    image = read_image(path)
    assert image.pixels.shape == (60, 80, 3)
    assert image.grey == (mode in ("1", "LA"))
    assert (image.alpha is not None) == (mode in ("LA", "RGBA"))


def broken(tmp_path: Path, photo: Path) -> dict[str, Path]:
    whole = photo.read_bytes()
    jpeg = tmp_path / "whole.jpg"
    write_image(jpeg, read_image(photo))
    contents = {
        "empty.png": b"",
        "text.png": b"not an image",
        "truncated.png": whole[: len(whole) // 2],
        "truncated.jpg": jpeg.read_bytes()[:900],
        "flipped.png": whole[:60] + bytes(b ^ 255 for b in whole[60:120]) + whole[120:],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in [*contents, "missing.png"]} | {"folder": tmp_path}


def test_broken_files_are_named_with_a_hint(tmp_path: Path, photo: Path) -> None:
    for path in broken(tmp_path, photo).values():
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert str(path) in caught.value.message
        assert caught.value.hint
        assert "\n" not in caught.value.message


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".avif", ".ppm"])
@pytest.mark.parametrize("depth", [8, 16])
def test_damage_of_any_kind_is_an_image_error_or_an_image(
    suffix: str, depth: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, random_image(rng, depth))
    whole = np.fromfile(path, np.uint8)
    for k in range(60):
        damaged = whole[: rng.integers(1, whole.size)].copy() if k % 2 else whole.copy()
        damaged[rng.integers(0, min(damaged.size, 200), 3)] = rng.integers(0, 256, 3)
        damaged.tofile(path)
        with contextlib.suppress(ImageError):
            assert read_image(path).pixels.ndim == 3


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".ppm"])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_failed_write_leaves_nothing(
    suffix: str, depth: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    image = Image(rng.random((64, 64, 3), np.float32), depth=depth)
    target = tmp_path / "out" / f"a{suffix}"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(FileError, match="File too large"):
            write_image(target, image)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(target.parent.iterdir()) == []


def test_what_cannot_be_written_is_refused_first(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(ImageError, match=r"cannot write '\.xyz'"):
        check_writable(tmp_path / "a.xyz")
    with pytest.raises(ImageError, match="plain names no format"):
        check_writable(tmp_path / "plain")
    with pytest.raises(ImageError, match="cannot hold transparency"):
        check_writable(tmp_path / "a.jpg", alpha=True)
