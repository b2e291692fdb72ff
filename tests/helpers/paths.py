"""Folders that tests read from."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "srcli" / "samples"
SHARED = ROOT.parent / "shared"
