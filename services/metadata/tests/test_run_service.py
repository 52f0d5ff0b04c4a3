"""RunService and ExperimentService over gRPC: what clients see, and the errors they get."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest
from runstream_common.clock import SystemClock
from runstream_common.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PlatformError,
)
from runstream_common.rpc.server import build_server
from runstream_common.rpc.status import from_rpc_error
from runstream_contract.ids import new_run_id
from runstream_metadata.api.experiment_service import ExperimentService
from runstream_metadata.api.run_service import RunService, RunUseCases
from runstream_metadata.bus_progress import PartitionProgress
from runstream_metadata.experiments import Experiments
from runstream_metadata.leases import Leases
from runstream_metadata.live import LiveHub
from runstream_metadata.run_announcer import RunAnnouncer
from runstream_metadata.run_data import RunData
from runstream_metadata.run_directory import RunDirectory
from runstream_metadata.runs import Runs
from runstream_metadata.settings import MetadataSettings
from runstream_metadata.watermarks import Watermarks
from runstream_proto.common.v1.position_pb2 import BusPosition
from runstream_proto.metadata.v1 import experiment_service_pb2 as experiments_pb
from runstream_proto.metadata.v1 import run_service_pb2 as runs_pb
from runstream_proto.metadata.v1 import types_pb2 as types
from runstream_proto.metadata.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_ANSWER_BYTES = 200_000


@dataclass
class Client:
    """Stubs over one channel."""

    runs: RunServiceStub
    experiments: ExperimentServiceStub

    async def create_run(self, **fields) -> types.Run:
        answer = await self.runs.CreateRun(runs_pb.CreateRunRequest(**{"experiment_id": "0", **fields}))
        return answer.run

    async def get(self, run_id: str) -> types.Run:
        return (await self.runs.GetRun(runs_pb.GetRunRequest(run_id=run_id))).run


@pytest.fixture
async def client(database, database_url) -> AsyncIterator[Client]:
    settings = MetadataSettings(
        database_url=database_url, bus_url=database_url, grpc_host="127.0.0.1", grpc_port=0
    )
    clock = SystemClock()
    hub = LiveHub(database_url)
    announcer = RunAnnouncer(hub, database, RunDirectory(database, clock).forget)
    use_cases = RunUseCases(
        runs=Runs(database, clock, announcer),
        data=RunData(database, clock, announcer),
        leases=Leases(database, clock, announcer),
        watermarks=Watermarks(database, hub, clock, PartitionProgress(database, clock)),
        hub=hub,
    )
    experiments = Experiments(database, clock, announcer, artifact_root="mlflow-artifacts:")
    server = build_server(
        settings,
        [
            RunService(use_cases, max_message_bytes=MAX_ANSWER_BYTES).registration(),
            ExperimentService(experiments).registration(),
        ],
    )
    await server.start()
    tasks = [asyncio.create_task(hub.run()), asyncio.create_task(announcer.run())]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Client(RunServiceStub(channel), ExperimentServiceStub(channel))
    finally:
        await server.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def refusal(call) -> PlatformError:
    """The error that a call ends with, as the SDK sees it."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return from_rpc_error(raised.value)


async def test_a_run_from_creation_to_its_end(client):
    run = await client.create_run(
        run_name="mine",
        user_id="ada",
        start_time_ms=1_000,
        params=[types.KeyValue(key="lr", value="0.1")],
        tags=[types.KeyValue(key="team", value="x"), types.KeyValue(key="any $igns", value="y")],
        lease_ms=60_000,
    )
    await client.runs.LogBatch(
        runs_pb.LogBatchRequest(run_id=run.run_id, params=[types.KeyValue(key="depth", value="3")])
    )
    dataset = types.Dataset(name="iris", digest="1", source_type="local", source="{}")
    link = types.DatasetInput(
        dataset=dataset, tags=[types.KeyValue(key="mlflow.data.context", value="train")]
    )
    await client.runs.LogInputs(runs_pb.LogInputsRequest(run_id=run.run_id, datasets=[link]))
    ended = await client.runs.UpdateRun(
        runs_pb.UpdateRunRequest(run_id=run.run_id, status=types.RUN_STATUS_FINISHED, end_time_ms=2_000)
    )
    found = await client.get(run.run_id)

    assert ended.run.status == found.status == types.RUN_STATUS_FINISHED
    assert (found.start_time_ms, found.end_time_ms, found.user_id) == (1_000, 2_000, "ada")
    assert [(item.key, item.value) for item in found.params] == [("depth", "3"), ("lr", "0.1")]
    assert [(item.key, item.value) for item in found.tags] == [
        ("any $igns", "y"),
        ("mlflow.runName", "mine"),
        ("team", "x"),
    ]
    assert list(found.inputs) == [link]
    assert found.HasField("lease_expire_time_ms")


async def test_unset_times_stay_unset(client):
    run = await client.create_run()

    assert not run.HasField("end_time_ms")
    assert not run.HasField("lease_expire_time_ms")
    assert run.start_time_ms == 0


