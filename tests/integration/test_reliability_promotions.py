"""Promotions and their events while parts are killed: none lost, none invented, in order, each known by its id."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
import pytest
from runstream_common.bus.factory import build_bus
from runstream_common.bus.topics import MODEL_PROMOTED
from runstream_common.database import driver_dsn
from runstream_proto.registry.v1 import model_service_pb2 as models_pb
from runstream_proto.registry.v1 import promotion_service_pb2 as pb
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub
from runstream_proto.registry.v1.promotion_service_pb2_grpc import PromotionServiceStub

from tests.integration.conftest import TOPOLOGIES
from tests.support.bus import Collector, bus_settings, eventually
from tests.support.postgres import PostgresServer, fresh_database
from tests.support.service_stack import ServiceStack, open_test_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from deploy.local.kafka.kafka import KafkaServer

MODELS = ("churn", "fraud")
VERSIONS = 3
CHAMPION = pb.Target(alias="champion")


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


class Promoter:
    """Promotes the versions of a model in turn; an answer that was lost is no failure, it is asked again."""

    def __init__(self, target: str, model: str) -> None:
        self._target = target
        self._model = model
        self._stopping = False
        self.acknowledged: list[int] = []

    async def run(self) -> None:
        async with open_test_channel(self._target) as channel:
            service: Any = PromotionServiceStub(channel)
            version = 0
            while not self._stopping:
                version = version % VERSIONS + 1
                request = pb.PromoteRequest(name=self._model, version=version, target=CHAMPION)
                try:
                    answer = await service.Promote(request, timeout=10, wait_for_ready=True)
                except grpc.aio.AioRpcError as error:
                    assert error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
                    continue
                if answer.HasField("promotion"):
                    self.acknowledged.append(answer.promotion.sequence)

    async def more(self, count: int = 20) -> None:
        """Wait until so many further promotions were acknowledged."""
        wanted = len(self.acknowledged) + count
        await eventually(lambda: len(self.acknowledged) >= wanted)

    def stop(self) -> None:
        self._stopping = True


@contextlib.asynccontextmanager
async def promoting(stack: ServiceStack) -> AsyncIterator[list[Promoter]]:
    """A promoter for each model, at work until the block ends."""
    promoters = [Promoter(stack.registry.target, model) for model in MODELS]
    async with asyncio.TaskGroup() as tasks:
        for promoter in promoters:
            tasks.create_task(promoter.run())
        try:
            yield promoters
        finally:
            for promoter in promoters:
                promoter.stop()


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


async def add_models(stack: ServiceStack) -> None:
    async with stack.channel(stack.registry) as channel:
        service: Any = ModelServiceStub(channel)
        for model in MODELS:
            for number in range(VERSIONS):
                await service.CreateVersion(
                    models_pb.CreateVersionRequest(
                        name=model, source=f"s3://elsewhere/{model}/{number}", create_model=True
                    )
                )


async def promotions_of(stack: ServiceStack, model: str) -> list[tuple[int, str]]:
    """(sequence, promotion id) of what was committed."""
    connection = await asyncpg.connect(driver_dsn(stack.database_url))
    try:
        rows = await connection.fetch(
            """SELECT sequence, promotion_id FROM registry.promotion JOIN registry.model USING (model_id)
            WHERE name = $1 ORDER BY sequence""",
            model,
        )
    finally:
        await connection.close()
    return [(row["sequence"], str(row["promotion_id"])) for row in rows]


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


async def check_each_told_once_in_order(stack: ServiceStack, collector: Collector) -> None:
    for model in MODELS:
        committed = await promotions_of(stack, model)
        assert [sequence for sequence, _ in committed] == list(range(1, len(committed) + 1))
        await all_came(collector, model, len(committed))
        assert told_of(collector, model) == committed


async def test_a_registry_killed_again_and_again_loses_and_doubles_no_event(stack: ServiceStack) -> None:
    await add_models(stack)
    async with listening(stack) as collector:
        async with promoting(stack) as promoters:
            for _ in range(4):
                await asyncio.gather(*(promoter.more() for promoter in promoters))
                stack.registry.kill()
                await asyncio.to_thread(stack.registry.start)
            await asyncio.gather(*(promoter.more() for promoter in promoters))

        await check_each_told_once_in_order(stack, collector)
        for promoter, model in zip(promoters, MODELS, strict=True):
            committed = {sequence for sequence, _ in await promotions_of(stack, model)}
            assert committed >= set(promoter.acknowledged)


async def test_replicas_promote_side_by_side_in_one_sequence(stack: ServiceStack) -> None:
    replica = stack.new_registry_replica()
    await asyncio.to_thread(replica.start)
    await add_models(stack)
    async with listening(stack) as collector:
        others = [Promoter(replica.target, model) for model in MODELS]
        async with promoting(stack) as promoters, asyncio.TaskGroup() as tasks:
            for other in others:
                tasks.create_task(other.run())
            await asyncio.gather(*(promoter.more() for promoter in (*promoters, *others)))
            replica.kill()
            for other in others:
                other.stop()
            await asyncio.gather(*(promoter.more() for promoter in promoters))

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
        await add_models(stack)
        async with promoting(stack) as promoters:
            await asyncio.gather(*(promoter.more() for promoter in promoters))
            disposable_kafka.kill()
            await asyncio.gather(*(promoter.more(50) for promoter in promoters))
            await asyncio.to_thread(disposable_kafka.start)
            await asyncio.gather(*(promoter.more() for promoter in promoters))

        async with listening(stack) as collector:
            await check_each_told_once_in_order(stack, collector)
