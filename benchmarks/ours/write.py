"""Measurements of writing."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import grpc
import numpy as np
import uvloop
from runstream_contract.columns import Series, encode
from runstream_contract.ids import new_batch_id
from runstream_proto.common.v1.position_pb2 import BusPosition
from runstream_proto.ingest.v1.ingest_service_pb2 import LogMetricsRequest
from runstream_proto.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from runstream_proto.metadata.v1 import experiment_service_pb2, metric_service_pb2, run_service_pb2
from runstream_proto.metadata.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from runstream_proto.metadata.v1.metric_service_pb2_grpc import MetricServiceStub
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub
from runstream_proto.metadata.v1.types_pb2 import KeyValue, RunStatus

from benchmarks import workload
from benchmarks.ours.generator import Load
from benchmarks.ours.stack import MemoryWatch, StackUnderTest, module
from benchmarks.peer.read import Latency

TOPIC = "run-logged"
STREAMS = 4
"""Runs that are written at once, one stream each."""
CATCH_UP_SECONDS = 600.0
MAX_WAIT_MS = 60_000
MAX_BEHIND_BATCHES = 1000
"""Bound on the lag of a sustained load: a million points, about a second of it."""


@dataclass(frozen=True)
class WriteRate:
    """What a load left behind.

    Attributes:
        accepted_per_second: points acknowledged a second.
        queryable_per_second: points over the time until all of them were queryable.
        catch_up_seconds: from the last acknowledgement until everything was queryable.
        ack_ms: median and p99 time to the acknowledgement of a batch.
        peak_bytes: largest resident memory of each service meanwhile.
    """

    accepted_per_second: float
    queryable_per_second: float
    catch_up_seconds: float
    ack_ms: tuple[float, float]
    peak_bytes: dict[str, int]


def new_experiment(channel: grpc.Channel, name: str) -> str:
    """Create an experiment with a fresh name; returns its id."""
    request = experiment_service_pb2.CreateExperimentRequest(name=f"{name}-{new_batch_id()}")
    answer = ExperimentServiceStub(channel).CreateExperiment(request)
    return str(answer.experiment.experiment_id)


def new_runs(channel: grpc.Channel, experiment_id: str, count: int) -> list[str]:
    """Create runs; returns their ids."""
    stub = RunServiceStub(channel)
    request = run_service_pb2.CreateRunRequest(experiment_id=experiment_id, start_time_ms=workload.START_MS)
    return [stub.CreateRun(request).run.run_id for _ in range(count)]


def wait_applied(
    channel: grpc.Channel, run_id: str, positions: dict[int, int], seconds: float = CATCH_UP_SECONDS
) -> None:
    """Return when everything up to the positions is queryable.

    Raises:
        TimeoutError: not in time.
    """
    wanted = [BusPosition(topic=TOPIC, partition=p, offset=o) for p, o in positions.items()]
    stub = RunServiceStub(channel)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        request = run_service_pb2.GetRunRequest(run_id=run_id, wait_for=wanted, wait_timeout_ms=MAX_WAIT_MS)
        if stub.GetRun(request).freshness.caught_up:
            return
    raise TimeoutError(f"not everything was queryable within {seconds:g} s")


def write_rate(stack: StackUnderTest, seconds: float, *, max_behind: int | None = None) -> WriteRate:
    """Stream batches, then wait until all are queryable, and count them.

    Args:
        stack: the stack under test.
        seconds: how long to send.
        max_behind: bound on the lag, batches; None to send as fast as batches are acknowledged.

    Raises:
        RuntimeError: a batch was refused, or the counts differ.
    """
    with stack.channel() as channel:
        run_ids = new_runs(channel, new_experiment(channel, "rate"), STREAMS)
        with MemoryWatch(stack) as memory:
            outcome = _generate(Load(stack.ingest, stack.metadata, run_ids, seconds, max_behind=max_behind))
            accepted = time.perf_counter()
            wait_applied(channel, run_ids[0], {int(p): o for p, o in outcome["positions"].items()})
            queryable = time.perf_counter()
        _check_counts(channel, outcome)
    catch_up = queryable - accepted
    return WriteRate(
        accepted_per_second=outcome["points"] / outcome["seconds"],
        queryable_per_second=outcome["points"] / (outcome["seconds"] + catch_up),
        catch_up_seconds=catch_up,
        ack_ms=tuple(outcome["ack_ms"]),
        peak_bytes=memory.peak_bytes,
    )


def _generate(load: Load) -> dict[str, Any]:
    process = module("benchmarks.ours.generator", json.dumps(asdict(load)))
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load generator ended with status {process.returncode}")
    outcome: dict[str, Any] = json.loads(output)
    if outcome["refused"]:
        raise RuntimeError(f"{len(outcome['refused'])} batches were refused: {outcome['refused'][0]}")
    return outcome


def _check_counts(channel: grpc.Channel, outcome: dict) -> None:
    request = metric_service_pb2.ListMetricsRequest(run_ids=list(outcome["batches"]))
    stored = sum(metric.point_count for metric in MetricServiceStub(channel).ListMetrics(request).metrics)
    if stored != outcome["points"]:
        raise RuntimeError(f"{outcome['points']} points were acknowledged and {stored} are queryable")


def queryable_delay(
    stack: StackUnderTest, background_points_per_second: float, *, samples: int = 200
) -> Latency:
    """Time from a batch's acknowledgement until a read answers with its points, under a background load.

    Args:
        stack: the stack under test.
        background_points_per_second: load that goes on meanwhile.
        samples: batches measured, one after another.
    """
    with stack.channel() as channel, grpc.insecure_channel(stack.ingest) as ingest:
        run_ids = new_runs(channel, new_experiment(channel, "delay"), STREAMS + 1)
        seconds = max(10.0, samples * 0.1)
        with ThreadPoolExecutor(1) as pool:
            rate = background_points_per_second / workload.BATCH_POINTS
            background = Load(stack.ingest, stack.metadata, run_ids[1:], seconds, rate_per_second=rate)
            load = pool.submit(_generate, background)
            delays = []
            for number in range(samples):
                delays.append(
                    _delay_once(IngestServiceStub(ingest), MetricServiceStub(channel), run_ids[0], number)
                )
                if load.done():
                    break
                time.sleep(0.02)
            load.result()
    return Latency(tuple(delays))


def _delay_once(ingest: IngestServiceStub, metrics: MetricServiceStub, run_id: str, number: int) -> float:
    steps = np.arange(workload.BATCH_POINTS) + number * workload.BATCH_POINTS
    data = encode(new_batch_id(), run_id, [Series("loss", steps, steps + workload.START_MS, steps * 0.5)])
    accepted = ingest.LogMetrics(LogMetricsRequest.FromString(data))
    started = time.perf_counter()
    answer = metrics.GetMetricHistory(
        metric_service_pb2.GetMetricHistoryRequest(
            run_id=run_id,
            key="loss",
            start_step=int(steps[0]),
            page_size=workload.BATCH_POINTS,
            wait_for=[accepted.position],
            wait_timeout_ms=30_000,
        )
    )
    if len(answer.series.steps) != workload.BATCH_POINTS:
        raise RuntimeError(
            f"a read after the write saw {len(answer.series.steps)} of {workload.BATCH_POINTS} points"
        )
    return time.perf_counter() - started


def create_run_rate(
    stack: StackUnderTest, seconds: float, callers: tuple[int, ...] = (1, 4, 16, 32)
) -> float:
    """Runs a second: create with five params, then end; the best number of concurrent callers.

    Two calls a run, since CreateRun takes the params; the peer needs three.
    """
    with stack.channel() as channel:
        experiment_id = new_experiment(channel, "create-run")
    return max(uvloop.run(_create_runs(stack, experiment_id, seconds, count)) for count in callers)


async def _create_runs(stack: StackUnderTest, experiment_id: str, seconds: float, callers: int) -> float:
    create = run_service_pb2.CreateRunRequest(
        experiment_id=experiment_id,
        start_time_ms=workload.START_MS,
        params=[KeyValue(key=f"param-{number}", value=str(number)) for number in range(5)],
    )
    started = time.perf_counter()

    async def work(stub: RunServiceStub) -> int:
        done = 0
        while time.perf_counter() < started + seconds:
            created = await stub.CreateRun(create)
            await stub.UpdateRun(
                run_service_pb2.UpdateRunRequest(
                    run_id=created.run.run_id,
                    status=RunStatus.RUN_STATUS_FINISHED,
                    end_time_ms=workload.START_MS + 1,
                )
            )
            done += 1
        return done

    async with grpc.aio.insecure_channel(stack.metadata) as channel:
        total = sum(await asyncio.gather(*(work(RunServiceStub(channel)) for _ in range(callers))))
    return total / (time.perf_counter() - started)
