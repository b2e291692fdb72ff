"""Bench every bundled weight file again, and compare with what the manifest promises.

    python tools/verify.py ../shared/data/Set5 ../shared/data/Set14 ../shared/data/BSD100

Prints a line for each file and set: measured, promised, published; exits with 1 where the first two differ by
more than 0.02 dB.
"""

import sys
from dataclasses import dataclass

from srcli import datasets, manifest, methods
from srcli.bench import evaluate

TOLERANCE = 0.02


@dataclass(frozen=True)
class Check:
    """PSNR-Y in dB of one file on one set; None where nothing is promised or published."""

    name: str
    dataset: str
    measured: float
    promised: float | None
    published: float | None

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.promised is not None and abs(self.measured - self.promised) <= TOLERANCE

    def line(self) -> str:
        """For the terminal."""
        difference = "" if self.published is None else f"  {self.measured - self.published:+.2f} to the paper"
        promised = "nothing promised" if self.promised is None else f"promised {self.promised:.2f}"
        verdict = "ok" if self.kept else "BROKEN"
        return f"{self.name:14} {self.dataset:8} {self.measured:.2f} dB, {promised}, {verdict}{difference}"


def check(entry: manifest.Entry, dataset: datasets.Dataset) -> Check:
    """One file on one set."""
    row = evaluate(methods.load_method(entry.model, entry.scale), dataset.pictures(), entry.scale)
    promised = entry.expect.get(dataset.name, {}).get("psnr_y")
    return Check(entry.name, dataset.name, row.psnr_y, promised, entry.published.get(dataset.name))


def main(names: list[str]) -> int:
    """Every bundled file on every set; the exit code."""
    sets = [datasets.find_dataset(name) for name in names]
    broken = 0
    for entry in (entry for entry in manifest.load() if entry.bundled):
        for dataset in sets:
            result = check(entry, dataset)
            print(result.line(), flush=True)
            broken += not result.kept
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
