"""Buses for tests, and a handler that remembers what it got."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from runstream_common.bus.factory import build_bus
from runstream_common.bus.policy import RetryPolicy
from runstream_common.bus.topics import Topic
from runstream_common.settings import BusSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runstream_common.bus.api import Bus
    from runstream_common.bus.messages import Message, Rejected
    from runstream_common.bus.subscription import Subscription

TOPIC = Topic(name="things", summary="", key="thing", message="")
PATIENCE_SECONDS = 60.0
"""How long a condition may take on a loaded machine; a passing test never waits that long."""

FAST = RetryPolicy(first_delay_seconds=0.01, max_delay_seconds=0.05)


class Collector:
    """A handler that keeps what it was given; `react` may reject, raise or wait first."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.batches: list[list[Message]] = []
        self._changed = asyncio.Condition()

    async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
        return []

    async def __call__(self, batch: Sequence[Message]) -> Sequence[Rejected]:
        rejected = await self.react(batch)
        refused = {item.message.offset for item in rejected}
        self.batches.append(list(batch))
        self.messages += [message for message in batch if message.offset not in refused]
        async with self._changed:
            self._changed.notify_all()
        return rejected

    @property
    def values(self) -> set[bytes]:
        return {message.value for message in self.messages}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(condition)

    async def until_values(self, values: set[bytes]) -> None:
        try:
            await self.until(lambda: self.values >= values)
        except TimeoutError:
            pytest.fail(f"never came: {sorted(values - self.values)[:10]}")


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


def bus_settings(url: str, prefix: str, **changes: object) -> BusSettings:
    values: dict[str, object] = {"kafka_partitions": 3, "publish_timeout_seconds": 30.0, **changes}
    return BusSettings(bus_url=url, topic_prefix=prefix, **values)


class Buses:
    """Makes buses of one deployment and stops what a test left running."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix
        self._made: list[Bus] = []

    @property
    def is_kafka(self) -> bool:
        return self.url.startswith("kafka")

    def make(self, **settings: object) -> Bus:
        bus = build_bus(bus_settings(self.url, self.prefix, **settings), [TOPIC])
        self._made.append(bus)
        return bus

    async def start(self, handler: Collector | None = None, group: str = "one", **options: object) -> Bus:
        """A running bus, subscribed when there is a handler."""
        bus = self.make()
        if handler is not None:
            subscribe(bus, handler, group, **options)
        await bus.start()
        return bus

    async def stop(self) -> None:
        for bus in self._made:
            await bus.stop()


def subscribe(bus: Bus, handler: Collector, group: str = "one", **options: object) -> Subscription:
    subscription = bus.subscribe(TOPIC.name, group, handler, **options)  # type: ignore[arg-type]
    subscription.retry = FAST
    return subscription


async def publish_all(bus: Bus, values: Sequence[bytes]) -> None:
    """Publish under many keys, so that every partition gets some."""
    await asyncio.gather(*(bus.send(TOPIC.name, f"key-{value.decode()}", value) for value in values))


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]
