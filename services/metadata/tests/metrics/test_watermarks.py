"""Read your writes, by position; and lag that can be seen (B6)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY
from runstream_common.bus.messages import Backlog, Position
from runstream_common.clock import SystemClock
from runstream_common.errors import InvalidArgument, Unavailable
from runstream_contract.ids import new_run_id
from runstream_metadata import instruments
from runstream_metadata.bus_progress import PartitionProgress, QueueProgress
from runstream_metadata.consumers.run_logged import RunLoggedConsumer
from runstream_metadata.live import LiveHub
from runstream_metadata.metric_intake import MetricIntake
from runstream_metadata.shared_look import SharedLook
from runstream_metadata.store.metric_writer import Mark
from runstream_metadata.watermarks import Watermarks

from services.metadata.tests.metrics.support import message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.clock import ManualClock
    from runstream_common.database import Database
    from runstream_metadata.run_directory import RunDirectory

LONG_MS = 60_000


def at(offset: int, partition: int = 0) -> Position:
    return Position("run-logged", partition, offset)


async def test_marks_follow_what_was_handled(
    consumer: RunLoggedConsumer, watermarks: Watermarks, run_id: str
) -> None:
    """Refused messages count as handled: nobody waits for them."""
    good = message(run_id, {"loss": [(0, 0, 1.0)]}, offset=4, timestamp_ms=500)
    bad = message(new_run_id(), {"loss": [(0, 0, 1.0)]}, offset=9, timestamp_ms=700, partition=1)
    await consumer.handle([good, bad])
    assert await watermarks.marks() == [Mark("run-logged", 0, 5, 500), Mark("run-logged", 1, 10, 700)]


async def test_marks_do_not_go_back_on_redelivery(
    consumer: RunLoggedConsumer, watermarks: Watermarks, run_id: str
) -> None:
    batch = [message(run_id, {"loss": [(i, 0, 1.0)]}, offset=i, timestamp_ms=500 + 10 * i) for i in range(5)]
    await consumer.handle(batch)
    await consumer.handle(batch[:2])
    assert await watermarks.marks() == [Mark("run-logged", 0, 5, 540)]


async def test_marks_begin_anew_with_a_topic_that_was_made_anew(
    consumer: RunLoggedConsumer, watermarks: Watermarks, run_id: str
) -> None:
    await consumer.handle([message(run_id, {"loss": [(0, 0, 1.0)]}, offset=99, timestamp_ms=500)])
    await consumer.handle([message(run_id, {"loss": [(1, 0, 1.0)]}, offset=0, timestamp_ms=900)])
    assert await watermarks.marks() == [Mark("run-logged", 0, 1, 900)]


async def test_experiment_mark_is_the_accept_time(
    consumer: RunLoggedConsumer, watermarks: Watermarks, run_id: str
) -> None:
    assert await watermarks.written_up_to_ms(0) == 0
    one = message(run_id, {"loss": [(0, 0, 1.0)]}, timestamp_ms=500, headers={"accepted-at-ms": "450"})
    await consumer.handle([one])
    assert await watermarks.written_up_to_ms(0) == 450


async def test_wait_ends_when_another_replica_applies(
    consumer: RunLoggedConsumer, database: Database, database_url: str, directory: RunDirectory, run_id: str
) -> None:
    """Woken by NOTIFY: this process's hub is told nothing directly."""
    other = LiveHub(database_url)
    applier = RunLoggedConsumer(MetricIntake(database, directory, other))
    watermarks = Watermarks(
        database, consumer._intake._hub, SystemClock(), PartitionProgress(database, SystemClock())
    )
    waiting = asyncio.create_task(watermarks.wait_until_applied([at(0), at(3)], LONG_MS))
    await applier.handle([message(run_id, {"loss": [(0, 0, 1.0)]}, offset=0)])
    await applier.handle([message(run_id, {"loss": [(1, 0, 1.0)]}, offset=3)])
    assert await asyncio.wait_for(waiting, 30)


async def test_wait_sees_what_was_applied_before(
    consumer: RunLoggedConsumer, watermarks: Watermarks, run_id: str
) -> None:
    await consumer.handle([message(run_id, {"loss": [(0, 0, 1.0)]}, offset=3)])
    assert await watermarks.wait_until_applied([at(3)], 0)
    assert await watermarks.wait_until_applied([], 0)


async def test_wait_ends_with_its_time(database: Database, hub: LiveHub) -> None:
    watermarks = Watermarks(database, hub, SystemClock(), PartitionProgress(database, SystemClock()))
    assert not await watermarks.wait_until_applied([at(0)], 0)
    assert not await watermarks.wait_until_applied([at(0)], 20)


async def test_wait_for_an_unknown_topic_is_refused(watermarks: Watermarks) -> None:
    with pytest.raises(InvalidArgument) as error:
        await watermarks.wait_until_applied([Position("other", 0, 0)], 0)
    assert error.value.reason == "UNKNOWN_TOPIC"


@dataclass
class FakeBus:
    """A bus with an end, and messages that wait."""

    end: int
    waiting: set[int] | None = field(default_factory=set)
    committed: int = -1
    asked: int = 0
    away: bool = False

    async def backlog(self, topic: str, group: str) -> Backlog:
        assert (topic, group) == ("run-logged", "metadata")
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("the bus is away")
        oldest = None if self.waiting is None else tuple(at(offset) for offset in sorted(self.waiting)[:1])
        return Backlog((at(self.end),), oldest)

    async def applied(self, group: str, positions: Sequence[Position]) -> bool:
        return all(position.offset <= self.committed for position in positions)


