"""gRPC handlers of IngestService over raw bytes of batches, so that validated bytes are forwarded without re-encoding."""

from collections.abc import AsyncIterator

import grpc
from runstream_common.rpc.server import Registration
from runstream_proto.common.v1.position_pb2 import BusPosition
from runstream_proto.ingest.v1.ingest_service_pb2 import (
    LogMetricBatchesRequest,
    LogMetricBatchesResponse,
    LogMetricsResponse,
    StreamMetricsResponse,
)

from runstream_ingest.admission import InFlightBytes
from runstream_ingest.api.batches_call import BatchesCall, check_size
from runstream_ingest.api.stream_session import StreamSession
from runstream_ingest.intake import Intake, check, decode_message
from runstream_ingest.metrics import count_accepted

SERVICE_NAME = "runstream.ingest.v1.IngestService"


class IngestHandlers:
    """Translates between the wire and the intake."""

    def __init__(self, intake: Intake, in_flight: InFlightBytes) -> None:
        self._intake = intake
        self._in_flight = in_flight

    async def log_metrics(
        self, data: bytes, context: "grpc.aio.ServicerContext[bytes, LogMetricsResponse]"
    ) -> LogMetricsResponse:
        """Accept one batch; returns when it is durable."""
        del context
        batch = check(decode_message(data), data)
        self._in_flight.try_acquire(len(data))
        try:
            await self._intake.require_run(batch)
            position = await self._intake.forward(batch)
            count_accepted(batch.point_count)
        finally:
            self._in_flight.release(len(data))
        return LogMetricsResponse(
            position=BusPosition(topic=position.topic, partition=position.partition, offset=position.offset),
            point_count=batch.point_count,
        )

    async def log_metric_batches(
        self,
        request: LogMetricBatchesRequest,
        context: "grpc.aio.ServicerContext[LogMetricBatchesRequest, LogMetricBatchesResponse]",
    ) -> LogMetricBatchesResponse:
        """Accept batches of several runs; returns when each is durable or refused."""
        del context
        size_bytes = check_size(request.batches)
        self._in_flight.try_acquire(size_bytes)
        try:
            return await BatchesCall(self._intake, runs_checked=request.runs_checked).run(request.batches)
        finally:
            self._in_flight.release(size_bytes)

    async def stream_metrics(
        self,
        messages: AsyncIterator[bytes],
        context: "grpc.aio.ServicerContext[bytes, StreamMetricsResponse]",
    ) -> None:
        """Accept a sequence of batches."""
        await StreamSession(self._intake, self._in_flight, context.write).run(messages)

    def registration(self) -> Registration:
        """What the server registers; requests stay bytes, unlike with the generated function."""
        return Registration(SERVICE_NAME, _add_to_server, self)

    def generic_handler(self) -> "grpc.GenericRpcHandler[bytes, bytes]":
        """The methods by name."""
        return grpc.method_handlers_generic_handler(
            SERVICE_NAME,
            {
                "LogMetrics": grpc.unary_unary_rpc_method_handler(
                    self.log_metrics, response_serializer=LogMetricsResponse.SerializeToString
                ),
                "LogMetricBatches": grpc.unary_unary_rpc_method_handler(
                    self.log_metric_batches,
                    request_deserializer=LogMetricBatchesRequest.FromString,
                    response_serializer=LogMetricBatchesResponse.SerializeToString,
                ),
                "StreamMetrics": grpc.stream_stream_rpc_method_handler(
                    self.stream_metrics, response_serializer=StreamMetricsResponse.SerializeToString
                ),
            },
        )


def _add_to_server(handlers: IngestHandlers, server: grpc.aio.Server) -> None:
    server.add_generic_rpc_handlers((handlers.generic_handler(),))
