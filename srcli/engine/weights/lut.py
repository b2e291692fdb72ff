"""Look-up tables: sample a network, and write, recognise and read tables. Only sampling needs torch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from srcli.archs import Spec
from srcli.engine.weights.checkpoint import read_header
from srcli.engine.weights.files import read_spec
from srcli.errors import UsageError, WeightsError
from srcli.imaging.lut import LEVELS, SRLUT_ONE, UNIT, WINDOWS, LutUpscaler, Splut, SrLut, Table
from srcli.storage.files import replace_atomically

if TYPE_CHECKING:
    from torch import nn

Precision = Literal["int8", "float32"]
# SR-LUT's configuration by the number of its pixels.
_CONFIGS: dict[int, dict[str, Any]] = {4: {}, 3: {"kernel": "f"}, 2: {"kernel": "v"}}
# How many samples of a pixel there can be: they divide its 256 levels equally.
_SAMPLES = tuple(2**k + 1 for k in range(9))
_HINT = "`sr models info FILE` shows what it is"


def sample_tables(network: "nn.Module") -> dict[str, Table]:
    """Return the network's output for every sampled input, in single precision.

    Raises `UsageError` for networks that see too many pixels for a table.
    """
    import torch

    sample: Callable[[], dict[str, torch.Tensor]] | None = getattr(network.eval(), "tables", None)
    if sample is None:
        raise UsageError(
            "the receptive field of this network is too large for a table",
            "only srlut and splut can be exported as tables",
        )
    with torch.inference_mode():
        return {name: table.float().cpu().numpy() for name, table in sample().items()}


def export_tables(path: Path, network: "nn.Module", spec: Spec, precision: Precision = "int8") -> None:
    """Write the network's tables."""
    save_tables(path, sample_tables(network), spec, precision)


def save_tables(path: Path, found: dict[str, Table], spec: Spec, precision: Precision = "int8") -> None:
    """Write tables in single precision as `precision`, with a header that names the network.

    The papers count int8. SR-LUT is trained for it; SPLUT loses up to 0.07 dB by it.
    A name ending in .npy writes an array like those of SR-LUT's authors, which has no header.
    """
    if precision == "int8":
        found = _round_srlut(found) if spec.arch == "srlut" else _round_with_units(found)
    else:
        found = {name: table.astype(precision) for name, table in found.items()}
    if path.suffix == ".npy":
        _save_array(path, found, spec)
    else:
        _save_own(path, found, spec)


def _save_array(path: Path, found: dict[str, Table], spec: Spec) -> None:
    table = found.get("table")
    if table is None:
        raise UsageError(f"{path} cannot hold all tables of {spec}", "use a name that ends in .safetensors")
    with replace_atomically(path) as temporary:
        np.save(temporary, table.reshape(-1, 1, spec.scale, spec.scale))


def _save_own(path: Path, found: dict[str, Table], spec: Spec) -> None:
    from safetensors.numpy import save

    header = {"kind": "table", "arch": spec.arch, "scale": str(spec.scale), "config": json.dumps(spec.config)}
    with replace_atomically(path) as temporary:
        temporary.write_bytes(save(found, header))


def _round_srlut(found: dict[str, Table]) -> dict[str, Table]:
    """Return entries in [-1, 1] as int8."""
    return {name: np.round(table * SRLUT_ONE).astype(np.int8) for name, table in found.items()}


def _round_with_units(found: dict[str, Table]) -> dict[str, Table]:
    """Return entries as int8 that fill its range for each output, and for each table its outputs' units."""
    scaled: dict[str, Table] = {}
    for name, table in found.items():
        unit = np.maximum(np.abs(table).max(axis=(0, 1, 2, 3)), 1e-6) / 127
        scaled |= {name: np.round(table / unit).astype(np.int8), name + UNIT: unit.astype(np.float32)}
    return scaled


