"""The leak guard: a benchmark's images are found however they were altered, other images are not."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from helpers.paths import SAMPLES
from srcli.errors import DatasetError
from srcli.train import leaks
from srcli.train.sources import parse
from srcli.train.store import Store, StoreSpec, open_store

Picture = Image.Image
Alter = Callable[[Picture, np.random.Generator], Picture]


def difference_hash(picture: Picture) -> str:
    """As the file of hashes was made."""
    cells = np.asarray(picture.convert("L").resize((17, 16), Image.Resampling.BOX), np.int16)
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()


def scaled(picture: Picture, factor: float) -> Picture:
    return picture.resize((round(picture.width * factor), round(picture.height * factor)))


def compressed(picture: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def trimmed(picture: Picture, rng: np.random.Generator, most: float) -> Picture:
    """Up to a share of `most` cut off at each side."""
    left, top, right, bottom = rng.uniform(0, most, 4)
    w, h = picture.size
    return picture.crop((round(left * w), round(top * h), round(w - right * w), round(h - bottom * h)))


def altered(picture: Picture, rng: np.random.Generator) -> Picture:
    """Trimmed, resized, compressed and mirrored, all at once."""
    small = scaled(trimmed(picture, rng, 0.05), rng.uniform(0.5, 2))
    return compressed(ImageOps.mirror(small) if rng.random() < 0.5 else small, 30)


def inside(picture: Picture, rng: np.random.Generator) -> Picture:
    """A part, of 60 to 95 % of its length, of a larger picture of like proportions."""
    part = rng.uniform(0.6, 0.95)
    width, height = (round(side / part) for side in picture.size)
    noise = np.kron(rng.integers(0, 256, (12, 12, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    canvas = Image.fromarray(noise).resize((width, height))
    canvas.paste(picture, (rng.integers(width - picture.width), rng.integers(height - picture.height)))
    return canvas


ALTERATIONS: dict[str, Alter] = {
    "as it is": lambda p, rng: p,
    "half": lambda p, rng: scaled(p, 0.5),
    "double": lambda p, rng: scaled(p, 2),
    "JPEG": lambda p, rng: compressed(p, 20),
    "mirrored": lambda p, rng: ImageOps.mirror(p),
    "upside down": lambda p, rng: ImageOps.flip(p),
    "half a turn": lambda p, rng: ImageOps.flip(ImageOps.mirror(p)),
    "grey": lambda p, rng: p.convert("L").convert("RGB"),
    "trimmed": lambda p, rng: trimmed(p, rng, 0.06),
    "all": altered,
    "inside": inside,
}
# The least share of the 119 images of Set5, Set14 and BSD100 that must be found; unaltered ones all are.
# Processors differ: with JPEG, 118 of 119 are found on AVX2.
FOUND = {"as it is": 1.0, "all": 0.95, "inside": 0.73}
FOUND_BY_DEFAULT = 0.98


def shown(picture: Picture) -> str | None:
    return leaks.find_benchmark(np.asarray(picture.convert("RGB")))


@pytest.fixture
def portrait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Picture]:
    """A photograph, which is made the only image of a benchmark, Own/portrait."""
    picture = Image.open(SAMPLES / "astronaut.png").convert("RGB").crop((40, 0, 360, 480))
    table = tmp_path / "hashes.csv"
    line = f"Own,portrait,{picture.width},{picture.height},{difference_hash(picture)}"
    table.write_text(f"set,image,width,height,dhash_16x16_hex\n{line}\n")
    monkeypatch.setattr(leaks, "_FILE", table)
    monkeypatch.setenv("SR_CACHE", str(tmp_path / "cache"))
    forget()
    yield picture
    forget()


def forget() -> None:
    leaks.benchmarks.cache_clear()
    leaks._match_proportions.cache_clear()


@pytest.mark.parametrize("name", ALTERATIONS)
def test_a_copy_is_found_however_it_was_altered(name: str, portrait: Picture) -> None:
    found = [shown(ALTERATIONS[name](portrait, np.random.default_rng(seed))) for seed in range(8)]
    assert found.count("Own/portrait") >= (6 if name == "inside" else 8)


def test_other_images_are_not_found(portrait: Picture) -> None:
    rng = np.random.default_rng(0)
    for name in ("camera", "chelsea", "coffee"):
        assert shown(Image.open(SAMPLES / f"{name}.png")) is None
    for size in ((16, 16), (16, 700), (700, 16), (333, 97)):
        for samples in (rng.integers(0, 256, (*size, 3), np.uint8), np.full((*size, 3), 7, np.uint8)):
            assert leaks.find_benchmark(samples) is None
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (256, 256, 3))
    assert leaks.find_benchmark(ramp) is None
    assert leaks.find_benchmark(ramp.swapaxes(0, 1)) is None


def opened(folder: Path, *, allow_leak: bool = False) -> Store:
    wanted = StoreSpec(2, 16, allow_leak=allow_leak)
    return open_store([parse(str(folder), 2)], wanted, lambda stage, done, total: None)


def test_leaking_images_are_refused_by_name(
    portrait: Picture, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        scaled(portrait, 0.3 + 0.1 * number).save(photos / f"copy{number}.png")
    for _ in range(2):  # the second time out of the index
        with pytest.raises(DatasetError, match=r"copy0\.png.*copy1\.png.*copy2\.png.* and 2 more") as caught:
            opened(photos)
        monkeypatch.setattr(leaks, "find_benchmark", None)
    assert "Own/portrait" in caught.value.message
    assert "\n" not in caught.value.message
    store = opened(photos, allow_leak=True)
    assert (len(store), len(store.leaks)) == (8, 5)


def test_the_version_changes_with_the_hashes(portrait: Picture, tmp_path: Path) -> None:
    before = leaks.version()
    (tmp_path / "hashes.csv").write_text("set,image,width,height,dhash_16x16_hex\n")
    assert leaks.version() != before


def test_the_hashes_that_ship_are_whole(shared: Path) -> None:
    assert len(leaks.benchmarks().names) == 243
    assert leaks._FILE.read_bytes() == (shared / "reference" / "benchmark_hashes.csv").read_bytes()


def benchmark_images(shared: Path) -> list[tuple[str, Picture]]:
    folders = [shared / "data" / name for name in ("Set5", "Set14", "BSD100")]
    files = [path for folder in folders for path in sorted(folder.glob("*.*"))]
    return [(f"{path.parent.name}/{path.stem}", Image.open(path).convert("RGB")) for path in files]


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("name", ALTERATIONS)
def test_altered_benchmark_images_are_found(name: str, shared: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = benchmark_images(shared)
    assert len(pictures) == 119
    # Set5's head and Set14's face are one photograph.
    twins = {"Set14/face": "Set5/head"}
    found = [
        twins.get(found or "", found) == twins.get(own, own)
        for own, picture in pictures
        for found in [shown(ALTERATIONS[name](picture, rng))]
    ]
    print(f"{name}: {np.mean(found):.3f}")
    assert np.mean(found) >= FOUND.get(name, FOUND_BY_DEFAULT)


@pytest.mark.parity
@pytest.mark.slow
def test_no_training_or_validation_image_is_taken_for_a_benchmark(shared: Path) -> None:
    files = [*(shared / "data" / "train").glob("*.avif"), *(shared / "data" / "valid").glob("*.png")]
    assert len(files) == 737
    assert [path for path in files if shown(Image.open(path))] == []
