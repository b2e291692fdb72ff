"""Training data: what is stored is what was on disk, what is drawn corresponds, and equal draws are equal."""

import itertools
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.paths import SAMPLES
from helpers.training import build_setup
from srcli import datasets
from srcli.datasets import DatasetText
from srcli.errors import DatasetError, SrError, UsageError
from srcli.imaging.color import luma
from srcli.imaging.degrade import degradations
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.pixels import to_uint8
from srcli.imaging.resize import resize_8bit
from srcli.train import augment, cache, decode
from srcli.train import degrade as torch_degrade
from srcli.train import store as store_module
from srcli.train.augment import Augmentation, Batch, Share
from srcli.train.batches import iterate_batches
from srcli.train.feed import Feed, draw
from srcli.train.planes import Boxes, MappedPlane, Samples, layout, turn_crop
from srcli.train.sources import ImageSource, parse
from srcli.train.store import Store, StoreSpec, open_store
from srcli.train.threads import prefetch_single_threaded

WANTED = StoreSpec(scale=2, patch=16)
NONE = Augmentation()
ALL = augment.parse("flip,rotate,shuffle,mixup,cutmix,cutblur")


@pytest.fixture(autouse=True)
def sr_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(texts: str | Path | list[str], wanted: StoreSpec = WANTED) -> Store:
    sources = [parse(str(text), wanted.scale) for text in (texts if isinstance(texts, list) else [texts])]
    return open_store(sources, wanted, lambda stage, done, total: None)


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def flat(path: Path, height: int, width: int, level: float) -> Path:
    write_image(path, Image(np.full((height, width, 3), level, np.float32)))
    return path


# --- Sources ---


def test_a_source_is_a_folder_with_or_without_a_weight(photos: Path) -> None:
    assert parse(str(photos), 2) == ImageSource(str(photos), tuple(sorted(photos.glob("*.png"))))
    assert parse(f"{photos}=2.5", 2).weight == 2.5
    odd = photos.rename(photos.parent / "a=b=3")
    assert parse(str(odd), 2).weight == 1
    assert parse(f"{odd}=4", 2).weight == 4


def test_a_source_may_be_a_set_of_the_hub() -> None:
    source = parse("hub:samples=3", 2)
    assert (len(source.files), source.weight) == (len(list(SAMPLES.glob("*.png"))), 3)


def pairs_in(photos: Path, name: str = "{}.png", scale: int = 2) -> Path:
    lr = photos.parent / "lr"
    for file in photos.glob("*.png"):
        write_image(lr / name.format(file.stem), Image(1 - downscale_bicubic(read_image(file).pixels, scale)))
    return lr


@pytest.mark.parametrize("name", ["{}.png", "{}x2.png"])
def test_a_source_of_pairs_keeps_its_own_low_resolution(photos: Path, name: str) -> None:
    lr = pairs_in(photos, name)
    source = parse(f"{photos},lr={lr}=2", 2)
    assert source.weight == 2
    assert [path.stem.removesuffix("x2") for path in source.partners] == [path.stem for path in source.files]
    store = opened([f"{photos},lr={lr}", "hub:samples"], replace(WANTED, rescale_factors=(1, 0.5)))
    planes = store.lr
    assert isinstance(planes, MappedPlane)
    made = [to_uint8(1 - downscale_bicubic(read_image(file).pixels, 2)) for file in source.files]
    for number, samples in enumerate(made):
        np.testing.assert_array_equal(planes.image(number), samples)
    assert len(store) == len(made) + 2 * len(list(SAMPLES.glob("*.png"))), "pairs are not rescaled"


def spoiled(photos: Path, spoil: Callable[[Path], object]) -> str:
    lr = pairs_in(photos)
    spoil(lr / "coffee.png")
    return f"{photos},lr={lr}"


