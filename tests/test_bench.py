"""The protocol: its laws, its self-check, and the published bicubic scores."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from PIL import ImageDraw
from rich.console import Console

from helpers.command import Run
from helpers.paths import ROOT
from srcli import bench, datasets, manifest, methods
from srcli.bench import protocols
from srcli.bench.results import read_results
from srcli.errors import DatasetError, ProtocolError, SrError
from srcli.imaging.pixels import Pixels, from_uint8
from srcli.report import formatters
from srcli.report.table import TableOptions

# ../shared/protocol.md, RGB convention, and the published means of BSD100.
BICUBIC = {
    "Set5": (33.673, 30.403, 28.429),
    "Set14": (30.230, 27.537, 25.994),
    "BSD100": (29.560, 27.209, 25.961),
}


@pytest.mark.parity
@pytest.mark.parametrize(("name", "scale"), [(name, scale) for name in BICUBIC for scale in (2, 3, 4)])
def test_bicubic_rows_of_the_protocol(name: str, scale: int, shared: Path) -> None:
    pictures = datasets.open_folder(shared / "data" / name).read_pictures()
    row = bench.evaluate(methods.load_method("bicubic", scale), pictures, scale)
    assert row.psnr_y == pytest.approx(BICUBIC[name][scale - 2], abs=0.005)


BUNDLED = [entry for entry in manifest.load() if entry.bundled]


@pytest.mark.parity
@pytest.mark.parametrize("entry", BUNDLED, ids=lambda entry: entry.name)
def test_bundled_weights_score_what_the_manifest_says(entry: manifest.Entry, shared: Path) -> None:
    pictures = datasets.open_folder(shared / "data" / "Set5").read_pictures()
    row = bench.evaluate(methods.load_method(entry.model, entry.scale), pictures, entry.scale)
    expected = entry.expect["Set5"]
    assert row.psnr_y == pytest.approx(expected["psnr_y"], abs=0.005)
    assert row.ssim_y == pytest.approx(expected["ssim_y"], abs=0.0005)
    # New weights may not be worse than these; those for degraded photographs have another purpose.
    least = {
        "fsrcnn": (36.8, 32.7, 30.6),
        "ecbsr": (37.3, 33.4, 31.1),
        "espcn": (36.2, 32.2, 30.1),
        "slimres": (37.53, 33.66, 31.35),  # VDSR's
    }
    assert entry.purpose != "classical" or row.psnr_y >= least[entry.model][entry.scale - 2]


@pytest.mark.parametrize("model", ["slimres", "ecbsr", "photo", "photo-lite", "anime"])
def test_flat_parts_of_a_drawing_stay_flat(model: str) -> None:
    """Its edges are harder than those of any downscaled photograph: a network may have never seen such."""
    picture = PilImage.new("RGB", (72, 72), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((8, 8, 62, 62), outline="black", width=2, fill=(240, 200, 80))
    pen.line((0, 70, 71, 20), fill="red")
    samples = np.asarray(picture)
    spread = cv2.dilate(samples, np.ones((9, 9))) - cv2.erode(samples, np.ones((9, 9)))
    flat = spread.max(2) == 0
    assert flat.mean() > 0.4
    for entry in (each for each in BUNDLED if each.model == model):
        large = methods.load_method(model, entry.scale)(from_uint8(samples), entry.scale)
        change = np.abs(large - from_uint8(samples).repeat(entry.scale, 0).repeat(entry.scale, 1)) * 255
        assert change[flat.repeat(entry.scale, 0).repeat(entry.scale, 1)].max() < 9


def test_manifest_and_result_file_agree() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "bundled.json").read_text())["rows"]
    measured = {(r["method"], r["scale"], r["dataset"]): r["psnr_y"] for r in rows}
    for entry in BUNDLED:
        for dataset, figures in entry.expect.items():
            assert figures["psnr_y"] == pytest.approx(measured[entry.model, entry.scale, dataset], abs=1e-4)


@pytest.mark.slow
def test_the_network_beats_bicubic_on_the_samples() -> None:
    results = bench.run(bench.BenchRequest(scales=(2, 3, 4), models=("fsrcnn",)))
    assert len(results.rows) == 12
    for bicubic, network in zip(results.rows[2::4], results.rows[3::4], strict=True):
        assert (bicubic.method, network.method) == ("bicubic", "fsrcnn")
        assert network.psnr_y > bicubic.psnr_y + 0.5
        assert network.ssim_y > bicubic.ssim_y


def test_scores_of_known_differences() -> None:
    black = np.zeros((20, 20, 3), np.float32)
    white = np.ones_like(black)
    assert bench.score(black, white, 2).psnr_y == pytest.approx(20 * np.log10(255 / 219))
    assert bench.score(black, white, 2, grey=True).psnr_y == pytest.approx(0)
    framed = white.copy()
    framed[:3] = framed[:, :3] = framed[-3:] = framed[:, -3:] = 0
    assert bench.score(framed, white, 3).psnr_y == float("inf")


def test_scoring_quantises() -> None:
    flat = np.full((20, 20, 3), 100 / 255, np.float32)
    assert bench.score(flat + np.float32(0.4 / 255), flat, 2).psnr_y == float("inf")
    assert np.isfinite(bench.score(flat + np.float32(0.6 / 255), flat, 2).psnr_y)


def test_images_too_small_for_ssim_are_named() -> None:
    with pytest.raises(DatasetError, match="too small"):
        bench.score(*[np.zeros((12, 40, 3), np.float32)] * 2, 2)


EVERYTHING = TableOptions(published=True, stats=True)


def row(psnr_y: float = 33.673, **changes: object) -> bench.Row:
    figures = {"psnr_y": psnr_y, "ssim_y": 0.93}
    return replace(bench.Row("Set5", 2, "bicubic", 5, figures, 0.1, 0), **changes)


def test_bench_refuses_a_set5_that_is_not_the_papers() -> None:
    bench.check_set5(row())
    bench.check_set5(row(psnr_y=33.69))
    bench.check_set5(row(dataset="mine", psnr_y=20.0))
    with pytest.raises(ProtocolError, match=r"33\.700 dB, but protocol y-crop says 33\.673"):
        bench.check_set5(row(psnr_y=33.70))


def test_a_false_set5_is_refused_before_the_work(photos: Path, tmp_path: Path, sr: Run) -> None:
    for name in ("a", "b"):
        shutil.copy(photos / "coffee.png", photos / f"{name}.png")
    done = sr("bench", "-d", f"Set5={photos}", "-x3", "--save", tmp_path / "kept")
    assert (done.code, done.out) == (1, "")
    assert "error: bicubic x3 on Set5 gives" in done.err
    assert not (tmp_path / "kept").exists()


def test_bench_refuses_before_it_prints(
    photos: Path, tmp_path: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a wrong reduction (no antialiasing, as many ports have it) no figure comes out."""

    def wrong(hr: Pixels, scale: int) -> Pixels:
        return hr[::scale, ::scale]

    spoiled = replace(protocols.PROTOCOLS["y-crop"], reduce=wrong)
    monkeypatch.setitem(protocols.PROTOCOLS, "y-crop", spoiled)
    done = sr("bench", "-d", photos, "-x2", "-m", "bicubic", "--json", tmp_path / "r.json")
    assert done.code == 1
    assert done.out == ""
    assert "error: bicubic x2 on the samples gives" in done.err
    assert not (tmp_path / "r.json").exists()


