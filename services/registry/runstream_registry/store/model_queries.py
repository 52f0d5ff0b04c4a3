"""Reading models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_registry.entities import Model
from runstream_registry.store import version_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Connection

    from runstream_registry.entities import Version

MODEL_COLUMNS = """m.model_id, m.name, m.prompt, m.description, m.creation_time_ms, m.last_updated_time_ms,
    m.promotion_sequence, m.version_count"""

SELECT_MODELS = f"""
SELECT {MODEL_COLUMNS},
       ARRAY(SELECT key FROM registry.model_tag AS t WHERE t.model_id = m.model_id ORDER BY key COLLATE "C") AS tag_keys,
       ARRAY(SELECT value FROM registry.model_tag AS t WHERE t.model_id = m.model_id ORDER BY key COLLATE "C") AS tag_values,
       ARRAY(SELECT alias FROM registry.alias AS a WHERE a.model_id = m.model_id ORDER BY alias) AS aliases,
       ARRAY(SELECT version FROM registry.alias AS a WHERE a.model_id = m.model_id ORDER BY alias) AS alias_versions
FROM registry.model AS m
WHERE m.deleted_time_ms IS NULL
"""
SELECT_BY_IDS = f"{SELECT_MODELS} AND m.model_id = ANY($1::bigint[])"
SELECT_BY_NAME = f"{SELECT_MODELS} AND m.name = $1"

# One index look-up for each stage, however many versions a model has.
SELECT_LATEST_IDS = """
SELECT latest.version_id, (
    SELECT version FROM registry.version AS v
    WHERE v.model_id = m.model_id AND v.stage = s.stage AND v.deleted_time_ms IS NULL
    ORDER BY v.version LIMIT 1
) AS first_version
FROM unnest($1::bigint[]) AS m (model_id)
CROSS JOIN (VALUES (1), (2), (3), (4)) AS s (stage)
CROSS JOIN LATERAL (
    SELECT version_id FROM registry.version AS v
    WHERE v.model_id = m.model_id AND v.stage = s.stage AND v.deleted_time_ms IS NULL
    ORDER BY v.version DESC LIMIT 1
) AS latest
ORDER BY first_version
"""


async def select_models(connection: Connection, model_ids: Sequence[int]) -> list[Model]:
    """The models that are not deleted, with everything, in the given order: three statements whatever their number."""
    rows = await connection.fetch(SELECT_BY_IDS, model_ids)
    latest = await _latest(connection, [row["model_id"] for row in rows])
    found = {row["model_id"]: _model(row, latest.get(row["model_id"], ())) for row in rows}
    return [found[model_id] for model_id in model_ids if model_id in found]


async def select_by_name(connection: Connection, name: str) -> Model | None:
    """The model of that name with everything; None when there is none."""
    row = await connection.fetchrow(SELECT_BY_NAME, name)
    if row is None:
        return None
    latest = await _latest(connection, [row["model_id"]])
    return _model(row, latest.get(row["model_id"], ()))


async def _latest(connection: Connection, model_ids: Sequence[int]) -> dict[int, list[Version]]:
    """Highest version of each stage by model, in the order in which the stages got their first version (MLflow)."""
    if not model_ids:
        return {}
    ids = [row["version_id"] for row in await connection.fetch(SELECT_LATEST_IDS, model_ids)]
    result: dict[int, list[Version]] = {}
    for version in await version_queries.select_versions(connection, ids):
        result.setdefault(version.model_id, []).append(version)
    return result


def _model(row: Mapping[str, Any], latest: Sequence[Version]) -> Model:
    return Model(
        model_id=row["model_id"],
        name=row["name"],
        prompt=row["prompt"],
        description=row["description"],
        creation_time_ms=row["creation_time_ms"],
        last_updated_time_ms=row["last_updated_time_ms"],
        promotion_sequence=row["promotion_sequence"],
        version_count=row["version_count"],
        tags=dict(zip(row["tag_keys"], row["tag_values"], strict=True)),
        aliases=dict(zip(row["aliases"], row["alias_versions"], strict=True)),
        latest_versions=latest,
    )
