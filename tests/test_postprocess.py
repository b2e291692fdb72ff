"""Steps after the network: consistency, strength, colours, and the uncertainty map."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from helpers.command import Run
from helpers.paths import SAMPLES
from srcli.imaging import rows
from srcli.imaging.codecs.base import EncodingOptions
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels
from srcli.imaging.postprocess import (
    add_back_noise,
    add_grain,
    back_project,
    blend_back,
    sharpen,
    transfer_colours,
)
from srcli.imaging.resize import resize
from srcli.methods import Method, MethodOptions, load_method
from srcli.upscaling.fingerprint import list_choices
from srcli.upscaling.postprocess import Postprocess, blend_with_bicubic


def reduced_error(large: Pixels, small: Pixels) -> float:
    return float(np.abs(resize(large, *small.shape[:2]) - small).max())


@pytest.mark.parametrize("model", ["nearest", "bicubic", "ecbsr"])
@pytest.mark.parametrize("size", [(120, 160), (97, 211), (240, 320)])
def test_reduced_again_it_is_the_input(model: str, size: tuple[int, int], photo: Path) -> None:
    small = read_image(photo).pixels
    method = load_method(model, 4)(small, size[0] / 60)
    large = np.clip(resize(method, *size), 0, 1)
    back = back_project(large, small)
    assert reduced_error(back, small) < 0.02
    assert reduced_error(back, small) < 0.5 * reduced_error(large, small)
    assert np.abs(back - large).mean() < 0.05


def test_consistent_changes_nothing_that_is() -> None:
    grey = np.full((40, 40, 3), 0.5, np.float32)
    np.testing.assert_array_equal(back_project(grey, grey[::4, ::4]), grey)


def test_strength_goes_from_bicubic_to_the_network(photo: Path, tmp_path: Path, sr: Run) -> None:
    out = {}
    for strength in ("0", "0.5", "1"):
        done = sr("upscale", photo, "-x2", "--strength", strength, "-o", tmp_path / f"{strength}.png")
        assert done.code == 0, done.err
        out[strength] = read_image(tmp_path / f"{strength}.png").pixels
    assert sr("upscale", photo, "-x2", "-m", "bicubic", "-o", tmp_path / "b.png").code == 0
    assert np.abs(out["0"] - read_image(tmp_path / "b.png").pixels).max() <= 1.01 / 255
    np.testing.assert_allclose(out["0.5"], (out["0"] + out["1"]) / 2, atol=1.01 / 255)
    assert np.abs(out["1"] - out["0"]).mean() > 0.003
    for option in ("--strength", "--denoise"):
        assert f"{option} 1.5 is not between 0 and 1" in sr("upscale", photo, option, "1.5").err


def test_colours_come_from_the_input() -> None:
    small = read_image(SAMPLES / "coffee.png").pixels[:120, :160]
    sharp = np.clip(resize(small, 480, 640), 0, 1)
    tinted = np.clip(sharp * np.float32([1.06, 0.97, 0.92]) + np.float32(0.02), 0, 1)
    fixed = transfer_colours(rows.of(tinted), rows.of(small)).whole()
    assert np.abs(fixed - sharp).mean() < 0.3 * np.abs(tinted - sharp).mean()
    assert np.abs(blend_with_bicubic(rows.of(sharp), rows.of(small), 1).whole() - sharp).max() == 0


def test_a_map_of_where_orientations_differ(photo: Path, tmp_path: Path, sr: Run) -> None:
    mean, plain = tmp_path / "mean.png", tmp_path / "plain.png"
    done = sr("upscale", photo, "-x2", "--uncertainty", tmp_path / "map.png", "-o", mean)
    assert done.code == 0, done.err
    assert sr("upscale", photo, "-x2", "--self-ensemble", "-o", plain).code == 0
    assert np.abs(read_image(mean).pixels - read_image(plain).pixels).max() <= 1.01 / 255
    chart = read_image(tmp_path / "map.png")
    assert (chart.size, chart.grey) == ((160, 120), True)
    assert chart.pixels.max() > 0.05
    busy = np.abs(np.diff(read_image(mean).pixels.mean(axis=2), axis=0, append=0)) > 0.1
    assert chart.pixels[..., 0][busy].mean() > 1.5 * chart.pixels[..., 0][~busy].mean()
    done = sr("upscale", photo, "-x2", "--uncertainty", tmp_path / "map.png", "-o", tmp_path / "o.png")
    assert (done.code, "map.png exists" in done.err) == (1, True)
    done = sr("upscale", photo, photo, "-x2", "--uncertainty", tmp_path / "m.png", "-o", tmp_path / "d")
    assert done.code in (0, 2)


def test_sharpening_raises_edges_and_leaves_flat_parts_alone(photo: Path) -> None:
    soft = read_image(photo).pixels
    sharp = sharpen(rows.of(soft), 0.5).whole()
    assert np.abs(np.diff(sharp, axis=1)).mean() > 1.2 * np.abs(np.diff(soft, axis=1)).mean()
    flat = np.full((20, 30, 3), 0.3, np.float32)
    np.testing.assert_allclose(sharpen(rows.of(flat), 2).whole(), flat, atol=1e-6)


def test_grain_is_as_strong_as_the_noise_of_the_input() -> None:
    clean = np.full((96, 128, 3), 0.5, np.float32)
    noise = np.random.default_rng(1).normal(0, 8 / 255, clean.shape[:2])[..., None]
    large = np.full((384, 512, 3), 0.5, np.float32)
    small = rows.of((clean + noise).astype(np.float32))
    full, half = (add_grain(rows.of(large), small, amount).whole().std() * 255 for amount in (1, 0.5))
    assert 4 < full < 9
    assert half == pytest.approx(full / 2, rel=0.01)
    assert np.abs(add_grain(rows.of(large), rows.of(clean), 1).whole() - large).max() < 0.01 / 255
    tiny = rows.of(clean[:8, :8])
    assert add_grain(rows.of(large), tiny, 1).whole() is not None


def test_noise_comes_back_as_it_was_and_sharp_edges_stay() -> None:
    """Of the noise that a network removed, which returns a clean edge, the share asked for is put back."""
    edge = np.full((96, 128, 3), 0.3, np.float32)
    edge[:, 64:] = 0.7
    large = rows.of(edge.repeat(4, 0).repeat(4, 1))
    noise = np.random.default_rng(1).normal(0, 8 / 255, edge.shape).astype(np.float32)
    small = rows.of(resize(large.whole(), 96, 128) + noise)
    all_, half = (add_back_noise(large, small, share).whole() for share in (1, 0.5))
    assert np.abs(resize(all_, 96, 128) - small.whole()).std() * 255 < 3
    np.testing.assert_allclose(half, (all_ + large.whole()) / 2, atol=1e-6)
    clean = add_back_noise(large, rows.of(resize(large.whole(), 96, 128)), 1).whole()
    np.testing.assert_allclose(clean, large.whole(), atol=1e-6)


def test_what_a_network_made_up_is_blended_back_and_the_rest_stays(photo: Path) -> None:
    small = read_image(photo).pixels
    sharp = np.clip(resize(small, 240, 320), 0, 1)
    made_up = sharp.copy()
    made_up[100:140, 100:140] = 1 - made_up[100:140, 100:140]
    noise = np.random.default_rng(0).normal(0, 6 / 255, small.shape).astype(np.float32)
    for seen in (small, np.clip(small + noise, 0, 1)):
        back = blend_back(rows.of(made_up), rows.of(seen)).whole()
        plain = np.clip(resize(seen, 240, 320), 0, 1)
        np.testing.assert_allclose(back[110:130, 110:130], plain[110:130, 110:130], atol=1e-5)
        np.testing.assert_array_equal(back[:60], made_up[:60])
    assert blend_back(rows.of(sharp[:4, :4]), rows.of(small[:2, :2])).whole().shape == (4, 4, 3)


def test_faces_are_kept_where_a_network_makes_up_detail_in_photographs() -> None:
    for name, expected in (
        ("realesrgan", True),
        ("realesrgan-anime", False),
        ("photo", False),
        ("a.pth", False),
    ):
        method = cast("Method", SimpleNamespace(name=name))
        assert Postprocess().for_method(method).faithful is expected
        assert Postprocess(faithful=True).for_method(method).faithful is True


def test_noise_comes_back_only_where_a_network_removes_it(photo: Path, tmp_path: Path, sr: Run) -> None:
    names = ("photo", "realesrgan", "unknown.pth", "ecbsr", "bicubic")
    methods = [cast("Method", SimpleNamespace(name=name)) for name in names]
    shares = [Postprocess(denoise=0.3).for_method(method).denoise for method in methods]
    assert shares == [0.3, 0.3, 0.3, 1, 1]
    done = sr("upscale", photo, "-m", "ecbsr", "--denoise", "0.5")
    assert (done.code, "ecbsr does not" in done.err, "-m photo" in done.err) == (2, True, True)
    assert "no model called" in sr("upscale", photo, "-m", "ecbr", "--denoise", "0.5").err
    assert sr("upscale", photo, "-x2", "--denoise", "0.5", "-o", tmp_path / "clean.png").code == 0
    assert sr("upscale", photo, "-x2", "-o", tmp_path / "plain.png").code == 0
    assert (
        read_image(tmp_path / "clean.png").pixels.tobytes()
        == read_image(tmp_path / "plain.png").pixels.tobytes()
    )


@pytest.mark.parametrize("words", [("--sharpen", "3"), ("--grain", "-0.1"), ("--grain", "nan")])
def test_amounts_have_limits(words: tuple[str, str], photo: Path, sr: Run) -> None:
    done = sr("upscale", photo, "-x2", *words)
    assert (done.code, f"{words[0]} " in done.err, "is not between 0 and 2" in done.err) == (2, True, True)


def test_settings_are_in_the_record(photo: Path, tmp_path: Path, sr: Run) -> None:
    assert sr("upscale", photo, "-x2", "--consistent", "--color-fix", "--strength", "0.7").code == 0
    shown = " ".join(sr("info", tmp_path / "photo_x2.png").out.split())
    for words in ("consistent True", "color_fix True", "strength 0.7"):
        assert words in shown


def test_networks_that_shift_colours_are_corrected_by_default() -> None:
    for name, expected in (
        ("realesrgan", True),
        ("photo-lite", False),
        ("ecbsr", False),
        ("unknown.pth", False),
    ):
        method = cast("Method", SimpleNamespace(name=name))
        assert Postprocess().for_method(method).color_fix is expected
    shifting = cast("Method", SimpleNamespace(name="realesrgan"))
    assert Postprocess(color_fix=False).for_method(shifting).color_fix is False
    assert Postprocess().for_method(None).color_fix is False


def test_switching_a_correction_off_is_recorded() -> None:
    assert list_choices(EncodingOptions(), Postprocess(), MethodOptions()) == {}
    off = list_choices(EncodingOptions(), Postprocess(color_fix=False), MethodOptions(realism=0.5))
    assert off == {"color_fix": "False", "realism": "0.5"}
