"""Runs: MLflow's endpoints over RunService, but for the hot writes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from mlflow.entities import DatasetInput
from mlflow.protos import service_pb2 as mlflow_pb
from mlflow.utils import validation
from runstream_contract.names import is_run_id
from runstream_proto.metadata.v1 import run_service_pb2 as pb
from runstream_proto.metadata.v1 import types_pb2 as types

from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.checks import array, at_most, int_like, required, string, strings
from runstream_gateway.mlflow_api.errors import bad_request, invalid, missing
from runstream_gateway.mlflow_api.identities import existing_run_id, known_experiment_ids
from runstream_gateway.mlflow_api.logged_model_history import with_model
from runstream_gateway.mlflow_api.messages import empty_reply, read_fast, read_message
from runstream_gateway.mlflow_api.pages import page_parts
from runstream_gateway.mlflow_api.run_json import run_info_json, run_json
from runstream_gateway.mlflow_api.search_filters import MAX_PAGE_SIZE, check_page_size, check_run_search
from runstream_gateway.replies import json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException
    from runstream_common.errors import PlatformError
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.mlflow_api.checks import Check

_PREFIX = "/api/2.0/mlflow/runs/"
_ID = {"run_id": [required, string]}
_KEYED = {**_ID, "key": [required, string], "value": [string]}

RUN_NAME_TAG = "mlflow.runName"
"""The tag that mirrors a run's name."""

_RUNS_AT_ONCE = 200
"""Runs that are encoded without a pause; some milliseconds."""

_VIEW_TYPES = {"ACTIVE_ONLY": 1, "DELETED_ONLY": 2, "ALL": 3}


class RunSearchBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of runs/search as clients write it; whatever differs is read as MLflow's message."""

    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: str = "ACTIVE_ONLY"
    max_results: int = 1_000
    order_by: list[str] = []
    page_token: str = ""


_run_search_decoder = msgspec.json.Decoder(RunSearchBody)


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    api = Runs(backends)
    return [
        Route("GET", _PREFIX + "get", api.get),
        Route("POST", _PREFIX + "search", api.search),
        Route("POST", _PREFIX + "update", api.update),
        Route("POST", _PREFIX + "delete", api.delete),
        Route("POST", _PREFIX + "restore", api.restore),
        Route("POST", _PREFIX + "log-parameter", api.log_param),
        Route("POST", _PREFIX + "set-tag", api.set_tag),
        Route("POST", _PREFIX + "delete-tag", api.delete_tag),
        Route("POST", _PREFIX + "log-inputs", api.log_inputs),
        Route("POST", _PREFIX + "outputs", api.log_outputs),
        Route("POST", _PREFIX + "log-model", api.log_model),
    ]


