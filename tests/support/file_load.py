"""Writers that store files whose content anyone can compute, through crashes, and the checks afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import threading
from typing import TYPE_CHECKING

from runstream.artifacts.errors import UploadRefused
from runstream.query.client import Client
from runstream_common.bus.factory import build_bus
from runstream_common.bus.topics import ARTIFACT_STORED
from runstream_common.errors import PlatformError
from runstream_proto.events.v1.artifact_stored_pb2 import ArtifactStored

from tests.support.bus import Collector, bus_settings, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.service_stack import ServiceStack

PART_BYTES = 5 * 1024 * 1024
IN_PARTS_BYTES = 64 * 1024
SETTINGS = {
    "RUNSTREAM_MULTIPART_THRESHOLD_BYTES": str(IN_PARTS_BYTES),
    "RUNSTREAM_MULTIPART_PART_BYTES": str(PART_BYTES),
}
"""Files need not be large to go in parts, which are put together and read back."""


def content_of(run_id: str, path: str) -> bytes:
    """What a file holds: every third one goes in parts."""
    noise = random.Random(f"{run_id}/{path}")
    large = int(path.rpartition("-")[2]) % 3 == 0
    return noise.randbytes(
        noise.randint(IN_PARTS_BYTES + 1, 3 * IN_PARTS_BYTES) if large else noise.randint(0, 2000)
    )


def digest_of(run_id: str, path: str) -> str:
    return hashlib.sha256(content_of(run_id, path)).hexdigest()


class FileWriter:
    """Stores one file after the other in a run; one that fails because a part is away is left at that.

    Attributes:
        acknowledged: paths of which the client said that they are stored.
        failed: paths of which it did not.
    """

    def __init__(self, target: str, run_id: str) -> None:
        self.run_id = run_id
        self.acknowledged: list[str] = []
        self.failed: list[str] = []
        self._target = target
        self._stop = threading.Event()

    def run(self) -> None:
        """Store until told to stop. Raises what is not the fault of a part that is away."""
        number = 0
        with Client(self._target) as client:
            while not self._stop.is_set():
                number += 1
                path = f"data/file-{number}"
                try:
                    client.artifacts.upload_bytes(content_of(self.run_id, path), self.run_id, path)
                except PlatformError as error:
                    if not (error.retryable or isinstance(error, UploadRefused)):
                        raise
                    self.failed.append(path)
                else:
                    self.acknowledged.append(path)

    async def more(self, count: int = 8) -> None:
        """Wait until so many further files were acknowledged."""
        wanted = len(self.acknowledged) + count
        await eventually(lambda: len(self.acknowledged) >= wanted)

    def stop(self) -> None:
        self._stop.set()


@contextlib.asynccontextmanager
async def writing(stack: ServiceStack, run_ids: Sequence[str]) -> AsyncIterator[list[FileWriter]]:
    """A writer for each run, at work until the block ends."""
    writers = [FileWriter(stack.metadata.target, run_id) for run_id in run_ids]
    async with asyncio.TaskGroup() as tasks:
        for writer in writers:
            tasks.create_task(asyncio.to_thread(writer.run))
        try:
            yield writers
        finally:
            for writer in writers:
                writer.stop()


@contextlib.asynccontextmanager
async def listening(stack: ServiceStack) -> AsyncIterator[Collector]:
    """Everything that a durable group gets from "artifact-stored"."""
    collector = Collector()
    bus = build_bus(bus_settings(stack.bus_url, stack.topic_prefix), [ARTIFACT_STORED])
    bus.subscribe(ARTIFACT_STORED.name, "indexer", collector)
    await bus.start()
    try:
        yield collector
    finally:
        await bus.stop()


def told_of(collector: Collector, run_id: str) -> set[tuple[str, str]]:
    """(path, digest) of the files of a run that events named."""
    events = (ArtifactStored.FromString(message.value) for message in collector.messages)
    return {(file.path, file.digest) for event in events if event.owner_id == run_id for file in event.files}


async def check_files(stack: ServiceStack, collector: Collector, writers: Sequence[FileWriter]) -> None:
    """Every acknowledged file is there with its bytes, nothing else is but whole, and events told of exactly those."""
    with Client(stack.metadata.target) as client:
        for writer in writers:
            await asyncio.to_thread(_check_run, client, writer)
            listed = await asyncio.to_thread(_listed, client, writer.run_id)
            with contextlib.suppress(TimeoutError):  # the comparison tells which ones did not come
                await collector.until(lambda: told_of(collector, writer.run_id) >= listed)  # noqa: B023
            assert told_of(collector, writer.run_id) == listed


def _listed(client: Client, run_id: str) -> set[tuple[str, str]]:
    return {(item.path, item.digest) for item in client.artifacts.list(run_id, recursive=True)}


def _check_run(client: Client, writer: FileWriter) -> None:
    listed = _listed(client, writer.run_id)
    assert {path for path, _ in listed} >= set(writer.acknowledged)
    assert {path for path, _ in listed} <= {*writer.acknowledged, *writer.failed}
    assert listed == {(path, digest_of(writer.run_id, path)) for path, _ in listed}
    verified = client.artifacts.verify(writer.run_id, read_content=True)
    assert (verified.ok, verified.problems) == (True, ())
    for path, _ in sorted(listed)[::5]:
        assert client.artifacts.read_bytes(writer.run_id, path) == content_of(writer.run_id, path)
