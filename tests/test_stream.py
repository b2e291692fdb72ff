"""Images of which few rows are held at a time come out as those that are held whole."""

import math
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage
from torch import nn

from helpers.command import Run
from helpers.paths import SAMPLES
from srcli.engine import calibration, memory, tiles
from srcli.engine.device import Device
from srcli.engine.runtimes.base import OutOfMemory
from srcli.engine.runtimes.torch import prepare
from srcli.engine.upscaler import Upscaler
from srcli.imaging import mmap_buffer, rows
from srcli.imaging.codecs.base import BandedImage, EncodingOptions
from srcli.imaging.codecs.reading import read_frames, read_info
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import Pixels
from srcli.imaging.resize import KERNELS, resize, resize_8bit
from srcli.methods import MethodOptions, load_method
from srcli.upscaling import files
from srcli.upscaling.pipeline import Pipeline
from srcli.upscaling.postprocess import Postprocess
from srcli.workers.prefetch import prefetch


@pytest.fixture(autouse=True)
def short_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small image has many of them."""
    monkeypatch.setattr(rows, "_BAND", 7)
    monkeypatch.setattr(rows, "_SLACK", 12)


@given(st.integers(1, 60), st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 30))
def test_a_flow_gives_the_rows_that_are_asked_for(start: int, heights: list[int], length: int) -> None:
    whole = np.arange(sum(heights) * 2, dtype=np.float32).reshape(-1, 2, 1)

    def parts() -> Iterator[Pixels]:
        yield from np.split(whole, np.cumsum(heights)[:-1])

    flow = rows.from_stream(*whole.shape[:2], parts)
    for top in [*range(0, len(whole), 3), min(start, len(whole) - 1)]:
        stop = min(len(whole), top + length)
        np.testing.assert_array_equal(flow.read(top, stop), whole[top:stop])
    np.testing.assert_array_equal(flow.whole(), whole)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(KERNELS)),
    st.integers(1, 40), st.integers(1, 9), st.integers(1, 90), st.integers(1, 30),
)  # fmt: skip
def test_resized_by_rows_is_resized_to_the_bit(
    kernel: str, height: int, width: int, tall: int, wide: int
) -> None:
    pixels = np.random.default_rng(height).random((height, width, 3), np.float32)
    out = resize(pixels, tall, wide, kernel)
    np.testing.assert_array_equal(rows.resize_rows(rows.of(pixels), tall, wide, kernel).whole(), out)
    levels = np.round(pixels * 255) / np.float32(255)
    out = resize_8bit(levels, tall, wide, kernel)
    np.testing.assert_array_equal(rows.interpolate_rows(rows.of(levels), tall, wide, kernel).whole(), out)


def write_kind(kind: str, folder: Path) -> Path:
    """A picture as people have them."""
    pixels = read_image(SAMPLES / "chelsea.png").pixels[100:137, 120:173]
    ramp = np.linspace(0, 1, 53, dtype=np.float32) * np.ones((37, 1), np.float32)
    made = {
        "colour": ("a.png", Image(pixels)),
        "grey": ("a.png", Image(pixels.mean(2, keepdims=True).repeat(3, 2), grey=True)),
        "grey in colour": ("a.png", Image(pixels.mean(2, keepdims=True).repeat(3, 2))),
        "alpha": ("a.png", Image(pixels, np.maximum(ramp, 0.1))),
        "hidden": ("a.png", Image(pixels, np.clip(ramp * 2 - 0.5, 0, 1))),
        "grey alpha": ("a.png", Image(pixels.mean(2, keepdims=True).repeat(3, 2), ramp, grey=True)),
        "16 bits": ("a.png", Image(pixels, depth=16)),
        "16 bits alpha": ("a.tif", Image(pixels, ramp, depth=16)),
        "float": ("a.tif", Image(pixels * 7, depth=32)),
    }[kind]
    write_image(folder / made[0], made[1])
    return folder / made[0]


KINDS = [
    "colour", "grey", "grey in colour", "alpha", "hidden", "grey alpha", "16 bits", "16 bits alpha", "float",
]  # fmt: skip


def both(sr: Run, path: Path, suffix: str, *options: object) -> tuple[Path, Path]:
    """The same command with and without streaming."""
    out = path.with_name(f"streamed{suffix}"), path.with_name(f"held{suffix}")
    for target, option in zip(out, ("--stream", "--no-stream"), strict=True):
        done = sr("upscale", path, "-o", target, option, "--overwrite", *options)
        assert done.code == 0, done.err
    return out


def assert_same(streamed: Path, held: Path) -> None:
    [one], [other] = read_frames(streamed), read_frames(held)
    assert (one.depth, one.samples.dtype) == (other.depth, other.samples.dtype)
    np.testing.assert_array_equal(one.samples, other.samples)
    assert one.metadata.icc == other.metadata.icc
    assert one.metadata.exif == other.metadata.exif
    assert one.metadata.dpi == other.metadata.dpi
    assert one.metadata.xmp == other.metadata.xmp


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_streamed_is_what_is_held(kind: str, suffix: str, tmp_path: Path, sr: Run) -> None:
    if (kind, suffix) == ("float", ".png"):
        pytest.skip("PNG has no floats")
    assert_same(*both(sr, write_kind(kind, tmp_path), suffix, "-x2", "--tile", "24"))


PIPELINES = {
    "bicubic": ("bicubic", 3.3, (175, 122), Postprocess(), 8),
    "one bit": ("lanczos", 1.5, (80, 56), Postprocess(), 1),
    "luma": ("fsrcnn", 3, (159, 111), Postprocess(), 8),
    "chain": ("fsrcnn", 5, (265, 185), Postprocess(), 16),
    "resized": ("ecbsr", 2.5, (133, 93), Postprocess(strength=0.4), 8),
    "colours": ("ecbsr", 2.5, (133, 93), Postprocess(color_fix=True), 8),
    "noisy": ("photo-lite", 3, (159, 111), Postprocess(denoise=0.3), 8),
    "faithful": ("ecbsr", 2, (106, 74), Postprocess(faithful=True), 8),
    "sharp and grainy": ("ecbsr", 2, (106, 74), Postprocess(sharpen=0.7, grain=0.5), 8),
    "reduced": (None, 0.5, (40, 28), Postprocess(), 8),
    "whole": ("ecbsr", 2, (106, 74), Postprocess(consistent=True, color_fix=True), 32),
}


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_do_not_depend_on_how_many_are_read(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law that streaming rests on: bands of 7 rows are those of the whole image, to the bit."""
    model, scale, size, postprocess, depth = PIPELINES[name]
    method = load_method(model, scale, MethodOptions(tile=40)) if model else None
    pipeline = Pipeline(method, scale, size, postprocess, depth)
    [frame] = read_frames(write_kind(kind, tmp_path))
    streamed = np.concatenate(list(pipeline.run(frame).bands()))
    monkeypatch.setattr(rows, "_BAND", 10_000)
    np.testing.assert_array_equal(streamed, pipeline.run(frame).whole())


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp", ".ppm", ".jp2"])
@pytest.mark.parametrize("kind", ["colour", "grey"])
def test_other_formats_too(suffix: str, kind: str, tmp_path: Path, sr: Run) -> None:
    streamed, held = both(sr, write_kind(kind, tmp_path), suffix, "-x2", "--tile", "24")
    if suffix == ".jpg":
        assert streamed.read_bytes() == held.read_bytes()
    assert_same(streamed, held)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_metadata_goes_along(suffix: str, tmp_path: Path, sr: Run) -> None:
    exif = PilImage.Exif()
    exif[0x010F], exif[0x0112] = "a maker", 6
    picture = PilImage.fromarray((read_image(SAMPLES / "coffee.png").pixels[:50, :70] * 255).astype(np.uint8))
    path = tmp_path / "photo.jpg"
    picture.save(path, exif=exif, icc_profile=b"a profile" * 9, dpi=(300, 200), comment=b"of mine")
    streamed, held = both(sr, path, suffix, "-x2")
    assert_same(streamed, held)
    found = read_info(streamed)
    assert found.size == (100, 140)
    assert found.metadata.icc == b"a profile" * 9
    assert found.metadata.exif
    assert b"a maker" in found.metadata.exif


