"""Read your writes, by position; and lag that can be seen (B6)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY
from runstream_common.bus.messages import Position
from runstream_common.clock import SystemClock
from runstream_common.errors import InvalidArgument
from runstream_contract.ids import new_run_id
from runstream_metadata import instruments
from runstream_metadata.consumers.run_logged import RunLoggedConsumer
from runstream_metadata.live import LiveHub
from runstream_metadata.metric_intake import MetricIntake
from runstream_metadata.store.metric_writer import Mark
from runstream_metadata.watermarks import Watermarks

from services.metadata.tests.metrics.support import message

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    watermarks = Watermarks(database, consumer._intake._hub, SystemClock())
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
    watermarks = Watermarks(database, hub, SystemClock())
    assert not await watermarks.wait_until_applied([at(0)], 0)
    assert not await watermarks.wait_until_applied([at(0)], 20)


async def test_wait_for_an_unknown_topic_is_refused(watermarks: Watermarks) -> None:
    with pytest.raises(InvalidArgument) as error:
        await watermarks.wait_until_applied([Position("other", 0, 0)], 0)
    assert error.value.reason == "UNKNOWN_TOPIC"


@dataclass
class FakeQueue:
    """A bus that hands out messages in no strict order."""

    waiting: set[int] = field(default_factory=set)
    asked: int = 0

    async def applied(self, group: str, positions: Sequence[Position]) -> bool:
        assert group == "metadata"
        self.asked += 1
        if self.asked == 3:
            self.waiting.clear()
        return not any(position.offset in self.waiting for position in positions)


async def test_wait_asks_the_queue_where_positions_are_in_no_order(
    consumer: RunLoggedConsumer, database: Database, hub: LiveHub, run_id: str
) -> None:
    """The watermark is past a message that still waits."""
    queue = FakeQueue({7})
    watermarks = Watermarks(database, hub, SystemClock(), backlog=queue)
    await consumer.handle([message(run_id, {"loss": [(0, 0, 1.0)]}, offset=100)])
    assert await watermarks.wait_until_applied([at(7)], LONG_MS)
    assert queue.asked == 3


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
