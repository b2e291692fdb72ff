"""Value ranges: conversions are what they say, and files that want other values are found out."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers.networks import SMALL
from srcli import archs, manifest, methods
from srcli.archs.value_range import RANGES, read_value_range, set_value_range
from srcli.engine.weights import files, value_check
from srcli.errors import UsageError
from srcli.manifest import BUNDLED

ECBSR = archs.Spec("ecbsr", 2, {"residual": "bicubic", "branches": False})
FSRCNN = archs.Spec("fsrcnn", 2)
MEAN = torch.tensor((0.4488, 0.4371, 0.4040)).view(1, 3, 1, 1)
BY_HAND = {
    "0..1": lambda x: x,
    "0..255": lambda x: 255 * x,
    "-1..1": lambda x: 2 * x - 1,
    "0..1 less mean": lambda x: x - MEAN,
    "0..255 less mean": lambda x: 255 * (x - MEAN),
    "0..1 less 255 means": lambda x: x - 255 * MEAN,
}


@pytest.mark.parametrize("values", RANGES)
@pytest.mark.parametrize("arch", ["bsrn", "edsr", "rfdn"])
def test_a_networks_layers_see_the_values_that_its_configuration_says(arch: str, values: str) -> None:
    """Of a network with a mean shift of its own, and of one without."""
    config = {**SMALL[arch], "values": values}
    network = archs.build(arch, 2, config).eval()
    seen: list[torch.Tensor] = []
    first = next(layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
    first.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    batch = torch.rand(1, 3, 20, 20)
    with torch.no_grad():
        network(batch)
    torch.testing.assert_close(seen[0][:, :3], BY_HAND[values](batch), atol=1e-4, rtol=1e-5)
    assert network.state_dict().keys() == archs.build(arch, 2, SMALL[arch]).state_dict().keys()


@pytest.mark.parametrize("values", RANGES)
def test_conversions_are_undone(values: str) -> None:
    """A network that returns its input, enlarged, does so whatever its values."""

    class Repeat(torch.nn.Module):
        channels = 3

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.interpolate(batch, scale_factor=2.0)

    network = set_value_range(Repeat(), values)
    assert read_value_range(network) == RANGES[values]
    batch = torch.rand(1, 3, 5, 7)
    torch.testing.assert_close(network(batch), Repeat()(batch), atol=2e-5, rtol=0)


def test_unknown_values_are_named() -> None:
    with pytest.raises(UsageError, match=r"no values called '0\.\.9'"):
        archs.build("edsr", 2, {"values": "0..9"})


def test_values_stay_when_a_network_is_deployed() -> None:
    config = {**SMALL["lapar"], "values": "-1..1"}
    network = archs.build("lapar", 2, config).eval()
    plain, plain_config = archs.deploy("lapar", 2, config, network)
    assert plain_config["values"] == "-1..1"
    batch = torch.rand(1, 3, 9, 8)
    torch.testing.assert_close(plain(batch), network(batch))


def bundled_network() -> torch.nn.Module:
    """Return the bundled ECBSR x2, which wants [0, 1]."""
    return files.load_network(BUNDLED / "ecbsr-x2.safetensors", ECBSR).eval()


@pytest.mark.parametrize("wrong", [values for values in RANGES if values != "0..1"])
def test_a_network_with_wrong_values_is_found_out(wrong: str) -> None:
    network = set_value_range(bundled_network(), wrong)
    before = read_value_range(network)
    check = value_check.check_values(network, ECBSR)
    assert check.values == "0..1"
    assert check.best > 50 > check.own
    assert "expects values of 0..1" in check.message
    assert read_value_range(network) == before


def test_a_network_with_the_right_values_is_left_alone() -> None:
    network = bundled_network()
    check = value_check.check_values(network, ECBSR)
    assert check.values is None
    assert check.own > 50
    assert check.message == ""
    assert type(network) is type(bundled_network())
    assert not hasattr(network, "shift")


@pytest.mark.parametrize("file", ["photo-lite-x4"])
def test_a_network_for_photographs_is_left_alone(file: str) -> None:
    (entry,) = (entry for entry in manifest.load() if entry.file == f"{file}.safetensors")
    spec = archs.Spec(entry.arch, entry.scale, entry.config)
    path = entry.bundled
    assert path is not None
    check = value_check.check_values(files.load_network(path, spec).eval(), spec)
    assert check.values is None
    assert check.message == ""


def test_a_network_that_returns_noise_is_warned_of() -> None:
    torch.manual_seed(0)
    spec = archs.Spec("edsr", 2, SMALL["edsr"])
    check = value_check.check_values(archs.build("edsr", 2, spec.config).eval(), spec)
    assert check.values is None
    assert "hardly resemble" in check.message


def foreign_file(folder: Path, factor: float) -> Path:
    """Write the bundled FSRCNN x2 without its header, its biases such that it wants pixels times `factor`.

    But for the biases, its layers, which are convolutions and PReLU, let a factor pass.
    """
    state = files.load_network(BUNDLED / "fsrcnn-x2.safetensors", FSRCNN).state_dict()
    scaled = {key: value * factor if key.endswith(".bias") else value for key, value in state.items()}
    path = folder / f"foreign-{factor:g}.safetensors"
    save_file(scaled, path)
    return path


def test_a_foreign_file_is_checked_once(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, said = foreign_file(in_tmp, 255.0), list[str]()
    spec, digest = value_check.settle_values(path, FSRCNN, said.append)
    assert spec == archs.Spec("fsrcnn", 2, {"values": "0..255"})
    assert digest is not None
    assert len(said) == 1
    assert said[0].startswith("foreign-255.safetensors expects values of 0..255")
    # The second time nothing is run, and as much is said.
    monkeypatch.setattr(value_check, "check_values", None)
    assert value_check.settle_values(path, FSRCNN, said.append) == (spec, digest)
    assert said[1] == said[0]


def test_files_that_say_what_they_want_are_not_checked(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_check, "check_values", None)
    own = BUNDLED / "fsrcnn-x2.safetensors"
    assert value_check.settle_values(own, FSRCNN) == (FSRCNN, None)
    path = foreign_file(in_tmp, 255.0)
    given = archs.Spec("fsrcnn", 2, {"values": "0..1"})
    assert value_check.settle_values(path, given) == (given, None)


def test_a_foreign_file_is_upscaled_with_its_values(in_tmp: Path) -> None:
    """Away from the border, which the bundled file sees mirrored."""
    pixels = torch.rand(40, 44, 3).numpy()
    expected = methods.load_method_file(BUNDLED / "fsrcnn-x2.safetensors", 2)(pixels, 2)
    method = methods.load_method_file(foreign_file(in_tmp, 255.0), 2, arch="fsrcnn")
    assert "values=0..255" in method.identified_as
    torch.testing.assert_close(
        *(torch.from_numpy(out[24:-24, 24:-24]) for out in (method(pixels, 2), expected)), atol=1e-4, rtol=0
    )
