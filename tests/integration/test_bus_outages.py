"""The bus while its server is away: publishing says so at once, nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import pytest
from runstream_common.errors import ResourceExhausted, Unavailable

from tests.support.bus import TOPIC, Buses, Collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runstream_common.bus.api import Bus


class Server(Protocol):
    """A server that can be killed."""

    def start(self) -> None: ...

    def kill(self) -> None: ...


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
async def outage(request: pytest.FixtureRequest, topic_prefix: str) -> AsyncIterator[tuple[Server, Buses]]:
    """A server of this test alone, and buses over it."""
    if request.param == "kafka":
        kafka = request.getfixturevalue("disposable_kafka")
        server, url = kafka, f"kafka://{kafka.bootstrap}"
    else:
        postgres = request.getfixturevalue("disposable_postgres")
        postgres.create_database("bus")
        server, url = postgres, postgres.url("bus")
    buses = Buses(url, topic_prefix)
    yield server, buses
    await buses.stop()


async def publish_until(
    bus: Bus, stop: asyncio.Event, acknowledged: list[bytes], refused: list[Exception]
) -> None:
    """Publish one message after the other, and remember which were acknowledged."""
    number = 0
    while not stop.is_set():
        value = b"%d" % number
        number += 1
        try:
            await bus.publish(TOPIC.name, f"key-{number % 16}", value)
        except (Unavailable, ResourceExhausted) as error:
            refused.append(error)
            await asyncio.sleep(0.05)
        else:
            acknowledged.append(value)


async def wait_for(condition: object, seconds: float = 90.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.05)


async def test_a_killed_server_loses_nothing_acknowledged_and_the_bus_recovers(
    outage: tuple[Server, Buses],
) -> None:
    """Promise 1 and B1: killed under load, everything acknowledged arrives once the server is back."""
    server, buses = outage
    got = Collector()
    bus = buses.make(publish_timeout_seconds=2.0)
    bus.subscribe(TOPIC.name, "one", got)
    await bus.start()
    stop, acknowledged, refused = asyncio.Event(), list[bytes](), list[Exception]()
    publishing = [asyncio.create_task(publish_until(bus, stop, acknowledged, refused)) for _ in range(1)]
    await wait_for(lambda: len(acknowledged) > 50)
    await asyncio.to_thread(server.kill)
    await wait_for(lambda: bool(refused))
    assert isinstance(refused[0], Unavailable)
    assert refused[0].retry_after_seconds
    before = len(acknowledged)
    await asyncio.to_thread(server.start)
    await wait_for(lambda: len(acknowledged) > before + 50)
    stop.set()
    await asyncio.gather(*publishing)
    await got.until_values(set(acknowledged))
    await bus.ping()


async def test_a_bus_that_cannot_be_reached_says_so_at_start(outage: tuple[Server, Buses]) -> None:
    server, buses = outage
    await asyncio.to_thread(server.kill)
    bus = buses.make()
    with pytest.raises(Unavailable):
        await bus.start()
    await asyncio.to_thread(server.start)
    again = buses.make()
    await again.start()
    await again.publish(TOPIC.name, "k", b"x")
