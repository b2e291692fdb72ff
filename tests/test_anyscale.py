"""Networks of any scale: any size of output, natively; tiled as whole; trained on a range of scales."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from helpers.command import Run
from helpers.networks import SMALL, build_random
from helpers.paths import SAMPLES
from helpers.training import build_setup, run_training
from srcli import archs, manifest, methods
from srcli.archs import anyscale
from srcli.engine import complexity
from srcli.engine.device import Device
from srcli.engine.runtimes.torch import prepare
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights import files
from srcli.engine.weights.checkpoint import read_header
from srcli.errors import ManifestError, UsageError
from srcli.imaging import rows
from srcli.imaging.image import read_image
from srcli.imaging.metrics.full_reference import psnr
from srcli.scales import ANY, Axis, Window, make_full_window
from srcli.train import loop, recipe, recipes, state

ARCHS = [arch for arch in archs.names() if archs.traits(arch).any_scale]
CPU = Device("cpu", "float32", "test")
every = pytest.mark.parametrize("arch", ARCHS)


def upscaler(arch: str, **options: Any) -> Upscaler:
    torch.manual_seed(0)
    return Upscaler(prepare(build_random(arch, 2), ANY, CPU), ANY, **options)


@every
@settings(max_examples=8, deadline=None)
@given(sides=st.tuples(*[st.integers(1, 40)] * 2), size=st.tuples(*[st.integers(40, 130)] * 2))
@example(sides=(1, 1), size=(7, 3))
@example(sides=(37, 23), size=(100, 62))
@example(sides=(40, 40), size=(40, 41))
def test_tiled_equals_whole_at_any_size(arch: str, sides: tuple[int, int], size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(sum(sides)).random((*sides, 3), np.float32)
    out = upscaler(arch)(pixels, size)
    assert out.shape == (*size, 3)
    np.testing.assert_allclose(upscaler(arch, tile=9)(pixels, size), out, atol=1e-5)


@every
def test_whole_scales_are_those_sizes(arch: str, rng: np.random.Generator) -> None:
    """What a network gives by itself at a scale is what it gives when asked for that size."""
    network = build_random(arch, 3).eval()
    batch = torch.rand(2, 3, 11, 8)
    torch.testing.assert_close(network(batch), network(batch, make_full_window(11, 8, (33, 24))))


@every
def test_outputs_in_portions_are_those_at_once(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, batch = build_random(arch, 2).eval(), torch.rand(1, 3, 9, 7)
    window = (Axis(20, 47, 6, 15, 33), Axis(7, 19, 0, 2, 19))
    at_once = network(batch, window)
    assert at_once.shape == (1, 3, 18, 17)
    monkeypatch.setattr(anyscale, "PIXELS_PER_BAND", 40)
    torch.testing.assert_close(network(batch, window), at_once)


@every
def test_places_stay_exact_in_half_precision(arch: str) -> None:
    """Far from the origin, where half precision tells no pixel from the next."""
    network, batch = build_random(arch, 2).eval(), torch.rand(1, 3, 9, 7)
    window = (Axis(40_009, 94_023, 40_000, 94_002, 94_023), Axis(7, 19, 0, 0, 19))
    with torch.no_grad():
        exact = network(batch, window)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(batch, window).float()
    assert (half - exact).abs().mean() < 0.05 * exact.abs().mean()


@every
def test_self_ensemble_turns_the_size_too(arch: str, rng: np.random.Generator) -> None:
    pixels = rng.random((9, 12, 3), np.float32)
    method = upscaler(arch, self_ensemble=True)
    turned = np.rot90(method(np.rot90(pixels), (31, 20)), -1)
    np.testing.assert_allclose(turned, method(pixels, (20, 31)), atol=2e-5)


def test_neighbours_are_those_around_by_plain_arithmetic() -> None:
    axis = Axis(10, 27, 3, 9, 20)
    centres = (torch.arange(9, 20, dtype=torch.float64) + 0.5) * 10 / 27 - 0.5
    before, after = anyscale.find_neighbours(axis, 7, torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(before.pixel + 3 + before.offset, centres)
    torch.testing.assert_close(after.pixel, before.pixel + 1)
    corner = anyscale.find_corner_pixels(axis, torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(corner.pixel + 3 + corner.offset, torch.arange(9, 20).double() * 10 / 27)


def grid(height: int, width: int) -> Tensor:
    """Centres of pixels (H, W, 2) in [-1, 1]."""
    axes = [(2 * torch.arange(side, dtype=torch.float64) + 1) / side - 1 for side in (height, width)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def queried(planes: Tensor, places: Tensor) -> Tensor:
    """The nearest pixels (N, h, w, C) to places in [-1, 1]."""
    return F.grid_sample(planes, places.flip(-1), mode="nearest", align_corners=False).movedim(1, 3)


def around(batch: Tensor, size: tuple[int, int]) -> Any:
    """For each of four shifts: places to look at, and how far the pixel there is, 2 to a pixel."""
    sides, places = torch.tensor(batch.shape[2:]), grid(*size)[None]
    for shift in [(-1, -1), (-1, 1), (1, -1), (1, 1)]:
        shifted = (places + torch.tensor(shift) / sides + 1e-6).clamp(-1 + 1e-6, 1 - 1e-6)
        found = queried(grid(*batch.shape[2:]).movedim(2, 0)[None], shifted)
        yield shifted, (places - found) * sides


def ensemble(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Weighted by the area to the opposite pixel."""
    areas = [offsets.prod(-1, keepdim=True).abs() + 1e-9 for _, offsets in parts]
    return sum(part * area for (part, _), area in zip(parts, areas[::-1], strict=True)) / sum(areas)


