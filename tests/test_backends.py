"""Batches under way, devices and half precision: the same picture however it is driven.

What a GPU does is done here by the processor too, in the same loop; `gpu` marks what needs a real one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers.backends import BACKENDS, FakeAsyncBackend, prepare_on, select_cuda_backend
from helpers.command import Run
from helpers.images import assert_same_image, assert_same_samples, crop_photo
from helpers.networks import CPU, build_random
from helpers.paths import SAMPLES
from srcli import archs, manifest
from srcli.dataclass import dataclass
from srcli.engine import memory
from srcli.engine.runtimes import cuda
from srcli.engine.runtimes.backends import CpuBackend, DeviceBackend, Forward
from srcli.engine.runtimes.base import OutOfMemory, RuntimeRequest
from srcli.engine.runtimes.batching import BatchLimit, Item, PendingBatch, run_batches
from srcli.engine.runtimes.cuda import CudaGraphCache
from srcli.engine.runtimes.half import Trial
from srcli.engine.runtimes.multi_device import MultiDeviceRuntime
from srcli.engine.runtimes.torch import TorchRuntime, build, choose_precision, prepare, try_half
from srcli.engine.seams import Seam
from srcli.engine.tiles import equalise_spans, plan_tiles, split_axis
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights import files
from srcli.errors import UsageError
from srcli.imaging import rows
from srcli.imaging.codecs.base import Frame
from srcli.imaging.image import read_image, to_image
from srcli.imaging.pixels import Pixels, from_uint8, to_uint8
from srcli.methods import Method, NetworkChain, chain_networks, load_method
from srcli.scales import ANY
from srcli.upscaling.pipeline import Pipeline
from srcli.upscaling.postprocess import Postprocess


def own_scale(arch: str, scale: int) -> int:
    return 1 if archs.traits(arch).pre_upsampled else scale


@given(st.lists(st.integers(1, 3), max_size=30), st.integers(0, 60), st.integers(0, 3), st.integers(18, 60))
def test_results_come_in_order_within_memory(
    sides: list[int], pixels: int, ahead: int, memory_pixels: int
) -> None:
    """Whatever the batches, and however little fits in: the least is two of the largest tiles."""
    under_way: list[int] = []

    def submit(items: Sequence[Item]) -> PendingBatch:
        assert len({item[0].shape for item in items}) == 1
        size = sum(item[0].size for item in items)
        if sum(under_way) + size > memory_pixels:
            raise OutOfMemory("full")
        under_way.append(size)
        assert len(under_way) <= ahead + 1

        def pending() -> list[Pixels]:
            under_way.remove(size)
            return [item[0] * 2 for item in items]

        return pending

    tiles = [np.full((side, side, 1), number, np.float32) for number, side in enumerate(sides)]
    results = list(run_batches([(tile,) for tile in tiles], submit, BatchLimit(pixels), ahead))
    assert [float(result[0, 0, 0]) for result in results] == [2.0 * n for n in range(len(tiles))]


def test_nothing_is_taken_before_its_time() -> None:
    """Where nothing is to be under way, one tile is taken when the one before it has come out."""
    log: list[str] = []

    def tiles() -> Iterator[Item]:
        for number in range(3):
            log.append(f"take {number}")
            yield (np.zeros((2, 2, 1), np.float32),)

    def submit(items: Sequence[Item]) -> PendingBatch:
        return lambda: [item[0] for item in items]

    for number, _ in enumerate(run_batches(tiles(), submit, BatchLimit(), 0)):
        log.append(f"give {number}")
    assert log == ["take 0", "give 0", "take 1", "give 1", "take 2", "give 2"]


def test_a_tile_that_does_not_fit_alone_is_told_and_not_tried_again() -> None:
    tried: list[int] = []

    def submit(items: Sequence[Item]) -> PendingBatch:
        tried.append(len(items))
        raise OutOfMemory("full")

    limit = BatchLimit(64)
    items: list[Item] = [(np.zeros((4, 4, 1), np.float32),) for _ in range(4)]
    with pytest.raises(OutOfMemory):
        list(run_batches(items, submit, limit, 1))
    assert tried == [4, 2, 1]
    assert limit.too_large == 16


@given(
    st.integers(1, 3000), st.integers(1, 600), st.integers(0, 100), st.integers(1, 9), st.integers(0, 2000)
)
def test_even_spans_have_one_length(length: int, tile: int, halo: int, alignment: int, begin: int) -> None:
    cut = split_axis(length, tile, halo, alignment, begin % length)
    even = equalise_spans(cut, length, alignment)
    for before, after in zip(cut, even, strict=True):
        assert (before.keep_start, before.keep_stop) == (after.keep_start, after.keep_stop)
        assert 0 <= after.start <= before.start
        assert before.stop <= after.stop <= length
        assert after.start % alignment == 0
        assert after.stop % alignment == 0 or after.stop == length
    assert [span.start for span in even] == sorted(span.start for span in even)
    if length % alignment == 0:
        assert len({span.stop - span.start for span in even}) == 1


def test_even_tiles_cost_little() -> None:
    areas = [
        sum(
            (y.stop - y.start) * (x.stop - x.start)
            for y, x in plan_tiles(2000, 3000, (512, 512), 18, uniform_tiles=even)
        )
        for even in (False, True)
    ]
    assert areas[0] < areas[1] < 1.05 * areas[0]


@pytest.mark.parametrize("drive", BACKENDS)
@pytest.mark.parametrize(
    ("arch", "scale"), [("edsr", 2), ("fsrcnn", 3), ("vdsr", 2), ("rcan", 2), ("imdn", 2), ("bsrn", 2)]
)
def test_a_busy_device_makes_the_same_picture(
    arch: str, scale: int, drive: Callable[[], DeviceBackend]
) -> None:
    """Batches of tiles read a little further, several under way, against one tile after the other."""
    torch.manual_seed(0)
    network, own, pixels = build_random(arch, scale).eval(), own_scale(arch, scale), crop_photo(75, 110)
    plain = Upscaler(prepare(network, own, CPU), scale, 32)(pixels)
    busy = prepare_on(drive(), network, own)
    ours = Upscaler(busy, scale, 32)(pixels)
    if archs.traits(arch).local:
        assert_same_image(ours, plain)
    else:  # what is read a little further has other means
        assert np.abs(ours - plain).mean() < 1e-3
    assert busy.findings.limit.pixels >= 2 * 32 * 32


@pytest.mark.parametrize("drive", BACKENDS)
def test_windows_of_any_scale_are_under_way_too(drive: Callable[[], DeviceBackend]) -> None:
    torch.manual_seed(0)
    network, pixels = build_random("liif", 2).eval(), crop_photo(50, 70)
    exact = Upscaler(prepare(network, ANY, CPU), ANY, 32)(pixels, (113, 161))
    assert_same_image(Upscaler(prepare_on(drive(), network, ANY), ANY, 32)(pixels, (113, 161)), exact)


def test_batches_are_made_where_memory_allows() -> None:
    shapes: list[tuple[int, ...]] = []

    class Seen(nn.Module):
        channels, halo = 3, 2

        def forward(self, batch: Tensor) -> Tensor:
            shapes.append(tuple(batch.shape))
            return batch

    class Measured(FakeAsyncBackend):
        most = 0

        def reset_peak(self) -> int:
            return 1000 * 20 * 20

        def free_bytes(self) -> float:
            return 2 * 1000 * 20 * 20 * self.most

    for most in (0, 3):
        shapes.clear()
        drive = Measured()
        drive.most = most
        Upscaler(prepare_on(drive, Seen(), 1), 1, 16)(crop_photo(16, 160))
        # The first tile is the one that is measured.
        assert [shape[0] for shape in shapes] == ([1] * 10 if most == 0 else [1, 3, 3, 3])
        assert {shape[1:] for shape in shapes} == {(3, 16, 20)}


def test_tiles_are_as_large_as_a_gpu_has_room_for() -> None:
    class Spacious(FakeAsyncBackend):
        def reset_peak(self) -> int:
            return 256 * 256 * 1000

        def free_bytes(self) -> float:
            return 2 * 1000 * self.pixels

    drive = Spacious()
    for pixels, side in ((100 * 100, 512), (1000 * 1000, 1000), (10**9, 2048)):
        drive.pixels = pixels  # type: ignore[attr-defined]
        runtime = prepare_on(drive, build_random("espcn", 2).eval(), 2)
        assert runtime.largest_tile(512) == max(512, side - 2 * runtime.info.halo)
        assert runtime.largest_tile(300) == 300
    assert prepare_on(CpuBackend(), build_random("espcn", 2).eval(), 2).largest_tile(512) == 512
    assert prepare_on(FakeAsyncBackend(), build_random("espcn", 2).eval(), 2).largest_tile(512) == 512


def test_a_network_that_sees_luma_reads_no_row_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its chroma comes from rows a tile behind; what is forgotten by then would be made again."""
    method = load_method("fsrcnn", 5)
    runs: list[int] = []

    @dataclass(frozen=True)
    class Counting(TorchRuntime):
        def run(self, tiles: Any) -> Iterator[Pixels]:
            for result in super().run(tiles):
                runs.append(self.info.scale)
                yield result

    steps = []
    for step in method.stages:
        runtime = prepare_on(FakeAsyncBackend(), build_random("fsrcnn", step.scale).eval(), step.scale)
        counting = Counting(**{name: getattr(runtime, name) for name in runtime.__dataclass_fields__})
        steps.append(replace(step, runtime=counting, tile=32))
    out = chain_networks("fsrcnn", steps).stream(rows.of(crop_photo(130, 40)), 5)
    for top in range(0, out.height, 32):
        out.read(top, min(top + 32, out.height))
    first = steps[0].plan((130, 40), (130 * steps[0].scale, 40 * steps[0].scale), 32)
    assert runs.count(steps[0].scale) == len(first)


