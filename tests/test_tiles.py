"""Tiles: kept parts partition the image, and each is read with its halo."""

from hypothesis import given
from hypothesis import strategies as st

from srcli.engine.tiles import plan, spans


@given(st.integers(1, 3000), st.integers(1, 600), st.integers(0, 100), st.integers(1, 9))
def test_kept_spans_partition_the_axis(length: int, tile: int, halo: int, align: int) -> None:
    covered: list[int] = []
    for span in spans(length, tile, halo, align):
        assert 0 < span.keep_stop - span.keep_start <= tile
        assert 0 <= span.start <= max(0, span.keep_start - halo)
        assert span.stop >= min(length, span.keep_stop + halo)
        assert span.start % align == 0
        assert span.stop % align == 0 or span.stop == length
        if align == 1:
            assert span.start == max(0, span.keep_start - halo)
            assert span.stop == min(length, span.keep_stop + halo)
        covered += range(span.keep_start, span.keep_stop)
    assert covered == list(range(length))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 100), st.integers(1, 4))
def test_slices_agree(height: int, width: int, tile: int, scale: int) -> None:
    for y, x in plan(height, width, (tile, 2 * tile), 5):
        for span in (y, x):
            inner, target = span.inner(scale), span.target(scale)
            assert inner.stop - inner.start == target.stop - target.start
            assert inner.stop <= (span.source().stop - span.source().start) * scale
