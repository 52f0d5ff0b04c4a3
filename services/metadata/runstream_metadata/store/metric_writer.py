"""Statements of the metric write path, on the driver's own connection. The caller owns the transaction.

Rows are always given in one order (by run, then key; by experiment; by batch id), so that two writers lock in one order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    import asyncpg

    from runstream_metadata.chunks import EncodedChunk
    from runstream_metadata.metrics import Point

_ACTIVE: Final = 1
"""LIFECYCLE_STAGE_ACTIVE."""

_FIND_RUNS: Final = """
    SELECT run_id, experiment_id, lifecycle_stage FROM metadata.run WHERE run_id = ANY($1::uuid[])
"""

_INSERT_BATCHES: Final = """
    INSERT INTO metadata.applied_batch (batch_id) SELECT unnest($1::uuid[])
    ON CONFLICT DO NOTHING RETURNING batch_id
"""

# NaN counts as 0 where points tie, and the one that was there first stays: MLflow's rule.
_UPSERT_LATEST: Final = """
    INSERT INTO metadata.latest_metric AS latest (run_id, key, experiment_id, value, step, timestamp_ms)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::float8[], $5::bigint[], $6::bigint[])
    ON CONFLICT (run_id, key) DO UPDATE
    SET value = excluded.value, step = excluded.step, timestamp_ms = excluded.timestamp_ms
    WHERE (excluded.step, excluded.timestamp_ms, CASE WHEN excluded.value = 'NaN' THEN 0 ELSE excluded.value END)
        > (latest.step, latest.timestamp_ms, CASE WHEN latest.value = 'NaN' THEN 0 ELSE latest.value END)
    RETURNING run_id, key, series_id
"""

_FIND_SERIES: Final = """
    SELECT run_id, key, series_id
    FROM metadata.latest_metric JOIN unnest($1::uuid[], $2::text[]) AS wanted (run_id, key) USING (run_id, key)
"""

# A lower offset with a newer time is a topic that was made anew; otherwise marks never go back.
_ADVANCE: Final = """
    WITH moved AS (
        INSERT INTO metadata.watermark AS mark (topic, partition, applied_offset, applied_time_ms)
        SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[])
        ON CONFLICT (topic, partition) DO UPDATE
        SET applied_offset = CASE
                WHEN excluded.applied_time_ms > mark.applied_time_ms THEN excluded.applied_offset
                ELSE greatest(excluded.applied_offset, mark.applied_offset)
            END,
            applied_time_ms = greatest(excluded.applied_time_ms, mark.applied_time_ms)
    ), written AS (
        INSERT INTO metadata.experiment_watermark AS mark (experiment_id, written_up_to_ms)
        SELECT * FROM unnest($5::bigint[], $6::bigint[])
        ON CONFLICT (experiment_id) DO UPDATE
        SET written_up_to_ms = greatest(excluded.written_up_to_ms, mark.written_up_to_ms)
    )
    SELECT pg_notify($7, $8)
"""

_CHUNK_COLUMNS: Final = (
    "series_id",
    "min_step",
    "max_step",
    "min_time_ms",
    "max_time_ms",
    "point_count",
    "order_flags",
    "steps",
    "timestamps_ms",
    "point_values",
)


class LatestRow(NamedTuple):
    """A candidate for latest_metric."""

    run_id: str
    key: str
    experiment_id: int
    point: Point


class Mark(NamedTuple):
    """How far one partition has been handled."""

    topic: str
    partition: int
    applied_offset: int
    applied_time_ms: int


async def find_runs(connection: asyncpg.Connection, run_ids: Sequence[str]) -> list[tuple[str, int, bool]]:
    """Run id, experiment and whether it is active, of those that exist."""
    rows = await connection.fetch(_FIND_RUNS, run_ids)
    return [(run_id.hex, experiment_id, stage == _ACTIVE) for run_id, experiment_id, stage in rows]


async def insert_batches(connection: asyncpg.Connection, batch_ids: Iterable[UUID]) -> set[UUID]:
    """Note batches as applied; returns those that were not yet.

    Waits for another transaction that is applying one of them.
    """
    rows = await connection.fetch(_INSERT_BATCHES, sorted(batch_ids))
    return {row[0] for row in rows}


async def upsert_latest(
    connection: asyncpg.Connection, rows: Sequence[LatestRow]
) -> dict[tuple[str, str], int]:
    """Make the points the latest where they are, and hold the rows until the transaction ends.

    Args:
        rows: at most one a (run, key), sorted by both.

    Returns:
        The series id of each (run, key).
    """
    run_ids, keys, experiment_ids, points = zip(*rows, strict=True)
    steps, timestamps_ms, values = zip(*points, strict=True)
    changed = await connection.fetch(
        _UPSERT_LATEST, run_ids, keys, experiment_ids, values, steps, timestamps_ms
    )
    series = {(run_id.hex, key): series_id for run_id, key, series_id in changed}
    if len(series) < len(rows):
        # A row that stays as it is comes back from no upsert, though it is locked all the same.
        rest = [(row.run_id, row.key) for row in rows if (row.run_id, row.key) not in series]
        found = await connection.fetch(_FIND_SERIES, *zip(*rest, strict=True))
        series.update({(run_id.hex, key): series_id for run_id, key, series_id in found})
    return series


async def copy_chunks(connection: asyncpg.Connection, chunks: Iterable[tuple[int, EncodedChunk]]) -> None:
    """Append chunks, each with its series id."""
    records = [
        (
            series_id,
            chunk.min_step,
            chunk.max_step,
            chunk.min_time_ms,
            chunk.max_time_ms,
            chunk.point_count,
            int(chunk.order),
            chunk.steps,
            chunk.timestamps_ms,
            chunk.values,
        )
        for series_id, chunk in chunks
    ]
    await connection.copy_records_to_table(
        "metric_chunk", schema_name="metadata", columns=_CHUNK_COLUMNS, records=records
    )


async def advance(
    connection: asyncpg.Connection,
    marks: Sequence[Mark],
    written_up_to_ms: dict[int, int],
    channel: str,
    payload: str,
) -> None:
    """Move the watermarks of partitions and experiments forward, and tell listeners at commit."""
    topics, partitions, offsets, times = zip(*sorted(marks), strict=True) if marks else ((), (), (), ())
    experiments, up_to = zip(*sorted(written_up_to_ms.items()), strict=True) if written_up_to_ms else ((), ())
    await connection.execute(
        _ADVANCE, topics, partitions, offsets, times, experiments, up_to, channel, payload
    )
