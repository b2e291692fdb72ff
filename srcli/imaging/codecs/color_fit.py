"""Colours that are not sRGB, and files that cannot say so: their samples are converted, or a note is made.

Source: ITU-T H.273 for code points; the PNG specification, third edition, 11.3.2 for gAMA and cHRM.
"""

import struct
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from srcli.imaging import colorspace
from srcli.imaging.codecs.base import Codec, Frame
from srcli.imaging.profiles import make_grey_profile, make_profile, parse_profile

Point = tuple[float, float]
_D65: Point = (0.3127, 0.3290)
_SRGB: tuple[Point, ...] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
# Primaries and white by code point; 2 is not specified.
_PRIMARIES: dict[int, tuple[Sequence[Point], Point]] = {
    1: (_SRGB, _D65),
    2: (_SRGB, _D65),
    4: (((0.67, 0.33), (0.21, 0.71), (0.14, 0.08)), (0.310, 0.316)),
    5: (((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)), _D65),
    6: (((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), _D65),
    7: (((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), _D65),
    9: (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), _D65),
    11: (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), (0.314, 0.351)),
    12: (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), _D65),
}
# Gamma by transfer function; 0 is the curve of sRGB, which is what viewers use for that of television.
_GAMMAS = {1: 0.0, 2: 0.0, 4: 2.2, 5: 2.8, 6: 0.0, 8: 1.0, 13: 0.0, 14: 0.0, 15: 0.0}
_HDR = {16: "PQ", 18: "HLG"}
_NEAR = 0.01


def fit_colors(frame: Frame, codec: Codec) -> Frame:
    """Return a frame whose colours come out right in files of `codec`.

    A profile that the format cannot hold is applied: the samples become sRGB. What a PNG or AVIF says in
    other ways becomes a profile first. Where neither is possible, and where light above 1 is cut off, a note
    says so.
    """
    if frame.depth == 32 and 32 not in codec.depths and _exceeds_white(frame):
        frame = replace(frame, notes=(*frame.notes, "light above 1 cut off"))
    metadata, kinds = frame.metadata, codec.metadata_kinds
    if not metadata.icc:
        name = _HDR.get(metadata.cicp[1]) if metadata.cicp else None
        if name and "cicp" not in kinds:
            return _forget_colours(frame, f"{name} colours are not kept")
        made = make_missing_profile(frame, kinds)
        metadata = replace(metadata, icc=made, cicp=None) if made else metadata
    if not metadata.icc or "icc" in kinds:
        return replace(frame, metadata=metadata)
    is_grey = frame.samples.ndim == 2 or frame.samples.shape[2] == 2
    profile = parse_profile(metadata.icc)
    plain = replace(frame, metadata=replace(metadata, icc=None))
    if profile and profile.is_srgb:
        return plain
    if profile and frame.samples.dtype.kind == "u" and profile.is_grey == is_grey:
        return replace(
            _forget_colours(plain, "colours converted to sRGB"), samples=profile.convert(frame.samples)
        )
    if not is_grey and frame.samples.dtype == np.uint8:
        converted = _convert_with_lcms(frame, metadata.icc)
        if converted is not None:
            return replace(_forget_colours(plain, "colours converted to sRGB"), samples=converted)
    name = colorspace.read_profile_name(metadata.icc)
    return _forget_colours(plain, f"colour profile {name} not kept" if name else "colour profile not kept")


def _exceeds_white(frame: Frame) -> bool:
    samples = frame.samples[..., :3] if frame.samples.ndim == 3 else frame.samples
    return bool((samples > 1).any())


def _forget_colours(frame: Frame, note: str) -> Frame:
    """Return a frame that says nothing about its colours, with a note."""
    metadata = replace(frame.metadata, icc=None, cicp=None)
    return replace(frame, metadata=metadata, notes=(*frame.notes, note))


def make_missing_profile(frame: Frame, kinds: Sequence[str]) -> bytes | None:
    """Return a profile for colours that are stated as code points or gamma, unless the format holds these."""
    metadata = frame.metadata
    if metadata.cicp:
        code, transfer = metadata.cicp[:2]
        if "cicp" in kinds or code not in _PRIMARIES or transfer not in _GAMMAS:
            return None
        (points, white), gamma = _PRIMARIES[code], _GAMMAS[transfer]
    else:
        chunks = dict(metadata.chunks)
        if "chunks" in kinds or b"sRGB" in chunks:
            return None
        stored = int.from_bytes(chunks.get(b"gAMA", b""))
        gamma = 100000 / stored if stored else 0.0
        white, *points = _read_chromaticities(chunks.get(b"cHRM", b""))
    if abs(gamma - 2.2) < 2.2 * _NEAR:
        gamma = 0.0
    if frame.samples.ndim == 2 or frame.samples.shape[2] == 2:
        return make_grey_profile(gamma) if gamma else None
    if not gamma and np.allclose((white, *points), (_D65, *_SRGB), atol=_NEAR / 2):
        return None
    return make_profile(points, white, gamma)


def _read_chromaticities(content: bytes) -> Sequence[Point]:
    """Return white, red, green and blue of cHRM; those of sRGB if it is missing or cannot be meant."""
    if len(content) != 32:
        return (_D65, *_SRGB)
    values = [value / 100000 for value in struct.unpack(">8I", content)]
    points = tuple(zip(values[::2], values[1::2], strict=True))
    (xr, yr), (xg, yg), (xb, yb) = points[1:]
    area = (xg - xr) * (yb - yr) - (xb - xr) * (yg - yr)
    return points if min(values[1::2]) > 0 and abs(area) > _NEAR else (_D65, *_SRGB)


def _convert_with_lcms(frame: Frame, icc: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None":
    """Convert 8-bit RGB by a profile with tables; None if it is damaged or not of RGB."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(frame.samples[..., :3]))
    try:
        converted = np.asarray(colorspace.convert_rgb_to_srgb(picture, icc))
    except (OSError, ValueError):
        return None
    return np.concatenate([converted, frame.samples[..., 3:]], axis=2)
