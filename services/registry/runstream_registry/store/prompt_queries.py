"""Reading prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from asyncpg import Connection

# A version's tags may be large, so a page is limited by its characters too.
VERSION_IDS = """
SELECT version_id, found_count
FROM (
    SELECT found.*, count(*) OVER () AS found_count,
        sum(chars) OVER (ORDER BY version DESC) - chars AS chars_before
    FROM (
        SELECT version.version_id, version.version,
            (SELECT coalesce(sum(length(tag.value)), 0) FROM registry.version_tag AS tag
             WHERE tag.version_id = version.version_id) AS chars
        FROM registry.version AS version
        WHERE version.model_id = $1 AND version.version < $2 AND version.deleted_time_ms IS NULL
        ORDER BY version.version DESC
        LIMIT $3 + 1
    ) AS found
) AS page
WHERE chars_before < $4
ORDER BY version DESC
LIMIT $3
"""


async def select_id(connection: Connection, name: str) -> int | None:
    """The id of the prompt of that name; None when there is none."""
    found: int | None = await connection.fetchval(
        "SELECT model_id FROM registry.model WHERE name = $1 AND prompt AND deleted_time_ms IS NULL", name
    )
    return found


async def version_ids(
    connection: Connection, model_id: int, *, before: int | None, limit: int, max_chars: int
) -> tuple[list[UUID], bool]:
    """Ids of versions below a number, newest first, and whether there is more.

    Args:
        max_chars: a page ends with the version whose tags reach this many characters.
    """
    highest = 2**31 - 1 if before is None else before
    rows = await connection.fetch(VERSION_IDS, model_id, highest, limit, max_chars)
    return [row["version_id"] for row in rows], bool(rows) and rows[0]["found_count"] > len(rows)
