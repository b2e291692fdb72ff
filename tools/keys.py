"""List the patterns of each network's tensor keys, by which the network of a weight file is recognised.

    PYTHONPATH=. python tools/keys.py [ARCH ...]

Writes srcli/engine/weights/keys.json, which `engine.weights.identify` reads. With names, updates only these
and networks that are new.
"""

import json
import sys

import torch

from srcli import archs
from srcli.engine.weights.identify import KEYS, strip_numbers


def list_patterns(arch: str) -> list[str]:
    """Return the key patterns of every variant of a network at every scale."""
    patterns: set[str] = set()
    for config in archs.variants(arch):
        for scale in archs.traits(arch).weight_scales:
            with torch.device("meta"):
                patterns |= set(map(strip_numbers, archs.build(arch, scale, config).state_dict()))
    return sorted(patterns)


def main() -> None:
    """Update all networks, or those named and those that are new."""
    known = json.loads(KEYS.read_text()) if KEYS.exists() else {}
    for arch in archs.names():
        if arch not in known or not sys.argv[1:] or arch in sys.argv[1:]:
            known[arch] = list_patterns(arch)
    KEYS.write_text(json.dumps({arch: known[arch] for arch in archs.names()}, indent=0) + "\n")


if __name__ == "__main__":
    main()
