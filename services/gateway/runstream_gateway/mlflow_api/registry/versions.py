"""Versions of registered models: MLflow's endpoints over ModelService. Stages and aliases are in ``aliases``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlflow.protos import model_registry_pb2 as mlflow_pb
from runstream_proto.registry.v1 import model_service_pb2 as pb

from runstream_gateway.mlflow_api.checks import array, at_most, int_like, required, string, strings
from runstream_gateway.mlflow_api.errors import invalid
from runstream_gateway.mlflow_api.messages import read_message
from runstream_gateway.mlflow_api.registry.answers import version_json
from runstream_gateway.mlflow_api.registry.calls import RegistryCaller, tag_messages
from runstream_gateway.mlflow_api.registry.checks import (
    check_model_name,
    check_tag_key,
    check_version_tags,
    version_number,
)
from runstream_gateway.mlflow_api.registry.new_versions import NewVersions
from runstream_gateway.mlflow_api.registry.pages import gather_page
from runstream_gateway.mlflow_api.registry.refusals import version_words
from runstream_gateway.mlflow_api.search_filters import check_version_search
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from runstream_proto.registry.v1 import types_pb2 as types
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends

_PREFIX: Final = "/api/2.0/mlflow/model-versions/"
_NAMED: Final = {"name": [string, required], "version": [string, required]}
_MAX_RESULTS: Final = 200_000


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    api = ModelVersions(backends)
    return [
        Route("POST", _PREFIX + "create", api.create),
        Route("GET", _PREFIX + "get", api.get),
        Route("PATCH", _PREFIX + "update", api.update),
        Route("DELETE", _PREFIX + "delete", api.delete),
        Route("GET", _PREFIX + "get-download-uri", api.download_uri),
        Route("GET", _PREFIX + "search", api.search),
        Route("POST", _PREFIX + "set-tag", api.set_tag),
        Route("DELETE", _PREFIX + "delete-tag", api.delete_tag),
    ]


class ModelVersions:
    """Translates between MLflow's messages and the registry."""

    def __init__(self, backends: Backends) -> None:
        self._models = backends.models
        self._new_versions = NewVersions(backends)
        self._timeout_seconds = backends.timeout_seconds
        self._call = RegistryCaller(backends.timeout_seconds)

    async def create(self, request: Request) -> Response:
        """model-versions/create."""
        asked = await read_message(
            request,
            mlflow_pb.CreateModelVersion(),
            {
                "name": [string, required],
                "source": [string, required],
                "run_id": [string],
                "tags": [array],
                "run_link": [string],
                "description": [string],
                "model_id": [string],
            },
        )
        version = await self._new_versions.create(request, asked)
        return json_reply({"model_version": version_json(version)})

    async def get(self, request: Request) -> Response:
        """model-versions/get."""
        asked = await read_message(request, mlflow_pb.GetModelVersion(), _NAMED)
        version = await self._version(request, asked.name, asked.version)
        return json_reply({"model_version": version_json(version)})

    async def update(self, request: Request) -> Response:
        """model-versions/update; without a description it is cleared."""
        asked = await read_message(
            request, mlflow_pb.UpdateModelVersion(), {**_NAMED, "description": [string]}
        )
        check_model_name(asked.name)
        number = version_number(asked.name, asked.version)
        message = pb.UpdateVersionRequest(name=asked.name, version=number)
        if asked.HasField("description"):
            message.description = asked.description
        else:
            message.clear_description = True
        words = version_words(asked.name, asked.version)
        answer = await self._call(request, self._models.UpdateVersion, message, words)
        return json_reply({"model_version": version_json(answer.version)})

    async def delete(self, request: Request) -> Response:
        """model-versions/delete."""
        asked = await read_message(request, mlflow_pb.DeleteModelVersion(), _NAMED)
        check_model_name(asked.name)
        message = pb.DeleteVersionRequest(name=asked.name, version=version_number(asked.name, asked.version))
        words = version_words(asked.name, asked.version)
        await self._call(request, self._models.DeleteVersion, message, words)
        return json_reply({})

    async def download_uri(self, request: Request) -> Response:
        """model-versions/get-download-uri: the source, or what it stood for when the version was created."""
        asked = await read_message(request, mlflow_pb.GetModelVersionDownloadUri(), {})
        version = await self._version(request, asked.name, asked.version)
        return json_reply({"artifact_uri": version.storage_location or version.source})

    async def search(self, request: Request) -> Response:
        """model-versions/search."""
        asked = await read_message(
            request,
            mlflow_pb.SearchModelVersions(),
            {
                "filter": [string],
                "max_results": [int_like, at_most(_MAX_RESULTS)],
                "order_by": [array, strings],
                "page_token": [string],
            },
        )
        if asked.max_results < 1:
            raise invalid(
                f"Invalid value for max_results. It must be a positive integer, but got {asked.max_results}"
            )
        check_version_search(asked.filter, asked.order_by)
        message = pb.SearchVersionsRequest(
            filter=asked.filter,
            order_by=asked.order_by,
            page_token=asked.page_token,
            mlflow_grammar_only=True,
        )
        versions, token = await gather_page(
            request,
            self._models.SearchVersions,
            message,
            results="versions",
            wanted=asked.max_results,
            timeout_seconds=self._timeout_seconds,
        )
        page: dict[str, object] = {}
        if versions:
            page["model_versions"] = [version_json(version, aliases=False) for version in versions]
        if token:
            page["next_page_token"] = token
        return json_reply(page)

    async def set_tag(self, request: Request) -> Response:
        """model-versions/set-tag."""
        asked = await read_message(
            request,
            mlflow_pb.SetModelVersionTag(),
            {**_NAMED, "key": [string, required], "value": [string]},
        )
        check_model_name(asked.name)
        number = version_number(asked.name, asked.version)
        check_version_tags([asked])
        message = pb.ChangeTagsRequest(name=asked.name, version=number, set=tag_messages([asked]))
        words = version_words(asked.name, asked.version)
        await self._call(request, self._models.ChangeTags, message, words)
        return json_reply({})

    async def delete_tag(self, request: Request) -> Response:
        """model-versions/delete-tag; a missing one is harmless."""
        asked = await read_message(
            request, mlflow_pb.DeleteModelVersionTag(), {**_NAMED, "key": [string, required]}
        )
        check_model_name(asked.name)
        number = version_number(asked.name, asked.version)
        check_tag_key(asked.key)
        message = pb.ChangeTagsRequest(name=asked.name, version=number, delete_keys=[asked.key])
        words = version_words(asked.name, asked.version)
        await self._call(request, self._models.ChangeTags, message, words)
        return json_reply({})

    async def _version(self, request: Request, name: str, version: str) -> types.ModelVersion:
        check_model_name(name)
        selector = pb.VersionSelector(version=version_number(name, version))
        message = pb.GetVersionRequest(name=name, selector=selector)
        answer = await self._call(request, self._models.GetVersion, message, version_words(name, version))
        return answer.version  # type: ignore[no-any-return]
