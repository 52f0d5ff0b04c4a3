"""Between messages of ``runstream.artifact.v1`` and the values of this service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument
from runstream_contract.names import is_uuid
from runstream_proto.artifact.v1 import artifact_service_pb2 as pb
from runstream_proto.artifact.v1 import types_pb2 as types

from runstream_artifact.entities import Directory
from runstream_artifact.owners import checked_owner
from runstream_artifact.signing import UploadTicket
from runstream_artifact.upload_checks import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.object_store.api import SignedRequest

    from runstream_artifact.entities import Entry, Owner, StoredFile, Tree


def owner(message: types.Owner, field: str = "owner") -> Owner:
    """The owner.

    Raises:
        InvalidArgument: it is missing or has another form.
    """
    return checked_owner(message.kind, message.id, field)


def upload_id(text: str, field: str = "upload_id") -> str:
    """The id in its usual form.

    Raises:
        InvalidArgument: it is no UUID.
    """
    if not is_uuid(text):
        raise InvalidArgument.of(field, "must be a UUID")
    return text.lower()


def count(items: Sequence[object], field: str, at_most: int) -> None:
    """Refuse a list that is empty or too long.

    Raises:
        InvalidArgument: it is.
    """
    if not 1 <= len(items) <= at_most:
        raise InvalidArgument.of(field, f"needs 1 to {at_most} entries, has {len(items)}")


def artifact_message(entry: Entry) -> types.Artifact:
    """The entry as clients see it."""
    if isinstance(entry, Directory):
        return types.Artifact(path=entry.path, is_directory=True)
    return types.Artifact(
        path=entry.path,
        size_bytes=entry.size_bytes,
        digest=entry.digest.hex(),
        content_type=entry.content_type,
        stored_time_ms=entry.stored_time_ms,
    )


def request_message(request: SignedRequest) -> types.SignedRequest:
    """The request as clients see it."""
    return types.SignedRequest(
        method=request.method,
        url=request.url,
        headers=request.headers,
        expire_time_ms=request.expire_time_ms,
    )


def upload_message(ticket: UploadTicket) -> types.Upload:
    """The upload as clients see it."""
    upload = ticket.upload
    return types.Upload(
        upload_id=upload.upload_id,
        path=upload.path,
        size_bytes=upload.size_bytes,
        digest=upload.digest.hex(),
        request=None if ticket.request is None else request_message(ticket.request),
        part_size_bytes=upload.part_size_bytes,
        part_count=upload.part_count,
        uploaded_parts=[
            types.UploadedPart(part_number=part.number, size_bytes=part.size_bytes) for part in ticket.parts
        ],
        part_checksum=ticket.part_checksum,
        expire_time_ms=upload.expire_time_ms,
    )


def outcome_message(outcome: StoredFile | UploadTicket) -> pb.UploadOutcome:
    """What to do for an announced file."""
    if isinstance(outcome, UploadTicket):
        return pb.UploadOutcome(upload=upload_message(outcome))
    return pb.UploadOutcome(stored=artifact_message(outcome))


def completed_message(result: StoredFile | Failure) -> pb.CompletedUpload:
    """What became of an upload."""
    if isinstance(result, Failure):
        failure = pb.UploadFailure(reason=result.reason, message=result.message, retryable=result.retryable)
        return pb.CompletedUpload(failure=failure)
    return pb.CompletedUpload(artifact=artifact_message(result))


def tree_message(tree: Tree) -> types.Tree:
    """The tree as clients see it."""
    return types.Tree(
        digest=tree.digest.hex(), file_count=tree.file_count, size_bytes=tree.size_bytes, sealed=tree.sealed
    )
