"""`--seed`, `--within` and `--kernel` as what methods without a training set are told."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srcli.methods.classical import UntrainedSettings

# Not imported from there, which loads NumPy.
AUTO = "auto"


def settings(names: Sequence[str], seed: int, within: str | None, kernel: str | None) -> "UntrainedSettings":
    """For the models `names`. Raises `SrError` for times and kernels that are none, or of no use to any."""
    from srcli.imaging.degrade.kernels import load_kernel
    from srcli.methods import classical

    if kernel:
        classical.check_kernel(names)
    limit = classical.parse_duration(within) if within else None
    known = load_kernel(Path(kernel)) if kernel and kernel != AUTO else None
    return classical.UntrainedSettings(seed, limit, classical.AUTO if kernel == AUTO else known)


def choices(name: str, seed: int, within: str | None, kernel: str | None) -> dict[str, str]:
    """What of them changes the pixels that a model makes, for the record; a file is told by its contents."""
    from srcli.methods import classical
    from srcli.storage.hashing import sha256

    if name not in classical.METHODS:
        return {}
    blur = sha256(Path(kernel)) if kernel and kernel != AUTO else kernel
    chosen = {"seed": str(seed) if seed else "", "within": within, "kernel": blur}
    return {key: value for key, value in chosen.items() if value}
