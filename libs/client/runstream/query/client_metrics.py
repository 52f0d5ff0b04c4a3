"""Flows over metrics."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from runstream_proto.metadata.v1 import metric_service_pb2 as pb

from runstream.query.client_calls import Call, Flow, StreamCall, Wait, asked, checked, method_path, ready
from runstream.query.client_runs import number_of
from runstream.query.client_translation import (
    AXIS_NUMBERS,
    SAMPLING_NUMBERS,
    joined,
    part_of,
    part_view,
    positions_to_proto,
    sampled_of,
    sampled_view,
    summary_of,
)
from runstream.query.results_metrics import MetricHistories, MetricHistory, MetricSummary, SampledHistory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from google.protobuf.message import Message

T = TypeVar("T")

METRICS = pb.DESCRIPTOR.services_by_name["MetricService"].full_name


def _call(
    method: str,
    request: Message,
    parse: Callable[[bytes], Any],
    translate: Callable[[Any], T],
    wait: Wait,
) -> Call[T]:
    extra = wait.seconds if wait.positions else 0.0
    return Call(method_path(METRICS, method), request, parse, translate, extra_seconds=extra)


def list_metrics(run_ids: Sequence[str], wait: Wait) -> Flow[tuple[MetricSummary, ...]]:
    """Every metric of the runs, by run as asked, then by key."""
    request = pb.ListMetricsRequest(
        run_ids=run_ids, wait_for=positions_to_proto(wait.positions), wait_timeout_ms=wait.milliseconds
    )

    def translate(answer: pb.ListMetricsResponse) -> tuple[MetricSummary, ...]:
        checked(answer.freshness, wait)
        return tuple(summary_of(metric) for metric in answer.metrics)

    return asked(_call("ListMetrics", request, pb.ListMetricsResponse.FromString, translate, wait))


def history_parts(
    run_ids: Sequence[str], keys: Sequence[str], start_step: int | None, end_step: int | None, wait: Wait
) -> Flow[StreamCall[MetricHistory]]:
    """Whole histories in parts, once what is waited for has been applied."""
    if wait.positions:
        # The stream's answers carry no freshness, so a cheap call says whether the wait was long enough.
        yield from list_metrics(run_ids[:1], wait)
    request = pb.StreamMetricHistoryRequest(
        run_ids=run_ids, keys=keys, start_step=start_step, end_step=end_step
    )
    path = method_path(METRICS, "StreamMetricHistory")
    return StreamCall(path, request, part_view, part_of)


def one_history(run_id: str, key: str, parts: Iterable[MetricHistory]) -> MetricHistory:
    """The parts of one history put together."""
    return joined(run_id, key, list(parts))


def histories(parts: Iterable[MetricHistory]) -> MetricHistories:
    """The parts of several histories put together; parts of one come together and in order."""
    grouped = groupby(parts, key=lambda part: (part.run_id, part.key))
    return MetricHistories({names: joined(*names, list(group)) for names, group in grouped})


def sampled_histories(
    run_ids: Sequence[str],
    keys: Sequence[str],
    max_points: int,
    axis: str,
    sampling: str,
    start_step: int | None,
    end_step: int | None,
    wait: Wait,
) -> Flow[tuple[SampledHistory, ...]]:
    """Histories downsampled in the store, by run as asked, then key as asked."""
    request = pb.SampleMetricHistoryRequest(
        run_ids=run_ids,
        keys=keys,
        max_points=max_points,
        axis=number_of("axis", axis, AXIS_NUMBERS),
        sampling=number_of("sampling", sampling, SAMPLING_NUMBERS),
        start_step=start_step,
        end_step=end_step,
        wait_for=positions_to_proto(wait.positions),
        wait_timeout_ms=wait.milliseconds,
    )

    def translate(answer: Any) -> tuple[SampledHistory, ...]:
        checked(answer.freshness, wait)
        return tuple(sampled_of(series, axis, sampling) for series in answer.series)

    return asked(_call("SampleMetricHistory", request, sampled_view, translate, wait))


def watch_metrics(
    run_ids: Sequence[str], keys: Sequence[str], backlog_points: int
) -> Flow[StreamCall[MetricHistory]]:
    """Points as they become queryable, until every watched run has ended."""
    request = pb.WatchMetricsRequest(run_ids=run_ids, keys=keys, backlog_points=backlog_points)
    return ready(StreamCall(method_path(METRICS, "WatchMetrics"), request, part_view, part_of))
