"""Writing logged models. Each function is one statement, so it is whole by itself or part of the caller's transaction.

Lists are sorted by their keys: concurrent writers lock rows in one order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runstream_metadata.entities import LifecycleStage
from runstream_metadata.logged_model_entities import LoggedModelStatus
from runstream_metadata.store.run_rows import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Connection

    from runstream_metadata.logged_model_entities import ModelMetric, NewLoggedModel

# A trailing slash of a location is not doubled (MLflow `append_to_uri_path`).
INSERT_MODEL = f"""
WITH e AS (
    SELECT experiment_id, artifact_location, lifecycle_stage FROM metadata.experiment WHERE experiment_id = $2
), m AS (
    INSERT INTO metadata.logged_model
        (model_id, experiment_id, name, model_type, source_run_id, status, artifact_uri, creation_time_ms,
         last_update_time_ms)
    SELECT $1::uuid, experiment_id, $3::text, $4::text, $5::text, {LoggedModelStatus.PENDING:d},
           regexp_replace(artifact_location, '/?([?].*)?$', '/models/m-' || replace($1::uuid::text, '-', '') || '/artifacts\\1'),
           $6::bigint, $6::bigint
    FROM e WHERE lifecycle_stage = {LifecycleStage.ACTIVE:d}
    ON CONFLICT (model_id) DO NOTHING
    RETURNING model_id, artifact_uri
), p AS (
    INSERT INTO metadata.logged_model_param (model_id, key, value)
    SELECT m.model_id, key, value FROM m, unnest($7::text[], $8::text[]) AS new (key, value)
), t AS (
    INSERT INTO metadata.logged_model_tag (model_id, key, value)
    SELECT m.model_id, key, value FROM m, unnest($9::text[], $10::text[]) AS new (key, value)
)
SELECT e.lifecycle_stage, m.model_id IS NOT NULL AS created, m.artifact_uri FROM e LEFT JOIN m ON true
"""

SET_STATUS = """
UPDATE metadata.logged_model SET status = $2, last_update_time_ms = $3 WHERE model_id = $1 RETURNING model_id
"""

SET_STAGE = """
UPDATE metadata.logged_model SET lifecycle_stage = $2, last_update_time_ms = $3 WHERE model_id = $1
RETURNING model_id
"""

UPSERT_TAGS = """
WITH m AS (
    SELECT model_id FROM metadata.logged_model WHERE model_id = $1
), t AS (
    INSERT INTO metadata.logged_model_tag (model_id, key, value)
    SELECT m.model_id, key, value FROM m, unnest($2::text[], $3::text[]) AS new (key, value)
    ON CONFLICT (model_id, key) DO UPDATE SET value = excluded.value
)
SELECT model_id FROM m
"""

DELETE_TAG = """
WITH m AS (
    SELECT model_id FROM metadata.logged_model WHERE model_id = $1
), d AS (
    DELETE FROM metadata.logged_model_tag AS t USING m WHERE t.model_id = m.model_id AND t.key = $2 RETURNING t.key
)
SELECT EXISTS (SELECT FROM d) AS deleted FROM m
"""

INSERT_PARAMS = """
WITH m AS (
    SELECT model_id FROM metadata.logged_model WHERE model_id = $1
), p AS (
    INSERT INTO metadata.logged_model_param (model_id, key, value)
    SELECT m.model_id, key, value FROM m, unnest($2::text[], $3::text[]) AS new (key, value)
)
SELECT model_id FROM m
"""

INSERT_METRICS = """
INSERT INTO metadata.logged_model_metric
    (model_id, run_id, key, value, step, timestamp_ms, dataset_name, dataset_digest)
SELECT model_id, run_id, key, value, step, timestamp_ms, dataset_name, dataset_digest
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::float8[], $5::bigint[], $6::bigint[], $7::text[], $8::text[])
    WITH ORDINALITY AS new (model_id, run_id, key, value, step, timestamp_ms, dataset_name, dataset_digest, position)
ORDER BY position
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class InsertOutcome:
    """What became of a new model; no stage means that there is no such experiment."""

    experiment_stage: LifecycleStage | None
    created: bool
    artifact_uri: str


def key_of(model_id: str) -> UUID:
    """The primary key of a model, from its checked id."""
    return UUID(hex=model_id[2:])


def id_of(key: UUID) -> str:
    """The id of a model, from its primary key."""
    return f"m-{key.hex}"


async def insert_model(connection: Connection, new: NewLoggedModel) -> InsertOutcome:
    """Insert a model with params and tags, unless the id is taken or the experiment is not active."""
    row = await connection.fetchrow(
        INSERT_MODEL,
        key_of(new.model_id),
        new.experiment_id,
        new.name,
        new.model_type,
        new.source_run_id,
        new.creation_time_ms,
        list(new.params),
        list(new.params.values()),
        list(new.tags),
        list(new.tags.values()),
    )
    if row is None:
        return InsertOutcome(None, created=False, artifact_uri="")
    return InsertOutcome(
        STAGES[row["lifecycle_stage"]], created=row["created"], artifact_uri=row["artifact_uri"] or ""
    )


async def set_status(connection: Connection, model_id: str, status: LoggedModelStatus, now_ms: int) -> bool:
    """Set the status; whether there is such a model."""
    return await connection.fetchval(SET_STATUS, key_of(model_id), status, now_ms) is not None


async def set_stage(connection: Connection, model_id: str, stage: LifecycleStage, now_ms: int) -> bool:
    """Set the lifecycle stage; whether there is such a model."""
    return await connection.fetchval(SET_STAGE, key_of(model_id), stage, now_ms) is not None


async def upsert_tags(connection: Connection, model_id: str, tags: Mapping[str, str]) -> bool:
    """Set tags, in the order given; whether there is such a model."""
    found = await connection.fetchval(UPSERT_TAGS, key_of(model_id), list(tags), list(tags.values()))
    return found is not None


async def delete_tag(connection: Connection, model_id: str, key: str) -> bool | None:
    """Delete a tag; whether it was there, None when there is no such model."""
    deleted: bool | None = await connection.fetchval(DELETE_TAG, key_of(model_id), key)
    return deleted


async def insert_params(connection: Connection, model_id: str, params: Mapping[str, str]) -> bool:
    """Add params, in the order given; whether there is such a model.

    Raises:
        asyncpg.UniqueViolationError: one of the keys is there already; nothing is written.
    """
    found = await connection.fetchval(INSERT_PARAMS, key_of(model_id), list(params), list(params.values()))
    return found is not None


async def insert_metrics(connection: Connection, metrics: Sequence[ModelMetric]) -> None:
    """File points; those that are there already change nothing.

    Raises:
        asyncpg.ForeignKeyViolationError: one of the models does not exist; nothing is written.
    """
    await connection.execute(
        INSERT_METRICS,
        [key_of(metric.model_id) for metric in metrics],
        [metric.run_id for metric in metrics],
        [metric.key for metric in metrics],
        [metric.value for metric in metrics],
        [metric.step for metric in metrics],
        [metric.timestamp_ms for metric in metrics],
        [metric.dataset_name for metric in metrics],
        [metric.dataset_digest for metric in metrics],
    )
