"""Messages put on the bus past every door, and what became of the bad ones."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from runstream_common.bus.factory import build_bus
from runstream_common.settings import BusSettings
from runstream_proto.common.v1.operations_service_pb2 import (
    DeadLetter,
    GetDeadLetterRequest,
    ListDeadLettersRequest,
    ReplayDeadLettersRequest,
)
from runstream_proto.common.v1.operations_service_pb2_grpc import OperationsServiceStub
from runstream_proto.common.v1.position_pb2 import BusPosition

from tests.support.load import PATIENCE_SECONDS, read_histories

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import grpc
    from runstream_common.bus.api import Bus

    from tests.support.load import History
    from tests.support.service_stack import ServiceStack

TOPIC = "run-logged"
GROUP = "metadata"


@asynccontextmanager
async def publishing(stack: ServiceStack) -> AsyncIterator[Bus]:
    """A bus of the stack's deployment, for the test to publish with."""
    bus = build_bus(
        BusSettings(bus_url=stack.bus_url, topic_prefix=stack.topic_prefix, kafka_partitions=4)  # type: ignore[arg-type]
    )
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


async def publish(
    bus: Bus, run_id: str, value: bytes, *, content_type: str | None = None, **headers: str
) -> BusPosition:
    """Put one message on `run-logged`, with the header content-type if given; returns where it is."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    if content_type is not None:
        named["content-type"] = content_type
    position = await bus.publish(TOPIC, run_id, value, named)
    return BusPosition(topic=position.topic, partition=position.partition, offset=position.offset)


class DeadLetters:
    """The parked messages of `run-logged`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = OperationsServiceStub(channel)

    async def of(self, key: str) -> list[DeadLetter]:
        """Those with this message key, oldest first."""
        request = ListDeadLettersRequest(topic=TOPIC, group=GROUP, page_size=1000)
        answer = await self._stub.ListDeadLetters(request, timeout=PATIENCE_SECONDS)
        return [letter for letter in answer.dead_letters if letter.key == key]

    async def wait_for(self, key: str, count: int) -> list[DeadLetter]:
        """The first `count` or more with this key, as soon as they are parked."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(letters := await self.of(key)) < count:
                await asyncio.sleep(0.1)
        return letters

    async def value(self, letter: DeadLetter) -> bytes:
        """The original value."""
        request = GetDeadLetterRequest(topic=TOPIC, group=GROUP, id=letter.id)
        answer = await self._stub.GetDeadLetter(request, timeout=PATIENCE_SECONDS)
        return bytes(answer.dead_letter.value)

    async def replay(self, letters: Sequence[DeadLetter]) -> int:
        """Send them to their group once more."""
        ids = [letter.id for letter in letters]
        request = ReplayDeadLettersRequest(topic=TOPIC, group=GROUP, ids=ids)
        return int((await self._stub.ReplayDeadLetters(request, timeout=PATIENCE_SECONDS)).replayed_count)


async def histories_with(
    channel: grpc.aio.Channel, run_id: str, counts: Mapping[str, int]
) -> dict[str, History]:
    """A run's histories, once every key has so many points; for messages whose position is not known."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = await read_histories(channel, run_id)
            if all(key in found and len(found[key].steps) >= count for key, count in counts.items()):
                return found
            await asyncio.sleep(0.05)
