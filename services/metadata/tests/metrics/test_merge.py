"""A merge changes how points are stored, never what is answered, whoever reads and writes meanwhile."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from runstream_metadata.chunk_merge import ChunkMerge, MergeRule
from runstream_metadata.jobs.expire_batches import BatchExpiry

from services.metadata.tests.metrics.support import Row, count, message, model_history, same
from services.metadata.tests.metrics.test_intake import check_pages, history

if TYPE_CHECKING:
    from runstream_common.database import Database
    from runstream_metadata.consumers.run_logged import RunLoggedConsumer
    from runstream_metadata.metric_reads import MetricReads

AT_ONCE = MergeRule(age_seconds=0, chunk_count=2, longest_seconds=3600)
NAN = float("nan")


@pytest.fixture
def merge(database: Database) -> ChunkMerge:
    """Merges without waiting for chunks to age."""
    return ChunkMerge(database, AT_ONCE)


async def write(consumer: RunLoggedConsumer, run_id: str, parts: list[list[Row]], first: int = 0) -> None:
    for offset, rows in enumerate(parts, first):
        await consumer.handle([message(run_id, {"loss": rows}, offset=offset)])


async def test_answers_are_the_same_after_a_merge(
    consumer: RunLoggedConsumer, reads: MetricReads, database: Database, merge: ChunkMerge, run_id: str
) -> None:
    rng = random.Random(3)
    parts = [
        [(rng.randrange(0, 40), rng.randrange(0, 20), rng.choice([NAN, 0.0, 1.0])) for _ in range(9)]
        for _ in range(20)
    ]
    await write(consumer, run_id, parts)
    expected = model_history(row for part in parts for row in part)
    assert await merge.merge_all() == 20
    assert await count(database, "metric_chunk") == 1
    assert same(await history(reads, run_id), expected)
    assert (await reads.summaries([run_id]))[0].point_count == len(expected)
    await check_pages(reads, run_id, expected)
    async with database.driver() as connection:
        assert await connection.fetchval("SELECT point_count FROM metadata.metric_chunk") == len(expected)


async def test_later_points_join_the_small_rest(
    consumer: RunLoggedConsumer, reads: MetricReads, database: Database, merge: ChunkMerge, run_id: str
) -> None:
    await write(consumer, run_id, [[(i, i, 1.0)] for i in range(5)])
    await merge.merge_all()
    await write(consumer, run_id, [[(i, i, 1.0)] for i in range(3, 8)], first=5)
    await merge.merge_all()
    assert await count(database, "metric_chunk") == 1
    assert [row[0] for row in await history(reads, run_id)] == list(range(8))


async def test_a_merge_does_nothing_twice(
    consumer: RunLoggedConsumer, database: Database, merge: ChunkMerge, run_id: str
) -> None:
    await write(consumer, run_id, [[(i, i, 1.0)] for i in range(5)])
    assert await merge.merge_all() == 5
    assert await merge.merge_all() == 0
    async with database.driver() as connection:
        assert not await connection.fetchval("SELECT bool_or(fresh) FROM metadata.metric_chunk")


async def test_young_chunks_are_left_alone(
    consumer: RunLoggedConsumer, database: Database, run_id: str
) -> None:
    await write(consumer, run_id, [[(i, i, 1.0)] for i in range(5)])
    assert await ChunkMerge(database, MergeRule(age_seconds=3600)).merge_all() == 0
    assert await count(database, "metric_chunk") == 5


async def test_a_chunk_that_waited_long_is_settled_as_it_is(
    consumer: RunLoggedConsumer, database: Database, run_id: str
) -> None:
    await write(consumer, run_id, [[(0, 0, 1.0), (1, 1, 1.0)]])
    rule = MergeRule(age_seconds=0, chunk_count=10, longest_seconds=0)
    assert await ChunkMerge(database, rule).merge_all() == 0
    async with database.driver() as connection:
        assert not await connection.fetchval("SELECT fresh FROM metadata.metric_chunk")


async def test_large_histories_become_full_chunks(
    consumer: RunLoggedConsumer, reads: MetricReads, database: Database, merge: ChunkMerge, run_id: str
) -> None:
    """More points than one transaction merges, written newest first and each twice."""
    rows = [(i, 3 * i, float(i % 11)) for i in range(600_000)]
    parts = [rows[i : i + 20_000] for i in range(0, len(rows), 20_000)]
    await write(consumer, run_id, [*parts[::-1], *parts])
    await merge.merge_all()
    async with database.driver() as connection:
        sizes = [r[0] for r in await connection.fetch("SELECT point_count FROM metadata.metric_chunk")]
    assert sum(sizes) == 600_000
    assert len(sizes) <= 14
    assert max(sizes) <= 65_536
    assert await history(reads, run_id) == rows


async def test_readers_and_writers_see_every_point_once_while_replicas_merge(
    consumer: RunLoggedConsumer, reads: MetricReads, database: Database, run_id: str
) -> None:
    """C6: readers do not wait, and no answer lacks or doubles a point."""
    written = 0
    done = asyncio.Event()
    merges = [ChunkMerge(database, AT_ONCE) for _ in range(3)]

    async def writing() -> None:
        nonlocal written
        for offset in range(60):
            await consumer.handle([message(run_id, {"loss": [(offset, offset, 1.0)]}, offset=offset)])
            written = offset + 1
        done.set()

    async def merging(merge: ChunkMerge) -> int:
        replaced = 0
        while not done.is_set():
            replaced += await merge.merge_all()
        return replaced

    async def reading() -> None:
        while not done.is_set():
            before = written
            steps = [row[0] for row in await history(reads, run_id)]
            assert steps == list(range(len(steps)))
            assert len(steps) >= before

    replaced = await asyncio.gather(*map(merging, merges), writing(), reading(), reading())
    assert sum(replaced[:3]) > 0
    assert len(await history(reads, run_id)) == 60


async def test_old_batch_ids_are_forgotten_in_bounded_steps(
    consumer: RunLoggedConsumer, database: Database, run_id: str
) -> None:
    """E3, E4: bookkeeping is under retention too, deleted piece by piece."""
    await write(consumer, run_id, [[(i, i, 1.0)] for i in range(7)])
    assert await BatchExpiry(database, keep_seconds=3600).expire_all() == 0
    assert await BatchExpiry(database, keep_seconds=0).expire_all(at_once=3) == 7
    assert await count(database, "applied_batch") == 0
