"""The artifact service's calls as functions, with a deadline each and patience while the service is away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
from runstream_common.errors import (
    Aborted,
    DeadlineExceeded,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.artifact.v1 import artifact_service_pb2 as service_pb
from runstream_proto.artifact.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from runstream_proto.registry.v1 import model_service_pb2 as model_pb
from runstream_proto.registry.v1 import types_pb2 as registry_types_pb
from runstream_proto.registry.v1.model_service_pb2_grpc import ModelServiceStub

from runstream.artifacts.cancelling import Cancellation
from runstream.artifacts.errors import Cancelled
from runstream.artifacts.locations import Location, ModelReference, parse_location, parse_place
from runstream.connection import call_metadata
from runstream.tracking.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from google.protobuf.message import Message
    from runstream_proto.artifact.v1 import types_pb2 as types_pb

    from runstream.artifacts.locations import Place
    from runstream.connection import Connection

CALL_SECONDS = 30.0
# Longer than the service waits for the hashing of large files before it says that it goes on.
COMPLETION_SECONDS = 60.0
# What the store puts together, and the service reads and hashes, within a call; slow disks manage this much.
READ_BACK_BYTES_PER_SECOND = 20 * 1024 * 1024
PAGE_SIZE = 1000
_PASSING = (Unavailable, ResourceExhausted, Aborted)


class ArtifactCalls:
    """Calls of one client or one transfer; thread-safe.

    Args:
        connection: channels.
        timeout_seconds: deadline of a call; those that read content get more.
        retry_seconds: how long a service that is away is asked again; 0 leaves it to gRPC's three attempts.
        cancellation: ends calls that are under way.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        timeout_seconds: float = CALL_SECONDS,
        retry_seconds: float = 0.0,
        cancellation: Cancellation | None = None,
    ) -> None:
        self.connection = connection
        self._timeout_seconds = timeout_seconds
        self._retry_seconds = retry_seconds
        self._cancellation = cancellation or Cancellation()

    def patient(self, retry_seconds: float, cancellation: Cancellation) -> ArtifactCalls:
        """The same for a transfer, which must not end because a service restarts."""
        return ArtifactCalls(
            self.connection,
            timeout_seconds=self._timeout_seconds,
            retry_seconds=retry_seconds,
            cancellation=cancellation,
        )

    # Uploads

    def create_uploads(
        self, owner: types_pb.Owner, files: Sequence[service_pb.NewFile]
    ) -> Sequence[service_pb.UploadOutcome]:
        """Announce files."""
        request = service_pb.CreateUploadsRequest(owner=owner, files=files)
        answer: service_pb.CreateUploadsResponse = self._call("CreateUploads", request)
        return answer.outcomes

    def sign_part(self, upload_id: str, number: int, checksum: str) -> types_pb.SignedRequest:
        """Sign the request for one part."""
        part = service_pb.PartToSign(part_number=number, checksum=checksum)
        request = service_pb.SignPartsRequest(upload_id=upload_id, parts=[part])
        answer: service_pb.SignPartsResponse = self._call("SignParts", request)
        return answer.requests[0]

    def get_upload(self, upload_id: str) -> types_pb.Upload:
        """Read an upload with the parts that the store has."""
        answer: service_pb.GetUploadResponse = self._call(
            "GetUpload", service_pb.GetUploadRequest(upload_id=upload_id)
        )
        return answer.upload

    def complete_uploads(
        self, upload_ids: Sequence[str], size_bytes: int
    ) -> Sequence[service_pb.CompletedUpload]:
        """Have what was sent checked and made visible.

        Args:
            upload_ids: 1 to 1,000.
            size_bytes: size of all of them, which the service may have to read.
        """
        request = service_pb.CompleteUploadsRequest(upload_ids=upload_ids)
        extra = COMPLETION_SECONDS + size_bytes / READ_BACK_BYTES_PER_SECOND
        answer: service_pb.CompleteUploadsResponse = self._call(
            "CompleteUploads", request, extra_seconds=extra
        )
        return answer.results

    def abort_upload(self, upload_id: str) -> None:
        """Give an upload up."""
        self._call("AbortUpload", service_pb.AbortUploadRequest(upload_id=upload_id))

    # Reading

    def get_artifact(self, location: Location) -> types_pb.Artifact:
        """Read one entry; raises NotFound."""
        request = service_pb.GetArtifactRequest(owner=location.owner, path=location.path)
        answer: service_pb.GetArtifactResponse = self._call("GetArtifact", request)
        return answer.artifact

    def list_pages(
        self, location: Location, *, recursive: bool, page_size: int = PAGE_SIZE
    ) -> Iterator[Sequence[types_pb.Artifact]]:
        """The pages of a directory; recursive ones hold files only."""
        request = service_pb.ListArtifactsRequest(
            owner=location.owner, path=location.path, recursive=recursive, page_size=page_size
        )
        while True:
            answer: service_pb.ListArtifactsResponse = self._call("ListArtifacts", request)
            yield answer.artifacts
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def create_downloads(self, owner: types_pb.Owner, paths: Sequence[str]) -> Sequence[types_pb.Download]:
        """Sign requests to fetch files."""
        request = service_pb.CreateDownloadsRequest(owner=owner, paths=paths)
        answer: service_pb.CreateDownloadsResponse = self._call("CreateDownloads", request)
        return answer.downloads

    def get_tree(self, location: Location) -> types_pb.Tree:
        """Read a tree or directory in numbers."""
        request = service_pb.GetTreeRequest(owner=location.owner, path=location.path)
        answer: service_pb.GetTreeResponse = self._call("GetTree", request)
        return answer.tree

    def verify(
        self, location: Location, paths: Sequence[str], *, read_content: bool
    ) -> service_pb.VerifyArtifactsResponse:
        """Have the object store compared with the records."""
        request = service_pb.VerifyArtifactsRequest(
            owner=location.owner, paths=paths, read_content=read_content
        )
        extra = self.get_tree(location).size_bytes / READ_BACK_BYTES_PER_SECOND if read_content else 0.0
        answer: service_pb.VerifyArtifactsResponse = self._call(
            "VerifyArtifacts", request, extra_seconds=extra
        )
        return answer

    # Changing

    def delete(self, location: Location) -> int:
        """Delete a file or directory; returns the number of files. Raises NotFound."""
        request = service_pb.DeleteArtifactsRequest(owner=location.owner, path=location.path)
        answer: service_pb.DeleteArtifactsResponse = self._call("DeleteArtifacts", request)
        return answer.deleted_count

    def copy(self, source: Location, target: Location) -> types_pb.Tree:
        """Copy without moving bytes; returns the whole target's tree."""
        request = service_pb.CopyArtifactsRequest(
            source_owner=source.owner,
            source_path=source.path,
            target_owner=target.owner,
            target_path=target.path,
        )
        answer: service_pb.CopyArtifactsResponse = self._call("CopyArtifacts", request)
        return answer.tree

    def move(self, source: Location, target_path: str) -> int:
        """Rename within one owner; returns the number of files."""
        request = service_pb.MoveArtifactsRequest(
            owner=source.owner, source_path=source.path, target_path=target_path
        )
        answer: service_pb.MoveArtifactsResponse = self._call("MoveArtifacts", request)
        return answer.moved_count

    # Places

    def locate(self, text: str, path: str = "") -> Location:
        """Where a place is; asks the registry for versions of registered models.

        Raises:
            InvalidArgument: it is no place, or the version's files are not kept here.
            NotFound: there is no such model, version or alias.
        """
        place: Place = parse_place(text, path)
        return place if isinstance(place, Location) else self._resolve(place)

    def _resolve(self, reference: ModelReference) -> Location:
        selector = model_pb.VersionSelector()
        if reference.alias:
            selector.alias = reference.alias
        elif reference.stage:
            selector.stage = _stage(reference.stage)
        else:
            selector.version = reference.version
        request = model_pb.ResolveVersionRequest(name=reference.name, selector=selector)
        answer: model_pb.ResolveVersionResponse = self._send(
            lambda: self.connection.stub(ModelServiceStub), "ResolveVersion", request, self._timeout_seconds
        )
        uri = answer.artifacts.uri
        if not uri.startswith("runstream://"):
            raise NotFound(
                f"the files of {reference.name} version {answer.version} are kept at {uri or 'no place'}, which is not "
                "this deployment's artifact store",
                reason="ARTIFACTS_ELSEWHERE",
            )
        return parse_location(uri).below(reference.path)

    # Sending

    def _call(self, method: str, request: Message, *, extra_seconds: float = 0.0) -> Any:
        backoff = Backoff()
        give_up = time.monotonic() + self._retry_seconds
        timeout = self._timeout_seconds + extra_seconds
        while True:
            try:
                return self._send(lambda: self.connection.stub(ArtifactServiceStub), method, request, timeout)
            except (*_PASSING, DeadlineExceeded) as error:
                delay = backoff.next_seconds(getattr(error, "retry_after_seconds", None))
                if time.monotonic() + delay > give_up:
                    raise
                self._cancellation.wait(delay)

    def _send(self, stub: Callable[[], Any], method: str, request: Message, timeout: float) -> Any:
        self._cancellation.check()
        call = getattr(stub(), method).future(request, timeout=timeout, metadata=call_metadata())
        try:
            with self._cancellation.calling(call.cancel):
                return call.result()
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            self._cancellation.check()
            if isinstance(error, grpc.RpcError):
                raise from_rpc_error(error) from error
            raise Cancelled from error


def _stage(name: str) -> registry_types_pb.Stage.ValueType:
    known = {key.removeprefix("STAGE_").lower(): number for key, number in registry_types_pb.Stage.items()}
    number = known.get(name.lower())
    if not number:
        raise NotFound(
            f"{name!r} is no version number, no stage and not latest; aliases are written models:/<name>@<alias>",
            reason="VERSION_NOT_FOUND",
        )
    return number
