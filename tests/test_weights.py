"""Weights: only safe formats, only what fits, only what the manifest's digest says."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from srcli import archs, manifest
from srcli.engine import hub, weights
from srcli.errors import ManifestError, UsageError, WeightsError

HEX = "0" * 64


def entry(**changes: object) -> dict[str, object]:
    raw: dict[str, object] = {
        "model": "m",
        "arch": "fsrcnn",
        "scale": 2,
        "file": "m.safetensors",
        "sha256": HEX,
        "licence": "CC0-1.0",
        "licence_source": "here",
        "training_data": "none",
        "paper": "none",
    }
    return {**raw, **changes}


def write_manifest(folder: Path, *entries: dict[str, object]) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps({"weights": entries}))
    return path


def test_every_bundled_file_is_there_verified_and_fits() -> None:
    bundled = [e for e in manifest.load() if e.bundled]
    assert {(e.model, e.scale) for e in bundled} >= {("fsrcnn", 2), ("fsrcnn", 3), ("fsrcnn", 4)}
    for e in bundled:
        path = weights.locate(e)
        assert path.stat().st_size == e.bytes
        spec = weights.Spec(e.arch, e.scale, e.config)
        assert weights.read_spec(path) == spec
        weights.load(path, spec)


def test_hub_entries_are_pinned() -> None:
    remote = [e.file for e in manifest.load() if isinstance(e.file, manifest.HubFile)]
    assert len(remote) >= 3
    assert all(len(file.revision) == 40 for file in remote)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sha256": "12"}, "sha256"),
        ({"scale": "2"}, "scale"),
        ({"licence": ""}, "licence"),
        ({"file": 3}, "file"),
        ({"file": {"repo": "a/b", "revision": "main", "file": "c"}}, "revision"),
        ({"file": {"repo": "a/b"}}, "revision"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_entries_are_named(change: dict[str, object], named: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=named) as caught:
        manifest.load(write_manifest(tmp_path, entry(**change)))
    assert "m x" in caught.value.message


def test_bad_manifests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="listed twice"):
        manifest.load(write_manifest(tmp_path, entry(), entry()))
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ManifestError, match="not a weights manifest"):
        manifest.load(tmp_path / "x.json")


def test_a_damaged_bundled_file_is_not_loaded() -> None:
    whole = next(e for e in manifest.load() if e.bundled)
    with pytest.raises(WeightsError, match="missing or damaged"):
        weights.locate(replace(whole, sha256=HEX))


def test_saved_weights_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    network = archs.build("espcn", 3, {"channels": 3})
    spec = weights.Spec("espcn", 3, {"channels": 3})
    weights.save(path, network, spec, {"step": "7"})
    assert weights.read_spec(path) == spec
    assert weights.read_header(path)["step"] == "7"
    again = weights.load(path, spec).state_dict()
    assert all(torch.equal(again[key], value) for key, value in network.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_plain_and_wrapped_checkpoints_load(tmp_path: Path) -> None:
    network = archs.build("edsr", 2)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    state["module.sub_mean.weight"] = torch.zeros(3, 3, 1, 1)
    for name, content in {"a.pth": state, "b.pt": {"params_ema": state}}.items():
        torch.save(content, tmp_path / name)
        loaded = weights.load(tmp_path / name, weights.Spec("edsr", 2)).state_dict()
        assert torch.equal(loaded["tail.1.bias"], network.state_dict()["tail.1.bias"])
        assert weights.read_spec(tmp_path / name) is None


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("hacked"),)


def test_pickled_code_is_refused_and_never_run(in_tmp: Path) -> None:
    torch.save({"weight": Evil()}, "evil.pth")
    Path("raw.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "raw.pth"):
        with pytest.raises(WeightsError, match="could run code"):
            weights.read_state(Path(name))
    assert not Path("hacked").exists()


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    weights.save(good, archs.build("fsrcnn", 2), weights.Spec("fsrcnn", 2), {})
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:5000])
    (tmp_path / "text.pth").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, message in {
        "cut.safetensors": "damaged",
        "text.pth": "is no weight file",
        "list.pth": "no tensors by name",
        "none.pth": "does not exist",
    }.items():
        with pytest.raises(WeightsError, match=message):
            weights.read_state(tmp_path / name)


def test_weights_of_another_network_name_the_first_difference(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"first_part.0.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"tensors missing, first first_part\.0\.bias"):
        weights.load(path, weights.Spec("fsrcnn", 2))
    weights.save(path, archs.build("espcn", 2), weights.Spec("espcn", 2), {})
    with pytest.raises(WeightsError, match=r"conv_3\.weight is"):
        weights.load(path, weights.Spec("espcn", 3))
    save_file(archs.build("srcnn", 2).state_dict() | {"more": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="too many"):
        weights.load(path, weights.Spec("srcnn", 2))


def test_unknown_models_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="no model called"):
        manifest.entries_of("nope")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert hub.sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


@pytest.mark.parity
def test_published_pickles_of_code_are_refused(shared: Path) -> None:
    for path in (shared / "weights" / "refuse").iterdir():
        with pytest.raises(WeightsError, match="could run code"):
            weights.read_state(path)
