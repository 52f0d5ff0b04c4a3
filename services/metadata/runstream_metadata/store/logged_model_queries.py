"""Reading logged models: by id, with one statement a kind of data for the whole page, never one a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_metadata.logged_model_entities import LoggedModel, LoggedModelStatus, ModelMetric
from runstream_metadata.store.logged_model_repository import id_of, key_of
from runstream_metadata.store.run_rows import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from asyncpg import Connection, Record

SELECT_MODELS = """
SELECT model_id, experiment_id, name, model_type, source_run_id, status, status_message, artifact_uri,
       lifecycle_stage, creation_time_ms, last_update_time_ms
FROM metadata.logged_model WHERE model_id = ANY($1::uuid[])
"""

# Keys are ordered by their bytes, which is the order of their code points, whatever the database's collation.
_SELECT_TEXTS = """
SELECT model_id, array_agg(key ORDER BY key COLLATE "C") AS keys,
       array_agg(value ORDER BY key COLLATE "C") AS texts
FROM metadata.{table} WHERE model_id = ANY($1::uuid[]) GROUP BY model_id
"""
SELECT_PARAMS = _SELECT_TEXTS.format(table="logged_model_param")
SELECT_TAGS = _SELECT_TEXTS.format(table="logged_model_tag")

SELECT_METRICS = """
SELECT model_id, run_id, key, value, step, timestamp_ms, dataset_name, dataset_digest
FROM (
    SELECT *, row_number() OVER (PARTITION BY model_id ORDER BY timestamp_ms DESC, step DESC, metric_id DESC) AS age
    FROM metadata.logged_model_metric WHERE model_id = ANY($1::uuid[])
) AS point
WHERE age <= $2
ORDER BY model_id, key COLLATE "C", timestamp_ms, step, run_id, metric_id
"""

SELECT_PARAM_KEYS = """
SELECT key FROM metadata.logged_model_param WHERE model_id = $1 AND key = ANY($2::text[])
"""

SELECT_KEYS = "SELECT model_id FROM metadata.logged_model WHERE model_id = ANY($1::uuid[])"

MAX_SHOWN_METRICS = 40_000
"""Points of one model that an answer holds, the newest ones: what fits into a message with long keys and names."""

STATUSES = {int(status): status for status in LoggedModelStatus}


async def select_models(connection: Connection, model_ids: Sequence[str]) -> list[LoggedModel]:
    """The models that exist, with all their data, in the given order: four statements whatever their number."""
    keys = [key_of(model_id) for model_id in model_ids]
    rows = {row["model_id"]: row for row in await connection.fetch(SELECT_MODELS, keys)}
    if not rows:
        return []
    params = _texts(await connection.fetch(SELECT_PARAMS, keys))
    tags = _texts(await connection.fetch(SELECT_TAGS, keys))
    metrics = _metrics(await connection.fetch(SELECT_METRICS, keys, MAX_SHOWN_METRICS))
    return [
        _model(rows[key], params=params.get(key, {}), tags=tags.get(key, {}), metrics=metrics.get(key, ()))
        for key in keys
        if key in rows
    ]


async def select_param_keys(connection: Connection, model_id: str, keys: Iterable[str]) -> set[str]:
    """Which of the keys the model has params for."""
    return {row["key"] for row in await connection.fetch(SELECT_PARAM_KEYS, key_of(model_id), list(keys))}


async def select_existing(connection: Connection, model_ids: Iterable[str]) -> set[str]:
    """Which of the models exist, deleted ones too."""
    rows = await connection.fetch(SELECT_KEYS, [key_of(model_id) for model_id in model_ids])
    return {id_of(row["model_id"]) for row in rows}


def _model(row: Mapping[str, Any], **data: Any) -> LoggedModel:
    return LoggedModel(
        model_id=id_of(row["model_id"]),
        experiment_id=row["experiment_id"],
        name=row["name"],
        model_type=row["model_type"],
        source_run_id=row["source_run_id"],
        status=STATUSES[row["status"]],
        status_message=row["status_message"],
        artifact_uri=row["artifact_uri"],
        lifecycle_stage=STAGES[row["lifecycle_stage"]],
        creation_time_ms=row["creation_time_ms"],
        last_update_time_ms=row["last_update_time_ms"],
        **data,
    )


def _texts(rows: Sequence[Record]) -> dict[UUID, dict[str, str]]:
    return {row["model_id"]: dict(zip(row["keys"], row["texts"], strict=True)) for row in rows}


def _metrics(rows: Sequence[Record]) -> dict[UUID, list[ModelMetric]]:
    found: dict[UUID, list[ModelMetric]] = {}
    for key, run_id, *rest in rows:
        found.setdefault(key, []).append(ModelMetric(id_of(key), run_id.hex, *rest))
    return found
