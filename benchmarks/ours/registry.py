"""Measurements of the registry."""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import Awaitable, Callable

import asyncpg
import grpc
import uvloop
from runstream_proto.common.v1 import operations_service_pb2 as operations
from runstream_proto.common.v1.operations_service_pb2_grpc import OperationsServiceStub
from runstream_proto.registry.v1 import model_service_pb2 as models
from runstream_proto.registry.v1 import promotion_service_pb2 as promotions
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub
from runstream_proto.registry.v1.promotion_service_pb2_grpc import PromotionServiceStub
from runstream_proto.registry.v1.types_pb2 import Tag

from benchmarks import workload
from benchmarks.ours.stack import StackUnderTest
from benchmarks.peer.read import Latency, repeat

CALLS = 200
SECONDS = 60.0
RESOLVES_PER_SECOND = 500
PROMOTIONS_PER_SECOND = 50
PROMOTED_MODELS = 50
"""Each is promoted once a second, so that no promotion finds what another one has just done."""
RECEIVE_SECONDS = 30.0


def create_version_rate(
    stack: StackUnderTest, seconds: float, callers: tuple[int, ...] = (4, 16, 32)
) -> float:
    """Versions a second, each caller with a model of its own as the peer's; the best number of concurrent callers."""
    return max(uvloop.run(_create_versions(stack, seconds, count)) for count in callers)


async def _create_versions(stack: StackUnderTest, seconds: float, callers: int) -> float:
    tags = [Tag(**tag) for tag in workload.VERSION_TAGS]

    async def work(stub: ModelServiceStub) -> int:
        name = await _new_model(stub)
        started = time.perf_counter()
        for number in itertools.count(1):
            if time.perf_counter() > started + seconds:
                return number - 1
            request = models.CreateVersionRequest(name=name, source=f"s3://models/{name}/{number}", tags=tags)
            answer = await stub.CreateVersion(request)
            if answer.version.version != number:
                raise RuntimeError(f"version {number} got the number {answer.version.version}")
        raise AssertionError

    async with grpc.aio.insecure_channel(stack.registry) as channel:
        stub = ModelServiceStub(channel)
        started = time.perf_counter()
        total = sum(await asyncio.gather(*(work(stub) for _ in range(callers))))
        return total / (time.perf_counter() - started)


async def _new_model(stub: ModelServiceStub) -> str:
    name = f"bench-{uuid.uuid4().hex[:12]}"
    await stub.CreateModel(models.CreateModelRequest(name=name))
    return name


def resolve_latency(stack: StackUnderTest, seconds: float) -> Latency:
    """Time from an alias to an artifact location, at 500 requests a second whether or not earlier ones are answered."""
    return Latency(tuple(uvloop.run(_resolve(stack, seconds))))


async def _resolve(stack: StackUnderTest, seconds: float) -> list[float]:
    async with grpc.aio.insecure_channel(stack.registry) as channel:
        stub, promote = ModelServiceStub(channel), PromotionServiceStub(channel)
        names = [await _new_model(stub) for _ in range(20)]
        for name in names:
            await stub.CreateVersion(models.CreateVersionRequest(name=name, source=f"s3://models/{name}"))
            await promote.Promote(_promotion(name, 1))
        numbers = itertools.count()

        async def resolve() -> None:
            name = names[next(numbers) % len(names)]
            selector = models.VersionSelector(alias="champion")
            answer = await stub.ResolveVersion(models.ResolveVersionRequest(name=name, selector=selector))
            if answer.artifacts.uri != f"s3://models/{name}":
                raise RuntimeError(f"{name} is said to be at {answer.artifacts.uri}")

        await _open_loop(resolve, RESOLVES_PER_SECOND, 1.0)  # warm-up
        return await _open_loop(resolve, RESOLVES_PER_SECOND, seconds)


def promotion_delay(stack: StackUnderTest, seconds: float) -> Latency:
    """Time from the start of a Promote call to its event in a consumer's hands, at 50 promotions a second.

    The consumer is a durable group, read through the service's own door. That each event comes once and in order is checked.
    """
    return Latency(tuple(uvloop.run(_promotions(stack, seconds))))


