"""One subscription on PostgreSQL: claim a batch under a lease, handle it, delete it.

faststream-outbox's own subscriber hands out one row at a time; batches are what makes the hot path fast, so
its client is used directly. Rows are leased while they are handled and the lease is renewed while a batch is
held; when a process dies, its rows are claimed again as soon as the lease runs out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import text

from runstream_common.bus.dead_letter_headers import parking_headers
from runstream_common.bus.policy import DeadLetterRatioExceededError
from runstream_common.bus.postgres_codec import ENCODING, KEY, decode, decoded_size_bytes
from runstream_common.bus.postgres_schema import SCHEMA
from runstream_common.bus.runner import AbandonedError, BatchRunner, cut, transient_error
from runstream_common.errors import Internal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from faststream_outbox.client import OutboxClient
    from faststream_outbox.message import OutboxInnerMessage
    from sqlalchemy.ext.asyncio import AsyncEngine

    from runstream_common.bus.messages import Message, Rejected
    from runstream_common.bus.subscription import Subscription

log = structlog.get_logger(__name__)

LEASE_SECONDS = 5.0
"""How long the rows of a killed process stay with it. A process that only stood still for longer loses nothing: what
another one has claimed meanwhile is not its to delete, and handling a message twice changes nothing."""

RENEW_EVERY_SECONDS = LEASE_SECONDS / 4
POLL_SECONDS = 1.0
"""NOTIFY wakes at once; polling is for expired leases."""

LAG_EVERY_SECONDS = 2.0
LAG_COUNTED_UP_TO = 100_000
"""Counting a longer queue would cost more than the number is worth."""

_SIZES = text(
    f"""SELECT octet_length(payload) FROM {SCHEMA}.message
    WHERE queue = :queue AND acquired_token IS NULL AND next_attempt_at <= now()
    ORDER BY next_attempt_at, id LIMIT :limit"""  # noqa: S608 - constants only
)
_RENEW = text(
    f"UPDATE {SCHEMA}.message SET acquired_at = now() WHERE id = ANY(:ids) AND acquired_token = :token"  # noqa: S608
)
_RELEASE = text(
    f"""UPDATE {SCHEMA}.message SET acquired_at = NULL, acquired_token = NULL
    WHERE id = ANY(:ids) AND acquired_token = :token"""  # noqa: S608
)
_PARK = text(
    f"""UPDATE {SCHEMA}.message
    SET queue = :queue, headers = CAST(:headers AS jsonb), attempts_count = :attempts,
        next_attempt_at = now(), acquired_at = NULL, acquired_token = NULL
    WHERE id = :id AND acquired_token = :token"""  # noqa: S608
)
_LAG = text(
    f"""SELECT (SELECT count(*) FROM (SELECT 1 FROM {SCHEMA}.message WHERE queue = :queue LIMIT :most) AS counted),
    least((SELECT created_at FROM {SCHEMA}.message WHERE queue = :queue AND acquired_token IS NULL
           ORDER BY next_attempt_at, id LIMIT 1),
          (SELECT created_at FROM {SCHEMA}.message WHERE queue = :queue AND acquired_token IS NOT NULL
           ORDER BY next_attempt_at, id LIMIT 1))"""  # noqa: S608
)


class PostgresSubscription:
    """Runs one subscription until it is told to stop.

    Args:
        engine: connections in autocommit.
        listening: whether NOTIFY arrives; without it the queue is polled more often.
    """

    def __init__(
        self,
        subscription: Subscription,
        *,
        prefix: str,
        client: OutboxClient,
        engine: AsyncEngine,
        listening: Callable[[], bool],
    ) -> None:
        self.subscription = subscription
        self.queue = f"{prefix}{subscription.topic}.{subscription.group}"
        self.dead_letter_queue = prefix + subscription.dead_letter_topic
        self.client = client
        self.engine = engine
        self.wake = asyncio.Event()
        self._listening = listening
        self._runner = BatchRunner(subscription)
        self._leased: list[OutboxInnerMessage] = []

    async def run(self) -> None:
        """Handle batches until ``stopping`` is set; database errors are waited out."""
        if self.subscription.on_partitions is not None:
            self.subscription.on_partitions(frozenset({0}))
        failures = 0
        while not self.subscription.stopping.is_set():
            try:
                self.wake.clear()
                rows = await self._claim()
                failures = 0
                if rows:
                    await self._handle(rows)
                else:
                    self.subscription.progressed()
                    await self._wait(self.wake, POLL_SECONDS if self._listening() else self._short_poll())
            except DeadLetterRatioExceededError:
                await self.subscription.stopping.wait()
            except Exception as raised:
                if transient_error(raised) is None:
                    self.subscription.set_state("stopped", f"{type(raised).__name__}: {raised}")
                    log.exception("subscription_failed", subscription=self.subscription.name)
                    raise
                failures += 1
                self.subscription.set_state("retrying", str(raised))
                log.warning("queue_unreachable", subscription=self.subscription.name, error=str(raised))
                await self._wait(self.subscription.stopping, self.subscription.retry.delay_seconds(failures))

    async def renew_leases(self) -> None:
        """Keep the rows of the batch in hand, until cancelled."""
        while True:
            await asyncio.sleep(RENEW_EVERY_SECONDS)
            if self._leased:
                try:
                    await self._with_lease(_RENEW, self._leased)
                except Exception as raised:
                    if transient_error(raised) is None:
                        raise
                    log.warning("lease_not_renewed", subscription=self.subscription.name, error=str(raised))

    async def watch_lag(self) -> None:
        """Report the length of the queue, until cancelled."""
        while True:
            try:
                async with self.engine.connect() as connection:
                    found = await connection.execute(_LAG, {"queue": self.queue, "most": LAG_COUNTED_UP_TO})
                    count, oldest = found.one()
                self.subscription.note_lag(0, count, int(oldest.timestamp() * 1000) if oldest else None)
            except Exception as raised:
                if transient_error(raised) is None:
                    raise
                log.debug("lag_unknown", subscription=self.subscription.name, error=str(raised))
            await asyncio.sleep(LAG_EVERY_SECONDS)

    async def _claim(self) -> list[OutboxInnerMessage]:
        async with self.engine.connect() as connection:
            limit = await self._rows_that_fit(connection)
            await connection.commit()  # costs nothing in autocommit, and lets `fetch` begin its own
            return await self.client.fetch(
                connection, [self.queue], limit=limit, lease_ttl_seconds=LEASE_SECONDS
            )

    async def _rows_that_fit(self, connection: Any) -> int:
        """How many rows stay under the batch's byte limit as stored; reading a size does not read the value."""
        most = self.subscription.max_messages
        sizes = (await connection.execute(_SIZES, {"queue": self.queue, "limit": most})).scalars().all()
        total = 0
        for index, size in enumerate(sizes):
            total += size
            if total > self.subscription.max_bytes:
                return max(1, index)
        # Only expired leases are left to find when there are none; their sizes are not known.
        return len(sizes) or 1

    async def _handle(self, rows: list[OutboxInnerMessage]) -> None:
        self._leased = rows
        done = 0
        try:
            for part in cut(rows, self.subscription.max_bytes, _size_bytes):
                # Decoded part by part: what fits into a batch as stored may be many times as large.
                messages = [decode(row, self.subscription.topic) for row in part]
                await self._runner.run(_PostgresDelivery(self, part, messages))
                done += len(part)
        except (AbandonedError, DeadLetterRatioExceededError) as reason:
            log.info("batch_abandoned", subscription=self.subscription.name, reason=str(reason))
            with contextlib.suppress(OSError, TimeoutError):
                await self._with_lease(_RELEASE, rows[done:])
            if isinstance(reason, DeadLetterRatioExceededError):
                raise
        finally:
            self._leased = []

    async def _with_lease(self, statement: Any, rows: Sequence[OutboxInnerMessage]) -> None:
        async with self.engine.connect() as connection:
            await connection.execute(
                statement, {"ids": [row.id for row in rows], "token": rows[0].acquired_token}
            )

    def _short_poll(self) -> float:
        return self.subscription.max_wait_ms / 1000

    @staticmethod
    async def _wait(event: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)


