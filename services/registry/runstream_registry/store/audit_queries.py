"""Reading the audit trail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_registry.store.audit_repository import ChainHead

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg import Connection

ENTRIES_AT_ONCE = 1_000
CHAINS_AT_ONCE = 1_000

SELECT_PAGE = """
SELECT chain, sequence, time_ms, subject, content, hash FROM registry.audit_entry
WHERE ($1::text IS NULL OR chain = $1::text)
  AND ($2::bigint IS NULL OR (time_ms, chain, sequence) < ($2::bigint, $3::text, $4::bigint))
ORDER BY time_ms DESC, chain DESC, sequence DESC LIMIT $5
"""

SELECT_BATCH = """
SELECT chain, sequence, time_ms, subject, content, hash FROM registry.audit_entry
WHERE (chain, sequence) > ($1::text, $2::bigint) AND ($3::text IS NULL OR chain = $3::text)
ORDER BY chain, sequence LIMIT $4
"""

SELECT_HEADS = """
SELECT chain, sequence, hash FROM registry.audit_chain
WHERE chain > $1::text AND ($2::text IS NULL OR chain = $2::text) ORDER BY chain LIMIT $3
"""

# By the present name, or by the name that a deleted model had last; a name may have been used again.
SELECT_MODEL_ID = """
SELECT model_id FROM registry.model WHERE name = $1 ORDER BY deleted_time_ms DESC NULLS FIRST, model_id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry as it is stored; the columns repeat what the content says."""

    chain: str
    sequence: int
    time_ms: int
    subject: str
    content: str
    hash: bytes


async def select_page(
    connection: Connection, chain: str | None, *, before: tuple[int, str, int] | None, limit: int
) -> list[EntryRow]:
    """Entries, newest first.

    Args:
        chain: only of this one.
        before: time, chain and sequence that the page comes after in this order.
    """
    time_ms, last_chain, sequence = before or (None, None, None)
    rows = await connection.fetch(SELECT_PAGE, chain, time_ms, last_chain, sequence, limit)
    return [EntryRow(**dict(row)) for row in rows]


async def entries(connection: Connection, chain: str | None) -> AsyncIterator[EntryRow]:
    """All entries by chain and sequence, read in batches.

    Args:
        chain: only of this one.
    """
    after: tuple[str, int] = ("", 0)
    while True:
        rows = await connection.fetch(SELECT_BATCH, *after, chain, ENTRIES_AT_ONCE)
        for row in rows:
            yield EntryRow(**dict(row))
        if len(rows) < ENTRIES_AT_ONCE:
            return
        after = (rows[-1]["chain"], rows[-1]["sequence"])


async def heads(connection: Connection, chain: str | None) -> AsyncIterator[tuple[str, ChainHead]]:
    """All chains by name with what their heads say, read in batches.

    Args:
        chain: only this one.
    """
    after = ""
    while True:
        rows = await connection.fetch(SELECT_HEADS, after, chain, CHAINS_AT_ONCE)
        for row in rows:
            yield row["chain"], ChainHead(row["sequence"], row["hash"])
        if len(rows) < CHAINS_AT_ONCE:
            return
        after = rows[-1]["chain"]


async def select_model_id(connection: Connection, name: str) -> int | None:
    """The model that has the name, or had it last when it was deleted."""
    model_id: int | None = await connection.fetchval(SELECT_MODEL_ID, name)
    return model_id
