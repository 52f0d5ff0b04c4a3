"""How far a topic goes and what waits: what reading everybody's writes stands on, over Kafka and PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from runstream_common.bus.messages import Backlog, Position, Rejected
from runstream_common.errors import RetryLater

from tests.support.bus import TOPIC, Buses, Collector, eventually, publish_all, subscribe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.bus.api import Bus
    from runstream_common.bus.messages import Message


class Gated(Collector):
    """Handles nothing until the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
        await self.gate.wait()
        return []


def covers(backlog: Backlog, position: Position) -> bool:
    return any(end.partition == position.partition and end.offset >= position.offset for end in backlog.ends)


async def handled(bus: Bus, backlog: Backlog) -> bool:
    """Whether all that was there when the backlog was asked is handled."""
    if backlog.oldest is None:
        return await bus.applied("one", backlog.ends)
    return (await bus.backlog(TOPIC.name, "one")).handled(backlog.ends)


async def until_handled(bus: Bus, backlog: Backlog) -> None:
    async with asyncio.timeout(60):
        while not await handled(bus, backlog):
            await asyncio.sleep(0.01)


async def test_an_empty_topic_has_nothing_to_wait_for(buses: Buses) -> None:
    bus = await buses.start(Collector())
    backlog = await bus.backlog(TOPIC.name, "one")
    assert await handled(bus, backlog)


async def test_what_was_acknowledged_is_within_the_ends_and_waits(buses: Buses) -> None:
    got = Gated()
    bus = await buses.start(got)
    other = await buses.start()
    positions = [await bus.publish(TOPIC.name, f"key-{index}", b"v%d" % index) for index in range(6)]
    backlog = await other.backlog(TOPIC.name, "one")

    assert all(covers(backlog, position) for position in positions)
    assert not await handled(other, backlog)
    got.gate.set()
    await until_handled(other, backlog)
    assert len(got.messages) == 6


async def test_every_writer_finds_its_message_handled_once_the_backlog_is(buses: Buses) -> None:
    """Two consuming replicas and writers at once, whose messages commit in another order than their ids."""
    got = Collector()
    bus = await buses.start(got)
    replica = await buses.start(got)

    async def write(number: int) -> None:
        value = b"%d" % number
        position = await (bus, replica)[number % 2].publish(TOPIC.name, f"key-{number % 7}", value)
        backlog = await replica.backlog(TOPIC.name, "one")
        assert covers(backlog, position)
        await until_handled(replica, backlog)
        assert value in got.values

    for round_ in range(5):
        await asyncio.gather(*(write(round_ * 40 + number) for number in range(40)))


async def test_what_is_tried_again_waits_and_what_is_parked_does_not(buses: Buses) -> None:
    class Refusing(Collector):
        tries = 0

        async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
            self.tries += 1
            if self.tries <= 2:
                assert not await handled(bus, await bus.backlog(TOPIC.name, "one"))
                raise RetryLater(0.01)
            return [Rejected(message, "BAD") for message in batch if message.value == b"bad"]

    got = Refusing()
    bus = buses.make()
    subscribe(bus, got)
    await bus.start()
    await publish_all(bus, [b"bad", b"good"])
    backlog = await bus.backlog(TOPIC.name, "one")
    await until_handled(bus, backlog)
    assert got.values == {b"good"}
    await eventually(lambda: got.tries >= 3)


async def test_messages_of_other_topics_and_groups_do_not_wait(buses: Buses) -> None:
    mine, theirs = Collector(), Gated()
    bus = buses.make()
    subscribe(bus, mine)
    subscribe(bus, theirs, "two")
    await bus.start()
    await bus.publish(TOPIC.name, "k", b"v")
    await until_handled(bus, await bus.backlog(TOPIC.name, "one"))
    assert mine.values == {b"v"}
    theirs.gate.set()


def test_handled_looks_at_each_partition() -> None:
    backlog = Backlog((Position("t", 0, 9), Position("t", 1, 9)), (Position("t", 1, 5),))
    assert backlog.handled([Position("t", 0, 9), Position("t", 1, 4)])
    assert not backlog.handled([Position("t", 0, 9), Position("t", 1, 5)])
    with pytest.raises(ValueError, match="does not know"):
        Backlog((), None).handled([])
