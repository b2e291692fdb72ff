"""Losses and discriminators: each by its law, by a value worked out by hand, and by something that learns."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers.fake_hub import FakeHub
from helpers.hub_client import run_python
from helpers.paths import SAMPLES
from srcli.engine.weights import hub
from srcli.engine.weights.hub import HubError
from srcli.errors import UsageError, WeightsError
from srcli.imaging.image import read_image
from srcli.imaging.resize import resize
from srcli.storage.hashing import sha256
from srcli.train import discriminators, losses, vgg
from srcli.train.discriminators import Deep, UNet, Vgg
from srcli.train.losses import ADVERSARIAL, FEATURE, PIXEL, Images, Term, build, parse

# Few enough layers to be quick; the deep ones differ only in place.
SHALLOW = "relu2_1"


@pytest.fixture
def images() -> Images:
    """A noisy guess at four patches, x2."""
    pixels = read_image(SAMPLES / "astronaut.png").pixels
    crops = [pixels[y : y + 32, 100:132].transpose(2, 0, 1) for y in (60, 90, 120, 150)]
    hr = torch.from_numpy(np.stack(crops))
    torch.manual_seed(0)
    return Images(hr + 0.1 * torch.randn_like(hr), hr, nn.functional.avg_pool2d(hr, 2))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VGG19's first layers at random, at the place where the Hub's file would lie; all else is real."""
    path = tmp_path / "vgg.safetensors"
    write_vgg(path)
    monkeypatch.setattr(hub, "find_cached", lambda file: path)
    monkeypatch.setattr(vgg, "SHA256", sha256(path))
    return path


def write_vgg(path: Path) -> None:
    torch.manual_seed(0)
    state = vgg.Features(("relu3_1",)).state_dict()
    save_file({**state, "head.fc.bias": torch.zeros(1000)}, path)


def same(images: Images) -> Images:
    return Images(images.hr, images.hr, images.lr)


def loss_of(text: str, images: Images) -> float:
    return losses.total(build(parse(text))(images)).item()


# --- pixels ---


@pytest.mark.parametrize("name", ["l1", "l2", "frequency", "best-buddy"])
def test_equal_images_lose_nothing(name: str, images: Images) -> None:
    assert PIXEL[name](same(images)).item() == 0
    assert PIXEL[name](images).item() > 0


def test_charbonnier_of_equal_images_is_its_smoothing(images: Images) -> None:
    assert losses.charbonnier(same(images)).item() == pytest.approx(1e-3)


def test_variation_of_a_constant_is_none() -> None:
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert losses.tv(Images(flat, flat, flat)).item() == 0


def test_cycle_is_nothing_where_the_reduction_is_the_input(images: Images) -> None:
    pixels = images.hr[0].permute(1, 2, 0).numpy()
    lr = torch.from_numpy(resize(pixels, 16, 16).transpose(2, 0, 1).copy())[None]
    assert losses.cycle(Images(images.hr[:1], images.hr[:1], lr)).item() < 1e-6


HAND: list[tuple[str, float]] = [
    ("l1", (0 + 0.5 + 1 + 0) / 4),
    ("l2", (0 + 0.25 + 1 + 0) / 4),
    ("charbonnier", (1e-3 + math.sqrt(0.25 + 1e-6) + math.sqrt(1 + 1e-6) + 1e-3) / 4),
    # Rows 0, 0.5 and 1, 0: down by 1 and 0.5, across by 0.5 and 1.
    ("tv", (1 + 0.5) / 2 + (0.5 + 1) / 2),
    ("cycle", abs(1.5 / 4 - 0.25)),
    # The transform of a 2x2 difference: its sum, and what is left after changing signs by column, row, both.
    ("frequency", (1.5 + 0.5 + 0.5 + 1.5) / 8),
]


@pytest.mark.parametrize(("name", "value"), HAND)
def test_pixel_losses_by_hand(name: str, value: float) -> None:
    sr, hr = torch.tensor([[0, 0.5], [1, 0]]), torch.zeros(2, 2)
    images = Images(sr[None, None], hr[None, None], torch.full((1, 1, 1, 1), 0.25))
    assert PIXEL[name](images).item() == pytest.approx(value, abs=1e-6)


def blocks(*values: float) -> Tensor:
    """Patches of 3x3 pixels, each of one grey value, side by side."""
    return torch.tensor(values).repeat_interleave(3).expand(1, 1, 3, -1)


