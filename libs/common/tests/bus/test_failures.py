"""Retries, poison messages, dead letters and restarts, the same over Kafka and PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from runstream_common.bus import kafka, postgres
from runstream_common.bus.messages import Rejected
from runstream_common.bus.policy import DeadLetterPolicy
from runstream_common.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PoisonMessage,
    RetryLater,
    Unavailable,
)

from tests.support.bus import TOPIC, Buses, Collector, eventually, numbered, publish_all, subscribe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.bus.messages import Message

PATIENT = DeadLetterPolicy(attempts=3, max_ratio=1.0, min_messages=1000)


class Failing(Collector):
    """Raises the given errors first, one a call, then works."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self._errors = list(errors)
        self.failed: list[list[Message]] = []

    async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
        if self._errors:
            self.failed.append(list(batch))
            raise self._errors.pop(0)
        return []


class Picky(Collector):
    """Raises for the whole batch when a bad message is in it."""

    def __init__(self, error: Exception, bad: bytes = b"bad") -> None:
        super().__init__()
        self._error = error
        self._bad = bad
        self.calls_with_bad = 0

    async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
        if any(message.value.startswith(self._bad) for message in batch):
            self.calls_with_bad += 1
            raise self._error
        return []


class Rejecting(Collector):
    """Rejects messages that begin with `bad`, and applies the others."""

    async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
        return [
            Rejected(message, "RUN_NOT_FOUND", "create the run first")
            for message in batch
            if message.value.startswith(b"bad")
        ]


async def test_a_failed_batch_over_several_partitions_loses_nothing(buses: Buses) -> None:
    """ag2ai/faststream#2618: a later commit must not skip what a failed batch left unacknowledged."""
    producer = await buses.start()
    values = numbered(60)
    await publish_all(producer, values)
    got = Failing(ConnectionError("down"), Unavailable("down"), ConnectionError("down"))
    consumer = await buses.start(got)
    await got.until_values(set(values))
    await publish_all(producer, numbered(60, start=60))
    await got.until_values(set(numbered(120)))
    assert len(got.failed) == 3
    if buses.is_kafka:
        assert len({message.partition for message in got.messages}) == 3
    await consumer.stop()
    again = Collector()
    await buses.start(again)
    await producer.publish(TOPIC.name, "k", b"end")
    await again.until_values({b"end"})
    assert again.values == {b"end"}, "everything before was committed"


async def test_a_batch_held_at_shutdown_is_delivered_again(buses: Buses) -> None:
    producer = await buses.start()
    values = numbered(30)
    await publish_all(producer, values)
    stuck = Failing(*(Unavailable("database away") for _ in range(100_000)))
    consumer = await buses.start(stuck)
    await eventually(lambda: len(stuck.failed) > 2)
    await eventually(lambda: consumer.subscriptions()[0].state == "retrying")
    await consumer.stop()
    assert not stuck.messages
    got = Collector()
    await buses.start(got)
    await got.until_values(set(values))