async def until_asked(bus: FakeBus, times: int) -> None:
    while bus.asked < times:
        await asyncio.sleep(0.001)


async def test_wait_asks_the_queue_where_positions_are_in_no_order(
    consumer: RunLoggedConsumer, database: Database, hub: LiveHub, run_id: str
) -> None:
    """The watermark is past a message that still waits."""
    queue = FakeBus(end=100, waiting={7, 101})
    watermarks = Watermarks(database, hub, SystemClock(), QueueProgress(queue))
    await consumer.handle([message(run_id, {"loss": [(0, 0, 1.0)]}, offset=100)])
    waits = [
        asyncio.create_task(watermarks.wait_until_applied([at(7)], LONG_MS)),
        asyncio.create_task(watermarks.wait_until_latest(LONG_MS)),
    ]
    await until_asked(queue, 5)
    assert not any(wait.done() for wait in waits)
    # What came after the wait began, nobody waits for.
    queue.end, queue.waiting = 101, {101}
    assert await asyncio.gather(*waits) == [True, True]


async def test_with_nothing_waiting_the_latest_takes_one_look(database: Database, hub: LiveHub) -> None:
    queue = FakeBus(end=100)
    watermarks = Watermarks(database, hub, SystemClock(), QueueProgress(queue))
    assert await watermarks.wait_until_latest(LONG_MS)
    assert queue.asked == 1


async def test_readers_at_once_share_looks_that_began_after_they_asked(
    database: Database, hub: LiveHub
) -> None:
    queue = FakeBus(end=0)
    watermarks = Watermarks(database, hub, SystemClock(), QueueProgress(queue))
    first = [asyncio.create_task(watermarks.wait_until_latest(LONG_MS)) for _ in range(50)]
    await until_asked(queue, 1)
    # A look is under way; what these see must have been looked at later.
    second = [asyncio.create_task(watermarks.wait_until_latest(LONG_MS)) for _ in range(50)]
    assert all(await asyncio.gather(*first, *second))
    assert queue.asked == 2


async def test_the_latest_on_partitions_is_what_the_store_has_marked(
    consumer: RunLoggedConsumer, database: Database, hub: LiveHub, run_id: str
) -> None:
    bus, clock = FakeBus(end=3, waiting=None), SystemClock()
    watermarks = Watermarks(database, hub, clock, PartitionProgress(database, clock, bus))
    assert not await watermarks.wait_until_latest(1)
    waiting = asyncio.create_task(watermarks.wait_until_latest(LONG_MS))
    await until_asked(bus, 2)
    bus.end = 4_711
    await consumer.handle([message(run_id, {"loss": [(0, 0, 1.0)]}, offset=3)])
    assert await asyncio.wait_for(waiting, 30)


async def test_offsets_that_kafka_has_committed_count_where_the_store_lost_its_marks(
    database: Database, hub: LiveHub, clock: ManualClock
) -> None:
    bus = FakeBus(end=3, waiting=None, committed=3)
    progress = PartitionProgress(database, clock, bus)
    assert not await progress.applied([at(3)])
    clock.advance(1.5)
    assert not await progress.applied([at(4)])
    clock.advance(1.5)
    assert await progress.applied([at(3)])


async def test_a_bus_that_is_away_costs_freshness_and_no_time(
    database: Database, hub: LiveHub, clock: ManualClock
) -> None:
    bus = FakeBus(end=3, waiting=None, away=True)
    watermarks = Watermarks(database, hub, clock, PartitionProgress(database, clock, bus))
    assert not await watermarks.wait_until_latest(LONG_MS)
    assert not await watermarks.wait_until_latest(LONG_MS)
    assert bus.asked == 1
    clock.advance(2)
    bus.away, bus.end = False, -1
    assert await watermarks.wait_until_latest(LONG_MS)


async def test_one_reader_that_leaves_does_not_end_the_look_of_others() -> None:
    go = asyncio.Event()

    async def look() -> int:
        await go.wait()
        return 7

    shared = SharedLook(look)
    leaving, staying = (asyncio.create_task(shared()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    go.set()
    assert await staying == 7
    assert leaving.cancelled()


async def test_a_failed_look_is_told_to_all_and_tried_again() -> None:
    failures = [Unavailable("away")]

    async def look() -> int:
        if failures:
            raise failures.pop()
        return 7

    shared = SharedLook(look)
    answers = await asyncio.gather(shared(), shared(), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert await shared() == 7


async def test_each_experiment_has_a_watermark_in_status_and_metrics(
    consumer: RunLoggedConsumer, watermarks: Watermarks, run_id: str
) -> None:
    """B6: an operator sees per experiment how far it is written."""
    await consumer.handle([message(run_id, {"loss": [(0, 0, 1.0)]}, offset=0, timestamp_ms=900)])
    assert await watermarks.recent_scopes() == {"experiment/0": 900}
    gauge = REGISTRY.get_sample_value("runstream_watermark_experiment_time_seconds", {"experiment_id": "0"})
    assert gauge == 0.9


def test_the_gauge_keeps_a_bounded_number_of_experiments() -> None:
    instruments.mark_experiments(dict.fromkeys(range(1, instruments.MAX_EXPERIMENTS + 2), 1000))
    name = "runstream_watermark_experiment_time_seconds"
    assert REGISTRY.get_sample_value(name, {"experiment_id": "1"}) is None
    assert REGISTRY.get_sample_value(name, {"experiment_id": "2"}) == 1.0
