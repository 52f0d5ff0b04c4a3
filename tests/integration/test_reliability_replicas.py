"""Promise 1 with several metadata replicas: they share the work, one dies, and nothing is lost or stored twice."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from runstream_proto.common.v1.operations_service_pb2 import GetStatusRequest, GetStatusResponse
from runstream_proto.common.v1.operations_service_pb2_grpc import OperationsServiceStub

from tests.support.load import Load, check_exactly_once, create_run
from tests.support.service_stack import Service, ServiceStack

if TYPE_CHECKING:
    from pathlib import Path

RUNS = 6


async def has_applied(stack: ServiceStack, service: Service) -> bool:
    """Whether this process has handled messages."""
    async with stack.channel(service) as channel:
        status: GetStatusResponse = await OperationsServiceStub(channel).GetStatus(
            GetStatusRequest(), timeout=10, wait_for_ready=True
        )
    return any(mark.applied_offset for item in status.subscriptions for mark in item.watermarks)


async def until_applied(stack: ServiceStack, service: Service) -> None:
    async with asyncio.timeout(60):
        while not await has_applied(stack, service):
            await asyncio.sleep(0.05)


async def test_replicas_share_the_load_and_one_may_die(stack: ServiceStack) -> None:
    """A1 as well: in the embedded topology two replicas write to the same series at once."""
    async with stack.channel() as channel:
        run_ids = [await create_run(channel) for _ in range(RUNS)]
    async with Load(stack, run_ids) as load:
        await load.more_acknowledged()
        second = stack.new_metadata_replica()
        await asyncio.to_thread(second.start)
        await until_applied(stack, second)
        await load.more_acknowledged()
        stack.metadata.kill()
        await load.more_acknowledged()
        await asyncio.to_thread(stack.metadata.start)
        await load.more_acknowledged()
        await load.finish()
    await check_exactly_once(stack, load)
    second.stop()


def test_three_replicas_migrate_an_empty_database_at_once(tmp_path: Path, database_url: str) -> None:
    """Promise 10, F1: one migrates, the others wait for it, all of them serve."""
    stack = ServiceStack(tmp_path, database_url=database_url, bus_url=database_url)
    replicas = [stack.metadata, stack.new_metadata_replica(), stack.new_metadata_replica()]
    try:
        for replica in replicas:
            replica.spawn()
        with ThreadPoolExecutor() as threads:
            list(threads.map(Service.wait_ready, replicas))
        migrated = [replica for replica in replicas if '"schema_migrated"' in replica.log_path.read_text()]
        assert len(migrated) == 1
    finally:
        stack.stop()