async def _promotions(stack: StackUnderTest, seconds: float) -> list[float]:
    async with grpc.aio.insecure_channel(stack.registry) as channel:
        stub, promote = ModelServiceStub(channel), PromotionServiceStub(channel)
        names = [await _new_model(stub) for _ in range(PROMOTED_MODELS)]
        for name, _ in itertools.product(names, range(2)):
            await stub.CreateVersion(models.CreateVersionRequest(name=name, source=f"s3://models/{name}"))
        total = round(seconds * PROMOTIONS_PER_SECOND)
        sent: dict[tuple[str, int], float] = {}
        received: dict[tuple[str, int], float] = {}
        ready = asyncio.Event()
        consumer = asyncio.create_task(_receive(channel, received, total, ready))
        await asyncio.wait_for(ready.wait(), RECEIVE_SECONDS)
        numbers = itertools.count()

        async def promote_next() -> None:
            number = next(numbers)
            name = names[number % len(names)]
            started = time.perf_counter()
            answer = await promote.Promote(_promotion(name, number // len(names) % 2 + 1))
            sent[name, answer.promotion.sequence] = started

        await _open_loop(promote_next, PROMOTIONS_PER_SECOND, seconds)
        await asyncio.wait_for(consumer, RECEIVE_SECONDS)
    if sent.keys() != received.keys():
        raise RuntimeError(f"{len(sent)} promotions were made and {len(received)} received")
    return [there - sent[which] for which, there in received.items()]


async def _receive(
    channel: grpc.aio.Channel, received: dict[tuple[str, int], float], total: int, ready: asyncio.Event
) -> None:
    call = OperationsServiceStub(channel).ConsumeEvents()
    start = operations.StartConsuming(topic="model-promoted", group=f"bench-{uuid.uuid4().hex[:8]}")
    await call.write(operations.ConsumeEventsRequest(start=start))
    last: dict[str, int] = {}
    async for answer in call:
        if answer.HasField("started"):
            ready.set()
            continue
        event = json.loads(answer.event.value)
        model, sequence = event["model"], event["sequence"]
        received[model, sequence] = time.perf_counter()
        if sequence != last.get(model, 0) + 1:
            raise RuntimeError(f"event {sequence} of {model} came after {last.get(model, 0)}")
        last[model] = sequence
        await call.write(operations.ConsumeEventsRequest(acknowledge=operations.AcknowledgeEvent()))
        if len(received) == total:
            await call.done_writing()
            return


def _promotion(name: str, version: int) -> promotions.PromoteRequest:
    return promotions.PromoteRequest(name=name, version=version, target=promotions.Target(alias="champion"))


async def _open_loop(work: Callable[[], Awaitable[None]], per_second: int, seconds: float) -> list[float]:
    """Start a piece of work at fixed times and measure each from when it was due."""
    began = time.perf_counter()

    async def timed(due: float) -> float:
        await work()
        return time.perf_counter() - due

    tasks = []
    for number in range(round(per_second * seconds)):
        due = began + number / per_second
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(timed(due)))
    return list(await asyncio.gather(*tasks))


async def load_versions(connection: asyncpg.Connection) -> None:
    """Fill the registry with the workload's models and versions, as the peer's."""
    count = workload.REGISTRY_MODELS
    rows = f"generate_series(0, {workload.REGISTRY_VERSIONS - 1}) AS i"
    async with connection.transaction():
        await connection.execute(
            f"""INSERT INTO registry.model (name, creation_time_ms, last_updated_time_ms, last_version)
            SELECT 'bench-' || i, {workload.START_MS}, {workload.START_MS}, {workload.REGISTRY_VERSIONS // count}
            FROM generate_series(0, {count - 1}) AS i"""
        )
        await connection.execute(
            f"""INSERT INTO registry.version (version_id, model_id, version, source, run_id, status, artifact_uri,
                creation_time_ms, last_updated_time_ms)
            SELECT md5('version-' || i)::uuid, model_id, i / {count} + 1, 's3://models/' || i, md5('run-' || i), 2,
                's3://models/' || i, {workload.START_MS} + i, {workload.START_MS} + i
            FROM {rows} JOIN registry.model ON name = 'bench-' || i % {count}"""
        )
        for salt, key in enumerate(workload.VERSION_TAG_KEYS):
            await connection.execute(
                f"""INSERT INTO registry.version_tag (version_id, key, value)
                SELECT md5('version-' || i)::uuid, '{key}', {workload.label_sql("i", salt)} FROM {rows}"""
            )
    for table in ("model", "version", "version_tag"):
        await connection.execute(f"VACUUM (ANALYZE) registry.{table}")


def search_latency(stack: StackUnderTest) -> Latency:
    """Time of the first page of the search that the peer answers too; the page is checked."""
    request = models.SearchVersionsRequest(
        filter=workload.VERSION_FILTER,
        order_by=[workload.VERSION_ORDER_BY],
        page_size=workload.VERSION_PAGE,
    )
    with grpc.insecure_channel(stack.registry) as channel:
        stub = ModelServiceStub(channel)
        found = stub.SearchVersions(request).versions
        teams = {tag.value for version in found for tag in version.tags if tag.key == "team"}
        times = [version.creation_time_ms for version in found]
        if len(found) != workload.VERSION_PAGE or teams != {"v7"} or times != sorted(times, reverse=True):
            raise RuntimeError("the search did not answer with the right page")
        return repeat(lambda: stub.SearchVersions(request), calls=CALLS, seconds=SECONDS)
