"""Reading promotions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runstream_registry.promotion_entities import Promotion, RuleOutcome, Target, TargetKind

if TYPE_CHECKING:
    from asyncpg import Connection, Record

COLUMNS = """
p.promotion_id, m.name, p.sequence, p.version, p.previous_version, p.target_kind, p.target, p.rollback, p.actor, p.reason,
p.time_ms, p.request_id, p.rules, p.metrics, p.run_id, p.git_commit, p.artifact_uri, p.artifact_digest
"""

SELECT_PAGE = f"""
SELECT {COLUMNS} FROM registry.promotion AS p JOIN registry.model AS m USING (model_id)
WHERE p.model_id = $1 AND ($2::text IS NULL OR (p.target_kind = $2::text AND p.target = $3::text))
  AND ($4::bigint IS NULL OR p.sequence < $4::bigint)
ORDER BY p.sequence DESC LIMIT $5
"""

SELECT_HISTORY = """
SELECT version, rollback FROM (
    SELECT p.sequence, p.version, p.rollback FROM registry.promotion AS p
    WHERE p.model_id = $1 AND p.target_kind = $2 AND p.target = $3 ORDER BY p.sequence DESC LIMIT $4
) AS newest ORDER BY sequence
"""

SELECT_USABLE = """
SELECT version FROM registry.version
WHERE model_id = $1 AND version = ANY($2::int[]) AND status = $3 AND deleted_time_ms IS NULL
"""

SELECT_OF_VERSION = f"""
SELECT {COLUMNS} FROM registry.promotion AS p JOIN registry.model AS m USING (model_id)
WHERE p.model_id = $1 AND p.version = $2 AND p.run_id <> '' ORDER BY p.sequence DESC LIMIT 1
"""

SELECT_ONE = f"""
SELECT {COLUMNS} FROM registry.promotion AS p JOIN registry.model AS m USING (model_id)
WHERE p.model_id = $1 AND p.sequence = $2
"""


async def select_page(
    connection: Connection, model_id: int, target: Target | None, *, before: int | None, limit: int
) -> list[Promotion]:
    """Promotions of a model, newest first.

    Args:
        target: only of this one.
        before: only with a smaller sequence.
    """
    kind, name = (target.kind.value, target.name) if target else (None, None)
    rows = await connection.fetch(SELECT_PAGE, model_id, kind, name, before, limit)
    return [_promotion(row) for row in rows]


async def select_one(connection: Connection, model_id: int, sequence: int) -> Promotion | None:
    """One promotion."""
    row = await connection.fetchrow(SELECT_ONE, model_id, sequence)
    return None if row is None else _promotion(row)


async def select_last_of_version(connection: Connection, model_id: int, version: int) -> Promotion | None:
    """The last promotion of a version to any target."""
    row = await connection.fetchrow(SELECT_OF_VERSION, model_id, version)
    return None if row is None else _promotion(row)


async def select_history(
    connection: Connection, model_id: int, target: Target, limit: int
) -> list[tuple[int, bool]]:
    """The newest promotions to a target as (version, whether it was a rollback), oldest first."""
    rows = await connection.fetch(SELECT_HISTORY, model_id, target.kind.value, target.name, limit)
    return [(row["version"], row["rollback"]) for row in rows]


async def select_usable(connection: Connection, model_id: int, versions: set[int], status: int) -> set[int]:
    """Those of the versions that are there and have the status."""
    rows = await connection.fetch(SELECT_USABLE, model_id, sorted(versions), status)
    return {row["version"] for row in rows}


def _promotion(row: Record) -> Promotion:
    return Promotion(
        promotion_id=str(row["promotion_id"]),
        name=row["name"],
        sequence=row["sequence"],
        version=row["version"],
        previous_version=row["previous_version"],
        target=Target(TargetKind(row["target_kind"]), row["target"]),
        rollback=row["rollback"],
        actor=row["actor"],
        reason=row["reason"],
        time_ms=row["time_ms"],
        request_id="" if row["request_id"] is None else str(row["request_id"]),
        rules=[RuleOutcome(**fields) for fields in json.loads(row["rules"])],
        metrics={key: float(value) for key, value in json.loads(row["metrics"]).items()},
        run_id=row["run_id"],
        git_commit=row["git_commit"],
        artifact_uri=row["artifact_uri"],
        artifact_digest=row["artifact_digest"],
    )
