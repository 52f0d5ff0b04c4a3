"""Webhooks while receivers fail and parts are killed: every committed event arrives, signed, under one delivery id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from runstream_common.database import driver_dsn
from runstream_proto.registry.v1 import webhook_service_pb2 as pb
from runstream_proto.registry.v1.webhook_service_pb2_grpc import WebhookServiceStub

from tests.integration.conftest import DATABASE, Deployment
from tests.support.bus import PATIENCE_SECONDS, eventually
from tests.support.postgres import PostgresServer, fresh_database, running_postgres
from tests.support.promoting import add_models, all_more, promoting, promotions_of
from tests.support.service_stack import ServiceStack
from tests.support.webhook_receiver import TAKEN, WebhookReceiver, running_receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from deploy.local.kafka.kafka import KafkaServer

SECRET = "a secret of enough length"
QUICK = {
    "RUNSTREAM_WEBHOOK_ALLOW_HTTP": "true",
    "RUNSTREAM_WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true",
    "RUNSTREAM_WEBHOOK_FIRST_RETRY_SECONDS": "0.05",
    "RUNSTREAM_WEBHOOK_MAX_RETRY_SECONDS": "0.5",
    "RUNSTREAM_WEBHOOK_MAX_ATTEMPTS": "50",
    "RUNSTREAM_WEBHOOK_POLL_SECONDS": "0.05",
    "RUNSTREAM_WEBHOOK_TIMEOUT_SECONDS": "2",
    "RUNSTREAM_WEBHOOK_TAKEOVER_SECONDS": "1",
    "RUNSTREAM_PUBLISH_TIMEOUT_SECONDS": "2",
}
MORE_THAN_AT_ONCE = 12
"""Events of which some wait while the calls for others are in progress."""


@pytest.fixture(scope="module")
def running_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A registry by itself, over a database server of its own: the bus has no part in webhooks."""
    with running_postgres() as postgres, contextlib.ExitStack() as exits:
        postgres.create_database(DATABASE)
        url = postgres.url(DATABASE)
        stack = ServiceStack(
            tmp_path_factory.mktemp("registry"),
            database_url=url,
            bus_url=url,
            names=("registry",),
            settings=QUICK,
        )
        exits.callback(stack.stop)
        stack.start()
        yield Deployment(stack, postgres, None)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with running_receiver() as running:
        yield running


class Hook:
    """A webhook for the promotions of a model of its own."""

    def __init__(self, stack: ServiceStack, receiver: WebhookReceiver, model: str, webhook_id: str) -> None:
        self.stack = stack
        self.model = model
        self._receiver = receiver
        self._webhook_id = webhook_id

    async def log(self) -> list[Any]:
        """Its deliveries."""
        async with self.stack.channel(self.stack.registry) as channel:
            service: Any = WebhookServiceStub(channel)
            request = pb.ListDeliveriesRequest(webhook_id=self._webhook_id, page_size=1_000)
            answer = await service.ListDeliveries(request, wait_for_ready=True)
        assert not answer.next_page_token
        return list(answer.deliveries)

    async def promote(self, count: int) -> None:
        """Make at least so many events."""
        async with promoting(self.stack, [self.model]) as promoters:
            await all_more(promoters, count)

    async def attempted(self, status: int, error: str = "") -> None:
        """Wait until the log shows such an attempt."""

        async def seen() -> bool:
            attempts = [attempt for delivery in await self.log() for attempt in delivery.attempts]
            return any(item.response_status == status and error in item.error_message for item in attempts)

        await until(seen)

    async def check_all_arrived(self) -> None:
        """Each committed promotion was taken by the receiver under one delivery id, signed in every attempt."""
        await until(self._all_delivered)
        deliveries = {item.delivery_id: item for item in await self.log()}
        committed = [sequence for sequence, _ in await promotions_of(self.stack, self.model)]
        told = {key: json.loads(item.body_json)["data"]["sequence"] for key, item in deliveries.items()}
        assert sorted(told.values()) == committed
        for call in self._receiver.calls:
            assert call.is_signed_with(SECRET)
            assert call.body == deliveries[call.delivery_id].body_json
        taken = {c.delivery_id: c.data["sequence"] for c in self._receiver.calls if c.answered == TAKEN}
        assert taken == told
        assert [item.attempts[-1].response_status for item in deliveries.values()] == [TAKEN] * len(told)

    async def _all_delivered(self) -> bool:
        return all(item.state == pb.DELIVERY_STATE_DELIVERED for item in await self.log())


