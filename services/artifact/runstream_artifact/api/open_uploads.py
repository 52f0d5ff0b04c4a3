"""Messages of open uploads, small writes and of what services hand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument
from runstream_common.object_store.api import MAX_EXPIRES_SECONDS
from runstream_proto.artifact.v1 import artifact_service_pb2 as pb
from runstream_proto.artifact.v1 import types_pb2 as types

from runstream_artifact.api import mapping
from runstream_artifact.file_rules import content_type_of
from runstream_artifact.files import Wanted
from runstream_artifact.open_completion import SentPart
from runstream_artifact.open_uploads import OpenFile
from runstream_artifact.paths import file_path

if TYPE_CHECKING:
    from runstream_artifact.entities import OpenUpload, Owner

MAX_INLINE_BYTES = 1_048_576
"""Largest content that comes with a call."""
MAX_PART_NUMBER = 10_000


def open_file(request: pb.WriteArtifactRequest | pb.CreateOpenUploadRequest) -> OpenFile:
    """The file that is to come.

    Raises:
        InvalidArgument: naming what is wrong.
    """
    owner = mapping.owner(request.owner)
    path = file_path(request.path, "path", portable=not request.as_given)
    return OpenFile(
        owner, path, content_type_of(path, request.content_type, "content_type"), request.as_given
    )


def small_content(content: bytes) -> bytes:
    """The content, if it is small.

    Raises:
        InvalidArgument: it is not.
    """
    if len(content) > MAX_INLINE_BYTES:
        raise InvalidArgument.of(
            "content", f"has {len(content)} bytes, at most {MAX_INLINE_BYTES} are allowed"
        )
    return content


def sent_parts(request: pb.CompleteOpenUploadRequest) -> list[SentPart]:
    """The parts that were sent.

    Raises:
        InvalidArgument: they are too many, or not numbered 1, 2, 3 and so on.
    """
    if len(request.parts) > MAX_PART_NUMBER:
        raise InvalidArgument.of("parts", f"has {len(request.parts)} entries, at most {MAX_PART_NUMBER}")
    for index, part in enumerate(request.parts):
        if part.part_number != index + 1:
            raise InvalidArgument.of(
                f"parts[{index}].part_number", f"must be {index + 1}: parts come in order"
            )
    return [SentPart(part.part_number, part.etag) for part in request.parts]


def expected_file(request: pb.CompleteOpenUploadRequest) -> tuple[Owner, str] | None:
    """Owner and path that the upload must have, when they are given."""
    if not request.HasField("owner"):
        return None
    return mapping.owner(request.owner), file_path(request.path, "path", portable=False)


def wanted(request: pb.FetchArtifactRequest) -> Wanted:
    """What a service wants to hand on.

    Raises:
        InvalidArgument: naming what is wrong.
    """
    if not 0 <= request.max_inline_bytes <= MAX_INLINE_BYTES:
        raise InvalidArgument.of("max_inline_bytes", f"must be 0 to {MAX_INLINE_BYTES}")
    if not 0 <= request.expires_seconds <= MAX_EXPIRES_SECONDS:
        raise InvalidArgument.of("expires_seconds", f"must be 0 to {MAX_EXPIRES_SECONDS}")
    return Wanted(
        owner=mapping.owner(request.owner),
        path=file_path(request.path, "path", portable=False),
        max_inline_bytes=request.max_inline_bytes,
        for_client=request.for_client,
        expires_seconds=request.expires_seconds or None,
    )


def upload_message(upload: OpenUpload, *, needs_length: bool) -> types.OpenUpload:
    """The upload as its sender sees it."""
    return types.OpenUpload(
        upload_id=upload.upload_id,
        owner=types.Owner(kind=types.OwnerKind.ValueType(upload.owner.kind.value), id=upload.owner.id),
        path=upload.path,
        part_count=upload.part_count,
        needs_length=needs_length,
        expire_time_ms=upload.expire_time_ms,
    )
