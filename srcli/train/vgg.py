"""VGG19's features at named layers, for perceptual losses. https://arxiv.org/abs/1409.1556"""

import torch
from torch import Tensor, nn

from srcli.engine.weights import hub
from srcli.errors import UsageError, WeightsError
from srcli.manifest import HubFile

# torchvision's VGG19 for ImageNet, BSD-3-Clause, published by timm as safetensors with the same keys.
WEIGHTS = HubFile("timm/vgg19.tv_in1k", "128d4708565b3a414bcbb9bbad440b2fe37b9f18", "model.safetensors")
SHA256 = "11aea017b543ff59233749d8f1cf544cda749378f5790d2fedab841fb86b7669"
# Convolutions and their width in each of the five blocks, which end with a pooling.
_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
# Of the photographs in ImageNet.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _layers() -> dict[str, int]:
    """Return the numbers of conv1_1, relu1_1, conv1_2, ..., pool5 in torchvision."""
    names = []
    for block, (count, _) in enumerate(_BLOCKS, 1):
        names += [f"{kind}{block}_{i}" for i in range(1, count + 1) for kind in ("conv", "relu")]
        names.append(f"pool{block}")
    return {name: place for place, name in enumerate(names)}


LAYERS = _layers()


class Features(nn.Module):
    """VGG19 up to the last of `layers`, never trained; its keys are torchvision's."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.layers = {LAYERS[layer]: layer for layer in layers}
        self.features = nn.Sequential(*_stack()[: max(self.layers) + 1])
        self.least = 2 ** sum(isinstance(module, nn.MaxPool2d) for module in self.features)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(requires_grad=False)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        """Compute the features of (N, 1 or 3, H, W) in [0, 1] at each layer.

        Raises `UsageError` for images that the poolings would shrink to nothing.
        """
        if min(batch.shape[2:]) < self.least:
            reached = self.layers[max(self.layers)]
            raise UsageError(f"patches are too small for {reached}", f"it takes {self.least} px or more")
        found, x = {}, (batch.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        for place, module in enumerate(self.features):
            x = module(x)
            if place in self.layers:
                found[self.layers[place]] = x
        return found


def _stack() -> list[nn.Module]:
    modules: list[nn.Module] = []
    before = 3
    for count, width in _BLOCKS:
        for _ in range(count):
            modules += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        modules.append(nn.MaxPool2d(2))
    return modules


def load_features(layers: tuple[str, ...]) -> Features:
    """Load `Features` with the weights of `WEIGHTS`, downloaded (575 MB) if they are not cached.

    Raises `HubError` if the download fails.
    """
    features = Features(layers)
    try:
        path = hub.fetch_verified(WEIGHTS, SHA256)
    except hub.HubError as error:
        hint = f"{error.hint}; --preset quick does without these features"
        raise hub.HubError(f"VGG19, which the content loss needs: {error.message}", hint) from error
    from safetensors import safe_open

    with safe_open(path, "pt") as file:  # the dense layers, most of the file, are not read
        held = set(file.keys())
        missing = [key for key in features.state_dict() if key not in held]
        if missing:
            raise WeightsError(f"{path} is not VGG19: {missing[0]} is missing", "please report this as a bug")
        features.load_state_dict({key: file.get_tensor(key) for key in features.state_dict()})
    return features
