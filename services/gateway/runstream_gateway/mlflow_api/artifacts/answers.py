"""What the endpoints of artifacts have in common: refusals in MLflow's words, listings, files as answers."""

from __future__ import annotations

import posixpath
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_EXHAUSTED
from runstream_common.errors import PlatformError
from runstream_common.rpc.status import from_rpc_error

from runstream_gateway.files.content_replies import file_reply
from runstream_gateway.mlflow_api.artifacts.paths import content_type
from runstream_gateway.mlflow_api.errors import invalid, missing, translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runstream_proto.artifact.v1 import types_pb2 as types
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.files.store import ArtifactFiles, Place

_INSUFFICIENT_STORAGE = 507


class StoreIsFull(MlflowException):  # type: ignore[misc]  # its package has no types
    """The answer for a store that has no room: clients would repeat a 503 for minutes, to no avail."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=RESOURCE_EXHAUSTED)

    def get_http_status_code(self) -> int:
        """HTTP 507, which MLflow's table of codes does not have."""
        return _INSUFFICIENT_STORAGE


@contextmanager
def in_mlflows_words(shown: str) -> Iterator[None]:
    """Turn refusals of the artifact service and the object store into MLflow's errors.

    Args:
        shown: the path as the client knows it.

    Raises:
        MlflowException: what it was.
    """
    try:
        yield
    except (grpc.RpcError, PlatformError) as error:
        refusal = error if isinstance(error, PlatformError) else from_rpc_error(error)
        raise _as_mlflows(refusal, shown) from error


def _as_mlflows(refusal: PlatformError, shown: str) -> MlflowException:
    if refusal.reason == "ARTIFACT_NOT_FOUND":
        return missing(f"No such artifact: '{shown}'")
    if refusal.reason == "UPLOAD_NOT_FOUND":
        return missing(refusal.message)
    if refusal.reason == "IS_A_DIRECTORY":
        return invalid(f"Artifact path refers to a directory, not a file: '{shown}'")
    if refusal.reason == "OBJECT_STORE_FULL":
        return StoreIsFull(refusal.message)
    if refusal.reason == "OBJECT_STORE_REFUSED":
        # Ours to mend: nothing is wrong with the request.
        return MlflowException(refusal.message, error_code=INTERNAL_ERROR)
    return translated(refusal)


async def sent_file(
    files: ArtifactFiles, request: Request, place: Place, shown: str, *, cache_control: str = ""
) -> Response:
    """A file as the answer.

    Args:
        files: where it is.
        request: whose answer it is; Range and conditions are looked at.
        place: of the file.
        shown: its path as the client knows it.
        cache_control: header of this name.

    Raises:
        MlflowException: there is none, it is a directory, or it cannot be read.
    """
    if not place.path:
        raise invalid(f"Artifact path refers to a directory, not a file: '{shown}'")
    head = request.method == "HEAD"
    with in_mlflows_words(shown):
        fetched = await (files.fetch(place, max_inline_bytes=0) if head else files.fetch(place))
        return await file_reply(
            fetched,
            files.objects,
            request.headers,
            head=head,
            file_name=posixpath.basename(place.path),
            content_type=content_type(place.path),
            cache_control=cache_control,
        )


def listed(entries: Iterable[types.Artifact], prefix: str) -> list[dict[str, Any]]:
    """Entries of a directory as MLflow's FileInfo.

    Args:
        entries: of the directory.
        prefix: put before each base name, with its slash.
    """
    return [_file_info(entry, prefix) for entry in entries]


def _file_info(entry: types.Artifact, prefix: str) -> dict[str, Any]:
    info: dict[str, Any] = {
        "path": prefix + posixpath.basename(entry.path),
        "is_dir": entry.is_directory,
    }
    if entry.size_bytes:
        # MLflow leaves out a size of zero.
        info["file_size"] = entry.size_bytes
    return info
