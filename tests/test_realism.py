"""`--realism`: weights between those of a model and its second set."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from helpers.command import Run
from srcli import manifest
from srcli.engine.sample_photo import crop_photo
from srcli.engine.weights.ncnn import read_graph, read_layers, replace_weights
from srcli.errors import UsageError, WeightsError
from srcli.methods import MethodOptions, load_method
from srcli.methods.choice import ModelChoice
from srcli.methods.realism import blend_natural

PHOTO = next(entry for entry in manifest.load() if entry.natural)


def test_a_blend_lies_between_both_sets_of_weights() -> None:
    assert PHOTO.bundled
    assert PHOTO.natural_file
    own, natural = load_file(PHOTO.bundled), load_file(PHOTO.natural_file)
    for realism in (0.25, 1.0):
        mixed = load_file(blend_natural(PHOTO, realism).path)
        assert mixed.keys() == own.keys()
        assert {value.dtype for value in mixed.values()} == {np.dtype(np.float16)}
        for key, value in mixed.items():
            expected = own[key].astype(np.float32) * (1 - realism) + natural[key] * realism
            np.testing.assert_allclose(value, expected, atol=2e-3)


@pytest.mark.parametrize("runtime", ["ncnn", "opencv", "torch"])
def test_every_runtime_runs_the_blend(runtime: str) -> None:
    """The converted form is made from that of the model; torch reads the weights themselves."""
    pixels = crop_photo(24, 30)
    results = {
        realism: load_method(PHOTO.model, PHOTO.scale, MethodOptions("cpu", realism=realism, runtime=runtime))
        for realism in (0.0, 0.5, 1.0)
    }
    plain, half, natural = (method(pixels, PHOTO.scale) for method in results.values())
    assert np.abs(plain - natural).max() > 0.02
    # Weights are blended, not results, but nearby networks are almost linear between each other.
    assert np.abs(half - (plain + natural) / 2).mean() < np.abs(plain - natural).mean() / 3
    reference = load_method(PHOTO.model, PHOTO.scale, MethodOptions("cpu", realism=0.5, runtime="torch"))
    assert np.abs(half - reference(pixels, PHOTO.scale)).max() < 1e-3


def test_only_tensors_of_the_network_are_replaced() -> None:
    assert PHOTO.bundled
    graph, old = read_graph(PHOTO.bundled.with_suffix(".ncnn.param")), load_file(PHOTO.bundled)
    assert replace_weights(graph, old, old) == graph.bin.read_bytes()
    arrays = sum(len(arrays) for _, arrays in read_layers(graph))
    assert arrays == len(old) + 1  # the kernel of bicubic is no weight
    with pytest.raises(WeightsError, match="has no other"):
        replace_weights(graph, {"other": np.zeros(3, np.float16)}, {})


def test_models_with_one_set_of_weights_refuse_it(tmp_path: Path, sr: Run) -> None:
    with pytest.raises(UsageError, match="edsr has one"):
        ModelChoice("edsr").check_realism(0.5)
    with pytest.raises(UsageError, match="photo has one"):
        ModelChoice(weights=tmp_path / "photo.safetensors").check_realism(0.5)
    ModelChoice("auto").check_realism(0.5)
    done = sr("upscale", "photo.png", "-m", "slimres", "--realism", "0.5")
    assert done.code == 2
    assert "use -m photo" in done.err
    assert sr("upscale", "photo.png", "-m", "photo", "--realism", "1.5").code == 2
