"""Experiments of other deployments keep their ids, times and lifecycle stage."""

from __future__ import annotations

import pytest
from runstream_metadata.entities import LifecycleStage
from runstream_metadata.errors import ExperimentNotFound
from runstream_metadata.experiments import NewExperiment
from runstream_metadata.imports import ForeignExperiment, Imports


@pytest.fixture
def imports(database, clock):
    return Imports(database, clock, artifact_root="mlflow-artifacts:/")


def foreign(name: str, experiment_id: int | None) -> ForeignExperiment:
    return ForeignExperiment(name, experiment_id, "", [("team", "vision")], 1_500_000_000_000)


async def test_free_id_is_kept_and_the_next_experiment_comes_after_it(imports, experiments):
    kept, created = await imports.experiment(foreign("old", 41))
    after, _ = await experiments.create(NewExperiment("new"))

    assert created
    assert kept.experiment_id == 41
    assert kept.artifact_location == "mlflow-artifacts:/41"
    assert kept.creation_time_ms == 1_500_000_000_000
    assert kept.tags == {"team": "vision"}
    assert after.experiment_id == 42


async def test_random_id_of_a_file_store_is_kept_and_not_counted_on_from(imports, experiments):
    kept, _ = await imports.experiment(foreign("old", 987_654_321_987_654_321))
    after, _ = await experiments.create(NewExperiment("new"))

    assert kept.experiment_id == 987_654_321_987_654_321
    assert after.experiment_id == 1


async def test_taken_id_is_replaced(imports, experiments):
    there, _ = await experiments.create(NewExperiment("there"))

    moved, created = await imports.experiment(foreign("old", there.experiment_id))

    assert created
    assert moved.experiment_id == there.experiment_id + 1


async def test_experiment_of_the_name_is_returned_as_it_is(imports, experiments):
    there, _ = await experiments.create(NewExperiment("old"))

    assert await imports.experiment(foreign("old", 77)) == (there, False)


async def test_times_and_stage_are_amended(imports, experiments):
    made, _ = await imports.experiment(foreign("old", 5))

    amended = await imports.amend(
        made.experiment_id,
        stage=LifecycleStage.DELETED,
        creation_time_ms=None,
        last_update_time_ms=1_600_000_000_000,
    )

    assert amended == await experiments.get(5)
    assert amended.lifecycle_stage is LifecycleStage.DELETED
    assert amended.creation_time_ms == 1_500_000_000_000
    assert amended.last_update_time_ms == 1_600_000_000_000


async def test_unknown_experiment_is_not_amended(imports):
    with pytest.raises(ExperimentNotFound):
        await imports.amend(12345, stage=None, creation_time_ms=1, last_update_time_ms=None)
