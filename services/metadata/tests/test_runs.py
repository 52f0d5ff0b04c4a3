"""The life of runs: MLflow's rules, idempotent creation, and an event with every change."""

from __future__ import annotations

import asyncio
import re

import pytest
from runstream_common.errors import InvalidArgument
from runstream_contract.ids import new_run_id
from runstream_metadata.entities import LifecycleStage, RunStatus
from runstream_metadata.errors import (
    ExperimentDeleted,
    ExperimentNotFound,
    RunDeleted,
    RunIdTaken,
    RunNotFound,
)
from runstream_metadata.experiments import NewExperiment
from runstream_metadata.run_names import random_run_name
from runstream_metadata.runs import RunUpdate
from runstream_proto.events.v1.run_changed_pb2 import RunChange


async def test_a_new_run_is_running_named_and_located(make_run, runs):
    run = await make_run(start_time_ms=5, user_id="ada", params={"lr": "0.1"}, tags={"team": "x"})

    assert run.status is RunStatus.RUNNING
    assert run.end_time_ms is None
    assert run.artifact_uri == f"mlflow-artifacts:/0/{run.run_id}/artifacts"
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d{1,3}", run.name)
    assert run.tags == {"mlflow.runName": run.name, "team": "x"}
    assert run == await runs.get(run.run_id)


def test_generated_names_differ():
    assert len({random_run_name() for _ in range(100)}) > 50


async def test_name_and_name_tag_are_one_thing(make_run):
    by_name = await make_run(name="given")
    by_tag = await make_run(tags={"mlflow.runName": "tagged"})

    assert by_name.tags["mlflow.runName"] == "given"
    assert by_tag.name == "tagged"
    with pytest.raises(InvalidArgument, match=r"mlflow\.runName"):
        await make_run(name="one", tags={"mlflow.runName": "another"})


async def test_a_repeated_create_returns_the_same_run(make_run, runs, events):
    first = await make_run(params={"lr": "0.1"})
    again = await make_run(run_id=first.run_id, params={"lr": "other"}, name="other")

    assert again == first
    assert len(await events()) == 1


async def test_parallel_creates_of_one_id_make_one_run(make_run, events):
    run_id = new_run_id()
    made = await asyncio.gather(*(make_run(run_id=run_id, params={"a": "1"}) for _ in range(10)))

    assert len({run.name for run in made}) == 1
    assert [event.change for event in await events()] == [RunChange.RUN_CHANGE_CREATED]


async def test_an_id_of_another_experiment_is_taken(make_run, experiments):
    run = await make_run()
    other, _ = await experiments.create(NewExperiment("other"))

    with pytest.raises(RunIdTaken):
        await make_run(run_id=run.run_id, experiment_id=other.experiment_id)


async def test_a_run_needs_an_active_experiment(make_run, experiments):
    gone, _ = await experiments.create(NewExperiment("gone"))
    await experiments.delete(gone.experiment_id)

    with pytest.raises(ExperimentNotFound):
        await make_run(experiment_id=99)
    with pytest.raises(ExperimentDeleted):
        await make_run(experiment_id=gone.experiment_id)


async def test_nested_run_needs_its_parent(make_run, runs, events):
    parent = await make_run()
    child = await make_run(parent_run_id=parent.run_id)

    assert child.parent_run_id == parent.run_id
    assert (await runs.get(child.run_id)).tags["mlflow.parentRunId"] == parent.run_id
    with pytest.raises(RunNotFound):
        await make_run(parent_run_id=new_run_id())
    assert len(await events()) == 2


async def test_deleting_a_parent_leaves_its_children(make_run, runs):
    parent = await make_run()
    child = await make_run(parent_run_id=parent.run_id)
    await runs.delete(parent.run_id)

    assert (await runs.get(child.run_id)).lifecycle_stage is LifecycleStage.ACTIVE


