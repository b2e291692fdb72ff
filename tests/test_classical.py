"""Methods without a training set: the laws of their parts, and what all of them owe to whoever calls."""

import importlib.util
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.command import Run
from helpers.paths import SAMPLES
from srcli import methods
from srcli.bench import score
from srcli.errors import SrError, UsageError
from srcli.imaging.color import luma
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.degrade.kernels import BellKernel, CustomKernel
from srcli.imaging.degrade.steps import Filter
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.pixels import Pixels, from_uint8, is_grey, to_uint8
from srcli.imaging.resize import resize, resize_8bit
from srcli.methods import classical
from srcli.methods.classical import blind, dip, ibp, networks, selfex, solver, sparse, tv, zssr
from srcli.methods.classical.operators import Blur, Reduction
from srcli.methods.classical.problem import ROUNDING, Problem
from srcli.methods.classical.settings import Clock, UntrainedSettings, parse_duration

sides = st.integers(1, 30)
BELL = BellKernel(9, 2.0, 1.0, 0.5)


@pytest.fixture(scope="module")
def hr() -> Pixels:
    return np.ascontiguousarray(read_image(SAMPLES / "chelsea.png").pixels[80:176, 140:236])


@pytest.fixture(scope="module")
def lr(hr: Pixels) -> Pixels:
    return downscale_bicubic(hr, 2)


def lopsided(size: int) -> Blur:
    return Blur(np.random.default_rng(size).random((size, size)) / size**2)


def gain(large: Pixels, hr: Pixels, lr: Pixels) -> float:
    """PSNR-Y over bicubic in dB."""
    bicubic = resize_8bit(lr, *hr.shape[:2])
    return score(large, hr, 2).psnr_y - score(bicubic, hr, 2).psnr_y


@settings(deadline=None, max_examples=60)
@given(sides, sides, sides, sides, st.sampled_from([0, 1, 3, 5, 11]))
def test_the_adjoint_is_the_transpose(height: int, width: int, h: int, w: int, kernel: int) -> None:
    reduce = Reduction((height, width), (h, w), lopsided(kernel) if kernel else None)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((height, width, 2)), rng.standard_normal((h, w, 2))
    assert np.vdot(reduce(x), y) == pytest.approx(np.vdot(x, reduce.adjoint(y)), abs=1e-9)


@pytest.mark.parametrize("kernel", [None, lopsided(5)])
@pytest.mark.parametrize("small", [(14, 17), (41, 20), (60, 70)])
def test_the_bound_is_not_below_the_norm(small: tuple[int, int], kernel: Blur | None) -> None:
    reduce = Reduction((41, 37), small, kernel)
    x = np.random.default_rng(0).random((41, 37, 1))
    for _ in range(60):
        x = reduce.adjoint(reduce(x))
        norm = np.sqrt(np.linalg.norm(x))
        x /= norm**2
    assert norm <= reduce.bound <= 2.2 * norm


def test_the_operator_is_what_degradations_do(hr: Pixels) -> None:
    reduce = Reduction(hr.shape[:2], (40, 33), Blur(BELL.weights()))
    np.testing.assert_allclose(reduce(hr), resize(Filter(BELL).apply(hr), 40, 33), atol=1e-5)


def test_divergence_is_the_negative_transpose_of_the_gradient(rng: np.random.Generator) -> None:
    x, q = rng.standard_normal((7, 9, 3)), rng.standard_normal((2, 7, 9, 3))
    assert np.vdot(tv.gradient(x), q) == pytest.approx(-np.vdot(x, tv.divergence(q)))


def test_total_variation_falls_to_a_minimum(lr: Pixels, hr: Pixels) -> None:
    problem = Problem(lr, hr.shape[:2])
    found = {rounds: tv.minimise(problem, 1e-3, rounds) for rounds in (10, 40, 300)}
    energies = [tv.energy(x, problem, 1e-3) for x in found.values()]
    assert energies == sorted(energies, reverse=True)
    assert energies[0] < tv.energy(problem.reduction.enlarge(lr), problem, 1e-3)
    rng = np.random.default_rng(1)
    for _ in range(5):  # convex: what is lowest around is lowest
        aside = np.clip(found[300] + rng.normal(0, 0.01, hr.shape), 0, 1)
        assert tv.energy(aside, problem, 1e-3) > energies[-1]


