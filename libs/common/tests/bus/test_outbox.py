"""The transactional outbox against a real database."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
from faststream_outbox import make_outbox_table
from runstream_common.bus import outbox as outbox_module
from runstream_common.bus.messages import EVENT_ID
from runstream_common.bus.outbox import Outbox, OutboxRelay
from runstream_common.bus.policy import RetryPolicy
from runstream_common.database import Database
from runstream_common.errors import InvalidArgument, Unavailable
from sqlalchemy import MetaData, func, select, text, update

from tests.support.bus import FAST, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

METADATA = MetaData(schema="shop")
TABLE = make_outbox_table(METADATA, "outbox")


class FlakyBus:
    """Keeps what it is given; refuses while it is told to."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.refused = 0
        self.refuse_keys: set[str] = set()
        self.too_large_bytes = 1_000

    async def publish(
        self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        await asyncio.sleep(0)  # lets publishes of other keys overtake, as a real bus would
        if key in self.refuse_keys:
            self.refused += 1
            raise Unavailable("away")
        if len(value) > self.too_large_bytes:
            raise InvalidArgument(message="too large", reason="MESSAGE_TOO_LARGE")
        self.published.append((topic, key, value, dict(headers or {})))

    def of(self, key: str) -> list[bytes]:
        return [value for _, published_key, value, _ in self.published if published_key == key]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, schema="shop")
    async with opened.engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA shop"))
        await connection.run_sync(METADATA.create_all)
    yield opened
    await opened.stop()


@pytest.fixture
async def relaying(database: Database) -> AsyncIterator[FlakyBus]:
    """Two relays, as two replicas of a service have."""
    bus = FlakyBus()
    tasks = [
        asyncio.create_task(OutboxRelay(database, TABLE, bus, ["sold"], retry=FAST).run()) for _ in range(2)
    ]
    yield bus
    for task in tasks:
        assert not task.done(), "a relay outlives every error of its bus"
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def left(database: Database) -> int:
    async with database.read() as session:
        return int((await session.execute(select(func.count()).select_from(TABLE))).scalar_one())


async def test_an_event_leaves_only_when_its_change_was_committed(
    database: Database, relaying: FlakyBus
) -> None:
    outbox = Outbox(TABLE)
    async with database.session() as session:
        await outbox.publish(session, "sold", "a", b"rolled back")
        await session.rollback()
    async with database.transaction() as session:
        await outbox.publish(session, "sold", "a", b"\x00\xff kept", {"content-type": "x/y"})
    await eventually(lambda: len(relaying.published) == 1)
    topic, key, value, headers = relaying.published[0]
    assert (topic, key, value) == ("sold", "a", b"\x00\xff kept")
    assert headers.pop(EVENT_ID)
    assert headers == {"content-type": "x/y"}


async def test_each_key_keeps_its_order_also_while_another_cannot_be_sent(
    database: Database, relaying: FlakyBus
) -> None:
    outbox = Outbox(TABLE)
    relaying.refuse_keys = {"b"}
    for number in range(30):
        async with database.transaction() as session:
            for key in ("a", "b", "c"):
                await outbox.publish(session, "sold", key, b"%d" % number)
    expected = [b"%d" % number for number in range(30)]
    await eventually(lambda: relaying.of("a") == relaying.of("c") == expected)
    await eventually(lambda: relaying.refused > 2)
    assert relaying.of("b") == []
    relaying.refuse_keys = set()
    await eventually(lambda: relaying.of("b") == expected)
    async with asyncio.timeout(10):
        while await left(database):
            await asyncio.sleep(0.02)
    assert len(relaying.published) == 90, "an orderly relay repeats nothing"


async def test_an_event_that_the_bus_will_never_take_is_set_aside_and_holds_up_nothing(
    database: Database, relaying: FlakyBus
) -> None:
    outbox = Outbox(TABLE)
    async with database.transaction() as session:
        for value in (b"before", b"x" * 2_000, b"behind"):
            await outbox.publish(session, "sold", "a", value)
    await eventually(lambda: relaying.of("a") == [b"before", b"behind"])
    async with asyncio.timeout(10):
        while await left(database) != 1:
            await asyncio.sleep(0.02)
    async with database.read() as session:
        row = (await session.execute(select(TABLE.c.queue, TABLE.c.payload))).one()
    assert (row.queue, row.payload) == ("sold.refused", b"x" * 2_000)


async def test_what_a_killed_relay_had_in_hand_goes_out_before_younger_events(database: Database) -> None:
    outbox = Outbox(TABLE)
    async with database.transaction() as session:
        await outbox.publish(session, "sold", "a", b"1")
        await session.execute(update(TABLE).values(acquired_at=func.now(), acquired_token=uuid.uuid4()))
    async with database.transaction() as session:
        await outbox.publish(session, "sold", "a", b"2")
    bus = FlakyBus()
    relay = asyncio.create_task(OutboxRelay(database, TABLE, bus, ["sold"], retry=FAST).run())
    await eventually(lambda: len(bus.published) == 2)
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)
    assert bus.of("a") == [b"1", b"2"]


async def test_another_replica_takes_over(database: Database, database_url: str) -> None:
    elsewhere = Database(database_url, schema="shop")
    first, second = FlakyBus(), FlakyBus()
    retry = RetryPolicy(0.01, 0.05)
    leader = asyncio.create_task(OutboxRelay(database, TABLE, first, ["sold"], retry=retry).run())
    outbox = Outbox(TABLE)
    async with database.transaction() as session:
        await outbox.publish(session, "sold", "a", b"1")
    await eventually(lambda: first.of("a") == [b"1"])
    follower = asyncio.create_task(OutboxRelay(elsewhere, TABLE, second, ["sold"], retry=retry).run())
    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)
    async with database.transaction() as session:
        await outbox.publish(session, "sold", "a", b"2")
    # The first event comes again when the leader ended between publishing and deleting it: at least once.
    await eventually(lambda: second.of("a")[-1:] == [b"2"])
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)
    await elsewhere.stop()
    assert first.of("a") == [b"1"]


async def test_a_woken_relay_does_not_wait_for_its_poll(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "POLL_SECONDS", 3600.0)
    bus, outbox = FlakyBus(), Outbox(TABLE)
    relay = OutboxRelay(database, TABLE, bus, ["sold"], retry=FAST)
    running = asyncio.create_task(relay.run())
    for number in range(5):
        async with database.transaction() as session:
            await outbox.publish(session, "sold", "a", b"%d" % number)
        relay.wake()
        await eventually(lambda count=number + 1: len(bus.published) == count)  # type: ignore[misc]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert bus.of("a") == [b"%d" % number for number in range(5)]
