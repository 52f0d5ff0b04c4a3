"""gRPC handlers of RunService: translate, call, translate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_common.errors import InvalidArgument
from runstream_common.rpc.answers import check_answer_size
from runstream_common.rpc.server import Registration
from runstream_common.violations import Violations
from runstream_proto.metadata.v1 import run_service_pb2 as pb
from runstream_proto.metadata.v1 import run_service_pb2_grpc as pb_grpc

from runstream_metadata import rules
from runstream_metadata.api import mapping
from runstream_metadata.api.fresh_reads import wait_as_asked
from runstream_metadata.api.new_run import new_run, new_run_or_error
from runstream_metadata.entities import ModelOutput, NewRun
from runstream_metadata.runs import RunUpdate
from runstream_metadata.search.requests import MAX_EXPERIMENTS, RunSearch
from runstream_metadata.watching import watch_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import grpc

    from runstream_metadata.leases import Leases
    from runstream_metadata.live import LiveHub
    from runstream_metadata.run_data import RunData
    from runstream_metadata.runs import Runs
    from runstream_metadata.watermarks import Watermarks

    Context = grpc.aio.ServicerContext[Any, Any]

# ruff: noqa: N802, ARG002 - names and signatures are gRPC's

MAX_CREATED_RUNS = 1_000
"""Runs in one BatchCreateRuns."""

MAX_RUN_IDS = 1_000
"""Runs in one GetRuns or Heartbeat."""

MAX_CHECKED_RUN_IDS = 10_000
"""Runs in one CheckRuns."""


@dataclass(frozen=True, slots=True)
class RunUseCases:
    """What the handlers call."""

    runs: Runs
    data: RunData
    leases: Leases
    watermarks: Watermarks
    hub: LiveHub


class RunService(pb_grpc.RunServiceServicer):
    """Runs over gRPC.

    Args:
        use_cases: what the handlers call.
        max_message_bytes: largest answer.
    """

    def __init__(self, use_cases: RunUseCases, *, max_message_bytes: int) -> None:
        self._use = use_cases
        self._max_message_bytes = max_message_bytes

    def registration(self) -> Registration:
        """What the server registers."""
        return Registration(
            pb.DESCRIPTOR.services_by_name["RunService"].full_name,
            pb_grpc.add_RunServiceServicer_to_server,
            self,
        )

    async def CreateRun(self, request: pb.CreateRunRequest, context: Context) -> pb.CreateRunResponse:
        """Create, or return the run that has the id."""
        run, created = await self._use.runs.create(new_run(request))
        return pb.CreateRunResponse(run=mapping.run_message(run), created=created)

    async def BatchCreateRuns(
        self, request: pb.BatchCreateRunsRequest, context: Context
    ) -> pb.BatchCreateRunsResponse:
        """Create many, each with its own outcome."""
        if not 1 <= len(request.runs) <= MAX_CREATED_RUNS:
            raise InvalidArgument.of("runs", f"needs 1 to {MAX_CREATED_RUNS} runs, has {len(request.runs)}")
        asked = [new_run_or_error(run) for run in request.runs]
        outcomes = iter(await self._use.runs.create_many([new for new in asked if isinstance(new, NewRun)]))
        return pb.BatchCreateRunsResponse(
            outcomes=[
                mapping.create_outcome(next(outcomes) if isinstance(new, NewRun) else new) for new in asked
            ]
        )

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        """Read one run, after waiting for what must be visible."""
        run_id = rules.run_id(request.run_id)
        caught_up = await wait_as_asked(self._use.watermarks, request)
        run = await self._use.runs.get(run_id)
        freshness = await self._freshness(caught_up, [run.experiment_id])
        return pb.GetRunResponse(run=mapping.run_message(run), freshness=freshness)

    async def GetRuns(self, request: pb.GetRunsRequest, context: Context) -> pb.GetRunsResponse:
        """Read several runs."""
        runs = await self._use.runs.get_many(rules.run_ids(request.run_ids, at_most=MAX_RUN_IDS))
        answer = pb.GetRunsResponse(runs=[mapping.run_message(run) for run in runs])
        check_answer_size(answer, self._max_message_bytes, "run_ids")
        return answer

    async def UpdateRun(self, request: pb.UpdateRunRequest, context: Context) -> pb.UpdateRunResponse:
        """Change name, status, end time and reason."""
        run = await self._use.runs.update(rules.run_id(request.run_id), _update(request))
        return pb.UpdateRunResponse(run=mapping.run_message(run))

    async def DeleteRun(self, request: pb.DeleteRunRequest, context: Context) -> pb.DeleteRunResponse:
        """Mark deleted."""
        await self._use.runs.delete(rules.run_id(request.run_id))
        return pb.DeleteRunResponse()

    async def RestoreRun(self, request: pb.RestoreRunRequest, context: Context) -> pb.RestoreRunResponse:
        """Bring back."""
        await self._use.runs.restore(rules.run_id(request.run_id))
        return pb.RestoreRunResponse()

    async def LogBatch(self, request: pb.LogBatchRequest, context: Context) -> pb.LogBatchResponse:
        """Log params and set tags."""
        run_id = rules.run_id(request.run_id)
        await self._use.data.log_batch(run_id, mapping.pairs(request.params), mapping.pairs(request.tags))
        return pb.LogBatchResponse()

    async def DeleteTag(self, request: pb.DeleteTagRequest, context: Context) -> pb.DeleteTagResponse:
        """Delete a tag."""
        if not request.key:
            raise InvalidArgument.of("key", "is required")
        await self._use.data.delete_tag(rules.run_id(request.run_id), request.key)
        return pb.DeleteTagResponse()

    async def LogInputs(self, request: pb.LogInputsRequest, context: Context) -> pb.LogInputsResponse:
        """Record datasets and models as inputs."""
        inputs = [mapping.dataset_input(item) for item in request.datasets]
        await self._use.data.log_inputs(rules.run_id(request.run_id), inputs, list(request.model_ids))
        return pb.LogInputsResponse()

    async def LogOutputs(self, request: pb.LogOutputsRequest, context: Context) -> pb.LogOutputsResponse:
        """Record models as outputs."""
        outputs = [ModelOutput(item.model_id, item.step) for item in request.models]
        await self._use.data.log_outputs(rules.run_id(request.run_id), outputs)
        return pb.LogOutputsResponse()

    async def SearchRuns(self, request: pb.SearchRunsRequest, context: Context) -> pb.SearchRunsResponse:
        """One page of a search, after waiting for what must be visible."""
        search = _search(request)
        caught_up = await wait_as_asked(self._use.watermarks, request)
        runs, next_page_token = await self._use.runs.search(search, summaries_only=request.summaries_only)
        answer = pb.SearchRunsResponse(
            runs=[mapping.run_message(run) for run in runs],
            next_page_token=next_page_token,
            freshness=await self._freshness(caught_up, search.experiment_ids),
        )
        check_answer_size(answer, self._max_message_bytes, "page_size")
        return answer

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Context) -> pb.HeartbeatResponse:
        """Renew leases."""
        run_ids = rules.run_ids(request.run_ids, at_most=MAX_RUN_IDS)
        outcome = await self._use.leases.heartbeat(run_ids)
        return pb.HeartbeatResponse(
            revived_run_ids=outcome.revived_run_ids, ignored_run_ids=outcome.ignored_run_ids
        )

    async def CheckRuns(self, request: pb.CheckRunsRequest, context: Context) -> pb.CheckRunsResponse:
        """Say which runs exist and are active."""
        run_ids = rules.run_ids(request.run_ids, at_most=MAX_CHECKED_RUN_IDS)
        checks = {check.run_id: check for check in await self._use.runs.check(run_ids)}
        return pb.CheckRunsResponse(
            runs=[mapping.check_message(checks[run_id]) for run_id in request.run_ids]
        )

    async def WatchRun(
        self, request: pb.WatchRunRequest, context: Context
    ) -> AsyncIterator[pb.WatchRunResponse]:
        """Follow a run."""
        run_id = rules.run_id(request.run_id)
        async for run in watch_run(self._use.runs, self._use.hub, run_id):
            yield pb.WatchRunResponse(run=mapping.run_message(run))

    async def _freshness(self, caught_up: bool, experiment_ids: Sequence[int]) -> pb.Freshness:
        written_up_to_ms = (
            await self._use.watermarks.written_up_to_ms(experiment_ids[0]) if experiment_ids else 0
        )
        return pb.Freshness(caught_up=caught_up, written_up_to_ms=written_up_to_ms)


def _update(request: pb.UpdateRunRequest) -> RunUpdate:
    violations = Violations()
    end_time_ms = request.end_time_ms if request.HasField("end_time_ms") else None
    if end_time_ms is not None:
        rules.time_ms("end_time_ms", end_time_ms, violations)
    violations.check()
    reason = request.status_reason if request.HasField("status_reason") else None
    return RunUpdate(
        status=mapping.status_or_none(request.status),
        end_time_ms=end_time_ms,
        name=request.run_name or None,
        status_reason=None if reason is None else reason[: rules.MAX_STATUS_REASON_LENGTH],
    )


def _search(request: pb.SearchRunsRequest) -> RunSearch:
    if not 1 <= len(request.experiment_ids) <= MAX_EXPERIMENTS:
        raise InvalidArgument.of("experiment_ids", f"needs 1 to {MAX_EXPERIMENTS} ids")
    return RunSearch(
        experiment_ids=[
            rules.experiment_id(text, f"experiment_ids[{index}]")
            for index, text in enumerate(request.experiment_ids)
        ],
        filter_text=request.filter,
        order_by=list(request.order_by),
        view_type=mapping.view_type(request.view_type),
        page_size=request.page_size,
        page_token=request.page_token,
        mlflow_strict=request.mlflow_grammar_only,
    )
