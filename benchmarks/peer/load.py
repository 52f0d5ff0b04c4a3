"""Fill MLflow's tables directly: its API would need hours for what these benchmarks read.

The rows are those MLflow writes itself, made inside PostgreSQL from `benchmarks.workload`, then
vacuumed and analyzed, so that the peer reads at its best.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from benchmarks import workload
from benchmarks.peer.server import MlflowServer

_STEPS_PER_SERIES = 10_000
_SERIES_PER_RUN = 10
_RUN_POINTS = _STEPS_PER_SERIES * _SERIES_PER_RUN
_TABLES = ("runs", "metrics", "latest_metrics", "params", "tags")


@dataclass(frozen=True)
class LoadedHistory:
    """A run with one long metric history."""

    run_id: str
    key: str
    points: int


def load_search_experiment(server: MlflowServer, runs: int = workload.SEARCH_RUNS) -> str:
    """Fill a new experiment with finished runs that have the workload's metrics, params and tags.

    Returns:
        The experiment id.
    """
    experiment_id = _new_experiment(server, "search")
    statements = [
        _insert_runs(experiment_id, runs),
        *(_insert_metric(experiment_id, runs, key) for key in workload.SEARCH_METRICS),
        _copy_latest(experiment_id),
        *(_insert_text("params", experiment_id, runs, key) for key in workload.SEARCH_PARAMS),
        *(_insert_text("tags", experiment_id, runs, key) for key in workload.SEARCH_TAGS),
    ]
    asyncio.run(_execute(server.database_url, statements))
    return str(experiment_id)


def load_history(server: MlflowServer, points: int = workload.HISTORY_POINTS) -> LoadedHistory:
    """Fill a new run with one metric of `points` points, one a step."""
    experiment_id = _new_experiment(server, "history")
    statements = [
        _insert_runs(experiment_id, 1),
        _insert_series(experiment_id, 1, workload.HISTORY_KEY, points),
        _copy_latest(experiment_id),
    ]
    asyncio.run(_execute(server.database_url, statements))
    return LoadedHistory(_run_id(experiment_id, 0), workload.HISTORY_KEY, points)


def load_points(server: MlflowServer, points: int) -> int:
    """Add about `points` points to the store, in runs of 10 keys with 10,000 steps each.

    Returns:
        The points added: `points` rounded up to whole runs of 100,000.
    """
    experiment_id = _new_experiment(server, "points")
    runs = -(-points // _RUN_POINTS)
    keys = [f"key-{number}" for number in range(_SERIES_PER_RUN)]
    statements = [
        _insert_runs(experiment_id, runs),
        *(_insert_series(experiment_id, runs, key, _STEPS_PER_SERIES) for key in keys),
        _copy_latest(experiment_id),
    ]
    asyncio.run(_execute(server.database_url, statements))
    return runs * _RUN_POINTS


async def _execute(database_url: str, statements: Sequence[str]) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
        for table in _TABLES:
            await connection.execute(f"VACUUM (ANALYZE) {table}")
        await connection.execute("CHECKPOINT")  # else the load is still being written while we measure
    finally:
        await connection.close()


def _new_experiment(server: MlflowServer, kind: str) -> int:
    return int(server.create_experiment(f"{kind}-{uuid.uuid4().hex[:8]}"))


def _run_id(experiment_id: int, row: int) -> str:
    """Return what `_run_id_sql` gives for a row."""
    return hashlib.md5(f"{experiment_id}-{row}".encode(), usedforsecurity=False).hexdigest()


def _run_id_sql(experiment_id: int) -> str:
    return f"md5('{experiment_id}-' || i)"


def _insert_runs(experiment_id: int, runs: int) -> str:
    run_id = _run_id_sql(experiment_id)
    start = f"{workload.START_MS} + i"
    return f"""
        INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,
                          end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
        SELECT {run_id}, 'run-' || i, 'UNKNOWN', '', '', 'bench', 'FINISHED', {start},
               {start} + 1000, '', 'active', 'mlflow-artifacts:/' || {run_id}, {experiment_id}
        FROM generate_series(0, {runs - 1}) AS i;
        INSERT INTO tags (run_uuid, key, value)
        SELECT {run_id}, 'mlflow.runName', 'run-' || i FROM generate_series(0, {runs - 1}) AS i"""


def _insert_metric(experiment_id: int, runs: int, key: str) -> str:
    value = workload.unit_value_sql("i", workload.SEARCH_METRICS.index(key))
    return f"""
        INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan)
        SELECT {_run_id_sql(experiment_id)}, '{key}', {value}, {workload.START_MS} + i, 0, false
        FROM generate_series(0, {runs - 1}) AS i"""


def _insert_series(experiment_id: int, runs: int, key: str, steps: int) -> str:
    return f"""
        INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan)
        SELECT {_run_id_sql(experiment_id)}, '{key}', {workload.unit_value_sql("step", 0)},
               {workload.START_MS} + step * 1000::bigint, step, false
        FROM generate_series(0, {runs - 1}) AS i, generate_series(0, {steps - 1}) AS step"""


def _copy_latest(experiment_id: int) -> str:
    return f"""
        INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan)
        SELECT DISTINCT ON (run_uuid, key) run_uuid, key, value, timestamp, step, is_nan
        FROM metrics JOIN runs USING (run_uuid) WHERE experiment_id = {experiment_id}
        ORDER BY run_uuid, key, step DESC, timestamp DESC, value DESC"""


def _insert_text(table: str, experiment_id: int, runs: int, key: str) -> str:
    salt = (workload.SEARCH_PARAMS + workload.SEARCH_TAGS).index(key)
    return f"""
        INSERT INTO {table} (run_uuid, key, value)
        SELECT {_run_id_sql(experiment_id)}, '{key}', {workload.label_sql("i", salt)}
        FROM generate_series(0, {runs - 1}) AS i"""
