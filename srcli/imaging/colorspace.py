"""CMYK and CIE L*a*b* samples of 16 bits as sRGB; Pillow's LittleCMS takes 8 bits only.

Sources: TIFF 6.0, sections 16 and 23; IEC 61966-2-1 (sRGB), its primaries adapted to D50 as Bradford has it.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.pixels import StoredSamples

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

Floats = NDArray[np.float32]

_BAND = 64  # rows at a time, as a float for each of 16 corners takes room
_NODES = 17
_D50 = np.array([0.9642, 1.0, 0.8249], np.float32)
_XYZ_TO_RGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ],
    np.float32,
)


def convert_to_srgb(picture: "PilImage", icc: bytes | None) -> "PilImage":
    """Convert an 8-bit CMYK or L*a*b* picture to sRGB: by its profile, or by formula if CMYK has none."""
    from PIL import ImageCms

    if picture.mode == "CMYK" and not icc:
        return picture.convert("RGB")
    source = (
        ImageCms.ImageCmsProfile(BytesIO(icc))
        if icc and picture.mode == "CMYK"
        else ImageCms.createProfile("LAB")
    )
    return _apply_profiles(picture, source)


def encode_srgb(light: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the samples in [0, 1] of linear light in [0, 1] (IEC 61966-2-1)."""
    return np.asarray(np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def decode_srgb(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the linear light in [0, 1] of samples in [0, 1]."""
    return np.asarray(np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4))


def compute_rgb_to_xyz(
    primaries: Sequence[tuple[float, float]], white: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the matrix (3, 3) from linear RGB of these chromaticities (x, y) to XYZ; Y of white is 1.

    Source: SMPTE RP 177.
    """
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    x, y = white
    return np.asarray(columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y]))


def is_ink_profile(icc: bytes) -> bool:
    """Tell whether an ICC profile is a sound one of CMYK."""
    from PIL import ImageCms

    try:
        return ImageCms.ImageCmsProfile(BytesIO(icc)).profile.xcolor_space.strip() == "CMYK"
    except (OSError, ImageCms.PyCMSError):
        return False


def convert_rgb_to_srgb(picture: "PilImage", icc: bytes) -> "PilImage":
    """Convert an 8-bit RGB picture by a profile. Raises `ValueError` for one that is not of RGB."""
    from PIL import ImageCms

    try:
        return _apply_profiles(picture, ImageCms.ImageCmsProfile(BytesIO(icc)))
    except ImageCms.PyCMSError as error:
        raise ValueError(str(error)) from error


def make_srgb_profile() -> bytes:
    """Return an ICC profile for sRGB."""
    from PIL import ImageCms

    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def read_profile_name(icc: bytes) -> str:
    """Return the name an ICC profile gives itself; empty if it has none or is damaged."""
    from PIL import ImageCms

    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(icc)))
    except (OSError, ImageCms.PyCMSError):
        return ""
    return " ".join(name.split())


def _apply_profiles(picture: "PilImage", source: Any) -> "PilImage":
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if converted is None:
        raise ValueError("its colours cannot be converted")
    return converted


def cmyk_to_srgb(samples: StoredSamples, icc: bytes | None) -> StoredSamples:
    """(H, W, 4) uint16, full ink being 65535, to (H, W, 3) uint16: by the profile, or by formula without one.

    Between the nodes of a table of the profile, each exact to 8 bits, it is interpolated. Raises
    `ImageCms.PyCMSError` for a profile that is not of inks.
    """
    return _in_bands(samples, _by_table(build_cmyk_table(icc)) if icc else _by_formula)


def lab_to_srgb(samples: StoredSamples, is_icc: bool) -> StoredSamples:
    """(H, W, 3) uint16 L*a*b* at D50 to sRGB; `is_icc`: a and b have an offset, as in photometric 9."""

    def convert(band: StoredSamples) -> Floats:
        values = band.astype(np.float32)
        signed = band[..., 1:].view(np.int16).astype(np.float32)
        chroma = (values[..., 1:] - 32768 if is_icc else signed) / np.float32(256)
        top = np.float32(65280 if is_icc else 65535)
        return _lab(values[..., 0] * 100 / top, chroma[..., 0], chroma[..., 1])

    return _in_bands(np.ascontiguousarray(samples[..., :3]), convert)


def _in_bands(samples: StoredSamples, convert: Callable[[StoredSamples], Floats]) -> StoredSamples:
    out = np.empty((*samples.shape[:2], 3), np.uint16)
    for top in range(0, samples.shape[0], _BAND):
        light = np.clip(convert(samples[top : top + _BAND]), 0, 1)
        out[top : top + _BAND] = np.round(light * 65535)
    return out


def _by_formula(inks: StoredSamples) -> Floats:
    left = 1 - inks[..., :4].astype(np.float32) / 65535
    return np.asarray(left[..., :3] * left[..., 3:], np.float32)


def build_cmyk_table(icc: bytes) -> Floats:
    """(n, n, n, n, 3): sRGB in [0, 1] of evenly spaced amounts of C, M, Y and K."""
    from PIL import Image, ImageCms

    steps = np.round(np.linspace(0, 255, _NODES)).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps, steps, indexing="ij"), axis=-1)
    picture = Image.fromarray(grid.reshape(_NODES**2, _NODES**2, 4), "CMYK")
    converted = _apply_profiles(picture, ImageCms.ImageCmsProfile(BytesIO(icc)))
    return (np.asarray(converted, np.float32) / np.float32(255)).reshape(*[_NODES] * 4, 3)


def _by_table(table: Floats) -> Callable[[StoredSamples], Floats]:
    """Linear in each ink between the sixteen nodes around it."""

    def convert(inks: StoredSamples) -> Floats:
        place = inks[..., :4].astype(np.float32) * ((_NODES - 1) / 65535)
        low = np.minimum(place.astype(np.intp), _NODES - 2)
        share = place - low
        out = np.zeros((*inks.shape[:2], 3), np.float32)
        for corner in product((0, 1), repeat=4):
            weight = np.prod(np.where(corner, share, 1 - share), axis=-1, keepdims=True)
            out += weight * table[tuple(np.moveaxis(low + np.array(corner), -1, 0))]
        return out

    return convert


def _lab(light: Floats, a: Floats, b: Floats) -> Floats:
    """L* in 0..100, a* and b* to sRGB, which may leave [0, 1]."""
    y = (light + 16) / 116
    roots = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29)) * _D50
    return np.asarray(encode_srgb(np.clip(xyz @ _XYZ_TO_RGB.T, 0, 1)), np.float32)
