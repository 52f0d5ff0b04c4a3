"""Signed URLs for one file: to fetch it, in ranges and in parallel, or to store it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from mlflow.protos import service_pb2 as mlflow_pb

from runstream_gateway.mlflow_api.artifacts.answers import in_mlflows_words
from runstream_gateway.mlflow_api.artifacts.owners import OwnerChecks
from runstream_gateway.mlflow_api.artifacts.paths import (
    content_type,
    located,
    model_place,
    run_place,
    safe_path,
)
from runstream_gateway.mlflow_api.checks import int_like, required, string
from runstream_gateway.mlflow_api.errors import invalid
from runstream_gateway.mlflow_api.messages import read_message
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.files.store import ArtifactFiles, Place
    from runstream_gateway.mlflow_api.artifacts.public_urls import PublicUrls

_OF_PROXY = "/api/2.0/mlflow-artifacts/presigned/{artifact_path:path}"
_PROXY = "/api/2.0/mlflow-artifacts/artifacts/"
_OF_RUNS = "/api/2.0/mlflow/artifacts/presigned-"
DOWNLOAD_SECONDS = 300
"""Life of a download's URL unless asked otherwise (MLflow's default)."""
MAX_EXPIRES_SECONDS = 604_800


def routes(backends: Backends, files: ArtifactFiles, urls: PublicUrls) -> list[Route]:
    """Routes of this area."""
    api = SignedUrls(backends, files, urls)
    return [
        Route("GET", _OF_PROXY, api.of_proxy),
        Route("POST", _OF_RUNS + "download-url", api.download_url),
        Route("POST", _OF_RUNS + "upload-url", api.upload_url),
    ]


class SignedUrls:
    """Signs URLs."""

    def __init__(self, backends: Backends, files: ArtifactFiles, urls: PublicUrls) -> None:
        self._owners = OwnerChecks(backends)
        self._files = files
        self._urls = urls

    async def of_proxy(self, request: Request) -> Response:
        """presigned/{path}: the URL of a file by its path in MLflow's tree."""
        given: str = request.path_params["artifact_path"]
        place, above = located(safe_path(given))
        if above or not place.path:
            raise invalid(f"Artifact path refers to a directory, not a file: '{given}'")
        proxied = _PROXY + quote(given)
        url, headers, size_bytes = await self._download(request, place, given, DOWNLOAD_SECONDS, proxied)
        return json_reply({"url": url, "headers": headers, "file_size": size_bytes})

    async def download_url(self, request: Request) -> Response:
        """artifacts/presigned-download-url."""
        schema = {"run_id": [required, string], "path": [required, string], "expiration": [int_like]}
        asked = await read_message(request, mlflow_pb.CreatePresignedDownloadUrl(), schema)
        path = safe_path(asked.path)
        seconds = asked.expiration if asked.HasField("expiration") else DOWNLOAD_SECONDS
        if not 1 <= seconds <= MAX_EXPIRES_SECONDS:
            raise invalid(f"expiration must be between 1 and {MAX_EXPIRES_SECONDS} seconds (got {seconds}).")
        place = run_place(await self._owners.require_run(asked.run_id), path)
        proxied = "/get-artifact?" + urlencode({"run_id": asked.run_id, "path": path})
        url, headers, size_bytes = await self._download(request, place, path, seconds, proxied)
        answer: dict[str, Any] = {"presigned_url": url, "file_size": size_bytes}
        return json_reply(answer | ({"headers": headers} if headers else {}))

    async def upload_url(self, request: Request) -> Response:
        """artifacts/presigned-upload-url: whoever puts content there stores the file.

        It is this gateway's, wherever the object store is: the file has to become visible afterwards.
        """
        schema = {
            "run_id": [string],
            "model_id": [string],
            "path": [required, string],
            "expiration": [int_like],
        }
        asked = await read_message(request, mlflow_pb.CreatePresignedUploadUrl(), schema)
        if bool(asked.run_id) == bool(asked.model_id):
            raise invalid("Exactly one of run_id and model_id must be provided.")
        path = safe_path(asked.path)
        if asked.run_id:
            place = run_place(await self._owners.require_run(asked.run_id), path)
        else:
            await self._owners.model_uri(asked.model_id)
            place = model_place(asked.model_id, path)
        with in_mlflows_words(path):
            opened = await self._files.open(place, content_type(path), 1, for_client=False)
        return json_reply({"presigned_url": self._urls.of_upload(request, opened.upload.upload_id)})

    async def _download(
        self, request: Request, place: Place, shown: str, seconds: int, proxied: str
    ) -> tuple[str, dict[str, str], int]:
        """URL, headers and size in bytes. An empty file has no object that could be signed for: it is the proxy's."""
        with in_mlflows_words(shown):
            for_client = (await self._files.store()).clients_reach_it
            found = await self._files.signed_fetch(place, for_client=for_client, expires_seconds=seconds)
            signed = found.request
            if not signed.url:
                return self._urls.of_path(request, proxied), {}, found.artifact.size_bytes
            url = signed.url if for_client else await self._urls.of_signed(request, signed.url)
        return url, dict(signed.headers), found.artifact.size_bytes
