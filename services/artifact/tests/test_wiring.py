"""The service as it is put together: what it serves, what it tells the bus, and when it refuses to start."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import grpc
import pytest
from pydantic import ValidationError
from runstream_artifact.store.signing_keys import select_or_insert_secret
from runstream_artifact.wiring import build, build_parts
from runstream_common.errors import FailedPrecondition
from runstream_common.rpc.server import GrpcServer
from runstream_common.service import Runtime
from runstream_proto.artifact.v1 import artifact_service_pb2 as pb
from runstream_proto.artifact.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from runstream_proto.common.v1 import operations_service_pb2 as operations_pb
from runstream_proto.common.v1.operations_service_pb2_grpc import OperationsServiceStub
from runstream_proto.events.v1.artifact_stored_pb2 import ArtifactStored

from services.artifact.tests.conftest import make_settings
from services.artifact.tests.support import announced, signed, version_owner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def channel(local_settings) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the whole service, which runs in this process."""
    runtime = Runtime("artifact", local_settings)
    service = await build(runtime)
    async with contextlib.AsyncExitStack() as running:
        for component in service.components:
            await component.start()
            running.push_async_callback(component.stop)
        running.push_async_callback(runtime.tasks.stop)
        server = next(item for item in service.components if isinstance(item, GrpcServer))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
            yield opened


async def test_it_does_not_start_on_a_schema_that_was_not_migrated(database_url, tmp_path):
    with pytest.raises(FailedPrecondition, match="runstream_artifact migrate"):
        await build(Runtime("artifact", make_settings(database_url, f"file://{tmp_path}")))


def test_an_upload_may_not_expire_before_its_requests(database_url, tmp_path):
    with pytest.raises(ValidationError, match="upload_expiry_hours"):
        make_settings(
            database_url, f"file://{tmp_path}", upload_expiry_hours=1, artifact_url_expiry_seconds=3601
        )


async def test_its_parts_are_checked_for_readiness(channel):
    status = await OperationsServiceStub(channel).GetStatus(operations_pb.GetStatusRequest())
    assert {check.name: check.ok for check in status.checks} == {
        "database": True,
        "bus": True,
        "object store": True,
    }


async def test_stored_files_reach_the_bus(channel, send):
    tail = OperationsServiceStub(channel).TailEvents(operations_pb.TailEventsRequest(topic="artifact-stored"))
    stub, stored = ArtifactServiceStub(channel), []

    async def read_one() -> ArtifactStored:
        async for event in tail:
            assert event.key in stored
            return ArtifactStored.FromString(event.value)
        raise AssertionError("the tail ended")

    reading = asyncio.create_task(read_one())
    # A tail begins with what comes after it.
    while not reading.done():
        owner = version_owner()
        stored.append(owner.id)
        content = owner.id.encode()
        answer = await stub.CreateUploads(
            pb.CreateUploadsRequest(owner=owner, files=[announced("a", content)])
        )
        upload = answer.outcomes[0].upload
        assert (await send(signed(upload.request), content)).status == 200
        await stub.CompleteUploads(pb.CompleteUploadsRequest(upload_ids=[upload.upload_id]))
        await asyncio.wait([reading], timeout=0.5)

    event = await reading
    assert (event.owner_kind, [file.path for file in event.files]) == ("model_version", ["a"])


async def test_replicas_that_start_at_once_share_one_secret(local_settings, runs):
    replicas = [build_parts(local_settings, runs) for _ in range(4)]

    async def secret(index: int) -> bytes:
        async with replicas[index].database.driver() as connection:
            return await select_or_insert_secret(connection, bytes([index]) * 32, 0)

    try:
        found = await asyncio.gather(*(secret(index) for index in range(4)))
    finally:
        for parts in replicas:
            await parts.database.stop()
    assert len(set(found)) == 1