@pytest.mark.parametrize("size", [(20, 16), (27, 21), (43, 50)])
def test_liif_is_the_function_of_its_paper(size: tuple[int, int]) -> None:
    network: Any = build_random("liif", 2).double().eval()
    batch = torch.rand(1, 3, 10, 8, dtype=torch.float64)
    features = F.unfold(network.encoder(2 * batch - 1), 3, padding=1).unflatten(2, batch.shape[2:])
    cell = 2 * torch.tensor(batch.shape[2:]) / torch.tensor(size)
    parts = []
    for places, offsets in around(batch, size):
        given = torch.cat((queried(features, places), offsets, cell.expand(offsets.shape)), -1)
        parts.append((network.imnet(given), offsets))
    expected = ensemble(parts).movedim(3, 1) / 2 + 0.5
    torch.testing.assert_close(network(batch, make_full_window(10, 8, size)), expected)


# SwinIR's smallest encoder: one group of blocks.
WINDOWS = {"encoder": "swinir", "blocks": 1, "features": 16, "hidden": 24}


@pytest.mark.parametrize("size", [(20, 16), (27, 21), (43, 50)])
@pytest.mark.parametrize("config", [SMALL["lte"], WINDOWS], ids=["edsr", "swinir"])
def test_lte_is_the_function_of_its_paper(config: dict[str, Any], size: tuple[int, int]) -> None:
    network: Any = build_random("lte", 2, config).double().eval()
    batch = torch.rand(1, 3, 10, 8, dtype=torch.float64)
    features = network.encoder(2 * batch - 1)
    cell = 2 * torch.maximum(torch.tensor(batch.shape[2:]) / torch.tensor(size), torch.tensor(0.25))
    parts = []
    for places, offsets in around(batch, size):
        waves = torch.stack(queried(network.freq(features), places).split(2, -1), -1)
        angle = torch.pi * ((waves * offsets[..., None]).sum(-2) + network.phase(cell.double()))
        basis = torch.cat((angle.cos(), angle.sin()), -1)
        parts.append((network.imnet(queried(network.coef(features), places) * basis), offsets))
    skip = F.interpolate(batch, size, mode="bilinear", align_corners=False)
    expected = ensemble(parts).movedim(3, 1) / 2 + skip
    torch.testing.assert_close(network(batch, make_full_window(10, 8, size)), expected)


