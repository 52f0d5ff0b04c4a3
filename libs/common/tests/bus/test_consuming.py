"""Durable groups of consumers from outside, the same over Kafka and PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from runstream_common.bus.topics import RUN_LOGGED
from runstream_common.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)

from tests.support.bus import PATIENCE_SECONDS, TOPIC, Buses, Collector, eventually, numbered, publish_all
from tests.support.consuming import GROUP, Member, drain, next_of


async def test_a_new_group_gets_everything_that_another_process_publishes_from_then_on(buses: Buses) -> None:
    """D3: a deployment system misses no event."""
    publisher, mine = await buses.start(), await buses.start()
    await publish_all(publisher, [b"before"])
    async with mine.consume(TOPIC.name, GROUP) as consumer:
        assert consumer.created
    # Nobody consumes now, and the group keeps what it gets all the same.
    await publish_all(publisher, numbered(20))
    async with mine.consume(TOPIC.name, GROUP) as consumer:
        assert not consumer.created
        assert sorted(await drain(consumer, 20)) == sorted(numbered(20))
        await publish_all(publisher, [b"after"])
        assert await drain(consumer, 1) == [b"after"]


async def test_a_new_group_may_start_with_what_the_bus_still_holds(buses: Buses) -> None:
    bus = await buses.start()
    await publish_all(bus, numbered(10))
    async with bus.consume(TOPIC.name, GROUP, from_beginning=True) as consumer:
        assert sorted(await drain(consumer, 10)) == sorted(numbered(10))
    async with bus.consume(TOPIC.name, GROUP, from_beginning=True) as consumer:
        await publish_all(bus, [b"next"])
        assert await drain(consumer, 1) == [b"next"], "only a new group starts anew"


async def test_what_was_not_settled_is_given_again_and_the_rest_exactly_once_in_order(buses: Buses) -> None:
    bus = await buses.start()
    async with bus.consume(TOPIC.name, GROUP) as consumer:
        for value in numbered(6):
            await bus.publish(TOPIC.name, "key", value)
        assert await drain(consumer, 3) == numbered(3)
        assert (await next_of(consumer)).value == b"3"
    async with bus.consume(TOPIC.name, GROUP) as consumer:
        assert await drain(consumer, 3) == numbered(3, start=3)


async def test_an_event_is_settled_before_the_next_one_and_only_once(buses: Buses) -> None:
    bus = await buses.start()
    async with bus.consume(TOPIC.name, GROUP) as consumer:
        await publish_all(bus, numbered(1))
        with pytest.raises(FailedPrecondition, match="no event in hand"):
            await consumer.acknowledge()
        await next_of(consumer)
        with pytest.raises(FailedPrecondition, match="settle"):
            await consumer.next()
        assert await consumer.acknowledge()
        with pytest.raises(FailedPrecondition, match="no event in hand"):
            await consumer.reject("X")


async def test_members_share_the_events_of_a_group(buses: Buses) -> None:
    bus, other = await buses.start(), await buses.start()
    members = [Member(bus), Member(other)]
    for member in members:
        await asyncio.wait_for(member.joined.wait(), PATIENCE_SECONDS)
    sent: list[bytes] = []
    while not all(member.values for member in members):
        values = numbered(20, start=len(sent))
        await publish_all(bus, values)
        sent += values
    await eventually(lambda: sum(len(member.values) for member in members) >= len(sent))
    for member in members:
        await member.stop()
    assert sorted(members[0].values + members[1].values) == sorted(sent)


async def test_the_order_of_a_key_holds_over_members(buses: Buses) -> None:
    bus = await buses.start()
    gate = asyncio.Event()
    first = Member(bus, gate)
    await asyncio.wait_for(first.joined.wait(), PATIENCE_SECONDS)
    for value in numbered(4):
        await bus.publish(TOPIC.name, "one key", value)
    await eventually(lambda: bool(first.values))
    if buses.is_kafka:
        gate.set()  # the second member's join waits for the event in hand
    second = Member(bus)
    await asyncio.wait_for(second.joined.wait(), PATIENCE_SECONDS)
    await bus.publish(TOPIC.name, "another key", b"other")
    if not buses.is_kafka:
        await eventually(lambda: second.values == [b"other"])
        assert first.values == [b"0"], "the key is held up by its oldest event"
        gate.set()
    await eventually(lambda: len(first.values) + len(second.values) == 5)
    for member in (first, second):
        await member.stop()
        mine = [value for value in member.values if value != b"other"]
        assert mine == sorted(mine)
    assert sorted(first.values + second.values) == [*numbered(4), b"other"]


async def test_a_rejected_event_is_a_dead_letter_of_the_group_and_can_be_replayed(buses: Buses) -> None:
    """B8: what was given up is kept with its reason."""
    bus = await buses.start()
    async with bus.consume(TOPIC.name, GROUP) as consumer, bus.consume(TOPIC.name, "other") as bystander:
        await bus.publish(TOPIC.name, "key", b"bad", {"note": "x"})
        await bus.publish(TOPIC.name, "key", b"good")
        assert await drain(bystander, 2) == [b"bad", b"good"]
        assert (await next_of(consumer)).value == b"bad"
        assert await consumer.reject("COMMAND_FAILED", "exit status 3", attempts=4)
        assert await drain(consumer, 1) == [b"good"]
        [letter] = await bus.list_dead_letters(TOPIC.name, GROUP)
        assert (letter.reason, letter.error, letter.attempts) == ("COMMAND_FAILED", "exit status 3", 4)
        assert (letter.message.key, letter.message.value) == ("key", b"bad")
        assert letter.message.headers["note"] == "x"
        assert not await bus.list_dead_letters(TOPIC.name, "other")
        await bus.replay_dead_letters(TOPIC.name, GROUP)
        assert await drain(consumer, 1) == [b"bad"]
        assert not await bus.list_dead_letters(TOPIC.name, GROUP)
        await bus.publish(TOPIC.name, "key", b"last")
        assert await drain(bystander, 1) == [b"last"], "a replay is for its own group alone"


async def test_a_deleted_group_is_new_again_and_its_backlog_gone(buses: Buses) -> None:
    bus = await buses.start()
    async with bus.consume(TOPIC.name, GROUP):
        pass
    await publish_all(bus, numbered(3))
    await bus.delete_group(TOPIC.name, GROUP)
    with pytest.raises(NotFound):
        await bus.delete_group(TOPIC.name, GROUP)
    async with bus.consume(TOPIC.name, GROUP) as consumer:
        assert consumer.created
        await bus.publish(TOPIC.name, "k", b"fresh")
        assert await drain(consumer, 1) == [b"fresh"]


async def test_deleting_a_group_that_has_members(buses: Buses) -> None:
    bus = await buses.start()
    async with bus.consume(TOPIC.name, GROUP) as consumer:
        if buses.is_kafka:
            with pytest.raises(FailedPrecondition, match="has members"):
                await bus.delete_group(TOPIC.name, GROUP)
        else:
            waiting = asyncio.create_task(consumer.next())
            await bus.delete_group(TOPIC.name, GROUP)
            with pytest.raises(NotFound, match="no consumer group"):
                await asyncio.wait_for(waiting, PATIENCE_SECONDS)


@pytest.mark.parametrize("group", ["", "a b", "x" * 101, "ünï", "one.dead-letter", "../x"])
async def test_a_group_needs_a_proper_name(buses: Buses, group: str) -> None:
    bus = buses.make()
    with pytest.raises(InvalidArgument) as refused:
        async with bus.consume(TOPIC.name, group):
            pass
    assert [item.field for item in refused.value.violations] == ["group"]


async def test_the_platforms_own_groups_are_refused(buses: Buses) -> None:
    bus = await buses.start(Collector(), "billing")
    for topic, group in (
        (RUN_LOGGED.name, "metadata"),
        (TOPIC.name, "registry"),
        (TOPIC.name, "billing"),
        (TOPIC.name, "tail-1"),
    ):
        with pytest.raises(PermissionDenied, match="platform's own"):
            async with bus.consume(topic, group):
                pass
        with pytest.raises(PermissionDenied, match="platform's own"):
            await bus.delete_group(topic, group)


async def test_another_process_knows_a_service_s_group_on_postgres(buses: Buses) -> None:
    if buses.is_kafka:
        pytest.skip("Kafka does not tell whose group it is")
    await buses.start(Collector(), "billing")
    stranger = await buses.start()
    with pytest.raises(PermissionDenied, match="platform's own"):
        async with stranger.consume(TOPIC.name, "billing"):
            pass
    with pytest.raises(NotFound):
        await stranger.delete_group(TOPIC.name, "billing")


async def test_a_topic_must_exist(buses: Buses) -> None:
    bus = await buses.start()
    with pytest.raises(NotFound, match="no topic"):
        async with bus.consume("nothing", GROUP):
            pass


async def test_consumers_of_a_process_are_bounded(buses: Buses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runstream_common.bus.api.MAX_CONSUMERS", 2)
    bus = await buses.start()
    async with AsyncExitStack() as open_ones:
        for group in ("one", "two"):
            await open_ones.enter_async_context(bus.consume(TOPIC.name, group))
        with pytest.raises(ResourceExhausted):
            async with bus.consume(TOPIC.name, "three"):
                pass
    async with bus.consume(TOPIC.name, "three"):
        pass
