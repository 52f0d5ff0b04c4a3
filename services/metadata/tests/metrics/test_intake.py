"""What is consumed is stored once, in every answer once, and the latest is MLflow's latest."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import asyncpg
import pytest
from runstream_common.errors import Aborted, Unavailable
from runstream_contract.ids import new_batch_id, new_run_id
from runstream_metadata.histories import StepRange
from runstream_metadata.metrics import Point
from runstream_metadata.store import metric_writer

from services.metadata.tests.metrics.support import (
    Row,
    count,
    message,
    model_history,
    model_latest,
    same,
)

if TYPE_CHECKING:
    from runstream_common.database import Database
    from runstream_metadata.consumers.run_logged import RunLoggedConsumer
    from runstream_metadata.metric_reads import MetricReads
    from runstream_metadata.runs import Runs

    from services.metadata.tests.conftest import MakeRun

NAN, INF = float("nan"), float("inf")


async def history(reads: MetricReads, run_id: str, key: str = "loss") -> list[Row]:
    rows: list[Row] = []
    async for _, _, points in reads.stream([run_id], [key], StepRange()):
        rows += zip(points.steps.tolist(), points.timestamps_ms.tolist(), points.values.tolist(), strict=True)
    return rows


async def latest(reads: MetricReads, run_id: str, key: str = "loss") -> Point:
    series = await reads.find(run_id, key)
    assert series is not None
    return series.latest


async def test_points_are_queryable(consumer: RunLoggedConsumer, reads: MetricReads, run_id: str) -> None:
    rows = [(0, 10, 1.0), (1, 11, NAN), (2, 12, INF), (-5, 13, -INF)]
    assert await consumer.handle([message(run_id, {"loss": rows, "acc": [(0, 10, 0.5)]})]) == []
    assert same(await history(reads, run_id), rows)
    assert same(await history(reads, run_id, "acc"), [(0, 10, 0.5)])
    summaries = await reads.summaries([run_id])
    assert [(s.series.key, s.point_count, s.min_step, s.max_step) for s in summaries] == [
        ("acc", 1, 0, 0),
        ("loss", 4, -5, 2),
    ]


async def test_redelivery_changes_nothing(
    consumer: RunLoggedConsumer, reads: MetricReads, database: Database, run_id: str
) -> None:
    """A1, promise 1: a repeat changes nothing."""
    first = [message(run_id, {"loss": [(i, i, 1.0)]}, offset=i) for i in range(3)]
    more = message(run_id, {"loss": [(3, 3, 1.0)]}, offset=3)
    await consumer.handle(first)
    await consumer.handle([*first, more, more])
    assert [row[0] for row in await history(reads, run_id)] == [0, 1, 2, 3]
    async with database.driver() as connection:
        assert await connection.fetchval("SELECT sum(point_count) FROM metadata.metric_chunk") == 4


async def test_same_batch_at_another_place_is_stored_once(
    consumer: RunLoggedConsumer, database: Database, run_id: str
) -> None:
    batch_id = new_batch_id()
    for offset in range(2):
        await consumer.handle(
            [message(run_id, {"loss": [(0, 0, 1.0)]}, batch_id=batch_id.upper(), offset=offset)]
        )
    assert await count(database, "applied_batch") == 1
    assert await count(database, "metric_chunk") == 1


@pytest.mark.parametrize("headers", [{}, {"event-id": "order-17"}, {"event-id": new_batch_id()}])
async def test_batch_without_id_is_stored_once(
    consumer: RunLoggedConsumer, database: Database, run_id: str, headers: dict[str, str]
) -> None:
    one = message(run_id, {"loss": [(0, 0, 1.0)]}, batch_id="", headers=headers, offset=7)
    await consumer.handle([one])
    await consumer.handle([one])
    assert await count(database, "metric_chunk") == 1


async def test_repeats_count_once_in_every_answer(
    consumer: RunLoggedConsumer, reads: MetricReads, run_id: str
) -> None:
    """A2: exact repeats from different batches, NaN and signed zero included."""
    rows = [(1, 5, 1.0), (1, 5, NAN), (1, 5, 0.0), (2, 5, 2.0)]
    await consumer.handle([message(run_id, {"loss": [*rows, *rows]})])
    await consumer.handle([message(run_id, {"loss": [*reversed(rows), (1, 5, -0.0)]}, offset=1)])
    assert same(await history(reads, run_id), model_history(rows))
    assert (await reads.summaries([run_id]))[0].point_count == 4


async def test_histories_agree_with_a_plain_model(
    consumer: RunLoggedConsumer, reads: MetricReads, run_id: str
) -> None:
    rng = random.Random(5)
    values = [NAN, INF, -INF, 0.0, -1.0, 2.0]
    everything: list[Row] = []
    for offset in range(30):
        rows = [
            (rng.randrange(-3, 30), rng.randrange(0, 20), rng.choice(values))
            for _ in range(rng.randrange(1, 12))
        ]
        everything += rows
        await consumer.handle([message(run_id, {"loss": rows}, offset=offset)])
        assert await latest(reads, run_id) == pytest.approx(model_latest(everything), nan_ok=True)
    expected = model_history(everything)
    assert same(await history(reads, run_id), expected)
    assert (await reads.summaries([run_id]))[0].point_count == len(expected)
    await check_pages(reads, run_id, expected)


async def check_pages(reads: MetricReads, run_id: str, expected: list[Row]) -> None:
    series = await reads.find(run_id, "loss")
    assert series is not None
    for steps in (StepRange(), StepRange(3, 17), StepRange(start=100)):
        rows: list[Row] = []
        after: Point | None = None
        more = True
        while more:
            page = await reads.page(series, steps, after, 7)
            points = page.points
            rows += zip(
                points.steps.tolist(), points.timestamps_ms.tolist(), points.values.tolist(), strict=True
            )
            more = page.more
            assert len(points) == 7 or not more
            after = points.at(-1) if len(points) else None
        start, end = steps.start, steps.end
        within = [
            row for row in expected if (start is None or row[0] >= start) and (end is None or row[0] <= end)
        ]
        assert same(rows, within)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(1, 5, 1.0), (0, 9, 9.0)], (1, 5, 1.0)),
        ([(1, 5, 1.0), (1, 6, -9.0)], (1, 6, -9.0)),
        ([(1, 5, -1.0), (1, 5, NAN)], (1, 5, NAN)),
        ([(1, 5, NAN), (1, 5, 2.0)], (1, 5, 2.0)),
        ([(1, 5, NAN), (1, 5, -2.0)], (1, 5, NAN)),
        ([(1, 5, 1.0), (1, 5, INF)], (1, 5, INF)),
    ],
)
async def test_latest_is_by_step_time_value(
    consumer: RunLoggedConsumer,
    reads: MetricReads,
    make_run: MakeRun,
    rows: list[Row],
    expected: Row,
) -> None:
    """In one batch, and over two transactions in either order."""
    together, forward, backward = [(await make_run()).run_id for _ in range(3)]
    await consumer.handle([message(together, {"loss": rows})])
    for offset, row in enumerate(rows):
        await consumer.handle([message(forward, {"loss": [row]}, offset=offset)])
        await consumer.handle([message(backward, {"loss": [rows[-1 - offset]]}, offset=offset)])
    for run_id in (together, forward, backward):
        assert await latest(reads, run_id) == pytest.approx(expected, nan_ok=True)


async def test_points_of_unknown_and_deleted_runs_are_rejected(
    consumer: RunLoggedConsumer, reads: MetricReads, make_run: MakeRun, runs: Runs
) -> None:
    good, deleted, unknown = (await make_run()).run_id, (await make_run()).run_id, new_run_id()
    await runs.delete(deleted)
    batch = [message(run_id, {"loss": [(0, 0, 1.0)]}) for run_id in (unknown, good, deleted)]
    rejected = await consumer.handle(batch)
    assert {(r.message.key, r.reason) for r in rejected} == {
        (unknown, "RUN_NOT_FOUND"),
        (deleted, "RUN_DELETED"),
    }
    assert all(r.message.key in r.detail for r in rejected)
    assert len(await history(reads, good)) == 1


async def test_rejected_batch_can_be_replayed_after_the_run_is_restored(
    consumer: RunLoggedConsumer, reads: MetricReads, run_id: str, runs: Runs
) -> None:
    await runs.delete(run_id)
    one = message(run_id, {"loss": [(0, 0, 1.0)]})
    assert [r.reason for r in await consumer.handle([one])] == ["RUN_DELETED"]
    await runs.restore(run_id)
    assert await consumer.handle([one]) == []
    assert len(await history(reads, run_id)) == 1


async def test_a_large_batch_is_cut_into_chunks(
    consumer: RunLoggedConsumer, reads: MetricReads, database: Database, run_id: str
) -> None:
    rows = [(i, 2 * i, float(i % 7)) for i in range(150_000)]
    await consumer.handle([message(run_id, {"loss": rows})])
    assert await count(database, "metric_chunk") == 3
    assert await history(reads, run_id) == rows
    assert await latest(reads, run_id) == rows[-1]


async def test_concurrent_writers_of_one_run_neither_deadlock_nor_lose(
    consumer: RunLoggedConsumer, reads: MetricReads, database: Database, run_id: str
) -> None:
    """A1: keys in opposite orders, the same batches twice, all at once."""
    keys = [f"k{i}" for i in range(20)]

    def batch(number: int) -> list[object]:
        order = keys if number % 2 else keys[::-1]
        return [message(run_id, {key: [(number, number, 1.0)] for key in order}, offset=number)]

    batches = [batch(number) for number in range(12)]
    await asyncio.gather(*(consumer.handle(one) for one in (*batches, *batches[::-1])))
    for key in keys:
        assert [row[0] for row in await history(reads, run_id, key)] == list(range(12))
    async with database.driver() as connection:
        assert await connection.fetchval("SELECT sum(point_count) FROM metadata.metric_chunk") == 240


async def test_a_flush_is_stored_whole_or_not_at_all(
    consumer: RunLoggedConsumer,
    reads: MetricReads,
    database: Database,
    run_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """B1: what failed half way is not there, and is stored when it is delivered again."""
    batch = [message(run_id, {"new": [(0, 0, 1.0)]}), message(run_id, {"loss": [(0, 0, 1.0)]}, offset=1)]

    async def fail(*_args: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(metric_writer, "advance", fail)
        with pytest.raises(Unavailable):
            await consumer.handle(batch)
    for table in ("applied_batch", "metric_chunk", "latest_metric", "watermark", "experiment_watermark"):
        assert await count(database, table) == 0
    assert await consumer.handle(batch) == []
    assert len(await history(reads, run_id, "new")) == 1


async def test_a_deadlock_is_tried_again_once(
    consumer: RunLoggedConsumer, reads: MetricReads, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1: bounded, then the bus holds the batch."""
    original = metric_writer.upsert_latest
    failures = [asyncpg.DeadlockDetectedError("deadlock detected") for _ in range(3)]

    async def sometimes(*args: object) -> object:
        if failures:
            raise failures.pop()
        return await original(*args)

    monkeypatch.setattr(metric_writer, "upsert_latest", sometimes)
    one = message(run_id, {"loss": [(0, 0, 1.0)]})
    with pytest.raises(Aborted):
        await consumer.handle([one])
    assert len(failures) == 1
    assert await consumer.handle([one]) == []
    assert len(await history(reads, run_id)) == 1


async def test_a_batch_of_very_many_keys(
    consumer: RunLoggedConsumer, reads: MetricReads, run_id: str
) -> None:
    keys = {f"layer/{i}": [(i, i, float(i))] for i in range(6_000)}
    assert await consumer.handle([message(run_id, keys)]) == []
    summaries = await reads.summaries([run_id])
    assert len(summaries) == 6_000
    assert {s.series.key: s.series.latest.value for s in summaries}["layer/4321"] == 4321.0
