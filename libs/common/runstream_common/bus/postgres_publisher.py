"""Publishing into PostgreSQL with group commit: whatever waits goes into one transaction."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import structlog

from runstream_common.bus import metrics
from runstream_common.bus.messages import Position
from runstream_common.bus.postgres_codec import encode
from runstream_common.bus.postgres_schema import CHANNEL, GROUPS_LOCK, SCHEMA
from runstream_common.database import driver_dsn
from runstream_common.database_errors import map_database_error
from runstream_common.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.bus.in_flight import InFlightBytes
    from runstream_common.bus.messages import Outgoing

log = structlog.get_logger(__name__)

WRITERS = 2
"""While one transaction waits for the disk, the next one is filled."""

MAX_FLUSH_BYTES = 4 * 1024 * 1024
MAX_FLUSH_MESSAGES = 500
CONNECT_SECONDS = 5.0
WORK_MEMORY = "32MB"
"""Holds a whole flush in the server's memory instead of a temporary file."""

# Ids are taken in the order of the input, since a lateral join keeps its outer side's order. The last id of a
# message's copies is its position.
_INSERT = f"""
WITH incoming AS MATERIALIZED (
    SELECT i.ord, q.queue, i.payload, i.headers, nextval('{SCHEMA}.message_id_seq') AS id
    FROM unnest($1::text[], $2::bytea[], $3::text[]) WITH ORDINALITY AS i (topic, payload, headers, ord)
    CROSS JOIN LATERAL unnest(coalesce(
        (SELECT array_agg(s.topic || '.' || s.grp) FROM {SCHEMA}.subscription s
         WHERE s.topic = i.topic AND (s.expires_at IS NULL OR s.expires_at > now())),
        ARRAY[i.topic])) AS q (queue)
), stored AS (
    INSERT INTO {SCHEMA}.message (id, queue, payload, headers)
    SELECT id, queue, payload, headers::jsonb FROM incoming
), woken AS (
    SELECT pg_notify('{CHANNEL}', queue) FROM (SELECT DISTINCT queue FROM incoming) AS queues
)
SELECT max(id), (SELECT count(*) FROM woken) FROM incoming GROUP BY ord ORDER BY ord
"""  # noqa: S608 - constants only
_BEGIN = f"BEGIN; SELECT pg_advisory_xact_lock_shared({GROUPS_LOCK})"


class _Waiting(NamedTuple):
    outgoing: Outgoing
    future: asyncio.Future[Position]
    since: float


class PostgresPublisher:
    """Collects messages and writes them with a few connections of its own.

    Args:
        prefix: put before topics.
        timeout_seconds: longest wait for a message to become durable.
    """

    def __init__(self, url: str, *, prefix: str, in_flight: InFlightBytes, timeout_seconds: float) -> None:
        self._dsn = driver_dsn(url)
        self._prefix = prefix
        self._in_flight = in_flight
        self._timeout_seconds = timeout_seconds
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._writers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the writers; they connect when there is something to write."""
        self._writers = [asyncio.create_task(self._write_until_closed()) for _ in range(WRITERS)]

    async def stop(self) -> None:
        """Write what waits, then disconnect."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(*self._writers)
        self._fail_all(_away())

    def send(self, outgoing: Outgoing) -> asyncio.Future[Position]:
        """Start a publish.

        Raises:
            ResourceExhausted: too much is in flight.
            Unavailable: the publisher is stopped.
        """
        if self._closing or not self._writers:
            raise _away()
        self._in_flight.take(outgoing.size_bytes, outgoing.topic)
        future: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(outgoing, future, time.perf_counter()))
        self._wake.set()
        return future

    async def _write_until_closed(self) -> None:
        connection: asyncpg.Connection | None = None
        while not (self._closing and not self._waiting):
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._take()
            try:
                if connection is None or connection.is_closed():
                    connection = await self._connect()
                self._succeed(batch, await self._insert(connection, batch))
            except Exception as error:  # noqa: BLE001 - without its writer every later publish would wait for ever
                log.warning("publish_failed", messages=len(batch), error=str(error) or type(error).__name__)
                self._fail(batch, map_database_error(error) or _away())
                if connection is not None:
                    connection.terminate()
                    connection = None
                    # Whoever waits learns it now instead of after one time-out each.
                    self._fail_overdue()
                else:
                    self._fail_all(_away())
        if connection is not None:
            await connection.close()

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < MAX_FLUSH_MESSAGES:
            next_size = len(self._waiting[0].outgoing.value)
            if batch and size + next_size > MAX_FLUSH_BYTES:
                break
            batch.append(self._waiting.popleft())
            size += next_size
        return batch

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=self._timeout_seconds,
            server_settings={
                "application_name": "runstream-bus-publish",
                "work_mem": WORK_MEMORY,
                "jit": "off",
                "statement_timeout": str(int(self._timeout_seconds * 1000)),
            },
        )

    async def _insert(self, connection: asyncpg.Connection, batch: Sequence[_Waiting]) -> list[int]:
        topics, payloads, headers = [], [], []
        for item in batch:
            payload, row_headers = encode(item.outgoing)
            topics.append(self._prefix + item.outgoing.topic)
            payloads.append(payload)
            # Python's strings may hold NUL and lone surrogates, which jsonb refuses, and with them the whole batch.
            text = json.dumps(row_headers, ensure_ascii=False).replace("\\u0000", "\\ufffd")
            headers.append(text.encode(errors="replace").decode())
        await connection.execute(_BEGIN)
        # After an error the connection is dropped, and with it the transaction.
        rows: list[Any] = await connection.fetch(_INSERT, topics, payloads, headers)
        await connection.execute("COMMIT")
        return [row[0] for row in rows]

    def _succeed(self, batch: Sequence[_Waiting], offsets: Sequence[int]) -> None:
        now = time.perf_counter()
        for item, offset in zip(batch, offsets, strict=True):
            topic = item.outgoing.topic
            self._in_flight.give_back(item.outgoing.size_bytes)
            metrics.PUBLISH_SECONDS.labels(topic).observe(now - item.since)
            metrics.PUBLISHED.labels(topic).inc()
            metrics.PUBLISHED_BYTES.labels(topic).inc(len(item.outgoing.value))
            if not item.future.done():
                item.future.set_result(Position(topic, 0, offset))

    def _fail(self, batch: Sequence[_Waiting], error: Exception) -> None:
        for item in batch:
            self._in_flight.give_back(item.outgoing.size_bytes)
            reason = getattr(error, "reason", type(error).__name__)
            metrics.PUBLISH_FAILED.labels(item.outgoing.topic, reason).inc()
            if not item.future.done():
                item.future.set_exception(error)
                item.future.exception()  # retrieved here, since whoever waited may be gone

    def _fail_overdue(self) -> None:
        oldest = time.perf_counter() - self._timeout_seconds
        overdue = []
        while self._waiting and self._waiting[0].since < oldest:
            overdue.append(self._waiting.popleft())
        self._fail(overdue, _away())

    def _fail_all(self, error: Exception) -> None:
        everything = list(self._waiting)
        self._waiting.clear()
        self._fail(everything, error)


def _away() -> Unavailable:
    return Unavailable("the bus is away", reason="BUS_UNAVAILABLE", retry_after_seconds=1.0)
