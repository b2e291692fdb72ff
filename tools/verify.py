"""Bench every bundled weight file and compare with the manifest.

    python tools/verify.py ../shared/data/Set5 ../shared/data/Set14 ../shared/data/BSD100

Prints measured, expected and published PSNR for each file and set. Exits with 1 if measured and expected
differ by more than 0.02 dB.
"""

import sys
from dataclasses import dataclass

from srcli import datasets, manifest, methods
from srcli.bench import evaluate

TOLERANCE = 0.02


@dataclass(frozen=True)
class Check:
    """PSNR-Y in dB of one file on one set; None if nothing is expected or published."""

    name: str
    dataset: str
    measured: float
    expected: float | None
    published: float | None

    @property
    def is_met(self) -> bool:
        """True if the measured figure is the expected one."""
        return self.expected is not None and abs(self.measured - self.expected) <= TOLERANCE

    def line(self) -> str:
        """Return a line for the terminal."""
        difference = "" if self.published is None else f"  {self.measured - self.published:+.2f} to the paper"
        expected = "nothing expected" if self.expected is None else f"expected {self.expected:.2f}"
        verdict = "ok" if self.is_met else "DIFFERENT"
        return f"{self.name:14} {self.dataset:8} {self.measured:.2f} dB, {expected}, {verdict}{difference}"


def check(entry: manifest.Entry, dataset: datasets.Dataset) -> Check:
    """Measure one file on one set."""
    row = evaluate(methods.load_method(entry.model, entry.scale), dataset.read_pictures(), entry.scale)
    expected = entry.expect.get(dataset.name, {}).get("psnr_y")
    return Check(entry.name, dataset.name, row.psnr_y, expected, entry.published.get(dataset.name))


def main(names: list[str]) -> int:
    """Check every bundled file on every set; return the exit code."""
    sets = [datasets.find_dataset(name) for name in names]
    failed = 0
    for entry in (entry for entry in manifest.load() if entry.bundled):
        for dataset in sets:
            result = check(entry, dataset)
            print(result.line(), flush=True)
            failed += not result.is_met
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
