"""A deployment in this process: real gRPC on a real port, the services' answers from memory."""

# ruff: noqa: N802 - gRPC names its methods so

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from runstream.query.client import Client
from runstream_common.errors import FieldViolation, InvalidArgument, NotFound, PlatformError
from runstream_common.rpc.status import to_status
from runstream_contract.columns import encode_series
from runstream_proto.common.v1 import discovery_service_pb2 as discovery_pb
from runstream_proto.common.v1 import discovery_service_pb2_grpc as discovery_grpc
from runstream_proto.common.v1 import operations_service_pb2 as operations_pb
from runstream_proto.common.v1 import operations_service_pb2_grpc as operations_grpc
from runstream_proto.common.v1.position_pb2 import BusPosition, Watermark
from runstream_proto.events.v1.run_logged_pb2 import MetricSeries
from runstream_proto.ingest.v1 import ingest_service_pb2 as ingest_pb
from runstream_proto.ingest.v1 import ingest_service_pb2_grpc as ingest_grpc
from runstream_proto.metadata.v1 import experiment_service_pb2 as experiment_pb
from runstream_proto.metadata.v1 import experiment_service_pb2_grpc as experiment_grpc
from runstream_proto.metadata.v1 import metric_service_pb2 as metric_pb
from runstream_proto.metadata.v1 import metric_service_pb2_grpc as metric_grpc
from runstream_proto.metadata.v1 import run_service_pb2 as run_pb
from runstream_proto.metadata.v1 import run_service_pb2_grpc as run_grpc
from runstream_proto.metadata.v1 import types_pb2 as types_pb

PART_POINTS = 1000


def run_message(number: int, experiment_id: str = "1", **fields: Any) -> types_pb.Run:
    """A finished run whose id, params and metrics follow from its number."""
    return types_pb.Run(
        run_id=f"{number:032x}",
        experiment_id=experiment_id,
        run_name=f"run-{number}",
        user_id="ada",
        status=types_pb.RUN_STATUS_FINISHED,
        start_time_ms=1_700_000_000_000 + number,
        end_time_ms=1_700_000_060_000 + number,
        lifecycle_stage=types_pb.LIFECYCLE_STAGE_ACTIVE,
        metrics=[
            types_pb.LatestMetric(key="loss", value=1 / (number + 1), step=9, timestamp_ms=1_700_000_000_009)
        ],
        params=[types_pb.KeyValue(key="lr", value=str(number)), types_pb.KeyValue(key="depth", value="3")],
        tags=[types_pb.KeyValue(key="team", value="vision")],
        **fields,
    )


@dataclass
class Store:
    """What the services of the deployment hold, and what they were asked."""

    experiments: dict[str, types_pb.Experiment] = field(default_factory=dict)
    runs: dict[str, types_pb.Run] = field(default_factory=dict)
    histories: dict[tuple[str, str], tuple[Any, Any, Any]] = field(default_factory=dict)
    dead_letters: list[operations_pb.DeadLetter] = field(default_factory=list)
    events: list[operations_pb.TailEventsResponse] = field(default_factory=list)
    status: operations_pb.GetStatusResponse = field(default_factory=operations_pb.GetStatusResponse)
    caught_up: bool = True
    asked: list[Any] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)

    def add_history(self, run_id: str, key: str, count: int) -> tuple[Any, Any, Any]:
        steps = np.arange(count, dtype="<i8")
        columns = (steps, 1_700_000_000_000 + steps, np.cos(steps / 100.0))
        self.histories[run_id, key] = columns
        return columns

    def run(self, run_id: str) -> types_pb.Run:
        if run_id not in self.runs:
            raise NotFound(f"no run {run_id}", reason="RUN_NOT_FOUND", metadata={"run_id": run_id})
        return self.runs[run_id]


