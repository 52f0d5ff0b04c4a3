"""Transactional outbox: an event is written in the transaction of the change that it tells of.

So there is never a change without its event, nor an event of a change that was rolled back. A relay takes the
rows to the bus afterwards, at least once and in the order of each key.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from itertools import groupby
from typing import TYPE_CHECKING, Any

import structlog
from faststream_outbox import OutboxBroker
from faststream_outbox.client import OutboxClient
from runstream_contract.ids import new_batch_id
from sqlalchemy import text

from runstream_common.bus import metrics
from runstream_common.bus.messages import EVENT_ID
from runstream_common.bus.policy import RetryPolicy
from runstream_common.bus.runner import transient_error
from runstream_common.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence
    from typing import Protocol

    from faststream_outbox.message import OutboxInnerMessage
    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

    from runstream_common.database import Database

    class Publisher(Protocol):
        """The part of the bus that the relay needs."""

        def publish(
            self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None
        ) -> Awaitable[object]:
            """Publish one message; durable when it returns."""
            ...


log = structlog.get_logger(__name__)

KEY_HEADER = "key"
"""Where a row keeps the message's key; the queue is the topic, the payload the value."""

_ENVELOPE_HEADERS = frozenset({KEY_HEADER, "correlation_id"})

OUTBOX = "outbox"
"""Stands for the group in the count of dead letters."""

REFUSED_SUFFIX = ".refused"
"""Rows that the bus will never take stay in the table under ``<topic>.refused``."""

RELAY_BATCH = 500
LEASE_SECONDS = 0.0
"""No lease is waited for: the advisory lock says who works, so a leased row was left by a relay that is gone or
failed half way, and has to go out before the younger rows of its key."""

POLL_SECONDS = 0.1
"""For rows of other processes; who commits in this one calls ``OutboxRelay.wake``."""

LEADER_RETRY_SECONDS = 2.0