async def test_create_with_a_chosen_id_is_repeatable(client):
    run_id = new_run_id()
    request = runs_pb.CreateRunRequest(experiment_id="0", run_id=run_id)
    first = await client.runs.CreateRun(request)
    again = await client.runs.CreateRun(request)

    assert (first.created, again.created) == (True, False)
    assert again.run == first.run


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"experiment_id": ""}, "experiment_id"),
        ({"experiment_id": "abc"}, "experiment_id"),
        ({"experiment_id": "1" * 30}, "experiment_id"),
        ({"run_id": "A" * 32}, "run_id"),
        ({"parent_run_id": "x"}, "parent_run_id"),
        ({"lease_ms": 4_999}, "lease_ms"),
        ({"start_time_ms": -1}, "start_time_ms"),
        ({"user_id": "u" * 257}, "user_id"),
        ({"params": [types.KeyValue(key="$", value="")]}, "params[0].key"),
        ({"tags": [types.KeyValue(key="", value="")]}, "tags[0].key"),
        ({"tags": [types.KeyValue(key="k" * 251, value="")]}, "tags[0].key"),
    ],
)
async def test_wrong_runs_name_their_field(client, fields, field):
    error = await refusal(client.create_run(**fields))

    assert isinstance(error, InvalidArgument)
    assert [violation.field for violation in error.violations] == [field]


async def test_refusals_carry_their_reason(client):
    run = await client.create_run(params=[types.KeyValue(key="lr", value="1")])
    batch = runs_pb.LogBatchRequest(run_id=run.run_id, params=[types.KeyValue(key="lr", value="2")])
    immutable = await refusal(client.runs.LogBatch(batch))
    await client.runs.DeleteRun(runs_pb.DeleteRunRequest(run_id=run.run_id))
    deleted = await refusal(client.runs.LogBatch(batch))
    missing = await refusal(client.get(new_run_id()))
    tag = await refusal(
        client.experiments.DeleteExperimentTag(
            experiments_pb.DeleteExperimentTagRequest(experiment_id="0", key="t")
        )
    )

    assert (type(immutable), immutable.reason) == (InvalidArgument, "PARAM_IMMUTABLE")
    assert (type(deleted), deleted.reason) == (FailedPrecondition, "RUN_DELETED")
    assert (type(missing), missing.reason) == (NotFound, "RUN_NOT_FOUND")
    assert (type(tag), tag.reason) == (NotFound, "TAG_NOT_FOUND")


async def test_experiments_over_the_wire(client):
    created = await client.experiments.CreateExperiment(
        experiments_pb.CreateExperimentRequest(name="e", tags=[types.KeyValue(key="k", value="v")])
    )
    experiment_id = created.experiment.experiment_id
    taken = await refusal(
        client.experiments.CreateExperiment(experiments_pb.CreateExperimentRequest(name="e"))
    )
    got = await client.experiments.CreateExperiment(
        experiments_pb.CreateExperimentRequest(name="e", get_if_exists=True)
    )
    renamed = await client.experiments.UpdateExperiment(
        experiments_pb.UpdateExperimentRequest(experiment_id=experiment_id, name="f")
    )
    await client.experiments.SetExperimentTags(
        experiments_pb.SetExperimentTagsRequest(
            experiment_id=experiment_id, tags=[types.KeyValue(key="a", value="1")]
        )
    )
    await client.experiments.DeleteExperiment(
        experiments_pb.DeleteExperimentRequest(experiment_id=experiment_id)
    )
    found = await client.experiments.GetExperiment(experiments_pb.GetExperimentRequest(name="f"))
    nothing = await refusal(client.experiments.GetExperiment(experiments_pb.GetExperimentRequest()))

    assert (type(taken), taken.reason) == (AlreadyExists, "EXPERIMENT_NAME_TAKEN")
    assert (got.created, got.experiment) == (False, created.experiment)
    assert renamed.experiment.name == "f"
    assert found.experiment.lifecycle_stage == types.LIFECYCLE_STAGE_DELETED
    assert [tag.key for tag in found.experiment.tags] == ["a", "k"]
    assert isinstance(nothing, InvalidArgument)


async def test_search_pages_through_experiments_and_runs(client):
    made = [await client.create_run(start_time_ms=number) for number in range(5)]
    await client.experiments.CreateExperiment(experiments_pb.CreateExperimentRequest(name="e"))
    pages, token = [], ""
    while True:
        answer = await client.runs.SearchRuns(
            runs_pb.SearchRunsRequest(experiment_ids=["0"], page_size=2, page_token=token)
        )
        pages.append([run.run_id for run in answer.runs])
        token = answer.next_page_token
        if not token:
            break
    found = await client.experiments.SearchExperiments(
        experiments_pb.SearchExperimentsRequest(order_by=["name ASC"])
    )

    assert [run_id for page in pages for run_id in page] == [run.run_id for run in reversed(made)]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [experiment.name for experiment in found.experiments] == ["Default", "e"]


