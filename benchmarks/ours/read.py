"""Measurements of reading."""

import time

import grpc
import numpy as np
from runstream_contract.columns import Series, encode
from runstream_contract.ids import new_batch_id
from runstream_proto.ingest.v1.ingest_service_pb2 import LogMetricsRequest
from runstream_proto.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from runstream_proto.metadata.v1 import metric_service_pb2, run_service_pb2
from runstream_proto.metadata.v1.metric_service_pb2_grpc import MetricServiceStub
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

from benchmarks import workload
from benchmarks.ours.stack import StackUnderTest
from benchmarks.ours.write import new_experiment, new_runs, wait_applied
from benchmarks.peer.read import Latency, repeat

CALLS = 50
SECONDS = 60.0
PART_POINTS = 250_000


def search_latency(stack: StackUnderTest, experiment_id: str) -> Latency:
    """Time of the first page of the search that the peer answers too; the page is checked."""
    request = run_service_pb2.SearchRunsRequest(
        experiment_ids=[experiment_id],
        filter=workload.SEARCH_FILTER,
        order_by=[workload.SEARCH_ORDER_BY],
        page_size=workload.SEARCH_PAGE,
    )
    with stack.channel() as channel:
        stub = RunServiceStub(channel)
        _check_page(stub.SearchRuns(request))
        return repeat(lambda: stub.SearchRuns(request), calls=CALLS, seconds=SECONDS)


def _check_page(answer: run_service_pb2.SearchRunsResponse) -> None:
    metrics = [{metric.key: metric.value for metric in run.metrics} for run in answer.runs]
    accuracies = [found["accuracy"] for found in metrics]
    good = (
        len(metrics) == workload.SEARCH_PAGE
        and all(found["loss"] < 0.5 for found in metrics)
        and accuracies == sorted(accuracies, reverse=True)
    )
    if not good:
        raise RuntimeError("the search did not answer with the right page")


def write_history(stack: StackUnderTest, points: int = workload.HISTORY_POINTS) -> str:
    """Write a history of one key through ingest and wait until it is queryable; returns the run's id."""
    with (
        stack.channel() as channel,
        grpc.insecure_channel(stack.ingest, options=[("grpc.max_send_message_length", -1)]) as ingest,
    ):
        [run_id] = new_runs(channel, new_experiment(channel, "history"), 1)
        positions: dict[int, int] = {}
        for start in range(0, points, PART_POINTS):
            steps = np.arange(start, min(points, start + PART_POINTS))
            values = np.array([workload.unit_value(int(step), 0) for step in steps])
            data = encode(
                new_batch_id(),
                run_id,
                [Series(workload.HISTORY_KEY, steps, steps * 1000 + workload.START_MS, values)],
            )
            position = IngestServiceStub(ingest).LogMetrics(LogMetricsRequest.FromString(data)).position
            positions[position.partition] = position.offset
        wait_applied(channel, run_id, positions)
    return run_id


def chart_latency(stack: StackUnderTest, run_id: str) -> Latency:
    """Time of a chart of 1,000 points from the whole history."""
    request = metric_service_pb2.SampleMetricHistoryRequest(
        run_ids=[run_id], keys=[workload.HISTORY_KEY], max_points=workload.CHART_POINTS
    )
    with stack.channel() as channel:
        stub = MetricServiceStub(channel)
        [series] = stub.SampleMetricHistory(request).series
        if series.total_point_count != workload.HISTORY_POINTS or len(series.values) != workload.CHART_POINTS:
            raise RuntimeError(f"the chart has {len(series.values)} of {series.total_point_count} points")
        return repeat(lambda: stub.SampleMetricHistory(request), calls=CALLS, seconds=SECONDS)


def whole_rate(stack: StackUnderTest, run_id: str, repeats: int = 5) -> float:
    """Points a second into numpy, with the SDK's client; the best of a few reads, as for the peer."""
    from runstream import Client  # noqa: PLC0415 - the SDK is needed for this alone

    client = Client(stack.metadata)
    best = 0.0
    for _ in range(repeats):
        started = time.perf_counter()
        history = client.metric_history(run_id, workload.HISTORY_KEY)
        seconds = time.perf_counter() - started
        if len(history.values) != workload.HISTORY_POINTS:
            raise RuntimeError(f"{len(history.values)} points were read")
        best = max(best, len(history.values) / seconds)
    return best
