"""Asks whether runs take writes: always the owner of runs, and once for all requests that ask at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_proto.metadata.v1.run_service_pb2 import CheckRunsRequest
from runstream_proto.metadata.v1.types_pb2 import LIFECYCLE_STAGE_ACTIVE, LIFECYCLE_STAGE_DELETED

from runstream_gateway.batching import Batcher
from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.errors import not_active, run_missing
from runstream_gateway.mlflow_api.identities import existing_run_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_gateway.backends import Backends

MAX_CHECKED_RUNS = 10_000
"""Ids of one CheckRuns."""


class RunChecks:
    """Answers whether runs are there and active as of now: nothing is remembered."""

    def __init__(self, backends: Backends) -> None:
        self._runs = backends.runs
        self._timeout = backends.timeout_seconds
        self._stages: Batcher[str, int] = Batcher(self._ask, max_items=MAX_CHECKED_RUNS, max_in_flight=2)

    async def require_active(self, run_id: str) -> None:
        """Return when the run takes writes.

        Raises:
            MlflowException: RESOURCE_DOES_NOT_EXIST for an unknown run, INVALID_PARAMETER_VALUE for a deleted one.
        """
        stage = await self._stages.call(existing_run_id(run_id))
        if stage == LIFECYCLE_STAGE_DELETED:
            raise not_active("run", run_id)
        if stage != LIFECYCLE_STAGE_ACTIVE:
            raise run_missing(run_id)

    async def _ask(self, run_ids: Sequence[str]) -> Sequence[int]:
        answer = await call(
            self._runs.CheckRuns, CheckRunsRequest(run_ids=dict.fromkeys(run_ids)), self._timeout
        )
        stages = {check.run_id: check.lifecycle_stage for check in answer.runs}
        return [stages[run_id] for run_id in run_ids]
