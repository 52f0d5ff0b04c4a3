"""Reading runs: by id, with one statement a kind of data for the whole page, never one a run."""

from __future__ import annotations

import dataclasses
import json
from operator import attrgetter
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

SELECT_RUNS = f"SELECT {RUN_COLUMNS} FROM metadata.run AS run WHERE run.run_id = ANY($1::uuid[])"

SELECT_CHECKS = """
SELECT run_id, lifecycle_stage, experiment_id FROM metadata.run WHERE run_id = ANY($1::uuid[])
"""

SELECT_PARENTS = """
SELECT run_id, value FROM metadata.run_tag WHERE run_id = ANY($1::uuid[]) AND key = $2
"""

_TEXTS = """
SELECT run_id, array_agg(key) AS keys, array_agg(value) AS texts
FROM metadata.{table} WHERE run_id = ANY($1::uuid[]) GROUP BY run_id
"""

# One statement for a whole page: round trips cost more than all of its reads. What belongs to a run comes as one array a
# column; inputs and models, which few runs have, as JSON. Roles are those of model_links.Role.
SELECT_WITH_DATA = f"""
SELECT {RUN_COLUMNS}, t.keys AS tag_keys, t.texts AS tag_texts, p.keys AS param_keys, p.texts AS param_texts,
       m.keys AS metric_keys, m.numbers, m.steps, m.timestamps_ms, i.inputs, l.models
FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (run_id, position)
JOIN metadata.run AS run USING (run_id)
LEFT JOIN ({_TEXTS.format(table="run_tag")}) AS t USING (run_id)
LEFT JOIN ({_TEXTS.format(table="run_param")}) AS p USING (run_id)
LEFT JOIN (
    SELECT run_id, array_agg(key) AS keys, array_agg(value) AS numbers, array_agg(step) AS steps,
           array_agg(timestamp_ms) AS timestamps_ms
    FROM metadata.latest_metric WHERE run_id = ANY($1::uuid[]) GROUP BY run_id
) AS m USING (run_id)
LEFT JOIN (
    SELECT run_id, json_agg(
               json_build_array(name, digest, source_type, source, schema, profile, tags) ORDER BY dataset_id
           )::text AS inputs
    FROM metadata.run_input JOIN metadata.dataset USING (dataset_id)
    WHERE run_id = ANY($1::uuid[]) GROUP BY run_id
) AS i USING (run_id)
LEFT JOIN (
    SELECT run_id, json_agg(json_build_array(role, model_id, step) ORDER BY link_id)::text AS models
    FROM metadata.run_model WHERE run_id = ANY($1::uuid[]) GROUP BY run_id
) AS l USING (run_id)
ORDER BY wanted.position
"""


_metric_key = attrgetter("key")


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


async def select_with_data(connection: Connection, run_ids: Sequence[str]) -> list[Run]:
    """The runs that exist, in the given order, with tags, params, latest metrics, inputs and models."""
    return [_run_with_data(row) for row in await connection.fetch(SELECT_WITH_DATA, run_ids)]


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


def _run_with_data(row: Mapping[str, Any]) -> Run:
    tags = _texts(row["tag_keys"], row["tag_texts"])
    model_inputs, model_outputs = _models(row["models"])
    return run_from_row(
        row,
        tags=tags,
        parent_run_id=tags.get(PARENT_RUN_TAG, ""),
        params=_texts(row["param_keys"], row["param_texts"]),
        metrics=_metrics(row),
        inputs=_inputs(row["inputs"]),
        model_input_ids=model_inputs,
        model_outputs=model_outputs,
    )


def _texts(keys: list[str] | None, texts: list[str] | None) -> dict[str, str]:
    """In the order of the keys' code points, which is not always the database's."""
    return dict(sorted(zip(keys or (), texts or (), strict=True)))


def _metrics(row: Mapping[str, Any]) -> Sequence[LatestMetric]:
    if row["metric_keys"] is None:
        return ()
    columns = (row["metric_keys"], row["numbers"], row["steps"], row["timestamps_ms"])
    return sorted(map(LatestMetric, *columns), key=_metric_key)


def _inputs(text: str | None) -> Sequence[DatasetInput]:
    if text is None:
        return ()
    return [DatasetInput(Dataset(*facts), dict(sorted(tags.items()))) for *facts, tags in json.loads(text)]


def _models(text: str | None) -> tuple[Sequence[str], Sequence[ModelOutput]]:
    """Ids of those that the run used, and those that it produced."""
    if text is None:
        return (), ()
    links = json.loads(text)
    used = [model_id for role, model_id, _ in links if role == Role.INPUT]
    produced = [ModelOutput(model_id, step) for role, model_id, step in links if role == Role.OUTPUT]
    return used or (), produced or ()
