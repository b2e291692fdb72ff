"""The self-check: bicubic must score what the protocol says, or no other figure can be trusted."""

from collections.abc import Collection, Iterable

import numpy as np

from srcli.bench import metrics
from srcli.bench.metrics import Pair
from srcli.bench.protocols import TOLERANCE, Y_CROP, Protocol, Reduction
from srcli.bench.results import Row
from srcli.datasets import Dataset, load_samples
from srcli.errors import ProtocolError
from srcli.imaging.pixels import crop_to_multiple
from srcli.methods import Interpolator

_NOT_SET5 = "these are not the images of the papers: download Set5 again, or rename the folder"


def check_protocol(
    scales: Collection[float], protocol: Protocol = Y_CROP.protocol, sets: Iterable[Dataset] = ()
) -> None:
    """Score bicubic on the bundled samples, and on Set5 if it is among `sets`, before any other image.

    Raises `ProtocolError` if the mean is not what the protocol says.
    """
    hint = "this installation computes wrong results: reinstall sr"
    for scale in sorted(protocol.samples.keys() & set(scales)):
        value = _score_bicubic(load_samples(), protocol, scale)
        _compare(value, protocol.samples[scale], f"x{scale} on the samples", protocol, hint)
    for dataset in sets:
        if (dataset.name, len(dataset.files), dataset.lr) == ("Set5", 5, ""):
            for scale in sorted(protocol.set5.keys() & set(scales)):
                value = _score_bicubic(dataset, protocol, scale)
                _compare(value, protocol.set5[scale], f"x{scale} on Set5", protocol, _NOT_SET5)


def check_set5(row: Row, reduction: Reduction = Y_CROP) -> None:
    """Raise `ProtocolError` if a row is bicubic on Set5 and its mean is not what the protocol says."""
    protocol = reduction.protocol
    known = row.scale in protocol.set5 and not reduction.degrade
    if known and (row.dataset, row.method, row.images) == ("Set5", "bicubic", 5):
        value = row.figures[metrics.BUILT_IN[protocol.metrics[0]].key]
        _compare(value, protocol.set5[row.scale], f"x{row.scale} on Set5", protocol, _NOT_SET5)


def _score_bicubic(dataset: Dataset, protocol: Protocol, scale: float) -> float:
    """Return the mean of the protocol's first metric."""
    method, metric = Interpolator("bicubic"), metrics.BUILT_IN[protocol.metrics[0]]
    values = []
    for each in dataset.read_pictures():
        hr = crop_to_multiple(each.pixels, scale)
        sr = method(protocol.reduce(hr, scale), scale)
        values.append(metric.measure(Pair(sr, hr, metrics.compute_border(scale), each.grey)))
    return float(np.mean(values))


def _compare(value: float, expected: float, place: str, protocol: Protocol, hint: str) -> None:
    if abs(value - expected) > TOLERANCE:
        message = f"bicubic {place} gives {value:.3f} dB, but protocol {protocol.name} says {expected:.3f}"
        raise ProtocolError(message, hint)
