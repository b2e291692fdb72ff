"""Any size that can be asked for."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.command import Run
from srcli.imaging.image import read_image
from srcli.imaging.size import TargetSize

SIZES = [
    (["-x1.5"], (120, 90), "_x1.5"),
    (["-x3.7"], (296, 222), "_x3.7"),
    (["-x8"], (640, 480), "_x8"),
    (["-x16"], (1280, 960), "_x16"),
    (["--width", "200"], (200, 150), "_w200"),
    (["--height", "200"], (267, 200), "_h200"),
    (["--long-edge", "321"], (321, 241), "_l321"),
    (["--size", "200x200"], (200, 150), "_200x200"),
    (["--size", "200x200!"], (200, 200), "_200x200"),
    (["--size", "40x900!"], (40, 900), "_40x900"),
    (["--megapixels", "0.1"], (365, 274), "_0.1mp"),
    (["--width", "40"], (40, 30), "_w40"),
    (["--width", "80"], (80, 60), "_w80"),
]


@pytest.mark.parametrize("model", ["bicubic", "ecbsr"])
@pytest.mark.parametrize(
    ("arguments", "size", "tail"), SIZES, ids=lambda v: "".join(v) if isinstance(v, list) else ""
)
def test_sizes(
    model: str, arguments: list[str], size: tuple[int, int], tail: str, photo: Path, sr: Run
) -> None:
    done = sr("upscale", photo, "-m", model, *arguments)
    assert done.code == 0, done.err
    out = read_image(photo.with_name(f"photo{tail}.png"))
    assert out.size == size
    assert np.abs(out.pixels.mean(axis=(0, 1)) - read_image(photo).pixels.mean(axis=(0, 1))).max() < 0.02


BAD = [
    (["--width", "0"], "--width 0 is not a valid size"),
    (["--width", "-5"], "--width -5 is not a valid size"),
    (["--megapixels", "nan"], "--megapixels nan is not a valid size"),
    (["--size", "12"], "--size 12 is not WIDTHxHEIGHT"),
    (["--size", "0x12"], "--size 0x12 is not a valid size"),
    (["--width", "3", "-x2"], "--scale and --width cannot be combined"),
    (["--size", "3x3", "--long-edge", "9"], "--long-edge and --size cannot be combined"),
    (["-x", "inf"], "'inf' is not a number"),
    (["--width", "9000"], "is more than 32 times"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_sizes_that_cannot_be(arguments: list[str], message: str, photo: Path, sr: Run) -> None:
    done = sr("upscale", photo, *arguments)
    assert done.code in (1, 2)
    assert message in done.err
    assert len(list(photo.parent.iterdir())) == 1


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 9000), st.integers(1, 9000))
def test_a_box_is_filled_on_one_side_and_never_left(width: int, height: int, wide: int, high: int) -> None:
    new = TargetSize(box=(wide, high)).resolve((width, height))
    assert new[0] <= wide
    assert new[1] <= high
    assert new[0] == wide or new[1] == high


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(0.01, 50))
def test_megapixels_come_near(width: int, height: int, millions: float) -> None:
    new = TargetSize(megapixels=millions).resolve((width, height))
    if min(new) > 20:
        assert abs(new[0] * new[1] / 1e6 / millions - 1) < 0.05