def test_the_best_buddy_is_the_nearest_to_the_midpoint() -> None:
    """Of 0.8, whose truth is 0, that is 0.5 beside it; of 0.1 with 0.5 it is 0.5, which 0.3 is nearer to."""
    sr, hr = blocks(0.8, 0.1), blocks(0.0, 0.5)
    found = losses.best_buddy(Images(sr, hr, hr))
    assert found.item() == pytest.approx((abs(0.8 - 0.5) + abs(0.1 - 0.5)) / 2)
    assert found < losses.l1(Images(sr, hr, hr))


def test_best_buddies_are_looked_for_at_smaller_sizes_too() -> None:
    """All midpoints are here the one patch of the truth at half its size, which is as far as the truth is."""
    torch.manual_seed(0)
    hr = torch.rand(1, 1, 6, 6)
    half = nn.functional.interpolate(hr, scale_factor=0.5, mode="bicubic").repeat(1, 1, 2, 2)
    found = Images(2 * half - hr, hr, hr)
    assert losses.best_buddy(found).item() == pytest.approx(losses.l1(found).item() / 2)


def test_best_buddies_are_looked_for_in_parts_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """All distances of a crop for x16 would take 4 GB; `make recipes` was killed for it."""
    torch.manual_seed(0)
    images = Images(torch.rand(2, 3, 24, 24), torch.rand(2, 3, 24, 24), torch.rand(2, 3, 6, 6))
    whole = losses.best_buddy(images)
    monkeypatch.setattr(losses, "_DISTANCES", 300)
    assert losses.best_buddy(images).item() == whole.item()


def test_patches_without_room_for_a_buddy_are_named() -> None:
    small = torch.zeros(1, 3, 2, 2)
    with pytest.raises(UsageError, match="too small for best-buddy"):
        losses.best_buddy(Images(small, small, small))


@pytest.mark.parametrize("name", PIXEL)
def test_gradients_of_pixel_losses(name: str) -> None:
    torch.manual_seed(1)
    hr, lr = torch.rand(2, 3, 8, 8, dtype=torch.float64), torch.rand(2, 3, 4, 4, dtype=torch.float64)
    sr = torch.rand_like(hr).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: PIXEL[name](Images(x, hr, lr)), sr)


# --- features ---


def test_layers_are_numbered_as_torchvision_does() -> None:
    """https://github.com/pytorch/vision, models/vgg.py: the shapes of `features.N.weight` of vgg19."""
    places = {
        "conv1_1": 0,
        "relu2_2": 8,
        "pool2": 9,
        "relu3_1": 11,
        "conv5_4": 34,
        "relu5_4": 35,
        "pool5": 36,
    }
    assert {name: vgg.LAYERS[name] for name in places} == places
    assert len(vgg.LAYERS) == 37
    with torch.device("meta"):
        state = vgg.Features(("pool5",)).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items() if key.endswith("weight")}
    assert len(shapes) == 16
    assert shapes["features.10.weight"] == (256, 128, 3, 3)
    assert shapes["features.34.weight"] == (512, 512, 3, 3)
    # 143,667,240 in all, of which 123,642,856 are in the dense layers.
    assert sum(value.numel() for value in state.values()) == 143_667_240 - 123_642_856


def test_features_are_of_the_normalised_image_and_are_not_trained(weights: Path, images: Images) -> None:
    features = vgg.load_features(("conv1_1", "relu1_1"))
    found = features(images.hr)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    by_hand = features.features[0]((images.hr - mean) / deviation)
    torch.testing.assert_close(found["conv1_1"], by_hand)
    torch.testing.assert_close(found["relu1_1"], by_hand.relu())
    assert not any(weight.requires_grad for weight in features.parameters())


def test_grey_images_have_features_too(weights: Path, images: Images) -> None:
    features = vgg.load_features((SHALLOW,))
    grey = images.hr.mean(1, keepdim=True)
    torch.testing.assert_close(features(grey), features(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("text", [f"content:{SHALLOW}", "content:conv2_1", f"texture:{SHALLOW}", "texture"])
def test_equal_features_lose_nothing(text: str, weights: Path, images: Images) -> None:
    assert loss_of(text, same(images)) == 0
    assert loss_of(text, images) > 0


def test_content_before_an_activation_is_absolute_and_after_it_squared() -> None:
    sr, hr = torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    assert losses.content(sr, hr, "conv5_4").item() == pytest.approx(1.5)
    assert losses.content(sr, hr, "relu5_4").item() == pytest.approx(2.5)


def test_gram_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[0.0, 3.0]]]])
    torch.testing.assert_close(losses.gram(features), torch.tensor([[[5.0, 6.0], [6.0, 9.0]]]) / 4)
    value = losses.texture(features, torch.zeros_like(features), SHALLOW).item()
    assert value == pytest.approx((25 + 36 + 36 + 81) / 16)