@pytest.mark.parametrize("drive", BACKENDS)
def test_what_overflows_in_half_is_done_in_single_and_remembered(drive: Callable[[], DeviceBackend]) -> None:
    network = build_random("espcn", 2).eval()
    with torch.no_grad():
        network.conv_3.bias += 7e4  # type: ignore[operator]
    pixels = crop_photo(40, 70)
    exact = Upscaler(prepare_on(drive(), network, 2), 2, 32)(pixels)
    told: list[str] = []
    runtime = replace(prepare_on(drive(), network, 2, "float16"), log=told.append)
    np.testing.assert_array_equal(Upscaler(runtime, 2, 32)(pixels), exact)
    assert told == ["float16 overflows; continuing in float32"]
    assert runtime.findings.overflowed
    halves: list[bool] = []
    half_runtime = replace(runtime, graphs=None)
    plain = TorchRuntime._forward

    def seen(self: TorchRuntime, batch: Tensor, *window: Any, half: bool) -> Tensor:
        halves.append(half)
        return plain(self, batch, *window, half=half)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchRuntime, "_forward", seen)
        next(half_runtime.run([np.zeros((8, 8, 1), np.float32)]))
    assert halves == [False]


BUNDLED = [entry for entry in manifest.load() if entry.bundled and entry.scale == 4]