class Runs:
    """Translates between MLflow's messages and the metadata service."""

    def __init__(self, backends: Backends) -> None:
        self._runs = backends.runs
        self._timeout = backends.timeout_seconds
        self._read_wait_ms = backends.read_wait_ms

    async def get(self, request: Request) -> Response:
        """runs/get."""
        query = request.query_params.multi_items()
        if len(query) == 1 and query[0][0] == "run_id" and is_run_id(query[0][1]):
            run_id = query[0][1]
        else:
            asked = await read_message(request, mlflow_pb.GetRun(), _ID)
            run_id = asked.run_id or asked.run_uuid
        return json_reply({"run": run_json(await self.read(run_id))})

    async def read(self, run_id: str) -> types.Run:
        """One run with every point that was acknowledged before, also a deleted one.

        Raises:
            MlflowException: 404 when there is none.
        """
        message = pb.GetRunRequest(
            run_id=existing_run_id(run_id), wait_for_latest=True, wait_timeout_ms=self._read_wait_ms
        )
        answer = await call(self._runs.GetRun, message, self._timeout)
        return answer.run

    async def search(self, request: Request) -> Response:
        """runs/search."""
        asked = await read_fast(request, _run_search_decoder)
        if asked is None or asked.run_view_type not in _VIEW_TYPES or asked.max_results > MAX_PAGE_SIZE:
            asked = await _read_search(request)
        pieces: list[bytes] = []
        token = ""
        async for runs, behind in self.find(asked):
            token = behind
            for start in range(0, len(runs), _RUNS_AT_ONCE):
                some = runs[start : start + _RUNS_AT_ONCE]
                pieces.append(msgspec.json.encode([run_json(run, model_inputs=False) for run in some])[1:-1])
                # Others may go on meanwhile.
                await asyncio.sleep(0)
        members = [b'"runs":[' + b",".join(pieces) + b"]"] if pieces else []
        if token:
            members.append(b'"next_page_token":' + msgspec.json.encode(token))
        return json_reply(b"{" + b",".join(members) + b"}")

    async def find(self, asked: RunSearchBody) -> AsyncIterator[tuple[list[types.Run], str]]:
        """One page of runs with every point that was acknowledged before, in parts: runs, and the token behind them.

        Raises:
            MlflowException: filter, order, page size, ids or token are wrong.
        """
        check_page_size(asked.max_results)
        check_run_search(asked.filter, asked.order_by)
        message = pb.SearchRunsRequest(
            experiment_ids=known_experiment_ids(asked.experiment_ids),
            filter=asked.filter,
            order_by=asked.order_by,
            view_type=types.ViewType.ValueType(_VIEW_TYPES[asked.run_view_type]),
            page_token=asked.page_token,
            wait_for_latest=True,
            wait_timeout_ms=self._read_wait_ms,
            mlflow_grammar_only=True,
        )
        if not message.experiment_ids:
            return
        parts = page_parts(
            self._runs.SearchRuns,
            message,
            results="runs",
            wanted=asked.max_results,
            timeout_seconds=self._timeout,
        )
        async for part in parts:
            # Waited for once.
            message.wait_for_latest = False
            yield part

    async def update(self, request: Request) -> Response:
        """runs/update."""
        schema = {**_ID, "end_time": [int_like], "status": [string], "run_name": [string]}
        asked = await read_message(request, mlflow_pb.UpdateRun(), schema)
        message = pb.UpdateRunRequest(
            run_id=existing_run_id(asked.run_id or asked.run_uuid), run_name=asked.run_name
        )
        if asked.HasField("status"):
            message.status = types.RunStatus.ValueType(asked.status)
        if asked.HasField("end_time"):
            message.end_time_ms = asked.end_time
        answer = await call(self._runs.UpdateRun, message, self._timeout)
        return json_reply({"run_info": run_info_json(answer.run)})

    async def delete(self, request: Request) -> Response:
        """runs/delete."""
        asked = await read_message(request, mlflow_pb.DeleteRun(), _ID)
        # Points that were accepted before are stored first: a deleted run takes none.
        await self.read(asked.run_id)
        message = pb.DeleteRunRequest(run_id=existing_run_id(asked.run_id))
        await call(self._runs.DeleteRun, message, self._timeout)
        return empty_reply()

    async def restore(self, request: Request) -> Response:
        """runs/restore."""
        asked = await read_message(request, mlflow_pb.RestoreRun(), _ID)
        message = pb.RestoreRunRequest(run_id=existing_run_id(asked.run_id))
        await call(self._runs.RestoreRun, message, self._timeout)
        return empty_reply()

    async def log_param(self, request: Request) -> Response:
        """runs/log-parameter."""
        asked = await read_message(request, mlflow_pb.LogParam(), _KEYED)
        param = validation._validate_param(asked.key, asked.value)  # noqa: SLF001 - MLflow's own rule and text
        run_id = existing_run_id(asked.run_id or asked.run_uuid)
        message = pb.LogBatchRequest(run_id=run_id, params=[types.KeyValue(key=param.key, value=param.value)])
        words = {"PARAM_IMMUTABLE": lambda refusal: _one_param_immutable(refusal, param)}
        await call(self._runs.LogBatch, message, self._timeout, words)
        return empty_reply()

    async def set_tag(self, request: Request) -> Response:
        """runs/set-tag."""
        asked = await read_message(request, mlflow_pb.SetTag(), _KEYED)
        await self._set_tag(asked.run_id or asked.run_uuid, asked.key, asked.value)
        return empty_reply()

    async def delete_tag(self, request: Request) -> Response:
        """runs/delete-tag."""
        schema = {**_ID, "key": [required, string]}
        asked = await read_message(request, mlflow_pb.DeleteTag(), schema)
        text = f"No tag with name: {asked.key} in run with id {asked.run_id}"
        await call(
            self._runs.DeleteTag,
            pb.DeleteTagRequest(run_id=existing_run_id(asked.run_id), key=asked.key),
            self._timeout,
            {"TAG_NOT_FOUND": lambda _: missing(text)},
        )
        return empty_reply()

    async def log_inputs(self, request: Request) -> Response:
        """runs/log-inputs."""
        schema = {**_ID, "datasets": [array], "models": [array]}
        asked = await read_message(request, mlflow_pb.LogInputs(), schema)
        validation._validate_run_id(asked.run_id)  # noqa: SLF001 - as above
        validation._validate_dataset_inputs(  # noqa: SLF001
            [DatasetInput.from_proto(item) for item in asked.datasets]
        )
        message = pb.LogInputsRequest(
            run_id=existing_run_id(asked.run_id),
            datasets=[_dataset_input(item) for item in asked.datasets],
            model_ids=[item.model_id for item in asked.models],
        )
        await call(self._runs.LogInputs, message, self._timeout)
        return empty_reply()

    async def log_outputs(self, request: Request) -> Response:
        """runs/outputs."""
        schema = {**_ID, "models": [required, array]}
        asked = await read_message(request, mlflow_pb.LogOutputs(), schema)
        models = [types.ModelOutput(model_id=item.model_id, step=item.step) for item in asked.models]
        run_id = existing_run_id(asked.run_id)
        if not models:
            # Nothing to store, but a run that is missing or deleted is told.
            await self._set_tags(run_id, [])
            return empty_reply()
        await call(
            self._runs.LogOutputs,
            pb.LogOutputsRequest(run_id=run_id, models=models),
            self._timeout,
            {"OUTPUT_EXISTS": lambda refusal: bad_request(refusal.message)},
        )
        return empty_reply()

    async def log_model(self, request: Request) -> Response:
        """runs/log-model: what clients of MLflow 2 told the server about a model."""
        schema = {"run_id": [string, required], "model_json": [string, required]}
        asked = await read_message(request, mlflow_pb.LogModel(), schema)
        # Looked at before the run is, as MLflow's errors come in this order.
        with_model({}, asked.model_json)
        run = await self.read(asked.run_id)
        key, value = with_model({tag.key: tag.value for tag in run.tags}, asked.model_json)
        await self._set_tag(asked.run_id, key, value)
        return empty_reply()

    async def _set_tag(self, run_id: str, key: str, value: str) -> None:
        tag = validation._validate_tag(key, value)  # noqa: SLF001 - as above
        run_id = existing_run_id(run_id)
        if tag.key == RUN_NAME_TAG and not tag.value:
            # Renaming to nothing changes nothing (MLflow).
            await self._set_tags(run_id, [])
        else:
            await self._set_tags(run_id, [types.KeyValue(key=tag.key, value=tag.value)])

    async def _set_tags(self, run_id: str, tags: list[types.KeyValue]) -> None:
        await call(self._runs.LogBatch, pb.LogBatchRequest(run_id=run_id, tags=tags), self._timeout)


