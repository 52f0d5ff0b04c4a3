"""Queries of watermarks, and the forgetting of old batch ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runstream_metadata.store.metric_writer import Mark

if TYPE_CHECKING:
    import asyncpg

_MARKS: Final = """
    SELECT topic, partition, applied_offset, applied_time_ms FROM metadata.watermark ORDER BY topic, partition
"""

_WRITTEN_UP_TO: Final = """
    SELECT coalesce(max(written_up_to_ms), 0) FROM metadata.experiment_watermark WHERE experiment_id = $1
"""

_RECENT_EXPERIMENTS: Final = """
    SELECT experiment_id, written_up_to_ms FROM metadata.experiment_watermark ORDER BY written_up_to_ms DESC LIMIT $1
"""

# Locked rows are another replica's; the next round finds what is left.
_FORGET_BATCHES: Final = """
    WITH old AS (
        SELECT batch_id FROM metadata.applied_batch
        WHERE applied_at < now() - make_interval(secs => $1) LIMIT $2
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM metadata.applied_batch USING old WHERE applied_batch.batch_id = old.batch_id
"""


async def marks(connection: asyncpg.Connection) -> list[Mark]:
    """How far each partition has been handled."""
    return [Mark(*row) for row in await connection.fetch(_MARKS)]


async def written_up_to_ms(connection: asyncpg.Connection, experiment_id: int) -> int:
    """Accept time of the experiment's newest points written; 0 when there are none."""
    time_ms: int = await connection.fetchval(_WRITTEN_UP_TO, experiment_id)
    return time_ms


async def recent_experiments(connection: asyncpg.Connection, limit: int) -> list[tuple[int, int]]:
    """Experiment id and the accept time it is written up to (ms), of those written last."""
    return [tuple(row) for row in await connection.fetch(_RECENT_EXPERIMENTS, limit)]


async def forget_batches(connection: asyncpg.Connection, keep_seconds: float, limit: int) -> int:
    """Delete up to ``limit`` batch ids that were applied longer ago; returns how many."""
    status: str = await connection.execute(_FORGET_BATCHES, keep_seconds, limit)
    return int(status.rpartition(" ")[2])