@pytest.mark.parametrize(
    ("text", "wanted", "message"),
    [
        (lambda p: p / "none", WANTED, "no data set or folder called '.*none'"),
        (lambda p: (p / "hollow").mkdir() or p / "hollow", WANTED, "no images in .*hollow"),
        (lambda p: p, StoreSpec(2, 500), "no usable image in .*photos"),
        (lambda p: f"{p}=0", WANTED, "weight of .*photos cannot be '0'"),
        (lambda p: f"{p}=much", WANTED, "weight of .*photos cannot be 'much'"),
        (lambda p: "", WANTED, "--data is empty"),
        (lambda p: "hub:nope", WANTED, "no data set or folder called 'nope'"),
        (lambda p: f"{p},lr={p.parent}", WANTED, r"has no partner in"),
        (
            lambda p: spoiled(p, lambda f: f),
            replace(WANTED, degradation=degradations.parse_degradation("bsrgan")),
            "a random degradation cannot be combined with the image pairs of",
        ),
    ],
)
def test_what_is_wrong_with_a_source_is_said_in_one_line(
    text: Callable[[Path], object], wanted: StoreSpec, message: str, photos: Path
) -> None:
    with pytest.raises(SrError, match=message) as caught:
        opened(str(text(photos)), wanted)
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_one_notation_serves_training_validation_and_bench(photos: Path) -> None:
    """A place, in any of its forms, with a name, partners and a weight."""
    for text, expected in {
        str(photos): DatasetText(str(photos)),
        "Set5": DatasetText("Set5"),
        "mine=photos": DatasetText("photos", "mine"),
        "hub:me/set=2": DatasetText("hub:me/set", weight=2),
        f"{photos}=2": DatasetText(str(photos), weight=2),
        "a/*_HR.png,lr=a/*_LR.png=0.5": DatasetText("a/*_HR.png", lr="a/*_LR.png", weight=0.5),
        "x=a/*.png,lr=b/X{scale},weight=3": DatasetText("a/*.png", "x", "b/X{scale}", 3),
        "s3://bucket/part=1": DatasetText("s3://bucket/part=1"),
        "s3://bucket/part=1,weight=2": DatasetText("s3://bucket/part=1", weight=2),
    }.items():
        assert datasets.parse_dataset(text) == expected
    with pytest.raises(UsageError, match="has a weight"):
        datasets.find_dataset(f"{photos}=2")


def test_a_set_may_be_a_pattern_in_training_and_in_bench(tmp_path: Path) -> None:
    """High and low resolution in one folder, told apart by their names."""
    for number in range(3):
        flat(tmp_path / "all" / f"{number}_HR.png", 64, 64, number / 4)
        flat(tmp_path / "all" / f"{number}_LR2.png", 32, 32, number / 4)
        flat(tmp_path / "all" / "deep" / f"{number}_HR.png", 64, 64, number / 4)
    text = f"{tmp_path}/all/*_HR.png,lr={tmp_path}/all/*_LR{{scale}}.png"
    source = parse(f"{text},weight=3", 2)
    assert [file.name for file in source.files] == ["0_HR.png", "1_HR.png", "2_HR.png"]
    assert [file.name for file in source.partners] == ["0_LR2.png", "1_LR2.png", "2_LR2.png"]
    assert source.weight == 3
    found = datasets.find_dataset(text)
    assert (found.files, found.find_partners(2)) == (source.files, source.partners)
    assert len(parse(f"{tmp_path}/all/**/*_HR.png", 2).files) == 6
    with pytest.raises(DatasetError, match=r"no images match .*\*_XX.png"):
        parse(f"{tmp_path}/all/*_XX.png", 2)
    with pytest.raises(DatasetError, match=r"no images match .*_LR4.png"):
        found.find_partners(4)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (Path.unlink, r"coffee.png has no partner"),
        (lambda f: flat(f, 40, 40, 0), r"lr/coffee.png is 40x40 and does not fit"),
        (lambda f: f.write_bytes(b"no"), r"lr/coffee.png is not an image"),
    ],
)
def test_one_bad_pair_is_left_out_by_name(spoil: Callable[[Path], object], reason: str, photos: Path) -> None:
    store = opened(spoiled(photos, spoil))
    assert len(store) == len(list(photos.glob("*.png"))) - 1
    assert len(store.left_out) == 1
    assert re.search(reason, store.left_out[0])


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("{}", "{}x2"),
        ("{}_HR", "{}_LR"),
        ("{}", "{}_bicLRx2"),
        ("{}", "LRBI_x2_{}"),
        ("img_{}_SRF_2_HR", "img_{}_SRF_2_LR"),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_partners_are_found_by_any_common_name(high: str, low: str, together: bool, tmp_path: Path) -> None:
    """Also in one folder; a high-resolution image may be larger by less than the scale."""
    hr, lr = tmp_path / "hr", tmp_path / ("hr" if together else "lr/X2")
    for folder in (hr, lr):
        folder.mkdir(parents=True, exist_ok=True)
    for number in range(12):
        flat(hr / f"{high.format(f'{801 + number:04}')}.png", 65, 64, number / 20)
        flat(lr / f"{low.format(f'{801 + number:04}')}.png", 32, 32, number / 20)
    source = parse(f"{hr},lr={hr if together else lr.parent}", 2)
    assert [path.stem for path in source.files] == [high.format(f"{801 + n:04}") for n in range(12)]
    assert [path.stem for path in source.partners] == [low.format(f"{801 + n:04}") for n in range(12)]
    store = opened(f"{hr},lr={hr if together else lr.parent}")
    assert store.rows.tolist() == [32] * 12
    assert isinstance(store.hr, MappedPlane)
    assert isinstance(store.lr, MappedPlane)
    for number in range(12):
        assert store.hr.image(number).shape == (64, 64, 3)
        assert int(store.hr.image(number)[0, 0, 0]) == int(store.lr.image(number)[0, 0, 0])


