"""The service as it is put together: what it serves, what it tells the bus, and when it refuses to start."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import grpc
import pytest
from runstream_common.errors import FailedPrecondition
from runstream_common.rpc.server import GrpcServer
from runstream_common.service import Runtime
from runstream_metadata.settings import MetadataSettings
from runstream_metadata.wiring import build, migrate
from runstream_proto.common.v1 import discovery_service_pb2 as discovery_pb
from runstream_proto.common.v1 import operations_service_pb2 as operations_pb
from runstream_proto.common.v1.discovery_service_pb2_grpc import DiscoveryServiceStub
from runstream_proto.common.v1.operations_service_pb2_grpc import OperationsServiceStub
from runstream_proto.events.v1.run_changed_pb2 import RunChange, RunChanged
from runstream_proto.metadata.v1 import metric_service_pb2 as metrics_pb
from runstream_proto.metadata.v1 import run_service_pb2 as runs_pb
from runstream_proto.metadata.v1.metric_service_pb2_grpc import MetricServiceStub
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def settings(database_url) -> MetadataSettings:
    return MetadataSettings(
        database_url=database_url,
        bus_url=database_url,
        grpc_host="127.0.0.1",
        grpc_port=0,
        services={"metadata": "example:5050"},
        lease_sweep_interval_seconds=0.05,
        shutdown_grace_seconds=5,
    )


@pytest.fixture
async def channel(settings) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the whole service, which runs in this process."""
    await migrate(settings)
    runtime = Runtime("metadata", settings)
    service = await build(runtime)
    async with contextlib.AsyncExitStack() as running:
        for component in service.components:
            await component.start()
            running.push_async_callback(component.stop)
        running.push_async_callback(runtime.tasks.stop)
        server = next(item for item in service.components if isinstance(item, GrpcServer))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
            yield opened


async def test_it_does_not_start_on_a_schema_that_was_not_migrated(settings):
    with pytest.raises(FailedPrecondition, match="runstream_metadata migrate"):
        await build(Runtime("metadata", settings))


async def test_it_serves_everything_that_clients_look_for(channel):
    services = await DiscoveryServiceStub(channel).ListServices(discovery_pb.ListServicesRequest())
    status = await OperationsServiceStub(channel).GetStatus(operations_pb.GetStatusRequest())
    run = (await RunServiceStub(channel).CreateRun(runs_pb.CreateRunRequest(experiment_id="0"))).run
    metrics = await MetricServiceStub(channel).ListMetrics(
        metrics_pb.ListMetricsRequest(run_ids=[run.run_id])
    )

    assert [item.target for item in services.services] == ["example:5050"]
    assert {check.name: check.ok for check in status.checks} == {"database": True, "bus": True}
    assert [(item.topic, item.group) for item in status.subscriptions] == [("run-logged", "metadata")]
    assert list(metrics.metrics) == []


async def test_changes_of_runs_reach_the_bus_in_order(channel):
    tail = OperationsServiceStub(channel).TailEvents(operations_pb.TailEventsRequest(topic="run-changed"))
    runs = RunServiceStub(channel)
    seen: list[RunChanged] = []

    async def read_until_deleted() -> None:
        async for event in tail:
            seen.append(RunChanged.FromString(event.value))
            assert event.key == seen[-1].run_id
            if seen[-1].change == RunChange.RUN_CHANGE_DELETED:
                return

    reading = asyncio.create_task(read_until_deleted())
    run_ids = []
    # A tail begins with what comes after it; deleted runs are made until it has seen one from its creation on.
    while not reading.done():
        run = (await runs.CreateRun(runs_pb.CreateRunRequest(experiment_id="0"))).run
        await runs.UpdateRun(runs_pb.UpdateRunRequest(run_id=run.run_id, run_name="renamed"))
        await runs.DeleteRun(runs_pb.DeleteRunRequest(run_id=run.run_id))
        run_ids.append(run.run_id)
        await asyncio.wait([reading], timeout=0.5)
    await reading

    last = [event.change for event in seen if event.run_id == seen[-1].run_id]
    whole = [RunChange.RUN_CHANGE_CREATED, RunChange.RUN_CHANGE_UPDATED, RunChange.RUN_CHANGE_DELETED]
    assert last == whole[-len(last) :]
    assert seen[-1].run_id in run_ids
