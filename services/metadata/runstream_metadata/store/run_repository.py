"""Changing runs. Each function is one statement, so it is whole by itself or part of the caller's transaction.

Statements carry the event that tells of the change, so that both are there or neither. Lists are sorted by
their keys: concurrent writers lock rows in one order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_metadata.entities import (
    PARENT_RUN_TAG,
    RUN_NAME_TAG,
    LifecycleStage,
    Run,
    RunState,
)
from runstream_metadata.store.run_rows import LEASE_END_MS, RUN_COLUMNS, STAGES, run_from_row

if TYPE_CHECKING:
    from asyncpg import Connection

    from runstream_metadata.store.outbox_rows import OutboxRow

# xmin is the transaction that wrote the row: the version that a change is made against.
SELECT_STATE = f"""
SELECT run.xmin AS version, {RUN_COLUMNS},
       ARRAY(SELECT key FROM metadata.run_tag AS t WHERE t.run_id = run.run_id ORDER BY key COLLATE "C") AS tag_keys,
       ARRAY(SELECT value FROM metadata.run_tag AS t WHERE t.run_id = run.run_id ORDER BY key COLLATE "C") AS tag_values
FROM metadata.run AS run WHERE run.run_id = $1
"""

UPDATE_RUN = f"""
WITH u AS (
    UPDATE metadata.run AS run
    SET name = $3::text, status = $4, status_reason = $5, end_time_ms = $6, lifecycle_stage = $7, deleted_time_ms = $8,
        lease_expires_at = CASE WHEN $9 THEN now() + lease_ms * interval '1 millisecond'
                                ELSE lease_expires_at END
    WHERE run_id = $1 AND xmin = $2
    RETURNING run_id, experiment_id, {LEASE_END_MS}
), t AS (
    INSERT INTO metadata.run_tag (run_id, key, value, experiment_id)
    SELECT run_id, '{RUN_NAME_TAG}', $3::text, experiment_id FROM u WHERE $10::boolean
    ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value
), o AS (
    INSERT INTO metadata.outbox (queue, payload, headers, next_attempt_at)
    SELECT $11::text, $12::bytea, $13::jsonb, clock_timestamp() FROM u
)
SELECT lease_expire_time_ms FROM u
"""

# A param never changes. Another value than the stored one would become NULL, which the column refuses, so that
# the whole statement fails; an equal one is left as it is. This also holds against a writer that commits meanwhile.
UPSERT_DATA = f"""
WITH r AS (
    SELECT run_id, experiment_id, lifecycle_stage FROM metadata.run WHERE run_id = $1
), p AS (
    INSERT INTO metadata.run_param AS param (run_id, key, value, experiment_id)
    SELECT run_id, key, value, experiment_id FROM r, unnest($2::text[], $3::text[]) AS new (key, value)
    WHERE lifecycle_stage = {LifecycleStage.ACTIVE:d}
    ON CONFLICT (run_id, key) DO UPDATE SET value = NULL WHERE param.value <> excluded.value
), t AS (
    INSERT INTO metadata.run_tag AS tag (run_id, key, value, experiment_id)
    SELECT run_id, key, value, experiment_id FROM r, unnest($4::text[], $5::text[]) AS new (key, value)
    WHERE lifecycle_stage = {LifecycleStage.ACTIVE:d}
    ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value WHERE tag.value <> excluded.value
)
SELECT lifecycle_stage FROM r
"""

DELETE_TAG = f"""
WITH r AS (
    SELECT run_id, lifecycle_stage FROM metadata.run WHERE run_id = $1
), d AS (
    DELETE FROM metadata.run_tag AS t USING r
    WHERE t.run_id = r.run_id AND t.key = $2 AND r.lifecycle_stage = {LifecycleStage.ACTIVE:d}
    RETURNING t.key
)
SELECT lifecycle_stage, EXISTS (SELECT FROM d) AS deleted FROM r
"""


async def select_state(connection: Connection, run_id: str) -> RunState | None:
    """The run with its tags, and the version that ``update_run`` wants; None when there is no such run."""
    row = await connection.fetchrow(SELECT_STATE, run_id)
    if row is None:
        return None
    tags = dict(zip(row["tag_keys"], row["tag_values"], strict=True))
    run = run_from_row(row, tags=tags, parent_run_id=tags.get(PARENT_RUN_TAG, ""))
    return RunState(version=row["version"], run=run)


async def update_run(
    connection: Connection,
    state: RunState,
    changed: Run,
    event: OutboxRow,
    *,
    deleted_time_ms: int | None,
    renew_lease: bool,
) -> tuple[bool, int | None]:
    """Write the changed run and its event if the row is still the version of ``state``.

    Returns:
        Whether it was written, and when the lease ends.
    """
    row = await connection.fetchrow(
        UPDATE_RUN,
        changed.run_id,
        state.version,
        changed.name,
        changed.status,
        changed.status_reason,
        changed.end_time_ms,
        changed.lifecycle_stage,
        deleted_time_ms,
        renew_lease,
        changed.name != state.run.name,
        event.queue,
        event.payload,
        event.headers,
    )
    return (False, None) if row is None else (True, row["lease_expire_time_ms"])


async def upsert_data(
    connection: Connection, run_id: str, params: dict[str, str], tags: dict[str, str]
) -> LifecycleStage | None:
    """Write params and tags of an active run, in the order given.

    Returns:
        The run's stage: nothing is written unless it is active. None when there is no such run.

    Raises:
        asyncpg.NotNullViolationError: a param has another value already; nothing is written.
    """
    stage = await connection.fetchval(
        UPSERT_DATA, run_id, list(params), list(params.values()), list(tags), list(tags.values())
    )
    return None if stage is None else STAGES[stage]


async def delete_tag(connection: Connection, run_id: str, key: str) -> tuple[LifecycleStage | None, bool]:
    """Delete a tag of an active run; the run's stage (None: no such run) and whether the tag was there."""
    row = await connection.fetchrow(DELETE_TAG, run_id, key)
    return (None, False) if row is None else (STAGES[row["lifecycle_stage"]], row["deleted"])
