"""Weight files of other trainers are read by rule; hostile ones are refused before memory is taken."""

import argparse
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from srcli import archs
from srcli.archs import Spec
from srcli.engine.weights import checkpoint, files, identify
from srcli.engine.weights.checkpoint import read_checkpoint
from srcli.errors import WeightsError

ESPCN = Spec("espcn", 2)
SMALL = Spec("srvgg", 2, {"convs": 1, "features": 8})


def build_state(spec: Spec = ESPCN) -> dict[str, Tensor]:
    return archs.build(spec.arch, spec.scale, spec.config).state_dict()


def add_prefix(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in state.items()}


def zeros(count: int) -> dict[str, Tensor]:
    return {f"features.{k}.weight": torch.zeros(1) for k in range(count)}


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"params_ema": "it", "params": "other"}, "took params_ema, not params"),
        (
            {"epoch": 3, "g_state": "it", "optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}}},
            "took g_state",
        ),
        ({"net": {"deep": {"weights": "it"}}}, ""),
        ({"nets": ["it", {"a": 1}]}, ""),
        ({"generator": "it", "discriminator": zeros(50)}, "took generator, not discriminator"),
        (
            {"model": "other", "model_ema": {"n_averaged": torch.tensor(1), "module": "it"}},
            "took model_ema.module",
        ),
        ({"state_dict": {"netG": "prefix", "netD": zeros(50)}}, "took netG.*, not netD"),
        ({"state_dict": {"net": "prefix", "loss": zeros(9)}}, "took net.*, not loss"),
        ({"state_dict": {"x": "prefix", "criterion": zeros(2)}}, "left out criterion.*"),
        (
            {"net_g": "prefix-other", "net_g_ema": "prefix", "net_d": zeros(9)},
            "took net_g_ema.*, not net_g, net_d",
        ),
        ({"_orig_mod.module": "prefix"}, ""),
        ({"model.net._orig_mod": "prefix"}, ""),
    ],
)
def test_the_upscaler_is_found_whatever_it_is_called(
    content: dict[str, Any], taken: str, tmp_path: Path
) -> None:
    state = build_state()
    other = {key: value + 1 for key, value in state.items()}

    def fill(value: Any) -> Any:
        if isinstance(value, list):
            return [fill(each) for each in value]
        if not isinstance(value, dict):
            return {"it": state, "other": other}.get(value, value) if isinstance(value, str) else value
        filled: dict[str, Any] = {}
        for key, each in value.items():
            if isinstance(each, str) and each.startswith("prefix"):
                filled |= add_prefix(f"{key}.", other if "other" in each else state)
            elif key in ("netD", "net_d", "loss", "criterion"):
                filled |= add_prefix(f"{key}.", each)
            else:
                filled[key] = fill(each)
        return filled

    path = tmp_path / "a.ckpt"
    torch.save(fill(content), path)
    assert read_checkpoint(path).taken.startswith(taken)
    assert bool(read_checkpoint(path).taken) == bool(taken)
    assert files.identify_specs(path) == [ESPCN]
    network = files.load_network(path, ESPCN)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("is_zip", [True, False])
