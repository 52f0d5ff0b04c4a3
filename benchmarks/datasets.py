"""Fill our own tables directly, with the data that the peer gets in `benchmarks.peer.load`.

The rows are those the service writes itself, made inside PostgreSQL from `benchmarks.workload`, then vacuumed and
analyzed as autovacuum would have done in the time that logging them takes.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from benchmarks import workload

if TYPE_CHECKING:
    import asyncpg

_TABLES = ("run", "run_param", "run_tag", "latest_metric")


async def load_search_experiment(
    connection: asyncpg.Connection, runs: int = workload.SEARCH_RUNS, *, absent_one_in: int = 0
) -> int:
    """Fill a new experiment with finished runs that have the workload's metrics, params and tags.

    Args:
        connection: to a migrated database; not in a transaction.
        runs: how many.
        absent_one_in: of every so many runs (at least 8) one has NaN and one has nothing, for each metric; 0 means no such runs.

    Returns:
        The experiment id.
    """
    experiment_id = await _new_experiment(connection)
    async with connection.transaction():
        await connection.execute(_insert_runs(experiment_id, runs))
        for key in workload.SEARCH_METRICS:
            await connection.execute(_insert_metric(experiment_id, runs, key, absent_one_in))
        for key in workload.SEARCH_PARAMS:
            await connection.execute(_insert_text("run_param", experiment_id, runs, key))
        for key in workload.SEARCH_TAGS:
            await connection.execute(_insert_text("run_tag", experiment_id, runs, key))
    for table in _TABLES:
        await connection.execute(f"VACUUM (ANALYZE) metadata.{table}")
    return experiment_id


async def _new_experiment(connection: asyncpg.Connection) -> int:
    experiment_id: int = await connection.fetchval(
        """
        INSERT INTO metadata.experiment (name, artifact_location, creation_time_ms, last_update_time_ms)
        VALUES ($1, 'mlflow-artifacts:/bench', $2, $2) RETURNING experiment_id
        """,
        f"search-{uuid.uuid4().hex[:8]}",
        workload.START_MS,
    )
    return experiment_id


def _run_id_sql(experiment_id: int) -> str:
    return f"md5('{experiment_id}-' || i)::uuid"


def _insert_runs(experiment_id: int, runs: int) -> str:
    run_id = _run_id_sql(experiment_id)
    start = f"{workload.START_MS} + i"
    return f"""
        INSERT INTO metadata.run (run_id, experiment_id, name, user_id, status, start_time_ms, end_time_ms, artifact_uri)
        SELECT {run_id}, {experiment_id}, 'run-' || i, 'bench', 3, {start}, {start} + 1000,
               'mlflow-artifacts:/' || {run_id}
        FROM generate_series(0, {runs - 1}) AS i;
        INSERT INTO metadata.run_tag (run_id, key, value, experiment_id)
        SELECT {run_id}, 'mlflow.runName', 'run-' || i, {experiment_id} FROM generate_series(0, {runs - 1}) AS i"""


def _insert_metric(experiment_id: int, runs: int, key: str, absent_one_in: int) -> str:
    salt = workload.SEARCH_METRICS.index(key)
    value = workload.unit_value_sql("i", salt)
    where = ""
    if absent_one_in:
        value = f"CASE WHEN i % {absent_one_in} = {salt} THEN 'NaN' ELSE {value} END"
        where = f"WHERE i % {absent_one_in} <> {salt + len(workload.SEARCH_METRICS)}"
    return f"""
        INSERT INTO metadata.latest_metric (run_id, key, experiment_id, value, step, timestamp_ms)
        SELECT {_run_id_sql(experiment_id)}, '{key}', {experiment_id}, {value}, 0, {workload.START_MS} + i
        FROM generate_series(0, {runs - 1}) AS i {where}"""


def _insert_text(table: str, experiment_id: int, runs: int, key: str) -> str:
    salt = (workload.SEARCH_PARAMS + workload.SEARCH_TAGS).index(key)
    return f"""
        INSERT INTO metadata.{table} (run_id, key, value, experiment_id)
        SELECT {_run_id_sql(experiment_id)}, '{key}', {workload.label_sql("i", salt)}, {experiment_id}
        FROM generate_series(0, {runs - 1}) AS i"""