def runtime_of(entry: manifest.Entry, drive: DeviceBackend, dtype: str = "float32") -> TorchRuntime:
    assert entry.bundled
    network = files.load_network(entry.bundled, archs.Spec(entry.arch, entry.scale, entry.config))
    return prepare_on(drive, network, own_scale(entry.arch, entry.scale), dtype)


@pytest.mark.parametrize("drive", BACKENDS)
@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.name)
def test_half_precision_is_tried_before_it_is_used(
    entry: manifest.Entry, drive: Callable[[], DeviceBackend]
) -> None:
    """At most two levels and at least 55 dB, or single precision it is."""
    runtime = runtime_of(entry, drive())
    found, chosen = try_half(runtime), choose_precision(runtime)
    assert not found.overflowed
    assert (chosen.device.dtype == "float16") == (found.levels <= 2 and found.decibels >= 55)
    assert f"{found.decibels:.0f} dB" in chosen.description


def test_half_precision_that_is_too_coarse_is_refused() -> None:
    runtime = prepare_on(CpuBackend(), build_random("espcn", 2).eval(), 2)
    assert try_half(runtime, "bfloat16").decibels < try_half(runtime).decibels
    with torch.no_grad():
        runtime.network.conv_3.bias += 1e6  # type: ignore[operator]
    assert try_half(runtime) == Trial(0, np.inf, overflowed=True)
    chosen = choose_precision(runtime)
    assert chosen.device.dtype == "float32"
    assert "float16 in a trial: overflows" in chosen.description
    assert not chosen.findings.overflowed


