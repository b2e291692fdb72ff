"""`sr compare`: sheets, pages and pictures in the terminal; errors are reported before any method runs."""

import base64
import io
import os
import pty
import re
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.command import Run
from helpers.paths import SAMPLES
from srcli import methods
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.pixels import Pixels, from_uint8, to_uint8
from srcli.imaging.resize import KERNELS, resize
from srcli.report import CompareRequest, charts, compare, compare_events, embed, rating_page, terminal
from srcli.report.compare_page import MethodSummary, Scene, SceneResult
from srcli.report.comparisons import Comparison, MethodResult, find_differences
from srcli.report.pictures import Panel, Region

FAST = ("-m", "nearest", "-m", "bicubic")


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """No method may run."""

    def run(*_: object) -> None:
        raise AssertionError("a method ran")

    monkeypatch.setattr(methods.Method, "__call__", run)


def test_by_default_a_sheet_and_a_page_are_made(photo: Path, in_tmp: Path, sr: Run) -> None:
    done = sr("compare", photo, "--hr", "-x2", *FAST)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-2:] == ["compare.png", "compare.html"]
    assert read_image(Path("compare.png")).size[0] > 480
    again = sr("compare", photo, "--hr", "-x2", *FAST)
    assert again.code == 2
    assert "compare.png exists" in again.err


def test_a_comparison_from_python_reports_every_image(photos: Path, tmp_path: Path) -> None:
    seen: list[object] = []
    sheet = tmp_path / "sheet.png"
    request = CompareRequest((photos,), (sheet,), 2, ("nearest", "bicubic"), is_truth=True)
    assert compare(request, seen.append) == (sheet,)
    compared = [event for event in seen if isinstance(event, compare_events.ImageCompared)]
    assert [event.name for event in compared] == ["astronaut.png", "chelsea.png", "coffee.png"]
    for event in compared:
        nearest, bicubic = (result.score for result in event.results)
        assert nearest is not None
        assert bicubic is not None
        assert bicubic.psnr_y > nearest.psnr_y
    assert seen[-1] == compare_events.FileWritten(sheet)
    assert read_image(sheet).size[0] > 480


def read_figure_texts(path: Path) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]*)</text>", path.read_text("utf-8"))


def test_a_figure_for_a_paper_has_captions_scores_and_a_box(photos: Path, in_tmp: Path, sr: Run) -> None:
    pytest.importorskip("matplotlib")
    pictures = (photos / "astronaut.png", photos / "coffee.png")
    command = ["compare", *pictures, "--hr", "-x2", *FAST]
    done = sr(*command, "-o", "f.svg", "-o", "f.pdf")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-2:] == ["f.svg", "f.pdf"]
    text = Path("f.svg").read_text("utf-8")
    scores = [f"{psnr} / {ssim}" for psnr, ssim in re.findall(r"([\d.]+) dB  SSIM ([\d.]+)", done.out)]
    assert read_figure_texts(Path("f.svg")) == [
        "astronaut.png, x2", "nearest", scores[0], "bicubic", scores[1], "truth", "PSNR / SSIM",
        "coffee.png, x2", "nearest", scores[2], "bicubic", scores[3], "truth", "PSNR / SSIM",
    ]  # fmt: skip
    bold = re.findall(r"<text style=\"[^\"]*(?:bold|700)[^\"]*\"[^>]*>([^<]*)</text>", text)
    assert bold == [scores[1], scores[3]]
    assert text.count("<image ") == 8
    assert text.count("#e3120b") == 2  # the boxes
    assert Path("f.pdf").read_bytes().startswith(b"%PDF")
    assert sr(*command, "-o", "again.svg").code == 0
    assert Path("again.svg").read_bytes() == Path("f.svg").read_bytes()


