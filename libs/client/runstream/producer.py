"""Metrics straight to Kafka, for jobs that may reach nothing else. Needs the extra `kafka`.

Runs must exist: something that reaches the services creates them and hands the run id on. Params and tags do not travel
by this door.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self, SupportsFloat

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from runstream_common.errors import InvalidArgument
from runstream_contract.columns import decode
from runstream_contract.limits import MAX_MESSAGE_BYTES
from runstream_contract.names import is_run_id

from runstream.series import series_of_arrays
from runstream.tracking.batches import encode_batches
from runstream.tracking.buffer import PointBuffer
from runstream.tracking.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    import numpy.typing as npt

    from runstream.tracking.batches import Batch

log = logging.getLogger("runstream")

TOPIC = "run-logged"
EVENT_TYPE = "runstream.events.v1.RunLogged"
CONTENT_TYPE = "application/x-protobuf"
FLUSH_INTERVAL_SECONDS = 0.2
_FLUSH_TIMEOUT_SECONDS = 30.0
_STOP_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ProducerResult:
    """What became of the points that were logged so far.

    Attributes:
        acknowledged_points: every in-sync replica has them.
        pending_points: not yet acknowledged.
        dropped_points: lost, because the buffer was full.
    """

    acknowledged_points: int
    pending_points: int
    dropped_points: int

    @property
    def complete(self) -> bool:
        """Whether Kafka has every point."""
        return self.pending_points == 0 and self.dropped_points == 0


class KafkaProducer(Protocol):
    """The part of AIOKafkaProducer that is used."""

    async def start(self) -> None:
        """Connect."""

    async def stop(self) -> None:
        """Send what is buffered and disconnect."""

    async def send_and_wait(
        self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, bytes]]
    ) -> object:
        """Send one message; returns when it is durable."""


class MetricProducer:
    """Produces metrics to the topic `run-logged`, in the background; thread-safe. A context manager.

    Args:
        bootstrap_servers: "host:port,…".
        topic_prefix: prefix of the deployment's topics.
        buffer_points: bound of the points of one run that wait; beyond it points are dropped and counted.
        max_bytes: the same for what `log_series` has encoded.
        options: further arguments of AIOKafkaProducer, such as security settings and compression_type.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        topic_prefix: str = "",
        buffer_points: int = 1_000_000,
        max_bytes: int = 64 * 1024 * 1024,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._topic = f"{topic_prefix}{TOPIC}"
        self._buffer_points = buffer_points
        self._max_bytes = max_bytes
        self._make = _factory(bootstrap_servers, options or {})
        self._lock = threading.RLock()
        self._changed = threading.Condition()
        self._buffers: dict[str, PointBuffer] = {}
        self._unsent: deque[Batch] = deque()
        self._acknowledged_points = 0
        self._dropped_points = 0
        self._stopping = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="runstream-producer", daemon=True)
        self._thread.start()

    def log_metric(
        self,
        run_id: str,
        key: str,
        value: SupportsFloat,
        step: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Log one point; see `runstream.Run.log_metric`.

        Raises:
            InvalidArgument: an argument breaks a rule; names it.
        """
        buffer = self._buffers.get(run_id) or self._open(run_id)
        buffer.append(key, value, step, timestamp_ms)

    def log_metrics(
        self,
        run_id: str,
        metrics: Mapping[str, SupportsFloat],
        step: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Log a point of several keys with one step and time."""
        now_ms = time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms
        for key, value in metrics.items():
            self.log_metric(run_id, key, value, step, now_ms)

    def log_series(
        self,
        run_id: str,
        key: str,
        values: npt.ArrayLike,
        steps: npt.ArrayLike | None = None,
        timestamps_ms: npt.ArrayLike | None = None,
    ) -> None:
        """Log many points of one key at once; see `runstream.Run.log_series`."""
        buffer = self._buffers.get(run_id) or self._open(run_id)
        series = series_of_arrays(buffer, key, values, steps, timestamps_ms)
        for batch in encode_batches(run_id, [series]):
            with self._lock:
                if sum(len(waiting.data) for waiting in self._unsent) + len(batch.data) > self._max_bytes:
                    self._dropped_points += batch.points
                else:
                    self._unsent.append(batch)
        self._wake_up()

    def flush(self, timeout_seconds: float = _FLUSH_TIMEOUT_SECONDS) -> ProducerResult:
        """Wait until Kafka has acknowledged everything that was logged, or the time is up."""
        self._wake_up()
        with self._changed:
            self._changed.wait_for(lambda: self._result().pending_points == 0, timeout_seconds)
        return self._result()

    def close(self, timeout_seconds: float = _FLUSH_TIMEOUT_SECONDS) -> ProducerResult:
        """Flush and disconnect; what is not acknowledged by then is lost and stands in the result as pending."""
        result = self.flush(timeout_seconds)
        self._stopping.set()
        self._wake_up()
        self._thread.join(timeout=_STOP_TIMEOUT_SECONDS)
        if result.pending_points:
            log.warning("%d points were not acknowledged by Kafka", result.pending_points)
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _open(self, run_id: str) -> PointBuffer:
        if not is_run_id(run_id):
            raise InvalidArgument.of("run_id", f"{run_id!r:.100} must be 32 lowercase hexadecimal characters")
        return self._buffers.setdefault(run_id, PointBuffer(self._buffer_points, self._wake_up))

    def _wake_up(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    def _result(self) -> ProducerResult:
        with self._lock:
            buffers = list(self._buffers.values())
            waiting = sum(map(len, buffers)) + sum(batch.points for batch in self._unsent)
            dropped = self._dropped_points + sum(buffer.dropped_points for buffer in buffers)
            return ProducerResult(self._acknowledged_points, waiting, dropped)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._produce())
        except Exception:
            log.exception("the Kafka producer failed; points are counted as pending")
        finally:
            self._loop.close()

    async def _produce(self) -> None:
        producer = self._make()
        if not await self._persist(producer.start):
            return
        try:
            while not (self._stopping.is_set() and self._result().pending_points == 0):
                if not await self._send_all(producer):
                    return
                await self._wait()
        finally:
            await producer.stop()

    async def _wait(self) -> None:
        if self._stopping.is_set():
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), FLUSH_INTERVAL_SECONDS)
        self._wake.clear()

    async def _send_all(self, producer: KafkaProducer) -> bool:
        with self._lock:
            for run_id, buffer in list(self._buffers.items()):
                self._unsent.extend(encode_batches(run_id, buffer.drain()))
        while self._unsent:
            batch = self._unsent[0]
            if not await self._persist(partial(self._send, producer, batch)):
                return False
            with self._lock:
                self._unsent.popleft()
                self._acknowledged_points += batch.points
            with self._changed:
                self._changed.notify_all()
        return True

    async def _send(self, producer: KafkaProducer, batch: Batch) -> None:
        headers = [
            ("event-id", decode(batch.data).batch_id.encode()),
            ("event-type", EVENT_TYPE.encode()),
            ("content-type", CONTENT_TYPE.encode()),
        ]
        await producer.send_and_wait(
            self._topic, value=batch.data, key=batch.run_id.encode(), headers=headers
        )

    async def _persist(self, action: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
        """Try until it succeeds; the batch id makes repeats harmless. False when the producer is closed first."""
        backoff = Backoff()
        while True:
            try:
                await action()
            except (KafkaError, OSError) as error:
                if self._stopping.is_set():
                    return False
                if backoff.failures == 0:
                    log.warning("Kafka does not take metrics, trying again: %s", error)
                await asyncio.sleep(backoff.next_seconds())
            else:
                return True


def _factory(bootstrap_servers: str, options: Mapping[str, Any]) -> Callable[[], KafkaProducer]:
    def make() -> KafkaProducer:
        producer: KafkaProducer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers,
            acks="all",
            enable_idempotence=True,
            max_request_size=MAX_MESSAGE_BYTES,
            **options,
        )
        return producer

    return make
