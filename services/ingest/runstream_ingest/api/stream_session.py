"""One StreamMetrics call: reads batches, acknowledges each by its sequence number once it is durable."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from runstream_common.errors import PlatformError
from runstream_proto.common.v1.position_pb2 import BusPosition
from runstream_proto.ingest.v1.ingest_service_pb2 import BatchAck, StreamMetricsResponse

from runstream_ingest.admission import InFlightBytes
from runstream_ingest.api.rejections import NOT_STORED, rejection
from runstream_ingest.intake import CheckedBatch, Intake, check, decode_message
from runstream_ingest.metrics import BATCHES_REFUSED, count_accepted

if TYPE_CHECKING:
    from runstream_common.bus.messages import Position


class StreamSession:
    """State of one stream.

    Reading stops while the service's in-flight bytes are at their bound; HTTP/2 flow control then slows the client.
    Answers that become ready together leave together, so a fast client costs few messages.
    """

    def __init__(
        self,
        intake: Intake,
        in_flight: InFlightBytes,
        write: Callable[[StreamMetricsResponse], Awaitable[None]],
    ) -> None:
        self._intake = intake
        self._in_flight = in_flight
        self._write = write
        self._ready = StreamMetricsResponse()
        self._wake = asyncio.Event()
        self._pending = 0
        self._ended = False

    async def run(self, messages: AsyncIterator[bytes]) -> None:
        """Serve until the client has half-closed and everything it sent is answered.

        Raises:
            InvalidArgument: a message that cannot be decoded, so that its sequence number is unknown; ends the stream
                after everything before it is answered.
        """
        writer = asyncio.create_task(self._write_answers(), name="stream-metrics-writer")
        try:
            async for data in messages:
                await self._accept(data)
                if writer.done():
                    break
        except asyncio.CancelledError:
            # The client is gone: nobody reads the answers. What was forwarded becomes durable all the same.
            writer.cancel()
            raise
        finally:
            self._ended = True
            self._wake.set()
            await asyncio.wait([writer])
        writer.result()

    async def _accept(self, data: bytes) -> None:
        message = decode_message(data)
        size_bytes = len(data)
        await self._in_flight.acquire(size_bytes)
        forwarded = False
        try:
            batch = check(message, data)
            await self._intake.require_run(batch)
            durable = self._intake.forward(batch)
            forwarded = True
        except PlatformError as error:
            self._answer_rejection(message.sequence, error)
            return
        finally:
            if not forwarded:
                self._in_flight.release(size_bytes)
        self._pending += 1
        # The number alone: the decoded message is as large as its bytes, and would be kept until they are durable.
        sequence = message.sequence
        durable.add_done_callback(lambda done: self._settle(sequence, batch, done))

    def _settle(self, sequence: int, batch: CheckedBatch, durable: "asyncio.Future[Position]") -> None:
        self._pending -= 1
        self._in_flight.release(len(batch.data))
        error = NOT_STORED if durable.cancelled() else durable.exception()
        if error is not None:
            self._answer_rejection(sequence, error if isinstance(error, PlatformError) else NOT_STORED)
            return
        position = durable.result()
        count_accepted(batch.point_count)
        self._ready.acks.append(
            BatchAck(
                sequence=sequence,
                position=BusPosition(
                    topic=position.topic, partition=position.partition, offset=position.offset
                ),
            )
        )
        self._wake.set()

    def _answer_rejection(self, sequence: int, error: PlatformError) -> None:
        BATCHES_REFUSED.labels(error.reason).inc()
        self._ready.rejections.append(rejection(sequence, error))
        self._wake.set()

    async def _write_answers(self) -> None:
        while not (self._ended and self._pending == 0 and not self._has_answers()):
            await self._wake.wait()
            self._wake.clear()
            if self._has_answers():
                answers, self._ready = self._ready, StreamMetricsResponse()
                await self._write(answers)

    def _has_answers(self) -> bool:
        return bool(self._ready.acks or self._ready.rejections)
