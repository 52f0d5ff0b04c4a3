"""Files while the object store, the artifact service or the database are killed: whole or not there, and none lost.

Wrong checksums are in services/artifact/tests/test_uploads.py, a killed client in test_artifacts.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from runstream.artifacts.errors import ObjectStoreAway
from runstream.query.client import Client
from runstream_common.errors import NotFound
from runstream_proto.artifact.v1 import artifact_service_pb2 as artifact_pb
from runstream_proto.artifact.v1 import types_pb2 as artifact_types
from runstream_proto.artifact.v1.artifact_service_pb2_grpc import ArtifactServiceStub

from tests.support.bus import eventually
from tests.support.file_load import PART_BYTES, SETTINGS, check_files, listening, writing
from tests.support.load import create_run
from tests.support.object_store import s3_url
from tests.support.postgres import PostgresServer, fresh_database
from tests.support.servers import running_s3
from tests.support.service_stack import ServiceStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.local.s3.s3 import S3Server

STORES = ["folder", pytest.param("s3", marks=pytest.mark.s3)]
KILLS = 4
PARTS = 8


def make_stack(directory: Path, database_url: str, object_store_url: str = "") -> ServiceStack:
    return ServiceStack(
        directory,
        database_url=database_url,
        bus_url=database_url,
        names=("metadata", "artifact"),
        object_store_url=object_store_url,
        settings=SETTINGS,
    )


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK gives up soon, so that there are files of which it does not know whether they are stored."""
    monkeypatch.setenv("RUNSTREAM_TRANSFER_RETRY_SECONDS", "0.2")


@pytest.fixture(params=STORES)
def stack(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[ServiceStack]:
    store_url = s3_url(request.getfixturevalue("s3_server")) if request.param == "s3" else ""
    with fresh_database(postgres_server) as database_url, contextlib.ExitStack() as exits:
        running = make_stack(tmp_path, database_url, store_url)
        exits.callback(running.stop)
        running.start()
        yield running


async def new_runs(stack: ServiceStack, count: int = 2) -> list[str]:
    async with stack.channel() as channel:
        return [await create_run(channel) for _ in range(count)]


async def test_a_service_killed_again_and_again_loses_no_file_and_shows_none_half(
    stack: ServiceStack,
) -> None:
    """A3, D1: also when it dies between putting a file together and recording it."""
    moments = random.Random(7)
    async with listening(stack) as collector:
        async with writing(stack, await new_runs(stack)) as writers:
            for _ in range(KILLS):
                await asyncio.gather(*(writer.more(moments.randint(2, 6)) for writer in writers))
                stack.artifact.kill()
                await asyncio.to_thread(stack.artifact.start)
            await asyncio.gather(*(writer.more() for writer in writers))
        await check_files(stack, collector, writers)


async def test_a_database_killed_amid_completions_loses_no_file_and_shows_none_half(
    disposable_postgres: PostgresServer, tmp_path: Path
) -> None:
    disposable_postgres.create_database("runstream")
    stack = make_stack(tmp_path, disposable_postgres.url("runstream"))
    with contextlib.ExitStack() as exits:
        exits.callback(stack.stop)
        await asyncio.to_thread(stack.start)
        async with listening(stack) as collector:
            async with writing(stack, await new_runs(stack)) as writers:
                for _ in range(2):
                    await asyncio.gather(*(writer.more() for writer in writers))
                    await asyncio.to_thread(disposable_postgres.kill)
                    await asyncio.to_thread(disposable_postgres.restart)
                await asyncio.gather(*(writer.more() for writer in writers))
            assert stack.artifact.exit_code() is None
            await check_files(stack, collector, writers)


async def received_parts(stack: ServiceStack, run_id: str, name: str, content: bytes) -> int:
    """How many parts the store has of an upload that was interrupted."""
    new = artifact_pb.NewFile(path=name, size_bytes=len(content), digest=hashlib.sha256(content).hexdigest())
    owner = artifact_types.Owner(kind=artifact_types.OWNER_KIND_RUN, id=run_id)
    async with stack.channel(stack.artifact) as channel:
        service: Any = ArtifactServiceStub(channel)
        answer = await service.CreateUploads(artifact_pb.CreateUploadsRequest(owner=owner, files=[new]))
    return len(answer.outcomes[0].upload.uploaded_parts)


def upload_until_the_store_dies(stack: ServiceStack, s3: S3Server, run_id: str, path: Path) -> None:
    def kill_in_the_middle(state: Any) -> None:
        if state.done_bytes > 3 * PART_BYTES and s3.is_running():
            s3.kill()

    with Client(stack.metadata.target) as client:
        with pytest.raises(ObjectStoreAway, match=path.name):
            client.artifacts.upload(path, run_id, progress=kill_in_the_middle)
        with pytest.raises(NotFound):
            client.artifacts.stat(run_id, path.name)


def resume(stack: ServiceStack, run_id: str, path: Path) -> int:
    """Upload once more; returns the bytes that were not sent again, which count in one step."""
    states: list[Any] = []
    with Client(stack.metadata.target) as client:
        client.artifacts.upload(path, run_id, progress=states.append)
        assert client.artifacts.read_bytes(run_id, path.name) == path.read_bytes()
        assert client.artifacts.verify(run_id, read_content=True).ok
    return max(later.done_bytes - state.done_bytes for state, later in pairwise(states))


@pytest.mark.s3
async def test_a_killed_object_store_is_told_and_the_upload_goes_on_where_it_stopped(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D1: an upload that was interrupted sends what is missing."""
    monkeypatch.setenv("RUNSTREAM_TRANSFER_THREADS", "2")
    path = tmp_path / "weights"
    content = os.urandom(PARTS * PART_BYTES)
    path.write_bytes(content)
    with contextlib.ExitStack() as exits:
        s3 = exits.enter_context(running_s3())
        stack = make_stack(tmp_path, exits.enter_context(fresh_database(postgres_server)), s3_url(s3))
        exits.callback(stack.stop)
        await asyncio.to_thread(stack.start)
        [run_id] = await new_runs(stack, 1)
        await asyncio.to_thread(upload_until_the_store_dies, stack, s3, run_id, path)
        await eventually(lambda: not stack.artifact.is_ready())
        await asyncio.to_thread(s3.start)
        await asyncio.to_thread(stack.artifact.wait_ready)
        received = await received_parts(stack, run_id, path.name, content)
        assert 0 < received < PARTS
        monkeypatch.setenv("RUNSTREAM_TRANSFER_RETRY_SECONDS", "30")
        assert await asyncio.to_thread(resume, stack, run_id, path) >= received * PART_BYTES