class Answers:
    """Base of the servicers: platform errors become statuses."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def guarded(self, context: grpc.ServicerContext, request: Any, work: Callable[[], Any]) -> Any:
        self.store.asked.append(request)
        try:
            return work()
        except PlatformError as error:
            context.abort_with_status(to_status(error))

    def freshness(self) -> run_pb.Freshness:
        return run_pb.Freshness(caught_up=self.store.caught_up, written_up_to_ms=1_700_000_000_000)


class Experiments(Answers, experiment_grpc.ExperimentServiceServicer):
    def GetExperiment(self, request, context):
        return self.guarded(
            context, request, lambda: experiment_pb.GetExperimentResponse(experiment=self._find(request))
        )

    def _find(self, request) -> types_pb.Experiment:
        for experiment in self.store.experiments.values():
            if request.experiment_id == experiment.experiment_id or request.name == experiment.name:
                return experiment
        raise NotFound(
            f"no experiment {request.experiment_id or request.name!r}", reason="EXPERIMENT_NOT_FOUND"
        )

    def CreateExperiment(self, request, context):
        created = types_pb.Experiment(
            experiment_id=str(len(self.store.experiments)),
            name=request.name,
            tags=request.tags,
            lifecycle_stage=types_pb.LIFECYCLE_STAGE_ACTIVE,
        )
        self.store.experiments[created.experiment_id] = created
        return experiment_pb.CreateExperimentResponse(experiment=created, created=True)

    def SearchExperiments(self, request, context):
        self.store.asked.append(request)
        return experiment_pb.SearchExperimentsResponse(experiments=self.store.experiments.values())

    def DeleteExperiment(self, request, context):
        self.store.experiments[request.experiment_id].lifecycle_stage = types_pb.LIFECYCLE_STAGE_DELETED
        return experiment_pb.DeleteExperimentResponse()

    def RestoreExperiment(self, request, context):
        self.store.experiments[request.experiment_id].lifecycle_stage = types_pb.LIFECYCLE_STAGE_ACTIVE
        return experiment_pb.RestoreExperimentResponse()


class Runs(Answers, run_grpc.RunServiceServicer):
    def GetRun(self, request, context):
        return self.guarded(
            context,
            request,
            lambda: run_pb.GetRunResponse(run=self.store.run(request.run_id), freshness=self.freshness()),
        )

    def GetRuns(self, request, context):
        self.store.asked.append(request)
        return run_pb.GetRunsResponse(
            runs=[self.store.runs[i] for i in request.run_ids if i in self.store.runs]
        )

    def SearchRuns(self, request, context):
        return self.guarded(context, request, lambda: self._search(request))

    def _search(self, request) -> run_pb.SearchRunsResponse:
        if "~" in request.filter:
            position = request.filter.index("~")
            raise InvalidArgument(
                [FieldViolation("filter", f"at character {position}: expected an operator, found '~'")],
                reason="INVALID_FILTER",
                metadata={"position": str(position)},
            )
        found = [run for run in self.store.runs.values() if run.experiment_id in request.experiment_ids]
        start = int(request.page_token or 0)
        end = start + (request.page_size or 1000)
        token = str(end) if end < len(found) else ""
        return run_pb.SearchRunsResponse(
            runs=found[start:end], next_page_token=token, freshness=self.freshness()
        )

    def DeleteRun(self, request, context):
        return self.guarded(context, request, lambda: self._stage(request, types_pb.LIFECYCLE_STAGE_DELETED))

    def RestoreRun(self, request, context):
        self._stage(request, types_pb.LIFECYCLE_STAGE_ACTIVE)
        return run_pb.RestoreRunResponse()

    def _stage(self, request, stage) -> run_pb.DeleteRunResponse:
        self.store.run(request.run_id).lifecycle_stage = stage
        return run_pb.DeleteRunResponse()

    def WatchRun(self, request, context):
        context.add_callback(self.store.left.set)
        run = self.store.run(request.run_id)
        while context.is_active():
            yield run_pb.WatchRunResponse(run=run)
            if run.HasField("end_time_ms"):
                return
            self.store.left.wait(0.01)


class Metrics(Answers, metric_grpc.MetricServiceServicer):
    def ListMetrics(self, request, context):
        self.store.asked.append(request)
        summaries = [
            metric_pb.MetricSummary(
                run_id=run_id,
                latest=types_pb.LatestMetric(
                    key=key, value=values[-1], step=steps[-1], timestamp_ms=times[-1]
                ),
                point_count=len(values),
                max_step=steps[-1],
            )
            for (run_id, key), (steps, times, values) in self.store.histories.items()
            if run_id in request.run_ids
        ]
        return metric_pb.ListMetricsResponse(metrics=summaries, freshness=self.freshness())

    def StreamMetricHistory(self, request, context):
        self.store.asked.append(request)
        for (run_id, key), columns in self.store.histories.items():
            if run_id not in request.run_ids or (request.keys and key not in request.keys):
                continue
            for start in range(0, len(columns[0]), PART_POINTS):
                part = [column[start : start + PART_POINTS] for column in columns]
                yield metric_pb.StreamMetricHistoryResponse(run_id=run_id, series=_series(key, *part))

    def WatchMetrics(self, request, context):
        context.add_callback(self.store.left.set)
        for answer in self.StreamMetricHistory(request, context):
            yield metric_pb.WatchMetricsResponse(run_id=answer.run_id, series=answer.series)

    def SampleMetricHistory(self, request, context):
        self.store.asked.append(request)
        series = []
        for (run_id, key), columns in self.store.histories.items():
            if run_id not in request.run_ids or key not in request.keys:
                continue
            steps, times, values = (c[:: max(1, len(c) // request.max_points)].tolist() for c in columns)
            series.append(
                metric_pb.SampledSeries(
                    run_id=run_id,
                    key=key,
                    axis_values=steps,
                    steps=steps,
                    timestamps_ms=times,
                    values=values,
                    min_values=values,
                    max_values=values,
                    point_counts=[1] * len(steps),
                    total_point_count=len(columns[0]),
                )
            )
        return metric_pb.SampleMetricHistoryResponse(series=series, freshness=self.freshness())


def _series(key: str, steps: Any, times: Any, values: Any) -> MetricSeries:
    return MetricSeries.FromString(encode_series(key, steps, times, values).SerializeToString())


class Operations(Answers, operations_grpc.OperationsServiceServicer):
    def GetStatus(self, request, context):
        return self.store.status

    def ListDeadLetters(self, request, context):
        return operations_pb.ListDeadLettersResponse(dead_letters=self.store.dead_letters)

    def GetDeadLetter(self, request, context):
        for letter in self.store.dead_letters:
            if letter.id == request.id:
                return operations_pb.GetDeadLetterResponse(dead_letter=letter)
        return self.guarded(context, request, self._missing)

    def _missing(self) -> None:
        raise NotFound("no such dead letter", reason="DEAD_LETTER_NOT_FOUND")

    def ReplayDeadLetters(self, request, context):
        self.store.asked.append(request)
        kept = [letter for letter in self.store.dead_letters if request.ids and letter.id not in request.ids]
        count = len(self.store.dead_letters) - len(kept)
        self.store.dead_letters = kept
        return operations_pb.ReplayDeadLettersResponse(replayed_count=count)

    def DiscardDeadLetters(self, request, context):
        self.store.asked.append(request)
        kept = [
            letter for letter in self.store.dead_letters if not request.all and letter.id not in request.ids
        ]
        count = len(self.store.dead_letters) - len(kept)
        self.store.dead_letters = kept
        return operations_pb.DiscardDeadLettersResponse(discarded_count=count)

    def TailEvents(self, request, context):
        self.store.asked.append(request)
        yield from self.store.events


class Ingest(Answers, ingest_grpc.IngestServiceServicer):
    def LogMetrics(self, request, context):
        return self.guarded(context, request, lambda: self._log(request))

    def _log(self, request) -> ingest_pb.LogMetricsResponse:
        self.store.run(request.run_id)
        return ingest_pb.LogMetricsResponse()


class Discovery(Answers, discovery_grpc.DiscoveryServiceServicer):
    """Lists this server as every service, without a host, as a stack behind one address does."""

    port = 0

    def ListServices(self, request, context):
        names = ("ingest", "metadata")
        return discovery_pb.ListServicesResponse(
            services=[discovery_pb.ServiceAddress(name=name, target=f":{self.port}") for name in names],
            version="0.1.0",
            topology="embedded",
        )


@dataclass
class Deployment:
    """The running deployment: its one address, what it holds, and its health."""

    url: str
    store: Store
    health: health.HealthServicer


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """A deployment with the experiment "digits" (id 1) and three runs in it."""
    store = Store()
    store.experiments = {
        number: types_pb.Experiment(
            experiment_id=number,
            name=name,
            lifecycle_stage=types_pb.LIFECYCLE_STAGE_ACTIVE,
            creation_time_ms=1_700_000_000_000,
            last_update_time_ms=1_700_000_000_001,
        )
        for number, name in (("0", "Default"), ("1", "digits"))
    }
    store.runs = {run.run_id: run for run in (run_message(number) for number in range(3))}
    store.status = healthy_status()
    server = grpc.server(ThreadPoolExecutor(8))
    discovery, checks = Discovery(store), health.HealthServicer()
    discovery_grpc.add_DiscoveryServiceServicer_to_server(discovery, server)
    experiment_grpc.add_ExperimentServiceServicer_to_server(Experiments(store), server)
    run_grpc.add_RunServiceServicer_to_server(Runs(store), server)
    metric_grpc.add_MetricServiceServicer_to_server(Metrics(store), server)
    operations_grpc.add_OperationsServiceServicer_to_server(Operations(store), server)
    ingest_grpc.add_IngestServiceServicer_to_server(Ingest(store), server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    checks.set("", health_pb2.HealthCheckResponse.SERVING)
    discovery.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Deployment(f"127.0.0.1:{discovery.port}", store, checks)
    server.stop(None).wait()


def healthy_status() -> operations_pb.GetStatusResponse:
    """The answer of a service that is well."""
    now_ms = time.time_ns() // 1_000_000
    watermark = Watermark(
        topic="run-logged", partition=0, applied_offset=7, applied_time_ms=now_ms, lag_messages=0
    )
    return operations_pb.GetStatusResponse(
        service="metadata",
        version="0.1.0",
        topology="embedded",
        start_time_ms=now_ms - 60_000,
        checks=[operations_pb.CheckResult(name="database", ok=True)],
        subscriptions=[
            operations_pb.SubscriptionStatus(
                topic="run-logged",
                group="metadata",
                state=operations_pb.SUBSCRIPTION_STATE_RUNNING,
                watermarks=[watermark],
            )
        ],
    )


@pytest.fixture
def client(deployment: Deployment) -> Iterator[Client]:
    """A client of the deployment."""
    with Client(deployment.url) as client:
        yield client


@pytest.fixture
def event() -> operations_pb.TailEventsResponse:
    """One event on the bus."""
    return operations_pb.TailEventsResponse(
        position=BusPosition(topic="run-changed", offset=4),
        key="ab" * 16,
        headers={"event-type": "RunChanged"},
        timestamp_ms=1_700_000_000_000,
        value=b"\x08\x01",
        json='{"change": "RUN_CHANGE_CREATED"}',
    )
