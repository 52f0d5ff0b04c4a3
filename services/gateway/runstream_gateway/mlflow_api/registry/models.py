"""Registered models: MLflow's endpoints over ModelService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlflow.protos import model_registry_pb2 as mlflow_pb
from runstream_proto.registry.v1 import model_service_pb2 as pb

from runstream_gateway.mlflow_api.checks import array, at_most, int_like, required, string, strings
from runstream_gateway.mlflow_api.messages import read_message
from runstream_gateway.mlflow_api.registry.answers import model_json, version_json
from runstream_gateway.mlflow_api.registry.calls import RegistryCaller, tag_messages
from runstream_gateway.mlflow_api.registry.checks import (
    check_model_name,
    check_model_tags,
    check_new_name,
    check_tag_key,
    is_prompt,
    stage_of,
)
from runstream_gateway.mlflow_api.registry.pages import gather_page
from runstream_gateway.mlflow_api.registry.refusals import model_words, new_model_words, renaming_words
from runstream_gateway.mlflow_api.search_filters import check_model_search
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends

_PREFIX: Final = "/api/2.0/mlflow/registered-models/"
_NAMED: Final = {"name": [string, required]}
_MAX_RESULTS: Final = 1_000


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    api = RegisteredModels(backends)
    return [
        Route("POST", _PREFIX + "create", api.create),
        Route("GET", _PREFIX + "get", api.get),
        Route("PATCH", _PREFIX + "update", api.update),
        Route("POST", _PREFIX + "rename", api.rename),
        Route("DELETE", _PREFIX + "delete", api.delete),
        Route("GET", _PREFIX + "search", api.search),
        Route("GET", _PREFIX + "get-latest-versions", api.latest_versions),
        Route("POST", _PREFIX + "get-latest-versions", api.latest_versions),
        Route("POST", _PREFIX + "set-tag", api.set_tag),
        Route("DELETE", _PREFIX + "delete-tag", api.delete_tag),
    ]


class RegisteredModels:
    """Translates between MLflow's messages and the registry."""

    def __init__(self, backends: Backends) -> None:
        self._models = backends.models
        self._timeout_seconds = backends.timeout_seconds
        self._call = RegistryCaller(backends.timeout_seconds)

    async def create(self, request: Request) -> Response:
        """registered-models/create."""
        asked = await read_message(
            request, mlflow_pb.CreateRegisteredModel(), {**_NAMED, "tags": [array], "description": [string]}
        )
        check_model_name(asked.name)
        check_model_tags(asked.tags)
        message = pb.CreateModelRequest(
            name=asked.name, description=asked.description, tags=tag_messages(asked.tags)
        )
        words = new_model_words(asked.name, prompt=is_prompt(asked.tags))
        answer = await self._call(request, self._models.CreateModel, message, words)
        return json_reply({"registered_model": model_json(answer.model)})

    async def get(self, request: Request) -> Response:
        """registered-models/get."""
        asked = await read_message(request, mlflow_pb.GetRegisteredModel(), _NAMED)
        check_model_name(asked.name)
        message = pb.GetModelRequest(name=asked.name)
        answer = await self._call(request, self._models.GetModel, message, model_words(asked.name))
        return json_reply({"registered_model": model_json(answer.model)})

    async def update(self, request: Request) -> Response:
        """registered-models/update; without a description it is cleared."""
        asked = await read_message(
            request, mlflow_pb.UpdateRegisteredModel(), {**_NAMED, "description": [string]}
        )
        check_model_name(asked.name)
        message = pb.UpdateModelRequest(name=asked.name, description=asked.description)
        answer = await self._call(request, self._models.UpdateModel, message, model_words(asked.name))
        return json_reply({"registered_model": model_json(answer.model)})

    async def rename(self, request: Request) -> Response:
        """registered-models/rename."""
        asked = await read_message(
            request, mlflow_pb.RenameRegisteredModel(), {**_NAMED, "new_name": [string, required]}
        )
        check_new_name(asked.new_name)
        check_model_name(asked.name)
        message = pb.RenameModelRequest(name=asked.name, new_name=asked.new_name)
        words = renaming_words(asked.name, asked.new_name)
        answer = await self._call(request, self._models.RenameModel, message, words)
        return json_reply({"registered_model": model_json(answer.model)})

    async def delete(self, request: Request) -> Response:
        """registered-models/delete."""
        asked = await read_message(request, mlflow_pb.DeleteRegisteredModel(), _NAMED)
        check_model_name(asked.name)
        message = pb.DeleteModelRequest(name=asked.name)
        await self._call(request, self._models.DeleteModel, message, model_words(asked.name))
        return json_reply({})

    async def search(self, request: Request) -> Response:
        """registered-models/search."""
        asked = await read_message(
            request,
            mlflow_pb.SearchRegisteredModels(),
            {
                "filter": [string],
                "max_results": [int_like, at_most(_MAX_RESULTS)],
                "order_by": [array, strings],
                "page_token": [string],
            },
        )
        check_model_search(asked.filter, asked.order_by)
        if asked.max_results < 1:
            # A page without room is no mistake here, unlike with versions (MLflow).
            return json_reply({})
        message = pb.SearchModelsRequest(
            filter=asked.filter,
            order_by=asked.order_by,
            page_token=asked.page_token,
            mlflow_grammar_only=True,
        )
        models, token = await gather_page(
            request,
            self._models.SearchModels,
            message,
            results="models",
            wanted=asked.max_results,
            timeout_seconds=self._timeout_seconds,
        )
        page: dict[str, object] = {}
        if models:
            page["registered_models"] = [model_json(model, stages_by_name=True) for model in models]
        if token:
            page["next_page_token"] = token
        return json_reply(page)

    async def latest_versions(self, request: Request) -> Response:
        """registered-models/get-latest-versions."""
        asked = await read_message(
            request, mlflow_pb.GetLatestVersions(), {**_NAMED, "stages": [array, strings]}
        )
        check_model_name(asked.name)
        stages = [stage_of(stage) for stage in asked.stages]
        message = pb.GetLatestVersionsRequest(name=asked.name, stages=stages)
        answer = await self._call(request, self._models.GetLatestVersions, message, model_words(asked.name))
        versions = [version_json(version) for version in answer.versions]
        return json_reply({"model_versions": versions} if versions else {})

    async def set_tag(self, request: Request) -> Response:
        """registered-models/set-tag."""
        asked = await read_message(
            request,
            mlflow_pb.SetRegisteredModelTag(),
            {**_NAMED, "key": [string, required], "value": [string]},
        )
        check_model_name(asked.name)
        check_model_tags([asked])
        message = pb.ChangeTagsRequest(name=asked.name, set=tag_messages([asked]))
        await self._call(request, self._models.ChangeTags, message, model_words(asked.name))
        return json_reply({})

    async def delete_tag(self, request: Request) -> Response:
        """registered-models/delete-tag; a missing one is harmless."""
        asked = await read_message(
            request, mlflow_pb.DeleteRegisteredModelTag(), {**_NAMED, "key": [string, required]}
        )
        check_model_name(asked.name)
        check_tag_key(asked.key)
        message = pb.ChangeTagsRequest(name=asked.name, delete_keys=[asked.key])
        await self._call(request, self._models.ChangeTags, message, model_words(asked.name))
        return json_reply({})
