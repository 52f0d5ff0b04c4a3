"""Queries of metric histories, on the driver's own connection.

Whoever reads a history in several statements opens ``snapshot``: chunks are merged at any time, and an answer must see
either the small ones or the large one.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from runstream_metadata.chunks import Order, decode_ints, decode_values
from runstream_metadata.metrics import Point, Points

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import asyncpg
    from runstream_common.database import Database

_FIND_SERIES: Final = """
    SELECT run_id, key, experiment_id, series_id, step, timestamp_ms, value FROM metadata.latest_metric
    WHERE run_id = ANY($1::uuid[]) AND ($2::text[] IS NULL OR key = ANY($2))
    ORDER BY run_id, key
"""

_LIST_CHUNKS: Final = """
    SELECT chunk_id, point_count, min_step, max_step, min_time_ms, max_time_ms, order_flags
    FROM metadata.metric_chunk
    WHERE series_id = $1
      AND ($2::bigint IS NULL OR max_step >= $2) AND ($3::bigint IS NULL OR min_step <= $3)
      AND ($4::bigint IS NULL OR max_time_ms >= $4)
"""

_READ_CHUNKS: Final = """
    SELECT chunk_id, point_count, steps, timestamps_ms, point_values FROM metadata.metric_chunk
    WHERE series_id = $1 AND chunk_id = ANY($2::bigint[])
