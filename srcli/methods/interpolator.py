"""Interpolation by a fixed kernel: nearest, bilinear, bicubic, lanczos."""

from srcli.dataclass import dataclass
from srcli.imaging import rows
from srcli.imaging.rows import Rows
from srcli.methods.base import Method
from srcli.methods.scaling import compute_output_size


@dataclass(frozen=True)
class Interpolator(Method):
    """A kernel of `imaging.resize.KERNELS`; 8-bit images are rounded after each pass, as in MATLAB."""

    def stream(self, source: Rows, scale: float) -> Rows:
        """Interpolate."""
        return rows.interpolate_rows(source, *compute_output_size(source, scale), self.name)