class _PostgresDelivery:
    """One claimed batch."""

    def __init__(
        self, owner: PostgresSubscription, rows: Sequence[OutboxInnerMessage], messages: Sequence[Message]
    ) -> None:
        self._owner = owner
        self._rows = rows
        self._messages = messages

    @property
    def messages(self) -> Sequence[Message]:
        return self._messages

    async def park(self, rejected: Sequence[Rejected], first_seen_ms: int) -> None:
        """Move the rows to the dead-letter queue where they lie, all of them or none."""
        by_id = {row.id: row for row in self._rows}
        moves = [self._move(by_id[item.message.offset], item, first_seen_ms) for item in rejected]
        async with self._owner.engine.connect() as connection:
            transactional = await connection.execution_options(isolation_level="READ COMMITTED")
            async with transactional.begin():
                await transactional.execute(_PARK, moves)

    def _move(self, row: OutboxInnerMessage, item: Rejected, first_seen_ms: int) -> dict[str, Any]:
        headers = parking_headers(item, self._owner.subscription.group, first_seen_ms)
        own = {name: value for name, value in (row.headers or {}).items() if name in (KEY, ENCODING)}
        return {
            "queue": self._owner.dead_letter_queue,
            "headers": json.dumps({**headers, **own}),
            "attempts": item.attempts,
            "id": row.id,
            "token": row.acquired_token,
        }

    async def commit(self) -> None:
        """Delete the batch. A row that was parked or whose lease was lost is no longer ours and stays."""
        pairs = [(row.id, _token(row)) for row in self._rows]
        async with self._owner.engine.connect() as connection:
            await self._owner.client.delete_batch_with_lease(connection, pairs)

    async def hold(self, seconds: float) -> None:
        stopping = self._owner.subscription.stopping
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), seconds)
        if stopping.is_set():
            raise AbandonedError("shutting down")


def _size_bytes(row: OutboxInnerMessage) -> int:
    return decoded_size_bytes(row.payload, row.headers or {})


def _token(row: OutboxInnerMessage) -> Any:
    if row.acquired_token is None:
        raise Internal(f"row {row.id} was claimed without a lease")
    return row.acquired_token