def test_streaming_begins_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sr: Run) -> None:
    path = write_kind("colour", tmp_path)
    streamed: list[tuple[int, ...]] = []
    write_rows = files.write_rows

    def note(target: Path, image: BandedImage, encoding: EncodingOptions) -> None:
        streamed.append(image.shape)
        write_rows(target, image, encoding)

    monkeypatch.setattr(files, "write_rows", note)
    monkeypatch.setattr(files, "STREAMED_PIXELS", 37 * 53 * 4)
    assert sr("upscale", path, "-x2", "-o", tmp_path / "large.png").code == 0
    assert streamed == [(74, 106, 3)]
    assert sr("upscale", path, "--width", "105", "-o", tmp_path / "small.png").code == 0
    assert sr("upscale", path, "-x2", "--consistent", "-o", tmp_path / "whole.png").code == 0
    assert len(streamed) == 1


@pytest.mark.parametrize("option", ["--consistent", "--uncertainty=map.png"])
def test_what_needs_the_whole_is_told(option: str, in_tmp: Path, sr: Run) -> None:
    path = write_kind("colour", in_tmp)
    done = sr("upscale", path, "-x2", "--stream", option)
    assert done.code != 0
    assert f"{option.split('=', maxsplit=1)[0]} needs the whole image in memory" in done.err
    assert not (in_tmp / "a_x2.png").exists()


