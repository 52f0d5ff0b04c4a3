"""A whole deployment in this process that can be stopped, slowed and made to refuse: what SDK tests log to.

It keeps what it was sent in plain Python and knows the few rules that the SDK relies on: a create with the same run id
returns the run, points of unknown runs are refused, a batch id counts once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent import futures
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from runstream_common.errors import FailedPrecondition, InvalidArgument, NotFound, PlatformError
from runstream_common.rpc.status import status_code, to_status
from runstream_contract.columns import decode, series_of
from runstream_proto.common.v1 import discovery_service_pb2 as discovery_pb
from runstream_proto.common.v1 import discovery_service_pb2_grpc as discovery_grpc
from runstream_proto.common.v1.position_pb2 import BusPosition
from runstream_proto.ingest.v1 import ingest_service_pb2 as ingest_pb
from runstream_proto.metadata.v1 import experiment_service_pb2 as experiment_pb
from runstream_proto.metadata.v1 import experiment_service_pb2_grpc as experiment_grpc
from runstream_proto.metadata.v1 import run_service_pb2 as run_pb
from runstream_proto.metadata.v1 import run_service_pb2_grpc as run_grpc
from runstream_proto.metadata.v1.types_pb2 import Experiment, KeyValue, RunStatus
from runstream_proto.metadata.v1.types_pb2 import Run as RunMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Point = tuple[str, int, int, float]


@dataclass
class StoredRun:
    """What the server knows of a run."""

    request: run_pb.CreateRunRequest
    status: int = RunStatus.RUN_STATUS_RUNNING
    status_reason: str = ""
    end_time_ms: int = 0
    deleted: bool = False
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    inputs: list[Any] = field(default_factory=list)
    points: Counter[Point] = field(default_factory=Counter)
    heartbeats: int = 0

    @property
    def status_name(self) -> str:
        """Status without its prefix."""
        return RunStatus.Name(self.status).removeprefix("RUN_STATUS_")  # type: ignore[arg-type]

    def values(self, key: str) -> list[float]:
        """Values of a key by step and time."""
        return [p[3] for p in sorted(self.points) if p[0] == key]


class FakeServer:
    """The deployment. Knobs may be turned at any time; `changed` is notified after every call."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.experiments: dict[str, str] = {"Default": "0"}
        self.runs: dict[str, StoredRun] = {}
        self.calls: list[str] = []
        self.batch_ids: Counter[str] = Counter()
        self.failure: PlatformError | None = None
        """Answer of every call but discovery."""
        self.delay_seconds = 0.0
        """Before every batch of metrics is answered."""
        self.withhold_acks = False
        """Take batches of the stream, but do not say so."""
        self.stream_retry_delays_ms: list[int] = []
        """Refuse the next batches of the stream with these delays."""
        self.further_targets: dict[str, str] = {}
        """Services that run elsewhere, such as {"artifact": "127.0.0.1:5052"}, for discovery."""
        self.port = 0
        self._server: grpc.Server | None = None
        self.start()

    @property
    def url(self) -> str:
        """Address of the deployment."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        server = grpc.server(
            futures.ThreadPoolExecutor(32),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 17 << 20)],
        )
        discovery_grpc.add_DiscoveryServiceServicer_to_server(_Discovery(self), server)
        experiment_grpc.add_ExperimentServiceServicer_to_server(_Experiments(self), server)
        run_grpc.add_RunServiceServicer_to_server(_Runs(self), server)
        server.add_generic_rpc_handlers((_ingest_handler(self),))
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        server.start()
        self._server = server

    def stop(self) -> None:
        """Break every connection and listen no more; what was sent is kept."""
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None

    def wait_until(self, condition: Callable[[], object], timeout_seconds: float = 20.0) -> None:
        """Wait for something that calls change.

        Raises:
            AssertionError: it did not come true in time.
        """
        with self.changed:
            assert self.changed.wait_for(condition, timeout_seconds), self.calls[-20:]

    def only_run(self) -> StoredRun:
        """The run, when there is one."""
        (run,) = self.runs.values()
        return run

    def note(self, call: str) -> None:
        """Record a call."""
        with self.changed:
            self.calls.append(call)
            self.changed.notify_all()

    def log_metrics(self, data: bytes) -> int:
        """Apply a batch once; returns its number of points."""
        view = decode(data)
        with self.changed:
            run = self.active_run(view.run_id)
            self.batch_ids[view.batch_id] += 1
            points = [
                (s.key, int(step), int(time_ms), float(value))
                for s in map(series_of, view.series)
                for step, time_ms, value in zip(s.steps, s.timestamps_ms, s.values, strict=True)
            ]
            if self.batch_ids[view.batch_id] == 1:
                run.points.update(points)
            self.note("metrics")
            return len(points)

    def active_run(self, run_id: str) -> StoredRun:
        """The run that may be written to."""
        run = self.runs.get(run_id)
        if run is None:
            raise NotFound(f"run {run_id} does not exist", reason="RUN_NOT_FOUND")
        if run.deleted:
            raise FailedPrecondition(f"run {run_id} is deleted", reason="RUN_NOT_ACTIVE")
        return run


def _guarded(server: FakeServer, context: grpc.ServicerContext, work: Callable[[], Any]) -> Any:
    try:
        if server.failure is not None:
            raise server.failure
        return work()
    except PlatformError as error:
        server.note(f"refused:{error.reason}")
        context.abort_with_status(to_status(error))


class _Discovery(discovery_grpc.DiscoveryServiceServicer):
    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def ListServices(self, request: Any, context: Any) -> discovery_pb.ListServicesResponse:  # noqa: N802
        target = f":{self._server.port}"
        targets = {"ingest": target, "metadata": target, **self._server.further_targets}
        services = [discovery_pb.ServiceAddress(name=n, target=t) for n, t in targets.items()]
        return discovery_pb.ListServicesResponse(services=services, version="0", topology="fake")


class _Experiments(experiment_grpc.ExperimentServiceServicer):
    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def CreateExperiment(  # noqa: N802
        self, request: experiment_pb.CreateExperimentRequest, context: grpc.ServicerContext
    ) -> experiment_pb.CreateExperimentResponse:
        def work() -> experiment_pb.CreateExperimentResponse:
            with self._server.changed:
                known = self._server.experiments
                experiment_id = known.setdefault(request.name, str(len(known)))
            return experiment_pb.CreateExperimentResponse(
                experiment=Experiment(experiment_id=experiment_id, name=request.name)
            )

        return _guarded(self._server, context, work)


class _Runs(run_grpc.RunServiceServicer):
    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def CreateRun(  # noqa: N802
        self, request: run_pb.CreateRunRequest, context: grpc.ServicerContext
    ) -> run_pb.CreateRunResponse:
        def work() -> run_pb.CreateRunResponse:
            with self._server.changed:
                created = request.run_id not in self._server.runs
                run = self._server.runs.setdefault(request.run_id, StoredRun(request))
                if created:
                    run.tags.update({tag.key: tag.value for tag in request.tags})
                self._server.note("create")
            name = request.run_name or "calm-otter-7"
            return run_pb.CreateRunResponse(
                run=RunMessage(run_id=request.run_id, run_name=name), created=created
            )

        return _guarded(self._server, context, work)

    def GetRun(  # noqa: N802
        self, request: run_pb.GetRunRequest, context: grpc.ServicerContext
    ) -> run_pb.GetRunResponse:
        def work() -> run_pb.GetRunResponse:
            with self._server.changed:
                run = self._server.active_run(request.run_id)
                tags = [KeyValue(key=key, value=value) for key, value in run.tags.items()]
            return run_pb.GetRunResponse(run=RunMessage(run_id=request.run_id, tags=tags))

        return _guarded(self._server, context, work)

    def LogBatch(  # noqa: N802
        self, request: run_pb.LogBatchRequest, context: grpc.ServicerContext
    ) -> run_pb.LogBatchResponse:
        def work() -> run_pb.LogBatchResponse:
            with self._server.changed:
                run = self._server.active_run(request.run_id)
                for param in request.params:
                    if run.params.setdefault(param.key, param.value) != param.value:
                        raise InvalidArgument.of(f"params[{param.key}]", "is set", reason="PARAM_IMMUTABLE")
                run.tags.update({tag.key: tag.value for tag in request.tags})
                # Automatic tags come from a thread of their own and would blur the order of calls.
                own = any(not tag.key.startswith(("mlflow.", "runstream.")) for tag in request.tags)
                if own or request.params:
                    self._server.note("batch")
            return run_pb.LogBatchResponse()

        return _guarded(self._server, context, work)

    def LogInputs(  # noqa: N802
        self, request: run_pb.LogInputsRequest, context: grpc.ServicerContext
    ) -> run_pb.LogInputsResponse:
        def work() -> run_pb.LogInputsResponse:
            with self._server.changed:
                self._server.active_run(request.run_id).inputs.extend(request.datasets)
                self._server.note("inputs")
            return run_pb.LogInputsResponse()

        return _guarded(self._server, context, work)

    def UpdateRun(  # noqa: N802
        self, request: run_pb.UpdateRunRequest, context: grpc.ServicerContext
    ) -> run_pb.UpdateRunResponse:
        def work() -> run_pb.UpdateRunResponse:
            with self._server.changed:
                run = self._server.active_run(request.run_id)
                run.status = request.status or run.status
                run.status_reason = request.status_reason
                run.end_time_ms = request.end_time_ms
                self._server.note(f"update:{run.status_name}")
            return run_pb.UpdateRunResponse()

        return _guarded(self._server, context, work)

    def Heartbeat(  # noqa: N802
        self, request: run_pb.HeartbeatRequest, context: grpc.ServicerContext
    ) -> run_pb.HeartbeatResponse:
        def work() -> run_pb.HeartbeatResponse:
            with self._server.changed:
                for run_id in request.run_ids:
                    if run_id in self._server.runs:
                        self._server.runs[run_id].heartbeats += 1
                self._server.note("heartbeat")
            return run_pb.HeartbeatResponse()

        return _guarded(self._server, context, work)


def _ingest_handler(server: FakeServer) -> grpc.GenericRpcHandler:
    def log_metrics(data: bytes, context: grpc.ServicerContext) -> ingest_pb.LogMetricsResponse:
        time.sleep(server.delay_seconds)
        count = _guarded(server, context, lambda: server.log_metrics(data))
        return ingest_pb.LogMetricsResponse(position=_position(server), point_count=count)

    def stream_metrics(
        messages: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb.StreamMetricsResponse]:
        for data in messages:
            time.sleep(server.delay_seconds)
            answer = _stream_answer(server, data)
            if answer is not None:
                yield answer

    return grpc.method_handlers_generic_handler(
        "runstream.ingest.v1.IngestService",
        {
            "LogMetrics": grpc.unary_unary_rpc_method_handler(
                log_metrics, response_serializer=ingest_pb.LogMetricsResponse.SerializeToString
            ),
            "StreamMetrics": grpc.stream_stream_rpc_method_handler(
                stream_metrics, response_serializer=ingest_pb.StreamMetricsResponse.SerializeToString
            ),
        },
    )


def _stream_answer(server: FakeServer, data: bytes) -> ingest_pb.StreamMetricsResponse | None:
    sequence = decode(data).sequence
    try:
        if server.failure is not None:
            raise server.failure
        if server.stream_retry_delays_ms:
            delay_ms = server.stream_retry_delays_ms.pop(0)
            return _rejection(sequence, 8, "IN_FLIGHT_FULL", "come back", delay_ms)
        server.log_metrics(data)
    except PlatformError as error:
        server.note(f"refused:{error.reason}")
        delay_ms = int(1000 * (getattr(error, "retry_after_seconds", None) or 0.05)) if error.retryable else 0
        return _rejection(sequence, status_code(error).value[0], error.reason, error.message, delay_ms)
    if server.withhold_acks:
        return None
    return ingest_pb.StreamMetricsResponse(
        acks=[ingest_pb.BatchAck(sequence=sequence, position=_position(server))]
    )


def _rejection(
    sequence: int, code: int, reason: str, message: str, delay_ms: int
) -> ingest_pb.StreamMetricsResponse:
    rejection = ingest_pb.BatchRejection(
        sequence=sequence, code=code, reason=reason, message=message, retry_delay_ms=delay_ms
    )
    return ingest_pb.StreamMetricsResponse(rejections=[rejection])


def _position(server: FakeServer) -> BusPosition:
    return BusPosition(topic="run-logged", partition=0, offset=sum(server.batch_ids.values()))
