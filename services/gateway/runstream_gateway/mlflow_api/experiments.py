"""Experiments: MLflow's endpoints over ExperimentService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlflow.entities import ExperimentTag
from mlflow.exceptions import MlflowException
from mlflow.protos import service_pb2 as mlflow_pb
from mlflow.protos.databricks_pb2 import INVALID_STATE, RESOURCE_ALREADY_EXISTS
from mlflow.store.artifact.host_policy import (
    host_addressed_rejection_message,
    rejected_host_addressed_scheme,
)
from mlflow.utils import validation
from mlflow.utils.uri import validate_query_string
from runstream_proto.metadata.v1 import experiment_service_pb2 as pb
from runstream_proto.metadata.v1 import types_pb2 as types
from runstream_proto.metadata.v1.run_service_pb2 import SearchRunsRequest

from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.checks import array, int_like, required, string
from runstream_gateway.mlflow_api.errors import bad_request, invalid, missing
from runstream_gateway.mlflow_api.experiment_json import experiment_json
from runstream_gateway.mlflow_api.identities import experiment_id_text, known_experiment_ids
from runstream_gateway.mlflow_api.messages import empty_reply, read_message
from runstream_gateway.mlflow_api.pages import page_parts
from runstream_gateway.mlflow_api.search_filters import (
    check_experiment_search,
    check_page_size,
    distinct_experiment_order,
)
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runstream_common.errors import PlatformError
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends

_PREFIX = "/api/2.0/mlflow/experiments/"
_ID = {"experiment_id": [required, string]}
_DEFAULT_ORDER = ["creation_time DESC", "experiment_id ASC"]

MAX_DATASET_EXPERIMENTS = 20
"""Most experiments of one search of datasets (MLflow)."""

CUSTOM_VIEW_TAG_PREFIX = "mlflow.customView.view"
"""What tags of views that the web UI stores with an experiment begin with."""


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    api = Experiments(backends)
    return [
        Route("POST", _PREFIX + "create", api.create),
        Route("GET", _PREFIX + "get", api.get),
        Route("GET", _PREFIX + "get-by-name", api.get_by_name),
        Route("POST", _PREFIX + "search", api.search),
        Route("GET", _PREFIX + "search", api.search),
        Route("POST", _PREFIX + "update", api.update),
        Route("POST", _PREFIX + "delete", api.delete),
        Route("POST", _PREFIX + "restore", api.restore),
        Route("POST", _PREFIX + "set-experiment-tag", api.set_tag),
        Route("POST", _PREFIX + "delete-experiment-tag", api.delete_tag),
        Route("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", api.search_datasets),
    ]


class Experiments:
    """Translates between MLflow's messages and the metadata service."""

    def __init__(self, backends: Backends) -> None:
        self._experiments = backends.experiments
        self._runs = backends.runs
        self._timeout = backends.timeout_seconds
        self._read_wait_ms = backends.read_wait_ms

    async def create(self, request: Request) -> Response:
        """experiments/create."""
        schema = {"name": [required, string], "artifact_location": [string], "tags": [array]}
        asked = await read_message(request, mlflow_pb.CreateExperiment(), schema)
        tags = [ExperimentTag(tag.key, tag.value) for tag in asked.tags]
        _check_custom_views(tag.key for tag in tags)
        _check_artifact_location(asked.artifact_location)
        validation._validate_experiment_name(asked.name)  # noqa: SLF001 - MLflow's own rule and text
        _check_tags(tags)
        _check_distinct(tags)
        answer = await call(
            self._experiments.CreateExperiment,
            pb.CreateExperimentRequest(
                name=asked.name,
                artifact_location=asked.artifact_location,
                tags=[types.KeyValue(key=tag.key, value=tag.value) for tag in tags],
            ),
            self._timeout,
            {"EXPERIMENT_NAME_TAKEN": lambda _: _taken(asked.name)},
        )
        return json_reply({"experiment_id": answer.experiment.experiment_id})

    async def get(self, request: Request) -> Response:
        """experiments/get."""
        asked = await read_message(request, mlflow_pb.GetExperiment(), _ID)
        return json_reply({"experiment": experiment_json(await self.read(asked.experiment_id))})

    async def read(self, experiment_id: str) -> types.Experiment:
        """One experiment, also a deleted one.

        Raises:
            MlflowException: 400 for an id that is no number, 404 when there is none.
        """
        message = pb.GetExperimentRequest(experiment_id=experiment_id_text(experiment_id))
        answer = await call(self._experiments.GetExperiment, message, self._timeout)
        return answer.experiment

    async def get_by_name(self, request: Request) -> Response:
        """experiments/get-by-name."""
        schema = {"experiment_name": [required, string]}
        asked = await read_message(request, mlflow_pb.GetExperimentByName(), schema)
        text = f"Could not find experiment with name '{asked.experiment_name}'"
        answer = await call(
            self._experiments.GetExperiment,
            pb.GetExperimentRequest(name=asked.experiment_name),
            self._timeout,
            {"EXPERIMENT_NOT_FOUND": lambda _: missing(text)},
        )
        return json_reply({"experiment": experiment_json(answer.experiment)})

    async def search(self, request: Request) -> Response:
        """experiments/search."""
        schema = {
            "view_type": [int_like],
            "max_results": [int_like],
            "order_by": [array],
            "filter": [string],
            "page_token": [string],
        }
        asked = await read_message(request, mlflow_pb.SearchExperiments(), schema)
        check_page_size(asked.max_results)
        check_experiment_search(asked.filter, asked.order_by)
        parts = page_parts(
            self._experiments.SearchExperiments,
            pb.SearchExperimentsRequest(
                filter=asked.filter,
                order_by=distinct_experiment_order(asked.order_by) or _DEFAULT_ORDER,
                view_type=types.ViewType.ValueType(asked.view_type),
                page_token=asked.page_token,
                mlflow_grammar_only=True,
            ),
            results="experiments",
            wanted=asked.max_results,
            timeout_seconds=self._timeout,
        )
        found: list[dict[str, Any]] = []
        token = ""
        async for experiments, behind in parts:
            found += [experiment_json(item) for item in experiments]
            token = behind
        page: dict[str, Any] = {"experiments": found} if found else {}
        if token:
            page["next_page_token"] = token
        return json_reply(page)

    async def update(self, request: Request) -> Response:
        """experiments/update."""
        schema = {"experiment_id": [required, string], "new_name": [string, required]}
        asked = await read_message(request, mlflow_pb.UpdateExperiment(), schema)
        validation._validate_experiment_name(asked.new_name)  # noqa: SLF001 - as above
        await call(
            self._experiments.UpdateExperiment,
            pb.UpdateExperimentRequest(
                experiment_id=experiment_id_text(asked.experiment_id), name=asked.new_name
            ),
            self._timeout,
            {"EXPERIMENT_NAME_TAKEN": _rename_taken, "EXPERIMENT_DELETED": _rename_deleted},
        )
        return empty_reply()

    async def delete(self, request: Request) -> Response:
        """experiments/delete."""
        asked = await read_message(request, mlflow_pb.DeleteExperiment(), _ID)
        message = pb.DeleteExperimentRequest(experiment_id=experiment_id_text(asked.experiment_id))
        # Points that were accepted before are stored first: the runs are deleted too, and a deleted run takes none.
        await call(
            self._runs.SearchRuns,
            SearchRunsRequest(
                experiment_ids=[message.experiment_id],
                page_size=1,
                summaries_only=True,
                wait_for_latest=True,
                wait_timeout_ms=self._read_wait_ms,
            ),
            self._timeout,
        )
        await call(self._experiments.DeleteExperiment, message, self._timeout)
        return empty_reply()

    async def restore(self, request: Request) -> Response:
        """experiments/restore."""
        asked = await read_message(request, mlflow_pb.RestoreExperiment(), _ID)
        message = pb.RestoreExperimentRequest(experiment_id=experiment_id_text(asked.experiment_id))
        await call(self._experiments.RestoreExperiment, message, self._timeout)
        return empty_reply()

    async def set_tag(self, request: Request) -> Response:
        """experiments/set-experiment-tag."""
        schema = {**_ID, "key": [required, string], "value": [string]}
        asked = await read_message(request, mlflow_pb.SetExperimentTag(), schema)
        if asked.key.startswith(CUSTOM_VIEW_TAG_PREFIX):
            stored = [tag.key for tag in (await self.read(asked.experiment_id)).tags]
            if asked.key not in stored:
                _check_custom_views([*stored, asked.key], asked.experiment_id)
        _check_tags([ExperimentTag(asked.key, asked.value)])
        await call(
            self._experiments.SetExperimentTags,
            pb.SetExperimentTagsRequest(
                experiment_id=experiment_id_text(asked.experiment_id),
                tags=[types.KeyValue(key=asked.key, value=asked.value)],
            ),
            self._timeout,
        )
        return empty_reply()

    async def delete_tag(self, request: Request) -> Response:
        """experiments/delete-experiment-tag."""
        schema = {**_ID, "key": [required, string]}
        asked = await read_message(request, mlflow_pb.DeleteExperimentTag(), schema)
        text = f"No tag with name: {asked.key} in experiment with id {asked.experiment_id}"
        await call(
            self._experiments.DeleteExperimentTag,
            pb.DeleteExperimentTagRequest(
                experiment_id=experiment_id_text(asked.experiment_id), key=asked.key
            ),
            self._timeout,
            {"TAG_NOT_FOUND": lambda _: missing(text)},
        )
        return empty_reply()

    async def search_datasets(self, request: Request) -> Response:
        """experiments/search-datasets."""
        asked = await read_message(request, mlflow_pb.SearchDatasets(), {})
        return json_reply(await self.dataset_summaries(asked.experiment_ids))

    async def dataset_summaries(self, experiment_ids: Sequence[str]) -> dict[str, Any]:
        """The answer of search-datasets.

        Raises:
            MlflowException: there is no id, there are too many, or one is no number.
        """
        if not experiment_ids:
            raise invalid("SearchDatasets request must specify at least one experiment_id.")
        if len(experiment_ids) > MAX_DATASET_EXPERIMENTS:
            raise invalid(
                f"SearchDatasets request cannot specify more than {MAX_DATASET_EXPERIMENTS} "
                f"experiment_ids. Received {len(experiment_ids)} experiment_ids."
            )
        message = pb.ListDatasetsRequest(experiment_ids=known_experiment_ids(experiment_ids))
        if not message.experiment_ids:
            return {}
        answer = await call(self._experiments.ListDatasets, message, self._timeout)
        return {"dataset_summaries": [_summary(item) for item in answer.datasets]} if answer.datasets else {}


