"""Training on luma: every network that can be built for one channel learns on it, the others say so."""

from pathlib import Path

import pytest

from helpers.networks import CPU, SMALL
from helpers.training import build_setup
from srcli import archs
from srcli.errors import UsageError
from srcli.train import loop, recipe, recipes, state

CAN = [arch for arch in archs.names() if "channels" in archs.settings(arch)]


@pytest.mark.parametrize("arch", CAN)
def test_networks_learn_on_luma(arch: str, photos: Path, tmp_path: Path) -> None:
    """Input, output and target have one channel."""
    scale = next(scale for scale in (2, 4, 3, 1) if scale in archs.traits(arch).scales)
    if scale == 1:
        pytest.skip("restores images of their own size, which is not trained")
    config = {**SMALL[arch], "channels": 1}
    setup = build_setup(photos, tmp_path / "run", arch, config=config, scales=())
    begun = state.start(setup.recipe, CPU)
    work = loop.prepare(begun, setup)
    for _ in range(2):
        taken = loop.take_step(begun, setup, work)
        assert all(bool(value.isfinite()) for value in taken.terms.values())
    _, batch = next(loop.iterate_batches(setup.recipe, setup.draw, 0, 0))
    assert batch.hr.shape[1] == 1
    assert begun.network(batch.fed).shape == batch.hr.shape


@pytest.mark.parametrize("arch", sorted({*archs.names()} - {*CAN}))
def test_networks_of_fixed_channels_say_so(arch: str) -> None:
    with pytest.raises(UsageError, match=f"^{arch} has no setting 'channels'$"):
        recipe.apply_assignments(recipes.find(arch, 2), ["config.channels=1"])