def test_texture_forgets_where_things_are(weights: Path, images: Images) -> None:
    """Gram matrices of the first layer do not change when a periodic image moves."""
    moved = Images(images.hr.roll(8, 2), images.hr, images.lr)
    features = torch.rand(1, 5, 6, 6)
    torch.testing.assert_close(losses.gram(features), losses.gram(features.roll((2, 3), (2, 3))))
    assert loss_of("texture:relu1_1", moved) < 0.05 * loss_of("texture:relu1_1", images)


def test_content_reaches_the_layer_of_esrgan_by_default() -> None:
    assert FEATURE["content"].layers == ("conv5_4",)


@pytest.mark.parametrize("name", FEATURE)
def test_gradients_of_feature_losses(name: str, weights: Path) -> None:
    torch.manual_seed(1)
    features = vgg.load_features(("conv1_1", "conv1_2")).double()
    hr = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    layer, function = "conv1_2", FEATURE[name].function
    truth = features(hr)[layer]
    sr = torch.rand_like(hr).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: function(features(x)[layer], truth, layer), sr)


def test_patches_too_small_for_a_layer_are_named(weights: Path) -> None:
    small = torch.zeros(1, 3, 3, 3)
    with pytest.raises(UsageError, match="too small for relu3_1"):
        build(parse("content:relu3_1"))(Images(small, small, small))


def test_a_file_that_is_no_vgg_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"features.0.weight": torch.zeros(1)}, weights)
    monkeypatch.setattr(vgg, "SHA256", sha256(weights))
    with pytest.raises(WeightsError, match=r"is not VGG19: features\.0\.bias is missing"):
        vgg.load_features((SHALLOW,))


def test_without_a_network_the_message_is_the_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_cached", lambda file: None)
    monkeypatch.setattr(hub, "is_reachable", lambda endpoint: False)
    with pytest.raises(HubError, match="no network"):
        build(parse("l1=1,content=0.1"))


def test_weights_are_pinned() -> None:
    assert vgg.WEIGHTS.pinned
    assert len(vgg.SHA256) == 64


@pytest.mark.slow
def test_vgg_comes_from_the_hub(fake_hub: FakeHub, tmp_path: Path) -> None:
    path = tmp_path / "vgg.safetensors"
    write_vgg(path)
    place = f"/{vgg.WEIGHTS.repo}/resolve/{vgg.WEIGHTS.revision}/{vgg.WEIGHTS.file}"
    fake_hub.files[place] = path.read_bytes()
    code = (
        "import torch\nfrom srcli.train import losses, vgg\n"
        f"vgg.SHA256 = {sha256(path)!r}\n"
        "x = torch.rand(1, 3, 16, 16)\n"
        "terms = losses.build(losses.parse('texture=2'))(losses.Images(x, 1 - x, x))\n"
        "print(list(terms), terms['texture'].item() > 0)\n"
    )
    done = run_python(code, tmp_path, fake_hub.url)
    assert done.stdout == "['texture'] True\n", done.stderr
    assert fake_hub.count("GET") == 1


# --- adversarial ---


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


