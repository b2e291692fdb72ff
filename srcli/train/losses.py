"""Training losses by name, and weighted sums of them, written as `l1=1,content=0.1,adversarial=0.005`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.datasets import parse_weight
from srcli.errors import UsageError
from srcli.train.degrade import resize
from srcli.train.vgg import LAYERS, Features, load_features


@dataclass(frozen=True)
class Images:
    """Batches (N, C, H, W) in [0, 1]: the network's output, its target, and the low-resolution image.

    `teacher`: the output of a teacher, which may have other channels, if there is one.
    """

    sr: Tensor
    hr: Tensor
    lr: Tensor
    teacher: Tensor | None = None


# --- pixel losses ---


def l1(images: Images) -> Tensor:
    """Mean |sr - hr|."""
    return F.l1_loss(images.sr, images.hr)


def l2(images: Images) -> Tensor:
    """Mean (sr - hr)^2."""
    return F.mse_loss(images.sr, images.hr)


def charbonnier(images: Images) -> Tensor:
    """Mean sqrt((sr - hr)^2 + e^2) with e = 0.001, which equal images give.

    LapSRN, https://arxiv.org/abs/1704.03915, section 3.3
    """
    return ((images.sr - images.hr) ** 2 + 1e-6).sqrt().mean()


def tv(images: Images) -> Tensor:
    """Mean |sr(y + 1, x) - sr(y, x)| + mean |sr(y, x + 1) - sr(y, x)|: anisotropic total variation of sr.

    Rudin, Osher and Fatemi 1992, https://doi.org/10.1016/0167-2789(92)90242-F
    """
    return images.sr.diff(dim=2).abs().mean() + images.sr.diff(dim=3).abs().mean()


def cycle(images: Images) -> Tensor:
    """Mean |D sr - lr|, where D is MATLAB's antialiased bicubic reduction to the size of lr.

    CinCGAN's and others' consistency with the input, https://arxiv.org/abs/1809.00437
    """
    return F.l1_loss(resize(images.sr, *images.lr.shape[2:]), images.lr)


def frequency(images: Images) -> Tensor:
    """Mean over real and imaginary parts of |F sr - F hr|, where F is the unnormalised Fourier transform.

    MIMO-UNet, https://arxiv.org/abs/2108.05054, equation 6
    """
    spectrum = torch.fft.fft2(images.sr - images.hr)
    return torch.view_as_real(spectrum).abs().mean()


def best_buddy(images: Images) -> Tensor:
    """Mean |p - b(p)| over the 3x3 patches p of sr, where b(p) is the best-matching patch of the truth.

    b(p) is that patch c of hr, or of hr at half or a quarter of its size, for which |c - p|^2 + |c - g|^2 is
    least, where g is the patch of hr at p's place; so it is the one nearest to the midpoint of p and g.
    Best-Buddy GANs, https://arxiv.org/abs/2103.15295; bicubic without smoothing as in the authors' code.
    Raises `UsageError` for images that have no such patch.
    """
    if min(images.hr.shape[2:]) < _BUDDY:
        raise UsageError("patches are too small for best-buddy", f"it takes {_BUDDY} px or more")
    estimates, truths = _patches(images.sr), _patches(images.hr)
    factors = (by for by in (2, 4) if min(images.hr.shape[2:]) >= _BUDDY * by)
    candidates = torch.cat([truths, *(_patches(_shrink(images.hr, by)) for by in factors)], 1)
    return F.l1_loss(estimates, candidates.gather(1, _find_nearest((estimates + truths) / 2, candidates)))


# Side in pixels of the patches that are matched; the most distances of an image that are held at once.
_BUDDY, _DISTANCES = 3, 2**24


@torch.no_grad()
def _find_nearest(points: Tensor, candidates: Tensor) -> Tensor:
    """Return the places (N, P, C) of the nearest of (N, Q, C) for each of (N, P, C); P Q may be billions.

    Not by matrix products: their rounding errors would give equal images a loss above 0.
    """
    parts = torch.split(points, max(1, _DISTANCES // candidates.shape[1]), 1)
    apart = (torch.cdist(part, candidates, compute_mode="donot_use_mm_for_euclid_dist") for part in parts)
    return torch.cat([each.argmin(2, keepdim=True) for each in apart], 1).expand_as(points)


def _patches(batch: Tensor) -> Tensor:
    """Cut (N, C, H, W) into (N, count, 9C); a remainder at the right and lower edge is ignored."""
    return F.unfold(batch, _BUDDY, stride=_BUDDY).mT


def _shrink(batch: Tensor, by: int) -> Tensor:
    return F.interpolate(batch, scale_factor=1 / by, mode="bicubic")


PIXEL: dict[str, Callable[[Images], Tensor]] = {
    "l1": l1,
    "l2": l2,
    "charbonnier": charbonnier,
    "tv": tv,
    "cycle": cycle,
    "frequency": frequency,
    "best-buddy": best_buddy,
}


# --- feature losses ---


def content(sr: Tensor, hr: Tensor, layer: str) -> Tensor:
    """Mean |f(sr) - f(hr)| of features before an activation, mean (f(sr) - f(hr))^2 of those after one.

    The first is ESRGAN's with conv5_4, https://arxiv.org/abs/1809.00219; the second SRGAN's VGG22 and VGG54
    with relu2_2 and relu5_4, https://arxiv.org/abs/1609.04802, which weighs it by 0.006.
    """
    return F.l1_loss(sr, hr) if layer.startswith("conv") else F.mse_loss(sr, hr)


def texture(sr: Tensor, hr: Tensor, layer: str) -> Tensor:
    """Mean over images of |G(sr) - G(hr)|^2 (Frobenius), G = f f^T / (C H W) the Gram matrix of features.

    Johnson et al., https://arxiv.org/abs/1603.08155, section 3.2
    """
    return (gram(sr) - gram(hr)).square().sum(dim=(1, 2)).mean()


def gram(features: Tensor) -> Tensor:
    """Compute the Gram matrix of channels of (N, C, H, W), divided by C H W: (N, C, C)."""
    flat = features.flatten(2)
    return flat @ flat.mT / flat[0].numel()


@dataclass(frozen=True)
class FeatureLoss:
    """A feature loss, summed over `layers` unless one is named."""

    function: Callable[[Tensor, Tensor, str], Tensor]
    layers: tuple[str, ...]


FEATURE = {
    "content": FeatureLoss(content, ("conv5_4",)),
    # The layers of EnhanceNet's texture loss, https://arxiv.org/abs/1612.07919.
    "texture": FeatureLoss(texture, ("relu1_1", "relu2_1", "relu3_1")),
}


# --- adversarial losses: of the logits of real and generated images ---


@dataclass(frozen=True)
class Pair:
    """The losses of generator and discriminator, as functions of the logits (real, fake)."""

    generator: Callable[[Tensor, Tensor], Tensor]
    discriminator: Callable[[Tensor, Tensor], Tensor]


def vanilla_generator(real: Tensor, fake: Tensor) -> Tensor:
    """-mean log s(fake), s the logistic function: the non-saturating form, https://arxiv.org/abs/1406.2661."""
    return F.softplus(-fake).mean()


