"""Reading runs: by id, with one statement a kind of data for the whole page, never one a run."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from runstream_metadata.entities import (
    PARENT_RUN_TAG,
    Dataset,
    DatasetInput,
    LatestMetric,
    LifecycleStage,
    ModelOutput,
    Run,
    RunCheck,
)
from runstream_metadata.store.model_links import Role
from runstream_metadata.store.run_rows import RUN_COLUMNS, STAGES, run_from_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asyncpg import Connection

# Keys are ordered by their bytes, which is the order of their code points, whatever the database's collation.
SELECT_RUNS = f"SELECT {RUN_COLUMNS} FROM metadata.run AS run WHERE run.run_id = ANY($1::uuid[])"

SELECT_CHECKS = """
SELECT run_id, lifecycle_stage, experiment_id FROM metadata.run WHERE run_id = ANY($1::uuid[])
"""

SELECT_PARAMS = """
SELECT run_id, array_agg(key ORDER BY key COLLATE "C") AS keys,
       array_agg(value ORDER BY key COLLATE "C") AS texts
FROM metadata.run_param WHERE run_id = ANY($1::uuid[]) GROUP BY run_id
"""

SELECT_TAGS = """
SELECT run_id, array_agg(key ORDER BY key COLLATE "C") AS keys,
       array_agg(value ORDER BY key COLLATE "C") AS texts
FROM metadata.run_tag WHERE run_id = ANY($1::uuid[]) GROUP BY run_id
"""

SELECT_PARENTS = """
SELECT run_id, value FROM metadata.run_tag WHERE run_id = ANY($1::uuid[]) AND key = $2
"""

SELECT_METRICS = """
SELECT run_id, array_agg(key ORDER BY key COLLATE "C") AS keys,
       array_agg(value ORDER BY key COLLATE "C") AS numbers,
       array_agg(step ORDER BY key COLLATE "C") AS steps,
       array_agg(timestamp_ms ORDER BY key COLLATE "C") AS timestamps_ms
FROM metadata.latest_metric WHERE run_id = ANY($1::uuid[]) GROUP BY run_id
"""

SELECT_INPUTS = """
SELECT i.run_id, d.name, d.digest, d.source_type, d.source, d.schema, d.profile, i.tags::text AS tags
FROM metadata.run_input AS i JOIN metadata.dataset AS d USING (dataset_id)
WHERE i.run_id = ANY($1::uuid[])
ORDER BY d.dataset_id
"""


# Roles are those of model_links.Role.
SELECT_MODELS = """
SELECT run_id, role, model_id, step FROM metadata.run_model WHERE run_id = ANY($1::uuid[]) ORDER BY link_id
"""


async def select_runs(connection: Connection, run_ids: Sequence[str]) -> list[Run]:
    """The runs that exist, in the given order, without tags, params, metrics and inputs."""
    rows = await connection.fetch(SELECT_RUNS, run_ids)
    found = {row["run_id"].hex: row for row in rows}
    return [run_from_row(found[run_id]) for run_id in run_ids if run_id in found]


async def check_runs(connection: Connection, run_ids: Iterable[str]) -> dict[str, RunCheck]:
    """Stage and experiment of the runs that exist, by run id; one statement, nothing is locked."""
    rows = await connection.fetch(SELECT_CHECKS, list(run_ids))
    return {
        row["run_id"].hex: RunCheck(
            run_id=row["run_id"].hex,
            lifecycle_stage=STAGES[row["lifecycle_stage"]],
            experiment_id=row["experiment_id"],
        )
        for row in rows
    }


async def with_data(connection: Connection, runs: Sequence[Run]) -> list[Run]:
    """The same runs with tags, params, latest metrics, inputs and models: five statements whatever their number."""
    if not runs:
        return []
    run_ids = [run.run_id for run in runs]
    tags = _texts_by_run(await connection.fetch(SELECT_TAGS, run_ids))
    params = _texts_by_run(await connection.fetch(SELECT_PARAMS, run_ids))
    metrics = _metrics_by_run(await connection.fetch(SELECT_METRICS, run_ids))
    inputs = _inputs_by_run(await connection.fetch(SELECT_INPUTS, run_ids))
    models = await connection.fetch(SELECT_MODELS, run_ids)
    model_inputs, model_outputs = _model_inputs_by_run(models), _model_outputs_by_run(models)
    return [
        dataclasses.replace(
            run,
            tags=tags.get(run.run_id, {}),
            parent_run_id=tags.get(run.run_id, {}).get(PARENT_RUN_TAG, ""),
            params=params.get(run.run_id, {}),
            metrics=metrics.get(run.run_id, ()),
            inputs=inputs.get(run.run_id, ()),
            model_input_ids=model_inputs.get(run.run_id, ()),
            model_outputs=model_outputs.get(run.run_id, ()),
        )
        for run in runs
    ]


async def with_parents(connection: Connection, runs: Sequence[Run]) -> list[Run]:
    """The same runs with ``parent_run_id`` alone, for lists that show no data."""
    rows = await connection.fetch(SELECT_PARENTS, [run.run_id for run in runs], PARENT_RUN_TAG)
    parents = {row["run_id"].hex: row["value"] for row in rows}
    return [
        dataclasses.replace(run, parent_run_id=parents[run.run_id]) if run.run_id in parents else run
        for run in runs
    ]


async def select_param_values(connection: Connection, run_id: str, keys: Sequence[str]) -> dict[str, str]:
    """Stored values of some params of one run."""
    rows = await connection.fetch(
        "SELECT key, value FROM metadata.run_param WHERE run_id = $1 AND key = ANY($2::text[])", run_id, keys
    )
    return {row["key"]: row["value"] for row in rows}


async def select_stage(connection: Connection, run_id: str) -> LifecycleStage | None:
    """The run's lifecycle stage; None when there is no such run."""
    stage = await connection.fetchval("SELECT lifecycle_stage FROM metadata.run WHERE run_id = $1", run_id)
    return None if stage is None else STAGES[stage]


def _texts_by_run(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    return {row["run_id"].hex: dict(zip(row["keys"], row["texts"], strict=True)) for row in rows}


def _metrics_by_run(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[LatestMetric]]:
    return {
        row["run_id"].hex: [
            LatestMetric(key, value, step, timestamp_ms)
            for key, value, step, timestamp_ms in zip(
                row["keys"], row["numbers"], row["steps"], row["timestamps_ms"], strict=True
            )
        ]
        for row in rows
    }


def _inputs_by_run(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[DatasetInput]]:
    inputs: dict[str, list[DatasetInput]] = {}
    for row in rows:
        dataset = Dataset(
            name=row["name"],
            digest=row["digest"],
            source_type=row["source_type"],
            source=row["source"],
            schema=row["schema"],
            profile=row["profile"],
        )
        tags = dict(sorted(json.loads(row["tags"]).items()))
        inputs.setdefault(row["run_id"].hex, []).append(DatasetInput(dataset, tags))
    return inputs


def _model_inputs_by_run(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["role"] == Role.INPUT:
            found.setdefault(row["run_id"].hex, []).append(row["model_id"])
    return found


def _model_outputs_by_run(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[ModelOutput]]:
    found: dict[str, list[ModelOutput]] = {}
    for row in rows:
        if row["role"] == Role.OUTPUT:
            found.setdefault(row["run_id"].hex, []).append(ModelOutput(row["model_id"], row["step"]))
    return found
