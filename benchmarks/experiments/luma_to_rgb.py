r"""Convert an ECBSR for luma to one for RGB that computes the same function, for `sr train --init`.

    PYTHONPATH=. python benchmarks/experiments/luma_to_rgb.py \
        srcli/weights/ecbsr-x4.safetensors rgb-x4.safetensors

The first kernel is multiplied by the weights of luma. The output of the network, which is added to luma, is
added to every channel.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from srcli import archs
from srcli.engine.weights.checkpoint import read_header
from srcli.engine.weights.files import read_spec, read_state
from srcli.imaging.color import luma

BLACK = float(luma(np.zeros(3)))
WEIGHTS = torch.from_numpy(luma(np.eye(3)) - BLACK).float()


def convert_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors for RGB; borders differ slightly, as zeros are padded in RGB instead of luma."""
    made = {name: tensor.float() for name, tensor in state.items()}
    first = "backbone.0.conv3x3"
    last = f"backbone.{max(int(name.split('.')[1]) for name in made)}.conv3x3"
    kernel = made[f"{first}.weight"]
    made[f"{first}.weight"] = kernel * WEIGHTS[None, :, None, None]
    made[f"{first}.bias"] += kernel.sum((1, 2, 3)) * BLACK
    for name in (f"{last}.weight", f"{last}.bias"):
        made[name] = torch.cat([made[name] / WEIGHTS.sum()] * 3)
    return made


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("luma", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    spec = read_spec(options.luma)
    if spec is None or spec.arch != "ecbsr":
        raise SystemExit(f"{options.luma} is not an ECBSR file written by sr")
    config = {**spec.config, "channels": 3}
    network = archs.build(spec.arch, spec.scale, config)
    network.load_state_dict(convert_state(read_state(options.luma)))
    about = {"origin": f"benchmarks/experiments/luma_to_rgb.py {options.luma}", "config": json.dumps(config)}
    header = {**read_header(options.luma), "format": "pt", **about}
    header.pop("recipe", None)
    save_file(dict(network.state_dict()), options.target, metadata=header)


if __name__ == "__main__":
    main()
