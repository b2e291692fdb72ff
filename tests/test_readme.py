"""README: every `$ sr ...` block is run, in order, in a folder with the files that it names."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from helpers.command import Run
from helpers.paths import ROOT, SAMPLES
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.image import Image, read_image, write_image

BLOCKS = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines() if line.startswith("$ ")
]


@pytest.fixture
def user_folder(in_tmp: Path) -> Path:
    """What the README assumes a user to have: photo.jpg, photos/, truth.png and small.png."""
    whole = read_image(SAMPLES / "coffee.png").pixels
    write_image(in_tmp / "photo.jpg", Image(whole[:120, :160]))
    truth = whole[100:228, 200:328]
    write_image(in_tmp / "truth.png", Image(truth))
    write_image(in_tmp / "small.png", Image(downscale_bicubic(truth, 4)))
    for k in range(2):
        write_image(
            in_tmp / "photos" / f"{k}.png", Image(np.ascontiguousarray(whole[k * 96 : k * 96 + 96, :128]))
        )
    return in_tmp


def test_every_example_runs(user_folder: Path, sr: Run) -> None:
    assert len(COMMANDS) >= 14
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "sr"
        done = sr(*arguments)
        assert done.code == 0, f"{command}\n{done.err}"
    for name in (
        "photo_x4.jpg",
        "large.png",
        "bicubic.png",
        "best.png",
        "crops.png",
        "scored.png",
        "mine.png",
    ):
        assert read_image(user_folder / name).pixels.size


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()):
        assert f"\n{target}:" in makefile