def results() -> bench.Results:
    figures = {"psnr_y": float("inf"), "ssim_y": 1.0}
    image = bench.ImageScore("Set5", 2, "bicubic", "baby", figures, 0.1)
    return bench.Results((row(), row(scale=3, method="fsrcnn", params=12809)), (image,))


def test_json_follows_its_schema() -> None:
    raw = json.loads(formatters.to_json(results()))
    assert set(raw) == {"protocol", "columns", "conditions", "rows", "images", "failures"}
    assert raw["protocol"] == "y-crop"
    assert raw["rows"][0] == {
        "dataset": "Set5", "scale": 2, "method": "bicubic", "images": 5, "psnr_y": 33.673, "ssim_y": 0.93,
        "seconds_per_image": 0.1, "params": 0,
    }  # fmt: skip
    assert raw["images"][0]["psnr_y"] is None


def test_json_can_be_read_again(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(formatters.to_json(results(), EVERYTHING))
    assert read_results(tmp_path / "r.json") == results()
    for text in ("", "[]", "{}", '{"protocol": "y-crop", "rows": [{}]}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(SrError, match=r"bad\.json holds no results"):
            read_results(tmp_path / "bad.json")


def test_csv_and_markdown_and_terminal_have_a_line_a_row() -> None:
    lines = list(csv.DictReader(io.StringIO(formatters.to_csv(results()))))
    assert [line["method"] for line in lines] == ["bicubic", "fsrcnn"]
    assert float(lines[0]["psnr_y"]) == 33.673
    assert "| Set5 | x3 | fsrcnn | 33.67 | 0.9300 | 0.100 | 12,809 |" in formatters.format_markdown(results())
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(formatters.format_terminal(results(), EVERYTHING, 80))
    text = console.export_text()
    assert "12,809" in text
    assert max(map(len, text.splitlines())) <= 80


def test_validation_counts_parameters() -> None:
    torch.manual_seed(0)
    assert methods.load_method("fsrcnn", 2).params == 12_809


def test_json_can_go_to_stdout(photos: Path, tmp_path: Path, sr: Run) -> None:
    command = ("bench", "-d", photos, "-x2", "-m", "bicubic")
    done = sr(*command, "--json", "-")
    assert done.code == 0, done.err
    assert sr(*command, "--json", tmp_path / "r.json").code == 0
    to_file, to_stdout = json.loads((tmp_path / "r.json").read_text()), json.loads(done.out)
    assert [row["method"] for row in to_stdout["rows"]] == [row["method"] for row in to_file["rows"]]
    assert [row["psnr_y"] for row in to_stdout["rows"]] == [row["psnr_y"] for row in to_file["rows"]]
    for option, start in (("--csv", "protocol,dataset,scale"), ("--latex", "%")):
        assert sr("bench", "--from", tmp_path / "r.json", option, "-").out.startswith(start)
    both = ("--csv", "-", "--latex", "-")
    for words, message in ((both, "only one format"), (("--html", "-"), "can go to stdout")):
        done = sr("bench", "--from", tmp_path / "r.json", *words)
        assert (done.code, message in done.err, Path("-").exists()) == (2, True, False)