def is_table(path: Path) -> bool:
    """Return whether the file holds tables, not a network: ours, or a .npy file of SR-LUT's authors."""
    return path.suffix == ".npy" or read_header(path).get("kind") == "table"


def read_tables(path: Path) -> tuple[Spec, dict[str, Table]]:
    """Return the network that a file's tables are of, and the tables. Raises `WeightsError`."""
    if not path.is_file():
        raise WeightsError(f"{path} does not exist", "check its path")
    return _read_array(path) if path.suffix == ".npy" else _read_own(path)


def _read_array(path: Path) -> tuple[Spec, dict[str, Table]]:
    """Read a table (samples**inputs, 1, scale, scale) of SR-LUT; Python objects are never loaded."""
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{path} holds no readable array: {reason}", "download it again") from error
    axes = _find_axes(len(mapped)) if mapped.ndim == 4 else None
    if axes is None or mapped.shape[1] != 1 or mapped.dtype not in (np.int8, np.float32):
        shape = " x ".join(map(str, mapped.shape))
        raise WeightsError(f"{path} holds {shape} {mapped.dtype}, which is not a table of SR-LUT", _HINT)
    table = np.array(mapped).reshape(axes + mapped.shape[2:])
    spec = Spec("srlut", table.shape[-1], _CONFIGS[len(axes)])
    return _check(path, spec, {"table": table})


def _find_axes(entries: int) -> tuple[int, ...] | None:
    """Return the axes of a table with that many entries, for the most inputs possible."""
    for inputs in sorted(WINDOWS, reverse=True):
        for samples in _SAMPLES:
            if samples**inputs == entries:
                return (samples,) * inputs
    return None


def _read_own(path: Path) -> tuple[Spec, dict[str, Table]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    spec = read_spec(path)
    if spec is None:
        raise WeightsError(f"{path} does not name the network of its tables", "export them again")
    try:
        return _check(path, spec, load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged: {error}", "export it again") from error


def _check(path: Path, spec: Spec, found: dict[str, Table]) -> tuple[Spec, dict[str, Table]]:
    """Return both unchanged. Raises `WeightsError` if the tables cannot be those of `spec`."""
    fits = {"srlut": _fits_srlut, "splut": _fits_splut}.get(spec.arch)
    sound = all(
        str(table.dtype) in get_args(Precision) and np.isfinite(table).all() for table in found.values()
    )
    if fits is None or not sound or not fits(spec.scale, found):
        raise WeightsError(f"the tables in {path} do not fit {spec}", "export them again")
    return spec, found


def _fits_srlut(scale: int, found: dict[str, Table]) -> bool:
    table = found.get("table")
    if table is None or table.ndim - 2 not in WINDOWS or len(table) not in _SAMPLES:
        return False
    return table.shape == (len(table),) * (table.ndim - 2) + (scale, scale)


def _fits_splut(scale: int, found: dict[str, Table]) -> bool:
    features = found["upper.lut122"].shape[-1] if "upper.lut122" in found else 0
    numbers = ("", "_2") if features == 16 else ("",)
    outputs = {"lut122": features}
    for stage, count in ((("lut221", "lut212"), features), (("lut221_c12", "lut212_c34"), scale**2)):
        outputs |= {name + number: count for name in stage for number in numbers}
    return features in (4, 8, 16) and all(
        _has_table(found, f"{half}.{name}", count)
        for half in ("upper", "lower")
        for name, count in outputs.items()
    )


def _has_table(found: dict[str, Table], name: str, outputs: int) -> bool:
    """Return whether there is a table of that name and number of outputs and, for int8, its units."""
    table, unit = found.get(name), found.get(name + UNIT)
    if table is None or table.shape != (LEVELS,) * 4 + (outputs,):
        return False
    return unit.shape == (outputs,) if unit is not None else table.dtype != np.int8


def build_upscaler(spec: Spec, found: dict[str, Table]) -> LutUpscaler:
    """Return the tables as a function of pixels."""
    return SrLut(found["table"]) if spec.arch == "srlut" else Splut(found)
