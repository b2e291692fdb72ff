"""Look-up tables: sampled from networks, written, recognised, and run as the networks run, without torch."""

import itertools
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from helpers.command import Run
from helpers.paths import SAMPLES
from srcli import archs, methods
from srcli.engine.device import Device
from srcli.engine.runtimes.lut import prepare_tables
from srcli.engine.runtimes.torch import prepare
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights import lut as tables
from srcli.errors import SrError, UsageError, WeightsError
from srcli.imaging import lut
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import Pixels

SRLUT: list[dict[str, Any]] = [{}, {"kernel": "f"}, {"kernel": "v"}]
SPLUT: list[dict[str, Any]] = [{}, {"size": "m"}, {"size": "s"}]
ALL = [(arch, config) for arch, found in (("srlut", SRLUT), ("splut", SPLUT)) for config in found]


def network(arch: str, scale: int, config: dict[str, Any]) -> Any:
    return cached_network(arch, scale, tuple(config.items()))


def sampled(arch: str, scale: int, config: dict[str, Any]) -> dict[str, lut.Table]:
    return cached_tables(arch, scale, tuple(config.items()))


@cache
def cached_tables(arch: str, scale: int, config: tuple[tuple[str, Any], ...]) -> dict[str, lut.Table]:
    return tables.sample_tables(cached_network(arch, scale, config))


@cache
def cached_network(arch: str, scale: int, config: tuple[tuple[str, Any], ...]) -> Any:
    """With random weights that let values between tables go up and down by a few levels."""
    torch.manual_seed(0)
    made = archs.build(arch, scale, dict(config)).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            last = weight.ndim > 1 and weight.shape[0] != 64
            weight.mul_(0.3 if last and "c" in name else 1).add_(0.1 if weight.ndim == 1 else 0)
    return made


def by_torch(made: Any, scale: int, pixels: Pixels) -> Pixels:
    return Upscaler(prepare(made, scale, Device("cpu", "float32", "test")), scale)(pixels)


def by_table(spec: archs.Spec, pixels: Pixels) -> Pixels:
    return tables.build_upscaler(spec, sampled(spec.arch, spec.scale, spec.config))(pixels)


def levels(rng: np.random.Generator, height: int, width: int, step: int = 1) -> Pixels:
    """Random 8-bit pixels whose levels are multiples of `step`."""
    return (rng.integers(0, 256 // step, (height, width, 3)) * step).astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("config", SRLUT)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_srlut_is_its_network_at_the_samples(
    config: dict[str, Any], scale: int, rng: np.random.Generator
) -> None:
    made = network("srlut", scale, config)
    pixels = levels(rng, 23, 31, made.interval)
    expected = by_torch(made, scale, pixels)
    found = by_table(archs.Spec("srlut", scale, config), pixels)
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("config", SRLUT)
def test_srlut_is_close_to_its_network_between_the_samples(config: dict[str, Any]) -> None:
    made = network("srlut", 4, config)
    pixels = read_image(SAMPLES / "coffee.png").pixels[:90, :120]
    found = by_table(archs.Spec("srlut", 4, config), pixels)
    assert psnr(found, by_torch(made, 4, pixels)) > 45


@pytest.mark.parametrize(("config", "scale"), [*((config, 4) for config in SPLUT), ({"size": "s"}, 2)])
def test_splut_is_its_network_everywhere(
    config: dict[str, Any], scale: int, rng: np.random.Generator
) -> None:
    made = network("splut", scale, config)
    pixels = levels(rng, 13, 17)
    expected = by_torch(made, scale, pixels)
    found = by_table(archs.Spec("splut", scale, config), pixels)
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-5)


