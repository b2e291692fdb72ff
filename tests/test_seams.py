"""How tiles meet: nothing to see where the overlap is all a network looks at, and mended where it is not."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.command import Run
from srcli.dataclass import dataclass
from srcli.engine.runtimes.base import NetworkInfo, Runtime
from srcli.engine.seams import VISIBLE, Seam, SeamMeter, SeamMismatch, plan_overlaps
from srcli.engine.tiles import plan_tiles
from srcli.engine.upscaler import Upscaler
from srcli.imaging.pixels import Pixels


@dataclass(frozen=True)
class Bleeding(Runtime):
    """Twice as large; tiles are lighter at the left, by `strength`, and half as much each `fall` further."""

    strength: float
    fall: float = 4.0

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        for tile in tiles:
            glow = self.strength * 0.5 ** (np.arange(tile.shape[1]) / self.fall)
            yield np.repeat(np.repeat(tile + glow[:, None].astype(np.float32), 2, 0), 2, 1)


def bleed(strength: float, fall: float = 4.0) -> Bleeding:
    return Bleeding(NetworkInfo(2, 4), "here", strength, fall)


def told(runtime: Runtime, tile: int = 32) -> list[Seam]:
    seen: list[Seam] = []
    rng = np.random.default_rng(0)
    Upscaler(runtime, 2, tile, report=seen.append)(rng.random((70, 90, 3), np.float32))
    return seen


def test_tiles_that_agree_have_no_seam() -> None:
    assert [(seam.step, seam.overlap, seam.again) for seam in told(bleed(0))] == [(0, 4, False)]
    assert told(bleed(0.5), tile=90) == []


def test_the_step_is_what_an_eye_would_see() -> None:
    """On even ground: the difference across a cut in the output is the figure."""
    source = np.full((32, 64, 3), 0.5, np.float32)
    tiles = list(plan_tiles(32, 64, (32, 32), 4))
    meter, out = SeamMeter(2), np.empty((64, 128, 3), np.float32)
    for (y, x), tint in zip(tiles, (0.0, 0.1), strict=True):
        result = np.repeat(np.repeat(source[y.source(), x.source()] + np.float32(tint), 2, 0), 2, 1)
        meter.add(y, x, result)
        out[y.axis(32, 64).target, x.axis(64, 128).target] = result[y.inner(2), x.inner(2)]
    assert meter.worst == pytest.approx(float(out[0, 64, 0] - out[0, 63, 0]), abs=1e-6)


def test_more_overlap_mends_it() -> None:
    seen = told(bleed(0.02))
    assert [seam.again for seam in seen] == [True] * (len(seen) - 1) + [False]
    assert len(seen) > 1
    assert [seam.overlap for seam in seen] == [4, 8, 16][: len(seen)]
    assert not seen[-1].visible
    assert all(seam.visible for seam in seen[:-1])


def test_what_cannot_be_mended_is_told() -> None:
    seen = told(bleed(0.5, fall=1000.0))
    assert [(seam.overlap, seam.again) for seam in seen[:2]] == [(4, True), (8, True)]
    assert len(seen) == 3
    assert not seen[-1].again


def test_overlaps_grow_to_the_tile_and_no_further() -> None:
    assert [width for width, _ in plan_overlaps(7, 512)] == [7, 14, 28]
    assert [width for width, _ in plan_overlaps(64, 96)] == [64, 96]
    assert plan_overlaps(0, 512) == [(0, float("inf"))]
    assert plan_overlaps(300, 32) == [(300, float("inf"))]


def test_a_limit_ends_it_at_once() -> None:
    meter = SeamMeter(1, VISIBLE)
    (y, x), (_, right) = plan_tiles(8, 16, (8, 8), 2)
    meter.add(y, x, np.zeros((8, 10, 3), np.float32))
    with pytest.raises(SeamMismatch):
        meter.add(y, right, np.ones((8, 10, 3), np.float32))


def test_the_command_says_it(photo: Path, sr: Run) -> None:
    words = ("upscale", photo, "-x2", "-m", "fsrcnn", "--overwrite")
    assert "seams 0.0" in sr(*words, "--tile", "32", "-v").out
    assert "seams" not in sr(*words, "-v").out
    record = json.loads(sr(*words, "--tile", "32", "--json").out)
    assert 0 <= record["seam"] < 0.1
    assert "seam" not in json.loads(sr(*words, "--json").out)
