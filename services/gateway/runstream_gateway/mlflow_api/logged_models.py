"""Logged models: MLflow's endpoints over LoggedModelService, but for their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow.protos import service_pb2 as mlflow_pb
from mlflow.utils import validation
from runstream_proto.metadata.v1 import logged_model_service_pb2 as pb
from runstream_proto.metadata.v1 import types_pb2 as types

from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.checks import array, int_like, required, string, strings
from runstream_gateway.mlflow_api.errors import (
    bad_request,
    experiment_missing,
    invalid,
    logged_model_missing,
    missing,
)
from runstream_gateway.mlflow_api.identities import experiment_id_text, known_experiment_ids
from runstream_gateway.mlflow_api.logged_model_filters import logged_model_filter
from runstream_gateway.mlflow_api.logged_model_json import logged_model_json
from runstream_gateway.mlflow_api.messages import empty_reply, read_message
from runstream_gateway.mlflow_api.search_filters import MAX_PAGE_SIZE
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.mlflow_api.checks import Check

_PREFIX = "/api/2.0/mlflow/logged-models"
_MODEL = _PREFIX + "/{model_id}"


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    api = LoggedModels(backends)
    return [
        Route("POST", _PREFIX, api.create),
        Route("POST", _PREFIX + "/search", api.search),
        Route("GET", _MODEL, api.get),
        Route("PATCH", _MODEL, api.finalize),
        Route("DELETE", _MODEL, api.delete),
        Route("POST", _MODEL + "/params", api.log_params),
        Route("PATCH", _MODEL + "/tags", api.set_tags),
        Route("DELETE", _MODEL + "/tags/{tag_key}", api.delete_tag),
    ]


class LoggedModels:
    """Translates between MLflow's messages and the metadata service."""

    def __init__(self, backends: Backends) -> None:
        self._models = backends.logged_models
        self._timeout = backends.timeout_seconds

    async def create(self, request: Request) -> Response:
        """Create a logged model."""
        schema = {
            "experiment_id": [string, required],
            "name": [string],
            "model_type": [string],
            "source_run_id": [string],
            "params": [array],
            "tags": [array],
        }
        asked = await read_message(request, mlflow_pb.CreateLoggedModel(), schema)
        validation._validate_logged_model_name(asked.name or None)  # noqa: SLF001 - MLflow's own rule and text
        _check_distinct("params", [param.key for param in asked.params])
        _check_distinct("tags", [tag.key for tag in asked.tags])
        experiment_id = experiment_id_text(asked.experiment_id)
        answer = await call(
            self._models.CreateLoggedModel,
            pb.CreateLoggedModelRequest(
                experiment_id=experiment_id,
                name=asked.name,
                model_type=asked.model_type,
                source_run_id=asked.source_run_id,
                params=_key_values(asked.params),
                tags=_key_values(asked.tags),
            ),
            self._timeout,
            {"EXPERIMENT_NOT_FOUND": lambda _: experiment_missing(experiment_id)},
        )
        return json_reply({"model": logged_model_json(answer.model)})

    async def get(self, request: Request) -> Response:
        """Read one; ``allow_deleted=true`` reads deleted ones too."""
        allow_deleted = request.query_params.get("allow_deleted", "").lower() == "true"
        model = await self.read(request.path_params["model_id"], allow_deleted=allow_deleted)
        return json_reply({"model": logged_model_json(model)})

    async def read(self, model_id: str, *, allow_deleted: bool = False) -> pb.LoggedModel:
        """One logged model.

        Raises:
            MlflowException: 404 when there is none, or it is deleted and that is not allowed.
        """
        message = pb.GetLoggedModelRequest(model_id=model_id, allow_deleted=allow_deleted)
        answer = await self._call(self._models.GetLoggedModel, message)
        model: pb.LoggedModel = answer.model
        return model

    async def finalize(self, request: Request) -> Response:
        """Set the status. The model is the body's, as in MLflow."""
        schema = {"model_id": [string, required], "status": [int_like, required]}
        asked = await read_message(request, mlflow_pb.FinalizeLoggedModel(), schema)
        status = pb.LoggedModelStatus.ValueType(asked.status)
        message = pb.FinalizeLoggedModelRequest(model_id=asked.model_id, status=status)
        answer = await self._call(self._models.FinalizeLoggedModel, message)
        return json_reply({"model": logged_model_json(answer.model)})

    async def delete(self, request: Request) -> Response:
        """Mark one deleted."""
        message = pb.DeleteLoggedModelRequest(model_id=request.path_params["model_id"])
        await self._call(self._models.DeleteLoggedModel, message)
        return empty_reply()

    async def log_params(self, request: Request) -> Response:
        """Add params."""
        schema = {"model_id": [string, required], "params": [array]}
        asked = await read_message(request, mlflow_pb.LogLoggedModelParamsRequest(), schema)
        _check_distinct("params", [param.key for param in asked.params])
        message = pb.LogLoggedModelParamsRequest(
            model_id=request.path_params["model_id"], params=_key_values(asked.params)
        )
        await self._call(self._models.LogLoggedModelParams, message)
        return empty_reply()

    async def set_tags(self, request: Request) -> Response:
        """Set tags."""
        asked = await read_message(request, mlflow_pb.SetLoggedModelTags(), {"tags": [array]})
        message = pb.SetLoggedModelTagsRequest(
            model_id=request.path_params["model_id"], tags=_key_values(asked.tags)
        )
        await self._call(self._models.SetLoggedModelTags, message)
        return empty_reply()

    async def delete_tag(self, request: Request) -> Response:
        """Delete a tag."""
        model_id, key = request.path_params["model_id"], request.path_params["tag_key"]
        text = f"No tag with key {key!r} found for model with ID {model_id!r}."
        await call(
            self._models.DeleteLoggedModelTag,
            pb.DeleteLoggedModelTagRequest(model_id=model_id, key=key),
            self._timeout,
            {"TAG_NOT_FOUND": lambda _: missing(text)},
        )
        return empty_reply()

    async def search(self, request: Request) -> Response:
        """Search logged models."""
        schema: dict[str, list[Check]] = {
            "experiment_ids": [array, strings, required],
            "filter": [string],
            "datasets": [array],
            "max_results": [int_like],
            "order_by": [array],
            "page_token": [string],
        }
        asked = await read_message(request, mlflow_pb.SearchLoggedModels(), schema)
        message = _search(asked)
        if not message.experiment_ids or message.page_size < 0 or (asked.datasets and not message.datasets):
            # MLflow finds nothing, and has no error for it.
            return empty_reply()
        answer = await call(self._models.SearchLoggedModels, message, self._timeout)
        page: dict[str, Any] = {}
        if answer.models:
            page["models"] = [logged_model_json(model) for model in answer.models]
        if answer.next_page_token:
            page["next_page_token"] = answer.next_page_token
        return json_reply(page)

    async def _call(self, method: Any, message: Any) -> Any:
        words = {
            "LOGGED_MODEL_NOT_FOUND": lambda _: logged_model_missing(message.model_id),
            "PARAM_IMMUTABLE": lambda refusal: bad_request(refusal.message),
        }
        return await call(method, message, self._timeout, words)