def test_a_side_that_a_format_does_not_have_is_told(tmp_path: Path, sr: Run) -> None:
    write_image(tmp_path / "a.png", Image(np.zeros((4, 9000, 3), np.float32)))
    done = sr("upscale", tmp_path / "a.png", "-x8", "-m", "nearest", "--format", "jpg", "--stream")
    assert done.code != 0
    assert "holds up to 65,500 pixels a side, not 72000x32" in done.err


def test_bigtiff_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sr: Run) -> None:
    from srcli.imaging.codecs import tiff

    monkeypatch.setattr(tiff, "_LARGEST_CLASSIC", 0)
    monkeypatch.setattr(tiff, "_ROWS_PER_STRIP", 9)
    streamed, held = both(sr, write_kind("16 bits alpha", tmp_path), ".tif", "-x2")
    assert streamed.read_bytes()[:4] == b"II+\0"
    assert_same(streamed, held)
    np.testing.assert_array_equal(tifffile.imread(streamed), tifffile.imread(held))


def test_tiles_of_a_wide_image_are_flat() -> None:
    for width in (10, 3000, 24000, 10**6):
        high, wide = tiles.tile_shape(512, width, 192)
        assert tiles.SMALLEST_TILE <= high <= 512
        assert high * wide <= 512**2
        assert high == tiles.SMALLEST_TILE or high * width * 192 <= tiles.LARGEST_BAND
    assert tiles.tile_shape(512, 400, 192) == (512, 512)


def test_a_canvas_forgets_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    with mmap_buffer.open_on_disk((300, 70, 4), tmp_path) as place:
        samples = rng.integers(0, 256, (300, 70, 4), np.uint8)
        for top in range(0, 300, 64):
            place.samples[top : top + 64] = samples[top : top + 64]
            place.drop_pages()
        np.testing.assert_array_equal(place.samples, samples)
    assert list(tmp_path.iterdir()) == []


