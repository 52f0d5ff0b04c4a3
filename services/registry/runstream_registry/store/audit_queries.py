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
MAX_BIGINT = 2**63 - 1

_COLUMNS = "chain, sequence, time_ms, subject, content, hash"

SELECT_PAGE = f"""
SELECT {_COLUMNS} FROM registry.audit_entry WHERE (time_ms, chain, sequence) < ($1, $2, $3)
ORDER BY time_ms DESC, chain DESC, sequence DESC LIMIT $4
"""

# Within a chain the order is that of the sequence; times come from the clocks of several replicas.
SELECT_CHAIN_PAGE = f"""
SELECT {_COLUMNS} FROM registry.audit_entry WHERE chain = $1 AND sequence < $2 ORDER BY sequence DESC LIMIT $3
"""

SELECT_BATCH = f"""
SELECT {_COLUMNS} FROM registry.audit_entry WHERE (chain, sequence) > ($1, $2) ORDER BY chain, sequence LIMIT $3
"""

SELECT_CHAIN_BATCH = f"""
SELECT {_COLUMNS} FROM registry.audit_entry WHERE chain = $1 AND sequence > $2 ORDER BY sequence LIMIT $3
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
        chain: only of this one, by sequence.
        before: time, chain and sequence that the page comes after in this order.
    """
    time_ms, last_chain, sequence = before or (MAX_BIGINT, "", MAX_BIGINT)
    if chain is None:
        rows = await connection.fetch(SELECT_PAGE, time_ms, last_chain, sequence, limit)
    else:
        rows = await connection.fetch(SELECT_CHAIN_PAGE, chain, sequence, limit)
    return [EntryRow(**dict(row)) for row in rows]


async def entries(connection: Connection, chain: str | None) -> AsyncIterator[EntryRow]:
    """All entries by chain and sequence, read in batches.

    Args:
        chain: only of this one.
    """
    statement = SELECT_BATCH if chain is None else SELECT_CHAIN_BATCH
    # Below every sequence: one that is not positive has been forged, and must be seen.
    after: tuple[str, int] = (chain or "", -MAX_BIGINT)
    while True:
        rows = await connection.fetch(statement, *after, ENTRIES_AT_ONCE)
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