async def test_a_restart_amid_a_batch_delivers_it_again(
    buses: Buses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while the handler works, and past the grace: the next process sees the batch again."""
    monkeypatch.setattr(kafka, "STOP_SECONDS", 1.0)
    monkeypatch.setattr(postgres, "STOP_SECONDS", 1.0)
    producer = await buses.start()
    values = numbered(20)
    await publish_all(producer, values)
    entered = asyncio.Event()

    class Dying(Collector):
        async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
            entered.set()
            await asyncio.Event().wait()
            return []

    consumer = await buses.start(Dying())
    await entered.wait()
    stopping = asyncio.create_task(consumer.stop())
    got = Collector()
    await buses.start(got)
    await got.until_values(set(values))
    await stopping


async def test_a_lease_that_nobody_renews_any_more_is_noticed(
    database_url: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_self: object) -> None:
        raise ValueError("bug")

    monkeypatch.setattr(postgres.PostgresSubscription, "renew_leases", broken)
    buses = Buses(database_url, topic_prefix)
    bus = await buses.start(Collector())
    try:
        with pytest.raises(FailedPrecondition, match=r"leases of things\.one ended"):
            await bus.ping()
    finally:
        await buses.stop()


@pytest.mark.parametrize(
    "error", [RetryLater(0.01, "wait"), Unavailable("away"), ConnectionResetError("gone")]
)
async def test_a_transient_error_is_retried_until_it_passes(buses: Buses, error: Exception) -> None:
    """B1: while the database is down, batches are held, never dropped."""
    got = Failing(*[error] * 8)
    bus = await buses.start(got, dead_letter=DeadLetterPolicy(attempts=1, max_ratio=1.0))
    await bus.publish(TOPIC.name, "k", b"value")
    await got.until_values({b"value"})
    assert len(got.failed) == 8
    assert await bus.count_dead_letters(TOPIC.name, "one") == 0
    await eventually(lambda: bus.subscriptions()[0].state == "running")


async def test_poison_is_parked_alone_and_its_neighbours_are_applied(buses: Buses) -> None:
    producer = await buses.start()
    good = numbered(30)
    await publish_all(producer, [*good[:15], b"bad-1", *good[15:], b"bad-2"])
    got = Picky(ValueError("cannot decode \x00 this"))
    await buses.start(got, dead_letter=PATIENT)
    await got.until_values(set(good))
    letters = await _letters(producer, 2)
    assert {letter.message.value for letter in letters} == {b"bad-1", b"bad-2"}
    for letter in letters:
        assert (letter.topic, letter.group, letter.reason) == (TOPIC.name, "one", "UNEXPECTED_ERROR")
        assert letter.attempts == 3
        assert letter.error.startswith("ValueError: cannot decode")
        assert letter.parked_at_ms >= letter.first_seen_ms > 1_700_000_000_000
        assert letter.message.key == f"key-{letter.message.value.decode()}"
        assert "event-id" in letter.message.headers
        assert not [name for name in letter.message.headers if name.startswith("dead-letter")]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PoisonMessage("BAD_PROTO", "fix it"), "BAD_PROTO"),
        (InvalidArgument(message="no"), "INVALID_ARGUMENT"),
    ],
)
async def test_a_refusal_is_not_tried_again(buses: Buses, error: Exception, reason: str) -> None:
    got = Picky(error)
    bus = await buses.start(got, dead_letter=PATIENT)
    await bus.publish(TOPIC.name, "k", b"bad")
    [letter] = await _letters(bus, 1)
    assert (letter.reason, letter.attempts, got.calls_with_bad) == (reason, 1, 1)


async def test_rejected_messages_are_parked_and_the_rest_is_committed(buses: Buses) -> None:
    got = Rejecting()
    bus = await buses.start(got, dead_letter=PATIENT)
    await publish_all(bus, [b"1", b"bad", b"2"])
    await got.until_values({b"1", b"2"})
    [letter] = await _letters(bus, 1)
    assert (letter.reason, letter.error, letter.attempts) == ("RUN_NOT_FOUND", "create the run first", 1)


async def test_too_many_bad_messages_stop_the_subscription_and_lose_nothing(buses: Buses) -> None:
    producer = await buses.start()
    values = [b"bad-%d" % index for index in range(12)]
    await publish_all(producer, values)
    bus = await buses.start(
        Rejecting(), dead_letter=DeadLetterPolicy(attempts=1, max_ratio=0.5, min_messages=5), max_messages=100
    )
    await eventually(lambda: bus.subscriptions()[0].state == "stopped")
    with pytest.raises(FailedPrecondition, match="rejected"):
        await bus.ping()
    parked = {
        letter.message.value for letter in await producer.list_dead_letters(TOPIC.name, "one", limit=100)
    }
    assert len(parked) <= 4
    await bus.stop()
    got = Collector()
    await buses.start(got)
    await got.until_values(set(values) - parked)


async def test_dead_letters_are_listed_by_page_shown_and_replayed_to_their_group_alone(buses: Buses) -> None:
    bus = buses.make()
    refusing, other = Rejecting(), Collector()
    subscribe(bus, refusing, "one", dead_letter=PATIENT)
    subscribe(bus, other, "two")
    await bus.start()
    values = [b"bad-%d" % index for index in range(5)]
    for value in values:
        await bus.publish(TOPIC.name, "k", value, {"content-type": "a/b"})
    letters = await _letters(bus, 5)
    assert [letter.message.value for letter in letters] == values
    first = await bus.list_dead_letters(TOPIC.name, "one", limit=2)
    rest = await bus.list_dead_letters(TOPIC.name, "one", limit=10, after=first[-1].id)
    assert [letter.id for letter in (*first, *rest)] == [letter.id for letter in letters]
    shown = await bus.get_dead_letter(TOPIC.name, "one", letters[3].id)
    assert (shown.message.value, shown.message.headers["content-type"]) == (values[3], "a/b")
    await other.until(lambda: len(other.messages) == 5)
    await bus.stop()

    healed, other_again = Collector(), Collector()
    bus = buses.make()
    subscribe(bus, healed, "one")
    subscribe(bus, other_again, "two")
    await bus.start()
    assert await bus.replay_dead_letters(TOPIC.name, "one", ids=[letters[3].id]) == 1
    await healed.until_values({values[3]})
    assert healed.messages[0].headers["content-type"] == "a/b"
    # a page may go on from a letter that has left the list
    behind = await bus.list_dead_letters(TOPIC.name, "one", limit=10, after=letters[3].id)
    assert [letter.id for letter in behind] == [letters[4].id]
    assert await bus.replay_dead_letters(TOPIC.name, "one", limit=3) == 3
    assert await bus.count_dead_letters(TOPIC.name, "one") == 1
    assert await bus.replay_dead_letters(TOPIC.name, "one") == 1
    await healed.until_values(set(values))
    assert await bus.list_dead_letters(TOPIC.name, "one") == []
    await bus.publish(TOPIC.name, "k", b"end")
    await other_again.until_values({b"end"})
    assert other_again.values == {b"end"}, "a replay is for one group"
    with pytest.raises(NotFound):
        await bus.get_dead_letter(TOPIC.name, "one", letters[0].id)


async def test_discarded_messages_reach_nobody_and_leave_the_list(buses: Buses) -> None:
    bus = await buses.start(Rejecting(), dead_letter=PATIENT)
    for index in range(3):
        await bus.publish(TOPIC.name, "k", b"bad-%d" % index)
    letters = await _letters(bus, 3)
    with pytest.raises(NotFound):
        await bus.discard_dead_letters(TOPIC.name, "one", ids=[letters[0].id, "0:999999999"])
    assert await bus.discard_dead_letters(TOPIC.name, "one", ids=[letters[1].id]) == 1
    left = await bus.list_dead_letters(TOPIC.name, "one")
    assert [letter.id for letter in left] == [letters[0].id, letters[2].id]
    assert await bus.discard_dead_letters(TOPIC.name, "one") == 2
    assert await bus.count_dead_letters(TOPIC.name, "one") == 0
    with pytest.raises(NotFound):
        await bus.get_dead_letter(TOPIC.name, "one", letters[1].id)


async def test_a_replayed_message_that_is_still_bad_is_parked_again(buses: Buses) -> None:
    bus = await buses.start(Rejecting(), dead_letter=PATIENT)
    await bus.publish(TOPIC.name, "k", b"bad")
    [before] = await _letters(bus, 1)
    await bus.replay_dead_letters(TOPIC.name, "one")

    async def parked_again() -> bool:
        found = await bus.list_dead_letters(TOPIC.name, "one")
        return [letter.parked_at_ms > before.parked_at_ms for letter in found] == [True]

    async with asyncio.timeout(30):
        while not await parked_again():
            await asyncio.sleep(0.05)
    [after] = await bus.list_dead_letters(TOPIC.name, "one")
    assert after.message.value == b"bad"


async def test_two_consumers_share_a_group_and_take_over_from_each_other(buses: Buses) -> None:
    producer = await buses.start()
    left, right = Collector(), Collector()
    share: dict[str, frozenset[int]] = {}
    first = await buses.start(left, max_messages=5, on_partitions=lambda mine: share.update(left=mine))
    second = await buses.start(right, max_messages=5, on_partitions=lambda mine: share.update(right=mine))
    if buses.is_kafka:
        await eventually(lambda: {len(mine) for mine in share.values()} == {1, 2} and len(share) == 2)
    sent: list[bytes] = []
    async with asyncio.timeout(60):
        while not (left.messages and right.messages):
            values = numbered(20, start=len(sent))
            await publish_all(producer, values)
            sent += values
    await eventually(lambda: left.values | right.values >= set(sent))
    await first.stop()
    values = numbered(100, start=len(sent))
    await publish_all(producer, values)
    await right.until_values(set(values))
    everything = [message.value for message in (*left.messages, *right.messages)]
    assert len(everything) == len(set(everything)), "an orderly hand-over repeats nothing"
    await second.stop()


async def test_a_rebalance_with_a_batch_held_skips_nothing(buses: Buses) -> None:
    producer = await buses.start()
    values = numbered(60)
    await publish_all(producer, values)
    stuck = Failing(*(Unavailable("away") for _ in range(100_000)))
    await buses.start(stuck)
    await eventually(lambda: bool(stuck.failed))
    got = Collector()
    await buses.start(got)
    await publish_all(producer, numbered(40, start=60))
    stuck._errors.clear()
    await eventually(lambda: stuck.values | got.values >= set(numbered(100)))


async def _letters(bus: object, count: int) -> Sequence[object]:
    async with asyncio.timeout(30):
        while True:
            letters = await bus.list_dead_letters(TOPIC.name, "one", limit=100)  # type: ignore[attr-defined]
            if len(letters) >= count:
                assert len(letters) == count
                return letters  # type: ignore[no-any-return]
            await asyncio.sleep(0.05)