@pytest.mark.parametrize("kernel", [None, Blur(BELL.weights()), lopsided(5)])
def test_back_projection_makes_the_result_consistent(kernel: Blur | None, hr: Pixels) -> None:
    if kernel is not None:
        kernel = Blur(kernel.weights / kernel.weights.sum())
    reduce = Reduction(hr.shape[:2], (40, 40), kernel)
    small = np.asarray(reduce(hr), np.float32)
    large = reduce.enlarge(small)
    errors = [
        np.abs(small - reduce(ibp.back_project(large, small, reduce, rounds=n))).mean() for n in (1, 4, 16)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3 * np.abs(small - reduce(large)).mean()


def test_sizes_on_the_way() -> None:
    for small, large in itertools.product([(9, 30), (20, 20)], [(18, 60), (55, 97), (160, 31)]):
        sizes = selfex.plan_steps(small, large)
        assert sizes[-1] == large
        for before, after in itertools.pairwise([small, *sizes]):
            assert all(b <= a * selfex.STEP + 1 for a, b in zip(before, after, strict=True))


def test_a_repeated_detail_is_found_again() -> None:
    """A stripe that is sharp in one place of the image is made sharp where it is larger."""
    y, x = np.mgrid[:64, :64]
    hr = np.repeat((np.hypot(y - 20, x + 30) % 16 < 8).astype(np.float32)[..., None], 3, axis=2)
    small = downscale_bicubic(hr, 2)
    assert gain(solver.enlarge("selfex", small, (64, 64)), hr, small) > 1.5


@pytest.mark.parametrize("text", ["30s", "0.5m", "30", "0.5 min"])
def test_times(text: str) -> None:
    assert parse_duration(text) == 30
    assert parse_duration("2h") == 7200


@pytest.mark.parametrize("text", ["", "s", "-3s", "3d", "0s", "nan", "1e9s"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


def test_the_clock_stops_in_time_and_tells_what_is_done() -> None:
    told: list[int] = []
    clock = Clock(0.2, lambda done, total: told.append(done))
    first, second = clock.part(0.5)
    counts = []
    for part in (first, second):
        counts.append(0)
        for _ in part.rounds(1000):
            time.sleep(0.01)
            counts[-1] += 1
    # Ten rounds fit into each half at most; a busy machine does fewer, but always one.
    assert all(1 <= count <= 10 for count in counts)
    assert told == sorted(told)
    assert told[-1] == 100
    assert sum(1 for _ in Clock(0.0).rounds(5)) == 1
    assert sum(1 for _ in Clock().rounds(7)) == 7


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train less than usual; benchmarks/experiments/classical.py measures full runs."""
    for name, value in {"ATOMS": 64, "ROUNDS": 8, "MOST_EXAMPLES": 1500}.items():
        monkeypatch.setattr(sparse, name, value)
    monkeypatch.setattr(zssr, "STEPS", 60)
    monkeypatch.setattr(zssr, "FEATURES", 16)
    monkeypatch.setattr(dip, "STEPS", 40)
    monkeypatch.setattr(dip, "WIDTHS", (8, 8, 8))


@pytest.mark.parametrize(
    ("name", "least"),
    [("ibp", 0.5), ("tv", 0.5), ("selfex", 0.5), ("sparse", 0.5), ("zssr", 0.5)],
)
def test_better_than_bicubic(name: str, least: float, hr: Pixels, lr: Pixels) -> None:
    assert gain(methods.load_method(name, 2)(lr, 2), hr, lr) > least


def test_a_drawing_comes_nearer_to_the_image(hr: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(hr[:20, :20, :1], (40, 40))

    def error(steps: int) -> float:
        monkeypatch.setattr(dip, "STEPS", steps)
        drawn = networks.to_pixels(dip.fit(problem, Clock()))
        return float(np.mean((problem.reduction(drawn) - problem.small) ** 2))

    assert error(80) < 0.7 * error(10)
    result = problem.reduction(dip.solve(problem)) - problem.small
    assert np.mean(result**2) < 2 * ROUNDING


def test_a_drawing_is_stopped_when_it_gets_no_better() -> None:
    patience = dip.Patience()
    assert not any(patience.is_exhausted(1 / number) for number in range(1, 200))
    assert [patience.is_exhausted(0.1) for _ in range(2 * dip.PATIENCE)].count(True) > 0


def test_networks_reduce_as_the_operator_does(hr: Pixels) -> None:
    problem = Problem(hr[:20, :31], (47, 60), lopsided(5))
    large = np.random.default_rng(0).random((47, 60, 3), np.float32)
    batch = networks.Reduce(problem)(networks.to_batch(large, "cpu"))
    np.testing.assert_allclose(networks.to_pixels(batch), problem.reduction(large), atol=1e-5)


def test_orientations_are_undone() -> None:
    batch = torch.arange(24.0).reshape(1, 2, 3, 4)
    turned = [networks.orient(batch, k) for k in range(8)]
    assert len({tuple(one.flatten().tolist()) for one in turned}) == 8
    assert all(torch.equal(networks.undo_orient(one, k), batch) for k, one in enumerate(turned))


def test_drawing_leaves_random_numbers_as_they_were() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with networks.seed_torch(5, "cpu"):
        torch.rand(7)
    assert torch.equal(torch.rand(3), expected)


def blurred(hr: Pixels, bell: BellKernel | None, scale: int) -> Pixels:
    """Blurred, made smaller and rounded."""
    if bell is None:
        return downscale_bicubic(hr, scale)
    return from_uint8(to_uint8(resize(Filter(bell).apply(hr), *(side // scale for side in hr.shape[:2]))))


@pytest.fixture(scope="module")
def photo_of_astronaut() -> Pixels:
    return read_image(SAMPLES / "astronaut.png").pixels[:504, :504]


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize(
    "bell",
    [BellKernel(15, 1.6, 1.6), BellKernel(15, 2.0, 0.8, 0.6), BellKernel(15, 2.0, 1.0, -1.2)],
    ids=["round", "one", "other"],
)
def test_a_bell_is_found_in_the_image(bell: BellKernel, scale: int, photo_of_astronaut: Pixels) -> None:
    """Deviations to a quarter of a pixel of the large image, and where it is oblong its direction."""
    small = blurred(photo_of_astronaut, bell, scale)
    found = blind.estimate_blur(Problem(small, photo_of_astronaut.shape[:2]))
    assert found is not None
    assert found.sigma == pytest.approx(bell.sigma, abs=0.25)
    assert found.sigma2 == pytest.approx(bell.sigma2, abs=0.35)
    if bell.sigma != bell.sigma2:
        assert abs(np.sin(found.angle - bell.angle)) < 0.15


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_sharp_images_are_left_sharp(name: str) -> None:
    pixels = read_image(SAMPLES / f"{name}.png").pixels
    for scale in (2, 3):
        hr = pixels[: pixels.shape[0] // scale * scale, : pixels.shape[1] // scale * scale]
        small = downscale_bicubic(hr, scale)
        assert blind.estimate_blur(Problem(small, hr.shape[:2])) is None
    untold = solver.enlarge("ibp", small, hr.shape[:2])
    told = solver.enlarge("ibp", small, hr.shape[:2], UntrainedSettings(kernel="auto"))
    np.testing.assert_array_equal(told, untold)


def test_an_estimate_is_nearly_as_good_as_the_truth() -> None:
    hr = read_image(SAMPLES / "coffee.png").pixels[100:300, 100:300]
    bell = BellKernel(11, 1.6, 1.6)
    small = blurred(hr, bell, 2)
    untold, estimated, told = (
        gain(solver.enlarge("ibp", small, hr.shape[:2], UntrainedSettings(kernel=kernel)), hr, small)
        for kernel in (None, "auto", bell)
    )
    assert estimated > untold + 1.0
    assert estimated > told - 0.5


def test_the_power_of_white_noise_is_its_variance(rng: np.random.Generator) -> None:
    noise = rng.normal(0, 0.1, (400, 400))
    power = blind._power(noise)
    assert np.median(power) == pytest.approx(0.01, rel=0.05)


def test_a_blurred_image_differs_from_its_sharp_self_by_the_bell() -> None:
    """Whatever is in the image: what is found before and after a blur differs by the blur's covariance."""
    sharp = luma(read_image(SAMPLES / "coffee.png").pixels)[..., None]
    soft = Filter(BellKernel(9, 0.8, 0.8)).apply(sharp).reshape(sharp.shape)
    before, after = (
        blind.estimate_covariance(np.asarray(each[..., 0], np.float64)) for each in (sharp, soft)
    )
    np.testing.assert_allclose(after - before, 0.64 * np.eye(2), atol=0.1)


@pytest.mark.parametrize("flat", [0.0, 0.5])
def test_where_there_is_nothing_to_see_no_blur_is_found(flat: float) -> None:
    for sides in ((120, 120), (120, 40)):
        small = np.full((*sides, 1), flat, np.float32)
        assert blind.estimate_blur(Problem(small, (240, 240))) is None


@pytest.mark.parametrize("name", ["ibp", "tv"])
def test_a_blur_that_is_known_is_undone(name: str, hr: Pixels) -> None:
    small = from_uint8(to_uint8(Reduction(hr.shape[:2], (48, 48), Blur(BELL.weights()))(hr)))
    blind, told = (
        gain(solver.enlarge(name, small, (96, 96), UntrainedSettings(kernel=kernel)), hr, small)
        for kernel in (None, BELL)
    )
    assert told > max(blind, 0) + 1


@pytest.mark.parametrize("name", classical.METHODS)
@pytest.mark.parametrize("scale", [1.3, 2.7, 4])
def test_any_size_and_grey(name: str, scale: float, lr: Pixels) -> None:
    part = lr[:17, :22]
    out = methods.load_method(name, scale)(part, scale)
    assert (out.shape, out.dtype) == ((*methods.compute_output_size(part, scale), 3), np.float32)
    assert 0 <= out.min() <= out.max() <= 1
    grey = np.repeat(part[..., 1:2], 3, axis=2)
    result = methods.load_method(name, scale)(grey, scale)
    assert is_grey(result)
    assert np.abs(resize(result, *grey.shape[:2]) - grey).max() < 0.05


@pytest.mark.parametrize("name", classical.METHODS)
def test_one_seed_one_result(name: str, lr: Pixels) -> None:
    first, again = (solver.enlarge(name, lr, (90, 80), UntrainedSettings(seed=3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", classical.METHODS)
def test_time_is_kept(name: str, hr: Pixels) -> None:
    told: list[int] = []
    limit = UntrainedSettings(within=1, progress=lambda done, total: told.append(done))
    out = solver.enlarge(name, hr, (384, 384), limit)
    assert out.shape == (384, 384, 3)
    assert told == sorted(told)
    assert told[-1] == 100


@pytest.mark.parametrize("name", ["selfex", "sparse", "zssr", "dip"])
def test_too_small_to_learn_from(name: str) -> None:
    with pytest.raises(SrError, match="3x4 is too small"):
        solver.enlarge(name, np.zeros((4, 3, 3), np.float32), (8, 6))


@pytest.mark.parametrize("name", ["ibp", "tv"])
def test_a_single_pixel(name: str) -> None:
    out = solver.enlarge(name, np.full((1, 1, 3), 0.5, np.float32), (3, 2))
    np.testing.assert_allclose(out, 0.5, atol=1e-3)


def test_from_the_command_line(lr: Pixels, tmp_path: Path, sr: Run) -> None:
    source, out = tmp_path / "a.png", tmp_path / "b.png"
    alpha = np.ones((48, 48), np.float32)
    alpha[:20] = 0
    write_image(source, Image(lr, alpha))
    words = ("upscale", source, "-x2", "-m", "tv", "--within", "1s", "--seed", "4", "--tile", "32", "-o", out)
    done = sr(*words)
    assert done.code == 0, done.err
    made = read_image(out)
    assert made.size == (96, 96)
    assert made.alpha is not None
    assert "tv on cpu" in done.err
    shown = " ".join(sr("info", out).out.split())
    assert "seed 4" in shown
    assert "within 1s" in shown
    assert sr(*words, "--skip-existing").code == 0
    assert sr("compare", source, "-x2", "-m", "bicubic", "-m", "ibp", "-o", tmp_path / "c.png").code == 0
    listed = sr("models").out
    assert all(name in listed for name in classical.METHODS)


def test_a_kernel_from_a_file(hr: Pixels, tmp_path: Path, sr: Run) -> None:
    psf = BELL.weights()[::-1, ::-1]
    np.save(tmp_path / "psf.npy", psf)
    kernel = CustomKernel(tuple(tuple(map(float, row)) for row in BELL.weights()))
    small = from_uint8(to_uint8(Reduction(hr.shape[:2], (48, 48), Blur(BELL.weights()))(hr)))
    write_image(tmp_path / "a.png", Image(small))
    words = ("upscale", tmp_path / "a.png", "-x2", "-m", "ibp", "-o", tmp_path / "b.png")
    done = sr(*words, "--kernel", tmp_path / "psf.npy")
    assert done.code == 0, done.err
    expected = solver.enlarge("ibp", small, (96, 96), UntrainedSettings(kernel=kernel))
    assert np.abs(read_image(tmp_path / "b.png").pixels - expected).max() <= 0.51 / 255
    assert sr(*words, "--kernel", tmp_path / "none.npy").code == 1
    estimated = sr(*words, "--kernel", "auto", "--overwrite")
    assert estimated.code == 0, estimated.err
    assert "kernel auto" in " ".join(sr("info", tmp_path / "b.png").out.split())
    refused = sr("upscale", tmp_path / "a.png", "-m", "bicubic", "--kernel", tmp_path / "psf.npy")
    assert refused.code == 2
    assert "choose one with -m" in refused.err
    assert sr("upscale", tmp_path / "a.png", "-m", "tv", "--within", "soon").code == 2


def test_other_images_can_be_learned_from(hr: Pixels, lr: Pixels) -> None:
    other = read_image(SAMPLES / "coffee.png").pixels[120:216, 240:336]
    planes = [np.asarray(luma(image), np.float32)[..., None] for image in (lr, other)]
    alone, helped = (
        sparse.add_details(Problem(planes[0], hr.shape[:2]), examples) for examples in ((), planes[1:])
    )
    assert np.abs(alone - helped).max() > 0.5 / 255
    truth, bicubic = luma(hr)[..., None], resize(planes[0], *hr.shape[:2])
    assert np.mean((helped - truth) ** 2) < 0.9 * np.mean((bicubic - truth) ** 2)


def test_without_scikit_learn(photo: Path, monkeypatch: pytest.MonkeyPatch, sr: Run) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else object())
    done = sr("upscale", photo, "-x2", "-m", "sparse")
    assert (done.code, list(photo.parent.iterdir())) == (1, [photo])
    assert "pip install 'sr-cli[sparse]'" in done.err


def test_no_weights_no_table(sr: Run, tmp_path: Path) -> None:
    done = sr("export", "zssr", "-x2", "-o", tmp_path / "m.onnx")
    assert done.code == 2, done.err
    assert "has no weights" in done.err
