"""Histories downsampled in the store, for charts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from runstream_metadata import histories, sampling
from runstream_metadata.metrics import Ordering
from runstream_metadata.sampling import Method

if TYPE_CHECKING:
    import asyncpg
    from runstream_contract.columns import Float64Array, Int64Array

    from runstream_metadata.histories import StepRange
    from runstream_metadata.metrics import Points


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
    """One history downsampled; None when it has no points in the range."""
    points = await histories.read(connection, series_id, _ordering(how), how.steps)
    return sample_points(points, how) if len(points) else None


def sample_points(points: Points, how: Sample) -> SampledHistory:
    """Downsample one or more points, each once and ordered as ``how`` wants them."""
    axis = _positions(points, how.axis)
    if how.method is Method.MIN_MAX_MEAN:
        return _min_max_mean(points, axis, how.max_points)
    if len(points) <= how.max_points:
        return SampledHistory(axis, points, None, len(points))
    if how.method is Method.LTTB:
        chosen = sampling.lttb(axis, points.values, how.max_points)
    else:
        chosen = sampling.first_in_bucket(len(points), how.max_points)
    return SampledHistory(axis[chosen], points.take(chosen), None, len(points))


def _min_max_mean(points: Points, axis: Int64Array, max_points: int) -> SampledHistory:
    if len(points) <= max_points:
        alone = Envelope(points.values, points.values, np.ones(len(points), np.int64))
        return SampledHistory(axis, points, alone, len(points))
    buckets = sampling.min_max_mean(axis, points.values, max_points)
    firsts = points.take(buckets.starts)
    return SampledHistory(
        axis[buckets.starts],
        type(points)(firsts.steps, firsts.timestamps_ms, buckets.mean),
        Envelope(buckets.least, buckets.greatest, buckets.counts),
        len(points),
    )


def _ordering(how: Sample) -> Ordering:
    # Rows are cut by step whatever the axis: MLflow's rule.
    by_step = how.axis is Axis.STEP or how.method is Method.FIRST_IN_BUCKET
    return Ordering.STEP if by_step else Ordering.TIME


def _positions(points: Points, axis: Axis) -> Int64Array:
    if axis is Axis.STEP:
        return points.steps
    if axis is Axis.TIME:
        return points.timestamps_ms
    since_first: Int64Array = points.timestamps_ms - points.timestamps_ms.min()
    return since_first