"""

# Two chunks cannot share a point when their steps or their times do not meet. If that holds for every neighbour in the
# order of the least, and no chunk repeats a point within itself, the counts add up to the number of distinct points.
_SUMMARISE: Final = """
    SELECT series_id, sum(point_count)::bigint, min(min_step), max(max_step),
           bool_and(order_flags & 4 <> 0)
           AND (bool_and(min_step > before_step OR before_step IS NULL)
                OR bool_and(min_time_ms > before_time OR before_time IS NULL))
    FROM (
        SELECT series_id, point_count, min_step, max_step, min_time_ms, order_flags,
               max(max_step) OVER (PARTITION BY series_id ORDER BY min_step, chunk_id
                                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_step,
               max(max_time_ms) OVER (PARTITION BY series_id ORDER BY min_time_ms, chunk_id
                                      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_time
        FROM metadata.metric_chunk WHERE series_id = ANY($1::bigint[])
    ) AS chunk
    GROUP BY series_id
"""

_NEW_CHUNKS: Final = """
    SELECT latest.run_id, latest.key, chunk.series_id, chunk.chunk_id, chunk.point_count,
           chunk.steps, chunk.timestamps_ms, chunk.point_values
    FROM metadata.latest_metric AS latest
    LEFT JOIN unnest($3::bigint[], $4::bigint[]) AS seen (series_id, chunk_id) USING (series_id)
    JOIN metadata.metric_chunk AS chunk
      ON chunk.series_id = latest.series_id AND chunk.chunk_id > coalesce(seen.chunk_id, 0)
    WHERE latest.run_id = ANY($1::uuid[]) AND ($2::text[] IS NULL OR latest.key = ANY($2))
    ORDER BY latest.run_id, latest.key, chunk.chunk_id
    LIMIT $5
"""

_SEEN_NOW: Final = """
    SELECT series_id, max(chunk_id), max(max_step), max(max_time_ms) FROM metadata.metric_chunk
    WHERE series_id = ANY($1::bigint[]) GROUP BY series_id
"""

_ALL_ENDED: Final = """
    SELECT NOT EXISTS (
        SELECT 1 FROM metadata.run WHERE run_id = ANY($1::uuid[]) AND status IN (1, 2) AND lifecycle_stage = 1
    )
"""


class SeriesRow(NamedTuple):
    """One series and its latest point."""

    run_id: str
    key: str
    experiment_id: int
    series_id: int
    latest: Point


class ChunkInfo(NamedTuple):
    """What is known of a chunk without reading its points."""

    chunk_id: int
    point_count: int
    min_step: int
    max_step: int
    min_time_ms: int
    max_time_ms: int
    order: Order

    @classmethod
    def of_row(cls, row: Sequence[int]) -> ChunkInfo:
        """From the columns in this order."""
        return cls._make((*row[:-1], Order(row[-1])))


class SeriesSummary(NamedTuple):
    """Counts over the chunks of a series."""

    series_id: int
    point_count: int
    min_step: int
    max_step: int
    exact: bool
    """Whether no repeat can be among the points counted."""


class NewChunk(NamedTuple):
    """Points that a live view has not seen."""

    run_id: str
    key: str
    series_id: int
    chunk_id: int
    points: Points


class Seen(NamedTuple):
    """How far a live view has seen a series."""

    chunk_id: int
    max_step: int
    max_time_ms: int

    @classmethod
    def after(cls, before: Seen | None, chunk_id: int, points: Points) -> Seen:
        """With the points of the chunks up to ``chunk_id`` seen too."""
        max_step, max_time_ms = (before.max_step, before.max_time_ms) if before else (-(2**63), 0)
        if len(points):
            max_step = max(max_step, int(points.steps.max()))
            max_time_ms = max(max_time_ms, int(points.timestamps_ms.max()))
        return cls(chunk_id, max_step, max_time_ms)

    def may_hold(self, points: Points) -> bool:
        """Whether some of the points may be repeats of what was seen."""
        if not len(points):
            return False
        return (
            int(points.steps.min()) <= self.max_step and int(points.timestamps_ms.min()) <= self.max_time_ms
        )


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose statements all see the same state of the database."""
    async with (
        database.driver() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield connection


async def find_series(
    connection: asyncpg.Connection, run_ids: Sequence[str], keys: Sequence[str] | None
) -> list[SeriesRow]:
    """Series of the runs, by run and key.

    Args:
        keys: only these; None is all.
    """
    rows = await connection.fetch(_FIND_SERIES, run_ids, keys)
    return [
        SeriesRow(run_id.hex, key, experiment_id, series_id, Point(step, timestamp_ms, value))
        for run_id, key, experiment_id, series_id, step, timestamp_ms, value in rows
    ]


async def list_chunks(
    connection: asyncpg.Connection,
    series_id: int,
    *,
    start_step: int | None = None,
    end_step: int | None = None,
    start_time_ms: int | None = None,
) -> list[ChunkInfo]:
    """Chunks of a series that may hold points within the bounds (inclusive), in no order."""
    rows = await connection.fetch(_LIST_CHUNKS, series_id, start_step, end_step, start_time_ms)
    return [ChunkInfo.of_row(tuple(row)) for row in rows]


async def read_chunks(connection: asyncpg.Connection, series_id: int, chunks: Sequence[ChunkInfo]) -> Points:
    """The points of chunks, one after the other in the order given."""
    rows = await connection.fetch(_READ_CHUNKS, series_id, [chunk.chunk_id for chunk in chunks])
    by_id = {row[0]: row for row in rows}
    points = allocate(sum(chunk.point_count for chunk in chunks))
    start = 0
    for chunk in chunks:
        _, count, steps, timestamps_ms, values = by_id[chunk.chunk_id]
        _decode(points, slice(start, start + count), steps, timestamps_ms, values)
        start += count
    return points


async def summarise(connection: asyncpg.Connection, series_ids: Sequence[int]) -> dict[int, SeriesSummary]:
    """Counts of the series, without reading points."""
    rows = await connection.fetch(_SUMMARISE, series_ids)
    return {row[0]: SeriesSummary(*row) for row in rows}


async def new_chunks(
    connection: asyncpg.Connection,
    run_ids: Sequence[str],
    keys: Sequence[str] | None,
    seen: Mapping[int, Seen],
    limit: int,
) -> list[NewChunk]:
    """Chunks written after those seen, by run, key and time of writing.

    Args:
        seen: what was seen, by series; a series that is not in it is new.
        limit: most chunks returned.
    """
    newest = [one.chunk_id for one in seen.values()]
    rows = await connection.fetch(_NEW_CHUNKS, run_ids, keys, list(seen), newest, limit)
    found = []
    for run_id, key, series_id, chunk_id, count, steps, timestamps_ms, values in rows:
        points = allocate(count)
        _decode(points, slice(0, count), steps, timestamps_ms, values)
        found.append(NewChunk(run_id.hex, key, series_id, chunk_id, points))
    return found


async def seen_now(connection: asyncpg.Connection, series_ids: Sequence[int]) -> dict[int, Seen]:
    """Everything that is stored of each series, as seen."""
    return {row[0]: Seen(*row[1:]) for row in await connection.fetch(_SEEN_NOW, series_ids)}


async def all_ended(connection: asyncpg.Connection, run_ids: Sequence[str]) -> bool:
    """Whether none of the runs is scheduled or running; deleted and unknown ones have ended."""
    ended: bool = await connection.fetchval(_ALL_ENDED, run_ids)
    return ended


def allocate(count: int) -> Points:
    """Room for points."""
    return Points(np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.float64))


def _decode(into: Points, where: slice, steps: bytes, timestamps_ms: bytes, values: bytes) -> None:
    decode_ints(steps, into.steps[where])
    decode_ints(timestamps_ms, into.timestamps_ms[where])
    decode_values(values, into.values[where])