async def test_update_keeps_what_is_absent(make_run, runs):
    run = await make_run(name="before", start_time_ms=1)
    ended = await runs.update(run.run_id, RunUpdate(status=RunStatus.FINISHED, end_time_ms=9))
    resumed = await runs.update(run.run_id, RunUpdate(status=RunStatus.RUNNING))
    killed = await runs.update(run.run_id, RunUpdate(status=RunStatus.KILLED, name=""))

    assert (ended.status, ended.end_time_ms, ended.name) == (RunStatus.FINISHED, 9, "before")
    # MLflow keeps the old end time, and a status alone sets none.
    assert (resumed.status, resumed.end_time_ms) == (RunStatus.RUNNING, 9)
    assert (killed.status, killed.end_time_ms, killed.name) == (RunStatus.KILLED, 9, "before")


async def test_a_reason_goes_with_its_status(make_run, runs):
    run = await make_run()
    failed = await runs.update(run.run_id, RunUpdate(status=RunStatus.FAILED, status_reason="ValueError: x"))
    renamed = await runs.update(run.run_id, RunUpdate(name="new"))
    finished = await runs.update(run.run_id, RunUpdate(status=RunStatus.FINISHED))

    assert failed.status_reason == renamed.status_reason == "ValueError: x"
    assert finished.status_reason == ""


async def test_rename_rewrites_the_tag(make_run, runs):
    run = await make_run(name="before")
    renamed = await runs.update(run.run_id, RunUpdate(name="after"))

    assert renamed.tags["mlflow.runName"] == "after"
    assert (await runs.get(run.run_id)).tags["mlflow.runName"] == "after"


async def test_every_change_is_told_once(make_run, runs, events):
    run = await make_run(user_id="ada")
    await runs.update(run.run_id, RunUpdate(status=RunStatus.FINISHED, end_time_ms=3))
    await runs.update(run.run_id, RunUpdate(status=RunStatus.FINISHED, end_time_ms=3))
    await runs.delete(run.run_id)
    await runs.delete(run.run_id)
    await runs.restore(run.run_id)
    await runs.restore(run.run_id)

    told = await events()
    assert [event.change for event in told] == [
        RunChange.RUN_CHANGE_CREATED,
        RunChange.RUN_CHANGE_UPDATED,
        RunChange.RUN_CHANGE_DELETED,
        RunChange.RUN_CHANGE_RESTORED,
    ]
    assert {(event.run_id, event.user_id, event.experiment_id) for event in told} == {
        (run.run_id, "ada", "0")
    }
    assert [event.status for event in told] == ["RUNNING", "FINISHED", "FINISHED", "FINISHED"]
    assert [event.lifecycle_stage for event in told] == ["active", "active", "deleted", "active"]


async def test_a_deleted_run_reads_but_refuses_updates(make_run, runs):
    run = await make_run()
    await runs.delete(run.run_id)

    assert (await runs.get(run.run_id)).lifecycle_stage is LifecycleStage.DELETED
    with pytest.raises(RunDeleted):
        await runs.update(run.run_id, RunUpdate(name="x"))


async def test_unknown_runs(runs):
    unknown = new_run_id()

    for call in (
        runs.get(unknown),
        runs.update(unknown, RunUpdate()),
        runs.delete(unknown),
        runs.restore(unknown),
    ):
        with pytest.raises(RunNotFound):
            await call
    assert await runs.get_many([unknown]) == []


async def test_parallel_updates_of_one_run_all_arrive(make_run, runs):
    run = await make_run()
    updates = [
        RunUpdate(status=RunStatus.FINISHED),
        RunUpdate(end_time_ms=7),
        RunUpdate(name="renamed"),
        RunUpdate(status_reason="because"),
    ]
    await asyncio.gather(*(runs.update(run.run_id, update) for update in updates))
    found = await runs.get(run.run_id)

    # The order of status and reason is open, so the reason may have gone with the status.
    assert (found.status, found.end_time_ms, found.name) == (RunStatus.FINISHED, 7, "renamed")


async def test_check_tells_stage_and_experiment_in_order(make_run, runs):
    active, deleted = await make_run(), await make_run()
    await runs.delete(deleted.run_id)
    unknown = new_run_id()

    checks = await runs.check([unknown, deleted.run_id, active.run_id])

    assert [(check.run_id, check.lifecycle_stage, check.experiment_id) for check in checks] == [
        (unknown, None, None),
        (deleted.run_id, LifecycleStage.DELETED, 0),
        (active.run_id, LifecycleStage.ACTIVE, 0),
    ]
