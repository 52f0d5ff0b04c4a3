"""Asks whether runs take writes: always the owner of runs, never a memory of what it said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_proto.metadata.v1.run_service_pb2 import CheckRunsRequest
from runstream_proto.metadata.v1.types_pb2 import LIFECYCLE_STAGE_ACTIVE, LIFECYCLE_STAGE_DELETED

from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.errors import not_active, run_missing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlflow.exceptions import MlflowException
    from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceAsyncStub

MAX_CHECKED_RUNS = 10_000
"""Ids of one CheckRuns."""


async def check_stages(
    runs: RunServiceAsyncStub, run_ids: Iterable[str], *, timeout_seconds: float
) -> dict[str, int]:
    """The lifecycle stage of each run as of now.

    Args:
        runs: the owner of runs.
        run_ids: at most MAX_CHECKED_RUNS, each once and of the form of a run's id.
        timeout_seconds: after which the call is given up.

    Raises:
        MlflowException: the service could not be reached.
    """
    answer = await call(runs.CheckRuns, CheckRunsRequest(run_ids=run_ids), timeout_seconds)
    return {check.run_id: check.lifecycle_stage for check in answer.runs}


def refusal_of(run_id: str, stage: int) -> MlflowException | None:
    """What a client is told whose run is in a stage; None when the run takes writes."""
    if stage == LIFECYCLE_STAGE_ACTIVE:
        return None
    if stage == LIFECYCLE_STAGE_DELETED:
        return not_active("run", run_id)
    return run_missing(run_id)
