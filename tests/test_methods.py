"""Methods: any name, any scale, one kind of thing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srcli import methods
from srcli.errors import UsageError
from srcli.imaging.resize import KERNELS


@pytest.mark.parametrize(
    ("scale", "chain"),
    [
        (2, (2,)),
        (3, (3,)),
        (4, (4,)),
        (1.5, (2,)),
        (2.5, (3,)),
        (5, (3, 2)),
        (8, (4, 2)),
        (16, (4, 4)),
        (32, (4, 4, 2)),
    ],
)
def test_scale_chain(scale: float, chain: tuple[int, ...]) -> None:
    assert sorted(methods.plan_scale_chain(scale, (2, 3, 4)), reverse=True) == sorted(chain, reverse=True)


@given(st.floats(1.01, 32), st.sets(st.integers(2, 4), min_size=1))
def test_a_chain_reaches_the_scale_with_no_step_too_many(scale: float, available: set[int]) -> None:
    chain = methods.plan_scale_chain(scale, tuple(available))
    assert set(chain) <= available
    product = np.prod(chain)
    assert product >= scale
    assert product // max(chain) < scale or len(chain) == 1


@pytest.mark.parametrize("name", [*KERNELS, "fsrcnn"])
@pytest.mark.parametrize("scale", [2, 1.37, 3.5, 6])
def test_every_method_takes_any_scale(name: str, scale: float, rng: np.random.Generator) -> None:
    pixels = rng.random((13, 17, 3), np.float32)
    out = methods.load_method(name, scale)(pixels, scale)
    assert out.shape == (*methods.compute_output_size(pixels, scale), 3)
    assert out.dtype == np.float32


@pytest.mark.parametrize("scale", [0, -2, 1, 33, float("nan"), float("inf")])
def test_impossible_scales(scale: float) -> None:
    with pytest.raises(UsageError, match="cannot upscale by"):
        methods.load_method("bicubic", scale)


def test_a_slip_of_the_pen_gets_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        methods.load_method("bicubik", 2)
    assert "did you mean 'bicubic'" in caught.value.hint