def test_numbers_and_arguments_of_a_trainer_are_no_obstacle(is_zip: bool, tmp_path: Path) -> None:
    extras = {
        "args": argparse.Namespace(lr=1e-4, name="x", milestones=[1, 2]),
        "best": np.float64(31.5),
        "step": np.int64(7),
        "half": np.float16(0.5),
        "done": np.bool_(1),
        "state_dict": build_state(),
    }
    torch.save(extras, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    assert read_checkpoint(tmp_path / "a.pth").state.keys() == build_state().keys()


def test_what_a_namespace_holds_is_checked_like_everything_else(in_tmp: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, ("hacked",)

    torch.save({"args": argparse.Namespace(x=Evil()), "a": torch.zeros(1)}, "a.pth")
    torch.save({"best": np.array([Evil()], dtype=object)[:1], "a": torch.zeros(1)}, "b.pth")
    for name in ("a.pth", "b.pth"):
        with pytest.raises(WeightsError, match="could run code"):
            read_checkpoint(Path(name))
    assert not Path("hacked").exists()


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    torch.save(build_state(), tmp_path / "a.safetensors")
    save_file(build_state(), tmp_path / "b.pth")
    files.save_network(tmp_path / "c.pth", archs.build("espcn", 2), ESPCN, {})
    for name in ("a.safetensors", "b.pth", "c.pth"):
        assert files.identify_specs(tmp_path / name) == [ESPCN]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><title>404</title>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("schöne Grüße".encode(), "is a text file"),
        (b"\x89HDF\r\n\x1a\n\0\0", "is an HDF5 file"),
        (b"\x93NUMPY\x01\0", "is a NumPy array"),
        (b"\xff\xd8\xff\xe0", "is not a weight file"),
        (b"PK\x05\x06" + bytes(18), "is an archive without weights"),
    ],
)
def test_files_of_other_kinds_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_checkpoint(tmp_path / "a.pth")
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_a_program_is_not_run(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Conv2d(1, 1, 1)).save(str(tmp_path / "a.pt"))
    with pytest.raises(WeightsError, match="is a TorchScript program"):
        read_checkpoint(tmp_path / "a.pt")


def test_special_and_enormous_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.pth")
    with (tmp_path / "sparse.pth").open("wb") as file:
        file.write(b"\x80\x02")
        file.truncate(2**40)
    for name, message in {
        "fifo.pth": "not a regular file",
        "sparse.pth": "too large",
        ".": "not a regular",
    }.items():
        with pytest.raises(WeightsError, match=message):
            read_checkpoint(tmp_path / name)
        with pytest.raises(WeightsError, match=message):
            files.read_spec(tmp_path / name)


def write_archive(path: Path, pickled: bytes) -> None:
    """Write what torch.save would, with another pickle."""
    torch.save({"a": torch.zeros(1)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, pickled if name.endswith("data.pkl") else content)


@pytest.mark.slow
def test_pickles_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    write_archive(path, b"\x80\x02(" + b"}" * 10**7 + b"t.")
    with pytest.raises(WeightsError, match="bytes of Python objects"):
        read_checkpoint(path)
    path.write_bytes(b"\x80\x02(" + b"}" * 10**7 + b"t.")
    with pytest.raises(WeightsError, match="bytes of Python objects"):
        read_checkpoint(path)
    path.write_bytes(b"\x80\x02X" + struct.pack("<I", 2**31 - 1) + b"abc")
    with pytest.raises(WeightsError, match="bytes of Python objects"):
        read_checkpoint(path)
    write_archive(path, b"\x80\x02N" + b"\x85" * 10**6 + b".")  # tuples in tuples
    with pytest.raises(WeightsError, match="no named tensors"):
        read_checkpoint(path)


def test_a_dictionary_that_contains_itself_is_walked_once(tmp_path: Path) -> None:
    content: dict[str, Any] = dict(build_state())
    content["self"] = content
    torch.save(content, tmp_path / "a.pth")
    assert files.identify_specs(tmp_path / "a.pth") == [ESPCN]


def test_tensors_that_claim_more_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(2**40)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="more than it can hold"):
        read_checkpoint(tmp_path / "a.pth")