class Outbox:
    """Writes events into a service's outbox table.

    Args:
        table: made by ``faststream_outbox.make_outbox_table`` in the service's own schema.
    """

    def __init__(self, table: Table) -> None:
        self._broker = OutboxBroker(outbox_table=table, apply_types=False, logger=None)

    async def publish(
        self,
        session: AsyncSession | AsyncConnection,
        topic: str,
        key: str,
        value: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Write one event; it exists when the caller's transaction commits, and never else.

        Args:
            session: in the caller's transaction; it is neither flushed nor committed here.
        """
        complete = {EVENT_ID: new_batch_id(), **(headers or {}), KEY_HEADER: key}
        await self._broker.publish(value, queue=topic, session=session, headers=complete)


class OutboxRelay:
    """Takes the rows of an outbox table to the bus.

    FastStream's subscriber hands out one row at a time, and with more than one worker it loses the order of a
    key; a create-run storm writes thousands of rows a second. So rows are claimed in batches with
    faststream-outbox's client: keys side by side, the rows of a key one after the other. An advisory lock
    leaves the work to one process at a time, or two could overtake each other. A row that the bus will never take
    is set aside, so that it holds up nothing.

    Args:
        topics: the queues to relay.
        bus: where the events go.
    """

    name = "outbox-relay"

    def __init__(
        self,
        database: Database,
        table: Table,
        bus: Publisher,
        topics: Sequence[str],
        *,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._engine: AsyncEngine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._client = OutboxClient(self._engine, table)
        self._table = f"{table.schema}.{table.name}" if table.schema else table.name
        self._bus = bus
        self._topics = list(topics)
        self._retry = retry or RetryPolicy(max_delay_seconds=5.0)
        self._wake = asyncio.Event()
        self._lock_key = zlib.crc32(f"runstream-outbox-relay {self._table}".encode())
        self._refuse = text(
            f"""UPDATE {self._table} SET queue = queue || '{REFUSED_SUFFIX}', acquired_at = NULL, acquired_token = NULL
            WHERE id = :id AND acquired_token = :token"""  # noqa: S608 - the table's own name
        )

    def wake(self) -> None:
        """Say that rows were committed in this process, so that they leave at once; call it after the commit.

        It costs next to nothing and may be called for every commit. Rows of other processes, and those committed while
        nobody called, leave within POLL_SECONDS.
        """
        self._wake.set()

    async def run(self) -> None:
        """Relay until cancelled; errors of the database and the bus are waited out."""
        failures = 0
        while True:
            try:
                async with self._engine.connect() as leader:
                    if not await self._lead(leader):
                        await asyncio.sleep(LEADER_RETRY_SECONDS)
                        continue
                    try:
                        while True:
                            self._wake.clear()  # before looking, or a commit in between would wait for the poll
                            await self._relay_waiting(leader)
                            failures = 0
                            await self._wait()
                    finally:
                        # Back in the pool it would keep the lock, and nobody could lead.
                        await leader.invalidate()
            except Exception as raised:
                if transient_error(raised) is None:
                    raise
                failures += 1
                delay = self._retry.delay_seconds(failures)
                log.warning("outbox_relay_held", table=self._table, error=str(raised), delay_seconds=delay)
                await asyncio.sleep(delay)

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)

    async def _lead(self, connection: AsyncConnection) -> bool:
        # The lock belongs to the connection, so it is given up when this process or its connection dies.
        found = await connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": self._lock_key})
        await connection.commit()
        return bool(found.scalar_one())

    async def _relay_waiting(self, connection: AsyncConnection) -> None:
        rows = await self._claim(connection)
        while rows:
            await self._relay(connection, rows)
            rows = await self._claim(connection) if len(rows) == RELAY_BATCH else []

    async def _claim(self, connection: AsyncConnection) -> list[OutboxInnerMessage]:
        return await self._client.fetch(
            connection, self._topics, limit=RELAY_BATCH, lease_ttl_seconds=LEASE_SECONDS
        )

    async def _relay(self, connection: AsyncConnection, rows: Sequence[OutboxInnerMessage]) -> None:
        ordered = sorted(rows, key=lambda row: (_identity(row), row.id))
        sequences = [list(members) for _, members in groupby(ordered, key=_identity)]
        sent: list[OutboxInnerMessage] = []
        errors = await asyncio.gather(*(self._send(sequence, sent) for sequence in sequences))
        pairs: list[Any] = [(row.id, row.acquired_token) for row in sent]
        await self._client.delete_batch_with_lease(connection, pairs)
        await connection.commit()
        for error in errors:
            if isinstance(error, _RefusedError):
                await self._set_aside(connection, error)
        for error in errors:
            if error is not None and not isinstance(error, _RefusedError):
                raise error

    async def _set_aside(self, connection: AsyncConnection, refused: _RefusedError) -> None:
        row, reason = refused.row, refused.reason
        log.error(
            "outbox_event_refused",
            table=self._table,
            id=row.id,
            topic=row.queue,
            key=_identity(row)[1],
            payload_bytes=len(row.payload),
            reason=reason.reason,
            error=reason.message,
        )
        metrics.DEAD_LETTERED.labels(row.queue, OUTBOX, reason.reason).inc()
        await connection.execute(self._refuse, {"id": row.id, "token": row.acquired_token})
        await connection.commit()

    async def _send(self, sequence: Sequence[OutboxInnerMessage], sent: list[Any]) -> Exception | None:
        """Publish the rows of one key in order, up to the first that fails."""
        for row in sequence:
            headers = dict(row.headers or {})
            plain = {name: value for name, value in headers.items() if name not in _ENVELOPE_HEADERS}
            try:
                await self._bus.publish(row.queue, headers.get(KEY_HEADER, ""), row.payload, plain)
            except InvalidArgument as refusal:
                return _RefusedError(row, refusal)
            except Exception as raised:  # noqa: BLE001 - told to the caller, after the rows that worked
                return raised
            sent.append(row)
        return None


class _RefusedError(Exception):
    """The bus will never take this row; what is behind it may go out once it is set aside."""

    def __init__(self, row: OutboxInnerMessage, reason: InvalidArgument) -> None:
        super().__init__(str(reason))
        self.row = row
        self.reason = reason


def _identity(row: OutboxInnerMessage) -> tuple[str, str]:
    return row.queue, (row.headers or {}).get(KEY_HEADER, "")
