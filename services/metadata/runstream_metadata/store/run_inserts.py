"""Inserting runs: many of them with params, tags and events in one statement, which is whole by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_metadata.entities import LifecycleStage, RunStatus
from runstream_metadata.store.run_rows import LEASE_END_MS, STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncpg import Connection

    from runstream_metadata.entities import NewRun
    from runstream_metadata.store.outbox_rows import OutboxRow

# The share lock makes a concurrent deletion of an experiment wait, so that it marks these runs too. Rows are
# locked in the order of their keys, so that concurrent writers do not wait for each other in a circle.
INSERT_RUNS = f"""
WITH new AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::uuid[], $8::text[],
        $9::bytea[], $10::text[]
    ) WITH ORDINALITY AS new (
        run_id, experiment_id, name, user_id, start_time_ms, lease_ms, parent_run_id, queue, payload, headers, position
    )
), e AS (
    SELECT experiment_id, artifact_location, lifecycle_stage FROM metadata.experiment
    WHERE experiment_id = ANY ($2::bigint[]) ORDER BY experiment_id FOR SHARE
), wanted AS (
    SELECT new.*, e.artifact_location, e.lifecycle_stage,
           parent_run_id IS NULL
           OR EXISTS (SELECT FROM metadata.run WHERE run_id = new.parent_run_id) AS parent_is_there
    FROM new LEFT JOIN e USING (experiment_id)
), r AS (
    INSERT INTO metadata.run AS run
        (run_id, experiment_id, name, user_id, status, start_time_ms, artifact_uri, lease_ms, lease_expires_at)
    SELECT run_id, experiment_id, name, user_id, {RunStatus.RUNNING:d}, start_time_ms,
           regexp_replace(artifact_location, '/?([?].*)?$', '/' || replace(run_id::text, '-', '') || '/artifacts\\1'),
           lease_ms, now() + lease_ms * interval '1 millisecond'
    FROM wanted WHERE lifecycle_stage = {LifecycleStage.ACTIVE:d} AND parent_is_there
    ORDER BY run_id
    ON CONFLICT (run_id) DO NOTHING
    RETURNING run_id, experiment_id, artifact_uri, {LEASE_END_MS}
), p AS (
    INSERT INTO metadata.run_param (run_id, key, value, experiment_id)
    SELECT run_id, key, value, r.experiment_id
    FROM unnest($11::uuid[], $12::text[], $13::text[]) AS given (run_id, key, value) JOIN r USING (run_id)
), t AS (
    INSERT INTO metadata.run_tag (run_id, key, value, experiment_id)
    SELECT run_id, key, value, r.experiment_id
    FROM unnest($14::uuid[], $15::text[], $16::text[]) AS given (run_id, key, value) JOIN r USING (run_id)
), o AS (
    INSERT INTO metadata.outbox (queue, payload, headers, next_attempt_at)
    SELECT queue, payload, headers::jsonb, clock_timestamp() FROM wanted JOIN r USING (run_id) ORDER BY position
)
SELECT wanted.lifecycle_stage, wanted.parent_is_there,
       r.run_id IS NOT NULL AS created, r.artifact_uri, r.lease_expire_time_ms
FROM wanted LEFT JOIN r USING (run_id) ORDER BY wanted.position
"""


@dataclass(frozen=True, slots=True)
class InsertOutcome:
    """What became of a new run; no stage means that there is no such experiment."""

    experiment_stage: LifecycleStage | None
    parent_is_there: bool
    created: bool
    artifact_uri: str
    lease_expire_time_ms: int | None


async def insert_runs(
    connection: Connection, runs: Sequence[NewRun], events: Sequence[OutboxRow]
) -> list[InsertOutcome]:
    """Insert runs with params, tags and events, but for those whose id is taken or that something is missing for.

    Args:
        runs: with ids that differ.
        events: one for each run, in their order.
    """
    rows = await connection.fetch(
        INSERT_RUNS,
        [new.run_id for new in runs],
        [new.experiment_id for new in runs],
        [new.name for new in runs],
        [new.user_id for new in runs],
        [new.start_time_ms for new in runs],
        [new.lease_ms for new in runs],
        [new.parent_run_id or None for new in runs],
        [event.queue for event in events],
        [event.payload for event in events],
        [event.headers for event in events],
        *_columns((new.run_id, key, value) for new in runs for key, value in new.params.items()),
        *_columns((new.run_id, key, value) for new in runs for key, value in new.tags.items()),
    )
    return [_outcome(row) for row in rows]


def _columns(rows: Iterable[tuple[str, str, str]]) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    run_ids, keys, values = zip(*found, strict=True) if (found := list(rows)) else ((), (), ())
    return run_ids, keys, values


def _outcome(row: Any) -> InsertOutcome:
    stage = row["lifecycle_stage"]
    return InsertOutcome(
        None if stage is None else STAGES[stage],
        parent_is_there=row["parent_is_there"],
        created=row["created"],
        artifact_uri=row["artifact_uri"] or "",
        lease_expire_time_ms=row["lease_expire_time_ms"],
    )
