"""The write path of metrics: one transaction a flush, each batch once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runstream_common.database import retry_on_conflict

from runstream_metadata import instruments, live, metric_batches
from runstream_metadata.metric_batches import RUN_DELETED, RUN_NOT_FOUND, Batch, RefusedBatch
from runstream_metadata.store import metric_writer
from runstream_metadata.store.metric_writer import LatestRow, Mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    import asyncpg
    from runstream_common.database import Database

    from runstream_metadata.live import LiveHub
    from runstream_metadata.metric_batches import SeriesKey, SeriesWrite
    from runstream_metadata.run_directory import KnownRun, RunDirectory

CONFLICT_ATTEMPTS = 2
"""One repeat after a deadlock; after that the bus holds the batch and waits longer."""

SERIES_WORTH_A_THREAD = 5_000
"""From about 50 ms of encoding on, calls and health checks must not wait for it."""


class MetricIntake:
    """Stores batches of points. Calls may overlap."""

    def __init__(self, database: Database, runs: RunDirectory, hub: LiveHub) -> None:
        self._database = database
        self._runs = runs
        self._hub = hub

    async def apply(self, batches: Iterable[Batch], marks: Sequence[Mark]) -> dict[Batch, RefusedBatch]:
        """Store the batches that were not stored before, and move the watermarks, all or nothing.

        Args:
            batches: in the order in which they were logged.
            marks: how far the partitions have been handled with this flush.

        Returns:
            The batches that can never be stored, with the reason.

        Raises:
            Aborted: lost against concurrent writers, twice.
            Unavailable, DeadlineExceeded: the database is away or slow.
        """
        distinct: dict[UUID, Batch] = {}
        for batch in batches:
            distinct.setdefault(batch.batch_id, batch)
        candidates = list(distinct.values())
        runs = await self._runs.find({batch.run_id for batch in candidates})
        refused = {batch: error for batch in candidates if (error := _run_problem(batch, runs)) is not None}
        good = [batch for batch in candidates if batch not in refused]
        writes = await _encode(good)
        if metric_batches.has_negative_times(writes):
            refused.update(_refused_for_times(good))
            good = [batch for batch in good if batch not in refused]
            writes = await _encode(good)
        await retry_on_conflict(lambda: self._store(good, writes, runs, marks), attempts=CONFLICT_ATTEMPTS)
        self._hub.wake({batch.run_id for batch in good})
        return refused

    async def _store(
        self,
        batches: list[Batch],
        writes: dict[SeriesKey, SeriesWrite],
        runs: Mapping[str, KnownRun],
        marks: Sequence[Mark],
    ) -> None:
        async with self._database.driver() as connection, connection.transaction():
            if batches:
                fresh = await metric_writer.insert_batches(connection, [b.batch_id for b in batches])
                if len(fresh) < len(batches):
                    instruments.REPEATED_BATCHES.inc(len(batches) - len(fresh))
                    batches = [batch for batch in batches if batch.batch_id in fresh]
                    writes = await _encode(batches)
            if writes:
                await _store_series(connection, writes, runs)
            written_up_to = _written_up_to(batches, runs)
            await metric_writer.advance(
                connection,
                marks,
                written_up_to,
                live.CHANNEL,
                live.payload_for({batch.run_id for batch in batches}),
            )
        instruments.count_flush(len(batches), writes)
        instruments.mark_experiments(written_up_to)


async def _encode(batches: list[Batch]) -> dict[SeriesKey, SeriesWrite]:
    if sum(len(batch.series) for batch in batches) < SERIES_WORTH_A_THREAD:
        return metric_batches.encode(batches)
    return await asyncio.to_thread(metric_batches.encode, batches)


async def _store_series(
    connection: asyncpg.Connection, writes: dict[SeriesKey, SeriesWrite], runs: Mapping[str, KnownRun]
) -> None:
    rows = [
        LatestRow(series.run_id, series.key, runs[series.run_id].experiment_id, write.latest)
        for series, write in writes.items()
    ]
    series_ids = await metric_writer.upsert_latest(connection, rows)
    chunks = [(series_ids[series], chunk) for series, write in writes.items() for chunk in write.chunks]
    await metric_writer.copy_chunks(connection, chunks)


def _run_problem(batch: Batch, runs: Mapping[str, KnownRun]) -> RefusedBatch | None:
    run = runs.get(batch.run_id)
    if run is None:
        return RefusedBatch(
            RUN_NOT_FOUND, f"run_id: no run {batch.run_id}; create the run before its points are sent"
        )
    if not run.active:
        return RefusedBatch(
            RUN_DELETED, f"run_id: run {batch.run_id} is deleted; restore it, then replay this message"
        )
    return None


def _refused_for_times(batches: Iterable[Batch]) -> dict[Batch, RefusedBatch]:
    refused = {}
    for batch in batches:
        try:
            metric_batches.check_times(batch)
        except RefusedBatch as error:
            refused[batch] = error
    return refused


def _written_up_to(batches: Iterable[Batch], runs: Mapping[str, KnownRun]) -> dict[int, int]:
    newest: dict[int, int] = {}
    for batch in batches:
        experiment_id = runs[batch.run_id].experiment_id
        newest[experiment_id] = max(newest.get(experiment_id, 0), batch.accepted_ms)
    return newest
