"""What transformers' papers and files say of them, beyond what is asked of every network."""

from typing import Any

import pytest
import torch

from srcli import archs
from srcli.archs import swinir
from srcli.engine.count import cost, parameters
from tools.models_table import within

# Bytes of a mask for shifted windows and of an index, which the authors' files carry and ours do not.
MASK, INDEX = 4 * 64 * 64, 8 * 64 * 64


def swinir_extra(side: int, groups: int) -> int:
    """Of each two blocks one is shifted; `side` of the images that it was trained with, in windows."""
    return groups * (3 * side**2 * MASK + 6 * INDEX)


# Bytes of files on the Hub, as recorded, and how many of them are tensors that we work out.
SIZES: list[tuple[archs.Spec, int, int]] = [
    (archs.Spec("swinir", 2), 67_277_475, swinir_extra(8, 6)),
    (archs.Spec("swinir", 3), 59_758_497, swinir_extra(6, 6)),
    (archs.Spec("swinir", 8), 68_460_535, swinir_extra(8, 6)),
    (archs.Spec("swinir", 2, swinir.LIGHT), 17_147_989, swinir_extra(8, 4)),
    (archs.Spec("swinir", 4, {"end": "nearest"}), 67_129_861, swinir_extra(8, 6)),
    (archs.Spec("swinir", 4, swinir.VARIANTS[3]), 142_473_939, swinir_extra(8, 9)),
]


@pytest.mark.parametrize(("spec", "recorded", "extra"), SIZES, ids=str)
def test_tensors_take_as_many_bytes_as_the_file_on_the_hub(
    spec: archs.Spec, recorded: int, extra: int
) -> None:
    with torch.device("meta"):
        state = archs.build(spec.arch, spec.scale, spec.config).state_dict()
    assert sum(value.nbytes for value in state.values()) + extra == pytest.approx(recorded, rel=0.01)


def test_the_reason_swinir_tables_holds() -> None:
    spec = archs.Spec("swinir", 2, swinir.LIGHT)
    assert within(parameters(spec) - 24 * 6 * 15**2, "878K", 0.001)
    # Of the last two convolutions the script counts a third, and 3 of 12 channels.
    pixels, omitted = 520 * 368, 6 * 60 * 60 + 9 * 60 * 9
    assert within(cost(spec, 1040, 736).multiply_adds - pixels * omitted, "195.6G", 0.01)


def test_the_reason_swinir_x3_holds() -> None:
    assert within(cost(archs.Spec("swinir", 3), 3 * 248, 1280).multiply_adds, "1363G", 0.01)


def read_by_the_authors_code(state: dict[str, Any]) -> dict[str, Any]:
    """With a buffer of each kind that their files carry."""
    return {**state, "layers.0.residual_group.blocks.0.attn.relative_position_index": torch.zeros(64, 64)}


def test_what_the_network_works_out_is_dropped_of_swinir_files() -> None:
    state = archs.build("swinir", 2, {"groups": 1, "blocks": 1, "features": 12}).state_dict()
    assert archs.rename("swinir", read_by_the_authors_code(state)).keys() == state.keys()
