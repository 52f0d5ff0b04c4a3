"""Reading experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_metadata.entities import Experiment
from runstream_metadata.store.run_rows import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Connection

EXPERIMENT_COLUMNS = """e.experiment_id, e.name, e.artifact_location, e.lifecycle_stage,
    e.creation_time_ms, e.last_update_time_ms"""

SELECT_BY_IDS = (
    f"SELECT {EXPERIMENT_COLUMNS} FROM metadata.experiment AS e WHERE e.experiment_id = ANY($1::bigint[])"
)

SELECT_BY_NAME = f"SELECT {EXPERIMENT_COLUMNS} FROM metadata.experiment AS e WHERE e.name = $1"

SELECT_TAGS = """
SELECT experiment_id, array_agg(key ORDER BY key COLLATE "C") AS keys,
       array_agg(value ORDER BY key COLLATE "C") AS texts
FROM metadata.experiment_tag WHERE experiment_id = ANY($1::bigint[]) GROUP BY experiment_id
"""


def experiment_from_row(row: Mapping[str, Any], tags: Mapping[str, str]) -> Experiment:
    """The experiment in a row with ``EXPERIMENT_COLUMNS``."""
    return Experiment(
        experiment_id=row["experiment_id"],
        name=row["name"],
        artifact_location=row["artifact_location"],
        lifecycle_stage=STAGES[row["lifecycle_stage"]],
        creation_time_ms=row["creation_time_ms"],
        last_update_time_ms=row["last_update_time_ms"],
        tags=tags,
    )


async def select_experiments(connection: Connection, experiment_ids: Sequence[int]) -> list[Experiment]:
    """The experiments that exist, with tags, in the given order: two statements whatever their number."""
    rows = await connection.fetch(SELECT_BY_IDS, experiment_ids)
    tags = await _tags(connection, experiment_ids)
    found = {
        row["experiment_id"]: experiment_from_row(row, tags.get(row["experiment_id"], {})) for row in rows
    }
    return [found[experiment_id] for experiment_id in experiment_ids if experiment_id in found]


async def select_by_name(connection: Connection, name: str) -> Experiment | None:
    """The experiment, active or deleted, of that name, with its tags."""
    row = await connection.fetchrow(SELECT_BY_NAME, name)
    if row is None:
        return None
    tags = await _tags(connection, [row["experiment_id"]])
    return experiment_from_row(row, tags.get(row["experiment_id"], {}))


async def _tags(connection: Connection, experiment_ids: Sequence[int]) -> dict[int, dict[str, str]]:
    rows = await connection.fetch(SELECT_TAGS, experiment_ids)
    return {row["experiment_id"]: dict(zip(row["keys"], row["texts"], strict=True)) for row in rows}
