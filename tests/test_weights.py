"""Weights: only safe formats, only what fits, only what the manifest's digest says."""

import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from helpers.command import Run
from srcli import archs, manifest
from srcli.engine.weights import checkpoint, files, identify
from srcli.engine.weights.checkpoint import read_header
from srcli.errors import ManifestError, UsageError, WeightsError
from srcli.storage import hashing
from srcli.storage.hashing import sha256

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
        "purpose": "classical",
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
        path = files.locate_weights(e)
        assert path.stat().st_size == e.bytes
        spec = archs.Spec(e.arch, e.scale, e.config)
        assert files.read_spec(path) == spec
        files.load_network(path, spec)


@pytest.mark.slow
def test_every_entry_is_of_a_network_that_there_is() -> None:
    for e in manifest.load():
        with torch.device("meta"):
            archs.build(e.arch, e.scale, e.config)
        assert e.model == e.model.lower()


def test_hub_entries_are_pinned_or_known_by_digest_as_far_as_the_evidence_goes() -> None:
    loose = [
        e.name
        for e in manifest.load()
        if isinstance(e.file, manifest.HubFile) and not e.file.pinned and e.digest is None
    ]
    assert {name.rpartition("-")[0] for name in loose} == {
        "srresnet",
        "srresnet-deepinv",
        "srgan",
        "rrdb-psnr",
    }


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sha256": "12"}, "sha256"),
        ({"scale": "2"}, "scale"),
        ({"licence": ""}, "licence"),
        ({"file": 3}, "file"),
        ({"file": {"repo": "a/b", "revision": "", "file": "c"}}, "file"),
        ({"file": {"repo": "a/b", "revision": "main", "file": "c", "kind": "disk"}}, "file"),
        ({"purpose": "fun"}, "purpose"),
        ({"bytes": 1.5}, "bytes"),
        ({"expect": {"Set5": 3}}, "expect"),
        ({"published": {"Set5": "37"}}, "published"),
        ({"config": []}, "config"),
        ({"file": {"repo": "a/b"}}, "revision"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_entries_are_named(change: dict[str, object], named: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=named) as caught:
        manifest.load_own(write_manifest(tmp_path, entry(**change)))
    assert "m x" in caught.value.message


def test_bad_manifests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="listed twice"):
        manifest.load_own(write_manifest(tmp_path, entry(), entry()))
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ManifestError, match="not a weights manifest"):
        manifest.load_own(tmp_path / "x.json")


def test_a_damaged_bundled_file_is_not_loaded() -> None:
    whole = next(e for e in manifest.load() if e.bundled)
    with pytest.raises(WeightsError, match="missing or damaged"):
        files.locate_weights(replace(whole, sha256=HEX))


def test_saved_weights_say_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    network = archs.build("espcn", 3, {"channels": 3})
    spec = archs.Spec("espcn", 3, {"channels": 3})
    files.save_network(path, network, spec, {"step": "7"})
    assert files.read_spec(path) == spec
    assert read_header(path)["step"] == "7"
    again = files.load_network(path, spec).state_dict()
    assert all(torch.equal(again[key], value) for key, value in network.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_plain_and_wrapped_checkpoints_load(tmp_path: Path) -> None:
    network = archs.build("edsr", 2)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    state["module.sub_mean.weight"] = torch.zeros(3, 3, 1, 1)
    for name, content in {"a.pth": state, "b.pt": {"params_ema": state}}.items():
        torch.save(content, tmp_path / name)
        loaded = files.load_network(tmp_path / name, archs.Spec("edsr", 2)).state_dict()
        assert torch.equal(loaded["tail.1.bias"], network.state_dict()["tail.1.bias"])
        assert files.read_spec(tmp_path / name) is None


@pytest.mark.parametrize("wrapper", ["params", "params_ema", "state_dict", "model", "generator"])
def test_customary_wrappers_are_opened(wrapper: str, tmp_path: Path) -> None:
    state = archs.build("espcn", 2).state_dict()
    torch.save({"epoch": 3, wrapper: state, "optimizer": {"lr": 1.0}}, tmp_path / "a.pth.tar")
    assert files.read_state(tmp_path / "a.pth.tar").keys() == state.keys()


def test_half_precision_files_become_single(tmp_path: Path) -> None:
    network = archs.build("espcn", 2)
    save_file({key: value.half() for key, value in network.state_dict().items()}, tmp_path / "a.safetensors")
    loaded = files.load_network(tmp_path / "a.safetensors", archs.Spec("espcn", 2))
    for ours, theirs in zip(loaded.parameters(), network.parameters(), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("hacked"),)


def test_pickled_code_is_refused_and_never_run(in_tmp: Path) -> None:
    torch.save({"weight": Evil()}, "evil.pth")
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "note": Evil()}, "wrapped.pth")
    torch.save({"weight": Evil()}, "old.pth", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Conv2d(1, 1, 1), "module.pth")
    Path("raw.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "wrapped.pth", "old.pth", "module.pth", "raw.pth"):
        with pytest.raises(WeightsError, match="could run code"):
            files.read_state(Path(name))
    assert not Path("hacked").exists()
    pickle.loads(Path("raw.pth").read_bytes())
    assert Path("hacked").exists(), "the file would have run code"


def test_an_archive_that_unpacks_to_more_than_it_is_large_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(10**6)}, tmp_path / "good.pth")
    bomb = tmp_path / "bomb.pth"
    with (
        zipfile.ZipFile(tmp_path / "good.pth") as good,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in good.namelist():
            packed.writestr(name, good.read(name))
    assert bomb.stat().st_size < 10**5
    with pytest.raises(WeightsError, match="would unpack to 4,"):
        files.read_state(bomb)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    files.save_network(good, archs.build("fsrcnn", 2), archs.Spec("fsrcnn", 2), {})
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:5000])
    (tmp_path / "text.pth").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({}, tmp_path / "empty.pth")
    torch.save({"a": torch.zeros(999)}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:900])
    (tmp_path / "head.pth").write_bytes(b"\x80\x02}q")
    for name, message in {
        "cut.safetensors": "damaged",
        "text.pth": "is a text file",
        "cut.pth": "is damaged",
        "head.pth": "is damaged",
        "empty.pth": "no named tensors",
        "list.pth": "no named tensors",
        "none.pth": "does not exist",
    }.items():
        with pytest.raises(WeightsError, match=message):
            files.read_state(tmp_path / name)


