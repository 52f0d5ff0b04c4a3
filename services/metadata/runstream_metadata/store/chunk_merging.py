"""Statements of the merge of chunks. The caller owns the transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from runstream_metadata.chunks import MAX_CHUNK_POINTS, EncodedChunk
from runstream_metadata.store.metric_queries import ChunkInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

_LOCK_CLASS: Final = 0x6D65_7267
"""First key of the advisory locks; spells "merg"."""

MAX_LISTED: Final = 10_000
"""Chunks looked at in one transaction, so that a series that was not merged for long costs no more at once."""

# Groups are formed in the order of the index, so that the statement stops at its limit.
_CANDIDATES: Final = """
    SELECT series_id FROM metadata.metric_chunk
    WHERE fresh AND series_id > $1
    GROUP BY series_id
    HAVING count(*) FILTER (WHERE written_at < now() - make_interval(secs => $2)) >= $3
        OR min(written_at) < now() - make_interval(secs => $4)
    ORDER BY series_id LIMIT $5
"""

_LOCK: Final = "SELECT pg_try_advisory_xact_lock($1, ($2::bigint % 2147483647)::int)"

_MERGEABLE: Final = """
    SELECT fresh, chunk_id, point_count, min_step, max_step, min_time_ms, max_time_ms, order_flags
    FROM metadata.metric_chunk
    WHERE series_id = $1
      AND CASE WHEN fresh THEN written_at < now() - make_interval(secs => $2) ELSE point_count < $3 END
    ORDER BY min_step, chunk_id LIMIT $4
"""

_SETTLE: Final = """
    UPDATE metadata.metric_chunk SET fresh = false WHERE series_id = $1 AND chunk_id = ANY($2::bigint[])
"""

_DELETE: Final = "DELETE FROM metadata.metric_chunk WHERE series_id = $1 AND chunk_id = ANY($2::bigint[])"

_COLUMNS: Final = (
    "series_id",
    "chunk_id",
    "fresh",
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


class Mergeable(NamedTuple):
    """A chunk that may be merged."""

    info: ChunkInfo
    fresh: bool
    """Not looked at by a merge yet."""


async def find_candidates(
    connection: asyncpg.Connection,
    *,
    after_series_id: int,
    age_seconds: float,
    chunk_count: int,
    longest_seconds: float,
    limit: int,
) -> list[int]:
    """Series with enough fresh chunks of an age, or with one that has waited for long; by series id."""
    rows = await connection.fetch(
        _CANDIDATES, after_series_id, age_seconds, chunk_count, longest_seconds, limit
    )
    return [row[0] for row in rows]


async def try_lock(connection: asyncpg.Connection, series_id: int) -> bool:
    """Keep other replicas from merging the series until the transaction ends; False when one is at it."""
    locked: bool = await connection.fetchval(_LOCK, _LOCK_CLASS, series_id)
    return locked


async def list_mergeable(
    connection: asyncpg.Connection, series_id: int, age_seconds: float
) -> list[Mergeable]:
    """The first MAX_LISTED of the fresh chunks of an age and the small merged ones, by step."""
    rows = await connection.fetch(_MERGEABLE, series_id, age_seconds, MAX_CHUNK_POINTS // 2, MAX_LISTED)
    return [Mergeable(ChunkInfo.of_row(tuple(row)[1:]), row[0]) for row in rows]


async def settle(connection: asyncpg.Connection, series_id: int, chunk_ids: Sequence[int]) -> None:
    """Keep chunks as they are."""
    await connection.execute(_SETTLE, series_id, chunk_ids)


async def replace(
    connection: asyncpg.Connection, series_id: int, chunk_ids: Sequence[int], merged: Sequence[EncodedChunk]
) -> None:
    """Put merged chunks in the place of others.

    They take the newest ids of those they replace, so that a live view that has seen them all sees nothing new.

    Args:
        merged: no more than ``chunk_ids``.
    """
    await connection.execute(_DELETE, series_id, chunk_ids)
    newest = sorted(chunk_ids)[-len(merged) :]
    records = [
        (
            series_id,
            chunk_id,
            False,
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
        for chunk_id, chunk in zip(newest, merged, strict=True)
    ]
    await connection.copy_records_to_table(
        "metric_chunk", schema_name="metadata", columns=_COLUMNS, records=records
    )
