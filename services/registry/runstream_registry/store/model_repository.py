"""Writing models, their tags and aliases. Nothing commits here: a change, its audit entry and its event are one
transaction of the caller. Every change of a model locks its row first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Connection

LOCK_MODELS = """
SELECT model_id, name, prompt, description, last_version FROM registry.model
WHERE name = ANY($1::text[]) AND deleted_time_ms IS NULL
ORDER BY name FOR UPDATE
"""

INSERT_MODEL = """
WITH m AS (
    INSERT INTO registry.model (name, prompt, description, creation_time_ms, last_updated_time_ms)
    VALUES ($1, $2, $3, $4, $4)
    ON CONFLICT (name) WHERE deleted_time_ms IS NULL DO NOTHING
    RETURNING model_id
), t AS (
    INSERT INTO registry.model_tag (model_id, key, value)
    SELECT model_id, key, value FROM m, unnest($5::text[], $6::text[]) AS new (key, value)
)
SELECT model_id FROM m
"""

UPDATE_DESCRIPTION = """
UPDATE registry.model SET description = $2, last_updated_time_ms = $3 WHERE model_id = $1
"""

# The versions' time moves as well (MLflow).
RENAME = """
WITH v AS (
    UPDATE registry.version SET last_updated_time_ms = $3 WHERE model_id = $1 AND deleted_time_ms IS NULL
)
UPDATE registry.model SET name = $2, last_updated_time_ms = $3 WHERE model_id = $1
"""

DELETE_MODEL = """
WITH v AS (
    UPDATE registry.version SET deleted_time_ms = $2 WHERE model_id = $1 AND deleted_time_ms IS NULL
), a AS (
    DELETE FROM registry.alias WHERE model_id = $1
)
UPDATE registry.model SET deleted_time_ms = $2, version_count = 0 WHERE model_id = $1
"""

SELECT_TAGS = "SELECT key, value FROM registry.model_tag WHERE model_id = $1 AND key = ANY($2::text[])"

CHANGE_TAGS = """
WITH d AS (
    DELETE FROM registry.model_tag WHERE model_id = $1 AND key = ANY($4::text[])
)
INSERT INTO registry.model_tag (model_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS new (key, value)
ON CONFLICT (model_id, key) DO UPDATE SET value = excluded.value
"""

DELETE_ALIAS = "DELETE FROM registry.alias WHERE model_id = $1 AND alias = $2 RETURNING version"


@dataclass(frozen=True, slots=True)
class LockedModel:
    """What a change of a model has to know; the row is locked until the caller's transaction ends."""

    model_id: int
    name: str
    prompt: bool
    description: str
    last_version: int


async def lock_models(connection: Connection, names: Sequence[str]) -> dict[str, LockedModel]:
    """The models of these names that exist, by name; locked in the order of their names."""
    return {row["name"]: LockedModel(**row) for row in await connection.fetch(LOCK_MODELS, names)}


async def lock_model(connection: Connection, name: str) -> LockedModel | None:
    """The model of that name, locked; None when there is none."""
    return (await lock_models(connection, [name])).get(name)


async def insert_model(
    connection: Connection, name: str, *, prompt: bool, description: str, tags: Mapping[str, str], now_ms: int
) -> int | None:
    """Insert a model with its tags; its id, or None when the name is taken."""
    model_id: int | None = await connection.fetchval(
        INSERT_MODEL, name, prompt, description, now_ms, list(tags), list(tags.values())
    )
    return model_id


async def update_description(connection: Connection, model_id: int, description: str, now_ms: int) -> None:
    """Set the description."""
    await connection.execute(UPDATE_DESCRIPTION, model_id, description, now_ms)


async def rename(connection: Connection, model_id: int, new_name: str, now_ms: int) -> None:
    """Set the name.

    Raises:
        asyncpg.UniqueViolationError: it is taken.
    """
    await connection.execute(RENAME, model_id, new_name, now_ms)


async def mark_deleted(connection: Connection, model_id: int, now_ms: int) -> None:
    """Mark a model with its versions deleted, and drop its aliases."""
    await connection.execute(DELETE_MODEL, model_id, now_ms)


async def select_tags(connection: Connection, model_id: int, keys: Sequence[str]) -> dict[str, str]:
    """Those of the tags that are there."""
    return {row["key"]: row["value"] for row in await connection.fetch(SELECT_TAGS, model_id, keys)}


async def change_tags(
    connection: Connection, model_id: int, to_set: Mapping[str, str], to_delete: Sequence[str]
) -> None:
    """Set and delete tags; no key is in both."""
    await connection.execute(CHANGE_TAGS, model_id, list(to_set), list(to_set.values()), to_delete)


async def delete_alias(connection: Connection, model_id: int, alias: str) -> int | None:
    """Delete an alias; the version that it pointed at, None when there was none."""
    version: int | None = await connection.fetchval(DELETE_ALIAS, model_id, alias)
    return version
