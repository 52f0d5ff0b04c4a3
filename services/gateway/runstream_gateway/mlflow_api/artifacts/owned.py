"""Files of runs, logged models and model versions, asked for by their owner, as the web UI does; and its uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.protos import service_pb2 as mlflow_pb
from starlette.responses import Response

from runstream_gateway.files.bodies import Body
from runstream_gateway.mlflow_api.artifacts.answers import in_mlflows_words, listed, sent_file
from runstream_gateway.mlflow_api.artifacts.owners import OwnerChecks
from runstream_gateway.mlflow_api.artifacts.paths import content_type, model_place, run_place, safe_path
from runstream_gateway.mlflow_api.artifacts.version_files import version_place
from runstream_gateway.mlflow_api.checks import required, string
from runstream_gateway.mlflow_api.errors import bad_request, invalid
from runstream_gateway.mlflow_api.messages import read_message
from runstream_gateway.replies import JSON, json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException
    from starlette.requests import Request

    from runstream_gateway.backends import Backends
    from runstream_gateway.files.store import ArtifactFiles, Place

MAX_UPLOAD_BYTES = 10 * 1024 * 1024
"""Largest file that the web UI uploads (mlflow.server.handlers, 3.17)."""
_MODELS = "/api/2.0/mlflow/logged-models/{model_id}/artifacts/"
# Shown in the UI again and again; asked each time whether it has changed.
_NO_CACHE = "no-cache"
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def routes(backends: Backends, files: ArtifactFiles) -> list[Route]:
    """Routes of this area."""
    api = OwnedFiles(backends, files)
    return [
        Route("GET", "/api/2.0/mlflow/artifacts/list", api.list_run),
        Route("GET", "/get-artifact", api.get_of_run),
        Route("GET", "/model-versions/get-artifact", api.get_of_version),
        Route("POST", "/ajax-api/2.0/mlflow/upload-artifact", api.upload, max_body_bytes=0),
        Route("GET", _MODELS + "directories", api.list_model),
        Route("GET", _MODELS.replace("/api/", "/ajax-api/") + "files", api.get_of_model),
    ]


class OwnedFiles:
    """Finds the owner, then its files."""

    def __init__(self, backends: Backends, files: ArtifactFiles) -> None:
        self._backends = backends
        self._files = files
        self._owners = OwnerChecks(backends)

    async def list_run(self, request: Request) -> Response:
        """artifacts/list; paths are relative to the run's root."""
        asked = await read_message(
            request, mlflow_pb.ListArtifacts(), {"run_id": [string, required], "path": [string]}
        )
        path = safe_path(asked.path)
        run_id = asked.run_id or asked.run_uuid
        return await self._listing(run_place(run_id, path), await self._owners.run_uri(run_id))

    async def list_model(self, request: Request) -> Response:
        """logged-models/{id}/artifacts/directories; paths are relative to the model's root."""
        asked = await read_message(
            request, mlflow_pb.ListLoggedModelArtifacts(), {"artifact_directory_path": [string]}
        )
        path = safe_path(asked.artifact_directory_path)
        model_id: str = request.path_params["model_id"]
        return await self._listing(model_place(model_id, path), await self._owners.model_uri(model_id))

    async def _listing(self, place: Place, root_uri: str) -> Response:
        with in_mlflows_words(place.path):
            entries = await self._files.entries(place)
        answer: dict[str, object] = {"root_uri": root_uri}
        if entries:
            answer["files"] = listed(entries, f"{place.path}/" if place.path else "")
        return json_reply(answer)

    async def get_of_run(self, request: Request) -> Response:
        """/get-artifact."""
        path = _asked_path(request)
        asked = request.query_params.get("run_id") or request.query_params.get("run_uuid")
        run_id = await self._owners.require_run(asked)
        return await sent_file(self._files, request, run_place(run_id, path), path, cache_control=_NO_CACHE)

    async def get_of_model(self, request: Request) -> Response:
        """logged-models/{id}/artifacts/files."""
        given = request.query_params.get("artifact_file_path")
        if not given:
            raise bad_request('Request must include the "artifact_file_path" query parameter.')
        path = safe_path(given)
        model_id: str = request.path_params["model_id"]
        await self._owners.model_uri(model_id)
        return await sent_file(
            self._files, request, model_place(model_id, path), path, cache_control=_NO_CACHE
        )

    async def get_of_version(self, request: Request) -> Response:
        """/model-versions/get-artifact: from the version's own copy, or where its source is."""
        path = _asked_path(request)
        query = request.query_params
        place = await version_place(self._backends, query.get("name", ""), query.get("version", ""), path)
        return await sent_file(self._files, request, place, path, cache_control=_NO_CACHE)

    async def upload(self, request: Request) -> Response:
        """upload-artifact: a small file of a run, from the web UI."""
        run_id = request.query_params.get("run_uuid")
        if not run_id:
            raise invalid("Request must specify run_uuid.")
        given = request.query_params.get("path")
        if not given:
            raise invalid("Request must specify path.")
        path = safe_path(given)
        content = await _small_body(request)
        if not content:
            raise invalid("Request must specify data.")
        await self._owners.require_run(run_id)
        if not path or given.endswith("/"):
            raise invalid("Request must specify path.")
        with in_mlflows_words(path):
            await self._files.write(run_place(run_id, path), Body.of(content), content_type(path))
        return Response(status_code=200, media_type=JSON)


def _asked_path(request: Request) -> str:
    given = request.query_params.get("path")
    if given is None:
        raise bad_request("Request must specify path.")
    return safe_path(given)


async def _small_body(request: Request) -> bytes:
    """The body, if the web UI may upload that much; forms have none (as in MLflow, whose framework parses them)."""
    if request.headers.get("content-type", "").lower().startswith(_FORMS):
        return b""
    if int(request.headers.get("content-length", "0")) > MAX_UPLOAD_BYTES:
        raise _too_large()
    pieces, total = [], 0
    async for piece in request.stream():
        total += len(piece)
        if total > MAX_UPLOAD_BYTES:
            raise _too_large()
        pieces.append(piece)
    return b"".join(pieces)


def _too_large() -> MlflowException:
    return invalid("Artifact size is too large. Max size is 10MB.")