def _summary(item: pb.DatasetSummary) -> dict[str, str]:
    summary = {"experiment_id": item.experiment_id, "name": item.name, "digest": item.digest}
    if item.context:
        summary["context"] = item.context
    return summary


def _check_custom_views(keys: Iterable[str], experiment_id: str = "") -> None:
    limit = validation.MAX_CUSTOM_VIEWS_PER_EXPERIMENT
    if sum(key.startswith(CUSTOM_VIEW_TAG_PREFIX) for key in keys) > limit:
        of_experiment = f" for experiment {experiment_id}" if experiment_id else ""
        raise invalid(
            f"Unable to create another custom view{of_experiment}; the maximum number of custom views per "
            f"experiment is {limit}. Delete an existing custom view before creating a new one."
        )


def _check_artifact_location(location: str) -> None:
    """The rules of MLflow's handler: no host to connect to, nothing behind the path."""
    if not location:
        return
    try:
        parsed = urlsplit(location)
    except ValueError as error:
        raise invalid(f"'artifact_location' is not a URI: {error}") from error
    if parsed.fragment:
        raise invalid("'artifact_location' URL can't include fragments or params.")
    validate_query_string(parsed.query)
    scheme = rejected_host_addressed_scheme(location)
    if scheme is not None:
        raise invalid(host_addressed_rejection_message(scheme, field_name="artifact_location"))
    validation._validate_experiment_artifact_location(location)  # noqa: SLF001 - as above
    validation._validate_experiment_artifact_location_length(location)  # noqa: SLF001


def _check_tags(tags: Iterable[ExperimentTag]) -> None:
    for tag in tags:
        validation._validate_experiment_tag(tag.key, tag.value)  # noqa: SLF001 - as above


def _check_distinct(tags: Sequence[ExperimentTag]) -> None:
    if len({tag.key for tag in tags}) != len(tags):
        # MLflow's database refuses these; its answer speaks of an experiment that exists.
        raise MlflowException("A tag key comes twice in 'tags'.", error_code=RESOURCE_ALREADY_EXISTS)


def _taken(name: str) -> MlflowException:
    return MlflowException(f"Experiment(name={name}) already exists.", error_code=RESOURCE_ALREADY_EXISTS)


def _rename_taken(refusal: PlatformError) -> MlflowException:
    return bad_request(refusal.message)


def _rename_deleted(refusal: PlatformError) -> MlflowException:
    del refusal
    return MlflowException("Cannot rename a non-active experiment.", error_code=INVALID_STATE)
