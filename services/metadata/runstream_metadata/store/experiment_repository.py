"""Writing experiments; never commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_metadata.entities import Experiment, LifecycleStage, Run
from runstream_metadata.store.experiment_queries import EXPERIMENT_COLUMNS, experiment_from_row
from runstream_metadata.store.run_rows import RUN_COLUMNS, STAGES, run_from_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg import Connection

# The default location holds the id, so the id is drawn first.
INSERT_EXPERIMENT = f"""
WITH new AS (
    SELECT nextval(pg_get_serial_sequence('metadata.experiment', 'experiment_id')) AS experiment_id
), e AS (
    INSERT INTO metadata.experiment AS e
        (experiment_id, name, artifact_location, creation_time_ms, last_update_time_ms)
    SELECT experiment_id, $1, coalesce(nullif($2, ''), $3 || '/' || experiment_id), $4, $4 FROM new
    ON CONFLICT (name) DO NOTHING
    RETURNING {EXPERIMENT_COLUMNS}
), t AS (
    INSERT INTO metadata.experiment_tag (experiment_id, key, value)
    SELECT e.experiment_id, key, value FROM e, unnest($5::text[], $6::text[]) AS tag (key, value)
)
SELECT * FROM e
"""

RENAME = f"""
UPDATE metadata.experiment SET name = $2, last_update_time_ms = $3
WHERE experiment_id = $1 AND lifecycle_stage = {LifecycleStage.ACTIVE:d}
RETURNING experiment_id
"""

SET_STAGE = """
UPDATE metadata.experiment SET lifecycle_stage = $3, last_update_time_ms = $4
WHERE experiment_id = $1 AND lifecycle_stage = $2
RETURNING experiment_id
"""

SET_RUN_STAGES = f"""
UPDATE metadata.run AS run SET lifecycle_stage = $3, deleted_time_ms = $4
FROM (
    SELECT run_id FROM metadata.run
    WHERE experiment_id = $1 AND lifecycle_stage = $2
    ORDER BY run_id LIMIT $5 FOR NO KEY UPDATE
) AS batch
WHERE run.run_id = batch.run_id
RETURNING {RUN_COLUMNS}
"""

TOUCH = """
UPDATE metadata.experiment SET last_update_time_ms = $2 WHERE experiment_id = $1
RETURNING lifecycle_stage
"""

UPSERT_TAGS = """
INSERT INTO metadata.experiment_tag (experiment_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS tag (key, value)
ON CONFLICT (experiment_id, key) DO UPDATE SET value = excluded.value
"""


@dataclass(frozen=True, slots=True)
class StageChange:
    """From which stage to which, and when."""

    before: LifecycleStage
    after: LifecycleStage
    time_ms: int

    @property
    def deleted_time_ms(self) -> int | None:
        """When its runs were deleted; None when they are restored."""
        return self.time_ms if self.after is LifecycleStage.DELETED else None


async def insert_experiment(
    connection: Connection,
    name: str,
    artifact_location: str,
    artifact_root: str,
    tags: Mapping[str, str],
    now_ms: int,
) -> Experiment | None:
    """Insert an experiment with its tags; None when the name is taken.

    Args:
        artifact_location: empty puts the id behind ``artifact_root``.
    """
    row = await connection.fetchrow(
        INSERT_EXPERIMENT, name, artifact_location, artifact_root, now_ms, list(tags), list(tags.values())
    )
    return None if row is None else experiment_from_row(row, tags)


async def rename(connection: Connection, experiment_id: int, name: str, now_ms: int) -> bool:
    """Rename an active experiment; whether there is one.

    Raises:
        asyncpg.UniqueViolationError: another experiment has the name.
    """
    return await connection.fetchval(RENAME, experiment_id, name, now_ms) is not None


async def set_stage(connection: Connection, experiment_id: int, change: StageChange) -> bool:
    """Move the experiment to another stage; whether it was in the one before. The row stays locked."""
    moved = await connection.fetchval(SET_STAGE, experiment_id, change.before, change.after, change.time_ms)
    return moved is not None


async def set_run_stages(
    connection: Connection, experiment_id: int, change: StageChange, limit: int
) -> list[Run]:
    """Move at most ``limit`` runs of the experiment to another stage; returns them as they are now."""
    rows = await connection.fetch(
        SET_RUN_STAGES, experiment_id, change.before, change.after, change.deleted_time_ms, limit
    )
    return [run_from_row(row) for row in rows]


async def touch(connection: Connection, experiment_id: int, now_ms: int) -> LifecycleStage | None:
    """Set the time of the last update and lock the row; its stage, None when there is no such experiment."""
    stage = await connection.fetchval(TOUCH, experiment_id, now_ms)
    return None if stage is None else STAGES[stage]


async def upsert_tags(connection: Connection, experiment_id: int, tags: Mapping[str, str]) -> None:
    """Set tags, in the order given."""
    await connection.execute(UPSERT_TAGS, experiment_id, list(tags), list(tags.values()))


async def delete_tag(connection: Connection, experiment_id: int, key: str) -> bool:
    """Delete a tag; whether it was there."""
    deleted = await connection.fetchval(
        "DELETE FROM metadata.experiment_tag WHERE experiment_id = $1 AND key = $2 RETURNING key",
        experiment_id,
        key,
    )
    return deleted is not None
