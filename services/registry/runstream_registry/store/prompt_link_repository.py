"""Links between prompt versions and what used them. Each function is one statement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncpg import Connection

INSERT = """
WITH found AS (
    SELECT version_id, model_id FROM registry.version
    WHERE model_id = $1 AND version = $2 AND deleted_time_ms IS NULL
), linked AS (
    INSERT INTO registry.prompt_link (version_id, kind, id, model_id, time_ms)
    SELECT version_id, $3, $4, model_id, $5 FROM found
    ON CONFLICT (version_id, kind, id) DO NOTHING
)
SELECT EXISTS (SELECT FROM found)
"""


@dataclass(frozen=True, slots=True)
class LinkFilter:
    """Which links: those of a prompt, a version, something that used some, or all of these at once.

    Args:
        version: 0 means all.
        kind: empty means all.
        user_id: id of a run or trace; empty means all.
    """

    name: str
    version: int
    kind: str
    user_id: str


@dataclass(frozen=True, slots=True)
class PromptLink:
    """Something that used a prompt version; newer links have higher numbers."""

    link_number: int
    name: str
    version: int
    kind: str
    user_id: str
    time_ms: int


async def insert(
    connection: Connection, model_id: int, version: int, kind: str, user_id: str, now_ms: int
) -> bool:
    """Insert a link unless it is there; False when there is no such version."""
    found: bool = await connection.fetchval(INSERT, model_id, version, kind, user_id, now_ms)
    return found


async def select_page(
    connection: Connection, wanted: LinkFilter, model_id: int | None, before: int | None, limit: int
) -> list[PromptLink]:
    """Links that are wanted, before one with this number, newest first; those of deleted versions are left out.

    Args:
        model_id: of the wanted prompt; None means all.
    """
    conditions = ["link.link_id < $1"]
    values: list[object] = [2**63 - 1 if before is None else before]
    for condition, value in (
        ("link.model_id", model_id),
        ("version.version", wanted.version or None),
        ("link.kind", wanted.kind or None),
        ("link.id", wanted.user_id or None),
    ):
        if value is not None:
            values.append(value)
            conditions.append(f"{condition} = ${len(values)}")
    values.append(limit)
    rows = await connection.fetch(
        f"""SELECT link.link_id, model.name, version.version, link.kind, link.id, link.time_ms
            FROM registry.prompt_link AS link
            JOIN registry.version AS version
                ON version.version_id = link.version_id AND version.deleted_time_ms IS NULL
            JOIN registry.model AS model
                ON model.model_id = link.model_id AND model.deleted_time_ms IS NULL
            WHERE {" AND ".join(conditions)}
            ORDER BY link.link_id DESC LIMIT ${len(values)}""",
        *values,
    )
    return [PromptLink(*row) for row in rows]
