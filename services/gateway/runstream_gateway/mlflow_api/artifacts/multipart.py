"""MLflow's multipart uploads: parts go to the object store where clients reach it, else through this gateway."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from mlflow.protos import mlflow_artifacts_pb2 as artifacts_pb
from runstream_contract.names import is_uuid

from runstream_gateway.mlflow_api.artifacts.answers import in_mlflows_words
from runstream_gateway.mlflow_api.artifacts.paths import content_type, located, safe_path
from runstream_gateway.mlflow_api.checks import int_like, required, string
from runstream_gateway.mlflow_api.errors import invalid, missing
from runstream_gateway.mlflow_api.messages import read_message
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.files.store import ArtifactFiles, Place
    from runstream_gateway.mlflow_api.artifacts.public_urls import PublicUrls

_PREFIX = "/api/2.0/mlflow-artifacts/mpu/"
MAX_PARTS = 10_000


def routes(files: ArtifactFiles, urls: PublicUrls) -> list[Route]:
    """Routes of this area."""
    api = MultipartUploads(files, urls)
    return [
        Route("POST", _PREFIX + "create/{artifact_path:path}", api.create),
        Route("POST", _PREFIX + "complete/{artifact_path:path}", api.complete),
        Route("POST", _PREFIX + "abort/{artifact_path:path}", api.abort),
    ]


class MultipartUploads:
    """Translates MLflow's multipart uploads to open uploads."""

    def __init__(self, files: ArtifactFiles, urls: PublicUrls) -> None:
        self._files = files
        self._urls = urls

    async def create(self, request: Request) -> Response:
        """mpu/create: an upload, and where each part goes."""
        directory = safe_path(request.path_params["artifact_path"])
        schema = {"path": [required, string], "num_parts": [int_like]}
        asked = await read_message(request, artifacts_pb.CreateMultipartUpload(), schema)
        place = _place_of(directory, asked.path)
        if not 1 <= asked.num_parts <= MAX_PARTS:
            raise invalid(f"num_parts must be between 1 and {MAX_PARTS} (got {asked.num_parts}).")
        with in_mlflows_words(place.path):
            for_client = (await self._files.store()).clients_reach_it
            opened = await self._files.open(
                place, content_type(place.path), asked.num_parts, for_client=for_client
            )
            requests = await self._files.all_parts(opened, for_client=for_client)
            credentials: list[dict[str, Any]] = []
            for number, signed in enumerate(requests, 1):
                url = signed.url if for_client else await self._urls.of_signed(request, signed.url)
                credential: dict[str, Any] = {"url": url, "part_number": number}
                if signed.headers:
                    credential["headers"] = dict(signed.headers)
                credentials.append(credential)
        return json_reply({"upload_id": opened.upload.upload_id, "credentials": credentials})

    async def complete(self, request: Request) -> Response:
        """mpu/complete: the parts become the file."""
        directory = safe_path(request.path_params["artifact_path"])
        schema = {"path": [required, string], "upload_id": [string], "parts": [required]}
        asked = await read_message(request, artifacts_pb.CompleteMultipartUpload(), schema)
        place = _place_of(directory, asked.path)
        parts = sorted(asked.parts, key=lambda part: part.part_number)
        if not parts or [part.part_number for part in parts] != list(range(1, len(parts) + 1)):
            raise invalid("parts must be numbered 1, 2, 3 and so on, each once.")
        with in_mlflows_words(place.path):
            await self._files.complete(
                _checked_upload_id(asked.upload_id), [part.etag for part in parts], place
            )
        return json_reply({})

    async def abort(self, request: Request) -> Response:
        """mpu/abort: nothing of the upload stays; one that is gone is no error."""
        safe_path(request.path_params["artifact_path"])
        schema = {"path": [required, string], "upload_id": [string]}
        asked = await read_message(request, artifacts_pb.AbortMultipartUpload(), schema)
        if is_uuid(asked.upload_id):
            with in_mlflows_words(asked.path):
                await self._files.abort(asked.upload_id)
        return json_reply({})


def _place_of(directory: str, local_path: str) -> Place:
    """Where a file goes that the client has at a local path, maybe one of Windows."""
    name = posixpath.basename(local_path.replace("\\", "/"))
    path = safe_path(f"{directory}/{name}" if directory else name)
    place, above = located(path)
    if not name or above or not place.path:
        raise invalid(f"Artifact path refers to a directory, not a file: '{path}'")
    return place


def _checked_upload_id(text: str) -> str:
    if not is_uuid(text):
        raise missing("There is no such multipart upload.")
    return text
