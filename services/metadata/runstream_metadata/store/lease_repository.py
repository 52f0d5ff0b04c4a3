"""Leases of runs: renewing, reviving, and finding those that ran out. The time is the database's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_metadata.entities import LOST_REASON, LifecycleStage, Run, RunStatus
from runstream_metadata.store.run_rows import RUN_COLUMNS, run_from_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection

# Rows are locked in the order of their ids first, so that overlapping heartbeats and sweeps never deadlock.
RENEW = f"""
WITH beating AS (
    SELECT run_id FROM metadata.run
    WHERE run_id = ANY($1::uuid[]) AND lease_ms IS NOT NULL
      AND lifecycle_stage = {LifecycleStage.ACTIVE:d} AND status = {RunStatus.RUNNING:d}
    ORDER BY run_id FOR NO KEY UPDATE
)
UPDATE metadata.run AS run SET lease_expires_at = now() + lease_ms * interval '1 millisecond'
FROM beating WHERE run.run_id = beating.run_id
RETURNING run.run_id
"""

REVIVE = f"""
WITH lost AS (
    SELECT run_id FROM metadata.run
    WHERE run_id = ANY($1::uuid[]) AND lease_ms IS NOT NULL
      AND lifecycle_stage = {LifecycleStage.ACTIVE:d}
      AND status = {RunStatus.FAILED:d} AND status_reason = '{LOST_REASON}'
    ORDER BY run_id FOR NO KEY UPDATE
)
UPDATE metadata.run AS run
SET status = {RunStatus.RUNNING:d}, status_reason = '', end_time_ms = NULL,
    lease_expires_at = now() + lease_ms * interval '1 millisecond'
FROM lost WHERE run.run_id = lost.run_id
RETURNING {RUN_COLUMNS}
"""

# Another replica's sweep, or a heartbeat, that holds a row is let through: the row is skipped this time. A row that
# a heartbeat changed meanwhile is checked again by the lock, so a renewed lease never counts as expired.
EXPIRE = f"""
WITH expired AS (
    SELECT run_id FROM metadata.run
    WHERE status = {RunStatus.RUNNING:d} AND lease_expires_at < now()
    ORDER BY lease_expires_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE metadata.run AS run
SET status = {RunStatus.FAILED:d}, status_reason = '{LOST_REASON}',
    end_time_ms = (extract(epoch FROM run.lease_expires_at) * 1000)::bigint
FROM expired WHERE run.run_id = expired.run_id
RETURNING {RUN_COLUMNS}
"""


async def renew(connection: Connection, run_ids: Sequence[str]) -> set[str]:
    """Renew the leases of running, active runs that have one; returns their ids."""
    return {row["run_id"].hex for row in await connection.fetch(RENEW, run_ids)}


async def revive(connection: Connection, run_ids: Sequence[str]) -> list[Run]:
    """Set lost runs running again, with a whole lease; returns them as they are now."""
    return [run_from_row(row) for row in await connection.fetch(REVIVE, run_ids)]


async def expire(connection: Connection, limit: int) -> list[Run]:
    """Mark runs whose lease ran out as lost, those first that ran out first; returns them as they are now.

    A run ended at the latest when its lease did, so that is its end time, however late the sweep comes.
    """
    return [run_from_row(row) for row in await connection.fetch(EXPIRE, limit)]
