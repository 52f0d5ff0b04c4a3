"""What only Kafka has: partitions, foreign producers, offsets, a producer that loses its sequence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, OutOfOrderSequenceNumber
from runstream_common.bus import kafka
from runstream_common.bus.factory import build_bus
from runstream_common.bus.messages import Position, Rejected
from runstream_common.bus.policy import DeadLetterPolicy
from runstream_common.bus.topics import Topic
from runstream_common.errors import Unavailable

from tests.support.bus import (
    TOPIC,
    Buses,
    Collector,
    bus_settings,
    eventually,
    numbered,
    publish_all,
    subscribe,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runstream_common.bus.messages import Message


@pytest.fixture
async def buses(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Buses]:
    made = Buses(f"kafka://{kafka_bootstrap}", topic_prefix)
    yield made
    await made.stop()


@pytest.fixture
async def admin(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await client.start()
    yield client
    await client.close()


async def partitions_of(admin: AIOKafkaAdminClient, topic: str) -> int:
    [description] = await admin.describe_topics([topic])
    return len(description["partitions"])


async def test_topics_are_created_from_settings_and_existing_ones_left_alone(
    kafka_bootstrap: str, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    await admin.create_topics([NewTopic(f"{topic_prefix}old", 2, 1)])
    topics = [
        Topic("old", "", "", ""),
        Topic("new", "", "", ""),
        Topic("own", "", "", "", partitions=5, retention_hours=2),
    ]
    bus = build_bus(bus_settings(f"kafka://{kafka_bootstrap}", topic_prefix, kafka_retention_hours=3), topics)
    await bus.start()
    await bus.ensure_topics()
    await bus.stop()
    counts = [await partitions_of(admin, f"{topic_prefix}{topic.name}") for topic in topics]
    assert counts == [2, 3, 5]


async def test_a_plain_producer_needs_no_key_and_no_headers(
    buses: Buses, kafka_bootstrap: str, topic_prefix: str
) -> None:
    got = Collector()
    await buses.start(got)
    foreign = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await foreign.start()
    topic = f"{topic_prefix}{TOPIC.name}"
    await foreign.send_and_wait(topic, b"bare")
    await foreign.send_and_wait(topic, b"odd", key=b"\xff", headers=[("h", b"\xff\x00"), ("none", None)])
    await foreign.stop()
    await got.until_values({b"bare", b"odd"})
    assert {message.key for message in got.messages} == {"", "\ufffd"}


async def test_a_bad_message_that_is_too_large_to_park_holds_up_nothing(
    buses: Buses, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """A foreign producer's compression gets it past the broker's limit."""

    class Rejecting(Collector):
        async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
            return [Rejected(item, "TOO_LARGE", "send less") for item in batch if len(item.value) > 100]

    got = Rejecting()
    bus = await buses.start(got, dead_letter=DeadLetterPolicy(max_ratio=1.0))
    foreign = AIOKafkaProducer(
        bootstrap_servers=kafka_bootstrap, compression_type="zstd", max_request_size=2**26
    )
    await foreign.start()
    topic = f"{topic_prefix}{TOPIC.name}"
    placed = await foreign.send_and_wait(topic, bytes(20 * 1024 * 1024), partition=0)
    await foreign.send_and_wait(topic, b"behind it", partition=0)
    await foreign.stop()
    await got.until_values({b"behind it"})
    [letter] = await bus.list_dead_letters(TOPIC.name, "one")
    assert (letter.reason, letter.message.value) == ("TOO_LARGE", b"")
    assert (letter.message.partition, letter.message.offset) == (0, placed.offset)
    assert "20971520 bytes" in letter.error


async def test_only_what_was_handled_is_committed(
    buses: Buses, topic_prefix: str, admin: AIOKafkaAdminClient
) -> None:
    """FastStream's ack would commit the consumed position of every partition, also of what is still in hand."""
    gate = asyncio.Event()

    class Gated(Collector):
        async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
            if self.batches:
                await gate.wait()
            return []

    got = Gated()
    bus = await buses.start(got, max_messages=4)
    await publish_all(bus, numbered(30))
    await got.until(lambda: len(got.batches) == 1)

    async def committed() -> dict[TopicPartition, Any]:
        return await admin.list_consumer_group_offsets(f"{topic_prefix}one")  # type: ignore[no-any-return]

    first = got.batches[0]
    expected = {message.partition: message.offset + 1 for message in first}
    async with asyncio.timeout(30):
        while {item.partition: at.offset for item, at in (await committed()).items()} != expected:
            await asyncio.sleep(0.02)
    gate.set()
    await got.until_values(set(numbered(30)))


