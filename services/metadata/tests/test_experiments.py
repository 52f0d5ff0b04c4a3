"""Experiments follow MLflow's rules (unique names, delete and restore with all runs)."""

from __future__ import annotations

import asyncio

import pytest
from runstream_common.errors import InvalidArgument
from runstream_metadata.entities import LifecycleStage
from runstream_metadata.errors import (
    ExperimentDeleted,
    ExperimentNameTaken,
    ExperimentNotFound,
    ExperimentTagNotFound,
)
from runstream_metadata.experiments import NewExperiment
from runstream_proto.events.v1.run_changed_pb2 import RunChange


async def test_default_experiment_is_there_and_ids_start_at_one(experiments):
    default = await experiments.get(0)
    created, was_created = await experiments.create(NewExperiment("first"))

    assert default.name == "Default"
    assert was_created
    assert created.experiment_id == 1
    assert created.artifact_location == "mlflow-artifacts:/1"


async def test_created_experiment_reads_back_with_tags_in_order(experiments, clock):
    created, _ = await experiments.create(
        NewExperiment("vision", "s3://bucket/vision", [("b", "2"), ("a", "1"), ("b", "3")])
    )

    assert created == await experiments.get(created.experiment_id)
    assert created == await experiments.get_by_name("vision")
    assert list(created.tags.items()) == [("a", "1"), ("b", "3")]
    assert created.artifact_location == "s3://bucket/vision"
    assert created.creation_time_ms == clock.now_ms()


async def test_name_is_unique_among_active_and_deleted(experiments):
    created, _ = await experiments.create(NewExperiment("taken"))

    with pytest.raises(ExperimentNameTaken):
        await experiments.create(NewExperiment("taken"))
    await experiments.delete(created.experiment_id)
    with pytest.raises(ExperimentNameTaken, match="restore"):
        await experiments.create(NewExperiment("taken"), get_if_exists=True)


async def test_parallel_jobs_get_one_experiment_of_a_name(experiments):
    outcomes = await asyncio.gather(
        *(experiments.create(NewExperiment("shared"), get_if_exists=True) for _ in range(10))
    )

    assert len({experiment.experiment_id for experiment, _ in outcomes}) == 1
    assert sum(created for _, created in outcomes) == 1


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewExperiment(""), "name"),
        (NewExperiment("x" * 501), "name"),
        (NewExperiment("a", "s3://bucket/x?y=../1"), "artifact_location"),
        (NewExperiment("a", "s3://bucket/x#y"), "artifact_location"),
        (NewExperiment("a", "https://host/x"), "artifact_location"),
        (NewExperiment("a", f"runs:/{'0' * 32}/x"), "artifact_location"),
        (NewExperiment("a", "", [("", "v")]), "tags[0].key"),
        (NewExperiment("a", "", [("k" * 251, "v")]), "tags[0].key"),
        (NewExperiment("a", "", [("ok", "v"), ("k", "v" * 20_001)]), "tags[1].value"),
    ],
)
async def test_wrong_experiment_names_its_field(experiments, new, field):
    with pytest.raises(InvalidArgument) as refused:
        await experiments.create(new)

    assert [violation.field for violation in refused.value.violations] == [field]


async def test_rename_keeps_names_unique_and_moves_update_time(experiments, clock):
    one, _ = await experiments.create(NewExperiment("one"))
    await experiments.create(NewExperiment("two"))
    clock.advance(5)

    with pytest.raises(ExperimentNameTaken):
        await experiments.rename(one.experiment_id, "two")
    renamed = await experiments.rename(one.experiment_id, "uno")
    same = await experiments.rename(one.experiment_id, "uno")

    assert renamed.name == same.name == "uno"
    assert renamed.last_update_time_ms == one.creation_time_ms + 5_000


async def test_deleted_experiment_reads_and_refuses_writes(experiments):
    created, _ = await experiments.create(NewExperiment("gone"))
    await experiments.delete(created.experiment_id)

    assert (await experiments.get_by_name("gone")).lifecycle_stage is LifecycleStage.DELETED
    with pytest.raises(ExperimentNotFound):
        await experiments.delete(created.experiment_id)
    with pytest.raises(ExperimentDeleted):
        await experiments.rename(created.experiment_id, "back")
    with pytest.raises(ExperimentDeleted):
        await experiments.set_tags(created.experiment_id, [("k", "v")])
    with pytest.raises(ExperimentDeleted):
        await experiments.delete_tag(created.experiment_id, "k")


