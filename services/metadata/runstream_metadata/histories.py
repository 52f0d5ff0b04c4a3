"""Reading of metric histories: in order, each point once, no more in memory than an answer needs.

Chunks that cannot overlap are read one after the other. Only where chunks do overlap, or a chunk is not known to be in
order, points are sorted and compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from runstream_metadata import metrics
from runstream_metadata.chunks import Order
from runstream_metadata.metrics import Ordering, Point, Points
from runstream_metadata.store import metric_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    import asyncpg
    from runstream_common.database import Database

    from runstream_metadata.store.metric_queries import ChunkInfo, SeriesRow

PART_POINTS: Final = 131_072
"""Most points of one part of a stream; with 24 bytes a point, 3 MiB of a message's 16."""

_SLAB_POINTS: Final = 2 * PART_POINTS
"""Points read from the database at once: enough that round trips do not show, few enough for many readers."""


@dataclass(frozen=True, slots=True)
class StepRange:
    """Steps that are read, inclusive; None is no bound."""

    start: int | None = None
    end: int | None = None

    def covers(self, chunk: ChunkInfo) -> bool:
        """Whether all points of the chunk are within."""
        return (self.start is None or chunk.min_step >= self.start) and (
            self.end is None or chunk.max_step <= self.end
        )

    def cut(self, points: Points) -> Points:
        """The points within."""
        keep = np.ones(len(points), np.bool_)
        if self.start is not None:
            keep &= points.steps >= self.start
        if self.end is not None:
            keep &= points.steps <= self.end
        return points if keep.all() else points.take(keep)


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Points of a history and whether more follow."""

    points: Points
    more: bool


@dataclass(frozen=True, slots=True)
class HistorySummary:
    """A series with its counts; repeats counted once."""

    series: SeriesRow
    point_count: int
    min_step: int
    max_step: int


async def read_page(
    database: Database, series_id: int, steps: StepRange, after: Point | None, size: int
) -> HistoryPage:
    """Up to ``size`` points ordered by time, those behind ``after``."""
    async with metric_queries.snapshot(database) as connection:
        points = await read(connection, series_id, Ordering.TIME, steps, after=after, at_least=size + 1)
    return HistoryPage(points.take(slice(0, size)), len(points) > size)


async def stream(database: Database, series_id: int, steps: StepRange) -> AsyncIterator[Points]:
    """A whole history ordered by time, in parts of at most PART_POINTS.

    Between parts no connection is held, however slow the reader; each part continues behind the last point.
    """
    after: Point | None = None
    more = True
    while more:
        page = await read_page(database, series_id, steps, after, _SLAB_POINTS)
        for start in range(0, len(page.points), PART_POINTS):
            yield page.points.take(slice(start, start + PART_POINTS))
        more = page.more
        if more:
            after = page.points.at(-1)


async def read_last(connection: asyncpg.Connection, series_id: int, count: int) -> Points:
    """The last points of a series, ordered by time."""
    chunks = await metric_queries.list_chunks(connection, series_id)
    parts: list[Points] = []
    found = 0
    for group in reversed(_groups(chunks, Ordering.TIME)):
        parts.append(await _read_batch(connection, series_id, [group], Ordering.TIME))
        found += len(parts[-1])
        if found >= count:
            break
    return metrics.join(parts[::-1]).take(slice(-count, None))


async def summarise(connection: asyncpg.Connection, series: Sequence[SeriesRow]) -> list[HistorySummary]:
    """Counts of each series. Points are read only where repeats may be among them."""
    counts = await metric_queries.summarise(connection, [row.series_id for row in series])
    found = []
    for row in series:
        count = counts.get(row.series_id)
        if count is None:
            continue
        point_count = count.point_count
        if not count.exact:
            point_count = await count_points(connection, row.series_id)
        found.append(HistorySummary(row, point_count, count.min_step, count.max_step))
    return found


async def count_points(connection: asyncpg.Connection, series_id: int) -> int:
    """Points of a series, repeats counted once."""
    chunks = await metric_queries.list_chunks(connection, series_id)
    total = 0
    for batch in _batches(_groups(chunks, Ordering.STEP), _SLAB_POINTS):
        if all(len(group) == 1 and Order.UNIQUE in group[0].order for group in batch):
            total += sum(group[0].point_count for group in batch)
        else:
            total += len(await _read_batch(connection, series_id, batch, Ordering.STEP))
    return total


async def read(
    connection: asyncpg.Connection,
    series_id: int,
    ordering: Ordering,
    steps: StepRange,
    *,
    after: Point | None = None,
    at_least: int | None = None,
) -> Points:
    """Points of a series in order, each once.

    Args:
        connection: of a ``metric_queries.snapshot``.
        after: leave out this point and those before it; only with Ordering.TIME.
        at_least: stop when there are so many; None reads all.
    """
    parts: list[Points] = []
    found = 0
    async for points in read_slabs(connection, series_id, ordering, steps, after=after, slab_points=at_least):
        parts.append(points)
        found += len(points)
        if at_least is not None and found >= at_least:
            break
    return metrics.join(parts)


async def read_slabs(
    connection: asyncpg.Connection,
    series_id: int,
    ordering: Ordering,
    steps: StepRange,
    *,
    after: Point | None = None,
    slab_points: int | None = _SLAB_POINTS,
) -> AsyncIterator[Points]:
    """The same piece by piece, for more than should be in memory at once.

    Args:
        slab_points: points of a piece, roughly; chunks that overlap are one piece whatever their size. None is all at once.
    """
    chunks = await metric_queries.list_chunks(
        connection,
        series_id,
        start_step=steps.start,
        end_step=steps.end,
        start_time_ms=None if after is None else after.timestamp_ms,
    )
    for batch in _batches(_groups(chunks, ordering), slab_points):
        points = await _read_batch(connection, series_id, batch, ordering)
        if not all(steps.covers(chunk) for group in batch for chunk in group):
            points = steps.cut(points)
        yield points if after is None else _behind(points, after)


async def stored_point_count(connection: asyncpg.Connection, series_id: int, steps: StepRange) -> int:
    """At most how many points a range holds, without reading them."""
    chunks = await metric_queries.list_chunks(
        connection, series_id, start_step=steps.start, end_step=steps.end
    )
    return sum(chunk.point_count for chunk in chunks)


async def _read_batch(
    connection: asyncpg.Connection, series_id: int, groups: list[list[ChunkInfo]], ordering: Ordering
) -> Points:
    points = await metric_queries.read_chunks(connection, series_id, [c for group in groups for c in group])
    if all(len(group) == 1 and _in_order(group[0], ordering) for group in groups):
        return points
    return metrics.tidy(points, ordering)


def _in_order(chunk: ChunkInfo, ordering: Ordering) -> bool:
    """Whether the chunk's points are known to be in order and distinct."""
    needed = Order.STEPS_RISE if ordering is Ordering.STEP else Order.STEPS_RISE | Order.TIMES_RISE
    return needed in chunk.order


