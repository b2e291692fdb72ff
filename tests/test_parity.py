"""Published weights, and other implementations, through our networks: the same figures must come out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.paths import SAMPLES
from srcli import archs, bench, datasets, methods
from srcli.engine.tiles import DEFAULT_TILE
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights import files
from srcli.imaging.image import read_image
from srcli.imaging.metrics.full_reference import psnr
from tools import foreign_parity, parity

# Those that take longer than a few seconds on one core.
SLOW = {"dat", "drrn", "vdsr", "rrdbnet"}


def _about(row: parity.Row) -> bool:
    """DRRN takes two minutes for each scale: only `make parity` measures it."""
    return bool(row.published and not row.must and row.arch != "drrn")


def rows(chosen: list[parity.Row]) -> list[Any]:
    """Rows as parameters, named after file and scale."""
    return [
        pytest.param(row, id=f"{row.file}-x{row.scale}", marks=[pytest.mark.slow] if row.arch in SLOW else [])
        for row in chosen
    ]


@pytest.mark.parity
@pytest.mark.parametrize("row", rows([row for row in parity.ROWS if row.must and row.arch != "drrn"]))
def test_published_weights_score_what_they_must(row: parity.Row, shared: Path) -> None:
    assert parity.measure(row, shared) == pytest.approx(row.must, abs=0.02)


@pytest.mark.parity
@pytest.mark.parametrize("row", rows([row for row in parity.ROWS if _about(row)]))
def test_published_weights_score_about_what_their_paper_says(row: parity.Row, shared: Path) -> None:
    """No other code has measured these files; those that are a little off their paper say why."""
    assert parity.measure(row, shared) == pytest.approx(row.published, abs=0.2 if row.note else 0.02)


@pytest.mark.parity
@pytest.mark.parametrize("row", rows([row for row in parity.ROWS if row.gan]))
def test_weights_made_to_please_stay_near_the_truth(row: parity.Row, shared: Path) -> None:
    assert parity.measure(row, shared) > 24.5


@pytest.mark.parity
def test_published_espcn_loads_and_beats_bicubic(shared: Path) -> None:
    """The file is called RGB, but its network was trained on YCbCr: fed so it gains 1.4 dB, not 0.5."""
    (row,) = (row for row in parity.ROWS if row.way == "ycbcr")
    pictures = datasets.open_folder(shared / "data" / "Set5").read_pictures()
    assert (
        parity.measure(row, shared)
        > bench.evaluate(methods.load_method("bicubic", 3), pictures, 3).psnr_y + 1
    )


@pytest.mark.parity
@pytest.mark.slow
def test_attention_over_tiles_is_close_to_attention_over_the_image(shared: Path) -> None:
    (row,) = (row for row in parity.ROWS if row.file == "imdn-x4.pth")
    runtime = parity.upscaler(row, shared).runtime
    pixels = read_image(SAMPLES / "coffee.png").pixels
    whole, tiled = (Upscaler(runtime, row.scale, tile)(pixels) for tile in (1024, DEFAULT_TILE))
    assert psnr(tiled, whole) >= 50


@pytest.mark.parity
@pytest.mark.parametrize("row", rows(list(parity.ROWS)))
def test_every_row_is_of_a_file_that_is_there(row: parity.Row, shared: Path) -> None:
    assert (shared / "weights" / row.file).is_file()


def test_measured_figures_are_within_their_tolerance() -> None:
    for row in parity.load():
        if row.must:
            assert row.measured == pytest.approx(row.must, abs=0.02), row.file


def test_liif_is_within_a_tenth_or_better_than_its_encoder_in_edsr() -> None:
    """Its paper prints no Set5 for EDSR's encoder; EDSR's own, one for each scale, is its class."""
    edsr = {2: 37.99, 3: 34.37, 4: 32.09}
    found = {row.scale: row.measured for row in parity.load() if row.arch == "liif"}
    assert found.keys() == edsr.keys()
    for scale, measured in found.items():
        assert measured is not None
        assert edsr[scale] - 0.1 < measured < edsr[scale] + 0.2


HUB: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "Edsr": ("edsr", {}, {}),
    "Mdsr": ("mdsr", {}, {"blocks": 32, "res_scale": 0.1, "kernel": 3, "span": 1.0, "mean": 0.0}),
    "Carn": ("carn", {}, {"tails": [2, 3, 4]}),
    "Rcan": (
        "rcan",
        {"n_resgroups": 2, "n_resblocks": 2, "bam": True},
        {"groups": 2, "blocks": 2, "bam": True, "span": 1.0},
    ),
    "Han": ("han", {"n_resblocks": 1}, {"blocks": 1, "span": 1.0}),
}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", sorted(HUB))
def test_networks_of_the_hub_are_those_of_super_image(name: str, scale: int, tmp_path: Path) -> None:
    """Its Hub files are the state of its own classes: with any weights, ours must compute the same."""
    pytest.importorskip("h5py", exc_type=ImportError)
    super_image = pytest.importorskip("super_image", exc_type=ImportError)
    arch, theirs, ours = HUB[name]
    torch.manual_seed(0)
    config = getattr(super_image, f"{name}Config")(scale=scale, **theirs)
    model = getattr(super_image, f"{name}Model")(config).eval()
    for weight in model.parameters():
        # Not the mean shifts, which are numbers and not learned; gates that begin as zero get opened.
        weight.data += 0.1 * (weight == 0).all()
    path = tmp_path / "pytorch_model.pt"
    torch.save({f"module.{key}": value for key, value in model.state_dict().items()}, path)
    network = files.load_network(path, archs.Spec(arch, scale, ours)).eval()
    batch = torch.rand(2, 3, 17, 20)
    with torch.no_grad():
        torch.testing.assert_close(network(batch), model(batch), atol=1e-5, rtol=1e-5)


def test_files_of_other_programs_score_like_their_network_by_torch() -> None:
    """As last measured: an ONNX file, a graph of TensorFlow, and pairs of both families of ncnn."""
    rows = json.loads(foreign_parity.RESULTS.read_text())["rows"]
    assert {Path(row["file"]).suffix for row in rows} == {".onnx", ".pb", ".param"}
    assert {row["identity"].split()[0] for row in rows} >= {"srvgg", "rrdbnet", "cunet", "upconv7"}
    compared = [row for row in rows if row["by_torch"]]
    assert len(compared) >= 6
    assert all(row["measured"] == pytest.approx(row["by_torch"], abs=0.02) for row in compared)
