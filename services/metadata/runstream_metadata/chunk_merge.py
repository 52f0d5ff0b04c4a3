"""Merging of small chunks: fewer rows to read, in order, exact repeats removed.

Writers only append and readers read from one snapshot, so a merge disturbs neither. It works on chunks that live views
have long seen, on one series and a bounded number of points at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runstream_metadata import instruments, metrics
from runstream_metadata.chunks import MAX_CHUNK_POINTS, Order, encode_chunk
from runstream_metadata.metrics import Ordering
from runstream_metadata.store import chunk_merging, metric_queries

if TYPE_CHECKING:
    import asyncpg
    from runstream_common.database import Database

    from runstream_metadata.store.chunk_merging import Mergeable

WINDOW_POINTS: Final = 8 * MAX_CHUNK_POINTS
"""Points merged in one transaction; 24 bytes each in memory."""

_SERIES_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class MergeRule:
    """When a series is worth a merge.

    Attributes:
        age_seconds: chunks younger than this are left alone, since live views may still have to send them.
        chunk_count: so many fresh chunks of that age are worth it.
        longest_seconds: a chunk that has waited so long is looked at, however few there are.
    """

    age_seconds: float = 60.0
    chunk_count: int = 4
    longest_seconds: float = 600.0


class ChunkMerge:
    """Merges chunks; any number of replicas may."""

    def __init__(self, database: Database, rule: MergeRule) -> None:
        self._database = database
        self._rule = rule

    async def merge_all(self) -> int:
        """Merge whatever the rule says is worth it; returns how many chunks were replaced."""
        replaced, after = 0, 0
        while True:
            async with self._database.driver() as connection:
                series_ids = await chunk_merging.find_candidates(
                    connection,
                    after_series_id=after,
                    age_seconds=self._rule.age_seconds,
                    chunk_count=self._rule.chunk_count,
                    longest_seconds=self._rule.longest_seconds,
                    limit=_SERIES_AT_ONCE,
                )
            for series_id in series_ids:
                replaced += await self.merge_series(series_id)
            if len(series_ids) < _SERIES_AT_ONCE:
                return replaced
            after = series_ids[-1]

    async def merge_series(self, series_id: int) -> int:
        """Merge one series, window by window; returns how many chunks were replaced."""
        replaced = 0
        while True:
            async with (
                self._database.driver() as connection,
                connection.transaction(),
            ):
                # Each statement sees what is committed, so that the list comes from after the lock.
                if not await chunk_merging.try_lock(connection, series_id):
                    return replaced
                chunks = await chunk_merging.list_mergeable(connection, series_id, self._rule.age_seconds)
                window = _window(chunks)
                if window:
                    replaced += await _merge(connection, series_id, window)
            rest = chunks[len(window) :]
            if not window or (
                len(chunks) < chunk_merging.MAX_LISTED and not any(chunk.fresh for chunk in rest)
            ):
                return replaced


def _window(chunks: list[Mergeable]) -> list[Mergeable]:
    """The first chunks by step that fit, among them a fresh one; none when there is nothing fresh."""
    if not any(chunk.fresh for chunk in chunks):
        return []
    window: list[Mergeable] = []
    size, has_fresh = 0, False
    for chunk in chunks:
        size += chunk.info.point_count
        if size > WINDOW_POINTS and has_fresh:
            break
        window.append(chunk)
        has_fresh = has_fresh or chunk.fresh
    return window


async def _merge(connection: asyncpg.Connection, series_id: int, window: list[Mergeable]) -> int:
    fine = [chunk.info for chunk in window if _is_fine(chunk)]
    rest = [chunk.info for chunk in window if not _is_fine(chunk)]
    if len(rest) == 1 and Order.STEPS_RISE in rest[0].order:
        fine, rest = [*fine, *rest], []
    if fine:
        await chunk_merging.settle(connection, series_id, [info.chunk_id for info in fine])
    if not rest:
        return 0
    stored = await metric_queries.read_chunks(connection, series_id, rest)
    points = metrics.tidy(stored, Ordering.STEP)
    merged = [
        encode_chunk(points.take(slice(start, start + MAX_CHUNK_POINTS)), unique=True)
        for start in range(0, len(points), MAX_CHUNK_POINTS)
    ]
    await chunk_merging.replace(connection, series_id, [info.chunk_id for info in rest], merged)
    instruments.MERGED_CHUNKS.inc(len(rest))
    instruments.REMOVED_REPEATS.inc(len(stored) - len(points))
    return len(rest)


def _is_fine(chunk: Mergeable) -> bool:
    """Whether a fresh chunk is large and in order as it is."""
    return chunk.info.point_count >= MAX_CHUNK_POINTS // 2 and Order.STEPS_RISE in chunk.info.order
