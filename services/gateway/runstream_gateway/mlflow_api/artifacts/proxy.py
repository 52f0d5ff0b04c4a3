"""The artifact proxy: files listed, read, written and deleted by their path in MLflow's one tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.protos import mlflow_artifacts_pb2 as artifacts_pb
from runstream_proto.artifact.v1 import types_pb2 as types
from starlette.responses import Response

from runstream_gateway.files.bodies import Body
from runstream_gateway.files.store import Place
from runstream_gateway.mlflow_api.artifacts.answers import in_mlflows_words, listed, sent_file
from runstream_gateway.mlflow_api.artifacts.paths import ARTIFACTS, REST, content_type, located, safe_path
from runstream_gateway.mlflow_api.errors import invalid, missing
from runstream_gateway.mlflow_api.messages import read_message
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from runstream_gateway.files.store import ArtifactFiles

PREFIX = "/api/2.0/mlflow-artifacts/artifacts"


def routes(files: ArtifactFiles) -> list[Route]:
    """Routes of this area."""
    api = ArtifactProxy(files)
    return [
        Route("GET", PREFIX, api.list_directory),
        Route("GET", PREFIX + "/{artifact_path:path}", api.download),
        Route("PUT", PREFIX + "/{artifact_path:path}", api.upload, max_body_bytes=0),
        Route("DELETE", PREFIX + "/{artifact_path:path}", api.delete),
    ]


class ArtifactProxy:
    """Translates between MLflow's tree and the owners of files."""

    def __init__(self, files: ArtifactFiles) -> None:
        self._files = files

    async def list_directory(self, request: Request) -> Response:
        """One directory; what is missing, and a file, list as nothing."""
        asked = await read_message(request, artifacts_pb.ListArtifacts(), {})
        path = safe_path(asked.path) if asked.HasField("path") else ""
        with in_mlflows_words(path):
            entries = await self._entries(path)
        return json_reply({"files": listed(entries, "")} if entries else {})

    async def _entries(self, path: str) -> list[types.Artifact]:
        place, above = located(path)
        if not above:
            return await self._files.entries(place)
        entries = await self._files.entries(Place(REST, path))
        if await self._files.entries(place):
            entries = [*entries, types.Artifact(path=f"{path}/{ARTIFACTS}", is_directory=True)]
        return sorted(entries, key=lambda entry: entry.path)

    async def download(self, request: Request) -> Response:
        """One file, whole or a range."""
        given: str = request.path_params["artifact_path"]
        place, above = located(safe_path(given))
        if above:
            raise invalid(f"Artifact path refers to a directory, not a file: '{given}'")
        return await sent_file(self._files, request, place, given)

    async def upload(self, request: Request) -> Response:
        """Stores the body as a file, replacing what is there."""
        given: str = request.path_params["artifact_path"]
        path = safe_path(given)
        if not path or given.endswith("/"):
            raise invalid("Artifact path must include a filename (cannot end with '/').")
        place, above = located(path)
        if above or not place.path:
            raise invalid(f"Artifact path refers to a directory, not a file: '{given}'")
        with in_mlflows_words(given):
            await self._files.write(place, body_of(request), content_type(path))
        return Response(status_code=200)

    async def delete(self, request: Request) -> Response:
        """Deletes a file, or a directory with all below it; nothing there is no error."""
        path = safe_path(request.path_params["artifact_path"])
        if not path:
            raise missing("The root of all artifacts is not deleted.")
        place, above = located(path)
        await self._delete(place, path)
        if above:
            await self._delete(Place(REST, path), path)
        return json_reply({})

    async def _delete(self, place: Place, shown: str) -> None:
        try:
            with in_mlflows_words(shown):
                await self._files.delete(place)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise


def body_of(request: Request) -> Body:
    """The body of a request that streams."""
    length = request.headers.get("content-length")
    if length is None and "transfer-encoding" not in request.headers:
        length = "0"
    return Body(request.stream(), None if length is None else int(length))
