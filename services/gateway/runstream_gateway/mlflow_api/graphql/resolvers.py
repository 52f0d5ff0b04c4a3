"""What the fields of the schema answer: the same calls that the REST endpoints make."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseError
from mlflow.protos import model_registry_pb2 as mlflow_registry_pb
from mlflow.protos import service_pb2 as mlflow_pb
from mlflow.utils.proto_json_utils import parse_dict
from runstream_proto.registry.v1 import model_service_pb2 as registry_pb

from runstream_gateway.mlflow_api.errors import invalid
from runstream_gateway.mlflow_api.experiment_json import experiment_json
from runstream_gateway.mlflow_api.experiments import Experiments
from runstream_gateway.mlflow_api.history_reads import HistoryReads
from runstream_gateway.mlflow_api.metric_histories import (
    MAX_BULK_RUNS,
    MAX_SAMPLED_POINTS,
    sampled_histories,
)
from runstream_gateway.mlflow_api.registry.answers import version_json
from runstream_gateway.mlflow_api.registry.pages import gather_page
from runstream_gateway.mlflow_api.run_json import double_json, run_json
from runstream_gateway.mlflow_api.runs import Runs, run_search
from runstream_gateway.mlflow_api.search_filters import check_page_size, check_version_search

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from graphql import GraphQLResolveInfo
    from runstream_proto.metadata.v1 import types_pb2 as types
    from starlette.requests import Request

    from runstream_gateway.backends import Backends
    from runstream_gateway.mlflow_api.metric_points import Points

_MAX_VERSIONS = 10_000
_RUNS_PER_SEARCH = 100


class GraphReads:
    """What resolvers read with; one for the gateway's life."""

    def __init__(self, backends: Backends) -> None:
        self.experiments = Experiments(backends)
        self.runs = Runs(backends)
        self.histories = HistoryReads(backends)
        self._search_versions = backends.models.SearchVersions
        self._timeout_seconds = backends.timeout_seconds

    async def versions(
        self, http: Request, message: registry_pb.SearchVersionsRequest, wanted: int
    ) -> tuple[list[dict[str, Any]], str]:
        """Model versions of a search as MLflow's JSON, and the token of the page behind them."""
        found, token = await gather_page(
            http,
            self._search_versions,
            message,
            results="versions",
            wanted=wanted,
            timeout_seconds=self._timeout_seconds,
        )
        return [version_json(version, aliases=False) for version in found], token