# --- Store ---


def test_samples_are_what_the_protocol_makes(photos: Path) -> None:
    store = opened(photos, replace(WANTED, scale=3, patch=24, enlarged=True))
    hr, lr, fed = store.hr, store.lr, store.fed
    assert isinstance(hr, MappedPlane)
    assert isinstance(lr, MappedPlane)
    assert isinstance(fed, MappedPlane)
    for number, file in enumerate(sorted(photos.glob("*.png"))):
        pixels = read_image(file).pixels
        small = downscale_bicubic(pixels, 3)
        np.testing.assert_array_equal(hr.image(number), to_uint8(pixels))
        np.testing.assert_array_equal(lr.image(number), to_uint8(small))
        np.testing.assert_array_equal(fed.image(number), to_uint8(resize_8bit(small, 96, 96)))


def test_images_that_cannot_be_used_are_named_and_left_out(photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no")
    flat(photos / "small.png", 20, 90, 0.5)
    flat(photos / "tiny.png", 9, 9, 0.5)
    store = opened(photos)
    assert len(store) == 3
    assert [reason.split("/")[-1] for reason in store.left_out] == [
        "broken.jpg is not an image",
        "tiny.png is smaller than 16x16",
        "small.png is smaller than a patch of 32x32",
    ]
    assert len(opened(photos, replace(WANTED, patch=8))) == 4, "the patch is no matter of what is stored"


def test_zooms_are_kept_as_far_as_a_crop_fits(photos: Path) -> None:
    store = opened(photos, replace(WANTED, rescale_factors=(1, 0.5, 0.3)))
    assert store.rows.tolist() == [48, 24] * 3
    assert not store.left_out


def no_reading(path: Path) -> Image:
    raise AssertionError(f"{path} is read again")


def test_the_next_run_decodes_nothing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "broken.jpg").write_bytes(b"no")
    first = opened(photos)
    monkeypatch.setattr(decode, "read_within_limit", no_reading)
    again = opened(f"{photos}=7", replace(WANTED, patch=12))
    assert again.left_out == first.left_out
    assert isinstance(again.hr, MappedPlane)
    assert isinstance(first.hr, MappedPlane)
    np.testing.assert_array_equal(again.hr.samples, first.hr.samples)
    opened(photos, replace(WANTED, scale=4, patch=12))  # other low resolution of the same images