async def new_hook(stack: ServiceStack, receiver: WebhookReceiver) -> Hook:
    model = f"fraud-{uuid.uuid4().hex[:10]}"
    await add_models(stack, [model])
    async with stack.channel(stack.registry) as channel:
        service: Any = WebhookServiceStub(channel)
        answer = await service.CreateWebhook(
            pb.CreateWebhookRequest(
                name="deployer",
                url=receiver.url,
                secret=SECRET,
                models=model,
                events=[pb.WebhookEvent(entity="PROMOTION", action="CREATED")],
            )
        )
    return Hook(stack, receiver, model, answer.webhook.webhook_id)


@pytest.fixture
async def hook(deployment: Deployment, receiver: WebhookReceiver) -> Hook:
    return await new_hook(deployment.stack, receiver)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that only the service knows."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.05)


async def in_the_middle_of_deliveries(hook: Hook, receiver: WebhookReceiver) -> None:
    """Return while calls are in progress and further events have not been told to anybody."""
    receiver.hold()
    await hook.promote(MORE_THAN_AT_ONCE)
    await eventually(lambda: receiver.holding > 0)


async def queued(stack: ServiceStack) -> tuple[int, int]:
    """How many deliveries were claimed but not reported, and how many were never attempted."""
    connection = await asyncpg.connect(driver_dsn(stack.database_url))
    try:
        row = await connection.fetchrow(
            """SELECT count(*) FILTER (WHERE leased_until IS NOT NULL) AS claimed,
                count(*) FILTER (WHERE attempt_count = 0) AS untouched
            FROM registry.delivery WHERE state = 1"""
        )
    finally:
        await connection.close()
    return row["claimed"], row["untouched"]


async def test_every_event_reaches_a_receiver_that_refused_was_away_and_hung(
    hook: Hook, receiver: WebhookReceiver
) -> None:
    receiver.status = 500
    await hook.promote(5)
    await hook.attempted(500)
    await receiver.close()
    await hook.attempted(0, "no connection")
    receiver.hold()
    await receiver.open()
    await hook.attempted(0, "no answer within 2 s")
    receiver.status = TAKEN
    receiver.release()

    await hook.check_all_arrived()


async def test_a_registry_killed_between_commit_and_delivery_loses_no_event(
    deployment: Deployment, hook: Hook, receiver: WebhookReceiver
) -> None:
    await in_the_middle_of_deliveries(hook, receiver)
    deployment.stack.registry.kill()
    claimed, untouched = await queued(deployment.stack)
    assert claimed > 0
    assert untouched > 0
    receiver.release()
    await asyncio.to_thread(deployment.stack.registry.start)

    await hook.check_all_arrived()


async def test_a_registry_killed_again_and_again_while_it_delivers_loses_no_event(
    deployment: Deployment, hook: Hook, receiver: WebhookReceiver
) -> None:
    async with promoting(deployment.stack, [hook.model]) as promoters:
        for _ in range(3):
            await all_more(promoters, 10)
            await receiver.more()
            deployment.stack.registry.kill()
            await asyncio.to_thread(deployment.stack.registry.start)
        await all_more(promoters, 10)

    await hook.check_all_arrived()
    [promoter] = promoters
    committed = {sequence for sequence, _ in await promotions_of(deployment.stack, hook.model)}
    assert committed >= set(promoter.acknowledged)


async def test_what_was_taken_while_the_database_was_away_comes_again_and_nothing_is_lost(
    deployment: Deployment, hook: Hook, receiver: WebhookReceiver
) -> None:
    await in_the_middle_of_deliveries(hook, receiver)
    deployment.postgres.kill()
    receiver.release()
    log = deployment.stack.registry.log_path
    await eventually(lambda: "webhook_report_lost" in log.read_text())
    await asyncio.to_thread(deployment.postgres.restart)

    await hook.check_all_arrived()
    ids = [call.delivery_id for call in receiver.calls]
    assert len(ids) > len(set(ids))


async def test_webhooks_go_out_while_kafka_is_away(
    disposable_kafka: KafkaServer,
    postgres_server: PostgresServer,
    topic_prefix: str,
    tmp_path: Path,
    receiver: WebhookReceiver,
) -> None:
    with fresh_database(postgres_server) as database_url, contextlib.ExitStack() as exits:
        stack = ServiceStack(
            tmp_path,
            database_url=database_url,
            bus_url=f"kafka://{disposable_kafka.bootstrap}",
            topic_prefix=topic_prefix,
            names=("registry",),
            settings=QUICK,
        )
        exits.callback(stack.stop)
        await asyncio.to_thread(stack.start)
        hook = await new_hook(stack, receiver)
        disposable_kafka.kill()
        await hook.promote(10)

        await hook.check_all_arrived()
        assert len(receiver.calls) >= 10
        assert not disposable_kafka.is_running()
        stack.registry.kill()  # a kind end waits for the broker
