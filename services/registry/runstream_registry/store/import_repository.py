"""Writing what only an importer knows; never commits. The model's row is locked by the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncpg import Connection

RESERVE = """
UPDATE registry.model SET last_version = greatest(last_version, $2) WHERE model_id = $1 RETURNING last_version
"""

AMEND_MODEL = """
UPDATE registry.model SET
    creation_time_ms = coalesce($2, creation_time_ms),
    last_updated_time_ms = coalesce($3, last_updated_time_ms)
WHERE model_id = $1
"""

AMEND_VERSION = """
UPDATE registry.version SET
    creation_time_ms = coalesce($2, creation_time_ms),
    last_updated_time_ms = coalesce($3, last_updated_time_ms),
    user_id = coalesce(nullif($4, ''), user_id)
WHERE version_id = $1
"""


async def reserve_versions(connection: Connection, model_id: int, up_to_version: int) -> int:
    """Take numbers out of use; returns the last one that was given or taken out."""
    last: int = await connection.fetchval(RESERVE, model_id, up_to_version)
    return last


async def amend_model(
    connection: Connection, model_id: int, creation_time_ms: int | None, last_updated_time_ms: int | None
) -> None:
    """Set the times that are given."""
    await connection.execute(AMEND_MODEL, model_id, creation_time_ms, last_updated_time_ms)


async def amend_version(
    connection: Connection,
    version_id: str,
    creation_time_ms: int | None,
    last_updated_time_ms: int | None,
    user_id: str,
) -> None:
    """Set what is given; an empty user stays as it is."""
    await connection.execute(AMEND_VERSION, version_id, creation_time_ms, last_updated_time_ms, user_id)