class Visit:
    """One request: what several of its fields need is read once."""

    def __init__(self, http: Request, reads: GraphReads) -> None:
        self.http = http
        self.reads = reads
        self._experiments: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self._versions: dict[tuple[str, ...], asyncio.Task[dict[str, list[dict[str, Any]]]]] = {}

    async def experiment(self, experiment_id: str) -> dict[str, Any]:
        """An experiment as MLflow's JSON."""
        if experiment_id not in self._experiments:
            self._experiments[experiment_id] = asyncio.create_task(self._read_experiment(experiment_id))
        return await self._experiments[experiment_id]

    async def versions_of(self, run_id: str, page: tuple[str, ...]) -> list[dict[str, Any]]:
        """Model versions that a run produced.

        Args:
            run_id: the run.
            page: ids of all runs of the same answer, whose versions are looked for along with it.
        """
        if page not in self._versions:
            self._versions[page] = asyncio.create_task(self._read_versions(page))
        return (await self._versions[page])[run_id]

    async def _read_experiment(self, experiment_id: str) -> dict[str, Any]:
        return experiment_json(await self.reads.experiments.read(experiment_id))

    async def _read_versions(self, page: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        by_run: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for start in range(0, len(page), _RUNS_PER_SEARCH):
            ids = ", ".join(f"'{run_id}'" for run_id in page[start : start + _RUNS_PER_SEARCH])
            message = registry_pb.SearchVersionsRequest(filter=f"run_id IN ({ids})")
            found, _ = await self.reads.versions(self.http, message, _MAX_VERSIONS)
            for version in found:
                by_run[version["run_id"]].append(version)
        return by_run


async def get_experiment(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> dict[str, Any]:
    """Query.mlflowGetExperiment."""
    asked = _message(mlflow_pb.GetExperiment(), arguments)
    visit: Visit = info.context
    return {"experiment": await visit.experiment(asked.experiment_id)}


async def get_run(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> dict[str, Any]:
    """Query.mlflowGetRun."""
    asked = _message(mlflow_pb.GetRun(), arguments)
    visit: Visit = info.context
    run = await visit.reads.runs.read(asked.run_id or asked.run_uuid)
    return {"run": {**run_json(run), "page": (run.run_id,)}}


async def search_runs(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> dict[str, Any]:
    """Query.mlflowSearchRuns and the mutation of that name."""
    asked = run_search(_message(mlflow_pb.SearchRuns(), arguments))
    visit: Visit = info.context
    runs: list[types.Run] = []
    token = ""
    async for part, behind in visit.reads.runs.find(asked):
        runs += part
        token = behind
    page = tuple(run.run_id for run in runs)
    return {
        "runs": [{**run_json(run, model_inputs=False), "page": page} for run in runs],
        "next_page_token": token,
    }


async def metric_history(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> dict[str, Any]:
    """Query.mlflowGetMetricHistoryBulkInterval."""
    asked = _message(mlflow_pb.GetMetricHistoryBulkInterval(), arguments)
    if len(asked.run_ids) > MAX_BULK_RUNS:
        raise invalid(f"At most {MAX_BULK_RUNS} run_ids can be asked for, got {len(asked.run_ids)}.")
    if asked.HasField("max_results") and not 1 <= asked.max_results <= MAX_SAMPLED_POINTS:
        raise invalid(f"max_results must be between 1 and {MAX_SAMPLED_POINTS}.")
    visit: Visit = info.context
    return {"metrics": list(_points(await sampled_histories(visit.reads.histories, asked)))}


async def search_model_versions(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> dict[str, Any]:
    """Query.mlflowSearchModelVersions."""
    asked = _message(mlflow_registry_pb.SearchModelVersions(), arguments)
    wanted = asked.max_results if asked.HasField("max_results") else _MAX_VERSIONS
    check_page_size(wanted)
    check_version_search(asked.filter, asked.order_by)
    message = registry_pb.SearchVersionsRequest(
        filter=asked.filter,
        order_by=asked.order_by,
        page_token=asked.page_token,
        mlflow_grammar_only=True,
    )
    visit: Visit = info.context
    versions, token = await visit.reads.versions(visit.http, message, wanted)
    return {"model_versions": versions, "next_page_token": token}


async def search_datasets(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> dict[str, Any]:
    """Mutation.mlflowSearchDatasets."""
    asked = _message(mlflow_pb.SearchDatasets(), arguments)
    visit: Visit = info.context
    return await visit.reads.experiments.dataset_summaries(asked.experiment_ids)


async def experiment_of_run(run: dict[str, Any], info: GraphQLResolveInfo) -> dict[str, Any]:
    """MlflowRunExtension.experiment."""
    visit: Visit = info.context
    return await visit.experiment(run["info"]["experiment_id"])


async def versions_of_run(run: dict[str, Any], info: GraphQLResolveInfo) -> list[dict[str, Any]]:
    """MlflowRunExtension.modelVersions."""
    visit: Visit = info.context
    return await visit.versions_of(run["info"]["run_id"], run["page"])


def test(_: Any, info: GraphQLResolveInfo, **arguments: Any) -> dict[str, Any]:
    """Query.test."""
    del info
    return {"output": arguments.get("inputString")}


RESOLVERS = {
    ("Query", "mlflowGetExperiment"): get_experiment,
    ("Query", "mlflowGetRun"): get_run,
    ("Query", "mlflowSearchRuns"): search_runs,
    ("Query", "mlflowGetMetricHistoryBulkInterval"): metric_history,
    ("Query", "mlflowSearchModelVersions"): search_model_versions,
    ("Query", "test"): test,
    ("Mutation", "mlflowSearchDatasets"): search_datasets,
    ("Mutation", "mlflowSearchRuns"): search_runs,
    ("MlflowRunExtension", "experiment"): experiment_of_run,
    ("MlflowRunExtension", "modelVersions"): versions_of_run,
}
"""Resolvers by type and field; every other field is read by `schema.field_of`."""


def _message(message: Any, arguments: dict[str, Any]) -> Any:
    """An MLflow message from a field's ``input``; its names are the messages' in camelCase.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE naming the field.
    """
    given = {name: value for name, value in (arguments.get("input") or {}).items() if value is not None}
    try:
        parse_dict(given, message)
    except (ParseError, ValueError, TypeError) as error:
        raise invalid(str(error)) from error
    return message


def _points(histories: Iterable[Points]) -> Iterable[dict[str, Any]]:
    for points in histories:
        columns = zip(
            points.values.tolist(), points.timestamps_ms.tolist(), points.steps.tolist(), strict=True
        )
        for value, timestamp_ms, step in columns:
            yield {
                "key": points.key,
                "value": double_json(value),
                "timestamp": timestamp_ms,
                "step": step,
                "run_id": points.run_id,
            }