def test_a_changed_file_or_other_zooms_make_another_store(photos: Path, sr_cache: Path) -> None:
    opened(photos)
    flat(photos / "coffee.png", 64, 64, 0.25)
    changed = opened(photos)
    assert isinstance(changed.hr, MappedPlane)
    np.testing.assert_array_equal(changed.hr.image(2), np.full((64, 64, 3), 64))
    os.utime(photos / "coffee.png", (1, 1))
    opened(photos)
    opened(photos, replace(WANTED, rescale_factors=(1, 0.7)))
    assert len(list((sr_cache / "train").iterdir())) == 4


def test_one_new_photograph_costs_one_photograph(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are copied from the earlier store, at every size: sharpened, downscaled and upscaled too."""
    wanted = replace(WANTED, rescale_factors=(1, 0.5), sharpen=0.5, enlarged=True)
    before = opened(photos, wanted)
    shutil.copy(photos / "coffee.png", photos / "zoo.png")
    decoded: list[str] = []
    made: list[str] = []
    decode_file = decode._decode_file

    def note(task: decode.Task) -> tuple[decode.Index, list[Samples]]:
        decoded.append(task.file.name)
        return decode_file(task)

    def count(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            made.append(function.__name__)
            return function(*arguments, **more)

        return counted

    monkeypatch.setattr(decode, "_decode_file", note)
    for name in ("unsharp_mask", "degrade_image", "_upscale"):
        monkeypatch.setattr(store_module, name, count(getattr(store_module, name)))
    after = opened(photos, wanted)
    assert decoded == ["zoo.png"]
    assert sorted(made) == ["_upscale"] * 2 + ["degrade_image"] * 2 + ["unsharp_mask"] * 2
    assert len(after) == len(before) + 2
    for old, new in ((before.hr, after.hr), (before.lr, after.lr), (before.fed, after.fed)):
        assert isinstance(old, MappedPlane)
        assert isinstance(new, MappedPlane)
        np.testing.assert_array_equal(new.samples[: len(old.samples)], old.samples)


def test_a_changed_partner_makes_other_low_resolution(photos: Path) -> None:
    lr = pairs_in(photos)
    opened(f"{photos},lr={lr}")
    flat(lr / "astronaut.png", 48, 48, 0.25)
    store = opened(f"{photos},lr={lr}")
    assert isinstance(store.lr, MappedPlane)
    np.testing.assert_array_equal(store.lr.image(0), np.full((48, 48, 3), 64))


KILLED = """
import os, sys
from srcli.train import {module} as module
from srcli.train import sources, store
from srcli.imaging import image
def killed(*arguments, many=iter(range(99)), plain=module.{name}):
    os._exit(9) if next(many) == 2 else None
    return plain(*arguments)
module.{name} = killed
store.open_store([sources.parse(sys.argv[1], 2)], store.StoreSpec(2, 16), lambda stage, done, total: None)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), [("decode", "read_within_limit"), ("store", "degrade_image")])
def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole(
    module: str, name: str, photos: Path, sr_cache: Path
) -> None:
    program = KILLED.format(module=module, name=name)
    done = subprocess.run([sys.executable, "-c", program, str(photos)], check=False)
    assert done.returncode == 9
    assert list(sr_cache.rglob(".sr-*.bin"))
    store = opened(photos)
    assert isinstance(store.lr, MappedPlane)
    for number, file in enumerate(sorted(photos.glob("*.png"))):
        np.testing.assert_array_equal(
            store.lr.image(number), to_uint8(downscale_bicubic(read_image(file).pixels, 2))
        )
    assert not list(sr_cache.rglob(".sr-*"))


@pytest.mark.parametrize("spoil", ["hr.bin", "index.json", "lr-*.bin"])
def test_a_damaged_store_is_made_again(spoil: str, photos: Path, sr_cache: Path) -> None:
    opened(photos)
    for path in sr_cache.rglob(spoil):
        path.write_bytes(path.read_bytes()[:-7])
    store = opened(photos)
    assert isinstance(store.lr, MappedPlane)
    assert (
        to_uint8(downscale_bicubic(read_image(photos / "coffee.png").pixels, 2)).tobytes()
        == store.lr.image(2).tobytes()
    )


