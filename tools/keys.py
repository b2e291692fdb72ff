"""What keys the tensors of each network have, numbers left out: how a weight file's network is found at once.

    PYTHONPATH=. python tools/keys.py [ARCH ...]

Writes srcli/engine/weights/keys.json, which `engine.weights.identify` reads; missing networks are built.
"""

import json
import sys

import torch

from srcli import archs
from srcli.engine.weights.identify import KEYS, pattern


def patterns(arch: str) -> list[str]:
    """Of every variant at every scale."""
    found: set[str] = set()
    for config in archs.variants(arch):
        for scale in archs.traits(arch).weight_scales:
            with torch.device("meta"):
                found |= set(map(pattern, archs.build(arch, scale, config).state_dict()))
    return sorted(found)


def main() -> None:
    """All networks, or those named."""
    known = json.loads(KEYS.read_text()) if KEYS.exists() else {}
    for arch in sys.argv[1:] or archs.names():
        known[arch] = patterns(arch)
    KEYS.write_text(json.dumps({arch: known[arch] for arch in archs.names()}, indent=0) + "\n")


if __name__ == "__main__":
    main()
