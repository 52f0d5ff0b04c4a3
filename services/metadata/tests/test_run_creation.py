"""Many runs in one call: one transaction, an outcome for each."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from runstream_common.errors import InvalidArgument, PlatformError
from runstream_contract.ids import new_run_id
from runstream_metadata.api.run_service import MAX_CREATED_RUNS, RunService, RunUseCases
from runstream_metadata.entities import NewRun
from runstream_metadata.errors import ExperimentDeleted, ExperimentNotFound, RunIdTaken, RunNotFound
from runstream_metadata.experiments import NewExperiment
from runstream_metadata.run_creation import complete_new_run
from runstream_proto.events.v1.run_changed_pb2 import RunChange
from runstream_proto.metadata.v1 import run_service_pb2 as pb


def new_run(**overrides: Any) -> NewRun:
    plain = NewRun(
        run_id=new_run_id(),
        experiment_id=0,
        name="",
        user_id="",
        start_time_ms=0,
        tags={},
        params={},
        lease_ms=None,
        parent_run_id="",
    )
    return complete_new_run(dataclasses.replace(plain, **overrides))


async def test_runs_are_stored_with_params_tags_and_events(runs, events):
    news = [
        new_run(name=f"run {number}", params={"p": str(number)}, tags={"t": str(number)})
        for number in range(5)
    ]
    outcomes = await runs.create_many(news)
    stored = await runs.get_many([new.run_id for new in news])

    assert [created for _, created in outcomes] == [True] * 5
    assert [run.name for run in stored] == [f"run {number}" for number in range(5)]
    assert [run.params["p"] for run in stored] == list("01234")
    assert [run.tags["t"] for run in stored] == list("01234")
    assert [run.artifact_uri for run in stored] == [run.artifact_uri for run, _ in outcomes]
    told = await events()
    assert [event.run_id for event in told] == [new.run_id for new in news]
    assert {event.change for event in told} == {RunChange.RUN_CHANGE_CREATED}


async def test_a_refused_run_leaves_the_others_alone(runs, experiments):
    deleted, _ = await experiments.create(NewExperiment("gone"))
    other, _ = await experiments.create(NewExperiment("other"))
    await experiments.delete(deleted.experiment_id)
    taken = new_run(experiment_id=other.experiment_id)
    await runs.create(taken)
    outcomes = await runs.create_many(
        [
            new_run(),
            new_run(experiment_id=987_654),
            new_run(experiment_id=deleted.experiment_id),
            new_run(parent_run_id=new_run_id()),
            new_run(run_id=taken.run_id),
            new_run(),
        ]
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [tuple, ExperimentNotFound, ExperimentDeleted, RunNotFound, RunIdTaken, tuple]


async def test_the_same_id_again_returns_the_run_that_is_there(runs, events):
    new = new_run(params={"p": "1"})
    [(_, created), (repeated, created_again)] = await runs.create_many(
        [new, dataclasses.replace(new, name="x")]
    )
    assert (created, created_again) == (True, False)
    assert repeated.params == {"p": "1"}
    [(later, created_later)] = await runs.create_many([new])
    assert not created_later
    assert later.name == new.name
    assert len(await events()) == 1


async def test_parents_may_come_in_the_same_call(runs):
    parent = new_run()
    child = new_run(parent_run_id=parent.run_id)
    grandchild = new_run(parent_run_id=child.run_id)
    outcomes = await runs.create_many([grandchild, child, parent])
    assert [run.parent_run_id for run, _ in outcomes] == [child.run_id, parent.run_id, ""]


async def test_a_circle_of_parents_is_refused(runs):
    one, two = new_run_id(), new_run_id()
    outcomes = await runs.create_many(
        [new_run(run_id=one, parent_run_id=two), new_run(run_id=two, parent_run_id=one), new_run()]
    )
    assert [type(outcome) for outcome in outcomes] == [RunNotFound, RunNotFound, tuple]


async def test_a_text_that_cannot_be_stored_fails_its_run_alone(runs):
    outcomes = await runs.create_many([new_run(), new_run(params={"p": "a\0b"}), new_run()])
    assert [isinstance(outcome, PlatformError) for outcome in outcomes] == [False, True, False]
    assert isinstance(outcomes[1], InvalidArgument)


@pytest.fixture
def service(runs, run_data) -> RunService:
    return RunService(RunUseCases(runs, run_data, None, None, None), max_message_bytes=1 << 20)


async def test_the_call_tells_failures_by_code_and_reason(service):
    answer = await service.BatchCreateRuns(
        pb.BatchCreateRunsRequest(
            runs=[
                pb.CreateRunRequest(experiment_id="0", run_name="fine"),
                pb.CreateRunRequest(experiment_id="x"),
                pb.CreateRunRequest(experiment_id="987654"),
            ]
        ),
        None,
    )
    fine, wrong, missing = answer.outcomes
    assert fine.created.created
    assert fine.created.run.run_name == "fine"
    assert (wrong.failure.code, wrong.failure.reason) == (3, "INVALID_ARGUMENT")
    assert wrong.failure.message.startswith("experiment_id:")
    assert (missing.failure.code, missing.failure.reason) == (5, "EXPERIMENT_NOT_FOUND")


@pytest.mark.parametrize("count", [0, MAX_CREATED_RUNS + 1])
async def test_too_few_or_too_many_are_refused(service, count):
    with pytest.raises(InvalidArgument):
        await service.BatchCreateRuns(
            pb.BatchCreateRunsRequest(runs=[pb.CreateRunRequest(experiment_id="0")] * count), None
        )
