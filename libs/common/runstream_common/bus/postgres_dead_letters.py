"""Dead letters in PostgreSQL: rows of the dead-letter queue; a replay moves them back to their group's queue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from runstream_common.bus.dead_letter_headers import DeadLetter, original_headers, read_dead_letter
from runstream_common.bus.postgres_codec import decode
from runstream_common.bus.postgres_schema import CHANNEL, SCHEMA
from runstream_common.bus.subscription import dead_letter_topic
from runstream_common.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.database import Database

_LIST = text(
    f"""SELECT id, payload, headers, created_at FROM {SCHEMA}.message
    WHERE queue = :queue AND id > :after ORDER BY id LIMIT :limit"""  # noqa: S608 - constants only
)
_GET = text(
    f"SELECT id, payload, headers, created_at FROM {SCHEMA}.message WHERE queue = :queue AND id = :id"  # noqa: S608
)
_COUNT = text(f"SELECT count(*) FROM {SCHEMA}.message WHERE queue = :queue")  # noqa: S608
_REPLAY = text(
    f"""WITH moved AS (
        UPDATE {SCHEMA}.message
        SET queue = :target, headers = CAST(:headers AS jsonb), attempts_count = 0, next_attempt_at = now()
        WHERE id = :id AND queue = :queue RETURNING queue
    ) SELECT pg_notify('{CHANNEL}', queue) FROM moved"""  # noqa: S608
)
_DISCARD = text(f"DELETE FROM {SCHEMA}.message WHERE id = :id AND queue = :queue")  # noqa: S608


class PostgresDeadLetters:
    """Lists, replays and discards parked messages. A letter's id is ``0:<row id>``."""

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        self._prefix = prefix

    async def list(self, topic: str, group: str, *, limit: int, after: str | None) -> Sequence[DeadLetter]:
        """Parked messages, oldest first, behind the one named ``after``."""
        values = {"queue": self._queue(topic, group), "after": _row_id(after), "limit": limit}
        async with self._database.read() as session:
            rows = (await session.execute(_LIST, values)).all()
        return [_letter(row, topic, group) for row in rows]

    async def count(self, topic: str, group: str) -> int:
        """How many messages are parked."""
        async with self._database.read() as session:
            return int((await session.execute(_COUNT, {"queue": self._queue(topic, group)})).scalar_one())

    async def get(self, topic: str, group: str, letter_id: str) -> DeadLetter:
        """One parked message. Raises NotFound."""
        values = {"queue": self._queue(topic, group), "id": _row_id(letter_id)}
        async with self._database.read() as session:
            row = (await session.execute(_GET, values)).first()
        if row is None:
            raise NotFound(f"no dead letter {letter_id} in {dead_letter_topic(topic, group)}")
        return _letter(row, topic, group)

    async def replay(self, topic: str, group: str, letter: DeadLetter) -> None:
        """Move the row back to its group's queue, as it was before it was parked. Raises NotFound."""
        queue, row_id = self._queue(topic, group), _row_id(letter.id)
        async with self._database.transaction() as session:
            row = (await session.execute(_GET, {"queue": queue, "id": row_id})).first()
            if row is None:
                raise NotFound(f"no dead letter {letter.id} in {dead_letter_topic(topic, group)}")
            values = {
                "queue": queue,
                "id": row_id,
                "target": f"{self._prefix}{topic}.{group}",
                "headers": json.dumps(original_headers(row.headers)),
            }
            await session.execute(_REPLAY, values)

    async def discard(self, topic: str, group: str, letter: DeadLetter) -> None:
        """Delete the row; one that is gone is no error."""
        async with self._database.transaction() as session:
            await session.execute(_DISCARD, {"queue": self._queue(topic, group), "id": _row_id(letter.id)})

    def _queue(self, topic: str, group: str) -> str:
        return self._prefix + dead_letter_topic(topic, group)


def _letter(row: Any, topic: str, group: str) -> DeadLetter:
    return read_dead_letter(f"0:{row.id}", topic, group, decode(row, topic))


def _row_id(letter_id: str | None) -> int:
    _, _, number = (letter_id or "0:0").partition(":")
    return int(number) if number.isdecimal() and len(number) < 19 else 0
