"""Promise 1 (A1, A2, B1, B2): kill any part under load, and every acknowledged point is there exactly once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import GRACE_SECONDS
from tests.support.load import Load, check_exactly_once, create_run, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Deployment
    from tests.support.service_stack import Service

RUNS = 3


async def new_runs(deployment: Deployment) -> list[str]:
    async with deployment.stack.channel() as channel:
        return [await create_run(channel) for _ in range(RUNS)]


async def crash(deployment: Deployment, kill: Callable[[], None], restore: Callable[[], None]) -> None:
    """Load, kill in the middle, bring back, load on, and count."""
    async with Load(deployment.stack, await new_runs(deployment)) as load:
        await load.more_acknowledged()
        await asyncio.to_thread(kill)
        await asyncio.to_thread(restore)
        await load.more_acknowledged()
        await load.finish()
    await check_exactly_once(deployment.stack, load)


async def test_killed_ingest_loses_nothing_acknowledged(deployment: Deployment) -> None:
    ingest = deployment.stack.ingest
    await crash(deployment, ingest.kill, ingest.start)


async def test_killed_metadata_applies_nothing_twice_and_loses_nothing(deployment: Deployment) -> None:
    """Points keep being accepted meanwhile: known runs are trusted while their owner is away."""
    metadata = deployment.stack.metadata
    async with Load(deployment.stack, await new_runs(deployment)) as load:
        await load.more_acknowledged()
        metadata.kill()
        await load.more_acknowledged()
        await asyncio.to_thread(metadata.start)
        await load.finish()
    await check_exactly_once(deployment.stack, load)


async def test_killed_broker_loses_nothing_acknowledged(deployment: Deployment) -> None:
    if deployment.kafka is None:
        pytest.skip("the bus is the database here, which the next test kills")
    await crash(deployment, deployment.kafka.kill, deployment.kafka.start)


async def test_killed_database_loses_nothing_acknowledged(deployment: Deployment) -> None:
    """The services live through it: they hold what they have and go on when the database is back."""
    services = deployment.stack.metadata, deployment.stack.ingest
    await crash(deployment, deployment.postgres.kill, deployment.postgres.start)
    assert [service.exit_code() for service in services] == [None, None]
    await until(lambda: all(service.is_ready() for service in services))


async def test_everything_killed_at_once_loses_nothing_acknowledged(deployment: Deployment) -> None:
    stack = deployment.stack
    servers = [server for server in (deployment.kafka, deployment.postgres) if server is not None]

    def kill() -> None:
        for part in (stack.ingest, stack.metadata, *servers):
            part.kill()

    def restore() -> None:
        for server in servers:
            server.start()
        stack.recover()

    await crash(deployment, kill, restore)


@pytest.mark.parametrize("name", ["ingest", "metadata"])
async def test_sigterm_under_load_ends_cleanly_and_loses_nothing(deployment: Deployment, name: str) -> None:
    """Everything that was acknowledged is durable, and the process ends by itself within its grace period."""
    service: Service = getattr(deployment.stack, name)
    codes: list[int] = []

    def terminate() -> None:
        codes.append(service.terminate(GRACE_SECONDS))

    await crash(deployment, terminate, service.start)
    assert codes == [0]