# Logits of real 2 and 0, of fake -1 and 1: means 1 and 0.
LOGITS: dict[str, tuple[float, float]] = {
    "vanilla": (
        (softplus(1) + softplus(-1)) / 2,
        (softplus(-2) + softplus(0)) / 2 + (softplus(-1) + softplus(1)) / 2,
    ),
    "lsgan": ((4 + 0) / 4, (1 + 1) / 4 + (1 + 1) / 4),
    "hinge": (0, (0 + 1) / 2 + (0 + 2) / 2),
    "ragan": (
        (softplus(2) + softplus(0)) / 2 + (softplus(2) + softplus(0)) / 2,
        (softplus(-2) + softplus(0)) / 2 + (softplus(-2) + softplus(0)) / 2,
    ),
}


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_adversarial_losses_by_hand(kind: str) -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])
    pair, (generator, discriminator) = ADVERSARIAL[kind], LOGITS[kind]
    assert pair.generator(real, fake).item() == pytest.approx(generator)
    assert pair.discriminator(real, fake).item() == pytest.approx(discriminator)


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize("side", ["generator", "discriminator"])
def test_gradients_of_adversarial_losses(kind: str, side: str) -> None:
    torch.manual_seed(1)
    real, fake = (torch.randn(5, dtype=torch.float64).requires_grad_() for _ in range(2))
    loss: Callable[[Tensor, Tensor], Tensor] = getattr(ADVERSARIAL[kind], side)
    assert torch.autograd.gradcheck(loss, (real, fake))


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_the_two_sides_pull_apart(kind: str) -> None:
    """A more convincing fake is better for the generator and worse for the discriminator."""
    real, fake = torch.tensor([0.5, 0.9]), torch.tensor([0.3, 0.1])
    pair = ADVERSARIAL[kind]
    assert pair.generator(real, fake + 0.2) < pair.generator(real, fake)
    assert pair.discriminator(real, fake + 0.2) > pair.discriminator(real, fake)


def test_the_generators_step_leaves_the_discriminator_alone(images: Images) -> None:
    discriminator = UNet(features=8)
    objective = build(parse("l1=1,adversarial:ragan=0.1"), discriminator=discriminator)
    sr = images.sr.clone().requires_grad_()
    losses.total(objective(Images(sr, images.hr, images.lr))).backward()
    assert sr.grad is not None
    assert sr.grad.abs().sum() > 0
    assert all(weight.grad is None and weight.requires_grad for weight in discriminator.parameters())
    sr.grad = None
    objective.discriminator_loss(Images(sr, images.hr, images.lr)).backward()
    assert sr.grad is None
    assert all(weight.grad is not None for weight in discriminator.parameters())


def half_flat() -> Images:
    """Noise at the left, one colour at the right, x2; the estimate is off everywhere."""
    torch.manual_seed(0)
    hr = torch.rand(2, 3, 32, 48)
    hr[..., 24:] = 0.4
    return Images((hr + 0.1).requires_grad_(), hr, nn.functional.avg_pool2d(hr, 2))


