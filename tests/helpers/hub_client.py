"""Running `sr` in another process, against a fake Hub and a manifest of one model."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from helpers.fake_hub import REVISION

WEIGHTS_PATH = f"/who/edsr/resolve/{REVISION}/edsr.pt"

ENTRY = {
    "model": "edsr",
    "arch": "edsr",
    "scale": 4,
    "file": {"repo": "who/edsr", "revision": REVISION, "file": "edsr.pt"},
    "licence": "CC0-1.0",
    "licence_source": "test",
    "training_data": "none",
    "paper": "none",
    "purpose": "classical",
}


def make_environment(tmp_path: Path, endpoint: str) -> dict[str, str]:
    """Return an environment like a user's, with empty caches."""
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("HF_")}
    return kept | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "SR_MODELS": str(tmp_path / "models"),
        "SR_CACHE": str(tmp_path / "sr"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def run_python(code: str, tmp_path: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code]
    return subprocess.run(
        words, capture_output=True, text=True, check=False, env=make_environment(tmp_path, endpoint)
    )


def code_with_manifest(tmp_path: Path, content: bytes, arguments: list[object], **changes: object) -> str:
    """Return Python code that runs one command line with a manifest of one model, its digest of `content`."""
    entry = {**ENTRY, "sha256": hashlib.sha256(content).hexdigest(), **changes}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"weights": [entry]}))
    return (
        "import sys\nfrom pathlib import Path\nfrom srcli import manifest\nfrom srcli.cli.app import run\n"
        f"manifest.find_manifest = lambda: Path({str(path)!r})\n"
        f"sys.exit(run({[str(argument) for argument in arguments]!r}))\n"
    )
