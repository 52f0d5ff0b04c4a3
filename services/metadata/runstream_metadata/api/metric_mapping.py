"""Between the messages of MetricService and the domain. Answers are built as bytes columns, see metric_columns.proto."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument
from runstream_contract.columns import encode_series
from runstream_proto.metadata.v1 import metric_columns_pb2 as columns_pb
from runstream_proto.metadata.v1 import metric_service_pb2 as pb
from runstream_proto.metadata.v1 import types_pb2 as types

from runstream_metadata.histories import StepRange
from runstream_metadata.sampled_histories import Axis, Sample
from runstream_metadata.sampling import Method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns

    from runstream_metadata.histories import HistorySummary
    from runstream_metadata.metrics import Points
    from runstream_metadata.sampled_histories import SampledHistory

MAX_KEYS_STREAMED = 1_000
MAX_KEYS_SAMPLED = 100
DEFAULT_SAMPLED_POINTS = 1_000
MAX_SAMPLED_POINTS = 10_000

_AXES = {
    pb.AXIS_UNSPECIFIED: Axis.STEP,
    pb.AXIS_STEP: Axis.STEP,
    pb.AXIS_TIME: Axis.TIME,
    pb.AXIS_RELATIVE_TIME: Axis.RELATIVE_TIME,
}
_METHODS = {
    pb.SAMPLING_UNSPECIFIED: Method.MIN_MAX_MEAN,
    pb.SAMPLING_MIN_MAX_MEAN: Method.MIN_MAX_MEAN,
    pb.SAMPLING_LTTB: Method.LTTB,
    pb.SAMPLING_FIRST_IN_BUCKET: Method.FIRST_IN_BUCKET,
}


def step_range(
    request: pb.GetMetricHistoryRequest | pb.StreamMetricHistoryRequest | pb.SampleMetricHistoryRequest,
) -> StepRange:
    """The steps asked for.

    Raises:
        InvalidArgument: the range is the wrong way round.
    """
    start = request.start_step if request.HasField("start_step") else None
    end = request.end_step if request.HasField("end_step") else None
    if start is not None and end is not None and start > end:
        raise InvalidArgument.of("end_step", f"must not be less than start_step, got {start} and {end}")
    return StepRange(start, end)


def keys(given: Sequence[str], *, at_least: int, at_most: int) -> list[str]:
    """Metric keys, repeats removed, order kept.

    Raises:
        InvalidArgument: too few or too many.
    """
    if not at_least <= len(given) <= at_most:
        raise InvalidArgument.of("keys", f"needs {at_least} to {at_most} keys, has {len(given)}")
    return list(dict.fromkeys(given))


def bounded(field: str, value: int, *, default: int, at_most: int) -> int:
    """A size with its default filled in.

    Raises:
        InvalidArgument: it is negative or too large.
    """
    if not 0 <= value <= at_most:
        raise InvalidArgument.of(field, f"must be 0 (for {default}) to {at_most}, got {value}")
    return value or default


def sample(request: pb.SampleMetricHistoryRequest) -> Sample:
    """How to downsample.

    Raises:
        InvalidArgument: a number that is out of range, or an enumeration value that is not known.
    """
    if request.axis not in _AXES:
        raise InvalidArgument.of("axis", f"{request.axis} is not known")
    if request.sampling not in _METHODS:
        raise InvalidArgument.of("sampling", f"{request.sampling} is not known")
    return Sample(
        max_points=bounded(
            "max_points", request.max_points, default=DEFAULT_SAMPLED_POINTS, at_most=MAX_SAMPLED_POINTS
        ),
        axis=_AXES[request.axis],
        method=_METHODS[request.sampling],
        steps=step_range(request),
    )


def series_columns(key: str, points: Points) -> MetricSeriesColumns:
    """Points of one key."""
    return encode_series(key, points.steps, points.timestamps_ms, points.values)


def part_message(run_id: str, key: str, points: Points) -> columns_pb.MetricPartColumns:
    """Points of one series."""
    return columns_pb.MetricPartColumns(run_id=run_id, series=series_columns(key, points))


def summary_message(summary: HistorySummary) -> pb.MetricSummary:
    """One metric of one run."""
    series = summary.series
    latest = series.latest
    return pb.MetricSummary(
        run_id=series.run_id,
        latest=types.LatestMetric(
            key=series.key, value=latest.value, step=latest.step, timestamp_ms=latest.timestamp_ms
        ),
        point_count=summary.point_count,
        min_step=summary.min_step,
        max_step=summary.max_step,
    )


def sampled_message(run_id: str, key: str, sampled: SampledHistory) -> columns_pb.SampledSeriesColumns:
    """One downsampled history."""
    points = sampled.points
    message = columns_pb.SampledSeriesColumns(
        run_id=run_id,
        key=key,
        axis_values=sampled.axis.tobytes(),
        steps=points.steps.tobytes(),
        timestamps_ms=points.timestamps_ms.tobytes(),
        values=points.values.tobytes(),
        total_point_count=sampled.total_point_count,
    )
    if sampled.envelope is not None:
        message.min_values = sampled.envelope.least.tobytes()
        message.max_values = sampled.envelope.greatest.tobytes()
        message.point_counts = sampled.envelope.counts.tobytes()
    return message
