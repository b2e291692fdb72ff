r"""Make a luma ECBSR one that sees colours and begins as the same function: for `sr train --init`.

    PYTHONPATH=. python benchmarks/experiments/luma_to_rgb.py \
        srcli/weights/ecbsr-x4.safetensors coloured-x4.safetensors

The first kernel gets the weights of luma, and what the network adds to luma is added to every channel.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from srcli import archs
from srcli.engine.weights.files import read_header, read_spec, read_state
from srcli.imaging.color import luma

BLACK = float(luma(np.zeros(3)))
WEIGHTS = torch.from_numpy(luma(np.eye(3)) - BLACK).float()


def coloured(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Its tensors; borders differ a little, as zeros around luma are not zeros around RGB."""
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
    given = parser.parse_args()
    spec = read_spec(given.luma)
    if spec is None or spec.arch != "ecbsr":
        raise SystemExit(f"{given.luma} is no ECBSR of ours")
    config = {**spec.config, "channels": 3}
    network = archs.build(spec.arch, spec.scale, config)
    network.load_state_dict(coloured(read_state(given.luma)))
    about = {"origin": f"benchmarks/experiments/luma_to_rgb.py {given.luma}", "config": json.dumps(config)}
    header = {**read_header(given.luma), "format": "pt", **about}
    header.pop("recipe", None)
    save_file(dict(network.state_dict()), given.target, metadata=header)


if __name__ == "__main__":
    main()
