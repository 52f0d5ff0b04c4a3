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
LOCK_HEADS = """
SELECT chain, sequence, hash FROM registry.audit_chain WHERE chain = ANY($1::text[]) ORDER BY chain FOR UPDATE
"""

BEGIN_CHAINS = """
INSERT INTO registry.audit_chain (chain, sequence, hash)
SELECT chain, 0, $2 FROM unnest($1::text[]) AS new (chain) ORDER BY chain
ON CONFLICT (chain) DO NOTHING
"""

# The relay takes rows in the order of next_attempt_at, whose default is the start of the transaction: who waited for the
# lock began earlier than who had it, and would overtake when there is more to relay than one batch holds.
APPEND = """
WITH new AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bytea[])
        AS new (chain, sequence, time_ms, subject, content, hash)
), last AS (
    SELECT DISTINCT ON (chain) chain, sequence, hash FROM new ORDER BY chain, sequence DESC
), head AS (
    UPDATE registry.audit_chain AS head SET sequence = last.sequence, hash = last.hash
    FROM last WHERE head.chain = last.chain
), entry AS (
    INSERT INTO registry.audit_entry (chain, sequence, time_ms, subject, content, hash) SELECT * FROM new
)
INSERT INTO registry.outbox (queue, payload, headers, next_attempt_at)
SELECT queue, payload, headers::jsonb, clock_timestamp()
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


async def lock_heads(connection: Connection, chains: Sequence[str]) -> dict[str, ChainHead]:
    """The last entries of chains, locked in the order of their names until the caller's transaction ends."""
    heads = await _heads(connection, chains)
    missing = [chain for chain in chains if chain not in heads]
    if missing:
        await connection.execute(BEGIN_CHAINS, missing, FIRST_PREVIOUS_HASH)
        heads |= await _heads(connection, missing)
    return heads


async def lock_head(connection: Connection, chain: str) -> ChainHead:
    """The last entry of one chain, locked until the caller's transaction ends."""
    return (await lock_heads(connection, [chain]))[chain]


async def append(connection: Connection, entries: Sequence[NewEntry], events: Sequence[OutboxRow]) -> None:
    """Append entries to chains whose heads the caller's transaction has locked, with their events in their order."""
    await connection.execute(
        APPEND,
        [entry.chain for entry in entries],
        [entry.sequence for entry in entries],
        [entry.time_ms for entry in entries],
        [entry.subject for entry in entries],
        [entry.content for entry in entries],
        [entry.hash for entry in entries],
        [row.queue for row in events],
        [row.payload for row in events],
        [row.headers for row in events],
    )


async def _heads(connection: Connection, chains: Sequence[str]) -> dict[str, ChainHead]:
    rows = await connection.fetch(LOCK_HEADS, chains)
    return {row["chain"]: ChainHead(row["sequence"], row["hash"]) for row in rows}