def test_png_by_pillow_and_opencv(tmp_path: Path, rng: np.random.Generator) -> None:
    """Every kind of 8-bit PNG that is written, by other readers; and no chunk is empty."""
    import cv2

    for channels, mode in ((1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")):
        samples = rng.integers(0, 256, (130, 37, channels), np.uint8)
        samples[40:90] = 77
        pixels = samples[..., :1].repeat(3, 2) if channels < 3 else samples[..., :3]
        alpha = samples[..., -1] / np.float32(255) if channels % 2 == 0 else None
        image = Image(pixels / np.float32(255), alpha, grey=channels < 3, metadata=Metadata(dpi=(72, 72)))
        write_image(tmp_path / "a.png", image)
        with PilImage.open(tmp_path / "a.png") as file:
            assert file.mode == mode
            np.testing.assert_array_equal(np.asarray(file).reshape(samples.shape), samples)
        found = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(found, pixels)
        assert struct.pack(">I", 0) + b"IDAT" not in (tmp_path / "a.png").read_bytes()


@dataclass(frozen=True)
class Hungry:
    """A network of which a tile larger than `most` pixels does not fit into memory, really."""

    most: int
    tried: list[tuple[int, ...]]

    def network(self) -> nn.Module:
        hungry = self

        class Doubled(nn.Module):
            channels, halo = 3, 1

            def forward(self, batch: torch.Tensor) -> torch.Tensor:
                hungry.tried.append(tuple(batch.shape[2:]))
                if batch.shape[2] * batch.shape[3] > hungry.most:
                    torch.empty(2**46)  # more than any address
                return batch.repeat_interleave(2, 2).repeat_interleave(2, 3)

        return Doubled()


def test_memory_that_ends_halves_the_tile_and_finished_rows_stay(rng: np.random.Generator) -> None:
    """By the allocator of torch on a CPU, which has no error of its own."""
    hungry = Hungry(5500, [])
    runtime = prepare(hungry.network(), 2, Device("cpu", "float32", "test"))
    pixels = rng.random((150, 70, 3), np.float32)
    told: list[tuple[int, int]] = []
    method = Upscaler(runtime, 2, 400, progress=lambda *shares: told.append(shares))
    np.testing.assert_array_equal(method(pixels), pixels.repeat(2, 0).repeat(2, 1))
    assert hungry.tried == [(150, 70), (76, 70), (76, 70)]
    assert told == [(1, 2), (2, 2)]
    with pytest.raises(OutOfMemory, match="does not fit into the memory of cpu"):
        Upscaler(prepare(Hungry(10, []).network(), 2, Device("cpu", "float32", "test")), 2)(pixels)


def test_other_errors_of_torch_are_bugs() -> None:
    class Wrong(nn.Module):
        channels, halo = 3, 0

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return batch @ torch.ones(7, 7)

    runtime = prepare(Wrong(), 1, Device("cpu", "float32", "test"))
    with pytest.raises(RuntimeError, match="Expected size"):
        next(runtime.run([np.ones((5, 5, 3), np.float32)]))


def test_the_tile_is_as_large_as_free_memory_has_room_for() -> None:
    """What it takes is measured: a tile that is told to fit stays below what is free."""
    [step] = load_method("ecbsr", 2).stages
    assert calibration.fit_tile(step.runtime, 512, math.inf) == 512
    small, large = (calibration.fit_tile(step.runtime, 512, free) for free in (2**26, 2**28))
    assert tiles.SMALLEST_TILE <= small <= large <= 512
    assert calibration.fit_tile(step.runtime, 512, 0) == tiles.SMALLEST_TILE


def test_free_memory_is_what_the_cgroup_leaves(tmp_path: Path) -> None:
    assert memory.free_memory(tmp_path, tmp_path) == math.inf
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert memory.free_memory(tmp_path, tmp_path) == 5000 * 1024
    for name, text in (("max", "3000000"), ("current", "2000000"), ("stat", "anon 5\nfile 500000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory.free_memory(tmp_path, tmp_path) == 1500000
    (tmp_path / "memory.max").write_text("max")
    assert memory.free_memory(tmp_path, tmp_path) == 5000 * 1024


def test_several_frames_are_held(tmp_path: Path, sr: Run) -> None:
    with PilImage.open(SAMPLES / "camera.png") as file:
        page = file.crop((0, 0, 20, 30))
        page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    done = sr("upscale", tmp_path / "pages.tif", "-x2", "-m", "bicubic", "--stream")
    assert (done.code, "a file of several frames needs the whole image" in done.err) == (1, True), done.err
    assert sr("upscale", tmp_path / "pages.tif", "-x2", "-m", "bicubic").code == 0


def test_one_is_made_beside_the_one_that_is_worked_on() -> None:
    """Never two ahead; errors come in their turn; what is in the making is waited for at the end."""
    begun, done = [0], [0]

    def numbers(last: int) -> Iterator[int]:
        for number in range(last):
            begun[0] += 1
            time.sleep(0.01)
            done[0] += 1
            yield number
        raise OutOfMemory("full")

    results = prefetch(numbers(5))
    for number in range(5):
        assert next(results) == number
        time.sleep(0.005)
        assert number + 1 <= begun[0] <= number + 2
    with pytest.raises(OutOfMemory):
        next(results)
    assert list(prefetch(iter(()))) == []
    begun[0] = done[0] = 0
    for _ in prefetch(numbers(5)):
        break
    assert begun == done == [2]


def test_tiles_are_made_beside_the_encoder_if_the_network_is_alone() -> None:
    assert [step.prefetch for step in load_method("ecbsr", 4).stages] == [True]
    assert [step.prefetch for step in load_method("fsrcnn", 8).stages] == [False, False]
