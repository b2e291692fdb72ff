"""Comparison of a network that was read back from an ncnn pair with what ncnn makes of the pair."""

import importlib.util
from typing import TYPE_CHECKING

import numpy as np

from srcli.engine.measurements import measure_once
from srcli.engine.sample_photo import crop_photo
from srcli.engine.weights.ncnn import Graph, hash_weights, identify_graph
from srcli.errors import WeightsError
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import Pixels
from srcli.storage.silence import silence_stderr

if TYPE_CHECKING:
    from torch import nn

# A side that suits every network that is read back, and the least PSNR. Both compute with the same numbers,
# in single precision, and reach 120 dB.
_SIDE, _SAME = 24, 70.0


def check_network(graph: Graph, network: "nn.Module") -> None:
    """Compare a network with the pair that it was read from, once per pair.

    Raises `WeightsError` if they make different images of a photograph. Does nothing without ncnn.
    """
    if importlib.util.find_spec("ncnn") is None:
        return
    known = identify_graph(graph)
    assert known

    def compare() -> dict[str, float]:
        tile = crop_photo(_SIDE, _SIDE)
        padded = np.pad(tile, ((known.margin, known.margin), (known.margin, known.margin), (0, 0)), "edge")
        ours, theirs = _run_by_torch(network, tile), _run_by_ncnn(graph, padded)
        near = psnr(ours.clip(0, 1), theirs.clip(0, 1)) if ours.shape == theirs.shape else 0
        return {"decibels": float(np.nan_to_num(near, posinf=200).clip(1e-9, 200))}

    decibels = measure_once(("pair", hash_weights(graph.param), str(known.spec)), compare)["decibels"]
    if decibels < _SAME:
        reason = f"PyTorch makes another image of {graph.param} than ncnn ({decibels:.0f} dB)"
        raise WeightsError(reason, "`--runtime ncnn` runs it; please report this")


def _run_by_torch(network: "nn.Module", tile: Pixels) -> Pixels:
    import torch

    was_training = network.training
    network.eval()
    with torch.inference_mode():
        out = network(torch.from_numpy(tile.transpose(2, 0, 1).copy())[None])[0]
    network.train(was_training)
    return np.asarray(out.permute(1, 2, 0).numpy(), np.float32)


def _run_by_ncnn(graph: Graph, tile: Pixels) -> Pixels:
    import ncnn

    net = ncnn.Net()
    for name in ("packed", "storage", "arithmetic"):
        setattr(net.opt, f"use_fp16_{name}", False)
    net.opt.use_vulkan_compute = False
    with silence_stderr():
        failed = net.load_param(str(graph.param)) or net.load_model(str(graph.bin))
    if failed:
        raise WeightsError(f"ncnn cannot read {graph.param}", "it is damaged, or needs a newer ncnn")
    planes = ncnn.Mat(tile.shape[1], tile.shape[0], tile.shape[2])
    np.asarray(planes)[...] = tile.transpose(2, 0, 1)
    extractor = net.create_extractor()
    extractor.input(graph.input, planes)
    failed, out = extractor.extract(graph.output)
    if failed:
        raise WeightsError(f"ncnn cannot run {graph.param}", "it is damaged, or needs a newer ncnn")
    return np.array(out, np.float32).transpose(1, 2, 0)
