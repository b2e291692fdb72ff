"""`--seed`, `--within` and `--kernel` as what methods without a training set are told."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srcli.classical import Settings


def settings(names: Sequence[str], seed: int, within: str | None, kernel: Path | None) -> "Settings":
    """For the models `names`. Raises `SrError` for times and kernels that are none, or of no use to any."""
    from srcli import classical
    from srcli.imaging.blur import from_file

    if kernel:
        classical.check_kernel(names)
    limit = classical.seconds(within) if within else None
    return classical.Settings(seed, limit, from_file(kernel) if kernel else None)


def choices(name: str, seed: int, within: str | None, kernel: Path | None) -> dict[str, str]:
    """What of them changes the pixels that a model makes, for the record; a file is told by its contents."""
    from srcli import classical
    from srcli.records import file_digest

    if name not in classical.METHODS:
        return {}
    blur = file_digest(kernel) if kernel else ""
    chosen = {"seed": str(seed) if seed else "", "within": within, "kernel": blur}
    return {key: value for key, value in chosen.items() if value}
