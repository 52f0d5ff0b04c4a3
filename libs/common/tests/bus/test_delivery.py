"""Publishing and consuming, the same over Kafka and PostgreSQL."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from runstream_common.bus.messages import EVENT_ID, Position
from runstream_common.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

from tests.support.bus import TOPIC, Buses, Collector, eventually, numbered, publish_all, subscribe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.bus.messages import Message, Rejected

MEBIBYTE = 1024 * 1024


async def test_a_message_arrives_as_it_was_published(buses: Buses) -> None:
    got = Collector()
    bus = await buses.start(got)
    value = bytes(range(256)) * 100
    position = await bus.publish(TOPIC.name, "run-é", value, {"content-type": "x/y", "note": "ünïcode"})
    await got.until(lambda: bool(got.messages))
    [message] = got.messages
    assert (message.topic, message.key, message.value) == (TOPIC.name, "run-é", value)
    assert message.headers["content-type"] == "x/y"
    assert message.headers["note"] == "ünïcode"
    assert len(message.headers[EVENT_ID]) == 36
    assert message.position == position
    assert message.timestamp_ms > 1_700_000_000_000


async def test_empty_and_incompressible_values_survive(buses: Buses) -> None:
    got = Collector()
    bus = await buses.start(got)
    noise = bytes((index * 7919 + index * index) % 251 for index in range(3000))
    for value in (b"", b"x", noise, b"a" * MEBIBYTE):
        await bus.publish(TOPIC.name, "", value)
    await got.until_values({b"", b"x", noise, b"a" * MEBIBYTE})


async def test_text_that_the_database_refuses_does_not_fail_its_neighbours(buses: Buses) -> None:
    if buses.is_kafka:
        pytest.skip("only PostgreSQL writes messages of several callers in one statement")
    got = Collector()
    bus = await buses.start(got)
    odd = bus.send(TOPIC.name, "k", b"odd", {"name": "\ud800 \x00 é"})
    await asyncio.gather(odd, *(bus.send(TOPIC.name, "k", value) for value in numbered(5)))
    await got.until_values({b"odd", *numbered(5)})
    [message] = [message for message in got.messages if message.value == b"odd"]
    assert message.headers["name"] == "? \ufffd é"


async def test_one_key_keeps_its_order(buses: Buses) -> None:
    got = Collector()
    bus = await buses.start(got)
    values = numbered(40)
    for value in values:
        await bus.publish(TOPIC.name, "same", value)
    await got.until_values(set(values))
    assert [message.value for message in got.messages] == values
    offsets = [message.offset for message in got.messages]
    assert offsets == sorted(offsets)


async def test_every_group_gets_every_message(buses: Buses) -> None:
    left, right = Collector(), Collector()
    bus = buses.make()
    subscribe(bus, left, "left")
    subscribe(bus, right, "right")
    await bus.start()
    values = numbered(30)
    await publish_all(bus, values)
    await left.until_values(set(values))
    await right.until_values(set(values))
    assert len(left.messages) == len(right.messages) == 30


async def test_a_later_first_group_gets_what_was_published_before_it(buses: Buses) -> None:
    producer = await buses.start()
    before, after = numbered(25), numbered(25, start=25)
    await publish_all(producer, before)
    got = Collector()
    await buses.start(got)
    await publish_all(producer, after)
    await got.until_values({*before, *after})
    assert len(got.messages) == 50


async def test_groups_that_join_during_publishing_miss_nothing_published_after_they_joined(
    buses: Buses,
) -> None:
    producer = await buses.start()
    running = True
    sent: list[bytes] = []

    async def keep_publishing() -> None:
        while running:
            values = numbered(20, start=len(sent))
            await publish_all(producer, values)
            sent.extend(values)

    publishing = asyncio.create_task(keep_publishing())
    first, second = Collector(), Collector()
    await buses.start(first, "first")
    await buses.start(second, "second")
    at_least = len(sent) + 20
    await eventually(lambda: len(sent) > at_least)
    running = False
    await publishing
    await first.until_values(set(sent))
    await second.until_values(set(sent[at_least:]))
    assert len(first.messages) == len(sent)


async def test_batches_keep_their_limits(buses: Buses) -> None:
    producer = await buses.start()
    big = [bytes([65 + index]) * (MEBIBYTE // 4) for index in range(8)]
    for value in big:
        await producer.publish(TOPIC.name, "k", value)
    await publish_all(producer, numbered(30))
    got = Collector()
    await buses.start(got, max_messages=7, max_bytes=MEBIBYTE)
    await got.until_values({*big, *numbered(30)})
    assert max(len(batch) for batch in got.batches) <= 7
    assert max(sum(len(message.value) for message in batch) for batch in got.batches) <= MEBIBYTE


async def test_what_is_in_flight_is_bounded_and_the_refusal_says_when_to_come_back(buses: Buses) -> None:
    """B5: a full buffer speaks instead of growing."""
    bus = buses.make(publish_max_in_flight_bytes=16 * MEBIBYTE)
    await bus.start()
    value = b"m" * MEBIBYTE
    started: list[asyncio.Future[Position]] = []
    with pytest.raises(ResourceExhausted) as refused:
        started.extend(bus.send(TOPIC.name, "k", value) for _ in range(20))
    # list.extend keeps what the generator gave before it raised
    assert refused.value.retry_after_seconds
    assert 10 <= len(started) <= 16
    assert len(set(await asyncio.gather(*started))) == len(started)
    await bus.publish(TOPIC.name, "k", value)


async def test_applied_follows_the_group(buses: Buses) -> None:
    gate = asyncio.Event()

    class Gated(Collector):
        async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
            await gate.wait()
            return []

    got = Gated()
    bus = await buses.start(got)
    positions = [await bus.publish(TOPIC.name, f"key-{index}", b"v%d" % index) for index in range(6)]
    assert not await bus.applied("one", positions)
    gate.set()
    await got.until(lambda: len(got.messages) == 6)
    await _until_applied(bus, positions)


async def _until_applied(bus: object, positions: list[Position]) -> None:
    async with asyncio.timeout(30):
        while not await bus.applied("one", positions):  # type: ignore[attr-defined]
            await asyncio.sleep(0.02)


async def test_lag_and_progress_are_told(buses: Buses) -> None:
    """B6: how far behind a group is can be asked."""
    gate = asyncio.Event()

    class Gated(Collector):
        async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
            await gate.wait()
            return []

    got = Gated()
    bus = await buses.start(got)
    await publish_all(bus, numbered(12))
    await eventually(lambda: sum(bus.subscriptions()[0].lag_messages.values()) == 12)
    assert bus.subscriptions()[0].oldest_unhandled_ms is not None
    gate.set()
    await got.until_values(set(numbered(12)))
    await eventually(lambda: sum(bus.subscriptions()[0].lag_messages.values()) == 0)
    status = bus.subscriptions()[0]
    assert (status.topic, status.group, status.state) == (TOPIC.name, "one", "running")
    for message in got.messages:
        assert status.applied[message.partition].next_offset > message.offset


async def test_a_tail_sees_what_comes_after_it_and_takes_nothing_away(buses: Buses) -> None:
    got = Collector()
    bus = await buses.start(got)
    await bus.publish(TOPIC.name, "k", b"before")
    await got.until_values({b"before"})
    seen: list[bytes] = []

    async def follow() -> None:
        async for message in bus.tail(TOPIC.name):
            seen.append(message.value)
            if message.value == b"last":
                return

    following = asyncio.create_task(follow())
    sent: list[bytes] = []
    while not seen:
        sent.append(b"%d" % len(sent))
        await bus.publish(TOPIC.name, "k", sent[-1])
    await bus.publish(TOPIC.name, "k", b"last")
    await asyncio.wait_for(following, 30)
    assert b"before" not in seen
    assert seen == [*sent, b"last"][-len(seen) :]
    await got.until_values({b"before", *sent, b"last"})


async def test_a_tail_of_a_topic_that_is_not_there_is_refused(buses: Buses) -> None:
    bus = await buses.start()
    with pytest.raises(NotFound):
        await anext(aiter(bus.tail("no-such-topic")))


async def test_a_tail_leaves_nothing_behind_when_it_is_cancelled(buses: Buses) -> None:
    bus = await buses.start()

    async def follow() -> None:
        async for _ in bus.tail(TOPIC.name):
            pass

    following = asyncio.create_task(follow())
    await bus.publish(TOPIC.name, "k", b"x")
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    got = Collector()
    await buses.start(got)
    await bus.publish(TOPIC.name, "k", b"y")
    await got.until_values({b"y"})


async def test_subscribing_to_a_running_bus_is_refused(buses: Buses) -> None:
    bus = await buses.start()
    with pytest.raises(FailedPrecondition, match="before the bus starts"):
        bus.subscribe(TOPIC.name, "late", Collector())


async def test_publishing_before_start_fails_without_counting_bytes(buses: Buses) -> None:
    bus = buses.make()
    with pytest.raises(Unavailable):
        await bus.publish(TOPIC.name, "k", b"x")
    await bus.start()
    await bus.publish(TOPIC.name, "k", b"x")


async def test_a_message_beyond_the_limit_is_refused_for_good(buses: Buses) -> None:
    if not buses.is_kafka:
        pytest.skip("PostgreSQL takes any size; the gRPC edge has the limit")
    bus = await buses.start()
    with pytest.raises(InvalidArgument):
        await bus.publish(TOPIC.name, "k", bytes(18 * MEBIBYTE))


async def test_the_largest_message_passes_whole(buses: Buses) -> None:
    got = Collector()
    bus = await buses.start(got)
    largest = random.Random(7).randbytes(16 * MEBIBYTE)
    await bus.publish(TOPIC.name, "k", largest)
    await bus.publish(TOPIC.name, "k", b"behind it")
    await got.until(lambda: len(got.messages) == 2)
    assert got.messages[0].value == largest
