"""Reads what a promotion is decided on: the model, the version, and what the target holds, in one statement."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runstream_registry.entities import Stage, VersionStatus
from runstream_registry.promotion_entities import EvaluationFact, TargetFacts, VersionFacts

if TYPE_CHECKING:
    from asyncpg import Connection, Record

    from runstream_registry.promotion_entities import Target

# FOR NO KEY UPDATE: versions, which refer to the model, may be created meanwhile.
LOCK_MODEL = """
SELECT model_id FROM registry.model WHERE name = $1 AND deleted_time_ms IS NULL FOR NO KEY UPDATE
"""

LOCK_MODEL_ID = """
SELECT model_id FROM registry.model WHERE model_id = $1 AND deleted_time_ms IS NULL FOR NO KEY UPDATE
"""

SELECT_MODEL_ID = "SELECT model_id FROM registry.model WHERE name = $1 AND deleted_time_ms IS NULL"

SELECT_FACTS = """
SELECT m.model_id, m.name, m.prompt, m.promotion_sequence,
       v.version, v.version_id, v.status, v.stage, v.run_id, v.signature <> '' AS signed,
       v.artifact_uri, v.artifact_digest,
       (SELECT jsonb_object_agg(t.key, t.value) FROM registry.version_tag AS t
        WHERE t.version_id = v.version_id) AS tags,
       (SELECT jsonb_object_agg(e.name, jsonb_build_array(e.passed, e.time_ms, e.summary))
        FROM (SELECT DISTINCT ON (name) name, passed, time_ms, summary FROM registry.evaluation
              WHERE version_id = v.version_id ORDER BY name, evaluation_id DESC) AS e) AS evaluations,
       held.version AS current_version, held.run_id AS current_run_id,
       EXISTS (SELECT FROM registry.version AS o WHERE o.model_id = m.model_id AND o.stage = $4::smallint
               AND o.version <> $2 AND o.deleted_time_ms IS NULL) AS shared
FROM registry.model AS m
LEFT JOIN registry.version AS v ON v.model_id = m.model_id AND v.version = $2 AND v.deleted_time_ms IS NULL
LEFT JOIN LATERAL (
    SELECT h.version, h.run_id FROM registry.version AS h
    WHERE h.model_id = m.model_id AND h.deleted_time_ms IS NULL AND h.version = CASE WHEN $4::smallint IS NULL
        THEN (SELECT a.version FROM registry.alias AS a WHERE a.model_id = m.model_id AND a.alias = $3::text)
        ELSE (SELECT max(s.version) FROM registry.version AS s
              WHERE s.model_id = m.model_id AND s.stage = $4::smallint AND s.deleted_time_ms IS NULL) END
) AS held ON true
WHERE m.name = $1 AND m.deleted_time_ms IS NULL
"""


async def lock_model(connection: Connection, name: str) -> int | None:
    """The model's id, its row locked until the caller's transaction ends; None when there is none of that name.

    What is to be decided under the lock must be read by later statements: this one's snapshot is older than the lock.
    """
    model_id: int | None = await connection.fetchval(LOCK_MODEL, name)
    return model_id


async def lock_model_id(connection: Connection, model_id: int) -> bool:
    """Lock a model that is known by its id, whatever its name is by now; False when it was deleted."""
    return await connection.fetchval(LOCK_MODEL_ID, model_id) is not None


async def select_model_id(connection: Connection, name: str) -> int | None:
    """The model's id; None when there is none of that name."""
    model_id: int | None = await connection.fetchval(SELECT_MODEL_ID, name)
    return model_id


async def select_facts(connection: Connection, name: str, version: int, target: Target) -> TargetFacts | None:
    """The facts; None when there is no model of that name.

    Args:
        version: 0 when no version is meant.
    """
    row = await connection.fetchrow(
        SELECT_FACTS, name, version, target.name if target.stage is None else None, target.stage
    )
    if row is None:
        return None
    return TargetFacts(
        model_id=row["model_id"],
        name=row["name"],
        prompt=row["prompt"],
        promotion_sequence=row["promotion_sequence"],
        version=None if row["version"] is None else _version(row),
        current_version=row["current_version"] or 0,
        current_run_id=row["current_run_id"] or "",
        shared=row["shared"],
    )


def _version(row: Record) -> VersionFacts:
    evaluations = json.loads(row["evaluations"] or "{}")
    return VersionFacts(
        version=row["version"],
        version_id=row["version_id"].hex,
        status=VersionStatus(row["status"]),
        stage=Stage(row["stage"]),
        run_id=row["run_id"],
        signed=row["signed"],
        artifact_uri=row["artifact_uri"],
        artifact_digest=row["artifact_digest"],
        tags=json.loads(row["tags"] or "{}"),
        evaluations={name: EvaluationFact(*fact) for name, fact in evaluations.items()},
    )
