"""Writing experiments as another deployment had them; never commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_metadata.store.experiment_queries import EXPERIMENT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpg import Connection

    from runstream_metadata.entities import LifecycleStage

# A conflict may be about the id or the name.
INSERT_WITH_ID = f"""
WITH e AS (
    INSERT INTO metadata.experiment AS e
        (experiment_id, name, artifact_location, creation_time_ms, last_update_time_ms)
    VALUES ($1, $2, coalesce(nullif($3, ''), $4 || '/' || $1::bigint), $5, $5)
    ON CONFLICT DO NOTHING
    RETURNING {EXPERIMENT_COLUMNS}
), t AS (
    INSERT INTO metadata.experiment_tag (experiment_id, key, value)
    SELECT e.experiment_id, key, value FROM e, unnest($6::text[], $7::text[]) AS tag (key, value)
)
SELECT experiment_id FROM e
"""

# The next experiment must not draw the id.
ADVANCE_IDS = """
SELECT setval(sequence, $1) FROM pg_get_serial_sequence('metadata.experiment', 'experiment_id') AS sequence
WHERE coalesce(pg_sequence_last_value(sequence::regclass), 0) < $1
"""

AMEND = """
UPDATE metadata.experiment SET
    lifecycle_stage = coalesce($2, lifecycle_stage),
    creation_time_ms = coalesce($3, creation_time_ms),
    last_update_time_ms = coalesce($4, last_update_time_ms)
WHERE experiment_id = $1
RETURNING experiment_id
"""


async def insert_with_id(
    connection: Connection,
    experiment_id: int,
    name: str,
    artifact_location: str,
    artifact_root: str,
    tags: Mapping[str, str],
    creation_time_ms: int,
) -> bool:
    """Insert an experiment under an id; False when id or name is taken."""
    row = await connection.fetchrow(
        INSERT_WITH_ID,
        experiment_id,
        name,
        artifact_location,
        artifact_root,
        creation_time_ms,
        list(tags),
        list(tags.values()),
    )
    return row is not None


async def advance_ids(connection: Connection, experiment_id: int) -> None:
    """Let ids be drawn from behind this one."""
    await connection.execute(ADVANCE_IDS, experiment_id)


async def amend(
    connection: Connection,
    experiment_id: int,
    stage: LifecycleStage | None,
    creation_time_ms: int | None,
    last_update_time_ms: int | None,
) -> bool:
    """Set what is given; False when there is no such experiment."""
    changed = await connection.fetchval(AMEND, experiment_id, stage, creation_time_ms, last_update_time_ms)
    return changed is not None
