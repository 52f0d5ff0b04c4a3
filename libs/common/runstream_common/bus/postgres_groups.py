"""Groups of consumers from outside in PostgreSQL: made, looked for, deleted and kept from growing without a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import text

from runstream_common.bus import metrics
from runstream_common.bus.consuming import DEAD_LETTER_SUFFIX, reserved_group
from runstream_common.bus.postgres_schema import GROUPS_LOCK, SCHEMA
from runstream_common.errors import NotFound

if TYPE_CHECKING:
    from runstream_common.database import Database

log = structlog.get_logger(__name__)

SWEEP_ROWS = 1000

_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_FIND = text(f"SELECT external FROM {SCHEMA}.subscription WHERE topic = :topic AND grp = :grp")  # noqa: S608 - constants only
_JOIN = text(
    f"""INSERT INTO {SCHEMA}.subscription (topic, grp, external) VALUES (:topic, :grp, true)
    ON CONFLICT DO NOTHING RETURNING grp"""  # noqa: S608
)
_TAKE_OVER = text(f"UPDATE {SCHEMA}.message SET queue = :queue WHERE queue = :topic")  # noqa: S608
_LEAVE = text(
    f"DELETE FROM {SCHEMA}.subscription WHERE topic = :topic AND grp = :grp AND external RETURNING grp"  # noqa: S608
)
_DROP_QUEUES = text(f"DELETE FROM {SCHEMA}.message WHERE queue = ANY(:queues)")  # noqa: S608
_EXTERNAL = text(
    f"SELECT topic, grp FROM {SCHEMA}.subscription WHERE external AND left(topic, length(:prefix)) = :prefix"  # noqa: S608
)
_OF_TOPIC = text(f"SELECT grp FROM {SCHEMA}.subscription WHERE external AND topic = :topic")  # noqa: S608
_EXPIRE = text(
    f"""DELETE FROM {SCHEMA}.message WHERE id IN (
        SELECT id FROM {SCHEMA}.message
        WHERE queue = :queue AND acquired_token IS NULL AND next_attempt_at < now() - make_interval(hours => :hours)
        ORDER BY next_attempt_at, id LIMIT :limit)"""  # noqa: S608
)


class PostgresGroups:
    """Durable groups that are not a service's.

    Args:
        prefix: the deployment's, before topics.
    """

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        self._prefix = prefix

    async def join(self, topic: str, group: str, *, from_beginning: bool) -> bool:
        """Make sure that the group is there; whatever commits afterwards, in any process, gets a copy for it.

        Args:
            from_beginning: a new group takes over what waits on a topic that nobody has read yet.

        Returns:
            Whether it is new.

        Raises:
            PermissionDenied: a service reads under that name.
        """
        names = self._names(topic, group)
        if not await self._is_new(names, group):
            return False
        async with self._database.transaction() as session:
            # Publishers hold the lock shared from before they look for groups until they commit.
            await session.execute(_LOCK, {"key": GROUPS_LOCK})
            created = (await session.execute(_JOIN, names)).first() is not None
            if created and from_beginning:
                await session.execute(_TAKE_OVER, {**names, "queue": self.queue(topic, group)})
        return created or await self._is_new(names, group)

    async def require(self, topic: str, group: str) -> None:
        """Raise NotFound when the group was deleted."""
        async with self._database.read() as session:
            if (await session.execute(_FIND, self._names(topic, group))).first() is None:
                raise _not_found(topic, group)

    async def delete(self, topic: str, group: str) -> None:
        """Forget a group with its backlog and its dead letters.

        Raises:
            NotFound: there is none of that name, or it is a service's.
        """
        queue = self.queue(topic, group)
        async with self._database.transaction() as session:
            await session.execute(_LOCK, {"key": GROUPS_LOCK})
            if (await session.execute(_LEAVE, self._names(topic, group))).first() is None:
                raise _not_found(topic, group)
            await session.execute(_DROP_QUEUES, {"queues": [queue, queue + DEAD_LETTER_SUFFIX]})

    async def of_topic(self, topic: str) -> list[str]:
        """The groups of a topic."""
        async with self._database.read() as session:
            return list((await session.execute(_OF_TOPIC, {"topic": self._prefix + topic})).scalars())

    async def expire(self, *, backlog_hours: int, dead_letter_hours: int) -> None:
        """Drop what waits for a group beyond its time, as Kafka does, or an abandoned one would fill the disk."""
        async with self._database.read() as session:
            groups = (await session.execute(_EXTERNAL, {"prefix": self._prefix})).all()
        for topic, group in groups:
            queue = f"{topic}.{group}"
            dropped = await self._expire(queue, backlog_hours)
            if dropped:
                name = topic.removeprefix(self._prefix)
                metrics.EXPIRED.labels(name, group).inc(dropped)
                log.warning(
                    "backlog_expired",
                    topic=name,
                    group=group,
                    messages=dropped,
                    older_than_hours=backlog_hours,
                )
            await self._expire(queue + DEAD_LETTER_SUFFIX, dead_letter_hours)

    def queue(self, topic: str, group: str) -> str:
        """Where a group's copies are."""
        return f"{self._prefix}{topic}.{group}"

    async def _is_new(self, names: dict[str, str], group: str) -> bool:
        async with self._database.read() as session:
            external = (await session.execute(_FIND, names)).scalar_one_or_none()
        if external is False:
            raise reserved_group(group)
        return external is None

    async def _expire(self, queue: str, hours: int) -> int:
        total, removed = 0, SWEEP_ROWS
        while removed == SWEEP_ROWS:
            async with self._database.transaction() as session:
                done: Any = await session.execute(
                    _EXPIRE, {"queue": queue, "hours": hours, "limit": SWEEP_ROWS}
                )
                removed = done.rowcount
            total += removed
        return total

    def _names(self, topic: str, group: str) -> dict[str, str]:
        return {"topic": self._prefix + topic, "grp": group}


def _not_found(topic: str, group: str) -> NotFound:
    return NotFound(f"there is no consumer group {group} of {topic}", reason="CONSUMER_GROUP_NOT_FOUND")