def _groups(chunks: Iterable[ChunkInfo], ordering: Ordering) -> list[list[ChunkInfo]]:
    """Chunks in order; those that may interleave share a group, and every group lies before the next one."""
    groups: list[list[ChunkInfo]] = []
    reached: tuple[int, int] | None = None
    for chunk in sorted(chunks, key=lambda one: (*_ends(one, ordering)[0], one.chunk_id)):
        first, last = _ends(chunk, ordering)
        if reached is None or first > reached:
            groups.append([chunk])
            reached = last
        else:
            groups[-1].append(chunk)
            reached = max(reached, last)
    return groups


def _ends(chunk: ChunkInfo, ordering: Ordering) -> tuple[tuple[int, int], tuple[int, int]]:
    """Bounds of the chunk's points in the ordering; they need not be points of it."""
    if ordering is Ordering.TIME:
        return (chunk.min_time_ms, chunk.min_step), (chunk.max_time_ms, chunk.max_step)
    return (chunk.min_step, chunk.min_time_ms), (chunk.max_step, chunk.max_time_ms)


def _batches(groups: Iterable[list[ChunkInfo]], at_least: int | None) -> Iterator[list[list[ChunkInfo]]]:
    """Consecutive groups that are worth one statement."""
    batch: list[list[ChunkInfo]] = []
    size = 0
    for group in groups:
        batch.append(group)
        size += sum(chunk.point_count for chunk in group)
        if at_least is not None and size >= at_least:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _behind(points: Points, after: Point) -> Points:
    """The points behind one, of points ordered by time."""
    times, steps = points.timestamps_ms, points.steps
    low, high = (
        np.searchsorted(times, after.timestamp_ms, "left"),
        np.searchsorted(times, after.timestamp_ms, "right"),
    )
    same_step = steps[low:high]
    start = low + np.searchsorted(same_step, after.step, "left")
    stop = low + np.searchsorted(same_step, after.step, "right")
    while start < stop and metrics.value_rank(float(points.values[start])) <= metrics.value_rank(after.value):
        start += 1
    return points.take(slice(start, None))
