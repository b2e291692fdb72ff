"""Reports: benchmark results as tables, files, pages and plots, and comparisons of methods on images.

`compare(CompareRequest(...))` is `sr compare` from Python. Scores are measured in `srcli.bench`.
"""

from srcli.report.compare_request import CompareRequest
from srcli.report.compare_runner import compare

__all__ = ["CompareRequest", "compare"]
