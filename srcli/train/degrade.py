"""The degradation steps of `imaging` on batches on any device; JPEG is computed without a codec.

Rounding passes gradients through unchanged, so that a loss can be applied after a degradation.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from srcli.imaging.degrade.degradations import Degradation
from srcli.imaging.degrade.steps import (
    FEW,
    GREY,
    MOST,
    Decimation,
    Filter,
    Jpeg,
    Noise,
    Plan,
    Poisson,
    Resizing,
    Rng,
    Rounding,
    Step,
    Target,
    resize_matrix,
)
from srcli.train.planes import send


def degrade_batch(hr: Tensor, scale: int, degradation: Degradation, rngs: Sequence[Rng]) -> Tensor:
    """Degrade (N, 3, H, W) in [0, 1], each image by a draw of its own generator; rounded to 8-bit levels.

    Height and width must be multiples of `scale`.
    """
    target = Target(hr.shape[2], hr.shape[3], scale)
    return apply(hr, [degradation.plan(target, rng) for rng in rngs])


def apply(batch: Tensor, plans: Sequence[Plan]) -> Tensor:
    """Apply plan i to image i of (N, 3, H, W) in [0, 1]; images whose steps have equal shapes share a batch.

    All plans must end in the same size.
    """
    groups: dict[Hashable, list[int]] = {}
    for image, plan in enumerate(plans):
        groups.setdefault(tuple(map(_group_key, plan)), []).append(image)
    parts = [_apply_steps(batch[members], [plans[image] for image in members]) for members in groups.values()]
    order = [image for members in groups.values() for image in members]
    return torch.cat(parts)[torch.tensor(order, device=batch.device).argsort()]


def _group_key(step: Step) -> Hashable:
    """Return a key that is equal for steps that can be applied as one batch."""
    match step:
        case Filter():
            return Filter, step.kernel.size
        case Resizing() | Decimation():
            return step
        case Poisson():
            return Poisson, step.grey
        case Jpeg():
            return Jpeg, step.subsampled, step.shift
        case _:
            return type(step)


def _apply_steps(batch: Tensor, plans: list[Plan]) -> Tensor:
    for steps in zip(*plans, strict=True):
        batch = _DO[type(steps[0])](batch, steps)
    return batch


def _to_tensor(array: NDArray[Any], like: Tensor) -> Tensor:
    return send(array, like.device).to(like.dtype)


def _filter(batch: Tensor, steps: Sequence[Filter]) -> Tensor:
    size, channels = steps[0].kernel.size, batch.shape[1]
    padded = _pad_mirrored(_pad_mirrored(batch, size // 2, 2), size // 2, 3)
    weights = _to_tensor(np.stack([step.kernel.weights() for step in steps]), batch)
    weights = weights[:, None, None].expand(-1, channels, 1, -1, -1)
    # One group for each channel of each image: every image has a kernel of its own.
    flat = padded.reshape(1, -1, *padded.shape[2:])
    return F.conv2d(flat, weights.reshape(-1, 1, size, size), groups=flat.shape[1]).view(batch.shape)


def _pad_mirrored(batch: Tensor, margin: int, axis: int) -> Tensor:
    """Pad both ends by reflection, without repeating the border; unlike PyTorch's, by any margin."""
    index = np.pad(np.arange(batch.shape[axis]), margin, mode="reflect")
    return batch.index_select(axis, torch.from_numpy(index).to(batch.device))


def resize(batch: Tensor, height: int, width: int, method: str = "bicubic") -> Tensor:
    """Resize (N, C, H, W) to `height` x `width` as `imaging.resize` does; not clipped.

    `method` is one of `imaging.steps.METHODS`; borders are mirrored, the border pixel repeated.
    """
    return _resize_columns(_resize_rows(batch, height, method), width, method)


def _resize_rows(batch: Tensor, height: int, method: str) -> Tensor:
    return _to_tensor(resize_matrix(batch.shape[2], height, method), batch) @ batch


def _resize_columns(batch: Tensor, width: int, method: str) -> Tensor:
    return batch @ _to_tensor(resize_matrix(batch.shape[3], width, method), batch).T


def _resize(batch: Tensor, steps: Sequence[Resizing]) -> Tensor:
    step = steps[0]
    if not step.rounded:
        return resize(batch, step.height, step.width, step.method)
    tall = round_to_levels(_resize_rows(round_to_levels(batch), step.height, step.method))
    return round_to_levels(_resize_columns(tall, step.width, step.method))


def round_to_levels(batch: Tensor) -> Tensor:
    """Clip to [0, 1] and round to 8-bit levels, halves up."""
    return _round_half_up(batch.clamp(0, 1) * 255) / 255


def _round_half_up(values: Tensor) -> Tensor:
    return values + (torch.floor(values + 0.5) - values).detach()


def _decimate(batch: Tensor, steps: Sequence[Decimation]) -> Tensor:
    kept = slice(steps[0].offset, None, steps[0].factor)
    return batch[..., kept, kept]


def _add_noise(batch: Tensor, steps: Sequence[Noise]) -> Tensor:
    fields = _to_tensor(np.stack([step.field(*batch.shape[2:]) for step in steps]), batch)
    mix = _to_tensor(np.array([step.mix for step in steps]), batch)
    return (batch + torch.einsum("nij,nhwj->nihw", mix, fields)).clamp(0, 1)