def vanilla_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-mean log s(real) - mean log(1 - s(fake)), https://arxiv.org/abs/1406.2661."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def lsgan_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Mean (fake - 1)^2 / 2, https://arxiv.org/abs/1611.04076, equation 9."""
    return (fake - 1).square().mean() / 2


def lsgan_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Mean (real - 1)^2 / 2 + mean fake^2 / 2, https://arxiv.org/abs/1611.04076, equation 9."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def hinge_generator(real: Tensor, fake: Tensor) -> Tensor:
    """-mean fake, https://arxiv.org/abs/1705.02894."""
    return -fake.mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Mean max(0, 1 - real) + mean max(0, 1 + fake), https://arxiv.org/abs/1705.02894."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def ragan_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-mean log s(real - mean fake) - mean log(1 - s(fake - mean real)).

    The discriminator estimates whether a real image looks more real than the average fake one.
    https://arxiv.org/abs/1807.00734, section 4.2; ESRGAN, https://arxiv.org/abs/1809.00219, equation 1
    """
    return F.softplus(fake.mean() - real).mean() + F.softplus(fake - real.mean()).mean()


def ragan_generator(real: Tensor, fake: Tensor) -> Tensor:
    """Swap real and fake in the discriminator's loss, ESRGAN's equation 2."""
    return ragan_discriminator(fake, real)


ADVERSARIAL = {
    "vanilla": Pair(vanilla_generator, vanilla_discriminator),
    "lsgan": Pair(lsgan_generator, lsgan_discriminator),
    "hinge": Pair(hinge_generator, hinge_discriminator),
    "ragan": Pair(ragan_generator, ragan_discriminator),
}


# BebyGAN's window for texture, in pixels on a side, and its weights of red, green and blue.
_AROUND = 11
_LUMA = (0.2989, 0.587, 0.114)


def texture_mask(images: Images, least: float) -> Tensor:
    """Compute the mask (N, 1, H, W) of textured pixels, which the discriminator sees: 1 or 0.

    A pixel is textured if the grey values of the 11x11 pixels around it, in the low-resolution image upscaled
    by bicubic, have a standard deviation of `least` or more: https://arxiv.org/abs/2103.15295
    """
    grey = _grey(resize(images.lr, *images.hr.shape[2:]))
    around = F.pad(grey, (_AROUND // 2,) * 4, "reflect")
    mean, squares = (F.avg_pool2d(values, _AROUND, 1) for values in (around, around.square()))
    variance = (squares - mean.square()) * _AROUND**2 / (_AROUND**2 - 1)
    return (variance >= least**2).to(grey.dtype)


def _grey(batch: Tensor) -> Tensor:
    """Convert (N, 1 or 3, H, W) to grey (N, 1, H, W)."""
    return batch if batch.shape[1] == 1 else F.conv2d(batch, batch.new_tensor(_LUMA).view(1, 3, 1, 1))


# --- weighted sums ---


@dataclass(frozen=True)
class Term:
    """`weight` times the loss `name`; `variant`: the layer of features, or the kind of adversarial loss."""

    name: str
    weight: float = 1.0
    variant: str = ""

    @property
    def label(self) -> str:
        """The term as it is written and logged."""
        return f"{self.name}:{self.variant}" if self.variant else self.name


Spec = tuple[Term, ...]

# The variants that may follow a colon, by name of the loss.
VARIANTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(PIXEL, ()),
    **dict.fromkeys(FEATURE, tuple(LAYERS)),
    "adversarial": tuple(ADVERSARIAL),
}


def parse(text: str) -> Spec:
    """Parse a sum written as `name`, `name=weight` or `name:variant=weight`, separated by commas.

    Raises `UsageError` for names and weights that do not exist, and for one written twice.
    """
    spec = tuple(_term(part.strip()) for part in text.split(","))
    labels = [term.label for term in spec]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise UsageError(
            f"the loss '{twice[0]}' is written twice", "write it once, with the sum of both weights"
        )
    if sum(term.name == "adversarial" for term in spec) > 1:
        raise UsageError("there can be only one adversarial loss", "remove the others")
    return spec


def _term(text: str) -> Term:
    label, sign, value = text.partition("=")
    name, colon, variant = label.partition(":")
    if name not in VARIANTS:
        raise UsageError(f"no loss called '{name}'", f"there are: {', '.join(VARIANTS)}")
    if colon and variant not in VARIANTS[name]:
        there_are = f"there are: {', '.join(VARIANTS[name])}" if VARIANTS[name] else f"write {name}"
        raise UsageError(f"the loss '{name}' has no variant '{variant}'", there_are)
    return Term(name, parse_weight(label, value, f"{label}=0.1") if sign else 1.0, variant)


@dataclass(frozen=True)
class Objective:
    """A sum of losses and the networks that it needs.

    `regions`: the threshold of `texture_mask`, which limits what the discriminator sees; 0: it sees all.
    """

    spec: Spec
    features: Features | None = None
    discriminator: nn.Module | None = None
    regions: float = 0.0

    def __call__(self, images: Images) -> dict[str, Tensor]:
        """Compute the weighted terms by label; the network minimises their sum."""
        found = _compute_features(self.features, images) if self.features else {}
        return {term.label: term.weight * self._value(term, images, found) for term in self.spec}

    def _value(self, term: Term, images: Images, found: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        if term.name in PIXEL:
            return PIXEL[term.name](images)
        if term.name in FEATURE:
            loss = FEATURE[term.name]
            return torch.stack([loss.function(*found[layer], layer) for layer in _layers_of(term)]).sum()
        with _freeze(self._judge):
            return _pair(term).generator(*self._logits(images))

    def discriminator_loss(self, images: Images) -> Tensor:
        """Compute the discriminator's loss; gradients do not reach the network that made `sr`."""
        term = next(term for term in self.spec if term.name == "adversarial")
        return _pair(term).discriminator(*self._logits(replace(images, sr=images.sr.detach())))

    def _logits(self, images: Images) -> tuple[Tensor, Tensor]:
        """Return the discriminator's logits of `hr` and `sr`."""
        shown = texture_mask(images, self.regions) if self.regions else 1.0
        return self._judge(images.hr * shown), self._judge(images.sr * shown)

    @property
    def _judge(self) -> nn.Module:
        assert self.discriminator is not None  # ensured by `build`
        return self.discriminator


