"""The metric stream of a process: batches of all its runs out, acknowledgements by sequence number back."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from runstream_common.errors import PlatformError, Unavailable
from runstream_common.rpc.status import from_rpc_error, from_status_message
from runstream_proto.ingest.v1.ingest_service_pb2 import StreamMetricsResponse

from runstream.tracking.operations import STREAM_METRICS
from runstream.tracking.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runstream_proto.ingest.v1.ingest_service_pb2 import BatchRejection

    from runstream.connection import Connection
    from runstream.tracking.batches import Batch

log = logging.getLogger("runstream")

# What is under way and not yet acknowledged. Enough for a round trip of a tenth of a second at full rate.
WINDOW_BATCHES = 256
WINDOW_BYTES = 32 * 1024 * 1024
# After so many refusals in a row that may pass, what waits in memory is brought to safety on disk.
MAX_HOLDS = 5
"""Refusals in a row after which the stream is given up."""


class StreamEvents(Protocol):
    """Who is told what becomes of batches; called from the stream's thread."""

    def acknowledged(self, batch: Batch, topic: str, partition: int, offset: int) -> None:
        """The batch is durable."""

    def refused(self, batch: Batch, error: PlatformError) -> None:
        """The batch will never be taken."""

    def lost(self, batches: list[Batch], error: PlatformError) -> None:
        """The stream broke; these are not acknowledged, oldest first."""


