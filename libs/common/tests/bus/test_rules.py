"""The bus's rules without any server: ratio, retry, headers, encoding, URLs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka.errors import KafkaError
from runstream_common.bus.asyncapi import asyncapi_document
from runstream_common.bus.dead_letter_headers import MAX_ERROR_BYTES, parking_headers, read_dead_letter
from runstream_common.bus.factory import build_bus
from runstream_common.bus.in_flight import InFlightBytes
from runstream_common.bus.kafka_consumer import KafkaSubscription
from runstream_common.bus.kafka_records import to_message
from runstream_common.bus.messages import Message, Outgoing, Rejected
from runstream_common.bus.policy import (
    DeadLetterPolicy,
    DeadLetterRatioExceededError,
    RatioLimit,
    RetryPolicy,
)
from runstream_common.bus.postgres_codec import ENCODING, KEY, decode_value, decoded_size_bytes, encode
from runstream_common.bus.runner import AbandonedError, BatchRunner, cut
from runstream_common.bus.subscription import Subscription
from runstream_common.errors import Aborted, FailedPrecondition, ResourceExhausted, Unavailable

from tests.support.bus import FAST, bus_settings, eventually

if TYPE_CHECKING:
    from collections.abc import Sequence


def message(offset: int = 0, value: bytes = b"v", headers: dict[str, str] | None = None) -> Message:
    return Message("t", "k", value, headers or {}, 0, offset, 1_700_000_000_000 + offset)


class FakeDelivery:
    """Records what the runner does; a hold may be the last."""

    def __init__(self, messages: Sequence[Message], holds: int = 1000) -> None:
        self._messages = messages
        self.parked: list[Rejected] = []
        self.commits = 0
        self.holds: list[float] = []
        self._holds_left = holds

    @property
    def messages(self) -> Sequence[Message]:
        return self._messages

    async def park(self, rejected: Sequence[Rejected], first_seen_ms: int) -> None:
        self.parked += rejected

    async def commit(self) -> None:
        self.commits += 1

    async def hold(self, seconds: float) -> None:
        self.holds.append(seconds)
        self._holds_left -= 1
        if self._holds_left < 0:
            raise AbandonedError("test")


def subscription(handler: object, **options: object) -> Subscription:
    made = Subscription("t", "g", handler, **options)  # type: ignore[arg-type]
    made.retry = FAST
    return made


async def test_a_batch_that_keeps_losing_is_halved() -> None:
    """A1: a batch too heavy to get through is tried in smaller parts."""
    sizes: list[int] = []

    async def only_two_at_a_time(batch: Sequence[Message]) -> list[Rejected]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise Aborted("deadlock")
        return []

    delivery = FakeDelivery([message(n) for n in range(8)])
    await BatchRunner(subscription(only_two_at_a_time)).run(delivery)
    assert sizes == [8, 8, 8, 4, 4, 4, 2, 2, 4, 4, 4, 2, 2]
    assert (delivery.commits, delivery.parked) == (1, [])


async def test_a_batch_is_not_halved_because_the_database_is_away() -> None:
    sizes: list[int] = []

    async def away(batch: Sequence[Message]) -> list[Rejected]:
        sizes.append(len(batch))
        raise Unavailable("away")

    delivery = FakeDelivery([message(n) for n in range(8)], holds=20)
    with pytest.raises(AbandonedError):
        await BatchRunner(subscription(away)).run(delivery)
    assert set(sizes) == {8}
    assert (delivery.commits, delivery.parked) == (0, [])


async def test_one_poison_message_of_many_costs_few_calls() -> None:
    calls = 0

    async def poisoned(batch: Sequence[Message]) -> list[Rejected]:
        nonlocal calls
        calls += 1
        if any(item.offset == 300 for item in batch):
            raise ValueError("bad")
        return []

    delivery = FakeDelivery([message(n) for n in range(512)])
    await BatchRunner(subscription(poisoned)).run(delivery)
    assert [item.message.offset for item in delivery.parked] == [300]
    assert calls <= 2 * 9 + 3


async def test_a_message_for_another_group_is_committed_unseen() -> None:
    seen: list[int] = []

    async def handler(batch: Sequence[Message]) -> list[Rejected]:
        seen.extend(item.offset for item in batch)
        return []

    delivery = FakeDelivery(
        [message(0), message(1, headers={"target-group": "other"}), message(2, headers={"target-group": "g"})]
    )
    await BatchRunner(subscription(handler)).run(delivery)
    assert seen == [0, 2]
    assert delivery.commits == 1


async def test_a_failed_commit_is_tried_again_without_handling_twice() -> None:
    calls = 0

    async def handler(batch: Sequence[Message]) -> list[Rejected]:
        nonlocal calls
        calls += 1
        return []

    class Stubborn(FakeDelivery):
        async def commit(self) -> None:
            await super().commit()
            if self.commits < 4:
                raise ConnectionError("away")

    delivery = Stubborn([message()])
    await BatchRunner(subscription(handler)).run(delivery)
    assert (calls, delivery.commits) == (1, 4)


async def test_isolating_a_batch_of_poison_stops_at_the_ratio() -> None:
    async def broken(batch: Sequence[Message]) -> list[Rejected]:
        raise KeyError("bug in a new release")

    made = subscription(broken, dead_letter=DeadLetterPolicy(attempts=1, max_ratio=0.5, min_messages=10))
    delivery = FakeDelivery([message(n) for n in range(200)])
    with pytest.raises(DeadLetterRatioExceededError):
        await BatchRunner(made).run(delivery)
    assert (delivery.commits, delivery.parked) == (0, [])
    assert made.state == "stopped"


def test_the_ratio_counts_only_after_enough_messages_and_looks_at_recent_ones() -> None:
    limit = RatioLimit(DeadLetterPolicy(max_ratio=0.1, min_messages=10))
    limit.check(9)
    with pytest.raises(DeadLetterRatioExceededError):
        limit.check(10)
    limit.record(handled=90, rejected=10)
    limit.check(0)
    with pytest.raises(DeadLetterRatioExceededError):
        limit.check(1)
    limit.record(handled=1_000_000, rejected=0)
    limit.check(50_000)
    with pytest.raises(DeadLetterRatioExceededError):
        limit.check(100_000)


def test_delays_grow_with_jitter_up_to_the_bound() -> None:
    policy = RetryPolicy(first_delay_seconds=0.1, max_delay_seconds=2.0)
    for attempt in range(1, 200):
        ceiling = min(2.0, 0.1 * 2 ** (attempt - 1)) if attempt < 30 else 2.0
        assert ceiling / 2 <= policy.delay_seconds(attempt) <= ceiling


def test_the_error_text_of_a_dead_letter_is_bounded_in_bytes_and_storable() -> None:
    rejected = Rejected(message(7, headers={"a": "b"}), "BAD", "é\x00" * 10_000, attempts=2)
    headers = parking_headers(rejected, "g", first_seen_ms=5)
    assert len(headers["dead-letter-error"].encode()) <= 2 * MAX_ERROR_BYTES
    assert "\x00" not in headers["dead-letter-error"]
    letter = read_dead_letter("0:1", "t", "g", message(1, headers=headers))
    assert (letter.message.offset, letter.message.headers, letter.attempts) == (7, {"a": "b"}, 2)
    assert (letter.reason, letter.first_seen_ms) == ("BAD", 5)


def test_an_error_that_quotes_half_a_character_can_be_parked() -> None:
    """JSON may hold a lone surrogate; a message that nobody can park would be held for ever."""
    headers = parking_headers(Rejected(message(), "BAD", "key \ud800 is unknown"), "g", first_seen_ms=5)
    assert headers["dead-letter-error"] == "key ? is unknown"


def test_a_foreign_dead_letter_can_still_be_read() -> None:
    letter = read_dead_letter("0:1", "t", "g", message(1, headers={"dead-letter-attempts": "many"}))
    assert (letter.reason, letter.attempts, letter.topic, letter.group) == ("UNKNOWN", 0, "t", "g")


def test_cutting_keeps_every_message_and_the_limit() -> None:
    sizes = [5, 5, 5, 20, 1, 1, 0, 0, 9]
    parts = [list(part) for part in cut(sizes, 10, lambda size: size)]
    assert parts[:4] == [[5, 5], [5], [20], [1, 1, 0, 0]]
    assert sum(parts, []) == sizes
    assert all(sum(part) <= 10 or len(part) == 1 for part in parts)


@pytest.mark.parametrize("value", [b"", b"short", b"a" * 100_000, bytes(range(256)) * 2])
def test_the_size_of_a_stored_value_is_known_without_decoding_it(value: bytes) -> None:
    """B5: a batch is cut before its values take memory, however well they were compressed."""
    payload, headers = encode(Outgoing("t", "k", value, {}))
    assert decoded_size_bytes(payload, headers) == len(value)


@pytest.mark.parametrize("value", [b"", b"short", b"a" * 100_000, bytes(range(256)) * 2])
def test_values_are_stored_compressed_only_when_that_is_smaller(value: bytes) -> None:
    payload, headers = encode(Outgoing("t", "k", value, {"x": "y"}))
    assert len(payload) <= len(value)
    assert (ENCODING in headers) == (len(payload) < len(value))
    assert headers[KEY] == "k"
    assert decode_value(payload, headers) == value


def test_bytes_in_flight_are_bounded_but_one_message_always_fits() -> None:
    """B5."""
    counter = InFlightBytes(100)
    counter.take(500, "t")
    with pytest.raises(ResourceExhausted):
        counter.take(1, "t")
    counter.give_back(500)
    counter.take(60, "t")
    counter.take(40, "t")
    with pytest.raises(ResourceExhausted):
        counter.take(1, "t")
    assert counter.current_bytes == 100


class Record:
    """What another language's producer may send."""

    key = b"\xff\xfe"
    value = None
    headers = (("bad", b"\xff"), ("none", None), ("fine", b"x"))
    partition, offset, timestamp = 3, 9, 12


