"""Following a topic in PostgreSQL, and clearing away what nobody will read."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import text

from runstream_common.bus.consuming import TAIL_PREFIX
from runstream_common.bus.policy import DEAD_LETTER_RETENTION_HOURS
from runstream_common.bus.postgres_codec import decode
from runstream_common.bus.postgres_schema import GROUPS_LOCK, SCHEMA
from runstream_common.bus.runner import transient_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runstream_common.bus.messages import Message
    from runstream_common.bus.postgres_groups import PostgresGroups
    from runstream_common.database import Database

log = structlog.get_logger(__name__)

TAIL_TTL_SECONDS = 30.0
"""A tail that was not read for this long ends on the server's side, so a stuck reader fills no table."""

TAIL_POLL_SECONDS = 0.2
TAIL_BATCH_MESSAGES = 100
SWEEP_EVERY_SECONDS = 60.0
SWEEP_ROWS = 1000

_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_JOIN = text(
    f"""INSERT INTO {SCHEMA}.subscription (topic, grp, expires_at)
    VALUES (:topic, :grp, now() + make_interval(secs => :ttl))
    ON CONFLICT (topic, grp) DO UPDATE SET expires_at = excluded.expires_at"""  # noqa: S608
)
_LEAVE = text(f"DELETE FROM {SCHEMA}.subscription WHERE topic = :topic AND grp = :grp")  # noqa: S608
_DROP_QUEUE = text(f"DELETE FROM {SCHEMA}.message WHERE queue = :queue")  # noqa: S608
_TAKE = text(
    f"""WITH taken AS (
        DELETE FROM {SCHEMA}.message WHERE id IN (
            SELECT id FROM {SCHEMA}.message
            WHERE queue = :queue AND acquired_token IS NULL ORDER BY next_attempt_at, id LIMIT :limit)
        RETURNING id, payload, headers, created_at
    ) SELECT * FROM taken ORDER BY id"""  # noqa: S608
)
_EXPIRED = text(
    f"DELETE FROM {SCHEMA}.subscription WHERE expires_at < now() RETURNING topic || '.' || grp"  # noqa: S608
)
_OLD = text(
    f"""DELETE FROM {SCHEMA}.message WHERE id IN (
        SELECT id FROM {SCHEMA}.message
        WHERE queue = :queue AND acquired_token IS NULL AND next_attempt_at < now() - make_interval(hours => :hours)
        ORDER BY next_attempt_at, id LIMIT :limit)"""  # noqa: S608
)


class PostgresTail:
    """Follows topics under a group of its own that ends with the reader."""

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        self._prefix = prefix

    async def follow(self, topic: str) -> AsyncIterator[Message]:
        """Every message of a topic from now on, for as long as the caller asks."""
        names = {"topic": self._prefix + topic, "grp": f"{TAIL_PREFIX}{uuid.uuid4().hex}"}
        queue = f"{names['topic']}.{names['grp']}"
        await self._join(names)
        joined = time.monotonic()
        try:
            while True:
                if time.monotonic() - joined > TAIL_TTL_SECONDS / 3:
                    await self._join(names)
                    joined = time.monotonic()
                async with self._database.transaction() as session:
                    rows = (
                        await session.execute(_TAKE, {"queue": queue, "limit": TAIL_BATCH_MESSAGES})
                    ).all()
                for row in rows:
                    yield decode(row, topic)
                if not rows:
                    await asyncio.sleep(TAIL_POLL_SECONDS)
        finally:
            async with self._database.transaction() as session:
                await session.execute(_LOCK, {"key": GROUPS_LOCK})
                await session.execute(_LEAVE, names)
                await session.execute(_DROP_QUEUE, {"queue": queue})

    async def _join(self, names: dict[str, str]) -> None:
        async with self._database.transaction() as session:
            await session.execute(_LOCK, {"key": GROUPS_LOCK})
            await session.execute(_JOIN, {**names, "ttl": TAIL_TTL_SECONDS})


async def sweep_until_cancelled(
    database: Database,
    topics: Sequence[str],
    dead_letters: Sequence[str],
    *,
    groups: PostgresGroups,
    retention_hours: int,
) -> None:
    """Remove, again and again, what would grow without a bound.

    That is: groups of tails whose reader is gone, messages of topics without any group beyond retention, what waits for
    consumers from outside beyond the same, and dead letters beyond theirs.
    """
    while True:
        try:
            await _drop_expired_tails(database)
            for queue in topics:
                await _drop_old(database, queue, retention_hours)
            for queue in dead_letters:
                await _drop_old(database, queue, DEAD_LETTER_RETENTION_HOURS)
            await groups.expire(backlog_hours=retention_hours, dead_letter_hours=DEAD_LETTER_RETENTION_HOURS)
        except Exception as raised:
            if transient_error(raised) is None:
                raise
            log.warning("bus_sweep_failed", error=str(raised))
        await asyncio.sleep(SWEEP_EVERY_SECONDS)


async def _drop_expired_tails(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(_LOCK, {"key": GROUPS_LOCK})
        for queue in (await session.execute(_EXPIRED)).scalars().all():
            await session.execute(_DROP_QUEUE, {"queue": queue})


async def _drop_old(database: Database, queue: str, hours: int) -> None:
    removed = SWEEP_ROWS
    while removed == SWEEP_ROWS:
        async with database.transaction() as session:
            done: Any = await session.execute(_OLD, {"queue": queue, "hours": hours, "limit": SWEEP_ROWS})
            removed = done.rowcount
        if removed:
            log.info("bus_swept", queue=queue, messages=removed)