async def test_summaries_leave_data_out_but_know_the_parent(client):
    parent = await client.create_run()
    await client.create_run(
        parent_run_id=parent.run_id, params=[types.KeyValue(key="p", value="1")], start_time_ms=1
    )
    answer = await client.runs.SearchRuns(
        runs_pb.SearchRunsRequest(experiment_ids=["0"], summaries_only=True)
    )

    child = answer.runs[0]
    assert child.parent_run_id == parent.run_id
    assert (list(child.params), list(child.tags)) == ([], [])


async def test_an_answer_that_cannot_be_sent_says_what_to_do(client):
    big = [types.KeyValue(key=f"p{number}", value="x" * 6_000) for number in range(50)]
    run = await client.create_run(params=big)
    error = await refusal(client.runs.GetRuns(runs_pb.GetRunsRequest(run_ids=[run.run_id])))
    summaries = await client.runs.SearchRuns(
        runs_pb.SearchRunsRequest(experiment_ids=["0"], summaries_only=True)
    )

    assert error.reason == "PAGE_TOO_LARGE"
    assert len(summaries.runs) == 1


async def test_get_runs_keeps_the_order_and_leaves_unknown_out(client):
    first, second = await client.create_run(), await client.create_run()
    answer = await client.runs.GetRuns(
        runs_pb.GetRunsRequest(run_ids=[second.run_id, new_run_id(), first.run_id])
    )
    too_many = await refusal(
        client.runs.GetRuns(runs_pb.GetRunsRequest(run_ids=[new_run_id() for _ in range(1_001)]))
    )

    assert [run.run_id for run in answer.runs] == [second.run_id, first.run_id]
    assert isinstance(too_many, InvalidArgument)


async def test_check_runs_answers_every_entry(client):
    run = await client.create_run()
    unknown = new_run_id()
    answer = await client.runs.CheckRuns(runs_pb.CheckRunsRequest(run_ids=[run.run_id, unknown, run.run_id]))

    assert [(check.run_id, check.lifecycle_stage, check.experiment_id) for check in answer.runs] == [
        (run.run_id, types.LIFECYCLE_STAGE_ACTIVE, "0"),
        (unknown, types.LIFECYCLE_STAGE_UNSPECIFIED, ""),
        (run.run_id, types.LIFECYCLE_STAGE_ACTIVE, "0"),
    ]


async def test_heartbeat_ignores_what_has_no_lease(client):
    leased, free = await client.create_run(lease_ms=5_000), await client.create_run()
    answer = await client.runs.Heartbeat(runs_pb.HeartbeatRequest(run_ids=[leased.run_id, free.run_id]))

    assert (list(answer.revived_run_ids), list(answer.ignored_run_ids)) == ([], [free.run_id])


async def test_a_wait_that_is_not_met_says_so(client):
    run = await client.create_run()
    answer = await client.runs.GetRun(
        runs_pb.GetRunRequest(
            run_id=run.run_id,
            wait_for=[BusPosition(topic="run-logged", partition=0, offset=1)],
            wait_timeout_ms=50,
        )
    )

    assert not answer.freshness.caught_up
    assert (await client.runs.GetRun(runs_pb.GetRunRequest(run_id=run.run_id))).freshness.caught_up


async def test_a_watcher_sees_changes_until_the_end(client):
    run = await client.create_run(run_name="before")
    watch = client.runs.WatchRun(runs_pb.WatchRunRequest(run_id=run.run_id))
    now = await watch.read()
    await client.runs.LogBatch(
        runs_pb.LogBatchRequest(run_id=run.run_id, params=[types.KeyValue(key="p", value="1")])
    )
    changed = await watch.read()
    await client.runs.UpdateRun(runs_pb.UpdateRunRequest(run_id=run.run_id, status=types.RUN_STATUS_FINISHED))
    ended = await watch.read()

    assert now.run == run
    assert [item.key for item in changed.run.params] == ["p"]
    assert ended.run.status == types.RUN_STATUS_FINISHED
    assert await watch.read() is grpc.aio.EOF


async def test_a_watcher_hears_of_changes_made_by_another_replica(client, database, database_url):
    run = await client.create_run()
    watch = client.runs.WatchRun(runs_pb.WatchRunRequest(run_id=run.run_id))
    await watch.read()
    # The other replica has a hub of its own, so only NOTIFY leads from there to here.
    directory = RunDirectory(database, SystemClock())
    elsewhere = RunAnnouncer(LiveHub(database_url), database, directory.forget)
    await RunData(database, SystemClock(), elsewhere).log_batch(run.run_id, [("p", "1")], [])
    await elsewhere.announce()
    changed = await watch.read()
    watch.cancel()

    assert [item.key for item in changed.run.params] == ["p"]


async def test_watching_an_unknown_run_is_refused(client):
    watch = client.runs.WatchRun(runs_pb.WatchRunRequest(run_id=new_run_id()))

    assert isinstance(await refusal(watch.read()), NotFound)