def test_a_full_disk_is_one_line(photos: Path, monkeypatch: pytest.MonkeyPatch, sr_cache: Path) -> None:
    def full(array: object, dtype: object = None) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.np, "ascontiguousarray", full)
    with pytest.raises(DatasetError, match=r"cannot write .*hr.bin: No space left") as caught:
        opened(photos)
    assert "SR_CACHE" in caught.value.hint
    assert not list(sr_cache.rglob("*.bin"))


def test_a_cache_that_cannot_be_written_is_one_line(photos: Path, sr_cache: Path) -> None:
    sr_cache.write_text("a file")
    with pytest.raises(DatasetError, match="cannot write into") as caught:
        opened(photos)
    assert "SR_CACHE" in caught.value.hint


def test_work_is_done_ahead_in_order_and_errors_come_through() -> None:
    assert list(prefetch_single_threaded(lambda n: n * n, range(50))) == [n * n for n in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(prefetch_single_threaded(lambda n: 1 // n, range(3)))


# --- Crops ---


@settings(deadline=None, max_examples=40)
@given(
    sides=st.lists(st.tuples(st.integers(9, 30), st.integers(9, 30)), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    step=st.integers(1, 3),
    side=st.integers(1, 9),
)
def test_resident_crops_are_mapped_crops(
    sides: list[tuple[int, int]], seed: int, step: int, side: int
) -> None:
    """And both are the square of the image that the box says, in its orientation."""
    rng = generator(seed)
    places = layout(*(np.array(axis, np.int64) * step for axis in zip(*sides, strict=True)))
    plane = MappedPlane(places, rng.integers(0, 256, (places.pixels, 3), np.uint8))
    image = rng.integers(len(sides), size=6)
    top, left = (rng.integers(np.array(sides)[image, axis] - side + 1) for axis in (0, 1))
    boxes = Boxes(image, top, left, rng.integers(8, size=6))
    crops = plane.cut(boxes.times(step), side * step)
    assert torch.equal(plane.to(torch.device("cpu")).cut(boxes.times(step), side * step), crops)
    for crop, n, y, x, turn in zip(crops, image, top * step, left * step, boxes.turn, strict=True):
        whole = plane.image(n)[y : y + side * step, x : x + side * step]
        assert whole.shape == (side * step, side * step, 3)
        np.testing.assert_array_equal(crop, turn_crop(whole, int(turn)))


def drawn(
    store: Store,
    augmentation: Augmentation = augment.USUAL,
    channels: int = 3,
    count: int = 20,
    rng: np.random.Generator | None = None,
) -> Batch:
    return draw(Feed(store, channels, augmentation), store.wanted.patch, count, rng or generator())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("enlarged", [False, True])
@pytest.mark.parametrize("how", ["bicubic", "bilinear", "blur,sigma=1.2", "noise,sigma=0.1..0.2"])
def test_batches_correspond_in_every_orientation(
    photos: Path, channels: int, enlarged: bool, how: str
) -> None:
    """The high-resolution crop, degraded, is the low-resolution one, but for its border and noise.

    A few levels are rounding: in a turned crop columns are done first.
    """
    degradation = degradations.parse_degradation(how)
    patch = 47 if enlarged else 24
    store = opened(photos, StoreSpec(2, patch, degradation, (1, 0.7), enlarged))
    assert (store.lr is None) == how.startswith("noise")
    batch = drawn(store, channels=channels)
    assert batch.lr.shape == (20, channels, 24, 24)
    assert batch.hr.shape == (20, channels, 48, 48)
    rngs = [generator()] * len(batch.hr)
    again = torch_degrade.degrade_batch(batch.hr.expand(-1, 3, -1, -1), 2, degradation, rngs)[:, :channels]
    inner = (..., slice(4, -4), slice(4, -4))
    assert (again[inner] - batch.lr[inner]).abs().max() < 4.1 / 255
    if enlarged:
        large = torch_degrade.resize(batch.lr, 48, 48)
        assert (large[inner] - batch.fed[inner]).abs().max() < 3.1 / 255
    else:
        assert batch.fed is batch.lr


@pytest.mark.parametrize("how", ["bicubic", "bsrgan"])
def test_luma_is_computed_on_the_patches(photos: Path, how: str) -> None:
    store = opened(
        photos, replace(WANTED, degradation=degradations.parse_degradation(how), patch=32, enlarged=True)
    )
    y, rgb = (drawn(store, channels=n) for n in (1, 3))
    for name in ("lr", "hr", "fed"):
        colour = getattr(rgb, name).permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(getattr(y, name)[:, 0], luma(colour), atol=1e-6)


@pytest.mark.parametrize("how", ["bicubic", "bsrgan", "second-order", "jpeg", "noise", "blur,sigma=1..2"])
def test_equal_generators_draw_equal_batches_wherever_the_samples_are(photos: Path, how: str) -> None:
    """Bit for bit: a run that is resumed goes on as if it had not been stopped."""
    store = opened(
        photos, replace(WANTED, degradation=degradations.parse_degradation(how), patch=32, enlarged=True)
    )
    saved = generator(3)
    for _ in range(2):
        drawn(store, ALL, rng=saved)
    here, there = generator(), generator()
    here.bit_generator.state = there.bit_generator.state = saved.bit_generator.state
    one = drawn(store, ALL, rng=here)
    other = drawn(store.to(torch.device("cpu")), ALL, rng=there)
    for name in ("lr", "hr", "fed"):
        assert torch.equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).min() >= 0
        assert getattr(one, name).max() <= 1
    assert here.bit_generator.state == there.bit_generator.state
    assert not torch.equal(drawn(store, ALL, rng=here).hr, one.hr)


def test_the_memory_that_a_device_needs_is_told(photos: Path) -> None:
    store = opened(photos, replace(WANTED, scale=4, patch=32, enlarged=True))
    assert store.bytes == store.to(torch.device("cpu")).bytes == 3 * 3 * (2 * 96**2 + 24**2)


@pytest.mark.parametrize("how", ["bicubic", "bsrgan"])
def test_patches_may_be_smaller_than_the_store_was_asked_for(photos: Path, how: str) -> None:
    store = opened(
        photos, replace(WANTED, degradation=degradations.parse_degradation(how), patch=33, enlarged=True)
    )
    for patch, side in ((33, 34), (20, 20), (11, 12)):
        batch = draw(Feed(store, 1), patch, 5, generator())
        assert batch.hr.shape == batch.fed.shape == (5, 1, side, side)
        assert batch.lr.shape == (5, 1, side // 2, side // 2)


def test_larger_patches_than_the_store_was_asked_for_are_a_mistake(photos: Path) -> None:
    with pytest.raises(ValueError, match="patches up to 16, not 17"):
        draw(Feed(opened(photos), 1), 17, 5, generator())


@pytest.mark.parametrize("how", ["bicubic", "second-order"])
@pytest.mark.parametrize("channels", [1, 3])
def test_shares_of_a_batch_make_it_up(
    how: str, channels: int, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process cuts or degrades an image of another one."""
    store = opened(photos, StoreSpec(2, 16, degradations.parse_degradation(how)))
    feed = Feed(store, channels, augment.parse("flip,rotate,shuffle"))
    batch = draw(feed, 16, 8, generator())
    cut: list[int] = []
    plain = MappedPlane.cut
    monkeypatch.setattr(
        MappedPlane, "cut", lambda self, boxes, side: cut.append(len(boxes.image)) or plain(self, boxes, side)
    )
    shares = [draw(feed, 16, 8, generator(), Share(number, 4)) for number in range(4)]
    assert set(cut) == {2}
    for name in ("lr", "hr", "fed"):
        assert torch.equal(torch.cat([getattr(share, name) for share in shares]), getattr(batch, name))


def test_a_plane_is_sent_to_other_processes_by_name(photos: Path) -> None:
    store = opened(photos)
    sent = pickle.dumps(store.hr)
    assert len(sent) < 3000
    assert np.array_equal(pickle.loads(sent).samples, store.hr.samples)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_processes_draw_what_a_thread_draws(photos: Path, tmp_path: Path) -> None:
    setup = build_setup(photos, tmp_path / "run", degrade="noise,sigma=10", accumulate=2)
    several, one = (
        list(itertools.islice(iterate_batches(setup.recipe, setup.draw, 3, 0, workers), 5))
        for workers in (2, 0)
    )
    for (scale, batch), (other_scale, other) in zip(several, one, strict=True):
        assert scale == other_scale
        assert torch.equal(batch.lr, other.lr)
        assert torch.equal(batch.hr, other.hr)
        assert batch.fed is batch.lr


def test_images_are_drawn_by_area_and_weight(tmp_path: Path) -> None:
    """Levels tell which image a crop is of: shares 1 : 2 by area, and 3 times the third by weight."""
    flat(tmp_path / "a" / "a.png", 40, 40, 0)
    flat(tmp_path / "a" / "b.png", 40, 80, 100 / 255)
    flat(tmp_path / "b" / "c.png", 40, 40, 200 / 255)
    store = opened([str(tmp_path / "a"), f"{tmp_path / 'b'}=3"])
    batch = drawn(store, count=6000)
    levels = (batch.hr[:, 0, 0, 0] * 255).round()
    counts = [int((levels == level).sum()) for level in (0, 100, 200)]
    np.testing.assert_allclose(counts, [1000, 2000, 3000], atol=5 * 6000**0.5 / 2)


# --- Augmentation ---


def test_an_augmentation_is_read_and_written() -> None:
    assert augment.parse("flip,rotate") == augment.USUAL
    assert augment.parse("none") == NONE
    assert augment.parse("shuffle, mixup=0.3,cutblur") == Augmentation(shuffle=True, mixup=0.3, cutblur=0.5)
    for made in (NONE, augment.USUAL, ALL, augment.parse("mixup=0.25,flip")):
        assert augment.parse(str(made)) == made
    for text, message in (
        ("twirl", "no augmentation called 'twirl'"),
        ("flip=2", "'flip' takes no value"),
        ("mixup=2", "mixup cannot be '2'"),
        ("mixup=x", "mixup cannot be 'x'"),
        ("", "no augmentation called ''"),
    ):
        with pytest.raises(UsageError, match=message):
            augment.parse(text)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), flip=st.booleans(), rotate=st.booleans(), shuffle=st.booleans())
def test_orientations_and_orders_are_those_asked_for(
    seed: int, flip: bool, rotate: bool, shuffle: bool
) -> None:
    made = Augmentation(flip, rotate, shuffle)
    turns = made.turns(200, generator(seed))
    assert set(turns % 4) == ({0, 1, 2, 3} if rotate else {0})
    assert set(turns // 4) == ({0, 1} if flip else {0})
    orders = made.orders(200, generator(seed))
    assert (orders is not None) == shuffle
    if orders is not None:
        assert len({tuple(order) for order in orders.tolist()}) == 6
        assert (np.sort(orders, axis=1) == [0, 1, 2]).all()


def batch_of(count: int = 40) -> Batch:
    """Image i has the level i / count in all of its tensors; what is fed is a little darker."""
    level = torch.arange(count)[:, None, None, None] / count
    lr, hr = level.expand(-1, 3, 8, 8).clone(), level.expand(-1, 3, 16, 16).clone()
    return Batch(lr, hr, hr - 0.001)


def test_mixup_blends_all_tensors_alike() -> None:
    plain, mixed = batch_of(), Augmentation(mixup=0.5).mix(batch_of(), generator())
    assert torch.equal(mixed.lr[..., 0, 0], mixed.hr[..., 0, 0])
    torch.testing.assert_close(mixed.fed, mixed.hr - 0.001)
    same = (mixed.hr == plain.hr).flatten(1).all(1)
    assert 8 < int(same.sum()) < 32
    assert mixed.hr.min() >= 0
    assert mixed.hr.max() <= plain.hr.max()


def test_cutmix_puts_the_same_rectangle_into_all_tensors() -> None:
    plain, mixed = batch_of(), Augmentation(cutmix=1.0).mix(batch_of(), generator())
    torch.testing.assert_close(mixed.hr, mixed.lr.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(mixed.fed, mixed.hr - 0.001)
    share = (mixed.hr != plain.hr).float().mean()
    assert 0.3 < float(share) < 0.7
    assert torch.isin(mixed.hr, plain.hr).all()


def test_cutblur_feeds_the_sharp_image_in_part() -> None:
    plain, mixed = batch_of(), Augmentation(cutblur=0.5).mix(batch_of(), generator())
    assert torch.equal(mixed.hr, plain.hr)
    assert torch.equal(mixed.lr, plain.lr)
    sharp = (mixed.fed == plain.hr).float().mean((1, 2, 3))
    assert ((mixed.fed == plain.hr) | (mixed.fed == plain.fed)).all()
    assert 8 < int((sharp > 0).sum()) < 32


@pytest.mark.parametrize("how", ["bicubic", "noise,sigma=2"])
@pytest.mark.parametrize("mixing", ["mixup=1", "cutmix=1", "mixup=1,cutmix=1,rotate,flip,shuffle"])
def test_mixed_images_stay_aligned(how: str, mixing: str, photos: Path) -> None:
    """What is mixed into the low resolution lies where it lies in the high one: downscaled, they agree."""
    store = opened(photos, StoreSpec(2, 24, degradations.parse_degradation(how)))
    batch = draw(Feed(store, 3, augment.parse(mixing)), 24, 12, generator())
    plain = draw(Feed(store, 3, augment.parse("none")), 24, 12, generator())
    reduced = torch_degrade.resize(batch.hr, 24, 24)
    apart = (reduced - batch.lr).abs().mean((1, 2, 3))
    # Bicubic reaches across the edges of rectangles.
    assert float(apart.max()) < 0.015
    shifted = (reduced[..., 1:, 1:] - batch.lr[..., :-1, :-1]).abs().mean((1, 2, 3))
    assert float((shifted > apart + 0.005).float().mean()) > 0.8
    assert not torch.equal(batch.hr, plain.hr)


@pytest.mark.parametrize("how", ["bicubic", "noise,sigma=2"])
def test_cutblur_is_aligned(how: str, photos: Path) -> None:
    """Each pixel of the input is that of the sharp image, or of the upscaled one, at the same place."""
    store = opened(photos, StoreSpec(2, 48, degradations.parse_degradation(how), enlarged=True))
    batch = draw(Feed(store, 1, augment.parse("flip,rotate,cutblur=1")), 48, 12, generator())
    upscaled = torch_degrade.resize(batch.lr, 48, 48)
    sharp, soft = ((batch.fed - other).abs() for other in (batch.hr, upscaled))
    assert float(torch.minimum(sharp, soft)[..., 4:-4, 4:-4].max()) < 6 / 255
    share = (sharp == 0).float().mean((1, 2, 3))
    assert float(share.max()) > 0.5
    assert float(share.min()) < 0.5


def test_cutblur_needs_a_network_that_is_fed_with_large_images(photos: Path) -> None:
    with pytest.raises(UsageError, match="cutblur does not work"):
        Feed(opened(photos), 3, ALL)


def test_shuffled_channels_are_shuffled_alike(photos: Path) -> None:
    store, shuffle = opened(photos), Augmentation(shuffle=True)
    shuffled = drawn(store, shuffle)
    plain = drawn(store, NONE)
    assert not torch.equal(plain.hr, shuffled.hr)
    orders = [
        [int((p == s[c]).flatten(1).all(1).nonzero()[0]) for c in range(3)]
        for p, s in zip(plain.hr, shuffled.hr, strict=True)
    ]
    for order, p, s in zip(orders, plain.lr, shuffled.lr, strict=True):
        assert torch.equal(p[order], s)
