"""ICC profiles of a matrix and curves: reading them, making them, and converting samples to sRGB by them.

They are applied in floats, where LittleCMS in Pillow has 8 bits. Source: ICC.1:2022, sections 7, 9.2 and 10.
"""

import struct
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from srcli.dataclass import dataclass
from srcli.imaging import colorspace
from srcli.imaging.pixels import StoredSamples, white_level

Floats = NDArray[np.float64]
Curve = Callable[[Floats], Floats]
Point = tuple[float, float]

_BAND = 64
_HEADER_BYTES = 128
_PRIMARIES_SRGB: tuple[Point, ...] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_D65: Point = (0.3127, 0.3290)
_D50_XYZ = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
# Differences up to one level of 8 bits are those of roundings in profiles of sRGB.
_SAME = 1.5 / 255


@dataclass(frozen=True)
class MatrixProfile:
    """Curves from samples to linear light, and the matrix from there to XYZ at D50; of grey, one curve."""

    curves: tuple[Curve, ...]
    matrix: Floats

    @property
    def is_grey(self) -> bool:
        """True for a profile of grey."""
        return len(self.curves) == 1

    @property
    def is_srgb(self) -> bool:
        """True if what it says is sRGB, to one level of 8 bits."""
        steps = np.linspace(0, 1, 9)
        grid = np.stack(np.meshgrid(*[steps] * len(self.curves), indexing="ij"), axis=-1)
        return bool(np.abs(self._convert(grid) - grid).max() <= _SAME)

    def convert(self, samples: StoredSamples) -> StoredSamples:
        """Convert (H, W) or (H, W, 2..4) integers to sRGB of the same type; alpha stays."""
        out, top = samples.copy(), white_level(samples)
        colours = len(self.curves)
        planes = out if out.ndim == 3 else out[..., None]
        for start in range(0, len(planes), _BAND):
            band = planes[start : start + _BAND]
            values = self._convert(band[..., :colours].astype(np.float64) / top)
            band[..., :colours] = np.rint(values * top).astype(samples.dtype)
        return out

    def _convert(self, values: Floats) -> Floats:
        light = np.stack([curve(values[..., k]) for k, curve in enumerate(self.curves)], axis=-1)
        if not self.is_grey:
            light = light @ (_compute_xyz_to_srgb() @ self.matrix).T
        return np.asarray(colorspace.encode_srgb(np.clip(light, 0, 1)), np.float64)


def parse_profile(icc: bytes) -> MatrixProfile | None:
    """Parse a profile; None for one that is damaged or of another kind: of inks, or with tables."""
    try:
        tags = _read_tags(icc)
        space, connection = icc[16:20], icc[20:24]
        if b"A2B0" in tags or connection != b"XYZ ":
            return None
        if space == b"GRAY":
            return MatrixProfile((_parse_curve(tags[b"kTRC"]),), np.eye(1))
        if space != b"RGB ":
            return None
        curves = tuple(_parse_curve(tags[name + b"TRC"]) for name in (b"r", b"g", b"b"))
        columns = [struct.unpack_from(">3i", tags[name + b"XYZ"], 8) for name in (b"r", b"g", b"b")]
    except (struct.error, LookupError, ValueError):
        return None
    return MatrixProfile(curves, np.array(columns).T / 65536)