def test_bytes_that_are_no_text_do_not_break_a_batch() -> None:
    got = to_message(Record(), "t")  # type: ignore[arg-type]
    assert got.value == b""
    assert got.headers == {"bad": "\ufffd", "none": "", "fine": "x"}
    assert got.key == "\ufffd\ufffd"


class BrokenConsumer:
    """Fails every poll that keeps a held batch's membership."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.polls = 0

    async def getmany(self, *_partitions: object, timeout_ms: int) -> None:
        self.polls += 1
        raise self._error


def held_on_kafka(consumer: BrokenConsumer) -> KafkaSubscription:
    async def away(batch: Sequence[Message]) -> list[Rejected]:
        raise Unavailable("database away")

    async def send(_outgoing: Outgoing) -> None:
        raise AssertionError("nothing is parked")

    return KafkaSubscription(
        subscription(away),
        physical_topic="t",
        send=send,
        consumer=lambda: consumer,  # type: ignore[arg-type,return-value]
    )


async def test_a_held_batch_stays_in_hand_while_the_broker_is_in_trouble() -> None:
    consumer = BrokenConsumer(KafkaError())
    held = held_on_kafka(consumer)
    handling = asyncio.create_task(held.on_batch((Record(),)))  # type: ignore[arg-type]
    await eventually(lambda: consumer.polls > 2)
    assert (handling.done(), held.subscription.state) == (False, "retrying")
    held.subscription.stopping.set()
    await handling


async def test_after_an_unforeseen_error_no_later_batch_is_taken() -> None:
    """The next batch's commit would skip the one that failed."""
    held = held_on_kafka(BrokenConsumer(RuntimeError("bug")))
    handling = asyncio.create_task(held.on_batch((Record(),)))  # type: ignore[arg-type]
    await eventually(lambda: held.subscription.state == "stopped")
    await asyncio.sleep(0)
    assert not handling.done()
    assert held.subscription.reason == "RuntimeError: bug"
    held.subscription.stopping.set()
    await handling


async def test_a_bus_url_without_a_broker_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match="names no broker"):
        build_bus(bus_settings("kafka://", "p."))


def test_every_topic_is_described_with_its_payload() -> None:
    document = asyncapi_document()
    channels, schemas = document["channels"], document["components"]["schemas"]
    assert {"run-logged", "run-changed", "run-logged.metadata.dead-letter"} <= set(channels)
    assert document["operations"]["consume-run-logged-metadata"]["action"] == "receive"
    run_logged = schemas["runstream.events.v1.RunLogged"]["properties"]
    assert run_logged["run_id"] == {"type": "string"}
    series = schemas["runstream.events.v1.MetricSeries"]["properties"]
    assert series["values"]["items"]["oneOf"][0] == {"type": "number", "format": "double"}
    assert series["steps"]["items"]["format"] == "int64"
    for name, channel in channels.items():
        for reference in channel["messages"].values():
            assert reference["$ref"].rpartition("/")[2] in document["components"]["messages"], name
