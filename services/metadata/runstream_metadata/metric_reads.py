"""Use cases of reading metrics: each opens what it reads from, and answers in the order that was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_metadata import histories, sampled_histories
from runstream_metadata.store import metric_queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runstream_common.database import Database

    from runstream_metadata.histories import HistoryPage, HistorySummary, StepRange
    from runstream_metadata.metrics import Point, Points
    from runstream_metadata.sampled_histories import Sample, SampledHistory
    from runstream_metadata.store.metric_queries import SeriesRow


class MetricReads:
    """Reads histories from the store. Unknown runs have no points."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, run_id: str, key: str) -> SeriesRow | None:
        """One series; None when it has no points."""
        found = await self._find([run_id], [key])
        return found[0] if found else None

    async def summaries(self, run_ids: Sequence[str]) -> list[HistorySummary]:
        """Every metric of the runs with its counts, by run as asked, then key."""
        async with metric_queries.snapshot(self._database) as connection:
            series = await metric_queries.find_series(connection, run_ids, None)
            return await histories.summarise(connection, _as_asked(series, run_ids, None))

    async def page(self, series: SeriesRow, steps: StepRange, after: Point | None, size: int) -> HistoryPage:
        """Up to ``size`` points ordered by time, those behind ``after``."""
        return await histories.read_page(self._database, series.series_id, steps, after, size)

    async def stream(
        self, run_ids: Sequence[str], keys: Sequence[str] | None, steps: StepRange
    ) -> AsyncIterator[tuple[str, str, Points]]:
        """Whole histories in parts, by run and key as asked; all keys by name when ``keys`` is None."""
        for row in _as_asked(await self._find(run_ids, keys), run_ids, keys):
            async for points in histories.stream(self._database, row.series_id, steps):
                yield row.run_id, row.key, points

    async def sample(
        self, run_ids: Sequence[str], keys: Sequence[str], how: Sample
    ) -> AsyncIterator[tuple[SeriesRow, SampledHistory]]:
        """Downsampled histories, by run and key as asked; those without points are left out."""
        for row in _as_asked(await self._find(run_ids, keys), run_ids, keys):
            async with metric_queries.snapshot(self._database) as connection:
                sampled = await sampled_histories.sample(connection, row.series_id, how)
            if sampled is not None:
                yield row, sampled

    async def _find(self, run_ids: Sequence[str], keys: Sequence[str] | None) -> list[SeriesRow]:
        async with self._database.driver() as connection:
            return await metric_queries.find_series(connection, run_ids, keys)


def _as_asked(series: list[SeriesRow], run_ids: Sequence[str], keys: Sequence[str] | None) -> list[SeriesRow]:
    run_place = {run_id: place for place, run_id in enumerate(run_ids)}
    key_place = {key: place for place, key in enumerate(keys or ())}
    return sorted(series, key=lambda row: (run_place[row.run_id], key_place.get(row.key, 0), row.key))