def _layers_of(term: Term) -> tuple[str, ...]:
    return (term.variant,) if term.variant else FEATURE[term.name].layers


def _pair(term: Term) -> Pair:
    return ADVERSARIAL[term.variant or "vanilla"]


def _compute_features(features: Features, images: Images) -> dict[str, tuple[Tensor, Tensor]]:
    """Compute, by layer, the features of `sr` and, without gradients, of `hr`."""
    with torch.no_grad():
        real = features(images.hr)
    return {layer: (fake, real[layer]) for layer, fake in features(images.sr).items()}


@contextmanager
def _freeze(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through the module without computing those of its own weights."""
    module.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        module.requires_grad_(requires_grad=True)


def build(
    spec: Spec, device: str = "cpu", discriminator: nn.Module | None = None, regions: float = 0.0
) -> Objective:
    """Build the objective for `spec` on `device`; VGG19 is loaded if a term needs its features.

    `discriminator` and `regions` as in `Objective`. Raises `HubError` if VGG19 is needed and cannot be
    downloaded, `UsageError` if a discriminator is missing.
    """
    if is_adversarial(spec) and discriminator is None:
        raise UsageError("an adversarial loss needs a discriminator", "set gan.discriminator")
    layers = tuple(dict.fromkeys(layer for t in spec if t.name in FEATURE for layer in _layers_of(t)))
    return Objective(spec, load_features(layers).to(device) if layers else None, discriminator, regions)


def is_adversarial(spec: Spec) -> bool:
    """Return whether a discriminator has to be trained too."""
    return any(term.name == "adversarial" for term in spec)


def total(terms: dict[str, Tensor]) -> Tensor:
    """Add all terms."""
    return torch.stack(list(terms.values())).sum()


def find_nonfinite(terms: dict[str, Tensor]) -> str:
    """Return the label of the first term that is not finite; empty if all are."""
    return next((label for label, value in terms.items() if not bool(value.isfinite())), "")
