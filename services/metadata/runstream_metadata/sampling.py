"""Downsampling of histories, bucket by bucket and not point by point. Only arithmetic: no I/O.

Points come sorted along the axis and without repeats, see ``metrics.tidy``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from runstream_contract.columns import Float64Array, Int64Array


class Method(Enum):
    """How a bucket becomes points."""

    MIN_MAX_MEAN = "min_max_mean"
    LTTB = "lttb"
    FIRST_IN_BUCKET = "first_in_bucket"


@dataclass(frozen=True, slots=True)
class Buckets:
    """Buckets that have points, as they lie one after the other.

    Attributes:
        counts: points of each.
        mean: mean of the finite values; NaN when there are none.
        least: least value, NaN left out; NaN when there is nothing else.
        greatest: greatest value, likewise.
    """

    counts: Int64Array
    mean: Float64Array
    least: Float64Array
    greatest: Float64Array


class IntervalBuckets:
    """Cuts an axis into equal intervals and sums up each, from points given piece by piece, in order.

    Interval i of n over the whole numbers from a to b begins at a + ceil(i * (b - a + 1) / n): exact for any int64,
    since Python's integers do not overflow.

    Args:
        first: least position.
        last: greatest position.
        bucket_count: intervals between the two.
    """

    def __init__(self, first: int, last: int, bucket_count: int) -> None:
        span = last - first + 1
        edges = [first + -(-index * span // bucket_count) for index in range(bucket_count)]
        self._edges = np.array(edges, np.int64)
        self._counts = np.zeros(bucket_count, np.int64)
        self._finite_counts = np.zeros(bucket_count, np.int64)
        self._sums = np.zeros(bucket_count)
        self._least = np.full(bucket_count, np.nan)
        self._greatest = np.full(bucket_count, np.nan)

    def add(self, axis: Int64Array, values: Float64Array) -> npt.NDArray[np.intp]:
        """Sum up the next points.

        Args:
            axis: positions of one or more points, never falling.

        Returns:
            Which of these points are the first of their bucket.
        """
        begins = np.searchsorted(axis, self._edges)
        counts = np.diff(np.append(begins, len(axis)))
        filled = np.flatnonzero(counts)
        starts = begins[filled]
        firsts: npt.NDArray[np.intp] = starts[self._counts[filled] == 0]
        self._counts[filled] += counts[filled]
        finite = np.isfinite(values)
        with np.errstate(over="ignore", invalid="ignore"):
            if finite.all():
                self._sums[filled] += np.add.reduceat(values, starts)
                self._finite_counts[filled] += counts[filled]
                least, greatest = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
            else:
                self._sums[filled] += np.add.reduceat(np.where(finite, values, 0.0), starts)
                self._finite_counts[filled] += np.add.reduceat(finite.astype(np.int64), starts)
                least, greatest = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
        self._least[filled] = np.fmin(self._least[filled], least)
        self._greatest[filled] = np.fmax(self._greatest[filled], greatest)
        return firsts

    def result(self) -> Buckets:
        """The buckets that have points."""
        filled = self._counts > 0
        finite_counts = self._finite_counts[filled]
        nothing = np.full(len(finite_counts), np.nan)
        return Buckets(
            counts=self._counts[filled],
            mean=np.divide(self._sums[filled], finite_counts, out=nothing, where=finite_counts > 0),
            least=self._least[filled],
            greatest=self._greatest[filled],
        )


def first_in_bucket(point_count: int, bucket_count: int) -> npt.NDArray[np.intp]:
    """Indexes of the first row of equally many rows a bucket; the last row of all takes the last place.

    Buckets are those of SQL's NTILE: the first ones are one row larger where it does not divide. Source: MLflow's
    get-history-bulk-interval.

    Args:
        point_count: rows; more than ``bucket_count``.
    """
    size, larger = divmod(point_count, bucket_count)
    buckets = np.arange(bucket_count)
    chosen = buckets * size + np.minimum(buckets, larger)
    chosen[-1] = point_count - 1
    return chosen


def lttb(axis: Int64Array, values: Float64Array, bucket_count: int) -> npt.NDArray[np.intp]:
    """Indexes chosen by largest triangle three buckets: the first, the last, and one of each bucket between.

    A point that is not finite is chosen only where a bucket has no other; it then stands at height 0.
    Source: S. Steinarsson, Downsampling Time Series for Visual Representation, 2013.

    Args:
        axis: positions of more than ``bucket_count`` points, never falling.
        bucket_count: points to choose.
    """
    last = len(values) - 1
    if bucket_count <= 2:
        return np.array([0, last][-bucket_count:], np.intp)
    # Distances from the first point are exact where they matter and cannot overflow.
    x = (axis.astype(np.uint64) - axis[0].astype(np.uint64)).astype(np.float64)
    finite = np.isfinite(values)
    y = np.where(finite, values, 0.0)
    edges = 1 + np.arange(bucket_count - 1) * (last - 1) // (bucket_count - 2)
    chosen = np.empty(bucket_count, np.intp)
    chosen[0], chosen[-1] = 0, last
    centres = _centres(x, y, finite, edges, last)
    with np.errstate(over="ignore", invalid="ignore"):
        for index in range(bucket_count - 2):
            bucket = slice(edges[index], edges[index + 1])
            before = chosen[index]
            next_x, next_y = centres[index]
            area = np.abs(
                (x[before] - next_x) * (y[bucket] - y[before])
                - (x[before] - x[bucket]) * (next_y - y[before])
            )
            area[~finite[bucket] | np.isnan(area)] = -1.0
            chosen[index + 1] = edges[index] + np.argmax(area)
    return chosen


def _centres(
    x: Float64Array,
    y: Float64Array,
    finite: npt.NDArray[np.bool_],
    edges: npt.NDArray[np.intp],
    last: int,
) -> list[tuple[float, float]]:
    """For each inner bucket the mean point of the one after it; the last point is a bucket of its own."""
    starts = edges[1:]
    with np.errstate(over="ignore", invalid="ignore"):
        counts = np.diff(np.append(starts, last + 1))
        finite_counts = np.maximum(np.add.reduceat(finite.astype(np.int64), starts), 1)
        mean_x = np.add.reduceat(x, starts) / counts
        mean_y = np.add.reduceat(y, starts) / finite_counts
    return list(zip(mean_x.tolist(), mean_y.tolist(), strict=True))
