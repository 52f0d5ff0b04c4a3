"""Rows of the outbox, written beside the change they tell of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncpg import Connection

# The relay goes by this time. That of the transaction's begin, the default, would let a later change go first when the
# earlier one had waited for the tree's lock.
INSERT_OUTBOX = """
INSERT INTO artifact.outbox (queue, payload, headers, next_attempt_at)
VALUES ($1, $2, $3::jsonb, clock_timestamp())
"""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One event on its way out; the headers are a JSON object."""

    queue: str
    payload: bytes
    headers: str


async def insert_outbox_row(connection: Connection, row: OutboxRow) -> None:
    """Write an event; the caller's transaction also holds what it tells of."""
    await connection.execute(INSERT_OUTBOX, row.queue, row.payload, row.headers)
