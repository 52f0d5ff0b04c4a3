"""Reading and writing revisions of policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection, Record

COLUMNS = "name, revision, document, actor, time_ms, deleted"

INSERT = f"INSERT INTO registry.policy ({COLUMNS}) VALUES ($1, $2, $3::jsonb, $4, $5, $6)"

SELECT_NEWEST = f"SELECT {COLUMNS} FROM registry.policy WHERE name = $1 ORDER BY revision DESC LIMIT 1"

SELECT_REVISION = f"SELECT {COLUMNS} FROM registry.policy WHERE name = $1 AND revision = $2"

# From name to name in the primary key: each promotion reads this, and must not pay for every revision there ever was.
SELECT_IN_FORCE = """
WITH RECURSIVE newest AS (
    (SELECT name, revision, deleted FROM registry.policy ORDER BY name DESC, revision DESC LIMIT 1)
    UNION ALL
    SELECT next.* FROM newest CROSS JOIN LATERAL (
        SELECT name, revision, deleted FROM registry.policy WHERE name < newest.name
        ORDER BY name DESC, revision DESC LIMIT 1
    ) AS next
)
SELECT name, revision FROM newest WHERE NOT deleted ORDER BY name
"""

SELECT_MANY = f"""
SELECT {COLUMNS} FROM registry.policy
JOIN unnest($1::text[], $2::int[]) AS wanted (name, revision) USING (name, revision)
"""


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A revision as it is stored; the document is JSON text."""

    name: str
    revision: int
    document: str
    actor: str
    time_ms: int
    deleted: bool


async def insert(connection: Connection, row: PolicyRow) -> None:
    """Write a revision.

    Raises:
        asyncpg.UniqueViolationError: another writer was faster.
    """
    await connection.execute(
        INSERT, row.name, row.revision, row.document, row.actor, row.time_ms, row.deleted
    )


async def select(connection: Connection, name: str, revision: int = 0) -> PolicyRow | None:
    """One revision; the newest when ``revision`` is 0."""
    if revision:
        row = await connection.fetchrow(SELECT_REVISION, name, revision)
    else:
        row = await connection.fetchrow(SELECT_NEWEST, name)
    return None if row is None else _policy(row)


async def select_in_force(connection: Connection) -> list[tuple[str, int]]:
    """Name and revision of every policy in force, by name."""
    return [(row["name"], row["revision"]) for row in await connection.fetch(SELECT_IN_FORCE)]


async def select_many(connection: Connection, wanted: Sequence[tuple[str, int]]) -> list[PolicyRow]:
    """Revisions by name and number."""
    rows = await connection.fetch(SELECT_MANY, [name for name, _ in wanted], [number for _, number in wanted])
    return [_policy(row) for row in rows]


def _policy(row: Record) -> PolicyRow:
    return PolicyRow(**dict(row))
