"""Fixtures: a migrated database, receivers in this process, and the parts of the service that call them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from runstream_common.clock import SystemClock
from runstream_common.database import Database
from runstream_registry.jobs.deliver_webhooks import DeliveryWorker, WorkerLimits
from runstream_registry.settings import RegistrySettings
from runstream_registry.webhook_entities import Webhook, WebhookEvent
from runstream_registry.webhook_wiring import WebhookParts
from runstream_registry.webhooks.webhooks import WebhookDraft

from services.registry.tests.webhooks.support import Receiver, running_receiver

SECRET = "a secret of enough length"


@pytest.fixture
def settings(database_url: str) -> RegistrySettings:
    """Retries come at once, and receivers on this machine are allowed."""
    return RegistrySettings(
        database_url=database_url,
        bus_url=database_url,
        grpc_host="127.0.0.1",
        grpc_port=0,
        webhook_allow_http=True,
        webhook_allow_private_addresses=True,
        webhook_first_retry_seconds=0.001,
        webhook_max_retry_seconds=0.01,
        webhook_poll_seconds=0.02,
        webhook_max_attempts=4,
    )


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, schema="registry", pool_size=12)
    try:
        yield database
    finally:
        await database.stop()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@pytest.fixture
async def other_receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@pytest.fixture
async def parts(settings: RegistrySettings, database: Database) -> AsyncIterator[WebhookParts]:
    parts = WebhookParts(settings, database, SystemClock())
    try:
        yield parts
    finally:
        await parts.sender.stop()


@pytest.fixture
def register(parts: WebhookParts) -> Callable[..., object]:
    """Registers a webhook: `await register(receiver.url, secret=…)`."""

    async def create(url: str, **fields: object) -> Webhook:
        draft = {"name": "hook", "events": [WebhookEvent("MODEL_VERSION", "CREATED")], **fields}
        return await parts.webhooks.create(WebhookDraft(url=url, **draft), actor="ada")

    return create


@pytest.fixture
async def start_worker(
    settings: RegistrySettings, database: Database, parts: WebhookParts
) -> AsyncIterator[Callable[..., asyncio.Task[None]]]:
    """Starts workers that poll: `start_worker(slots=…)`; each is a task to cancel."""
    async with AsyncExitStack() as stack:

        def start(**limits: float) -> asyncio.Task[None]:
            usual = WorkerLimits.from_settings(settings)
            chosen = {name: limits.get(name, getattr(usual, name)) for name in usual.__slots__}
            worker = DeliveryWorker(database, parts.deliveries, asyncio.Event(), WorkerLimits(**chosen))
            task = asyncio.create_task(worker.run())

            async def stop() -> None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            stack.push_async_callback(stop)
            return task

        yield start