def test_names_with_control_characters_do_not_reach_a_terminal(tmp_path: Path) -> None:
    save_file({"a\x1b[2J": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="control characters"):
        read_checkpoint(tmp_path / "a.safetensors")


def write_header(path: Path, **header: str) -> None:
    facts = {"arch": SMALL.arch, "scale": "2", "config": json.dumps(SMALL.config)}
    save_file({k: v.contiguous() for k, v in build_state(SMALL).items()}, path, metadata=facts | header)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            {"config": '{"convs": 1000000}'},
            "convs of srvgg has to be a whole number from 1 to 4096, not 1000000",
        ),
        ({"config": '{"features": -3}'}, "not -3"),
        ({"config": '{"convs": NaN}'}, "not nan"),
        ({"config": '{"convs": true}'}, "not True"),
        ({"config": f'{{"convs": {2**70}}}'}, "has to be a whole number"),
        ({"config": '{"convs": 1' + "0" * 5000 + "}"}, "header of .* is damaged"),
        ({"config": "[" * 10**5}, "header of .* is damaged"),
        ({"config": "[1]"}, "not a set of names and values"),
        ({"config": '{"colour": 1}'}, "no setting 'colour'"),
        ({"config": '{"values": "loud"}'}, "no values called 'loud'"),
        ({"config": '{"convs": 4000, "features": 4000}'}, "far larger than the file"),
        ({"arch": "rcan", "config": '{"groups": 4096, "blocks": 4096}'}, "far larger than the file"),
        ({"arch": "rcan", "config": '{"features": 1}'}, "does not fit|far larger|cannot be built"),
        ({"arch": "edsr", "config": '{"span": Infinity}'}, "not inf"),
        ({"arch": "liif", "scale": "any", "config": '{"encoder": "none"}'}, "no encoder called 'none'"),
        ({"arch": "dat", "config": '{"split": [8]}'}, "two whole numbers"),
        ({"arch": "../up"}, "a network that sr does not have"),
        ({"arch": "\x1b[2J"}, r"'\\x1b\[2J'"),
        ({"scale": str(2**70)}, "cannot be built for a scale of"),
        ({"scale": "9" * 6000}, "header of .* is damaged"),
    ],
)
def test_headers_are_checked_before_anything_is_built(
    header: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    write_header(path, **header)
    build = archs.build

    def build_on_meta(*settings: Any) -> torch.nn.Module:
        assert torch.get_default_device().type == "meta", "memory was taken"
        return build(*settings)

    monkeypatch.setattr(archs, "build", build_on_meta)
    with pytest.raises(WeightsError, match=message) as caught:
        files.load_network(path, files.read_spec(path) or SMALL)
    assert "a.safetensors" in caught.value.message
    assert "\n" not in caught.value.message


def test_headers_of_safetensors_files_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for header in (b'{"__metadata__":' + b"[" * 10**5, b"{}", b'{"a":' + b"1" * 9):
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        with pytest.raises(WeightsError, match=r"damaged|no named tensors"):
            read_checkpoint(path)
        assert checkpoint.read_header(path) == {}
    path.write_bytes(struct.pack("<Q", 2**39) + b"{}")
    with pytest.raises(WeightsError, match="header of 549,755,813,888 bytes"):
        read_checkpoint(path)


def test_every_known_configuration_passes_the_check() -> None:
    for arch in archs.names():
        for config in (*archs.variants(arch), archs.facts(arch).small):
            for scale in archs.traits(arch).weight_scales:
                archs.check_config(arch, scale, config)


def test_a_network_built_meanwhile_on_another_thread_is_not_counted() -> None:
    fit = identify.compare_tensors(SMALL, identify.list_wanted(SMALL, build_state(SMALL)), build_state(SMALL))
    assert fit.faults == 0
    with pytest.raises(WeightsError, match="far larger"):
        identify.list_wanted(Spec("edsr", 2, {"blocks": 200}), build_state(SMALL))
    assert archs.build("edsr", 2, {"blocks": 200}) is not None


def test_a_file_is_read_once_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pth"
    torch.save(build_state(), path)
    reads: list[Path] = []
    read = checkpoint._read
    monkeypatch.setattr(checkpoint, "_read", lambda file: reads.append(file) or read(file))
    with checkpoint.hold_checkpoint(path):
        assert files.identify_specs(path) == [ESPCN]
        files.load_network(path, ESPCN)
    assert len(reads) == 1
    files.load_network(path, ESPCN)
    assert len(reads) == 2, "nothing stays in memory afterwards"


def test_pickles_of_later_protocols_are_no_state_dicts(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": 1}, protocol=4))
    with pytest.raises(WeightsError, match="could run code"):
        read_checkpoint(tmp_path / "a.pth")
