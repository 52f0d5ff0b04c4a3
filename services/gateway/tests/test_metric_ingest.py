"""How points reach ingest: one round of calls for many requests, refusals in MLflow's words."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from mlflow.exceptions import MlflowException
from runstream_contract.ids import new_run_id
from runstream_gateway.mlflow_api.metric_ingest import MetricIngest, encode_points
from runstream_gateway.mlflow_api.write_bodies import MetricBody
from runstream_proto.events.v1.run_logged_pb2 import RunLogged
from runstream_proto.ingest.v1 import ingest_service_pb2 as ingest_pb
from runstream_proto.metadata.v1 import run_service_pb2 as runs_pb
from runstream_proto.metadata.v1.types_pb2 import LifecycleStage

POINT = MetricBody("loss", 0.5, 10, 3)


@dataclass
class Services:
    """Stands in for the backends: remembers calls, and answers as it is told."""

    timeout_seconds: float = 5.0
    stages: dict[str, LifecycleStage.ValueType] = field(default_factory=dict)
    rejections: list[ingest_pb.BatchRejection] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    taken: list[list[RunLogged]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def runs(self) -> Any:
        return self

    @property
    def ingest(self) -> Any:
        return self

    async def CheckRuns(self, request: runs_pb.CheckRunsRequest, timeout: float) -> runs_pb.CheckRunsResponse:  # noqa: N802, ASYNC109
        self.asked.append(list(request.run_ids))
        await self.gate.wait()
        return runs_pb.CheckRunsResponse(
            runs=[
                runs_pb.RunCheck(
                    run_id=run_id, lifecycle_stage=self.stages.get(run_id, LifecycleStage.ValueType(0))
                )
                for run_id in request.run_ids
            ]
        )

    async def LogMetricBatches(  # noqa: N802
        self,
        request: ingest_pb.LogMetricBatchesRequest,
        timeout: float,  # noqa: ASYNC109
    ) -> ingest_pb.LogMetricBatchesResponse:
        assert request.runs_checked
        self.taken.append([RunLogged.FromString(data) for data in request.batches])
        return ingest_pb.LogMetricBatchesResponse(rejections=self.rejections)


@pytest.fixture
async def services() -> Services:
    return Services()


def active_run(services: Services) -> str:
    run_id = new_run_id()
    services.stages[run_id] = LifecycleStage.LIFECYCLE_STAGE_ACTIVE
    return run_id


async def started(ingest: MetricIngest, run_ids: Sequence[str]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(ingest.log(run_id, [POINT], run_checked=False)) for run_id in run_ids]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_requests_that_come_together_share_a_round_and_those_of_a_run_a_message(
    services: Services,
) -> None:
    ingest: Any = MetricIngest(services)  # type: ignore[arg-type]
    first, second = active_run(services), active_run(services)
    tasks = await started(ingest, [first])
    tasks += await started(ingest, [first, second, first])
    services.gate.set()
    await asyncio.gather(*tasks)
    assert [sorted(asked) for asked in services.asked] == [[first], sorted([first, second])]
    assert [[(one.run_id, len(one.series)) for one in batches] for batches in services.taken] == [
        [(first, 1)],
        [(first, 2), (second, 1)],
    ]


async def test_runs_that_take_nothing_do_not_stop_the_others(services: Services) -> None:
    ingest: Any = MetricIngest(services)  # type: ignore[arg-type]
    services.gate.set()
    fine, unknown, deleted = active_run(services), new_run_id(), new_run_id()
    services.stages[deleted] = LifecycleStage.LIFECYCLE_STAGE_DELETED
    outcomes = await asyncio.gather(*await started(ingest, [unknown, deleted, fine]), return_exceptions=True)
    assert [getattr(outcome, "error_code", None) for outcome in outcomes] == [
        "RESOURCE_DOES_NOT_EXIST",
        "INVALID_PARAMETER_VALUE",
        None,
    ]
    assert [[one.run_id for one in batches] for batches in services.taken] == [[fine]]


async def test_a_run_that_was_just_written_to_is_not_asked_for(services: Services) -> None:
    run_id = new_run_id()
    await MetricIngest(services).log(run_id, [POINT], run_checked=True)  # type: ignore[arg-type]
    assert services.asked == []
    assert [one.run_id for one in services.taken[0]] == [run_id]


@pytest.mark.parametrize(
    ("code", "error_code", "status"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", 429),
        (grpc.StatusCode.UNAVAILABLE, "TEMPORARILY_UNAVAILABLE", 503),
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER_VALUE", 400),
    ],
)
async def test_what_ingest_refuses_is_told_to_its_request_alone(
    services: Services, code: grpc.StatusCode, error_code: str, status: int
) -> None:
    services.gate.set()
    services.rejections = [
        ingest_pb.BatchRejection(sequence=1, code=code.value[0], reason="WHY", message="come back")
    ]
    tasks = await started(MetricIngest(services), [active_run(services), active_run(services)])  # type: ignore[arg-type]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[0] is None
    refused = outcomes[1]
    assert isinstance(refused, MlflowException)
    assert (refused.error_code, refused.get_http_status_code()) == (error_code, status)
    assert "come back" in refused.message


def test_points_become_columns_by_key() -> None:
    metrics = [
        MetricBody("a", 1.0, 10, 1),
        MetricBody("b", "NaN", 11, -2),
        MetricBody("a", "-Infinity", 2**62, -(2**63)),
    ]
    batch = RunLogged.FromString(encode_points("f" * 32, metrics))
    assert batch.run_id == "f" * 32
    a, b = batch.series
    assert (a.key, list(a.steps), list(a.timestamps_ms), list(a.values)) == (
        "a",
        [1, -(2**63)],
        [10, 2**62],
        [1.0, -math.inf],
    )
    assert (b.key, list(b.steps), math.isnan(b.values[0])) == ("b", [-2], True)
    assert encode_points("f" * 32, metrics) != encode_points("f" * 32, metrics), "each has an id of its own"