class MetricStream:
    """Sends batches in order over one StreamMetrics call that is opened when needed; thread-safe.

    Args:
        connection: where to.
        events: who is told.
        max_bytes: bound of what waits in memory.
    """

    def __init__(self, connection: Connection, events: StreamEvents, max_bytes: int) -> None:
        self._connection = connection
        self._events = events
        self._max_bytes = max_bytes
        self._state = threading.Condition()
        self._unsent: deque[Batch] = deque()
        self._window: dict[int, Batch] = {}
        self._unsent_bytes = 0
        self._window_bytes = 0
        self._sequence = 0
        self._hold_until = 0.0
        self._backoff = Backoff()
        self._generation = 0
        self._stopped = False
        self._call: grpc.Call | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        with self._state:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="runstream-stream", daemon=True)
                self._thread.start()

    def put(self, batch: Batch) -> bool:
        """Queue a batch; False when the bound is reached, and then nothing is queued."""
        with self._state:
            if self._stopped or self._unsent_bytes + self._window_bytes + len(batch.data) > self._max_bytes:
                return False
            self._unsent.append(batch)
            self._unsent_bytes += len(batch.data)
            self._state.notify_all()
            return True

    def take_unsent(self, run_id: str) -> list[Batch]:
        """Take back what has not been sent of a run, oldest first."""
        with self._state:
            taken = [batch for batch in self._unsent if batch.run_id == run_id]
            self._unsent = deque(batch for batch in self._unsent if batch.run_id != run_id)
            self._unsent_bytes -= sum(len(batch.data) for batch in taken)
            return taken

    def take_unacknowledged(self) -> list[Batch]:
        """Take back everything, what is under way too, oldest first."""
        with self._state:
            taken = [*self._window.values(), *self._unsent]
            self._window.clear()
            self._unsent.clear()
            self._unsent_bytes = self._window_bytes = 0
            return taken

    def stop(self) -> None:
        """End the stream; what is not acknowledged is reported as lost."""
        with self._state:
            self._stopped = True
            self._state.notify_all()
            call, thread = self._call, self._thread
        if call is not None:
            call.cancel()  # type: ignore[no-untyped-call]
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5.0)

    def _run(self) -> None:
        while self._wait_for_work():
            error: PlatformError = Unavailable("the server ended the stream")
            try:
                self._serve()
            except PlatformError as problem:
                error = problem
            except grpc.RpcError as problem:
                error = from_rpc_error(problem)
            except RuntimeError as problem:
                # From Python 3.12 on, gRPC cannot start a stream's threads while the process ends.
                log.debug("the metric stream cannot be opened: %s", problem)
                error = Unavailable(f"the metric stream cannot be opened: {problem}")
            except Exception as problem:
                log.exception("the metric stream failed")
                error = Unavailable(f"the metric stream failed: {problem}")
            self._report_lost(error)

    def _wait_for_work(self) -> bool:
        with self._state:
            self._state.wait_for(lambda: self._unsent or self._stopped)
            return not self._stopped or bool(self._unsent)

    def _serve(self) -> None:
        with self._state:
            if self._stopped:
                raise Unavailable("the process ends")
            self._generation += 1
            generation = self._generation
        method = self._connection.channel("ingest").stream_stream(
            STREAM_METRICS,
            request_serializer=None,  # the bytes are the message
            response_deserializer=StreamMetricsResponse.FromString,
        )
        call = method(self._requests(generation))
        with self._state:
            self._call = call
        for response in call:
            self._handle(response)

    def _requests(self, generation: int) -> Iterator[bytes]:
        """The batches to send; runs in a thread of gRPC's and waits while the window is full."""
        while True:
            with self._state:
                while not self._may_send():
                    if self._stopped or self._generation != generation:
                        return
                    self._state.wait(self._hold_left_seconds())
                if self._generation != generation:
                    return
                batch = self._unsent.popleft()
                self._sequence += 1
                sequence = self._sequence
                self._window[sequence] = batch
                self._unsent_bytes -= len(batch.data)
                self._window_bytes += len(batch.data)
            yield batch.with_sequence(sequence)

    def _may_send(self) -> bool:
        if not self._unsent or self._stopped or time.monotonic() < self._hold_until:
            return False
        if not self._window:
            return True  # a batch bigger than the window must pass too
        size = self._window_bytes + len(self._unsent[0].data)
        return len(self._window) < WINDOW_BATCHES and size <= WINDOW_BYTES

    def _hold_left_seconds(self) -> float | None:
        left = self._hold_until - time.monotonic()
        return left if left > 0 else None

    def _handle(self, response: StreamMetricsResponse) -> None:
        acks = [(self._take(ack.sequence), ack.position) for ack in response.acks]
        for batch, position in acks:
            if batch is not None:
                self._events.acknowledged(batch, position.topic, position.partition, position.offset)
        if response.acks:
            self._backoff.reset()
        for rejection in response.rejections:
            batch = self._take(rejection.sequence)
            if batch is None:
                continue
            if rejection.retry_delay_ms > 0:
                self._hold(batch, rejection)
            else:
                self._events.refused(batch, _error_of(rejection))

    def _take(self, sequence: int) -> Batch | None:
        with self._state:
            batch = self._window.pop(sequence, None)
            if batch is not None:
                self._window_bytes -= len(batch.data)
                self._state.notify_all()
            return batch

    def _hold(self, batch: Batch, rejection: BatchRejection) -> None:
        """Send a batch again after the delay the server asked for; everything behind it waits too."""
        with self._state:
            self._unsent.appendleft(batch)
            self._unsent_bytes += len(batch.data)
            now = time.monotonic()
            if now >= self._hold_until:  # one hold for all refusals of one moment
                self._hold_until = now + self._backoff.next_seconds(rejection.retry_delay_ms / 1000)
            self._state.notify_all()
        if self._backoff.failures > MAX_HOLDS:
            raise _error_of(rejection)

    def _report_lost(self, error: PlatformError) -> None:
        with self._state:
            self._generation += 1  # ends the request iterator
            if self._call is not None:
                self._call.cancel()  # type: ignore[no-untyped-call]
            lost = self.take_unacknowledged()
            self._hold_until, self._call = 0.0, None
            self._backoff.reset()
            self._state.notify_all()
        self._events.lost(lost, error)


def _error_of(rejection: BatchRejection) -> PlatformError:
    info = AnyMessage()
    info.Pack(ErrorInfo(reason=rejection.reason))
    return from_status_message(Status(code=rejection.code, message=rejection.message, details=[info]))