def test_weights_of_another_network_name_the_first_difference(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"first_part.0.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"tensors missing, first first_part\.0\.bias"):
        files.load_network(path, archs.Spec("fsrcnn", 2))
    files.save_network(path, archs.build("espcn", 2), archs.Spec("espcn", 2), {})
    with pytest.raises(WeightsError, match=r"conv_3\.weight is"):
        files.load_network(path, archs.Spec("espcn", 3))
    save_file(archs.build("srcnn", 2).state_dict() | {"more": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="unexpected"):
        files.load_network(path, archs.Spec("srcnn", 2))


def test_unknown_models_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="no model called"):
        manifest.find_entries("nope")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


@pytest.mark.parity
def test_published_pickles_of_code_are_refused(shared: Path) -> None:
    for path in (shared / "weights" / "refuse").iterdir():
        with pytest.raises(WeightsError, match="could run code"):
            files.read_state(path)


@pytest.mark.parametrize("arch", archs.names())
def test_no_network_stumbles_over_foreign_keys(arch: str) -> None:
    foreign = {key: torch.zeros(1) for key in ("a", "model.0.weight", "model.x", "body.0.b.weight", "x.y.z")}
    archs.rename(arch, foreign)


@pytest.mark.slow
@pytest.mark.parametrize("arch", archs.names())
def test_every_variant_is_found_by_its_tensors(arch: str) -> None:
    """At least its network, scale and tensors; configurations of equal tensors can't be told apart."""
    for config in archs.variants(arch)[:3]:
        for scale in {archs.traits(arch).weight_scales[0], archs.traits(arch).weight_scales[-1]}:
            with torch.device("meta"):
                state = archs.build(arch, scale, config).state_dict()
            found = identify.find_exact(state, arch)
            assert scale in [spec.scale for spec in found]


def test_a_file_without_header_is_known_by_its_tensors(tmp_path: Path) -> None:
    for arch, scale, config in [
        ("espcn", 3, {"channels": 3}),
        ("srvgg", 2, {"convs": 32}),
        ("ecbsr", 4, {"blocks": 4, "features": 8, "branches": False}),
    ]:
        path = tmp_path / f"{arch}.safetensors"
        save_file(archs.build(arch, scale, config).state_dict(), path)
        assert files.identify_specs(path) == [archs.Spec(arch, scale, config)]
        assert files.identify_specs(path, "edsr") == []


def test_what_fits_nothing_is_told_what_is_nearest(tmp_path: Path) -> None:
    state = archs.build("srcnn", 2).state_dict()
    del state["conv3.bias"]
    path = tmp_path / "a.safetensors"
    save_file(state, path)
    assert files.identify_specs(path) == []
    message = files.describe_misfit(path, state, None)
    nearest = "srcnn x2: 1 tensors missing, first conv3.bias"
    assert message == f"{path} does not fit any network that sr has (nearest is {nearest})"
    assert files.describe_misfit(path, {"z": torch.zeros(1)}, None).endswith("that sr has")


def test_a_foreign_file_is_parsed_and_hashed_once(
    photo: Path, tmp_path: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "espcn.pth"
    torch.save(archs.build("espcn", 2, {}).state_dict(), path)
    reads: list[str] = []

    def count(name: str, function: Callable[[Path], object]) -> Callable[[Path], object]:
        def call(file: Path) -> object:
            if file == path:
                reads.append(name)
            return function(file)

        return call

    monkeypatch.setattr(checkpoint, "_read", count("parsed", checkpoint._read))
    monkeypatch.setattr(hashing, "sha256", count("hashed", hashing.sha256))
    done = sr("upscale", photo, "-w", path, "-o", tmp_path / "large.png")
    assert done.code == 0, done.err
    assert sorted(reads) == ["hashed", "parsed"]
    assert not checkpoint._kept
