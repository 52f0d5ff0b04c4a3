"""Histories downsampled in the store, for charts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from runstream_common.errors import InvalidArgument

from runstream_metadata import histories, metrics, sampling
from runstream_metadata.metrics import Ordering, Points
from runstream_metadata.sampling import IntervalBuckets, Method

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from runstream_contract.columns import Float64Array, Int64Array

    from runstream_metadata.histories import StepRange
    from runstream_metadata.metrics import Selection


MAX_POINTS_AT_ONCE: Final = 4_000_000
"""Points of one history held in memory, 24 bytes each and as much again while they are sampled."""


class Axis(Enum):
    """What a chart's points lie along."""

    STEP = "step"
    TIME = "time"
    RELATIVE_TIME = "relative_time"


@dataclass(frozen=True, slots=True)
class Sample:
    """How to downsample."""

    max_points: int
    axis: Axis
    method: Method
    steps: StepRange


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """What the buckets of a history hold; parallel to its points."""

    least: Float64Array
    greatest: Float64Array
    counts: Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class SampledHistory:
    """A downsampled history.

    Attributes:
        axis: position of each point.
        points: real points; with an envelope each bucket's first point, with the mean as its value.
        envelope: only for MIN_MAX_MEAN.
        total_point_count: points before sampling.
    """

    axis: Int64Array
    points: Points
    envelope: Envelope | None
    total_point_count: int


async def sample(connection: asyncpg.Connection, series_id: int, how: Sample) -> SampledHistory | None:
    """One history downsampled; None when it has no points in the range.

    Args:
        connection: of a ``metric_queries.snapshot``.

    Raises:
        InvalidArgument: reason HISTORY_TOO_LONG: LTTB needs all points at once.
    """
    stored = await histories.stored_point_count(connection, series_id, how.steps)
    if stored > MAX_POINTS_AT_ONCE:
        return await sample_long(connection, series_id, how)
    points = await histories.read(connection, series_id, _ordering(how), how.steps)
    return sample_points(points, how) if len(points) else None


def sample_points(points: Points, how: Sample) -> SampledHistory:
    """Downsample one or more points, each once and ordered as ``how`` wants them."""
    axis = _positions(points, how)
    count, origin = len(points), _origin(points, how)
    buckets = None
    chosen: Selection
    if count <= how.max_points:
        chosen = slice(None)
    elif how.method is Method.MIN_MAX_MEAN:
        buckets = IntervalBuckets(int(axis[0]), int(axis[-1]), how.max_points)
        chosen = buckets.add(axis, points.values)
    elif how.method is Method.LTTB:
        chosen = sampling.lttb(axis, points.values, how.max_points)
    else:
        chosen = sampling.first_in_bucket(count, how.max_points)
    return _sampled(points.take(chosen), how, count, origin, buckets)


async def sample_long(connection: asyncpg.Connection, series_id: int, how: Sample) -> SampledHistory | None:
    """The same without all points in memory: one pass to measure, one to sample."""
    if how.method is Method.LTTB:
        raise InvalidArgument.of(
            "sampling",
            f"LTTB takes histories of at most {MAX_POINTS_AT_ONCE} points; "
            "ask for a step range or another sampling",
            reason="HISTORY_TOO_LONG",
        )
    extent = await _measure(connection, series_id, how)
    if extent is None:
        return None
    if extent.point_count <= how.max_points:
        return sample_points(await histories.read(connection, series_id, _ordering(how), how.steps), how)
    buckets = IntervalBuckets(extent.first, extent.last, how.max_points)
    rows = sampling.first_in_bucket(extent.point_count, how.max_points)
    chosen: list[Points] = []
    seen = 0
    async for points in _slabs(connection, series_id, how):
        if how.method is Method.MIN_MAX_MEAN:
            chosen.append(points.take(buckets.add(_positions(points, how), points.values)))
        else:
            chosen.append(points.take(rows[(rows >= seen) & (rows < seen + len(points))] - seen))
        seen += len(points)
    return _sampled(metrics.join(chosen), how, extent.point_count, extent.origin, buckets)


class _Extent(NamedTuple):
    point_count: int
    first: int
    last: int
    origin: int


async def _measure(connection: asyncpg.Connection, series_id: int, how: Sample) -> _Extent | None:
    extent: _Extent | None = None
    async for points in _slabs(connection, series_id, how):
        axis, origin = _positions(points, how), _origin(points, how)
        if extent is None:
            extent = _Extent(0, int(axis[0]), 0, origin)
        extent = _Extent(
            extent.point_count + len(points), extent.first, int(axis[-1]), min(extent.origin, origin)
        )
    return extent


async def _slabs(connection: asyncpg.Connection, series_id: int, how: Sample) -> AsyncIterator[Points]:
    async for points in histories.read_slabs(connection, series_id, _ordering(how), how.steps):
        if len(points):
            yield points


def _sampled(
    chosen: Points, how: Sample, count: int, origin: int, buckets: IntervalBuckets | None
) -> SampledHistory:
    """The answer for chosen points; with buckets each stands for its bucket, without for itself."""
    axis = _positions(chosen, how) - origin
    if how.method is not Method.MIN_MAX_MEAN:
        return SampledHistory(axis, chosen, None, count)
    if buckets is None:
        alone = Envelope(chosen.values, chosen.values, np.ones(len(chosen), np.int64))
        return SampledHistory(axis, chosen, alone, count)
    found = buckets.result()
    means = Points(chosen.steps, chosen.timestamps_ms, found.mean)
    return SampledHistory(axis, means, Envelope(found.least, found.greatest, found.counts), count)


def _ordering(how: Sample) -> Ordering:
    # Rows are cut by step whatever the axis: MLflow's rule.
    by_step = how.axis is Axis.STEP or how.method is Method.FIRST_IN_BUCKET
    return Ordering.STEP if by_step else Ordering.TIME


def _positions(points: Points, how: Sample) -> Int64Array:
    return points.steps if how.axis is Axis.STEP else points.timestamps_ms


def _origin(points: Points, how: Sample) -> int:
    """What is taken off the positions in the answer."""
    return int(points.timestamps_ms.min()) if how.axis is Axis.RELATIVE_TIME else 0
