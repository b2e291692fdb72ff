"""What a person sees in a terminal: the bar of a batch, pipes next to it, questions before long work."""

import re
from pathlib import Path

import pytest

from helpers.command import Run
from helpers.images import copy_sample
from helpers.tmux import Terminal, needs_tmux
from srcli.batch.events import BatchStarted, ImageStarted, TileDone
from srcli.cli import batch_bar, console, large_images
from srcli.cli.batch_bar import BatchBar
from srcli.cli.reporters import ConsoleReporter, measure_work
from srcli.imaging.image import Image, read_image, write_image
from srcli.upscaling.task import UpscaleTask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with four photographs in a subfolder."""
    photo = read_image(copy_sample("chelsea.png", tmp_path)).pixels[:160, :200]
    for name in "abcd":
        write_image(tmp_path / "photos" / f"{name}.png", Image(photo))
    (tmp_path / "chelsea.png").unlink()
    return tmp_path


class Clock:
    """A clock that a test turns."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> BatchBar:
    clock = Clock()
    monkeypatch.setattr(batch_bar, "monotonic", clock)
    found = BatchBar()
    found.clock = clock  # type: ignore[attr-defined]
    found._bar.start = found._bar.stop = lambda: None  # type: ignore[method-assign]
    return found


def test_time_left_is_that_of_all_images_by_pixels(bar: BatchBar) -> None:
    bar.expect(3, {"a": 100.0, "b": 300.0, "c": 600.0})
    bar.show()
    bar.start_image("a", "photos/a.png")
    task = bar._bar.tasks[0]
    assert task.description == "1/3 photos/a.png"
    bar.clock.now += 10  # type: ignore[attr-defined]
    bar.finish_image()
    assert task.percentage == pytest.approx(10)
    assert task.fields["due"] == pytest.approx(bar.clock.now + 90)  # type: ignore[attr-defined]
    assert task.fields["rate"] == "10.0 s/image"
    bar.hide()  # a download
    bar.clock.now += 1000  # type: ignore[attr-defined]
    bar.show()
    bar.start_image("b", "photos/b.png")
    bar.clock.now += 15  # type: ignore[attr-defined]
    bar.show_tiles(2, 4)
    assert task.percentage == pytest.approx(25)
    assert task.fields["due"] == pytest.approx(bar.clock.now + 75)  # type: ignore[attr-defined]
    assert task.fields["tiles"] == "2/4 tiles"


def test_long_names_keep_their_number(bar: BatchBar) -> None:
    bar.expect(200, {})
    for _ in range(12):
        bar.start_image("x", "a/very/long/path/of/folders/" * 5 + "b.jpg")
    assert re.fullmatch(r"12/200 ….*b\.jpg", bar._bar.tasks[0].description)
    assert len(bar._bar.tasks[0].description) < 0.5 * console.err.rich.width + 10


def test_the_reporter_measures_images(folder: Path) -> None:
    files = sorted((folder / "photos").iterdir())
    (folder / "photos" / "bad.png").write_text("no image")
    assert measure_work([*files, folder / "photos" / "bad.png"]) == {str(f): 160.0 * 200 for f in files}
    reporter = ConsoleReporter()
    tasks = tuple(UpscaleTask(file, file.with_suffix(".jpg")) for file in files)
    for event in (BatchStarted(tasks), ImageStarted(tasks[0]), TileDone(1, 2)):
        reporter.emit(event)  # nobody sees a bar: nothing is measured


def test_a_second_run_of_a_folder_suggests_to_skip(folder: Path, sr: Run) -> None:
    command = ("upscale", folder / "photos", "-m", "nearest", "-x2")
    assert sr(*command).code == 0
    again = sr(*command)
    assert again.code == 1
    assert again.err.count("--skip-existing") == 1
    assert sr(*command, "--skip-existing").code == 0
    named = sr(
        "upscale",
        folder / "photos" / "a.png",
        "-m",
        "nearest",
        "-x2",
        "-o",
        folder / "photos_x2" / "a_x2.png",
    )
    assert "add --overwrite, or choose another --output" in named.err


def test_long_work_is_said_before(folder: Path, sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = folder / "photos" / "a.png"
    monkeypatch.setattr(large_images, "_LARGE", 1000)
    monkeypatch.setattr(large_images, "_LONG", 0.0)
    done = sr("upscale", photo, "-x2", "-o", folder / "a.png")
    assert done.code == 0  # nobody to ask
    assert re.search(r"a\.png: 400x320, about \d+\.\d s; --long-edge 8000 for less", done.err)
    assert "about" not in sr("upscale", photo, "-x2", "-o", folder / "b.png", "-q").err
    monkeypatch.setattr(large_images, "can_ask", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *words, **options: False)
    assert sr("upscale", photo, "-x2", "-o", folder / "c.png").code == 130
    assert not (folder / "c.png").exists()


@needs_tmux
@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 44])
def test_the_bar_of_a_batch(columns: int, folder: Path) -> None:
    seen: list[str] = []
    with Terminal(folder, columns) as terminal:
        left = terminal.run("sr upscale photos -x3", seen.append)
    bars = {line for screen in seen for line in screen.splitlines() if "━" in line}
    assert any(re.match(r"[1-4]/4 .*\.png", line) for line in bars), seen[-1]
    assert "━" not in left
    assert all(len(line) <= columns for line in bars)
    assert not [line for line in bars if "->" in line]


@needs_tmux
@pytest.mark.slow
@pytest.mark.parametrize("pipe", ["tee log", "head -n 9"])
def test_what_comes_out_of_a_pipe_shares_no_line_with_a_bar(pipe: str, folder: Path) -> None:
    seen: list[str] = []
    with Terminal(folder, 100) as terminal:
        left = terminal.run(f"sr upscale photos -x2 | {pipe}", seen.append)
    assert not [line for screen in seen for line in screen.splitlines() if "━" in line]
    lines = [line for line in left.splitlines() if "->" in line]
    assert len(lines) == 4
    assert all(line.startswith("photos_x2/") for line in lines)


@needs_tmux
@pytest.mark.slow
def test_a_photograph_of_12_megapixels_is_confirmed(tmp_path: Path) -> None:
    write_image(
        tmp_path / "big.jpg",
        Image(read_image(copy_sample("coffee.png", tmp_path)).pixels.repeat(7, 0).repeat(7, 1)),
    )
    with Terminal(tmp_path, 80) as terminal:
        terminal.type("sr big.jpg -m photo")
        screen = terminal.wait(lambda screen: "Continue?" in screen)
        assert re.search(r"big\.jpg: 16800x11200, about \d+ (min|s)", screen)
        terminal.run("n")
    assert not (tmp_path / "big_x4.jpg").exists()
