"""A running service with its parts, and the client's side of an upload."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from prometheus_client import CollectorRegistry
from runstream_artifact.abandonment import UploadExpiry
from runstream_artifact.api.artifact_service import ArtifactService
from runstream_artifact.run_states import RunState
from runstream_artifact.wiring import Parts, build_parts, use_cases
from runstream_common.object_store.api import SignedRequest
from runstream_common.rpc.server import build_server
from runstream_contract.ids import new_run_id
from runstream_proto.artifact.v1 import artifact_service_pb2 as pb
from runstream_proto.artifact.v1 import types_pb2 as types
from runstream_proto.artifact.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from runstream_proto.events.v1.artifact_stored_pb2 import ArtifactStored

from tests.support.object_store import crc32

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from runstream_artifact.settings import ArtifactSettings
    from runstream_common.errors import PlatformError

    from tests.support.object_store import Answer, Sender, ShiftedClock


@dataclass
class SteeredRuns:
    """Knows every run as active, unless the test says otherwise."""

    states: dict[str, RunState] = field(default_factory=dict)
    error: PlatformError | None = None
    asked: list[str] = field(default_factory=list)

    async def state(self, run_id: str) -> RunState:
        self.asked.append(run_id)
        if self.error is not None:
            raise self.error
        return self.states.get(run_id, RunState.ACTIVE)


def run_owner(run_id: str = "") -> types.Owner:
    return types.Owner(kind=types.OWNER_KIND_RUN, id=run_id or new_run_id())


def version_owner() -> types.Owner:
    return types.Owner(kind=types.OWNER_KIND_MODEL_VERSION, id=new_run_id())


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def announced(path: str, content: bytes, **overrides: object) -> pb.NewFile:
    values = {"path": path, "size_bytes": len(content), "digest": digest(content)}
    return pb.NewFile(**(values | overrides))


def tree_digest(files: Mapping[str, bytes]) -> str:
    """By the definition in the proto, written out again."""
    lines = [
        f"{digest(content)} {len(content)} {path}\n".encode()
        for path, content in sorted(files.items(), key=lambda item: item[0].encode())
    ]
    return digest(b"".join(lines))


@dataclass
class Door:
    """A running service."""

    stub: ArtifactServiceStub
    parts: Parts
    expiry: UploadExpiry
    send: Sender

    async def create(self, owner: types.Owner, *files: pb.NewFile) -> Sequence[pb.UploadOutcome]:
        answer = await self.stub.CreateUploads(pb.CreateUploadsRequest(owner=owner, files=files))
        return answer.outcomes

    async def open(self, owner: types.Owner, path: str, content: bytes) -> types.Upload:
        (outcome,) = await self.create(owner, announced(path, content))
        assert outcome.WhichOneof("outcome") == "upload"
        return outcome.upload

    async def sign(self, upload: types.Upload, number: int, part: bytes) -> SignedRequest:
        asked = pb.PartToSign(part_number=number, checksum=crc32(part))
        answer = await self.stub.SignParts(pb.SignPartsRequest(upload_id=upload.upload_id, parts=[asked]))
        return signed(answer.requests[0])

    async def send_part(self, upload: types.Upload, number: int, content: bytes) -> Answer:
        part = part_of(upload, number, content)
        return await self.send(await self.sign(upload, number, part), part)

    async def send_content(self, upload: types.Upload, content: bytes) -> None:
        """Send what is missing."""
        if upload.HasField("request"):
            answer = await self.send(signed(upload.request), content)
            assert answer.status == 200, answer.body
            return
        there = {part.part_number for part in upload.uploaded_parts}
        for number in set(range(1, upload.part_count + 1)) - there:
            answer = await self.send_part(upload, number, content)
            assert answer.status == 200, answer.body

    async def complete(self, *upload_ids: str) -> Sequence[pb.CompletedUpload]:
        answer = await self.stub.CompleteUploads(pb.CompleteUploadsRequest(upload_ids=upload_ids))
        return answer.results

    async def put(self, owner: types.Owner, files: Mapping[str, bytes]) -> None:
        """Store files, whatever it takes."""
        new = [announced(path, content) for path, content in files.items()]
        waiting = []
        for outcome in await self.create(owner, *new):
            if outcome.WhichOneof("outcome") == "upload":
                await self.send_content(outcome.upload, files[outcome.upload.path])
                waiting.append(outcome.upload.upload_id)
        for result in await self.complete(*waiting) if waiting else ():
            assert result.WhichOneof("result") == "artifact", result

    async def paths(self, owner: types.Owner, path: str = "", *, recursive: bool = True) -> list[str]:
        request = pb.ListArtifactsRequest(owner=owner, path=path, recursive=recursive, page_size=10_000)
        return [item.path for item in (await self.stub.ListArtifacts(request)).artifacts]

    async def fetch(self, owner: types.Owner, path: str) -> bytes:
        request = pb.CreateDownloadsRequest(owner=owner, paths=[path])
        (download,) = (await self.stub.CreateDownloads(request)).downloads
        answer = await self.send(signed(download.request))
        assert answer.status == 200, answer.body
        return answer.body

    async def tree(self, owner: types.Owner, path: str = "") -> types.Tree:
        return (await self.stub.GetTree(pb.GetTreeRequest(owner=owner, path=path))).tree

    async def copy(
        self,
        source: types.Owner,
        source_path: str,
        target: types.Owner,
        target_path: str = "",
        *,
        seal: bool = False,
    ) -> types.Tree:
        request = pb.CopyArtifactsRequest(
            source_owner=source,
            source_path=source_path,
            target_owner=target,
            target_path=target_path,
            seal_target=seal,
        )
        return (await self.stub.CopyArtifacts(request)).tree

    async def events(self) -> list[ArtifactStored]:
        """What lies in the outbox, oldest first."""
        async with self.parts.database.driver() as connection:
            rows = await connection.fetch("SELECT payload FROM artifact.outbox ORDER BY id")
        return [ArtifactStored.FromString(row["payload"]) for row in rows]

    async def count(self, table: str) -> int:
        async with self.parts.database.driver() as connection:
            return await connection.fetchval(f"SELECT count(*) FROM artifact.{table}")

    async def let_uploads_expire(self) -> None:
        """As if their time had passed."""
        async with self.parts.database.driver() as connection:
            await connection.execute("UPDATE artifact.upload SET expires_at = now() - interval '1 second'")


def signed(message: types.SignedRequest) -> SignedRequest:
    return SignedRequest(message.method, message.url, dict(message.headers), message.expire_time_ms)


def part_of(upload: types.Upload, number: int, content: bytes) -> bytes:
    return content[(number - 1) * upload.part_size_bytes : number * upload.part_size_bytes]


@contextlib.asynccontextmanager
async def open_door(
    settings: ArtifactSettings, runs: SteeredRuns, clock: ShiftedClock, send: Sender
) -> AsyncIterator[Door]:
    """Run a service until the block ends."""
    parts = build_parts(settings, runs, clock)
    service = ArtifactService(use_cases(parts))
    server = build_server(settings, [service.registration()], registry=CollectorRegistry())
    async with contextlib.AsyncExitStack() as running:
        for component in (parts.database, parts.store, server):
            await component.start()
            running.push_async_callback(component.stop)
        running.push_async_callback(parts.checks.stop)
        channel = await running.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
        yield Door(ArtifactServiceStub(channel), parts, UploadExpiry(parts.database, parts.store), send)
