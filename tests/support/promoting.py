"""Models whose versions are promoted in turn, for tests that kill what takes part in it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
from runstream_common.database import driver_dsn
from runstream_proto.registry.v1 import model_service_pb2 as models_pb
from runstream_proto.registry.v1 import promotion_service_pb2 as pb
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub
from runstream_proto.registry.v1.promotion_service_pb2_grpc import PromotionServiceStub

from tests.support.bus import eventually
from tests.support.service_stack import ServiceStack, open_test_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

VERSIONS = 3
CHAMPION = pb.Target(alias="champion")

# A call that reaches a server while that stops, and that it has not begun to handle, ends with CANCELLED.
_LOST_ANSWERS = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


class Promoter:
    """Promotes the versions of a model in turn; an answer that was lost is no failure, it is asked again."""

    def __init__(self, target: str, model: str) -> None:
        self.model = model
        self._target = target
        self._stopping = False
        self.acknowledged: list[int] = []

    async def run(self) -> None:
        async with open_test_channel(self._target) as channel:
            service: Any = PromotionServiceStub(channel)
            version = 0
            while not self._stopping:
                version = version % VERSIONS + 1
                request = pb.PromoteRequest(name=self.model, version=version, target=CHAMPION)
                try:
                    answer = await service.Promote(request, timeout=10, wait_for_ready=True)
                except grpc.aio.AioRpcError as error:
                    assert error.code() in _LOST_ANSWERS
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
async def promoting(stack: ServiceStack, models: Sequence[str]) -> AsyncIterator[list[Promoter]]:
    """A promoter for each model, at work until the block ends."""
    promoters = [Promoter(stack.registry.target, model) for model in models]
    async with asyncio.TaskGroup() as tasks:
        for promoter in promoters:
            tasks.create_task(promoter.run())
        try:
            yield promoters
        finally:
            for promoter in promoters:
                promoter.stop()


async def all_more(promoters: Sequence[Promoter], count: int = 20) -> None:
    """Wait until each promoter has so many further promotions."""
    await asyncio.gather(*(promoter.more(count) for promoter in promoters))


async def add_models(stack: ServiceStack, models: Sequence[str]) -> None:
    """Register versions of each model, whose files are elsewhere."""
    async with stack.channel(stack.registry) as channel:
        service: Any = ModelServiceStub(channel)
        for model in models:
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