def param_immutable(refusal: PlatformError) -> MlflowException:
    """The 400 for another value of a param; the client adds what to do to its text."""
    return invalid(
        "Changing param values is not allowed. Params were already logged for run ID="
        f"'{refusal.metadata.get('run_id', '')}': {refusal.message}"
    )


async def _read_search(request: Request) -> RunSearchBody:
    schema: dict[str, list[Check]] = {
        "experiment_ids": [array],
        "filter": [string],
        "max_results": [int_like, at_most(MAX_PAGE_SIZE)],
        "order_by": [array, strings],
    }
    return run_search(await read_message(request, mlflow_pb.SearchRuns(), schema))


def _one_param_immutable(refusal: PlatformError, param: Param) -> MlflowException:
    stored = refusal.metadata.get("stored_value")
    if stored is None:
        return param_immutable(refusal)
    return invalid(
        f"Changing param values is not allowed. Param with key='{param.key}' was already logged with value={stored} "
        f"for run ID='{refusal.metadata.get('run_id', '')}'. Attempted logging new value '{param.value}'."
    )


def run_search(asked: mlflow_pb.SearchRuns) -> RunSearchBody:
    """What MLflow's message asks for."""
    return RunSearchBody(
        experiment_ids=list(asked.experiment_ids),
        filter=asked.filter,
        run_view_type=mlflow_pb.ViewType.Name(asked.run_view_type),
        max_results=asked.max_results,
        order_by=list(asked.order_by),
        page_token=asked.page_token,
    )


def _dataset_input(item: mlflow_pb.DatasetInput) -> types.DatasetInput:
    sent = item.dataset
    return types.DatasetInput(
        dataset=types.Dataset(
            name=sent.name,
            digest=sent.digest,
            source_type=sent.source_type,
            source=sent.source,
            schema=sent.schema,
            profile=sent.profile,
        ),
        tags=[types.KeyValue(key=tag.key, value=tag.value) for tag in item.tags],
    )