def test_a_figure_without_truth_has_no_scores(photo: Path, in_tmp: Path, sr: Run) -> None:
    pytest.importorskip("matplotlib")
    models = [word for kernel in list(KERNELS)[:6] for word in ("-m", kernel)]
    assert sr("compare", photo, "-x2", *models, "-o", "f.svg").code == 0
    assert read_figure_texts(Path("f.svg")) == [f"{photo.name}, input of x2", *list(KERNELS)[:6]]


def test_a_figure_needs_matplotlib(
    photo: Path, in_tmp: Path, sr: Run, never: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = sr("compare", photo, "--hr", "-x2", *FAST, "-o", "f.pdf")
    assert done.code == 1
    assert done.err == "error: figures as PDF or SVG need matplotlib\nhint: `pip install 'sr-cli[plots]'`\n"


def test_a_page_has_all_in_it_and_asks_for_nothing(photos: Path, in_tmp: Path, sr: Run) -> None:
    assert sr("compare", photos, "--hr", "-x2", *FAST, "-o", "p.html").code == 0
    text = Path("p.html").read_text("utf-8")
    held = re.sub(r'"data:[^"]*"', '""', text)
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(|<link[^>]*stylesheet|<script[^>]*src", held)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith("default-src &#39;none&#39;")
    assert "unsafe" not in policy[1]
    assert not re.search(r'\son[a-z]+="|\sstyle="', held)
    shots = re.findall(r'data-image="(\w+)" src="data:image/webp;base64,([^"]*)"', text)
    assert [name for name, _ in shots] == ["truth", "0", "1"] * 3
    true = np.asarray(PilImage.open(io.BytesIO(base64.b64decode(shots[0][1]))))
    np.testing.assert_array_equal(true, to_uint8(read_image(photos / "astronaut.png").pixels))


def test_scores_on_the_page_are_those_that_are_printed(photo: Path, in_tmp: Path, sr: Run) -> None:
    done = sr("compare", photo, "--hr", "-x2", *FAST, "-o", "p.html")
    text = Path("p.html").read_text("utf-8")
    for line in done.out.splitlines()[:2]:
        decibels, ssim = re.findall(r"\d+\.\d+", line)
        assert f">{decibels}<" in text
        assert f">{ssim}<" in text
    assert text.count('class="best"') == 2


def test_markup_in_names_is_harmless(photo: Path, in_tmp: Path, sr: Run) -> None:
    evil = "<script>alert(1)</script>&'\".png".replace("/", "\u2215")
    Path(evil).write_bytes(photo.read_bytes())
    assert sr("compare", evil, "--hr", "-x2", *FAST, "-o", "p.html").code == 0
    text = Path("p.html").read_text("utf-8")
    assert "<script>alert" not in text
    assert text.count("<script") == 2


def test_truths_are_found_by_name(photos: Path, in_tmp: Path, sr: Run) -> None:
    for path in photos.iterdir():
        pixels = read_image(path).pixels
        write_image(Path("lr") / f"{path.stem}x2.png", Image(resize(pixels, 48, 48, "bicubic").clip(0, 1)))
    done = sr("compare", "lr", "--truth", photos, "-x2", *FAST, "-o", "s.png")
    assert done.code == 0, done.err
    assert done.out.count("dB  SSIM") == 6
    (photos / "coffee.png").unlink()
    done = sr("compare", "lr", "--truth", photos, "-x2", *FAST, "-o", "t.png")
    assert done.code == 1
    assert "no ground truth for coffeex2.png" in done.err


@pytest.mark.usefixtures("never")
def test_what_is_wrong_is_said_before_the_work(photo: Path, photos: Path, in_tmp: Path, sr: Run) -> None:
    Path("hollow").mkdir()
    write_image(Path("other/chelsea.png"), Image(np.zeros((50, 60, 3), np.float32)))
    write_image(Path("other/astronaut.png"), Image(np.zeros((384, 384, 3), np.float32)))
    write_image(Path("other/coffee.png"), Image(np.zeros((384, 384, 3), np.float32)))
    write_image(Path("wide.png"), Image(np.zeros((20, 90, 3), np.float32)))
    Path("broken").mkdir()
    for path in photos.iterdir():
        (Path("broken") / path.name).write_bytes(
            path.read_bytes()[: -(path.name == "coffee.png") * 900 or None]
        )
    for arguments, message in (
        (["hollow"], "no images in hollow"),
        (["none.png"], "none.png"),
        ([photos, "--truth", "hollow"], "no ground truth for astronaut.png in hollow"),
        ([photos, "--truth", "other"], "other/chelsea.png is 60x50, not 384x384"),
        ([photos, "--truth", photo], "is one file for 3 images"),
        (["broken"], "coffee.png"),
        ([photos, "wide.png", "--crop", "10,10,40,40"], "--crop 10,10,40,40 is outside the image"),
        ([photo, "-m", "edsr", "-x", "7"], "edsr has no weights for x7"),
        ([photo, "-m", "fsrcnn", "-x5"], "it has weights for x2, x3, x4"),
        ([photo, "--rate", "-m", "bicubic"], "--rate needs at least two methods"),
        ([photo, "--rate", "-o", "x.png"], "--rate writes a page"),
        ([photo, "--pairs"], "--pairs is only for --rate"),
        ([photo, "-o", "hollow/a.txt"], "cannot write '.txt' files"),
        ([photo, "-o", "x.png", "-o", f"{photo}/x.html"], "cannot write into"),
    ):
        done = sr("compare", *arguments)
        assert done.code in (1, 2), arguments
        assert message in done.err
        assert done.err.count("\n") == 2, done.err
        assert done.out == ""
    assert not list(Path().glob("compare.*"))


@pytest.mark.usefixtures("never")
def test_a_page_too_large_for_a_browser_is_refused(
    photo: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "MAX_PIXELS", 100_000)
    done = sr("compare", photo, "-x4", *FAST, "-o", photo.with_name("p.html"))
    assert "would have 0 million pixels; the limit is 0" in done.err


def _compare(
    lr: Pixels, outputs: list[Pixels], truth: Pixels | None = None
) -> tuple[Comparison, list[MethodResult]]:
    results = [MethodResult(f"m{k}", pixels, 0.1, None) for k, pixels in enumerate(outputs)]
    return Comparison("x", lr, truth, grey=False), results


def test_places_are_where_the_methods_differ(rng: np.random.Generator) -> None:
    """The busiest place is where all agree; the two where they don't are found, the larger one first."""
    lr = np.full((90, 90, 3), 0.5, np.float32)
    lr[60:, 60:] = rng.random((30, 30, 3))
    one = lr.repeat(2, 0).repeat(2, 1)
    other = one.copy()
    other[20:40, 100:120] = 1
    other[120:140, 10:30] = 0.7
    found = find_differences(*_compare(lr, [one, other]), 4)
    assert len(found) == 2
    first, second = found
    assert first.x <= 50 <= first.x + first.width
    assert first.y <= 10 <= first.y + first.height
    assert second.x <= 10 <= second.x + second.width
    assert second.y <= 65 <= second.y + second.height
    alone = find_differences(*_compare(lr, [one]), 4)
    assert alone[0].x >= 55
    against = find_differences(*_compare(lr, [one], other), 4)
    assert against == found


def test_the_spectrum_of_a_wave_is_at_its_frequency() -> None:
    across = np.sin(2 * np.pi * 0.2 * np.arange(128))
    pixels = np.repeat(np.tile(0.5 + 0.3 * across, (128, 1))[..., None], 3, axis=2).astype(np.float32)
    frequency, power = charts.compute_spectrum(pixels)
    assert frequency[np.argmax(power)] == pytest.approx(0.2, abs=0.01)


def test_noise_has_the_same_power_everywhere(rng: np.random.Generator) -> None:
    pixels = (0.5 + 0.05 * rng.standard_normal((200, 260, 1))).repeat(3, axis=2).astype(np.float32)
    _, power = charts.compute_spectrum(pixels)
    wanted = 20 * np.log10(0.05 * 219)
    assert np.abs(power[3:] - wanted).max() < 1.5


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_the_width_of_a_blurred_edge_is_that_of_the_blur(sigma: float) -> None:
    """The slope of an edge blurred by a Gaussian is the Gaussian: 2.355 sigma wide at half its height."""
    from math import erf

    ramp = np.array([0.5 + 0.4 * erf((x - 40) / (sigma * 2**0.5)) for x in range(81)])
    pixels = np.repeat(np.tile(ramp, (80, 1))[..., None], 3, axis=2).astype(np.float32)
    found = charts.find_edges(pixels, 14)
    x, y = charts.measure_profile(pixels, found, 12)
    # Central differences widen it a little.
    assert charts.measure_half_width(x, y) == pytest.approx(2.355 * np.hypot(sigma, 0.6), rel=0.06)
    assert y.argmax() == len(y) // 2


def test_flat_images_have_no_edges_to_show(photo: Path, in_tmp: Path, sr: Run) -> None:
    write_image(Path("flat.png"), Image(np.full((40, 44, 3), 0.5, np.float32)))
    write_image(Path("dot.png"), Image(np.full((1, 1, 3), 0.5, np.float32)))
    done = sr("compare", "flat.png", "dot.png", "-x2", *FAST, "-o", "p.html", "-o", "p.png")
    assert done.code == 0, done.err
    assert "Gradient profile" not in Path("p.html").read_text("utf-8")


def test_embedded_images_have_the_very_samples(rng: np.random.Generator) -> None:
    samples = rng.integers(0, 256, (31, 45, 3)).astype(np.uint8)
    for wide in (1, 400):
        kind, _, data = embed.embed_lossless(from_uint8(np.tile(samples, (1, wide, 1)))).partition(";base64,")
        assert kind == ("data:image/webp" if wide == 1 else "data:image/png")
        back = np.asarray(PilImage.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        np.testing.assert_array_equal(back[:, :45], samples)


def _scenes(count: int) -> tuple[list[Scene], list[MethodSummary]]:
    results = tuple(SceneResult(f"data:,{k}", str(k), 0.1, None, None) for k in range(3))
    one = [Scene(f"i{k}", 8, 8, "data:,", None, results, ((0, 0, 8, 8),), ()) for k in range(count)]
    return one, [MethodSummary(name, "none", 0, "cpu") for name in ("a", "b", "c")]


@pytest.mark.parametrize("kind", ["scores", "pairs"])
def test_every_item_is_rated_in_an_order_by_the_seed(kind: str) -> None:
    scenes, _ = _scenes(4)
    first, again, other = (
        rating_page.plan_trials(scenes, rating_page.RatingTask(kind, seed)) for seed in (1, 1, 2)
    )  # type: ignore[arg-type]
    assert first == again
    assert first != other
    items, shown = first
    assert len({item.name for item in items}) == 12
    assert len(shown) == 12
    if kind == "scores":
        assert sorted(name for (name,) in shown) == sorted(item.name for item in items)
        at = {item.name: item.scene for item in items}
        assert all(at[a] != at[b] for (a,), (b,) in pairwise(shown))
    else:
        assert len({frozenset(pair) for pair in shown}) == 12


def test_a_comparison_is_known_by_what_is_compared() -> None:
    scenes, summaries = _scenes(2)
    known = rating_page.compute_identity(scenes, summaries, 4)
    assert known == rating_page.compute_identity(*_scenes(2), 4)
    assert known != rating_page.compute_identity(*_scenes(3), 4)
    assert known != rating_page.compute_identity(scenes, summaries, 2)
    assert known != rating_page.compute_identity(
        scenes, [*summaries[:2], MethodSummary("d", "none", 0, "cpu")], 4
    )


def test_half_blocks_are_the_picture(photo: Path, in_tmp: Path, sr: Run, rng: np.random.Generator) -> None:
    crop = from_uint8(rng.integers(0, 256, (24, 24, 3)).astype(np.uint8))
    text = terminal.render_blocks([Panel("a", crop, "1 dB"), Panel("b", crop)], 50)
    lines = text.split("\n")
    assert [line.plain.split() for line in lines[:2]] == [["a", "b"], ["1", "dB"]]
    assert len(lines) == 2 + 12
    style = lines[2].spans[0].style
    assert tuple(style.color.triplet) == tuple(to_uint8(crop)[0, 0])  # type: ignore[union-attr]
    done = sr("compare", photo, "--hr", "-x2", *FAST, "-o", "s.png", "--preview", "blocks")
    assert done.code == 0, done.err
    assert "▀" in done.out


def test_kitty_gets_the_sheet_in_chunks(rng: np.random.Generator) -> None:
    sheet = from_uint8(rng.integers(0, 256, (40, 60, 3)).astype(np.uint8))
    chunks = re.findall("\x1b_G([^;]*);([^\x1b]*)\x1b\\\\", terminal.render_kitty(sheet))
    assert [control for control, _ in chunks] == ["a=T,f=100,q=2,m=1", *["m=1"] * (len(chunks) - 2), "m=0"]
    assert max(len(data) for _, data in chunks) <= 4096
    held = base64.b64decode("".join(data for _, data in chunks))
    np.testing.assert_array_equal(np.asarray(PilImage.open(io.BytesIO(held))), to_uint8(sheet))


def test_sixels_are_the_picture() -> None:
    """Decoded again by the rules of the format, in 100 levels."""
    samples = np.zeros((17, 23, 3), np.uint8)
    samples[3:9, 4:20] = (255, 0, 0)
    samples[8:, :5] = (0, 255, 51)
    text = terminal.render_sixel(from_uint8(samples))
    assert text.startswith('\x1bPq"1;1;23;17#0;2;')
    palette = {int(k): [int(v) for v in rgb.split(";")] for k, rgb in re.findall(r"#(\d+);2;([\d;]+)", text)}
    body = re.sub(r'^\x1bPq"1;1;23;17|#\d+;2;[\d;]+|\x1b\\\n$', "", text)
    out = np.full((18, 23, 3), -1)
    for number, band in enumerate(body.split("-")):
        for colour, run in re.findall(r"#(\d+)([^#$]*)", band):
            codes = re.sub(r"!(\d+)(.)", lambda match: match[2] * int(match[1]), run)
            for x, code in enumerate(codes):
                for bit in range(6):
                    if (ord(code) - 63) >> bit & 1:
                        out[number * 6 + bit, x] = palette[int(colour)]
    np.testing.assert_allclose(out[:17] * 255 / 100, samples, atol=1.5)


@pytest.mark.parametrize(
    ("answer", "expected"), [(b"\x1b[?62;4;22c", True), (b"\x1b[?64;22c", False), (b"", False)]
)
def test_a_terminal_is_asked_for_sixel(
    answer: bytes, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child = pty.openpty()
    if answer:  # an answer counts however slow this machine is; only silence waits for the timeout
        monkeypatch.setattr(terminal, "_TIMEOUT", 60)
    original: Callable[..., int] = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *a: os.dup(child) if path == "/dev/tty" else original(path, *a)
    )

    def reply() -> None:
        assert os.read(parent, 10) == b"\x1b[c"
        os.write(parent, answer)

    thread = threading.Thread(target=reply)
    thread.start()
    assert terminal.has_sixel() is expected
    thread.join()
    os.close(parent)
    os.close(child)


def test_nothing_is_drawn_where_nobody_looks() -> None:
    assert terminal.detect_graphics({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}) == "none"
    assert SAMPLES.is_dir()
    assert str(Region(1, 2, 3, 4)) == "2,1,4,3"