async def test_unknown_experiment_is_not_found(experiments):
    for call in (
        experiments.get(99),
        experiments.rename(99, "x"),
        experiments.delete(99),
        experiments.restore(99),
    ):
        with pytest.raises(ExperimentNotFound):
            await call
    with pytest.raises(ExperimentNotFound):
        await experiments.get_by_name("nobody")


async def test_restoring_an_active_experiment_is_not_found(experiments):
    created, _ = await experiments.create(NewExperiment("active"))

    with pytest.raises(ExperimentNotFound):
        await experiments.restore(created.experiment_id)


async def test_delete_and_restore_take_all_runs_along(experiments, runs, make_run, told, events, monkeypatch):
    monkeypatch.setattr("runstream_metadata.experiments.CASCADE_BATCH_RUNS", 2)
    created, _ = await experiments.create(NewExperiment("family"))
    members = [await make_run(experiment_id=created.experiment_id) for _ in range(5)]
    other = await make_run()
    await runs.delete(members[0].run_id)
    before = len(await events())

    await experiments.delete(created.experiment_id)
    stages = {
        check.run_id: check.lifecycle_stage for check in await runs.check([run.run_id for run in members])
    }
    assert set(stages.values()) == {LifecycleStage.DELETED}
    assert (await runs.get(other.run_id)).lifecycle_stage is LifecycleStage.ACTIVE
    told_of = await events()
    assert {event.run_id for event in told_of[before:]} == {run.run_id for run in members[1:]}
    assert {event.change for event in told_of[before:]} == {RunChange.RUN_CHANGE_DELETED}

    told.run_ids.clear()
    await experiments.restore(created.experiment_id)
    # Also the one that was deleted by hand before (MLflow).
    restored = await runs.get_many([run.run_id for run in members])
    assert {run.lifecycle_stage for run in restored} == {LifecycleStage.ACTIVE}
    assert set(told.run_ids) == {run.run_id for run in members}


async def test_a_run_created_while_its_experiment_is_deleted_is_deleted_too(experiments, runs, make_run):
    for round_number in range(5):
        created, _ = await experiments.create(NewExperiment(f"race {round_number}"))
        made = await asyncio.gather(
            *(make_run(experiment_id=created.experiment_id) for _ in range(4)),
            experiments.delete(created.experiment_id),
            *(make_run(experiment_id=created.experiment_id) for _ in range(4)),
            return_exceptions=True,
        )
        there = [run for run in made if run is not None and not isinstance(run, BaseException)]
        refused = [run for run in made if isinstance(run, BaseException)]

        assert all(isinstance(error, ExperimentDeleted) for error in refused)
        checks = await runs.check([run.run_id for run in there])
        assert {check.lifecycle_stage for check in checks} <= {LifecycleStage.DELETED}


async def test_tags_are_set_replaced_and_deleted(experiments, clock):
    created, _ = await experiments.create(NewExperiment("tagged"))
    clock.advance(1)
    await experiments.set_tags(created.experiment_id, [("any $key, really", "1"), ("b", "1"), ("b", "2")])
    await experiments.delete_tag(created.experiment_id, "any $key, really")
    found = await experiments.get(created.experiment_id)

    assert found.tags == {"b": "2"}
    assert found.last_update_time_ms == created.creation_time_ms + 1_000
    with pytest.raises(ExperimentTagNotFound):
        await experiments.delete_tag(created.experiment_id, "missing")
    with pytest.raises(InvalidArgument):
        await experiments.set_tags(created.experiment_id, [])


async def test_a_value_that_text_cannot_hold_is_the_callers_mistake(experiments):
    with pytest.raises(InvalidArgument):
        await experiments.create(NewExperiment("zero \x00 byte"))


@pytest.mark.parametrize(
    ("location", "root"),
    [
        ("s3://bucket/x", "s3://bucket/x"),
        ("s3://bucket/x/", "s3://bucket/x"),
        ("s3://bucket/x//", "s3://bucket/x/"),
        ("file:///", "file://"),
    ],
)
async def test_files_of_runs_go_below_the_location(experiments, make_run, location, root):
    """One slash at the end is not doubled, as in MLflow's `append_to_uri_path`."""
    experiment, _ = await experiments.create(NewExperiment("a", location))
    run = await make_run(experiment_id=experiment.experiment_id)
    assert experiment.artifact_location == location
    assert run.artifact_uri == f"{root}/{run.run_id}/artifacts"