async def test_a_batch_held_longer_than_the_poll_interval_keeps_its_membership(
    buses: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database outage of any length must not cost the group its member."""
    monkeypatch.setattr("runstream_common.bus.kafka.MAX_POLL_INTERVAL_MS", 1_500)
    monkeypatch.setattr("runstream_common.bus.kafka.SESSION_TIMEOUT_MS", 6_000)
    assignments: list[frozenset[int]] = []
    held = asyncio.Event()
    recovered = asyncio.Event()

    class Away(Collector):
        async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
            held.set()
            if not recovered.is_set():
                raise Unavailable("database away")
            return []

    got = Away()
    bus = await buses.start(got, on_partitions=assignments.append)
    await bus.publish(TOPIC.name, "k", b"v")
    await held.wait()
    loop = asyncio.get_running_loop()
    start = loop.time()
    await eventually(lambda: loop.time() - start > 4.5)
    recovered.set()
    await got.until_values({b"v"})
    assert len(assignments) == 1, "no rebalance happened"


@pytest.mark.parametrize(
    "error", [OutOfOrderSequenceNumber(), KafkaError("Unexpected error during batch delivery")]
)
async def test_a_producer_that_is_of_no_more_use_is_replaced(buses: Buses, error: Exception) -> None:
    got = Collector()
    bus = buses.make()
    subscribe(bus, got)
    await bus.start()
    await bus.publish(TOPIC.name, "k", b"before")
    publisher = bus._transport._publisher  # type: ignore[attr-defined]
    real, broken = publisher._broker.publish, True

    async def fail_once(*args: Any, **options: Any) -> Any:
        nonlocal broken
        if broken:
            broken = False
            raise error
        return await real(*args, **options)

    publisher._broker.publish = fail_once
    old = publisher._broker.config.producer._producer.producer
    with pytest.raises(Unavailable):
        await bus.publish(TOPIC.name, "k", b"lost")
    await eventually(lambda: publisher._broker.config.producer._producer.producer is not old)
    await bus.publish(TOPIC.name, "k", b"after")
    await got.until_values({b"before", b"after"})
    assert publisher._in_flight.current_bytes == 0


async def test_a_repeat_whose_place_kafka_forgot_is_placed_no_earlier_than_it_is(buses: Buses) -> None:
    bus = await buses.start()
    first = await bus.publish(TOPIC.name, "k", b"1")
    publisher = bus._transport._publisher  # type: ignore[attr-defined]
    real = publisher._broker.publish

    async def forgetful(*args: Any, **options: Any) -> Any:
        """As aiokafka answers DuplicateSequenceNumber for a batch's second message."""
        record = await (await real(*args, **options))
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(record._replace(offset=0, log_start_offset=-1))
        return answer

    publisher._broker.publish = forgetful
    second = await bus.publish(TOPIC.name, "k", b"2")
    assert second == Position(TOPIC.name, first.partition, first.offset + 1)


async def test_a_group_that_never_was_has_no_dead_letters(buses: Buses) -> None:
    bus = await buses.start()
    assert await bus.list_dead_letters(TOPIC.name, "nobody") == []
    assert await bus.count_dead_letters(TOPIC.name, "nobody") == 0


async def test_a_subscription_that_does_not_stop_keeps_nothing_from_being_flushed(
    buses: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka may wait for ever for a task of its own; what was published must become durable all the same."""
    monkeypatch.setattr(kafka, "LEAVE_SECONDS", 0.05)
    bus = await buses.start(Collector())
    transport: Any = bus._transport
    (subscriber,) = transport._broker.subscribers
    stop, hung = subscriber.stop, asyncio.Event()
    monkeypatch.setattr(subscriber, "stop", hung.wait)
    published = bus.send(TOPIC.name, "key", b"value")
    await transport.stop_subscriptions()
    monkeypatch.setattr(subscriber, "stop", stop)
    await bus.stop()
    assert published.done()
    assert published.exception() is None
