"""Files of the artifact service: found, written, listed, deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import structlog
from runstream_common.errors import FailedPrecondition, PlatformError, Unavailable
from runstream_common.object_store.location import LocalLocation, parse_location
from runstream_proto.artifact.v1 import artifact_service_pb2 as pb
from runstream_proto.artifact.v1 import types_pb2 as types

from runstream_gateway.files.addresses import host_of_target
from runstream_gateway.files.local_objects import LocalObjects
from runstream_gateway.files.object_requests import ObjectRequests
from runstream_gateway.files.objects import Objects
from runstream_gateway.files.sending import PartSender

if TYPE_CHECKING:
    from runstream_gateway.backends import Backends
    from runstream_gateway.files.bodies import Body
    from runstream_gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

INLINE_BYTES = 1_048_576
"""Content that goes with a call; more is streamed past the artifact service's gRPC."""
PAGE_SIZE = 10_000
SIGNED_AT_ONCE = 1_000


class Place(NamedTuple):
    """A file or directory of an owner; the empty path is all of its files."""

    owner: types.Owner
    path: str


class ArtifactFiles:
    """Reads and writes files as a part of the process.

    Args:
        backends: with the artifact service.
        settings: of the gateway.
    """

    name = "artifact files"

    def __init__(self, backends: Backends, settings: GatewaySettings) -> None:
        self._artifacts = backends.artifacts
        self._timeout_seconds = backends.timeout_seconds
        self._verification_seconds = settings.artifact_verification_seconds
        self.objects = Objects(
            ObjectRequests(host_of_target(settings.artifact_target)), _local_objects(settings)
        )
        self._sender = PartSender(self.objects, self._artifacts, self._timeout_seconds)
        self._store: pb.DescribeStoreResponse | None = None

    async def start(self) -> None:
        """Connects when first used."""
        await self.objects.start()

    async def stop(self) -> None:
        """Close the connections."""
        await self.objects.stop()

    async def store(self, *, fresh: bool = False) -> pb.DescribeStoreResponse:
        """How the object store is reached; asked once.

        Args:
            fresh: ask again: the artifact service may have come back at another port.
        """
        if self._store is None or fresh:
            self._store = await self._artifacts.DescribeStore(
                pb.DescribeStoreRequest(), timeout=self._timeout_seconds
            )
        return self._store

    async def fetch(self, place: Place, *, max_inline_bytes: int = INLINE_BYTES) -> pb.FetchArtifactResponse:
        """A file's entry with its content or a request for it.

        Raises:
            grpc.RpcError: reasons ARTIFACT_NOT_FOUND, IS_A_DIRECTORY.
        """
        request = pb.FetchArtifactRequest(
            owner=place.owner, path=place.path, max_inline_bytes=max_inline_bytes
        )
        return await self._artifacts.FetchArtifact(request, timeout=self._timeout_seconds)

    async def signed_fetch(
        self, place: Place, *, for_client: bool, expires_seconds: int
    ) -> pb.FetchArtifactResponse:
        """A file's entry with a request for its content.

        Args:
            for_client: by the address at which clients reach the store.
            expires_seconds: how long it works.
        """
        request = pb.FetchArtifactRequest(
            owner=place.owner, path=place.path, for_client=for_client, expires_seconds=expires_seconds
        )
        return await self._artifacts.FetchArtifact(request, timeout=self._timeout_seconds)

    async def entries(self, place: Place) -> list[types.Artifact]:
        """What a directory holds, by name; nothing when it is none."""
        found: list[types.Artifact] = []
        token = ""
        while True:
            request = pb.ListArtifactsRequest(
                owner=place.owner, path=place.path, page_size=PAGE_SIZE, page_token=token
            )
            page = await self._artifacts.ListArtifacts(request, timeout=self._timeout_seconds)
            found.extend(page.artifacts)
            token = page.next_page_token
            if not token:
                return sorted(found, key=lambda entry: entry.path)

    async def delete(self, place: Place) -> None:
        """Delete a file, or a directory with all below it; reason ARTIFACT_NOT_FOUND when there is nothing."""
        request = pb.DeleteArtifactsRequest(owner=place.owner, path=place.path)
        await self._artifacts.DeleteArtifacts(request, timeout=self._timeout_seconds)

    async def write(self, place: Place, body: Body, content_type: str) -> types.Artifact:
        """Store content as a file, as MLflow's proxy takes it: any owner, any name that a file can have.

        Nothing is visible until all of it is durable; if it stops coming nothing stays.

        Raises:
            grpc.RpcError, PlatformError: the owner takes no files, or the store has no room or is away.
            Exception: what the body raised.
        """
        content = await body.whole_if_small(INLINE_BYTES)
        if content is None:
            return await self._write_stream(place, body, content_type)
        request = pb.WriteArtifactRequest(
            owner=place.owner, path=place.path, content=content, content_type=content_type, as_given=True
        )
        return (await self._artifacts.WriteArtifact(request, timeout=self._timeout_seconds)).artifact

    async def _write_stream(self, place: Place, body: Body, content_type: str) -> types.Artifact:
        opened = await self.open(place, content_type, 0, for_client=False)
        upload_id = opened.upload.upload_id
        try:
            etags = await self._sender.send(opened, body)
            return await self.complete(upload_id, etags)
        except BaseException:
            await asyncio.shield(self._give_up(upload_id))
            raise

    async def open(
        self, place: Place, content_type: str, part_count: int, *, for_client: bool
    ) -> pb.CreateOpenUploadResponse:
        """Open an upload for content that comes later.

        Args:
            place: where it goes.
            content_type: media type of the file.
            part_count: parts that will come; 0 when that is not known.
            for_client: by the address at which clients reach the store.
        """
        request = pb.CreateOpenUploadRequest(
            owner=place.owner,
            path=place.path,
            content_type=content_type,
            part_count=part_count,
            as_given=True,
            for_service=not for_client,
        )
        return await self._artifacts.CreateOpenUpload(request, timeout=self._timeout_seconds)

    async def all_parts(
        self, opened: pb.CreateOpenUploadResponse, *, for_client: bool
    ) -> list[types.SignedRequest]:
        """Requests for all parts that were announced."""
        requests = list(opened.requests)
        while len(requests) < opened.upload.part_count:
            last = min(len(requests) + SIGNED_AT_ONCE, opened.upload.part_count)
            asked = pb.SignOpenPartsRequest(
                upload_id=opened.upload.upload_id,
                part_numbers=range(len(requests) + 1, last + 1),
                for_service=not for_client,
            )
            answer = await self._artifacts.SignOpenParts(asked, timeout=self._timeout_seconds)
            requests.extend(answer.requests)
        return requests

    async def complete(
        self, upload_id: str, etags: list[str], expected: Place | None = None
    ) -> types.Artifact:
        """Make an open upload's content visible; waits while it is read and hashed.

        Args:
            upload_id: of the upload.
            etags: of the parts 1, 2, 3 and so on, as the store answered them.
            expected: what the upload must be of.

        Raises:
            PlatformError: with the failure's reason.
        """
        request = pb.CompleteOpenUploadRequest(
            upload_id=upload_id,
            parts=[pb.SentPart(part_number=number, etag=etag) for number, etag in enumerate(etags, 1)],
            owner=None if expected is None else expected.owner,
            path="" if expected is None else expected.path,
        )
        deadline = asyncio.get_running_loop().time() + self._verification_seconds
        while True:
            answer = await self._artifacts.CompleteOpenUpload(request, timeout=self._timeout_seconds)
            if answer.result.HasField("artifact"):
                return answer.result.artifact
            failure = answer.result.failure
            late = asyncio.get_running_loop().time() > deadline
            if failure.reason != "VERIFICATION_RUNNING" or late:
                raise _failure(failure)

    async def abort(self, upload_id: str) -> None:
        """Give an open upload up; one that is not open stays as it is."""
        request = pb.AbortOpenUploadRequest(upload_id=upload_id)
        await self._artifacts.AbortOpenUpload(request, timeout=self._timeout_seconds)

    async def send_whole(self, upload_id: str, body: Body) -> types.Artifact:
        """Send all content of an upload of one part, and make it visible."""
        request = pb.SignOpenPartsRequest(upload_id=upload_id, part_numbers=[1], for_service=True)
        signed = await self._artifacts.SignOpenParts(request, timeout=self._timeout_seconds)
        etag = await self._sender.send_part(signed.requests[0], body.rest(), body.size_bytes, body)
        return await self.complete(upload_id, [etag])

    async def _give_up(self, upload_id: str) -> None:
        try:
            await self.abort(upload_id)
        except Exception as error:  # noqa: BLE001 - it expires, and what went wrong before is what is told
            log.warning("open_upload_left_behind", upload_id=upload_id, error=str(error))


def _local_objects(settings: GatewaySettings) -> LocalObjects | None:
    url = settings.object_store_url.get_secret_value()
    location = parse_location(url) if url else None
    return LocalObjects(location.root) if isinstance(location, LocalLocation) else None


def _failure(failure: pb.UploadFailure) -> PlatformError:
    kind = Unavailable if failure.retryable else FailedPrecondition
    return kind(failure.message, reason=failure.reason)
