"""Degradations: their laws, the published ranges, and the twin on batches against the one on pixels."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.special import j1
from torch import nn

from helpers.paths import SAMPLES
from srcli.errors import ImageError, SrError, UsageError
from srcli.imaging.degrade import chains, degradations, steps
from srcli.imaging.degrade import kernels as blur
from srcli.imaging.degrade.degradations import Degradation, downscale_bicubic, parse_degradation
from srcli.imaging.degrade.kernels import BellKernel, CustomKernel, SincKernel
from srcli.imaging.degrade.steps import (
    METHODS,
    Decimation,
    Filter,
    Jpeg,
    Noise,
    Poisson,
    Resizing,
    Rounding,
    Span,
    Target,
)
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.pixels import Pixels, is_8bit
from srcli.imaging.resize import KERNELS, resize
from srcli.train import degrade as twin

TEXTS = {
    "bicubic": "bicubic",
    "bilinear": "bilinear",
    "blur": "blur,sigma=0.4..3,sigma2=0.4..3,angle=0..180",
    "camera": "camera:{psf},sigma=2",
    "noise": "noise,sigma=1..30,poisson=0.05..3",
    "jpeg": "jpeg,quality=30..95",
    "bsrgan": "bsrgan",
    "second-order": "second-order",
    "photo": "photo",
}


@pytest.fixture
def hr() -> Pixels:
    return read_image(SAMPLES / "astronaut.png").pixels[60:156, 150:246]


@pytest.fixture
def psf(tmp_path: Path) -> Path:
    """A lopsided point spread function."""
    path = tmp_path / "psf.npy"
    np.save(path, np.array([[0, 1, 0], [2, 4, 0], [0, 0, 3.0]]))
    return path


def batch_of(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]


def pixels_of(batch: torch.Tensor) -> Pixels:
    return batch[0].numpy().transpose(1, 2, 0)


def psnr(a: Pixels, b: Pixels) -> float:
    return float(-10 * np.log10(max(1e-12, np.mean((a.astype(np.float64) - b) ** 2))))


def degradation(name: str, psf: Path) -> Degradation:
    return parse_degradation(TEXTS[name].format(psf=psf))


def test_every_family_is_tested() -> None:
    assert set(TEXTS) == set(degradations.FAMILIES)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_low_resolution_is_8_bit_of_the_right_size_and_repeats(
    name: str, scale: int, hr: Pixels, psf: Path
) -> None:
    lrs = [
        degradations.degrade_image(hr[:95], scale, degradation(name, psf), np.random.default_rng(seed))
        for seed in (5, 5, 6)
    ]
    assert lrs[0].shape == (95 // scale, 96 // scale, 3)
    assert lrs[0].dtype == np.float32
    assert is_8bit(lrs[0])
    np.testing.assert_array_equal(lrs[0], lrs[1])
    assert np.array_equal(lrs[0], lrs[2]) == (name in ("bicubic", "bilinear"))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_the_protocol(scale: int, hr: Pixels) -> None:
    lr = degradations.degrade_image(hr, scale, parse_degradation("bicubic"), np.random.default_rng(0))
    np.testing.assert_array_equal(lr, downscale_bicubic(hr, scale))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_share_of_images_keeps_single_pixels(scale: int, hr: Pixels) -> None:
    mixed = parse_degradation("bicubic,aliased=0.25")
    lrs = [degradations.degrade_image(hr, scale, mixed, np.random.default_rng(seed)) for seed in range(200)]
    bicubic = downscale_bicubic(hr, scale)
    aliased = [lr for lr in lrs if not np.array_equal(lr, bicubic)]
    assert 30 < len(aliased) < 70
    middles = sorted({(scale - 1) // 2, scale // 2})
    kept = [hr[middle::scale, middle::scale] for middle in middles]
    assert all(any(np.array_equal(lr, pixels) for pixels in kept) for lr in aliased)
    with pytest.raises(UsageError, match=r"aliased cannot be 1\.5"):
        parse_degradation("bicubic,aliased=1.5")


def test_what_cannot_be_reduced_is_named(hr: Pixels) -> None:
    with pytest.raises(ImageError, match="96x2 cannot be downscaled by 3"):
        degradations.degrade_image(hr[:2], 3, parse_degradation("blur"), np.random.default_rng(0))


# --- resizing matrices ---


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("out", [5, 24, 60])
def test_operators_keep_a_constant_and_mirror(method: str, out: int) -> None:
    matrix = steps.resize_matrix(24, out, method)
    assert matrix.shape == (out, 24)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    if method != "nearest":
        np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("method", KERNELS)
def test_operators_are_imresize(method: str, hr: Pixels) -> None:
    small = Resizing(31, 40, method).apply(hr)
    np.testing.assert_allclose(small, resize(hr, 31, 40, method), atol=1e-5)
    np.testing.assert_allclose(pixels_of(twin.resize(batch_of(hr), 31, 40, method)), small, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "flag"), [("linear", cv2.INTER_LINEAR), ("cubic", cv2.INTER_CUBIC), ("area", cv2.INTER_AREA)]
)
@pytest.mark.parametrize("size", [(37, 53), (24, 24), (96, 96)])
def test_random_methods_are_those_of_opencv(
    method: str, flag: int, size: tuple[int, int], hr: Pixels
) -> None:
    ours = Resizing(*size, method).apply(hr)[3:-3, 3:-3]
    theirs = cv2.resize(hr, size[::-1], interpolation=flag)[3:-3, 3:-3]
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


# --- kernels ---


def moments(weights: blur.Weights) -> tuple[float, float, float, float]:
    """Mean y and x, variance along x and y."""
    y, x = np.indices(weights.shape) - len(weights) // 2
    mean_y, mean_x = (weights * y).sum(), (weights * x).sum()
    return mean_y, mean_x, (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()


def test_bells_have_the_deviations_asked_for() -> None:
    assert moments(BellKernel(41, 3, 1.5).weights()) == pytest.approx((0, 0, 9, 2.25), abs=1e-3)
    assert moments(BellKernel(41, 3, 1.5, np.pi / 2).weights()) == pytest.approx((0, 0, 2.25, 9), abs=1e-3)
    assert moments(BellKernel(41, 2, 2, shift=1.5).weights()) == pytest.approx((1.5, 1.5, 4, 4), abs=1e-3)


def test_powers_flatten_the_top_and_plateaus_have_long_tails() -> None:
    plain, flat = BellKernel(21, 2, 2).weights(), BellKernel(21, 2, 2, power=4).weights()
    plateau = BellKernel(21, 2, 2, plateau=True).weights()
    assert flat[10, 11] / flat[10, 10] > plain[10, 11] / plain[10, 10]
    assert plateau[0, 10] > 100 * plain[0, 10]


def test_bessel_function_is_scipys() -> None:
    x = np.linspace(0, 80, 500)
    np.testing.assert_allclose(blur._bessel_j1(x), j1(x), atol=1e-13)


def test_sinc_passes_below_its_cutoff_and_stops_above() -> None:
    gain = np.abs(np.fft.rfft(SincKernel(101, np.pi / 3).weights().sum(axis=0)))
    assert gain[:12].min() > 0.9
    assert gain[23:].max() < 0.1


@pytest.mark.parametrize(
    "kernel", [BellKernel(9, 2, 1, 0.5), SincKernel(9, 1.5), CustomKernel(((0, 1, 0), (2, 5, 0), (0, 0, 0)))]
)
def test_filters_keep_a_constant(kernel: blur.BlurKernel) -> None:
    assert kernel.weights().sum() == pytest.approx(1)
    grey = np.full((20, 24, 3), 0.4, np.float32)
    np.testing.assert_allclose(Filter(kernel).apply(grey), grey, atol=1e-6)


def test_a_camera_spreads_a_point_as_its_file_says(tmp_path: Path, psf: Path) -> None:
    spread = np.load(psf)
    np.savetxt(tmp_path / "psf.txt", spread)
    image = np.repeat((spread / 4)[..., None], 3, axis=2).astype(np.float32)
    write_image(tmp_path / "psf.png", Image(image, depth=16))
    point = np.zeros((9, 9, 3), np.float32)
    point[4, 4] = 1
    for name in ("psf.npy", "psf.txt", "psf.png"):
        out = Filter(blur.load_kernel(tmp_path / name)).apply(point)[3:6, 3:6, 0]
        np.testing.assert_allclose(out, spread / spread.sum(), atol=1e-5)


def test_files_without_a_kernel_are_named(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("no numbers")
    np.save(tmp_path / "cube.npy", np.ones((3, 3, 3)))
    np.save(tmp_path / "zero.npy", np.zeros((3, 3)))
    np.save(tmp_path / "code.npy", np.array([{}]), allow_pickle=True)
    for name in ("words.txt", "cube.npy", "zero.npy", "code.npy"):
        with pytest.raises(ImageError, match=f"{name} holds no kernel"):
            parse_degradation(f"camera:{tmp_path / name}")
    with pytest.raises(ImageError, match="does not exist"):
        parse_degradation("camera:none.npy")


def test_even_kernels_get_an_odd_side(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.ones((2, 4)))
    assert blur.load_kernel(tmp_path / "k.npy").weights().shape == (5, 5)


# --- noise ---


def test_noise_has_the_deviation_asked_for() -> None:
    flat = np.full((200, 200, 3), 0.5, np.float32)
    rng = np.random.default_rng(0)
    colour = degradations.degrade_image(flat, 2, parse_degradation("noise,sigma=20"), rng)
    assert colour.std() * 255 == pytest.approx(20, rel=0.02)
    assert abs(np.corrcoef(colour[..., 0].ravel(), colour[..., 1].ravel())[0, 1]) < 0.03
    grey = degradations.degrade_image(flat, 2, parse_degradation("noise,sigma=20,grey=yes"), rng)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    assert grey.std() * 255 == pytest.approx(20, rel=0.02)


@pytest.mark.parametrize("mean", [0.02, 0.5, 4.0, 15.9, 16.1, 60.0, 250.0])
def test_counts_are_poissons(mean: float) -> None:
    rng = np.random.default_rng(0)
    uniform, normal = rng.random(200_000, np.float32), rng.standard_normal(200_000, np.float32)
    counts = steps._draw_counts(np.full(200_000, mean, np.float32), uniform, normal)
    truth = rng.poisson(mean, 200_000)
    assert counts.mean() == pytest.approx(mean, rel=0.03)
    assert counts.var() == pytest.approx(mean, rel=0.03)
    values = range(int(truth.max()) + 1)
    ours, theirs = (np.array([np.mean(c <= v) for v in values]) for c in (counts, truth))
    np.testing.assert_allclose(ours, theirs, atol=0.006)


def test_photons_leave_black_alone_and_are_more_in_the_light(rng: np.random.Generator) -> None:
    ramp = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[None, :, None], 3, axis=2)
    noise = Poisson(1.0, grey=False, seed=3).apply(np.repeat(ramp, 400, axis=0)) - ramp
    assert np.all(noise[:, 0] == 0)
    assert noise[:, 128].std() * 255 == pytest.approx(np.sqrt(128), rel=0.05)
    assert noise[:, 32].std() * 255 == pytest.approx(np.sqrt(32), rel=0.08)


def test_jpeg_is_better_at_a_higher_quality(hr: Pixels) -> None:
    found = [psnr(Jpeg(quality).apply(hr), hr) for quality in (10, 40, 70, 95)]
    assert found == sorted(found)
    assert found[0] < 28
    assert found[-1] > 37


# --- published chains ---


def of_type(kind: type, plan: steps.Plan) -> list[object]:
    return [step for step in plan if isinstance(step, kind)]


def share(happened: list[bool]) -> float:
    return float(np.mean(happened))


def test_second_order_draws_from_the_published_ranges() -> None:
    rng = np.random.default_rng(0)
    plans = [chains.SecondOrderChain().plan(Target(400, 400, 4), rng) for _ in range(1500)]
    sizes = np.array([[step.height for step in of_type(Resizing, plan)] for plan in plans])
    assert (sizes[:, 0].min(), sizes[:, 0].max()) == pytest.approx((60, 600), abs=15)
    assert (sizes[:, 1].min(), sizes[:, 1].max()) == pytest.approx((30, 120), abs=4)
    assert set(sizes[:, 2]) == {100}
    assert share(list(sizes[:, 0] > 400)) == pytest.approx(0.2, abs=0.03)
    assert share(list(sizes[:, 0] == 400)) == pytest.approx(0.1, abs=0.03)
    assert share(list(sizes[:, 1] > 100)) == pytest.approx(0.3, abs=0.04)
    qualities = [step.quality for plan in plans for step in of_type(Jpeg, plan)]
    assert (len(qualities), min(qualities), max(qualities)) == (3000, 30, 95)
    kernels = [step.kernel for plan in plans for step in of_type(Filter, plan)]
    assert {kernel.size for kernel in kernels} == {7, 9, 11, 13, 15, 17, 19, 21}
    # One pass always blurs, the second in 0.8 of the cases, and 0.8 end with a sinc.
    assert len(kernels) / 1500 == pytest.approx(2.6, abs=0.05)
    bells = [plan[0].kernel for plan in plans if isinstance(plan[0].kernel, BellKernel)]
    assert len(bells) / 1500 == pytest.approx(0.9, abs=0.02)
    assert share([bell.sigma == bell.sigma2 for bell in bells]) == pytest.approx(0.69, abs=0.04)
    assert share([bell.plateau for bell in bells]) == pytest.approx(0.15, abs=0.03)
    assert (min(b.sigma for b in bells), max(b.sigma for b in bells)) == pytest.approx((0.2, 3), abs=0.02)
    noises = [isinstance(step, Noise) for plan in plans for step in plan if isinstance(step, Noise | Poisson)]
    assert (len(noises), share(noises)) == (3000, pytest.approx(0.5, abs=0.03))
    assert share([isinstance(plan[-2], Jpeg) for plan in plans]) == pytest.approx(0.5, abs=0.04)
    assert all(plan[-1] == Rounding() for plan in plans)


def test_bsrgan_shuffles_and_reduces_twice_in_order() -> None:
    rng = np.random.default_rng(0)
    plans = [chains.BsrganChain().plan(Target(128, 128, 4), rng) for _ in range(1000)]
    halved = [plan[0] for plan in plans if plan[0] in [Resizing(64, 64, m) for m in METHODS]]
    assert 150 < len(halved) < 350
    for plan in plans:
        resizes = of_type(Resizing, plan)
        assert (resizes[-1].height, resizes[-1].width) == (32, 32)
        assert isinstance(plan[-1], Jpeg)
        assert len(of_type(Noise, plan)) == 1
        assert len(of_type(Jpeg, plan)) in (1, 2)
        assert len(of_type(Filter, plan)) == 2 + len(of_type(Decimation, plan))
    assert share([bool(of_type(Decimation, plan)) for plan in plans]) == pytest.approx(0.25, abs=0.05)
    assert share([len(of_type(Jpeg, plan)) == 2 for plan in plans]) == pytest.approx(0.9, abs=0.03)
    assert len({tuple(type(step) for step in plan) for plan in plans}) > 100


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bsrgans_shifted_blur_does_not_move_the_image(scale: int, hr: Pixels) -> None:
    bell = Filter(BellKernel(25, 1.5, 1.5, shift=(scale - 1) / 2))
    picked = steps.apply_plan(hr, (bell, Decimation(scale)))
    centred = steps.apply_plan(hr, (Filter(BellKernel(25, 1.5, 1.5)), Resizing(*picked.shape[:2], "linear")))
    assert psnr(picked[4:-4, 4:-4], centred[4:-4, 4:-4]) > 38


# --- text ---


def test_text_gives_the_options() -> None:
    assert parse_degradation("blur") == degradations.BlurDegradation()
    assert parse_degradation("blur,sigma=1.6,size=7") == degradations.BlurDegradation(Span(1.6, 1.6), size=7)
    assert parse_degradation("noise,sigma=2..9,grey=yes") == degradations.NoiseDegradation(
        Span(2, 9), grey=True
    )
    assert parse_degradation("jpeg,quality=40,down=area") == degradations.JpegDegradation(
        Span(40, 40), "area"
    )
    assert parse_degradation("second-order") == chains.SecondOrderChain()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("blurr", "no degradation called 'blurr'", "second-order"),
        ("", "no degradation called ''", "bicubic"),
        ("blur,sgima=2", "'blur' has no setting 'sgima'", "sigma2"),
        ("bsrgan,sigma=2", "'bsrgan' has no setting 'sigma'", "it has no settings"),
        ("bsrgan,first=2", "'bsrgan' has no setting 'first'", "it has no settings"),
        ("blur,sigma=soft", "sigma cannot be 'soft'", "sigma=1.6"),
        ("noise,grey=2", "grey cannot be '2'", "grey=no"),
        ("blur,sigma=0", "sigma cannot be 0", "0.05..50"),
        ("blur,sigma=3..1", "sigma cannot be 3..1", "0.05..50"),
        ("blur,sigma=nan", "sigma cannot be nan", "0.05..50"),
        ("blur,size=4", "size cannot be 4", "odd"),
        ("jpeg,quality=0", "quality cannot be 0", "1..100"),
        ("noise,down=magic", "no downscaling method called 'magic'", "bicubic"),
        ("camera", "'camera' needs a file", "camera:kernel.npy"),
        ("blur:k.npy", "'blur:k.npy' takes no file", "write 'blur'"),
    ],
)
def test_text_that_means_nothing_is_a_usage_error(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_degradation(text)
    assert message in caught.value.message
    assert hint in caught.value.hint


# --- the twin on batches ---

# Largest difference, and the share of values that may differ by a level where a rounding tips over.
TWINS: list[tuple[steps.Step, float, float]] = [
    (Filter(BellKernel(15, 2, 1, 0.7)), 1e-5, 0),
    (Filter(SincKernel(21, 1.2)), 1e-5, 0),
    (Filter(CustomKernel(((0, 1, 0), (2, 5, 0), (0, 0, 3)))), 1e-5, 0),
    *[(Resizing(31, 50, method), 1e-5, 0) for method in METHODS],
    (Resizing(32, 32, "bicubic", rounded=True), 1e-5, 0.005),
    (Resizing(32, 32, "bilinear", rounded=True), 1e-5, 0.005),
    (Decimation(3), 0, 0),
    (Decimation(4, 2), 0, 0),
    (Noise(((0.1, 0, 0), (0.05, 0.02, 0), (0, 0, 0.1)), 7), 1e-5, 0),
    (Poisson(1.5, grey=False, seed=7), 1e-5, 0.001),
    (Poisson(1.5, grey=True, seed=7), 1e-5, 0.01),
    (Rounding(), 1e-6, 0),
]


@pytest.mark.parametrize(("step", "tolerance", "tipped"), TWINS, ids=lambda value: type(value).__name__)
def test_each_step_has_a_twin(step: steps.Step, tolerance: float, tipped: float, hr: Pixels) -> None:
    other = pixels_of(twin.apply(batch_of(hr), [(step,)]))
    ours = step.apply(hr)
    assert other.shape == ours.shape
    assert np.mean(np.abs(other - ours) > tolerance) <= tipped
    assert psnr(other, ours) > 60


def test_filters_reach_beyond_tiny_images(hr: Pixels) -> None:
    step = Filter(BellKernel(21, 4, 4))
    tiny = np.ascontiguousarray(hr[:5, :7])
    np.testing.assert_allclose(pixels_of(twin.apply(batch_of(tiny), [(step,)])), step.apply(tiny), atol=1e-5)


@pytest.mark.parametrize("quality", [10, 33, 60, 85, 95, 100])
@pytest.mark.parametrize("size", [96, 93, 30, 7])
def test_jpegs_arithmetic_is_the_codecs(quality: int, size: int, hr: Pixels) -> None:
    """Not to the bit: libjpeg-turbo transforms in integers, and a tie that tips over changes its block."""
    part = hr[:size, :size]
    other = pixels_of(twin.apply(batch_of(part), [(Jpeg(quality),)]))
    assert other.shape == part.shape
    assert is_8bit(other)
    assert psnr(other, Jpeg(quality).apply(part)) > (42 if size > 16 else 30)


@pytest.mark.parametrize("step", [Jpeg(40, subsampled=False), Jpeg(40, shift=3)])
def test_whole_chroma_and_shifted_blocks_are_the_codecs(step: Jpeg, hr: Pixels) -> None:
    ours, other = step.apply(hr), pixels_of(twin.apply(batch_of(hr), [(step,)]))
    assert psnr(ours, other) > 42
    assert psnr(ours, Jpeg(40).apply(hr)) < 42


def test_photographs_are_spoilt_in_all_ways_that_people_have() -> None:
    plans = [
        degradations.PhotoDegradation().plan(Target(96, 96, 4), np.random.default_rng(seed))
        for seed in range(300)
    ]
    mild = [plan for plan in plans if len(plan) < 8 and isinstance(plan[1], Rounding)]
    jpegs = [[step for step in plan if isinstance(step, Jpeg)] for plan in mild]
    assert 150 < len(mild) < 210
    assert any(not found and len(plan) == 2 for plan, found in zip(mild, jpegs, strict=True))
    assert any(len(found) == 2 and found[1].shift for found in jpegs)
    assert any(not found[0].subsampled for found in jpegs if found)
    assert any(isinstance(step, Poisson) for plan in mild for step in plan)
    assert any(isinstance(step, Noise) for plan in mild for step in plan)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("seed", range(4))
def test_a_plan_gives_the_same_on_pixels_and_batches(name: str, seed: int, hr: Pixels, psf: Path) -> None:
    plan = degradation(name, psf).plan(Target(96, 96, 3), np.random.default_rng(seed))
    ours, other = steps.apply_plan(hr, plan), pixels_of(twin.apply(batch_of(hr), [plan]))
    assert other.shape == (32, 32, 3)
    assert is_8bit(other)
    assert psnr(ours, other) > (33 if of_type(Jpeg, plan) else 65)


@pytest.mark.parametrize("name", TEXTS)
def test_a_batch_is_its_images_one_by_one(name: str, hr: Pixels, psf: Path) -> None:
    batch = torch.cat([batch_of(hr[y : y + 48, :48]) for y in (0, 16, 32, 48, 8)])
    made = degradation(name, psf)
    plans = [made.plan(Target(48, 48, 2), np.random.default_rng(seed)) for seed in (0, 1, 2, 1, 0)]
    together = twin.apply(batch, plans)
    assert together.shape == (5, 3, 24, 24)
    for image, plan, one in zip(batch, plans, together, strict=True):
        alone = twin.apply(image[None], [plan])[0]
        # A rounding tips over where sums are taken in another order.
        assert ((alone - one).abs() > 1e-5).float().mean() < 0.02


def test_degraded_batches_repeat_and_take_a_draw_each(hr: Pixels) -> None:
    batch = batch_of(hr[:48, :48]).repeat(2, 1, 1, 1)
    made = parse_degradation("noise,sigma=20")
    one, two = (twin.degrade_batch(batch, 2, made, [np.random.default_rng(3)] * 2) for _ in range(2))
    torch.testing.assert_close(one, two)
    assert not torch.equal(one[0], one[1])


def test_gradients_pass_through_every_step(hr: Pixels) -> None:
    batch = batch_of(hr).requires_grad_()
    kinds = [
        Filter(BellKernel(7, 1, 1)),
        Resizing(48, 48, "cubic"),
        Noise(((0.01, 0, 0),) * 3, 1),
        Jpeg(50),
        Rounding(),
    ]
    twin.apply(batch, [tuple(kinds)]).sum().backward()
    assert batch.grad is not None
    assert batch.grad.isfinite().all()
    assert batch.grad.abs().mean() > 0.01


def small_network(scale: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3 * scale**2, 3, padding=1)]
    return nn.Sequential(*layers, nn.PixelShuffle(scale))


@pytest.mark.parametrize("name", TEXTS)
def test_a_network_learns_to_undo_it(name: str, hr: Pixels, psf: Path) -> None:
    batch = torch.cat([batch_of(hr[y : y + 32, 20:52]) for y in (0, 20, 40, 60)])
    made, rng, network = degradation(name, psf), np.random.default_rng(0), small_network(2)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = (network(twin.degrade_batch(batch, 2, made, [rng] * 4)) - batch).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:3])


def test_errors_are_of_the_kind_that_is_shown() -> None:
    makers: list[Callable[[], object]] = [
        lambda: parse_degradation("x"),
        lambda: parse_degradation("camera:none.npy"),
    ]
    for make in makers:
        with pytest.raises(SrError) as caught:
            make()
        assert caught.value.hint
