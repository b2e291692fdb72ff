"""The pages of `sr compare` in a real browser: painting, input and saving."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.command import wait_until
from helpers.paths import SAMPLES
from srcli.cli.app import run
from srcli.imaging.color import luma
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.metrics.full_reference import ssim
from srcli.imaging.pixels import quantise
from srcli.report import ratings
from tools import browser
from tools.browser import Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium here: apt-get install chromium"),
]
SCALE = 4
EVIL = "<img src=x onerror=alert(1)>&amp;.png"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pages of two small photographs, one of them with markup in its name."""
    folder = tmp_path_factory.mktemp("pages")
    pixels = read_image(SAMPLES / "chelsea.png").pixels
    write_image(folder / "in" / EVIL, Image(pixels[60:180, 100:260]))
    write_image(folder / "in" / "second.png", Image(pixels[100:196, 40:136]))
    common = ["compare", str(folder / "in"), "--hr", "-x4", "-m", "nearest", "-m", "bicubic", "-m", "lanczos"]
    assert run([*common, "-o", str(folder / "page.html")]) == 0
    assert run([*common, "--rate", "-o", str(folder / "scores.html")]) == 0
    assert run([*common, "--rate", "--pairs", "-o", str(folder / "pairs.html")]) == 0
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    try:
        with browser.open_page() as page:
            yield page
    except (RuntimeError, BrokenPipeError) as error:
        if "CI" in os.environ:
            raise
        pytest.skip(f"Chromium does not start here: {error}")


@pytest.fixture
def page(chromium: Page, made: Path) -> Iterator[Page]:
    """Open the comparison with decoded images; at the end there are no errors and no requests."""
    chromium.look(900, 800)
    chromium.open(made / "page.html")
    chromium.run("Promise.all([...document.images].map(image => image.decode()))")
    chromium.settle()
    yield chromium
    assert chromium.faults() == []
    assert chromium.requests() == []


def canvas(page: Page) -> np.ndarray:
    """Return the canvas as displayed, with everything on top of it; (H, W, 3)."""
    return np.asarray(PilImage.open(io.BytesIO(page.picture("#canvas"))).convert("RGB"))


def expected(made: Path, method: str) -> np.ndarray:
    """Return the first photograph upscaled by a method, in 8 bits."""
    from srcli.imaging.degrade.degradations import downscale_bicubic
    from srcli.methods import load_method

    lr = downscale_bicubic(read_image(made / "in" / EVIL).pixels, SCALE)
    return quantise(load_method(method, SCALE)(lr, SCALE)).astype(np.uint8)


