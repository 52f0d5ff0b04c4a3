"""One member of a group from outside on PostgreSQL: it leases one message at a time and deletes it when it is settled.

Of each key only the oldest message is given out, so the order of a key holds over all members; meanwhile others take
other keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import text

from runstream_common.bus.consuming import DEAD_LETTER_SUFFIX
from runstream_common.bus.dead_letter_headers import parking_headers
from runstream_common.bus.postgres_codec import ENCODING, KEY, decode
from runstream_common.bus.postgres_schema import SCHEMA
from runstream_common.errors import Internal, PlatformError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runstream_common.bus.messages import Message, Rejected
    from runstream_common.bus.postgres_groups import PostgresGroups
    from runstream_common.database import Database

log = structlog.get_logger(__name__)

LEASE_SECONDS = 5.0
"""How long the message of a killed process stays with it."""

RENEW_EVERY_SECONDS = LEASE_SECONDS / 4
POLL_SECONDS = 1.0
"""NOTIFY wakes at once; polling is for expired leases and keys that another member has finished with."""

SHORT_POLL_SECONDS = 0.2
WINDOW_MESSAGES = 1000
"""How far past a key that is being worked on another key is looked for."""

_CLAIM = text(
    f"""WITH head AS MATERIALIZED (
        (SELECT id, next_attempt_at, headers ->> '{KEY}' AS key FROM {SCHEMA}.message
         WHERE queue = :queue AND acquired_token IS NULL ORDER BY next_attempt_at, id LIMIT :window)
        UNION ALL
        (SELECT id, next_attempt_at, headers ->> '{KEY}' FROM {SCHEMA}.message
         WHERE queue = :queue AND acquired_token IS NOT NULL ORDER BY next_attempt_at, id LIMIT :window)
    ), oldest AS MATERIALIZED (
        SELECT DISTINCT ON (coalesce(nullif(key, ''), id::text)) id FROM head
        ORDER BY coalesce(nullif(key, ''), id::text), next_attempt_at, id
    )
    UPDATE {SCHEMA}.message SET acquired_at = now(), acquired_token = :token, deliveries_count = deliveries_count + 1
    WHERE id = (
        SELECT m.id FROM {SCHEMA}.message m JOIN oldest USING (id)
        WHERE m.queue = :queue
          AND (m.acquired_token IS NULL OR m.acquired_at < now() - make_interval(secs => :lease))
        ORDER BY m.next_attempt_at, m.id LIMIT 1 FOR UPDATE OF m SKIP LOCKED)
    RETURNING id, payload, headers, created_at"""  # noqa: S608 - constants only
)
_RENEW = text(f"UPDATE {SCHEMA}.message SET acquired_at = now() WHERE id = :id AND acquired_token = :token")  # noqa: S608
_DELETE = text(f"DELETE FROM {SCHEMA}.message WHERE id = :id AND acquired_token = :token")  # noqa: S608
_RELEASE = text(
    f"""UPDATE {SCHEMA}.message SET acquired_at = NULL, acquired_token = NULL
    WHERE queue = :queue AND acquired_token = :token"""  # noqa: S608
)
_PARK = text(
    f"""UPDATE {SCHEMA}.message
    SET queue = :queue, headers = CAST(:headers AS jsonb), attempts_count = :attempts,
        next_attempt_at = now(), acquired_at = NULL, acquired_token = NULL
    WHERE id = :id AND acquired_token = :token"""  # noqa: S608
)


class PostgresEventSource:
    """See EventSource.

    Args:
        created: whether the group is new.
        listening: whether NOTIFY arrives; without it the queue is looked at more often.
    """

    def __init__(
        self,
        database: Database,
        groups: PostgresGroups,
        topic: str,
        group: str,
        *,
        created: bool,
        listening: Callable[[], bool],
    ) -> None:
        self.created = created
        self.wake = asyncio.Event()
        self.queue = groups.queue(topic, group)
        self._database = database
        self._groups = groups
        self._topic = topic
        self._group = group
        self._listening = listening
        # One for the whole membership: what was claimed by a call that was cancelled half way is ours to release too.
        self._token = uuid.uuid4()
        self._row: Any = None

    async def take(self) -> Message:
        while True:
            self.wake.clear()
            self._row = await self._one(_CLAIM, queue=self.queue, window=WINDOW_MESSAGES, lease=LEASE_SECONDS)
            if self._row is not None:
                return decode(self._row, self._topic)
            await self._groups.require(self._topic, self._group)
            with contextlib.suppress(TimeoutError):
                seconds = POLL_SECONDS if self._listening() else SHORT_POLL_SECONDS
                await asyncio.wait_for(self.wake.wait(), seconds)

    async def commit(self) -> bool:
        row = self._in_hand()
        done = await self._changed(_DELETE, id=row.id)
        self._row = None
        return done

    async def park(self, rejected: Rejected, first_seen_ms: int) -> bool:
        row = self._in_hand()
        headers = parking_headers(rejected, self._group, first_seen_ms)
        own = {name: value for name, value in row.headers.items() if name in (KEY, ENCODING)}
        done = await self._changed(
            _PARK,
            queue=self.queue + DEAD_LETTER_SUFFIX,
            headers=json.dumps({**headers, **own}),
            attempts=rejected.attempts,
            id=row.id,
        )
        self._row = None
        return done

    async def keep_lease(self) -> None:
        """Renew the lease of the message in hand, until cancelled."""
        while True:
            await asyncio.sleep(RENEW_EVERY_SECONDS)
            row = self._row
            if row is None:
                continue
            try:
                await self._changed(_RENEW, id=row.id)
            except PlatformError as error:
                log.warning("lease_not_renewed", queue=self.queue, error=str(error))

    async def release(self) -> None:
        """Give back what is in hand, so that another member gets it at once instead of when the lease ends."""
        try:
            await self._changed(_RELEASE, queue=self.queue)
        except PlatformError as error:
            log.info("lease_left_to_expire", queue=self.queue, error=str(error))

    def _in_hand(self) -> Any:
        if self._row is None:
            raise Internal("nothing was taken")
        return self._row

    async def _one(self, statement: Any, **values: object) -> Any:
        async with self._database.read() as session:
            return (await session.execute(statement, {**values, "token": self._token})).first()

    async def _changed(self, statement: Any, **values: object) -> bool:
        async with self._database.read() as session:
            done: Any = await session.execute(statement, {**values, "token": self._token})
            return bool(done.rowcount)
