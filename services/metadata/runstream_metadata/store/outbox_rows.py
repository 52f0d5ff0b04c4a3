"""Rows of the outbox, as the statements of this service write them beside the change they tell of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection

INSERT_OUTBOX = """
INSERT INTO metadata.outbox (queue, payload, headers, next_attempt_at)
SELECT queue, payload, headers::jsonb, clock_timestamp()
FROM unnest($1::text[], $2::bytea[], $3::text[]) WITH ORDINALITY AS new (queue, payload, headers, position)
ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One event on its way out; the headers are a JSON object."""

    queue: str
    payload: bytes
    headers: str


async def insert_outbox_rows(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    """Write events in their order; the caller's transaction also holds what they tell of."""
    await connection.execute(
        INSERT_OUTBOX,
        [row.queue for row in rows],
        [row.payload for row in rows],
        [row.headers for row in rows],
    )
