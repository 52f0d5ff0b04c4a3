"""runs/create: the runs of concurrent requests are created in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.protos import service_pb2 as mlflow_pb
from runstream_contract.ids import new_run_id
from runstream_proto.metadata.v1.run_service_pb2 import BatchCreateRunsRequest, CreateRunRequest
from runstream_proto.metadata.v1.types_pb2 import KeyValue, Run

from runstream_gateway.batching import Batcher
from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.checks import int_like, string
from runstream_gateway.mlflow_api.errors import (
    bad_request,
    experiment_missing,
    invalid,
    not_active,
    translated,
)
from runstream_gateway.mlflow_api.failures import platform_error
from runstream_gateway.mlflow_api.identities import experiment_id_text
from runstream_gateway.mlflow_api.messages import read_fast, read_message
from runstream_gateway.mlflow_api.run_json import run_json
from runstream_gateway.mlflow_api.runs import RUN_NAME_TAG
from runstream_gateway.mlflow_api.write_bodies import CreateRunBody, PairBody, create_run_decoder
from runstream_gateway.replies import json_reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.exceptions import MlflowException
    from runstream_proto.metadata.v1.run_service_pb2 import CreateRunOutcome
    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends

MAX_BATCH_RUNS = 1_000
MAX_CALL_BYTES = 2 * 1024 * 1024
"""Of runs with their tags in one call; half of what gRPC takes by default."""

_SCHEMA = {"experiment_id": [string], "start_time": [int_like], "run_name": [string]}


class RunCreation:
    """Creates runs."""

    def __init__(self, backends: Backends) -> None:
        self._runs = backends.runs
        self._timeout = backends.timeout_seconds
        self._batches: Batcher[CreateRunRequest, Run] = Batcher(
            self._send,
            max_items=MAX_BATCH_RUNS,
            size_of=CreateRunRequest.ByteSize,
            max_bytes=MAX_CALL_BYTES,
        )

    async def create(self, request: Request) -> Response:
        """runs/create."""
        body = await read_fast(request, create_run_decoder)
        run = await self._batches.call(_new_run(await _read(request) if body is None else body))
        return json_reply({"run": run_json(run, outputs=False)})

    async def _send(self, runs: Sequence[CreateRunRequest]) -> Sequence[Run | MlflowException]:
        answer = await call(self._runs.BatchCreateRuns, BatchCreateRunsRequest(runs=runs), self._timeout)
        return [_outcome(run, outcome) for run, outcome in zip(runs, answer.outcomes, strict=True)]


async def _read(request: Request) -> CreateRunBody:
    asked = await read_message(request, mlflow_pb.CreateRun(), _SCHEMA)
    return CreateRunBody(
        experiment_id=asked.experiment_id,
        user_id=asked.user_id,
        start_time=asked.start_time,
        run_name=asked.run_name,
        tags=[PairBody(tag.key, tag.value) for tag in asked.tags],
    )


def _new_run(body: CreateRunBody) -> CreateRunRequest:
    """The run to create, with an id, so that a call whose answer was lost can be repeated.

    Raises:
        MlflowException: what MLflow refuses too.
    """
    if not body.experiment_id:
        raise bad_request("Missing value for required parameter 'experiment_id'.")
    experiment_id = experiment_id_text(body.experiment_id)
    tags = {tag.key: tag.value for tag in body.tags}
    if len(tags) != len(body.tags):
        # MLflow's database refuses it.
        raise bad_request("Tags of a new run must have different keys.")
    tagged = tags.get(RUN_NAME_TAG)
    if body.run_name and tagged and body.run_name != tagged:
        raise invalid(
            f"Both 'run_name' argument and '{RUN_NAME_TAG}' tag are specified, but with "
            f"different values (run_name='{body.run_name}', {RUN_NAME_TAG}='{tagged}')."
        )
    return CreateRunRequest(
        experiment_id=experiment_id,
        run_name=body.run_name,
        user_id=body.user_id,
        start_time_ms=body.start_time,
        tags=[KeyValue(key=key, value=value) for key, value in tags.items()],
        run_id=new_run_id(),
    )


def _outcome(run: CreateRunRequest, outcome: CreateRunOutcome) -> Run | MlflowException:
    if outcome.HasField("created"):
        return outcome.created.run
    experiment_id = run.experiment_id
    return translated(
        platform_error(outcome.failure),
        {
            "EXPERIMENT_NOT_FOUND": lambda _: experiment_missing(experiment_id),
            "EXPERIMENT_DELETED": lambda _: not_active("experiment", experiment_id),
        },
    )