@given(inputs=st.integers(2, 4), samples=st.sampled_from([2, 3, 5, 9]), seed=st.integers(0, 99))
def test_interpolation_is_exact_for_affine_tables_and_at_samples(
    inputs: int, samples: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    slopes = rng.uniform(-1, 1, (inputs, 3))
    grid = np.stack(np.meshgrid(*[np.arange(samples)] * inputs, indexing="ij"), -1)
    cells = rng.uniform(0, samples - 1, (inputs, 50)).astype(np.float32)
    affine = (grid @ slopes).astype(np.float32)
    np.testing.assert_allclose(lut._interpolate(affine, cells), cells.T @ slopes, atol=1e-5)
    table = rng.uniform(-1, 1, affine.shape).astype(np.float32)
    whole = np.floor(cells)
    np.testing.assert_array_equal(lut._interpolate(table, whole), table[tuple(whole.astype(int))])


def test_interpolation_takes_the_corners_on_the_way_of_falling_fractions(rng: np.random.Generator) -> None:
    """Formula of the paper's Table 3, by one order of the fractions after the other."""
    table = rng.uniform(-1, 1, (3, 3, 3, 3, 2)).astype(np.float32)
    for order in itertools.permutations(range(4)):
        fractions = np.empty(4, np.float32)
        fractions[list(order)] = (0.75, 0.5, 0.25, 0.125)
        corner = np.ones(4, int)
        expected = 0.25 * table[tuple(corner)]
        for axis, share in zip(order, (0.25, 0.25, 0.125, 0.125), strict=True):
            corner[axis] += 1
            expected = expected + share * table[tuple(corner)]
        (found,) = lut._interpolate(table, 1 + fractions[:, None])
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("arch", "config"), ALL)
@settings(max_examples=10, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), tile=st.integers(5, 30))
def test_tables_in_tiles_equal_the_whole(
    arch: str, config: dict[str, Any], height: int, width: int, tile: int
) -> None:
    enlarger = random_tables(arch, config)
    pixels = levels(np.random.default_rng(height * 41 + width), height, width)
    whole = Upscaler(prepare_tables(enlarger), 2, 512)(pixels)
    assert whole.shape == (height * 2, width * 2, 3)
    np.testing.assert_array_equal(Upscaler(prepare_tables(enlarger), 2, tile)(pixels), whole)


def random_tables(arch: str, config: dict[str, Any]) -> lut.LutUpscaler:
    return cached_random_tables(arch, tuple(config.items()))


@cache
def cached_random_tables(arch: str, config: tuple[tuple[str, Any], ...]) -> lut.LutUpscaler:
    """Small ones for SR-LUT, with few samples; SPLUT's have always 16."""
    rng = np.random.default_rng(1)

    def table(*shape: int) -> NDArray[np.int8]:
        return rng.integers(-127, 128, shape).astype(np.int8)

    if arch == "srlut":
        inputs = {"s": 4, "f": 3, "v": 2}[dict(config).get("kernel", "s")]
        return lut.SrLut(table(*[5] * inputs, 2, 2))
    shapes = {
        name: (*found.shape[:-1], 4 if "_c" in name else found.shape[-1])
        for name, found in cached_tables("splut", 4, config).items()
    }
    units = {name + lut.UNIT: np.full(shape[-1:], 0.05, np.float32) for name, shape in shapes.items()}
    return lut.Splut({name: table(*shape) for name, shape in shapes.items()} | units)


# Bytes of the tables in the papers: in KiB and MiB, though they write KB and MB.
SIZES: list[tuple[str, dict[str, Any], float]] = [
    ("srlut", {}, 1.274 * 2**20),
    ("srlut", {"kernel": "f"}, 77 * 2**10),
    ("srlut", {"kernel": "v"}, 1 * 2**20),
    ("splut", {}, 18 * 2**20),
    ("splut", {"size": "m"}, 7 * 2**20),
    ("splut", {"size": "s"}, 5.5 * 2**20),
]


@pytest.mark.parametrize(("arch", "config", "size"), SIZES)
def test_a_table_file_has_the_papers_size_and_says_what_it_is(
    arch: str, config: dict[str, Any], size: float, tmp_path: Path
) -> None:
    path, spec = tmp_path / "t.safetensors", archs.Spec(arch, 4, config)
    tables.save_tables(path, sampled(arch, 4, config), spec)
    assert path.stat().st_size == pytest.approx(size, rel=0.01)
    assert tables.is_table(path)
    assert tables.read_tables(path)[0] == spec


@pytest.mark.parametrize(("arch", "config"), ALL)
def test_a_table_from_a_file_enlarges_as_its_network(
    arch: str, config: dict[str, Any], tmp_path: Path
) -> None:
    path, made = tmp_path / "t.safetensors", network(arch, 4, config)
    tables.save_tables(path, sampled(arch, 4, config), archs.Spec(arch, 4, config), "float32")
    pixels = read_image(SAMPLES / "chelsea.png").pixels[100:140, 120:170]
    step = made.interval if arch == "srlut" else 1
    pixels = np.floor(pixels * 255 / step) * np.float32(step) / np.float32(255)
    found = methods.load_method_file(path, 4)
    assert found.identified_as == str(archs.Spec(arch, 4, config))
    assert psnr(found(pixels, 4), np.clip(by_torch(made, 4, pixels), 0, 1)) > 90


