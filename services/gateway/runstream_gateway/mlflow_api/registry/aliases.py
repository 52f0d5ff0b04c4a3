"""Aliases and stages: MLflow's endpoints over PromotionService, so that every gate applies to MLflow's clients too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlflow.entities.model_registry.model_version_stages import DEFAULT_STAGES_FOR_GET_LATEST_VERSIONS
from mlflow.protos import model_registry_pb2 as mlflow_pb
from runstream_proto.registry.v1 import model_service_pb2 as pb
from runstream_proto.registry.v1 import promotion_service_pb2 as promotion_pb

from runstream_gateway.mlflow_api.checks import boolean, required, string
from runstream_gateway.mlflow_api.errors import invalid
from runstream_gateway.mlflow_api.messages import read_message
from runstream_gateway.mlflow_api.registry.answers import version_json
from runstream_gateway.mlflow_api.registry.calls import RegistryCaller
from runstream_gateway.mlflow_api.registry.checks import (
    check_alias,
    check_model_name,
    check_new_alias,
    stage_name,
    version_number,
)
from runstream_gateway.mlflow_api.registry.refusals import alias_words, model_words, version_words
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends

_ALIAS: Final = "/api/2.0/mlflow/registered-models/alias"
_STAGE: Final = "/api/2.0/mlflow/model-versions/transition-stage"
_NAMED: Final = {"name": [string, required], "alias": [string, required]}


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    api = Aliases(backends)
    return [
        Route("POST", _ALIAS, api.set_alias),
        Route("DELETE", _ALIAS, api.delete_alias),
        Route("GET", _ALIAS, api.get_by_alias),
        Route("POST", _STAGE, api.transition_stage),
    ]


class Aliases:
    """Translates between MLflow's messages and the registry."""

    def __init__(self, backends: Backends) -> None:
        self._models = backends.models
        self._promotions = backends.promotions
        self._call = RegistryCaller(backends.timeout_seconds)

    async def set_alias(self, request: Request) -> Response:
        """registered-models/alias, POST: a promotion."""
        asked = await read_message(
            request, mlflow_pb.SetRegisteredModelAlias(), {**_NAMED, "version": [string, required]}
        )
        check_model_name(asked.name)
        check_new_alias(asked.alias)
        message = promotion_pb.PromoteRequest(
            name=asked.name,
            version=version_number(asked.name, asked.version),
            target=promotion_pb.Target(alias=asked.alias),
        )
        words = version_words(asked.name, asked.version)
        await self._call(request, self._promotions.Promote, message, words)
        return json_reply({})

    async def delete_alias(self, request: Request) -> Response:
        """registered-models/alias, DELETE; a missing one is harmless."""
        asked = await read_message(request, mlflow_pb.DeleteRegisteredModelAlias(), _NAMED)
        check_model_name(asked.name)
        check_alias(asked.alias)
        message = pb.DeleteAliasRequest(name=asked.name, alias=asked.alias)
        await self._call(request, self._models.DeleteAlias, message, model_words(asked.name))
        return json_reply({})

    async def get_by_alias(self, request: Request) -> Response:
        """registered-models/alias, GET; "latest" in any case is the newest version."""
        asked = await read_message(request, mlflow_pb.GetModelVersionByAlias(), _NAMED)
        check_model_name(asked.name)
        check_alias(asked.alias)
        message = pb.GetVersionRequest(name=asked.name, selector=pb.VersionSelector(alias=asked.alias))
        words = alias_words(asked.name, asked.alias)
        answer = await self._call(request, self._models.GetVersion, message, words)
        return json_reply({"model_version": version_json(answer.version)})

    async def transition_stage(self, request: Request) -> Response:
        """model-versions/transition-stage: a promotion."""
        asked = await read_message(
            request,
            mlflow_pb.TransitionModelVersionStage(),
            {
                "name": [string, required],
                "version": [string, required],
                "stage": [string, required],
                "archive_existing_versions": [boolean],
            },
        )
        stage = _stage(asked)
        check_model_name(asked.name)
        number = version_number(asked.name, asked.version)
        words = version_words(asked.name, asked.version)
        message = promotion_pb.PromoteRequest(
            name=asked.name,
            version=number,
            target=promotion_pb.Target(stage=stage),
            archive_existing=asked.archive_existing_versions,
        )
        await self._call(request, self._promotions.Promote, message, words)
        selector = pb.VersionSelector(version=number)
        reading = pb.GetVersionRequest(name=asked.name, selector=selector)
        answer = await self._call(request, self._models.GetVersion, reading, words)
        return json_reply({"model_version": version_json(answer.version)})


def _stage(asked: mlflow_pb.TransitionModelVersionStage) -> str:
    """The stage that is asked for; MLflow answers 500 to what cannot be archived for."""
    stage = stage_name(asked.stage)
    if asked.archive_existing_versions and stage not in DEFAULT_STAGES_FOR_GET_LATEST_VERSIONS:
        raise invalid(
            "Model version transition cannot archive existing model versions because "
            f"'{asked.stage}' is not an Active stage. Valid stages are {DEFAULT_STAGES_FOR_GET_LATEST_VERSIONS}"
        )
    return stage