def _search(asked: mlflow_pb.SearchLoggedModels) -> pb.SearchLoggedModelsRequest:
    if not all(dataset.dataset_name for dataset in asked.datasets):
        raise invalid("`dataset_name` in the `datasets` clause must be specified.")
    return pb.SearchLoggedModelsRequest(
        experiment_ids=known_experiment_ids(asked.experiment_ids),
        filter=logged_model_filter(asked.filter),
        # MLflow compares a digest that is not given with null, which nothing equals.
        datasets=[
            pb.DatasetClause(dataset_name=item.dataset_name, dataset_digest=item.dataset_digest)
            for item in asked.datasets
            if item.dataset_digest
        ],
        order_by=[
            pb.LoggedModelOrder(
                field_name=item.field_name,
                ascending=item.ascending,
                dataset_name=item.dataset_name,
                dataset_digest=item.dataset_digest,
            )
            for item in asked.order_by
        ],
        page_size=min(asked.max_results, MAX_PAGE_SIZE),
        page_token=asked.page_token,
    )


def _key_values(pairs: Iterable[Any]) -> list[types.KeyValue]:
    return [types.KeyValue(key=pair.key, value=pair.value) for pair in pairs]


def _check_distinct(field: str, keys: list[str]) -> None:
    if len(set(keys)) != len(keys):
        # What MLflow's database refuses.
        raise bad_request(f"A key comes twice in '{field}'.")