def test_the_encoder_on_windows_is_swinir_up_to_its_features() -> None:
    """The authors feed it without a shift of the mean; sides that are no multiples are reflected, and cut."""
    network: Any = build_random("lte", 2, WINDOWS | {"features": 64}).eval()
    body: Any = archs.build("swinir", 2, {"groups": 1})
    missing, unexpected = body.load_state_dict(network.encoder.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith(("upsample.", "conv_last.")) for key in missing)
    batch = torch.rand(1, 3, 11, 16)
    expected = body.conv_before_upsample(body.extract_features(batch))
    assert expected.shape == (1, 64, 16, 16)
    torch.testing.assert_close(network.encoder(batch), expected[:, :, :11])


def test_lte_takes_the_tensors_of_the_authors_files() -> None:
    ours = archs.build("lte", 2, WINDOWS).state_dict()
    block = "encoder.layers.0.residual_group.blocks.1"
    worked_out = (f"{block}.attn_mask", f"{block}.attn.relative_position_index", "encoder.sub_mean.bias")
    theirs = ours | dict.fromkeys(worked_out, torch.zeros(1))
    assert archs.rename("lte", theirs) == ours


def test_tiled_is_close_to_whole_where_windows_are_shifted() -> None:
    """Tiles begin where windows do; the overlap is far less than what dozens of blocks see."""
    torch.manual_seed(0)
    runtime = prepare(build_random("lte", 2, WINDOWS | {"blocks": 2}), ANY, CPU)
    assert (runtime.info.halo, runtime.info.alignment) == (34, 8)
    pixels = read_image(SAMPLES / "coffee.png").pixels[:15, :133]
    whole, tiled = (Upscaler(runtime, ANY, tile)(pixels, (40, 301)) for tile in (512, 28))
    assert (whole != tiled).any()
    assert psnr(tiled, whole) >= 50


@pytest.mark.parametrize("size", [(20, 16), (27, 21), (43, 50)])
def test_metasr_is_a_filter_for_each_output_pixel(size: tuple[int, int]) -> None:
    network: Any = build_random("metasr", 2).double().eval()
    batch = torch.rand(1, 3, 10, 8, dtype=torch.float64)
    features = F.unfold(network.encoder(network.shift.enter(batch)), 3, padding=1).view(-1, 10, 8)
    out = network(batch, make_full_window(10, 8, size))
    for y, x in [(0, 0), (7, 5), (19, 15), (size[0] - 1, size[1] - 1)]:
        (row, down), (column, across) = (
            divmod(n * i / o, 1) for n, i, o in ((y, 10, size[0]), (x, 8, size[1]))
        )
        given = torch.tensor((10 / size[0], down, across), dtype=torch.float64)
        filters = network.P2W.meta_block(given).view(-1, 3)
        expected = network.shift.leave((features[:, int(row), int(column)] @ filters)[None, :, None, None])
        torch.testing.assert_close(out[0, :, y, x], expected[0, :, 0, 0])


def test_metasr_takes_the_authors_names() -> None:
    ours = archs.build("metasr", 2, SMALL["metasr"]).state_dict()
    theirs = {key.removeprefix("encoder."): value for key, value in ours.items()}
    theirs |= dict.fromkeys(("sub_mean.weight", "add_mean.bias"), torch.zeros(1))
    assert archs.rename("metasr", theirs) == ours


@pytest.mark.parametrize("size", [(20, 16), (27, 21), (33, 19)])
def test_bairnet_enlarges_and_reduces_to_any_size(size: tuple[int, int]) -> None:
    """With nothing generated it is bilinear and bicubic; what is generated is a filter for each pixel."""
    network: Any = build_random("bairnet", 2).double().eval()
    batch = torch.rand(2, 3, 13, 9, dtype=torch.float64)
    large, small = network(batch, make_full_window(13, 9, size)), network.downscale(batch, (7, 4))
    features = F.unfold(network.encoder(2 * batch - 1), 3, padding=1).view(2, -1, 13, 9)
    plain = F.interpolate(batch, size, mode="bilinear", align_corners=False)
    for y, x in [(0, 0), (7, 5), (19, 15)]:
        (row, down), (column, across) = (
            divmod((n + 0.5) * i / o, 1) for n, i, o in ((y, 13, size[0]), (x, 9, size[1]))
        )
        given = torch.tensor((13 / size[0], 9 / size[1], down - 0.5, across - 0.5), dtype=torch.float64)
        filters = network.enlarging.meta_block(given).view(-1, 3)
        expected = plain[:, :, y, x] + features[:, :, int(row), int(column)] @ filters
        torch.testing.assert_close(large[:, :, y, x], expected)
    assert small.shape == (2, 3, 7, 4)
    for filters in (network.enlarging, network.reducing):
        for weight in filters.meta_block[2].parameters():
            torch.nn.init.zeros_(weight)
    bicubic = F.interpolate(batch, (7, 4), mode="bicubic", antialias=True)
    torch.testing.assert_close(network.downscale(batch, (7, 4)), bicubic)
    torch.testing.assert_close(network(batch, make_full_window(13, 9, size)), plain)


