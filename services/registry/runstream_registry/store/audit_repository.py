"""Writing the audit trail and the outbox: two statements inside the transaction of the change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_registry.audit_hash import FIRST_PREVIOUS_HASH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection

# The lock lasts until the transaction ends, so that sequence numbers have no gaps and a chain's events enter the outbox
# in the order of their commits.
LOCK_HEAD = "SELECT sequence, hash FROM registry.audit_chain WHERE chain = $1 FOR UPDATE"

BEGIN_CHAIN = """
INSERT INTO registry.audit_chain (chain, sequence, hash) VALUES ($1, 0, $2) ON CONFLICT (chain) DO NOTHING
"""

APPEND = """
WITH head AS (
    UPDATE registry.audit_chain SET sequence = $2::bigint, hash = $6::bytea WHERE chain = $1::text
), entry AS (
    INSERT INTO registry.audit_entry (chain, sequence, time_ms, subject, content, hash)
    VALUES ($1::text, $2::bigint, $3::bigint, $4::text, $5::text, $6::bytea)
)
INSERT INTO registry.outbox (queue, payload, headers)
SELECT queue, payload, headers::jsonb
FROM unnest($7::text[], $8::bytea[], $9::text[]) WITH ORDINALITY AS new (queue, payload, headers, position)
ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last entry of a chain; sequence 0 before the first one."""

    sequence: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An audit entry to append; ``content`` and ``hash`` as in ``audit_hash``, the time in milliseconds."""

    chain: str
    sequence: int
    time_ms: int
    subject: str
    content: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One event on its way out; the headers are a JSON object."""

    queue: str
    payload: bytes
    headers: str


async def lock_head(connection: Connection, chain: str) -> ChainHead:
    """The chain's last entry, locked until the caller's transaction ends."""
    row = await connection.fetchrow(LOCK_HEAD, chain)
    if row is None:
        await connection.execute(BEGIN_CHAIN, chain, FIRST_PREVIOUS_HASH)
        row = await connection.fetchrow(LOCK_HEAD, chain)
    return ChainHead(row["sequence"], row["hash"])


async def append(connection: Connection, entry: NewEntry, events: Sequence[OutboxRow]) -> None:
    """Append an entry to a chain whose head the caller's transaction has locked, with its events in their order."""
    await connection.execute(
        APPEND,
        entry.chain,
        entry.sequence,
        entry.time_ms,
        entry.subject,
        entry.content,
        entry.hash,
        [row.queue for row in events],
        [row.payload for row in events],
        [row.headers for row in events],
    )