def test_texture_is_where_grey_values_differ() -> None:
    """As the authors write it: the standard deviation within each window of 11x11, mirrored at the border."""
    images = half_flat()
    shown = losses.texture_mask(images, 0.025)
    assert shown.shape == (2, 1, 32, 48)
    assert shown[..., :20].all()
    assert not shown[..., 34:].any()
    large = nn.functional.interpolate(images.lr, scale_factor=2, mode="bicubic")
    grey = (large * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    deviations = nn.functional.unfold(nn.functional.pad(grey, (5, 5, 5, 5), "reflect"), 11).std(1)
    assert ((deviations >= 0.025).view(shown.shape) == shown.bool()).float().mean() > 0.98
    flat = Images(images.hr, images.hr, torch.full((2, 1, 16, 24), 0.3))
    assert not losses.texture_mask(flat, 0.025).any()


def test_flat_regions_are_not_judged() -> None:
    """What the judge says pulls at textured pixels alone; the judge is shown nothing else either."""
    images, objective = (
        half_flat(),
        build(parse("adversarial:ragan"), discriminator=UNet(features=8), regions=0.025),
    )
    losses.total(objective(images)).backward()
    assert images.sr.grad is not None
    shown = losses.texture_mask(images, 0.025).expand_as(images.sr).bool()
    assert not images.sr.grad[~shown].any()
    assert images.sr.grad[shown].ne(0).float().mean() > 0.99
    other = Images(torch.where(shown, images.sr, 0.9).detach(), images.hr, images.lr)
    torch.testing.assert_close(objective.discriminator_loss(other), objective.discriminator_loss(images))


def test_an_adversarial_loss_needs_a_discriminator() -> None:
    with pytest.raises(UsageError, match="needs a discriminator"):
        build(parse("adversarial"))


# --- sums ---


def test_text_gives_the_terms() -> None:
    assert parse("l1") == (Term("l1"),)
    assert parse("l1=1, content:relu2_2=0.006") == (Term("l1"), Term("content", 0.006, "relu2_2"))
    assert [term.label for term in parse("tv=2e-8,adversarial:ragan")] == ["tv", "adversarial:ragan"]
    assert losses.is_adversarial(parse("l1,adversarial"))
    assert not losses.is_adversarial(parse("l1,tv"))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("l3", "no loss called 'l3'", "charbonnier"),
        ("", "no loss called ''", "l1"),
        ("l1=1,,l2", "no loss called ''", "l1"),
        ("l1=much", "the weight of l1 cannot be 'much'", "l1=0.1"),
        ("l1=0", "the weight of l1 cannot be '0'", "l1=0.1"),
        ("l1=-1", "the weight of l1 cannot be '-1'", "l1=0.1"),
        ("l1=nan", "the weight of l1 cannot be 'nan'", "l1=0.1"),
        ("l1=inf", "the weight of l1 cannot be 'inf'", "l1=0.1"),
        ("l1=", "the weight of l1 cannot be ''", "l1=0.1"),
        ("l1,l1=2", "the loss 'l1' is written twice", "sum"),
        ("l1:relu1_1", "the loss 'l1' has no variant 'relu1_1'", "write l1"),
        ("content:conv6_1", "the loss 'content' has no variant 'conv6_1'", "conv5_4"),
        ("adversarial:wgan", "the loss 'adversarial' has no variant 'wgan'", "ragan"),
        ("adversarial,adversarial:hinge", "only one adversarial loss", "remove"),
    ],
)
def test_text_that_means_nothing_is_a_usage_error(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_terms_are_weighted_and_named(weights: Path, images: Images) -> None:
    text = f"l1=0.5,texture:{SHALLOW}=2,content:{SHALLOW}=3,content:conv1_1"
    terms = build(parse(text))(images)
    assert list(terms) == ["l1", f"texture:{SHALLOW}", f"content:{SHALLOW}", "content:conv1_1"]
    assert terms["l1"].item() == pytest.approx(0.5 * losses.l1(images).item())
    assert terms[f"content:{SHALLOW}"].item() == pytest.approx(3 * loss_of(f"content:{SHALLOW}", images))
    assert losses.total(terms).item() == pytest.approx(sum(term.item() for term in terms.values()))


def test_the_term_that_is_not_finite_is_named(images: Images) -> None:
    broken = Images(images.sr, images.hr, images.lr * math.nan)
    terms = build(parse("l1,cycle,tv"))(broken)
    assert losses.find_nonfinite(terms) == "cycle"
    assert losses.find_nonfinite(build(parse("l1,tv"))(broken)) == ""


class Small(nn.Module):
    """Enlarges by two."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 12, 3, padding=1)]
        self.body = nn.Sequential(*layers, nn.PixelShuffle(2))

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.body(batch)
        return out


LEARNED = [*PIXEL, *FEATURE, "l1=1,texture=0.05,frequency=0.01"]


@pytest.mark.parametrize("text", LEARNED)
def test_a_network_learns_by_it(text: str, weights: Path, images: Images) -> None:
    text = text.replace("content", f"content:{SHALLOW}")
    objective, network = build(parse(text)), Small()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    values = []
    for _ in range(25):
        loss = losses.total(objective(Images(network(images.lr), images.hr, images.lr)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]


@pytest.mark.parametrize("kind", ADVERSARIAL)
@pytest.mark.parametrize("name", discriminators.DISCRIMINATORS)
def test_discriminator_and_generator_both_learn(kind: str, name: str, images: Images) -> None:
    """First the discriminator with the network still, then the network with the discriminator still."""
    torch.manual_seed(0)
    slim = {
        "vgg": partial(Vgg, 32), "esrgan": partial(Deep, 32), "deep": partial(Deep, 32), "unet": UNet
    }  # fmt: skip
    discriminator = slim[name](features=8)
    network, objective = Small(), build(parse(f"adversarial:{kind}"), discriminator=discriminator)
    drawn = [
        (discriminator, objective.discriminator_loss),
        (network, lambda seen: losses.total(objective(seen))),
    ]
    for module, loss_of_seen in drawn:
        optimiser, values = torch.optim.Adam(module.parameters(), 1e-3), []
        for _ in range(12):
            loss = loss_of_seen(Images(network(images.lr), images.hr, images.lr))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            values.append(loss.item())
        assert values[-1] < values[0] - 0.02


# --- discriminators ---


@pytest.mark.parametrize(("patch", "parameters"), [(96, 23_563_649), (128, 38_243_713)])
def test_srgans_discriminator_is_figure_4(patch: int, parameters: int) -> None:
    """Eight convolutions of 64 to 512, a dense layer of 1024; each normalised one without a bias."""
    convolutions = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    by_hand = sum(9 * a * b for a, b in convolutions) + 64 + 2 * sum(b for _, b in convolutions[1:])
    by_hand += (512 * (patch // 16) ** 2 + 1) * 1024 + 1025
    with torch.device("meta"):
        network = Vgg(patch)
        assert network(torch.rand(2, 3, patch, patch)).shape == (2, 1)
    assert sum(weight.numel() for weight in network.parameters()) == by_hand == parameters


@pytest.mark.parametrize(("patch", "halvings", "left"), [(192, 6, 3), (128, 5, 4), (256, 6, 4), (48, 4, 3)])
def test_bebygans_discriminator_has_the_published_layers(patch: int, halvings: int, left: int) -> None:
    """https://github.com/dvlab-research/Simple-SR, utils/modules/discriminator.py; 48 is of no paper."""
    widths = [32, 64, 128, 256, 256, 256][:halvings]
    by_hand = 3 * 9 * 32 + 32 + 16 * 32 * 32 + 2 * 32
    by_hand += sum(9 * a * b + 16 * b * b + 4 * b for a, b in itertools.pairwise(widths))
    by_hand += (widths[-1] * left**2 + 1) * 100 + 101
    with torch.device("meta"):
        network = Deep(patch)
        assert network(torch.rand(2, 3, patch, patch)).shape == (2, 1)
    assert sum(weight.numel() for weight in network.parameters()) == by_hand


def test_esrgans_discriminator_has_the_published_layers() -> None:
    """https://github.com/XPixelGroup/BasicSR, VGGStyleDiscriminator: five halvings, 8192-100-1."""
    widths = [64, 128, 256, 512, 512]
    by_hand = 9 * 3 * 64 + 64 + 16 * 64 * 64 + 2 * 64
    by_hand += sum(9 * a * b + 16 * b * b + 4 * b for a, b in itertools.pairwise(widths))
    by_hand += (8192 + 1) * 100 + 101
    with torch.device("meta"):
        network = discriminators.build("esrgan", 128, 3)
        assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == 10
        assert network(torch.rand(2, 3, 128, 128)).shape == (2, 1)
    assert sum(weight.numel() for weight in network.parameters()) == by_hand


@pytest.mark.parametrize("name", discriminators.DISCRIMINATORS)
@pytest.mark.parametrize("patch", [16, 72, 85, 255])
def test_discriminators_take_patches_of_any_size(name: str, patch: int) -> None:
    with torch.device("meta"):
        assert len(discriminators.build(name, patch, 3)(torch.rand(2, 3, patch, patch))) == 2


def test_real_esrgans_discriminator_has_the_published_layers() -> None:
    """https://github.com/xinntao/Real-ESRGAN, realesrgan/archs/discriminator_arch.py."""
    network = UNet()
    assert sum(weight.numel() for weight in network.parameters()) == 4_376_897
    assert network(torch.rand(1, 3, 24, 40)).shape == (1, 1, 24, 40)


def test_discriminators_take_other_channels() -> None:
    for name in discriminators.DISCRIMINATORS:
        assert discriminators.build(name, 16, 1)(torch.rand(2, 1, 16, 16)).shape[:2] == (2, 1)


def test_discriminators_that_cannot_be_are_usage_errors() -> None:
    for name, patch, message in (
        ("patch", 96, "no discriminator called 'patch'"),
        ("unet", 4, "cannot take patches of 4 px"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            discriminators.build(name, patch, 3)
        assert caught.value.hint


def spectral_norms(network: nn.Module) -> list[float]:
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d) and m.bias is None]
    return [torch.linalg.matrix_norm(weight.detach().flatten(1), 2).item() for weight in weights]


def test_spectral_norms_are_one_whatever_the_weights(images: Images) -> None:
    network = UNet(features=8)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(30)
        for _ in range(20):
            network(images.hr)
    norms = spectral_norms(network)
    assert len(norms) == 8
    assert norms == pytest.approx([1] * 8, abs=0.05)


def test_a_normalised_convolution_is_lipschitz(images: Images) -> None:
    """A spectral norm of 1 bounds a 3x3 convolution by 3: each pixel is in nine windows."""
    network = UNet(features=8)
    for _ in range(20):
        network(images.hr)
    one, two = torch.randn(2, 1, 8, 16, 16)
    for convolution in network.after:
        moved = (convolution(one) - convolution(two)).norm() / (one - two).norm()
        assert moved.item() <= 3.1
