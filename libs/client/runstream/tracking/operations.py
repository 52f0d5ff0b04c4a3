"""What a record means, and how it is sent: the same for a direct call, a replay and the command line."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Protocol

import grpc
from google.protobuf.message import DecodeError
from runstream_common.errors import InvalidArgument, PlatformError
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.ingest.v1.ingest_service_pb2 import LogMetricsResponse
from runstream_proto.metadata.v1.experiment_service_pb2 import CreateExperimentRequest
from runstream_proto.metadata.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from runstream_proto.metadata.v1.run_service_pb2 import (
    CreateRunRequest,
    CreateRunResponse,
    HeartbeatRequest,
    LogBatchRequest,
    LogInputsRequest,
    UpdateRunRequest,
)
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

from runstream.tracking.segments import Record, RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstream.connection import Connection

LOG_METRICS = "/runstream.ingest.v1.IngestService/LogMetrics"
STREAM_METRICS = "/runstream.ingest.v1.IngestService/StreamMetrics"


class PendingCall(Protocol):
    """The part of grpc.Future that is needed."""

    def result(self) -> LogMetricsResponse:
        """Wait for the answer; raises grpc.RpcError, or grpc.FutureCancelledError."""
        ...

    def cancel(self) -> bool:
        """Give up."""
        ...


_LENGTH = struct.Struct("<I")


def create_run_record(experiment_name: str, request: CreateRunRequest) -> Record:
    """A run to create, with the name of its experiment when that is not yet resolved.

    Args:
        experiment_name: created when it does not exist; empty when the request holds the id.
        request: run_id must be set, so that a repeat returns the same run.
    """
    experiment = (
        CreateExperimentRequest(name=experiment_name, get_if_exists=True) if experiment_name else None
    )
    head = experiment.SerializeToString() if experiment else b""
    return Record(RecordKind.CREATE_RUN, _LENGTH.pack(len(head)) + head + request.SerializeToString())


def log_batch_record(request: LogBatchRequest) -> Record:
    """Params and tags to log."""
    return Record(RecordKind.LOG_BATCH, request.SerializeToString())


def log_inputs_record(request: LogInputsRequest) -> Record:
    """Datasets to log."""
    return Record(RecordKind.LOG_INPUTS, request.SerializeToString())


def update_run_record(request: UpdateRunRequest) -> Record:
    """A run's end, name or status."""
    return Record(RecordKind.UPDATE_RUN, request.SerializeToString())


def heartbeat_record(run_id: str) -> Record:
    """A lease to renew."""
    return Record(RecordKind.HEARTBEAT, HeartbeatRequest(run_ids=[run_id]).SerializeToString())


def perform(connection: Connection, record: Record, timeout_seconds: float) -> None:
    """Send anything but metrics.

    Raises:
        PlatformError: the server refused it, or is away.
    """
    try:
        _HANDLERS[record.kind](connection, record.payload, timeout_seconds)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
    except (DecodeError, struct.error, KeyError) as error:
        raise InvalidArgument.of("record", f"cannot be read: {error}") from error


def create_run(connection: Connection, record: Record, timeout_seconds: float) -> CreateRunResponse:
    """Send a record of `create_run_record` and return the run.

    Raises:
        PlatformError: the server refused it, or is away.
    """
    try:
        return _create_run(connection, record.payload, timeout_seconds)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


def send_metrics(connection: Connection, data: bytes, timeout_seconds: float) -> PendingCall:
    """Start to send a batch without waiting for the answer.

    Raises:
        PlatformError: the service cannot be found.
    """
    call = connection.channel("ingest").unary_unary(
        LOG_METRICS,
        request_serializer=None,  # the bytes are the message
        response_deserializer=LogMetricsResponse.FromString,
    )
    try:
        return call.future(data, timeout=timeout_seconds)
    except RuntimeError:  # from Python 3.12 on, no thread starts while the process ends
        return _Answered(lambda: call(data, timeout=timeout_seconds))


class _Answered:
    """A call that has been waited for."""

    def __init__(self, call: Callable[[], LogMetricsResponse]) -> None:
        self._error: grpc.RpcError | None = None
        try:
            self._answer = call()
        except grpc.RpcError as error:
            self._error = error

    def result(self) -> LogMetricsResponse:
        if self._error is not None:
            raise self._error
        return self._answer

    def cancel(self) -> bool:
        return False


def is_retryable(error: PlatformError) -> bool:
    """Whether the same request may succeed later: refusals by the server's state or our data never do."""
    return error.retryable


def _create_run(connection: Connection, payload: bytes, timeout_seconds: float) -> CreateRunResponse:
    (length,) = _LENGTH.unpack_from(payload)
    head, body = payload[_LENGTH.size :][:length], payload[_LENGTH.size + length :]
    request = CreateRunRequest.FromString(body)
    if head:
        stub = connection.stub(ExperimentServiceStub)
        answer = stub.CreateExperiment(CreateExperimentRequest.FromString(head), timeout=timeout_seconds)
        request.experiment_id = answer.experiment.experiment_id
    return connection.stub(RunServiceStub).CreateRun(request, timeout=timeout_seconds)


def _log_batch(connection: Connection, payload: bytes, timeout_seconds: float) -> None:
    stub = connection.stub(RunServiceStub)
    stub.LogBatch(LogBatchRequest.FromString(payload), timeout=timeout_seconds)


def _log_inputs(connection: Connection, payload: bytes, timeout_seconds: float) -> None:
    stub = connection.stub(RunServiceStub)
    stub.LogInputs(LogInputsRequest.FromString(payload), timeout=timeout_seconds)


def _update_run(connection: Connection, payload: bytes, timeout_seconds: float) -> None:
    stub = connection.stub(RunServiceStub)
    stub.UpdateRun(UpdateRunRequest.FromString(payload), timeout=timeout_seconds)


def _heartbeat(connection: Connection, payload: bytes, timeout_seconds: float) -> None:
    stub = connection.stub(RunServiceStub)
    stub.Heartbeat(HeartbeatRequest.FromString(payload), timeout=timeout_seconds)


_HANDLERS: dict[RecordKind, Callable[[Connection, bytes, float], object]] = {
    RecordKind.CREATE_RUN: _create_run,
    RecordKind.LOG_BATCH: _log_batch,
    RecordKind.LOG_INPUTS: _log_inputs,
    RecordKind.UPDATE_RUN: _update_run,
    RecordKind.HEARTBEAT: _heartbeat,
}