@pytest.mark.parametrize(("arch", "config"), ALL)
def test_int8_is_within_half_a_unit(arch: str, config: dict[str, Any], tmp_path: Path) -> None:
    path, exact = tmp_path / "t.safetensors", sampled(arch, 4, config)
    tables.save_tables(path, exact, archs.Spec(arch, 4, config))
    _, found = tables.read_tables(path)
    for name, table in exact.items():
        unit = found.get(name + lut.UNIT, np.full(1, 1 / 127, np.float32))
        assert found[name].dtype == np.int8
        assert (np.abs(found[name] * unit - table) <= 0.501 * unit).all()


@pytest.mark.parametrize("samples", [17, 9, 5])
@pytest.mark.parametrize(("inputs", "config"), [(4, {}), (3, {"kernel": "f"}), (2, {"kernel": "v"})])
def test_an_array_is_known_by_its_shape(
    samples: int, inputs: int, config: dict[str, Any], tmp_path: Path
) -> None:
    if (samples, inputs) == (9, 2):
        pytest.skip("9**2 is 3**4")
    np.save(tmp_path / "t.npy", np.zeros((samples**inputs, 1, 3, 3), np.int8))
    spec, found = tables.read_tables(tmp_path / "t.npy")
    assert spec == archs.Spec("srlut", 3, config)
    assert found["table"].shape == (samples,) * inputs + (3, 3)


@pytest.mark.parametrize("config", SRLUT)
def test_srlut_is_written_as_its_authors_do(config: dict[str, Any], tmp_path: Path) -> None:
    spec = archs.Spec("srlut", 4, config)
    for name in ("t.npy", "t.safetensors"):
        tables.save_tables(tmp_path / name, sampled("srlut", 4, config), spec)
    (one, array), (two, own) = (tables.read_tables(tmp_path / name) for name in ("t.npy", "t.safetensors"))
    assert one == two == spec
    np.testing.assert_array_equal(array["table"], own["table"])
    with pytest.raises(UsageError, match="cannot hold all"):
        tables.save_tables(tmp_path / "u.npy", sampled("splut", 4, {"size": "s"}), archs.Spec("splut", 4))


def test_arrays_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.npy"
    bad = [
        np.zeros((83521, 1, 2, 3), np.int8),
        np.zeros((83520, 1, 2, 2), np.int8),
        np.zeros((83521, 2, 2), np.int8),
        np.zeros((6561, 1, 2, 2), np.complex64),
        np.zeros((), np.int8),
        np.array([{"an": "object"}], dtype=object),
    ]
    for array in bad:
        np.save(path, array, allow_pickle=True)
        with pytest.raises(WeightsError, match=r"t\.npy"):
            tables.read_tables(path)
    np.save(path, np.zeros((6561, 1, 2, 2), np.int8))
    whole = path.read_bytes()
    for content in (b"", b"\x80\x04N.", whole[:50], whole[:-1], b"PK\x03\x04" + whole):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"t\.npy"):
            tables.read_tables(path)
    with pytest.raises(WeightsError, match="does not exist"):
        tables.read_tables(tmp_path / "missing.npy")


def test_files_of_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "t.safetensors"
    tables.save_tables(path, sampled("splut", 4, {"size": "s"}), archs.Spec("splut", 4, {"size": "s"}))
    _, found = tables.read_tables(path)
    header = {"kind": "table", "arch": "splut", "scale": "4", "config": "{}"}
    first = "lower.lut212_c34"
    for content, change in (
        ({name: table for name, table in found.items() if name != first}, {}),
        ({name: table for name, table in found.items() if name != first + lut.UNIT}, {}),
        ({**found, first: found[first][..., :-1]}, {}),
        ({**found, first: found[first].astype(np.float64)}, {}),
        ({**found, first + lut.UNIT: np.ones(5, np.float32)}, {}),
        ({**found, first + lut.UNIT: np.full(16, np.nan, np.float32)}, {}),
        (found, {"scale": "3"}),
        (found, {"arch": "srlut"}),
        (found, {"arch": "edsr"}),
        (found, {"scale": "two"}),
    ):
        save_file({k: np.ascontiguousarray(v) for k, v in content.items()}, path, {**header, **change})
        with pytest.raises(WeightsError, match=r"t\.safetensors"):
            tables.read_tables(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"t\.safetensors"):
        tables.read_tables(path)


