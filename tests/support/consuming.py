"""Members of consumer groups for tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.bus import PATIENCE_SECONDS, TOPIC

if TYPE_CHECKING:
    from runstream_common.bus.api import Bus
    from runstream_common.bus.consuming import EventConsumer
    from runstream_common.bus.messages import Message

GROUP = "deployer"


async def next_of(consumer: EventConsumer) -> Message:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await consumer.next()


async def drain(consumer: EventConsumer, count: int) -> list[bytes]:
    values = []
    for _ in range(count):
        values.append((await next_of(consumer)).value)
        assert await consumer.acknowledge()
    return values


class Member:
    """A member that acknowledges whatever it gets, after its gate is open."""

    def __init__(self, bus: Bus, gate: asyncio.Event | None = None) -> None:
        self.values: list[bytes] = []
        self.joined = asyncio.Event()
        self._gate = gate
        self._task = asyncio.create_task(self._run(bus))

    async def _run(self, bus: Bus) -> None:
        async with bus.consume(TOPIC.name, GROUP) as consumer:
            self.joined.set()
            while True:
                message = await consumer.next()
                self.values.append(message.value)
                if self._gate is not None:
                    await self._gate.wait()
                await consumer.acknowledge()

    async def stop(self) -> None:
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task