def _read_tags(icc: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", icc, _HEADER_BYTES)
    tags = {}
    for k in range(min(count, 100)):
        name, at, size = struct.unpack_from(">4sII", icc, _HEADER_BYTES + 4 + 12 * k)
        tags[name] = icc[at : at + size]
    return tags


def _parse_curve(tag: bytes) -> Curve:
    """Parse a table, a power or a formula of samples (10.6 and 10.18)."""
    if tag[:4] == b"para":
        return _parse_formula(tag)
    if tag[:4] != b"curv":
        raise ValueError("no curve")
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return lambda values: values
    table = np.array(struct.unpack_from(f">{count}H", tag, 12), np.float64)
    if count == 1:
        return lambda values: values ** (table[0] / 256)
    places = np.linspace(0, 1, count)
    return lambda values: np.interp(values, places, table / 65535)


def _parse_formula(tag: bytes) -> Curve:
    (kind,) = struct.unpack_from(">H", tag, 8)
    counts = (1, 3, 4, 5, 7)
    numbers = [value / 65536 for value in struct.unpack_from(f">{counts[kind]}i", tag, 12)]
    gamma, a, b, c, d, e, f = numbers + [0.0] * (7 - len(numbers))
    if kind == 0:
        return lambda values: values**gamma
    if kind == 1:
        low, line, offset, constant = -b / a, 0.0, 0.0, 0.0
    elif kind == 2:
        low, line, offset, constant = -b / a, 0.0, c, c
    else:
        low, line, offset, constant = d, c, e, f

    def curve(values: Floats) -> Floats:
        power = np.maximum(a * values + b, 0) ** gamma + offset
        return np.asarray(np.where(values >= low, power, line * values + constant))

    return curve


def make_profile(primaries: Sequence[Point], white: Point, gamma: float) -> bytes:
    """Return a profile (version 2.1) of RGB with these chromaticities; `gamma` 0 stands for sRGB's curve."""
    matrix = _adapt_to_d50(white) @ colorspace.compute_rgb_to_xyz(primaries, white)
    curve = _pack_curve(gamma)
    columns = {letter + b"XYZ": _pack_xyz(matrix[:, k]) for k, letter in enumerate((b"r", b"g", b"b"))}
    return _assemble(b"RGB ", columns | {letter + b"TRC": curve for letter in (b"r", b"g", b"b")})


def make_grey_profile(gamma: float) -> bytes:
    """Return a profile of grey, as `make_profile` does."""
    return _assemble(b"GRAY", {b"kTRC": _pack_curve(gamma)})


def _pack_curve(gamma: float) -> bytes:
    if gamma:
        return struct.pack(">4s4xIHxx", b"curv", 1, round(gamma * 256))
    light = colorspace.decode_srgb(np.linspace(0, 1, 1024))
    return struct.pack(">4s4xI1024H", b"curv", 1024, *np.rint(light * 65535).astype(int).tolist())


def _assemble(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Return the profile of a display with these tags, equal ones of which share their place."""
    name = b"Colours of the source\0"
    tags = {
        b"desc": struct.pack(f">4s4xI{len(name)}s78x", b"desc", len(name), name),
        b"cprt": b"text\0\0\0\0No copyright, use freely\0",
        b"wtpt": _pack_xyz(_D50_XYZ),
        **tags,
    }
    at = _HEADER_BYTES + 4 + 12 * len(tags)
    table, body, places = struct.pack(">I", len(tags)), b"", dict[bytes, int]()
    for name, content in tags.items():
        if content not in places:
            places[content] = at + len(body)
            body += content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, places[content], len(content))
    head = struct.pack(">I4xI4s4s4s", at + len(body), 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _pack_xyz(_D50_XYZ)[8:]
    return head.ljust(_HEADER_BYTES, b"\0") + table + body


def _pack_xyz(values: Floats) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *np.rint(values * 65536).astype(int).tolist())


def _adapt_to_d50(white: Point) -> Floats:
    """Return the matrix that adapts XYZ from a white to D50 as Bradford has it (ICC.1, annex E)."""
    x, y = white
    cones = [_BRADFORD @ xyz for xyz in (_D50_XYZ, np.array([x / y, 1, (1 - x - y) / y]))]
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(cones[0] / cones[1]) @ _BRADFORD)


def _compute_xyz_to_srgb() -> Floats:
    to_xyz = _adapt_to_d50(_D65) @ colorspace.compute_rgb_to_xyz(_PRIMARIES_SRGB, _D65)
    return np.asarray(np.linalg.inv(to_xyz))