def test_reducing_and_enlarging_are_learned_together(photos: Path, tmp_path: Path) -> None:
    """Every weight of both takes part in every step."""
    config = SMALL["bairnet"]
    setup = build_setup(photos, tmp_path / "run", "bairnet", config=config, steps=6, scale_range=(1.5, 2.0))
    begun, told = run_training(setup)
    assert set(told[-1].terms) == {"l1", "reduced"}
    assert all(begun.optimiser.state[weight]["step"] == 6 for weight in begun.network.parameters())
    other = build_setup(photos, tmp_path / "other", "liif", config=SMALL["liif"], downscale_weight=1.0)
    with pytest.raises(UsageError, match="does not downscale"):
        loop.prepare(state.start(other.recipe, CPU), other)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A weight file of a small network of any scale."""
    path = tmp_path / "mine.safetensors"
    spec = archs.Spec("liif", ANY, {"blocks": 1, "features": 8, "hidden": 8})
    files.save_network(path, archs.build("liif", ANY, spec.config), spec, {})
    return path


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (("-x", 2.7), (216, 162)),
        (("-x", 11), (880, 660)),
        (("--width", 199), (199, 149)),
        (("--size", "301x97!"), (301, 97)),
    ],
)
def test_any_size_is_given_natively(
    words: tuple[object, ...], size: tuple[int, int], mine: Path, photo: Path, tmp_path: Path, sr: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def resampled(*_: object) -> None:
        raise AssertionError("something was resampled")

    monkeypatch.setattr(rows, "resize_rows", resampled)
    done = sr("upscale", photo, *words, "-w", mine, "-o", tmp_path / "out.png", "--device", "cpu")
    assert done.code == 0, done.err
    assert "identified as liif any" in done.err
    assert "its scale is an input" in done.err
    assert read_image(tmp_path / "out.png").size == size


def test_bench_and_compare_take_any_scale(mine: Path, photo: Path, tmp_path: Path, sr: Run) -> None:
    rows = tmp_path / "b.json"
    done = sr("bench", "-d", photo.parent, "-x", 1.7, "-x", 2, "-m", "bicubic", "-w", mine, "--json", rows)
    assert done.code == 0, done.err
    assert "x1.7" in done.out
    found = json.loads(rows.read_text())
    assert {(row["scale"], row["method"]) for row in found["rows"]} >= {(1.7, "mine"), (2, "mine")}
    done = sr("compare", photo, "--hr", "-x", 1.7, "-w", mine, "-o", tmp_path / "sheet.png")
    assert done.code == 0, done.err
    assert "dB" in done.out
    assert sr("bench", "-x", "inf").code == 2


def test_files_of_any_scale_say_so_or_are_known(mine: Path, tmp_path: Path, sr: Run) -> None:
    assert read_header(mine)["scale"] == "any"
    assert files.identify_specs(mine) == [archs.Spec("liif", ANY, {"blocks": 1, "features": 8, "hidden": 8})]
    torch.save({"model": {"sd": archs.build("liif", ANY).state_dict()}}, tmp_path / "plain.pth")
    assert files.identify_specs(tmp_path / "plain.pth", "liif") == [archs.Spec("liif", ANY)]
    done = sr("export", "-w", mine, "-x", 3, "-o", tmp_path / "a.onnx")
    assert done.code == 1
    assert "its scale is an input" in done.err.splitlines()[0]
    assert sr("upscale", mine, "-w", mine, "--runtime", "ncnn").code != 0


def test_one_entry_is_for_any_scale(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {
        "model": "mine", "arch": "liif", "scale": "any", "file": "mine.safetensors", "sha256": "0" * 64,
        "licence": "CC0-1.0", "licence_source": "here", "training_data": "none", "paper": "none",
        "purpose": "classical", "config": {"blocks": 1, "features": 8, "hidden": 8},
    }  # fmt: skip
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"weights": [raw]}))
    (entry,) = manifest.load_own(path)
    assert (entry.scale, entry.name) == (ANY, "mine-any")
    path.write_text(json.dumps({"weights": [{**raw, "scale": 0}]}))
    with pytest.raises(ManifestError, match="bad scale"):
        manifest.load_own(path)
    monkeypatch.setattr(manifest, "load", lambda: (entry,))
    monkeypatch.setattr(files, "locate_weights", lambda entry: mine)
    method = methods.load_method("mine", 2.7)
    assert method(np.zeros((10, 20, 3), np.float32), 2.7).shape == (27, 54, 3)
    assert methods.locate_weights("mine", 5).spec.scale == ANY


def test_a_spread_of_scales_is_learned(photos: Path, tmp_path: Path) -> None:
    config = {"blocks": 1, "features": 8, "hidden": 8}
    setup = build_setup(photos, tmp_path / "run", "liif", config=config, steps=6, scale_range=(1.0, 3.0))
    begun, told = run_training(setup)
    assert begun.step == 6
    assert np.isfinite(told[-1].loss)
    path = loop.weights_path(setup.folder, setup.recipe)
    assert path.name == "liif-any.safetensors"
    pixels = read_image(photos / "coffee.png").pixels[:20, :30]
    assert methods.load_method_file(path, 2.2)(pixels, 2.2).shape == (44, 66, 3)


def test_batches_of_any_scale_fit_their_windows(photos: Path, tmp_path: Path) -> None:
    """Where an image is a ramp, the window of the output is the ramp where it says it is."""
    setup = build_setup(photos, tmp_path / "run", "liif", config=SMALL["liif"], scale_range=(1.0, 4.0))
    scales = []
    for (scale, batch), _ in zip(
        loop.iterate_batches(setup.recipe, setup.draw, 0, 0), range(6), strict=False
    ):
        assert batch.window
        assert batch.lr.shape == batch.hr.shape == (4, 3, 12, 12)
        assert batch.window[0].outputs == round(12 * scale)
        scales.append(scale)
        assert error_at(batch.lr, batch.hr, batch.window) < 0.08
    assert len(set(scales)) == 6
    assert all(1 <= scale <= 4 for scale in scales)


def error_at(lr: Tensor, hr: Tensor, window: Window) -> float:
    """Mean difference of the high-resolution part and the low-resolution images enlarged there."""
    size = (window[0].outputs, window[1].outputs)
    large = F.interpolate(lr, size, mode="bicubic", align_corners=False)
    return float((large[..., window[0].target, window[1].target] - hr).abs().mean())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale_range": (4.0,)}, "scale_range cannot be 4"),
        ({"scale_range": (3.0, 2.0)}, "scale_range cannot be 3,2"),
        ({"scale_range": (0.5, 2.0)}, "scale_range cannot be 0.5,2"),
        ({"degrade": "bsrgan"}, "degrade=bsrgan needs one scale"),
        ({"augment": "mixup"}, "augment=mixup needs one scale"),
        ({"loss": "l1=1,cycle=1"}, "needs one scale"),
    ],
)
def test_what_a_spread_cannot_be_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe.apply_changes(recipes.find("liif", 2), changes)
    with pytest.raises(UsageError, match="cannot be trained on a range of scales"):
        recipe.apply_changes(recipes.find("edsr", 2), {"scale_range": (1.0, 4.0)})


@pytest.mark.parametrize(("encoder", "megabytes"), [("edsr", 18), ("rdn", 256)])
def test_liif_is_as_large_as_its_authors_files(encoder: str, megabytes: float) -> None:
    """They hold each number three times, with Adam's two means of it: https://github.com/yinboc/liif."""
    ours = complexity.count_parameters(archs.Spec("liif", ANY, {"encoder": encoder})) * 3 * 4 / 2**20
    assert ours == pytest.approx(megabytes, rel=0.01)
