"""Tiles: kept parts partition the image, and each is read with its halo."""

from hypothesis import given
from hypothesis import strategies as st

from srcli.engine.tiles import plan_tiles, split_axis


@given(st.integers(1, 3000), st.integers(1, 600), st.integers(0, 100), st.integers(1, 9))
def test_kept_spans_partition_the_axis(length: int, tile: int, halo: int, alignment: int) -> None:
    covered: list[int] = []
    for span in split_axis(length, tile, halo, alignment):
        assert 0 < span.keep_stop - span.keep_start <= tile
        assert 0 <= span.start <= max(0, span.keep_start - halo)
        assert span.stop >= min(length, span.keep_stop + halo)
        assert span.start % alignment == 0
        assert span.stop % alignment == 0 or span.stop == length
        if alignment == 1:
            assert span.start == max(0, span.keep_start - halo)
            assert span.stop == min(length, span.keep_stop + halo)
        covered += range(span.keep_start, span.keep_stop)
    assert covered == list(range(length))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 100), st.integers(1, 4))
def test_slices_agree(height: int, width: int, tile: int, scale: int) -> None:
    for y, x in plan_tiles(height, width, (tile, 2 * tile), 5):
        for span in (y, x):
            length = height if span is y else width
            inner, target = span.inner(scale), span.axis(length, length * scale).target
            assert inner.stop - inner.start == target.stop - target.start
            assert target.start == span.keep_start * scale
            assert inner.stop <= (span.source().stop - span.source().start) * scale


@given(st.integers(1, 3000), st.integers(1, 9000), st.integers(1, 600), st.integers(0, 100))
def test_outputs_of_any_size_are_partitioned_too(inputs: int, outputs: int, tile: int, halo: int) -> None:
    """Each output belongs to the tile in whose kept part its centre lies."""
    covered: list[int] = []
    for span in split_axis(inputs, tile, halo):
        axis = span.axis(inputs, outputs)
        for place in {axis.first, axis.last - 1} if axis.first < axis.last else ():
            assert span.keep_start <= (place + 0.5) * inputs / outputs < span.keep_stop
        covered += range(axis.first, axis.last)
    assert covered == list(range(outputs))