def _add_poisson_noise(batch: Tensor, steps: Sequence[Poisson]) -> Tensor:
    grey = torch.tensor(GREY).to(batch)[:, None, None]
    clean = round_to_levels((batch * grey).sum(1, keepdim=True) if steps[0].grey else batch)
    white = _find_white_level(clean)
    fields = [np.stack(field) for field in zip(*(s.fields(*batch.shape[2:]) for s in steps), strict=True)]
    uniform, normal = (_to_tensor(field.transpose(0, 3, 1, 2), batch) for field in fields)
    scale = torch.tensor([step.scale for step in steps]).to(batch)[:, None, None, None]
    noise = _count_photons(clean.detach() * white, uniform, normal) / white - clean.detach()
    return (batch + noise * scale).clamp(0, 1)


def _find_white_level(clean: Tensor) -> Tensor:
    """Count the 8-bit levels in each image, rounded up to a power of two (N, 1, 1, 1)."""
    found = torch.zeros(len(clean), 256, device=clean.device)
    found.scatter_(1, (clean * 255).round().long().flatten(1), 1.0)
    return (2 ** found.sum(1).log2().ceil()).to(clean)[:, None, None, None]


def _count_photons(mean: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
    """Compute Poisson counts in the same way as `imaging.degrade.steps`."""
    many = (mean + mean.sqrt() * normal + (normal**2 - 1) / 6 + 0.5).floor().clamp(min=0)
    few, term = torch.zeros_like(mean), torch.exp(-mean)
    total = term
    for count in range(1, MOST):
        few = few + (uniform > total)
        term = term * (mean / count)
        total = total + term
    return torch.where(mean < FEW, few, many)


def _round(batch: Tensor, steps: Sequence[Rounding]) -> Tensor:
    return round_to_levels(batch)


def _compress(batch: Tensor, steps: Sequence[Jpeg]) -> Tensor:
    quality, shift = torch.tensor([float(step.quality) for step in steps]).to(batch), steps[0].shift
    saved = jpeg(batch.roll((shift, shift), (2, 3)), quality, subsampled=steps[0].subsampled)
    return saved.roll((-shift, -shift), (2, 3))


# --- JPEG, ITU-T T.81: its annex K has the tables, JFIF the colours ---

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# Y, Cb, Cr of R, G, B; the two chroma planes are centred at 128.
_YCC = np.array([GREY, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)])


def jpeg(batch: Tensor, quality: Tensor, *, subsampled: bool = True) -> Tensor:
    """Compress (N, 3, H, W) in [0, 1] as JPEG of `quality` (N,), 1 to 100, and decode it.

    `subsampled`: with halved chroma. Agrees with libjpeg-turbo, which uses integer transforms, to about
    50 dB. The lossless coding is left out.
    """
    height, width = batch.shape[2:]
    # The right margin is filled before chroma is halved, the lower one after, as libjpeg does.
    whole = F.pad(round_to_levels(batch) * 255, (0, -width % 16, 0, height % 2), mode="replicate")
    ycc = _round_half_up(torch.einsum("ij,njhw->nihw", _to_tensor(_YCC, batch), whole))
    luma = _quantise(ycc[:, :1] - 128, _build_table(_LUMA, quality)) + 128
    chroma, table = ycc[:, 1:], _build_table(_CHROMA, quality)
    if subsampled:
        halved = _quantise(_halve_chroma(chroma), table)[..., : (width + 1) // 2]
        spread = _round_half_up(F.interpolate(halved, scale_factor=2.0, mode="bilinear"))
    else:
        spread = _quantise(chroma, table)
    back = torch.cat([part[..., :height, :width] for part in (luma, spread)], 1)
    return round_to_levels(torch.einsum("ij,njhw->nihw", _to_tensor(np.linalg.inv(_YCC), batch), back) / 255)


def _halve_chroma(chroma: Tensor) -> Tensor:
    """Average 2x2 pixels; halves are rounded down and up alternately, as libjpeg does to avoid a bias."""
    means = F.avg_pool2d(chroma, 2)
    turns = torch.arange(means.shape[3], device=chroma.device) % 2
    return _round_half_up(means - (1 - turns) / 4)


def _build_table(base: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """Scale a table to `quality`, as the Independent JPEG Group does: quantisation steps (N, 8, 8)."""
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)[:, None, None]
    return ((torch.tensor(base).to(quality) * percent + 50) / 100).floor().clamp(1, 255)


def _quantise(planes: Tensor, table: Tensor) -> Tensor:
    """Quantise the cosine coefficients of planes (N, C, H, W) around 0; return the resulting levels."""
    cosine = _to_tensor(_cosine(), planes)
    whole = F.pad(planes, (0, 0, 0, -planes.shape[2] % 8), mode="replicate")
    rows, columns = (side // 8 for side in whole.shape[2:])
    blocks = whole.reshape(*whole.shape[:2], rows, 8, columns, 8).transpose(3, 4)
    table = table[:, None, None, None]
    kept = _round_half_up(cosine @ blocks @ cosine.T / table) * table
    back = (cosine.T @ kept @ cosine).transpose(3, 4).reshape(whole.shape)
    return _round_half_up(back[:, :, : planes.shape[2]]).clamp(-128, 127)


def _cosine() -> NDArray[np.float64]:
    """Return the orthonormal 8-point cosine transform as a matrix."""
    k, x = np.indices((8, 8))
    return np.asarray(np.cos((2 * x + 1) * k * np.pi / 16) * np.where(k == 0, np.sqrt(1 / 8), 0.5))


_DO: dict[type[Any], Callable[[Tensor, Any], Tensor]] = {
    Filter: _filter,
    Resizing: _resize,
    Decimation: _decimate,
    Noise: _add_noise,
    Poisson: _add_poisson_noise,
    Jpeg: _compress,
    Rounding: _round,
}