def test_only_networks_of_few_pixels_can_be_tabulated(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too large for a table"):
        tables.export_tables(tmp_path / "t.safetensors", archs.build("espcn", 2), archs.Spec("espcn", 2))
    assert not list(tmp_path.iterdir())
    for arch, config in (("srlut", {"kernel": "x"}), ("splut", {"size": "xl"})):
        with pytest.raises(UsageError, match=f"{arch} has no"):
            archs.build(arch, 2, config)


def test_a_table_is_a_weight_file_for_every_command(sr: Run, in_tmp: Path, photo: Path, photos: Path) -> None:
    table = in_tmp / "table.safetensors"
    tables.export_tables(table, network("srlut", 2, {"kernel": "f"}), archs.Spec("srlut", 2, {"kernel": "f"}))
    done = sr("upscale", photo, "-x2", "--arch", "srlut", "--weights", table, "-o", in_tmp / "out.png")
    assert done.code == 0, done.err
    assert "identified as srlut x2 (kernel=f), on cpu (a table)" in done.err
    assert read_image(in_tmp / "out.png").size == (160, 120)
    assert sr("upscale", photo, "-x4", "--weights", table, "-o", in_tmp / "four.png").code == 0
    assert read_image(in_tmp / "four.png").size == (320, 240)
    done = sr("bench", "-d", photos, "-x2", "-w", table)
    assert done.code == 0, done.err
    assert "table" in done.out
    assert sr("compare", photo, "--hr", "-x2", "-m", "bicubic", "-w", table, "-o", "c.png").code == 0
    done = sr("models", "info", table)
    assert done.code == 0
    assert "a look-up table of srlut x2 (kernel=f)" in done.out


def test_a_table_asked_for_what_it_cannot_is_told_in_one_line(sr: Run, in_tmp: Path, photo: Path) -> None:
    np.save("t.npy", np.zeros((6561, 1, 2, 2), np.int8))
    np.save("bad.npy", np.zeros((6561, 1, 2, 3), np.int8))
    for words in (
        ("upscale", photo, "-x2", "-w", "t.npy", "-m", "edsr"),
        ("upscale", photo, "-x2", "-w", "t.npy", "--device", "cuda"),
        ("upscale", photo, "-x2", "-w", "bad.npy"),
        ("upscale", photo, "-x2", "-w", "none.npy"),
        ("models", "info", "bad.npy"),
        ("train", "srlut", "-x2", "--from", "t.npy", "--data", photo.parent, "--out", "run"),
    ):
        done = sr(*words)
        assert done.code != 0, words
        assert "error:" in done.err, words
        assert "Traceback" not in done.err
    assert not list(in_tmp.glob("*_x2*"))


@pytest.mark.parametrize("arch", ["srlut", "splut"])
def test_a_table_needs_no_torch(arch: str, tmp_path: Path) -> None:
    table, picture, out = tmp_path / "t.safetensors", tmp_path / "p.png", tmp_path / "o.png"
    config = {"size": "s"} if arch == "splut" else {}
    tables.save_tables(table, sampled(arch, 4, config), archs.Spec(arch, 4, config))
    write_image(picture, Image(read_image(SAMPLES / "chelsea.png").pixels[:20, :30]))
    code = (
        "import sys\nfrom srcli.cli.app import run\n"
        f"code = run(['upscale', {str(picture)!r}, '-x4', '-w', {str(table)!r}, '-o', {str(out)!r}])\n"
        "sys.exit(code or ('torch' in sys.modules and 'torch was imported'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_image(out).size == (120, 80)


def test_memory_that_runs_out_is_answered_by_smaller_tiles(rng: np.random.Generator) -> None:
    class Small(lut.SrLut):
        def __call__(self, pixels: Pixels) -> Pixels:
            if len(pixels) > 50:
                raise MemoryError
            return super().__call__(pixels)

    table = rng.integers(-127, 128, (5, 5, 2, 2)).astype(np.int8)
    pixels = levels(rng, 120, 20)
    found = Upscaler(prepare_tables(Small(table)), 2)(pixels)
    np.testing.assert_array_equal(found, lut.SrLut(table)(pixels))
    with pytest.raises(SrError, match="does not fit into memory"):
        next(prepare_tables(Small(table)).run([pixels]))


@pytest.mark.parity
def test_published_tables_gain_on_bicubic_and_run_in_four_turns(shared: Path) -> None:
    """SR-LUT-S x2, for which no paper has a figure: 1.85 dB above bicubic on Set5."""
    from srcli import bench, datasets

    pictures = list(datasets.open_folder(shared / "data" / "Set5").read_pictures())
    table = methods.load_method_file(shared / "weights" / "srlut-s-x2.npy", 2)
    gain = (
        bench.evaluate(table, pictures, 2).psnr_y
        - bench.evaluate(methods.load_method("bicubic", 2), pictures, 2).psnr_y
    )
    assert gain > 1.8
    pixels = read_image(SAMPLES / "coffee.png").pixels[:30, :40]
    np.testing.assert_allclose(np.rot90(table(np.rot90(pixels), 2), -1), table(pixels, 2), atol=1e-6)