@pytest.mark.parametrize("drive", BACKENDS)
def test_what_comes_again_is_recorded_if_that_is_faster(
    drive: Callable[[], DeviceBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "_MIN_SECONDS", 0)
    monkeypatch.setattr(cuda, "_MIN_RUNS", 3)
    network = build_random("espcn", 2).eval()
    tiles = [np.random.default_rng(n).random((24, 24, 1), np.float32) for n in range(8)]
    exact = list(prepare(network, 2, CPU).run(tiles))
    for gain, verdict in ((0.0, "used"), (1e9, "not used")):
        monkeypatch.setattr(cuda, "_MIN_GAIN", gain)
        runtime, told = prepare_on(drive(), network, 2), list[str]()
        assert runtime.graphs
        runtime.graphs.log = told.append
        runtime.findings.pixel_bytes = 0  # so that no batch is larger than a tile
        for ours, theirs in zip(runtime.run(tiles), exact, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
        assert len(told) == 1
        assert told[0].endswith(f", {verdict}")
        assert told[0].startswith("1 tiles of 24x24 as a graph: ")
        assert len(runtime.graphs.graphs) == (verdict == "used")
        runtime.graphs.clear()
        assert not runtime.graphs.graphs


def test_what_cannot_be_recorded_is_told_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unable(FakeAsyncBackend):
        def capture(self, forward: Forward, batch: Tensor) -> Forward | None:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda, "_MIN_SECONDS", 0)
    told: list[str] = []
    graphs = CudaGraphCache(Unable(), told.append)
    for _ in range(40):
        assert graphs.run(lambda batch: batch + 1, torch.zeros(1, 3, 8, 8)).sum() == 3 * 64
    assert told == [
        "cannot capture 1 tiles of 8x8 as a graph: operation not permitted when stream is capturing"
    ]


def test_nothing_is_recorded_for_one_picture_or_where_means_are_put_in() -> None:
    """What a trial takes would not come back."""
    drive = FakeAsyncBackend()
    Upscaler(prepare_on(drive, build_random("espcn", 2).eval(), 2), 2, 16)(crop_photo(80, 80))
    assert drive.recorded == []
    assert prepare_on(drive, build_random("latticenet", 2).eval(), 2).graphs is None
    assert prepare_on(drive, build_random("edsr", 2).eval(), 2).graphs is not None


def test_a_tile_that_did_not_fit_is_not_tried_for_the_next_picture() -> None:
    tried: list[int] = []

    class Hungry(nn.Module):
        channels, halo = 3, 1

        def forward(self, batch: Tensor) -> Tensor:
            tried.append(batch.shape[2] * batch.shape[3])
            if tried[-1] > 3000:
                torch.empty(2**46)  # more than any address
            return batch

    method = Upscaler(prepare_on(CpuBackend(), Hungry(), 1), 1, 400)
    pixels = crop_photo(70, 70)
    for _ in range(2):
        np.testing.assert_array_equal(method(pixels), pixels)
    assert [area for area in tried if area > 3000] == [4900]
    # Nor is what shows how large tiles may be, where not even that fits.
    tried.clear()
    pixels, busy = np.tile(pixels, (1, 8, 1)), prepare_on(FakeAsyncBackend(), Hungry(), 1)
    np.testing.assert_array_equal(Upscaler(busy, 1)(pixels), pixels)
    failed = [area for area in tried if area > 3000]
    assert failed[0] == 256 * 256
    assert failed == sorted(set(failed), reverse=True)
    tried.clear()
    np.testing.assert_array_equal(Upscaler(busy, 1)(pixels), pixels)
    assert max(tried) <= 3000


@pytest.mark.parametrize("drive", BACKENDS)
def test_bytes_rounded_on_the_device_are_those_rounded_here(
    drive: Callable[[], DeviceBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    step = Upscaler(
        prepare_on(drive(), build_random("edsr", 2).eval(), 2), 2, 32, report=(seams := list[Seam]()).append
    )
    method = chain_networks("edsr", [step])
    samples = to_uint8(crop_photo(75, 110))
    pipeline, frame = Pipeline(method, 2, (220, 150)), Frame(samples, 8)
    assert pipeline._round_on_device(frame, rows.of(from_uint8(samples)))
    ours = pipeline.run(frame).whole()
    monkeypatch.setattr(NetworkChain, "as_uint8", Method.as_uint8)
    theirs = pipeline.run(frame).whole()
    monkeypatch.undo()
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, theirs)
    assert seams[0].step == pytest.approx(seams[1].step, abs=0.5 / 255)
    grey = samples[..., :1].repeat(3, 2)
    others = [
        (Frame(grey, 8), pipeline), (Frame(samples[..., 0], 8), pipeline),
        (frame, replace(pipeline, depth=16)), (frame, replace(pipeline, size=(219, 150))),
        (frame, replace(pipeline, postprocess=Postprocess(strength=0.5))),
        (frame, replace(pipeline, postprocess=Postprocess(consistent=True))),
        (Frame(np.dstack([samples, samples[..., :1]]), 8), pipeline),
    ]  # fmt: skip
    for stored, other in others:
        colours = to_image(stored).pixels
        assert other._round_on_device(stored, rows.of(colours)) is None
    on_cpu = prepare_on(CpuBackend(), step.runtime.network, 2)  # type: ignore[attr-defined]
    for changed in (replace(step, self_ensemble=True), replace(step, runtime=on_cpu)):
        assert chain_networks("edsr", [changed]).as_uint8(rows.of(from_uint8(samples)), (150, 220)) is None


def test_several_devices_round_too() -> None:
    torch.manual_seed(0)
    network, samples = build_random("edsr", 2).eval(), to_uint8(crop_photo(75, 110))
    one, two = (prepare_on(FakeAsyncBackend(), network, 2) for _ in range(2))
    ours, theirs = (
        Upscaler(runtime, 2, 32).as_uint8()
        for runtime in (MultiDeviceRuntime.join((one, two)), prepare_on(FakeAsyncBackend(), network, 2))
    )
    assert ours
    assert theirs
    pixels = from_uint8(samples)
    steps = ours(pixels).astype(int) - theirs(pixels)
    assert np.abs(steps).max() <= 1
    assert (steps != 0).mean() <= 1e-3
    assert ours.plan((75, 110), (150, 220), 32) == theirs.plan((75, 110), (150, 220), 32)
    assert (
        Upscaler(MultiDeviceRuntime.join((one, prepare_on(CpuBackend(), network, 2))), 2).as_uint8() is None
    )


@pytest.mark.parametrize("text", ["", "some", "0", "-3G", "3 apples"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an amount of memory"):
        memory.parse_bytes(text)


def test_a_bound_on_a_gpu_means_nothing_to_a_processor(photo: Path, tmp_path: Path, sr: Run) -> None:
    done = sr("upscale", photo, "-x2", "--vram", "1G", "--device", "cpu", "-o", tmp_path / "a.png")
    assert done.code == 0, done.err
    done = sr("upscale", photo, "-x2", "--vram", "much", "-o", tmp_path / "b.png")
    assert (done.code, "'much' is not an amount of memory" in done.err) == (2, True)


@pytest.mark.gpu
@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.name)
def test_a_gpu_makes_the_same_picture(entry: manifest.Entry) -> None:
    """Single precision to a level in a thousandth, half to two levels and 55 dB."""
    pixels = read_image(SAMPLES / "coffee.png").pixels
    exact = Upscaler(runtime_of(entry, CpuBackend()), entry.scale)(pixels)
    single = runtime_of(entry, select_cuda_backend())
    assert_same_samples(Upscaler(single, entry.scale, 200)(pixels), exact)
    chosen = choose_precision(single)
    if chosen.device.dtype == "float16":
        near = Upscaler(chosen, entry.scale, 200)(pixels)
        difference = np.clip(near, 0, 1) - np.clip(exact, 0, 1)
        assert np.abs(difference).max() * 255 <= 2.5
        assert -10 * np.log10(np.mean(difference**2)) >= 55


@pytest.mark.gpu
def test_a_gpus_memory_is_bounded() -> None:
    """What does not fit in comes in smaller tiles, to the same picture."""
    select_cuda_backend()
    wanted = RuntimeRequest("torch", "cuda", vram=2**28)
    torch.manual_seed(0)
    network, pixels = archs.build("edsr", 4).eval(), np.tile(crop_photo(200, 300), (3, 3, 1))
    torch.cuda.empty_cache()
    try:
        bounded = build(network, 4, wanted)
        torch.cuda.reset_peak_memory_stats()
        ours = Upscaler(bounded, 4)(pixels)
        assert torch.cuda.max_memory_reserved() <= 2**28
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
    free = build(network, 4, replace(wanted, vram=None))
    np.testing.assert_allclose(ours, Upscaler(free, 4)(pixels), atol=5e-3)


@pytest.mark.gpu
def test_the_command_on_a_gpu(photos: Path, tmp_path: Path, sr: Run) -> None:
    select_cuda_backend()
    for device in ("cuda", "cpu"):
        out = tmp_path / device
        done = sr("upscale", photos, "-o", out, "--device", device, "--tile", 64, "--vram", "4G", "-v")
        assert done.code == 0, done.err
    for path in (tmp_path / "cpu").iterdir():
        one, other = (read_image(tmp_path / name / path.name).pixels for name in ("cpu", "cuda"))
        assert np.abs(one - other).max() * 255 <= 2.5
