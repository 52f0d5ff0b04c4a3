"""Following the points of runs as they become queryable."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

from runstream_metadata import histories, metrics
from runstream_metadata.metrics import Ordering, Points
from runstream_metadata.store import metric_queries
from runstream_metadata.store.metric_queries import Seen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import asyncpg
    from runstream_common.database import Database

    from runstream_metadata.live import LiveHub

LOOK_SECONDS: Final = 5.0
"""A watcher looks at least this often, in case that it was not woken."""

LEAST_PAUSE_SECONDS: Final = 0.05
"""Points that come close together are sent together: a hot run is read no more often than this."""

QUIET_SECONDS: Final = 2.0
"""How long after the end of the last run its late points are waited for."""

_CHUNKS_AT_ONCE: Final = 100
"""Chunks read by one look; at most 65,536 points each, usually far fewer."""


class WatchedPoints(NamedTuple):
    """New points of one series, ordered by time."""

    run_id: str
    key: str
    points: Points


class MetricWatcher:
    """Follows runs.

    A watcher that cannot keep up for more than a minute may see points again that it has seen: their chunks were merged
    with new ones in the meantime.
    """

    def __init__(self, database: Database, hub: LiveHub) -> None:
        self._database = database
        self._hub = hub

    async def watch(
        self, run_ids: Sequence[str], keys: Sequence[str] | None, backlog_points: int
    ) -> AsyncIterator[WatchedPoints]:
        """Points as they become queryable, until every run has ended and is quiet.

        Args:
            run_ids: runs; unknown ones are taken for ended.
            keys: only these; None is all.
            backlog_points: first the last so many points of each history.
        """
        with self._hub.watch_runs(run_ids) as watch:
            seen: dict[int, Seen] = {}
            for part in await self._begin(run_ids, keys, backlog_points, seen):
                yield part
            was_quiet = False
            while True:
                found = await self._look(run_ids, keys, seen)
                for part in found:
                    yield part
                ended = not found and await self._all_ended(run_ids)
                if ended and was_quiet:
                    return
                woken = bool(found) or await watch.wait(QUIET_SECONDS if ended else LOOK_SECONDS)
                was_quiet = ended and not woken
                await asyncio.sleep(LEAST_PAUSE_SECONDS)

    async def _begin(
        self, run_ids: Sequence[str], keys: Sequence[str] | None, backlog_points: int, seen: dict[int, Seen]
    ) -> list[WatchedPoints]:
        """Note what is stored now, and read the last points of it."""
        async with metric_queries.snapshot(self._database) as connection:
            series = await metric_queries.find_series(connection, run_ids, keys)
            seen.update(await metric_queries.seen_now(connection, [row.series_id for row in series]))
            if not backlog_points:
                return []
            backlog = []
            for row in series:
                points = await histories.read_last(connection, row.series_id, backlog_points)
                if len(points):
                    backlog.append(WatchedPoints(row.run_id, row.key, points))
            return backlog

    async def _look(
        self, run_ids: Sequence[str], keys: Sequence[str] | None, seen: dict[int, Seen]
    ) -> list[WatchedPoints]:
        """What was written since, each point once."""
        async with metric_queries.snapshot(self._database) as connection:
            chunks = await metric_queries.new_chunks(connection, run_ids, keys, seen, _CHUNKS_AT_ONCE)
            found = []
            for series_id, of_series in itertools.groupby(chunks, key=lambda chunk: chunk.series_id):
                new = list(of_series)
                points = metrics.tidy(metrics.join([chunk.points for chunk in new]), Ordering.TIME)
                before = seen.get(series_id)
                if before is not None and before.may_hold(points):
                    points = await _without_repeats(connection, series_id, before, points)
                seen[series_id] = Seen.after(before, new[-1].chunk_id, points)
                if len(points):
                    found.append(WatchedPoints(new[0].run_id, new[0].key, points))
            return found

    async def _all_ended(self, run_ids: Sequence[str]) -> bool:
        async with self._database.driver() as connection:
            return await metric_queries.all_ended(connection, run_ids)


async def _without_repeats(
    connection: asyncpg.Connection, series_id: int, seen: Seen, points: Points
) -> Points:
    """The points that are not stored in chunks seen before."""
    chunks = await metric_queries.list_chunks(
        connection,
        series_id,
        start_step=int(points.steps.min()),
        end_step=int(points.steps.max()),
        start_time_ms=int(points.timestamps_ms.min()),
    )
    old = [chunk for chunk in chunks if chunk.chunk_id <= seen.chunk_id]
    if not old:
        return points
    return metrics.without(points, await metric_queries.read_chunks(connection, series_id, old))
