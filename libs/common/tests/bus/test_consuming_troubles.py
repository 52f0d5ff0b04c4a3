"""What may go wrong with consumers from outside: work that takes long, rebalances, leases, abandoned groups."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY
from runstream_common.bus import kafka, kafka_events, postgres_events
from runstream_common.bus.factory import build_bus
from runstream_common.bus.postgres_groups import PostgresGroups
from runstream_common.bus.postgres_schema import SCHEMA
from runstream_common.bus.topics import Topic
from runstream_common.database import Database
from sqlalchemy import text

from tests.support.bus import (
    PATIENCE_SECONDS,
    TOPIC,
    Buses,
    bus_settings,
    eventually,
    numbered,
    publish_all,
)
from tests.support.consuming import GROUP, Member, drain, next_of

if TYPE_CHECKING:
    from runstream_common.bus.consuming import EventConsumer


async def test_an_event_in_hand_for_long_stays_with_its_member(
    buses: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command may take longer than any lease, session or poll interval."""
    monkeypatch.setattr(postgres_events, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(postgres_events, "RENEW_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(postgres_events, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(kafka, "SESSION_TIMEOUT_MS", 6000)
    bus = await buses.start()
    async with bus.consume(TOPIC.name, GROUP) as consumer:
        await bus.publish(TOPIC.name, "key", b"long")
        held = await next_of(consumer)
        # As long as it takes a group without heartbeats or leases to give the event to somebody else.
        async with bus.consume(TOPIC.name, "clock") as clock:
            began = held.timestamp_ms
            while True:
                await bus.publish(TOPIC.name, "clock", b"tick")
                tick = await next_of(clock)
                await clock.acknowledge()
                if tick.timestamp_ms - began > (7000 if buses.is_kafka else 1500):
                    break
        assert await consumer.acknowledge()


async def test_an_event_that_outlives_a_rebalance_is_kept_or_given_to_another_but_never_lost(
    buses: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not buses.is_kafka:
        pytest.skip("PostgreSQL has leases of single messages, and no rebalance")
    monkeypatch.setattr(kafka_events, "REVOKE_WAIT_SECONDS", 0.05)
    bus, other = await buses.start(), await buses.start()
    async with bus.consume(TOPIC.name, GROUP) as consumer:
        for round_number in range(6):  # whether the partition moves is up to the assignor
            value = b"event %d" % round_number
            await bus.publish(TOPIC.name, f"key-{round_number}", value)
            assert (await next_of(consumer)).value == value
            newcomer = Member(other)
            await asyncio.wait_for(newcomer.joined.wait(), PATIENCE_SECONDS)
            if await consumer.acknowledge():
                await bus.publish(TOPIC.name, f"key-{round_number}", b"behind")
                got = await first_of(consumer, newcomer)
                assert got == b"behind", "what was settled is not given to anybody again"
            else:
                await eventually(lambda member=newcomer, value=value: value in member.values)  # type: ignore[misc]
            await newcomer.stop()


async def first_of(consumer: EventConsumer, member: Member) -> bytes:
    """The next event of either."""
    mine = asyncio.create_task(consumer.next())
    while not mine.done() and not member.values:
        await asyncio.wait({mine}, timeout=0.05)
    if mine.done():
        await consumer.acknowledge()
        return mine.result().value
    mine.cancel()
    await asyncio.wait({mine})
    return member.values[0]


async def test_a_group_that_reads_another_topic_already_misses_nothing_of_a_new_one(buses: Buses) -> None:
    other_topic = Topic("others", "", "", "")
    bus = build_bus(bus_settings(buses.url, buses.prefix), [TOPIC, other_topic])
    await bus.start()
    try:
        async with bus.consume(TOPIC.name, GROUP) as first:
            await bus.publish(other_topic.name, "k", b"before")
            async with bus.consume(other_topic.name, GROUP) as second:
                assert second.created
            for value in numbered(5):
                await bus.publish(other_topic.name, value.decode(), value)
            async with bus.consume(other_topic.name, GROUP) as second:
                assert not second.created
                assert sorted(await drain(second, 5)) == numbered(5)
            await bus.publish(TOPIC.name, "k", b"still")
            assert await drain(first, 1) == [b"still"]
    finally:
        await bus.stop()


async def test_a_message_whose_lease_ran_out_belongs_to_who_has_it_then(
    buses: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process that stood still does too late changes nothing."""
    if buses.is_kafka:
        pytest.skip("Kafka has sessions instead of leases")
    monkeypatch.setattr(postgres_events, "LEASE_SECONDS", 0.1)
    monkeypatch.setattr(postgres_events, "RENEW_EVERY_SECONDS", 3600.0)
    monkeypatch.setattr(postgres_events, "POLL_SECONDS", 0.05)
    bus = await buses.start()
    async with bus.consume(TOPIC.name, GROUP) as slow, bus.consume(TOPIC.name, GROUP) as quick:
        await bus.publish(TOPIC.name, "k", b"one")
        assert (await next_of(slow)).value == b"one"
        assert (await next_of(quick)).value == b"one"
        assert not await slow.reject("TOO_LATE")
        assert await quick.acknowledge()
        assert not await bus.list_dead_letters(TOPIC.name, GROUP)


async def test_an_abandoned_group_does_not_fill_the_disk(buses: Buses) -> None:
    """B3: what nobody reads is bounded."""
    if buses.is_kafka:
        pytest.skip("Kafka's retention does that")
    bus = await buses.start()
    async with bus.consume(TOPIC.name, GROUP):
        await publish_all(bus, numbered(3))
    database = Database(buses.url, schema=SCHEMA)
    groups = PostgresGroups(database, buses.prefix)
    labels = {"topic": TOPIC.name, "group": GROUP}
    before = REGISTRY.get_sample_value("runstream_bus_expired_messages_total", labels) or 0.0
    await groups.expire(backlog_hours=1, dead_letter_hours=1)
    async with database.transaction() as session:
        aged = await session.execute(
            text(f"UPDATE {SCHEMA}.message SET next_attempt_at = now() - interval '61 minutes'")
        )
    assert aged.rowcount == 3, "what is young stays"
    await groups.expire(backlog_hours=1, dead_letter_hours=1)
    after = REGISTRY.get_sample_value("runstream_bus_expired_messages_total", labels)
    await database.stop()
    assert after == before + 3
    async with bus.consume(TOPIC.name, GROUP) as consumer:
        await publish_all(bus, [b"next"])
        assert await drain(consumer, 1) == [b"next"]


async def test_tables_of_the_first_version_are_brought_up_to_date(buses: Buses) -> None:
    if buses.is_kafka:
        pytest.skip("Kafka has no tables")
    await (await buses.start()).stop()
    database = Database(buses.url, schema=SCHEMA)
    async with database.transaction() as session:
        await session.execute(text(f"ALTER TABLE {SCHEMA}.subscription DROP COLUMN external"))
    await database.stop()
    bus = await buses.start()
    async with bus.consume(TOPIC.name, GROUP) as consumer:
        await publish_all(bus, [b"x"])
        assert await drain(consumer, 1) == [b"x"]
