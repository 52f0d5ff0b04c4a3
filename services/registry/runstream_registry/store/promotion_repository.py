"""Writing promotions. The caller's transaction has locked the model's row before anything here is called."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from runstream_registry.entities import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Connection

    from runstream_registry.promotion_entities import Promotion, RuleOutcome, Target

INSERT_PROMOTION = """
WITH counted AS (
    UPDATE registry.model SET promotion_sequence = $3::bigint WHERE model_id = $2::bigint
)
INSERT INTO registry.promotion
    (promotion_id, model_id, sequence, version, previous_version, target_kind, target, rollback, actor, reason,
     time_ms, request_id, rules, metrics, run_id, git_commit, artifact_uri, artifact_digest)
VALUES ($1::uuid, $2::bigint, $3::bigint, $4, $5, $6, $7, $8, $9, $10, $11, $12::uuid, $13::jsonb, $14::jsonb, $15, $16,
        $17, $18)
"""

PUT_ALIAS = """
INSERT INTO registry.alias (model_id, alias, version) VALUES ($1, $2, $3)
ON CONFLICT (model_id, alias) DO UPDATE SET version = excluded.version
"""

# The timestamps move as in MLflow: those of the model and of every version whose stage changes.
SET_STAGE = f"""
WITH model AS (
    UPDATE registry.model SET last_updated_time_ms = $5 WHERE model_id = $1
), moved AS (
    UPDATE registry.version SET stage = $3, last_updated_time_ms = $5 WHERE model_id = $1 AND version = $2
), archived AS (
    UPDATE registry.version SET stage = {Stage.ARCHIVED:d}, last_updated_time_ms = $5
    WHERE $4 AND model_id = $1 AND stage = $3 AND version <> $2 AND deleted_time_ms IS NULL
    RETURNING version
)
SELECT version FROM archived ORDER BY version
"""


async def insert_promotion(connection: Connection, model_id: int, promotion: Promotion) -> None:
    """Write the promotion and count it in its model."""
    await connection.execute(
        INSERT_PROMOTION,
        promotion.promotion_id,
        model_id,
        promotion.sequence,
        promotion.version,
        promotion.previous_version,
        promotion.target.kind.value,
        promotion.target.name,
        promotion.rollback,
        promotion.actor,
        promotion.reason,
        promotion.time_ms,
        promotion.request_id or None,
        json.dumps(rule_fields(promotion.rules)),
        json.dumps(metric_fields(promotion.metrics)),
        promotion.run_id,
        promotion.git_commit,
        promotion.artifact_uri,
        promotion.artifact_digest,
    )


async def move_target(
    connection: Connection,
    model_id: int,
    target: Target,
    version: int,
    *,
    archive_existing: bool,
    time_ms: int,
) -> list[int]:
    """Let the target hold the version.

    Args:
        archive_existing: stages only: archive the others that have it.
        time_ms: milliseconds since the Unix epoch.

    Returns:
        The versions that were archived.
    """
    if target.stage is None:
        await connection.execute(PUT_ALIAS, model_id, target.name, version)
        return []
    rows = await connection.fetch(SET_STAGE, model_id, version, target.stage, archive_existing, time_ms)
    return [row["version"] for row in rows]


def rule_fields(rules: Sequence[RuleOutcome]) -> list[dict[str, Any]]:
    """Outcomes as JSON values, for the table and the audit trail."""
    return [
        {
            "policy": rule.policy,
            "revision": rule.revision,
            "kind": rule.kind,
            "rule": rule.rule,
            "passed": rule.passed,
            "detail": rule.detail,
        }
        for rule in rules
    ]


def metric_fields(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Metrics as JSON values; JSON has no words for NaN and infinities, so they are text."""
    return {key: value if math.isfinite(value) else str(value) for key, value in metrics.items()}