def middle_of(painted: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the part of a canvas that an image covers in its middle at actual size."""
    top, left = round(painted.shape[0] / 2 - height / 2), round(painted.shape[1] / 2 - width / 2)
    return painted[top : top + height, left : left + width]


def test_the_slider_parts_the_very_pixels_of_both_methods(page: Page, made: Path) -> None:
    page.click("#one")
    x, y = page.middle("#handle")
    page.drag((x, y), (x - 30, y))
    assert page.run("state.split") == pytest.approx(0.5 - 30 / page.run("canvas.clientWidth"), abs=0.01)
    shown = middle_of(canvas(page), 120, 160)
    left, right = expected(made, "nearest"), expected(made, "lanczos")
    # Names cover the top, the slider's handle the middle.
    np.testing.assert_array_equal(shown[95:, :45], left[95:, :45])
    np.testing.assert_array_equal(shown[95:, 55:], right[95:, 55:])
    page.run("handle.focus()")
    page.key("ArrowRight")
    assert page.run("handle.getAttribute('aria-valuenow')") == str(round(page.run("state.split") * 100))


def test_a_name_with_markup_is_only_a_name(page: Page) -> None:
    assert page.run("document.querySelector('h1').textContent") == EVIL
    assert page.run("document.querySelectorAll('[onerror]').length") == 0
    assert page.run("document.querySelector('.gallery span').textContent") == EVIL


def test_wheel_and_drag_move_all_panes_alike(page: Page) -> None:
    page.key("a")
    panes = page.run("view.panes.length")
    assert panes == 4
    before = page.run("view.zoom")
    x, _ = page.middle("#canvas")
    place = page.run(f"view.pixelAt({x} - canvas.getBoundingClientRect().left - 80, 60)")
    left = page.run("canvas.getBoundingClientRect().left")
    top = page.run("canvas.getBoundingClientRect().top")
    page.mouse("Wheel", x - 80, top + 60, deltaX=0, deltaY=-500)
    page.settle()
    assert page.run("view.zoom") > 2 * before
    assert page.run(f"view.pixelAt({x - 80 - left}, 60)") == place
    was = page.run("[view.x, view.y]")
    page.drag((x - 80, top + 60), (x - 120, top + 80))
    now = page.run("[view.x, view.y]")
    assert now[0] > was[0]
    assert now[1] < was[1]
    page.run("canvas.focus()")
    page.key("0")
    assert page.run("view.fitted")


def test_the_pixel_under_the_cursor_is_told_as_it_is_on_file(page: Page, made: Path) -> None:
    page.click("#one")
    left, top, width, height = page.run(
        "(b => [b.left, b.top, b.width, b.height])(canvas.getBoundingClientRect())"
    )
    page.mouse("Moved", left + width / 2 + 20, top + height / 2 + 10)
    page.settle()
    x, y = map(int, page.run("document.querySelector('.where').textContent").split(", "))
    assert (abs(x - 100) <= 1, abs(y - 70) <= 1) == (True, True)
    for source, method in ((0, "nearest"), (2, "lanczos")):
        text = page.run(f"document.querySelector('[data-source=\"{source}\"] b').textContent")
        assert [int(v) for v in text.replace("\u2007", "").split(" ")] == expected(made, method)[
            y, x
        ].tolist()
    true = page.run("document.querySelector('#status [data-source=truth] b').textContent")
    want = quantise(read_image(made / "in" / EVIL).pixels)[y, x].astype(int).tolist()
    assert [int(v) for v in true.replace("\u2007", "").split(" ")] == want


def test_error_maps_are_of_what_they_say(page: Page, made: Path) -> None:
    page.click("#one")
    page.key("e")
    assert page.run("[state.left, state.right]") == ["truth", 2]
    a = luma(expected(made, "lanczos") / 255.0)
    b = luma(read_image(made / "in" / EVIL).pixels.astype(np.float64))
    ours = page.run("[...maps.ssimValues(lumaOf(2), lumaOf('truth'), 160, 120)].filter(v => !isNaN(v))")
    assert len(ours) == 150 * 110
    assert np.mean(ours) == pytest.approx(ssim(a, b), abs=1e-5)
    shown = middle_of(canvas(page), 120, 160)
    brightness = np.clip(np.abs(a - b) * 255 / 38, 0, 1) * 3
    wanted = np.stack([np.clip(brightness - k, 0, 1) * 255 for k in range(3)], axis=-1)
    assert np.abs(shown - wanted).max() <= 1.01
    page.click("[data-kind=signed]")
    signed = middle_of(canvas(page), 120, 160).astype(int)
    brighter = (a - b) > 0.05
    assert (signed[brighter][:, 0] > signed[brighter][:, 2]).all()
    assert (signed[(a - b) < -0.05][:, 0] < 255).all()
    page.click("[data-kind=ssim]")
    assert len(np.unique(middle_of(canvas(page), 120, 160))) > 50
    page.key("s")
    assert page.run("[state.left, state.right]") == [0, 2]


def test_keys_swap_hold_step_and_change_the_image(page: Page, made: Path) -> None:
    page.click("#one")
    page.key("x")
    assert page.run("[state.left, state.right]") == [2, 0]
    page.key("x")
    page.run("setSplit(0)")
    page.key(" ", up=False)
    held = middle_of(canvas(page), 120, 160)
    np.testing.assert_array_equal(held, expected(made, "nearest"))
    page.key_up(" ")
    np.testing.assert_array_equal(middle_of(canvas(page), 120, 160), expected(made, "lanczos"))
    page.key(".")
    assert page.run("state.right") == "truth"
    page.key("j")
    assert page.run("document.querySelector('h1').textContent") == "second.png"
    assert page.run("[...document.querySelectorAll('.scene')].map(s => s.hidden)") == [True, False]
    page.key("p")
    assert page.run("state.place") == 0
    page.key("b")
    first = page.run("state.blinkRight")
    page.key(" ")
    assert page.run("state.blinkRight") != first


def test_fingers_pinch_and_the_page_is_readable_on_a_phone(page: Page) -> None:
    page.look(390, 844, density=2, phone=True)
    page.settle()
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.run("canvas.width === 2 * canvas.clientWidth")
    before = page.run("view.zoom")
    x, y = page.middle("#canvas")
    x -= 60  # away from the slider
    page.touch("Start", (x - 20, y), (x + 20, y))
    page.touch("Move", (x - 60, y), (x + 30, y))
    page.touch("End")
    page.settle()
    assert page.run("view.zoom") == pytest.approx(before * 90 / 40, rel=0.1)
    where = page.run("view.x")
    page.touch("Start", (x, y))
    page.touch("Move", (x + 30, y))
    page.touch("End")
    assert page.run("view.x") < where


def test_light_and_dark(page: Page) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.run(background)
    page.look(900, 800, dark=True)
    dark = page.run(background)
    assert light != dark
    page.click("#theme")
    assert page.run(background) == light
    page.run("storage.set('sr-theme', ''); delete document.documentElement.dataset.theme")


def test_nothing_can_leave_the_page(page: Page) -> None:
    """The policy blocks requests, which the page itself never makes; the browser reports that."""
    refused = page.run("fetch('http://127.0.0.1:9/').then(() => false, () => true)")
    assert refused
    page.run(
        "new Promise(done => { const i = new Image(); i.onerror = done; i.src = 'http://127.0.0.1:9/'; })"
    )
    assert page.run(
        "(() => { const html = '<p onclick=\"window.bad = 1\" id=trap></p>';"
        "document.body.insertAdjacentHTML('beforeend', html);"
        "document.getElementById('trap').click(); return window.bad === undefined; })()"
    )
    faults = page.faults()
    assert len(faults) >= 2
    assert all("Content Security Policy" in line for line in faults)
    page.events.clear()


@pytest.mark.parametrize("kind", ["scores", "pairs"])
def test_ratings_are_given_by_keys_and_saved(chromium: Page, made: Path, tmp_path: Path, kind: str) -> None:
    """Six pictures or pairs; the file that the browser saves is what `sr bench --ratings` reads."""
    chromium.look(900, 700)
    chromium.downloads_to(tmp_path)
    chromium.open(made / f"{kind}.html")
    text = chromium.run("document.documentElement.outerHTML.replaceAll(/data:image[^\"]*/g, '')")
    assert not any(name in text for name in ("nearest", "bicubic", "lanczos", "second.png"))
    chromium.run("document.getElementById('rater').value = 'Ada L.'")
    chromium.click("#start")
    pictures = []
    for k in range(6):
        if k == 3:  # the window is closed and opened again
            chromium.open(made / f"{kind}.html")
            chromium.click("#start")
        pictures.append(canvas(chromium))
        chromium.key(str(1 + k % 5) if kind == "scores" else ("ArrowLeft", "ArrowRight", "ArrowDown")[k % 3])
    assert len({one.tobytes() for one in pictures}) == 6
    chromium.key("Backspace")
    chromium.click('[data-answer="1"]' if kind == "scores" else "[data-answer=tie]")
    chromium.click("#save")
    saved = tmp_path / "ratings-Ada-L.json"
    wait_until(lambda: saved.exists() and saved.stat().st_size > 0)
    raw = json.loads(saved.read_text())
    assert raw["rater"] == "Ada L."
    summary = ratings.summarise_ratings(ratings.read_ratings([saved]))
    assert {one.method for one in summary.standings} == {"nearest", "bicubic", "lanczos"}
    assert summary.answers == 6
    if kind == "scores":
        assert sorted(one["score"] for one in raw["ratings"]) == [1, 1, 2, 3, 4, 5]
    assert chromium.faults() == []
    assert chromium.requests() == []
