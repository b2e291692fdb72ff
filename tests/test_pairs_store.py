"""Pairs that a teacher makes ahead: of any method, by several processes, resumed and appended to."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.command import Run
from helpers.networks import SMALL
from helpers.paths import SAMPLES
from srcli import archs
from srcli.engine.weights import files
from srcli.engine.weights.checkpoint import read_header
from srcli.errors import SrError, UsageError
from srcli.imaging.degrade.degradations import parse_degradation
from srcli.imaging.pixels import Pixels, from_uint8, to_uint8
from srcli.imaging.resize import resize_8bit
from srcli.methods import MethodOptions, load_method
from srcli.train import pairs_store, recipe
from srcli.train.augment import Share
from srcli.train.augment import parse as parse_augmentation
from srcli.train.feed import Feed, draw
from srcli.train.pairs_store import SHARD, PairSpec, count_affordable, load_teacher_method, open_pairs
from srcli.train.recipe import Recipe
from srcli.train.runner import settle_teacher
from srcli.train.store import Store, StoreSpec
from srcli.train.teacher import find_own_network
from srcli.workers.progress import ignore

NOISY = parse_degradation("noise,sigma=5")
PLANES = ("lr.bin", "teacher.bin", "truth.bin")


def specify(count: int = SHARD, teacher: str = "bicubic", **student: object) -> PairSpec:
    wanted = replace(StoreSpec(2, 24, NOISY), **student)  # type: ignore[arg-type]
    return PairSpec(teacher, count, (str(SAMPLES),), wanted)


def open_on_cpu(wanted: PairSpec) -> Store:
    return open_pairs(wanted, "cpu", ignore)


def read_planes(wanted: PairSpec) -> list[bytes]:
    return [(wanted.folder / name).read_bytes() for name in PLANES]


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the pairs in this process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.usefixtures("one_process")
def test_a_teacher_sees_what_the_student_sees() -> None:
    store = open_on_cpu(specify())
    assert store.lr
    assert store.teacher
    for number in range(3):
        low, shown = store.lr.image(number), store.teacher.image(number)  # type: ignore[attr-defined]
        assert low.shape == (96, 96, 3)
        assert shown.shape == (192, 192, 3)
        expected = to_uint8(np.clip(load_method("bicubic", 2, MethodOptions())(from_uint8(low), 2), 0, 1))
        # The teacher also saw the pixels beyond the border, which bicubic reaches in 2 input pixels.
        np.testing.assert_array_equal(shown[4:-4, 4:-4], expected[4:-4, 4:-4])
        truth = from_uint8(store.hr.image(number))  # type: ignore[attr-defined]
        noise = resize_8bit(truth, 96, 96)[4:-4, 4:-4] - from_uint8(low)[4:-4, 4:-4]
        assert 3.5 < float(noise.std()) * 255 < 6.5


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("is_fast", [True, False])
def test_teachers_run_in_bfloat16_where_that_is_fast(is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("select", "torch"):
        monkeypatch.setattr(f"srcli.engine.runtimes.{module}.has_bfloat16_matrices", lambda device: is_fast)
    teacher = load_teacher_method("ecbsr", 2, "cpu")
    assert ("bfloat16" in teacher.stages[0].runtime.description) == is_fast
    low = from_uint8(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8))
    exact = load_method("ecbsr", 2, MethodOptions(device="cpu"))(low, 2)
    assert 0 < np.abs(teacher(low, 2) - exact).mean() < 0.01 or not is_fast


class DarkTeacher:
    """Bicubic interpolation that darkens, under the name of a network that does."""

    name = "realesrgan"

    def __call__(self, pixels: Pixels, scale: int) -> Pixels:
        return np.asarray(load_method("bicubic", scale)(pixels, scale) * np.float32(0.9))


def test_a_teacher_has_the_colours_of_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs_store, "load_teacher_method", lambda *settings: DarkTeacher())
    wanted = specify(teacher="bicubic")
    open_pairs(wanted, "cpu", ignore)
    shown, truth = (np.fromfile(wanted.folder / name, np.uint8).mean() for name in PLANES[1:])
    assert abs(shown - truth) < 1


def test_a_teacher_makes_the_pairs_that_the_time_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = specify(10 * SHARD)
    assert count_affordable(wanted, "cpu", 0.0) == SHARD
    assert count_affordable(wanted, "cpu", 1e9) == 10 * SHARD
    clock = iter((0.0, 2.0))  # an output takes 2 s
    monkeypatch.setattr("srcli.train.pairs_store.time.perf_counter", lambda: next(clock))
    assert count_affordable(wanted, "cpu", 4.0 * SHARD + 1) == 2 * SHARD


@pytest.mark.usefixtures("one_process")
def test_a_store_is_completed_and_appended_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is not made again; what a killed run left half done is."""
    wanted = specify(2 * SHARD)
    open_on_cpu(wanted)
    whole = read_planes(wanted)
    (wanted.folder / "000001.done").unlink()
    for name, plane in zip(PLANES, whole, strict=True):
        (wanted.folder / name).write_bytes(plane[: len(plane) // 2] + b"\1" * (len(plane) // 4))
    made: list[int] = []
    make = pairs_store._make_shard
    monkeypatch.setattr(
        pairs_store, "_make_shard", lambda *arguments: (made.append(arguments[3]), make(*arguments))
    )
    open_on_cpu(wanted)
    assert read_planes(wanted) == whole
    assert made == [1]
    more = replace(wanted, count=2 * SHARD + 1)
    assert len(open_on_cpu(more)) == 3 * SHARD
    assert made == [1, 2]
    assert [plane[: len(before)] for plane, before in zip(read_planes(more), whole, strict=True)] == whole
    assert len(open_on_cpu(specify(SHARD))) == SHARD
    assert made == [1, 2]


def test_pairs_do_not_depend_on_the_number_of_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = specify(2 * SHARD)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    open_on_cpu(wanted)
    several = read_planes(wanted)
    monkeypatch.setenv("SR_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    again = specify(2 * SHARD)
    assert again.folder != wanted.folder
    open_on_cpu(again)
    assert read_planes(again) == several


def test_a_store_is_of_one_teacher_degradation_and_set_of_images(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    others = [
        specify(),
        specify(teacher="lanczos"),
        specify(degradation=parse_degradation("noise,sigma=6")),
        specify(scale=3),
        specify(rescale_factors=(1.0, 0.8)),
        specify(patch=100),
    ]
    for seed in (0, 1):
        network = archs.build("espcn", 2, {})
        next(iter(network.parameters())).data.fill_(seed)
        files.save_network(path, network, archs.Spec("espcn", 2, {}), {})
        others.append(specify(teacher=str(path)))
        assert others[-1].folder  # which is then that of this content
    assert len({wanted.folder for wanted in others}) == len(others)
    assert specify(count=500, patch=12).folder == others[0].folder


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("channels", "enlarged"), [(3, False), (1, False), (3, True), (1, True)])
def test_crops_of_input_truth_and_teacher_belong_together(channels: int, enlarged: bool) -> None:
    """The teacher is bicubic: its crop is that of the upscaled input, whichever way it is turned."""
    wanted = specify(enlarged=enlarged, patch=48 if enlarged else 24)
    feed = Feed(open_on_cpu(wanted), channels, parse_augmentation("flip,rotate,mixup=0.5"))
    batch = draw(feed, wanted.student.patch, 6, np.random.default_rng(0))
    assert batch.teacher is not None
    assert batch.teacher.shape == batch.hr.shape == (6, channels, 48, 48)
    assert batch.fed.shape[2:] == (48, 48) if enlarged else batch.fed is batch.lr
    if enlarged:
        apart = (batch.fed - batch.teacher)[..., 6:-6, 6:-6].abs()
        assert float(apart.mean()) < 1 / 255
    halves = [draw(feed, wanted.student.patch, 6, np.random.default_rng(0), Share(n, 2)) for n in (0, 1)]
    assert all(half.teacher is not None and len(half.teacher) == 3 for half in halves)


def test_the_kind_of_teacher_decides_target_and_pairs(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    network = archs.build("edsr", 2, SMALL["edsr"])
    files.save_network(path, network, archs.Spec("edsr", 2, SMALL["edsr"]), {})
    assert find_own_network(str(path), 2) == path
    assert find_own_network("ecbsr", 2)
    assert find_own_network("lanczos", 2) is None
    own = settle_teacher(Recipe("espcn", 2, teacher=str(path)))
    assert (own.target, own.pairs) == ("truth", 0)
    other = settle_teacher(Recipe("espcn", 2, teacher="lanczos"))
    assert (other.target, other.pairs) == ("teacher", 256)
    chosen = settle_teacher(Recipe("espcn", 2, teacher="lanczos", target="mean", pairs=32))
    assert (chosen.target, chosen.pairs) == ("mean", 32)
    with pytest.raises(UsageError, match="no model called 'nowhere'"):
        settle_teacher(Recipe("espcn", 2, teacher="nowhere"))
    with pytest.raises(UsageError, match="distil has no effect with target=teacher"):
        recipe.apply_assignments(replace(other, distil=1.0), ["distil=2"])


def test_pairs_of_images_cannot_be_shown_to_a_teacher() -> None:
    wanted = replace(specify(), data=(f"{SAMPLES},lr={SAMPLES}",))
    with pytest.raises(SrError):
        open_on_cpu(wanted)


@pytest.mark.parametrize(
    ("teacher", "target"), [("lanczos", "truth"), ("lanczos", "mean"), ("realesr-animevideo", "teacher")]
)
def test_a_method_is_imitated_from_the_command_line(
    teacher: str, target: str, tmp_path: Path, sr: Run
) -> None:
    """The terms of the loss are those of the target; the last teacher is an ncnn pair of a package."""
    out = tmp_path / "run"
    small = ("--patch", 12, "--batch", 4, "--steps", 4, "--validate-every", 2)
    done = sr(
        "train", "espcn", "-x4", "--data", SAMPLES, "--out", out, *small, "--teacher", teacher,
        "--degrade", "noise,sigma=5", "--set", "pairs=4", "--set", f"target={target}",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert f"{SHARD} training images at x4" in done.err
    terms = {"l2", "teacher"} if target == "truth" else {"l2"}
    log = (out / "log.jsonl").read_text().splitlines()
    assert {frozenset(json.loads(line)["terms"]) for line in log} == {frozenset(terms)}
    assert json.loads(read_header(out / "espcn-x4.safetensors")["recipe"])["teacher"] == teacher
