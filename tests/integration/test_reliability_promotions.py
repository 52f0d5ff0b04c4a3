"""Promotions and their events while parts are killed: none lost, none invented, in order, each known by its id."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from runstream_common.bus.factory import build_bus
from runstream_common.bus.topics import MODEL_PROMOTED
from runstream_proto.registry.v1 import promotion_service_pb2 as pb
from runstream_proto.registry.v1.promotion_service_pb2_grpc import PromotionServiceStub

from tests.integration.conftest import GRACE_SECONDS, TOPOLOGIES
from tests.support.bus import Collector, bus_settings
from tests.support.postgres import PostgresServer, fresh_database
from tests.support.promoting import Promoter, add_models, all_more, promoting, promotions_of
from tests.support.service_stack import ServiceStack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from deploy.local.kafka.kafka import KafkaServer

MODELS = ("churn", "fraud")
MANY_MODELS = ("churn", "fraud", "price", "spam")
MANY_PROMOTIONS = 1_000


@pytest.fixture(params=TOPOLOGIES)
def stack(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, topic_prefix: str, tmp_path: Path
) -> Iterator[ServiceStack]:
    """A registry by itself: versions whose files are elsewhere need no other service."""
    kafka = request.getfixturevalue("kafka_bootstrap") if request.param == "kafka" else None
    with fresh_database(postgres_server) as database_url, contextlib.ExitStack() as exits:
        running = ServiceStack(
            tmp_path,
            database_url=database_url,
            bus_url=f"kafka://{kafka}" if kafka else database_url,
            topic_prefix=topic_prefix,
            names=("registry",),
        )
        exits.callback(running.stop)
        running.start()
        yield running


@contextlib.asynccontextmanager
async def listening(stack: ServiceStack) -> AsyncIterator[Collector]:
    """Everything that a durable group gets from "model-promoted"."""
    collector = Collector()
    bus = build_bus(bus_settings(stack.bus_url, stack.topic_prefix), [MODEL_PROMOTED])
    bus.subscribe(MODEL_PROMOTED.name, "deployer", collector)
    await bus.start()
    try:
        yield collector
    finally:
        await bus.stop()


def told_of(collector: Collector, model: str) -> list[tuple[int, str]]:
    """(sequence, event id) of a model's events as a consumer that knows what it has seen takes them."""
    first_seen: dict[str, int] = {}
    for message in collector.messages:
        event = json.loads(message.value)
        assert message.key == event["model"]
        assert message.headers["event-id"] == event["event_id"]
        if event["model"] == model:
            first_seen.setdefault(event["event_id"], event["sequence"])
    return [(sequence, event_id) for event_id, sequence in first_seen.items()]


async def all_came(collector: Collector, model: str, count: int) -> None:
    """Wait for so many events; the comparison that follows tells which ones did not come."""
    with contextlib.suppress(TimeoutError):
        await collector.until(
            lambda: len({m.headers["event-id"] for m in collector.messages if m.key == model}) >= count
        )


async def check_each_told_once_in_order(
    stack: ServiceStack, collector: Collector, models: Sequence[str] = MODELS
) -> None:
    for model in models:
        committed = await promotions_of(stack, model)
        assert [sequence for sequence, _ in committed] == list(range(1, len(committed) + 1))
        await all_came(collector, model, len(committed))
        assert told_of(collector, model) == committed


async def check_nothing_acknowledged_is_lost(stack: ServiceStack, promoters: Sequence[Promoter]) -> None:
    for promoter in promoters:
        committed = {sequence for sequence, _ in await promotions_of(stack, promoter.model)}
        assert committed >= set(promoter.acknowledged)


async def check_audit(stack: ServiceStack, models: Sequence[str]) -> None:
    """Every promotion is in the trail, and the trail adds up."""
    promotions = [item for model in models for item in await promotions_of(stack, model)]
    async with stack.channel(stack.registry) as channel:
        service: Any = PromotionServiceStub(channel)
        verified = await service.VerifyAudit(pb.VerifyAuditRequest())
    assert list(verified.problems) == []
    assert verified.chain_count == len(models)
    assert verified.entry_count > len(promotions)


async def test_a_registry_killed_again_and_again_loses_and_doubles_no_event(stack: ServiceStack) -> None:
    await add_models(stack, MODELS)
    async with listening(stack) as collector:
        async with promoting(stack, MODELS) as promoters:
            for _ in range(4):
                await all_more(promoters)
                stack.registry.kill()
                await asyncio.to_thread(stack.registry.start)
            await all_more(promoters)

        await check_each_told_once_in_order(stack, collector)
        await check_nothing_acknowledged_is_lost(stack, promoters)


async def test_a_thousand_promotions_over_two_restarts_are_gapless_told_once_and_audited(
    stack: ServiceStack,
) -> None:
    await add_models(stack, MANY_MODELS)
    each = MANY_PROMOTIONS // len(MANY_MODELS)
    async with listening(stack) as collector:
        async with promoting(stack, MANY_MODELS) as promoters:
            for _ in range(2):
                await all_more(promoters, each // 3)
                assert await asyncio.to_thread(stack.registry.terminate, GRACE_SECONDS) == 0
                await asyncio.to_thread(stack.registry.start)
            await all_more(promoters, each - 2 * (each // 3))

        await check_each_told_once_in_order(stack, collector, MANY_MODELS)
        await check_nothing_acknowledged_is_lost(stack, promoters)
    await check_audit(stack, MANY_MODELS)


async def test_replicas_promote_side_by_side_in_one_sequence(stack: ServiceStack) -> None:
    replica = stack.new_registry_replica()
    await asyncio.to_thread(replica.start)
    await add_models(stack, MODELS)
    async with listening(stack) as collector:
        others = [Promoter(replica.target, model) for model in MODELS]
        async with promoting(stack, MODELS) as promoters, asyncio.TaskGroup() as tasks:
            for other in others:
                tasks.create_task(other.run())
            await all_more([*promoters, *others])
            replica.kill()
            for other in others:
                other.stop()
            await all_more(promoters)

        await check_each_told_once_in_order(stack, collector)


async def test_promotions_go_on_while_kafka_is_away_and_their_events_follow_in_order(
    disposable_kafka: KafkaServer, postgres_server: PostgresServer, topic_prefix: str, tmp_path: Path
) -> None:
    with fresh_database(postgres_server) as database_url, contextlib.ExitStack() as exits:
        stack = ServiceStack(
            tmp_path,
            database_url=database_url,
            bus_url=f"kafka://{disposable_kafka.bootstrap}",
            topic_prefix=topic_prefix,
            names=("registry",),
            settings={"RUNSTREAM_PUBLISH_TIMEOUT_SECONDS": "2"},
        )
        exits.callback(stack.stop)
        await asyncio.to_thread(stack.start)
        await add_models(stack, MODELS)
        async with promoting(stack, MODELS) as promoters:
            await all_more(promoters)
            disposable_kafka.kill()
            await all_more(promoters, 50)
            await asyncio.to_thread(disposable_kafka.start)
            await all_more(promoters)

        async with listening(stack) as collector:
            await check_each_told_once_in_order(stack, collector)
