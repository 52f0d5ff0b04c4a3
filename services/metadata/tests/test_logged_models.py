"""Logged models: created once, write-once params, tags, metrics filed once, deleted softly."""

from __future__ import annotations

import asyncio
import dataclasses
import math

import pytest
from runstream_common.errors import InvalidArgument
from runstream_metadata.entities import LifecycleStage
from runstream_metadata.errors import (
    ExperimentDeleted,
    ExperimentNotFound,
    LoggedModelIdTaken,
    LoggedModelNotFound,
    LoggedModelTagNotFound,
    ModelParamExists,
    RunDeleted,
    RunNotFound,
)
from runstream_metadata.experiments import NewExperiment
from runstream_metadata.logged_model_entities import LoggedModelStatus, ModelMetric, NewLoggedModel
from runstream_metadata.logged_models import LoggedModels
from runstream_metadata.store import logged_model_queries

UNKNOWN = f"m-{'0' * 32}"
PLAIN = NewLoggedModel(
    model_id="",
    experiment_id=0,
    name="forest",
    model_type="",
    source_run_id="",
    creation_time_ms=0,
    params={},
    tags={},
)


@pytest.fixture
def models(database, clock) -> LoggedModels:
    return LoggedModels(database, clock)


@pytest.fixture
def create(models):
    async def make(params=(), tags=(), **overrides):
        model, _ = await models.create(dataclasses.replace(PLAIN, **overrides), params, tags)
        return model

    return make


async def test_a_new_model_is_pending_and_has_its_place_under_the_experiment(models, experiments, clock):
    experiment, _ = await experiments.create(NewExperiment("vision", "s3://bucket/vision/"))
    model, created = await models.create(
        dataclasses.replace(
            PLAIN, experiment_id=experiment.experiment_id, model_type="Agent", source_run_id="r"
        ),
        [("b", "2"), ("a", "1")],
        [("t", "1"), ("t", "2")],
    )

    assert created
    assert model.model_id.startswith("m-")
    assert model.artifact_uri == f"s3://bucket/vision/models/{model.model_id}/artifacts"
    assert (model.status, model.creation_time_ms) == (LoggedModelStatus.PENDING, clock.now_ms())
    assert list(model.params.items()) == [("a", "1"), ("b", "2")]
    assert model.tags == {"t": "2"}
    assert await models.get(model.model_id) == model


async def test_a_model_without_a_name_gets_one(create):
    assert (await create(name="")).name


async def test_the_same_id_again_returns_the_model_that_is_there(models, create, experiments):
    model = await create(params=[("a", "1")])
    again, created = await models.create(
        dataclasses.replace(PLAIN, model_id=model.model_id, name="other"), [], []
    )
    assert (again, created) == (model, False)

    other, _ = await experiments.create(NewExperiment("other"))
    with pytest.raises(LoggedModelIdTaken):
        await create(model_id=model.model_id, experiment_id=other.experiment_id)


async def test_it_needs_an_active_experiment(create, experiments):
    with pytest.raises(ExperimentNotFound):
        await create(experiment_id=4711)
    gone, _ = await experiments.create(NewExperiment("gone"))
    await experiments.delete(gone.experiment_id)
    with pytest.raises(ExperimentDeleted):
        await create(experiment_id=gone.experiment_id)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        *(({"name": f"a{sign}b"}, "name") for sign in "/:.%\"'"),
        ({"name": "n" * 501}, "name"),
        ({"model_id": "m-1"}, "model_id"),
        ({"creation_time_ms": -1}, "creation_time_ms"),
        ({"model_type": "x" * 501}, "model_type"),
        ({"params": [("a", "1"), ("a", "1")]}, "params[1].key"),
        ({"params": [("", "1")]}, "params[0].key"),
        ({"tags": [("k" * 256, "1")]}, "tags[0].key"),
    ],
)
async def test_wrong_fields_are_named(create, wrong, field):
    with pytest.raises(InvalidArgument) as refused:
        await create(**wrong)
    assert [violation.field for violation in refused.value.violations] == [field]


async def test_params_are_write_once_and_all_or_nothing(models, create):
    model = await create(params=[("lr", "0.1")])
    await models.log_params(model.model_id, [("depth", "3")])

    with pytest.raises(ModelParamExists) as refused:
        await models.log_params(model.model_id, [("new", "1"), ("lr", "0.1")])
    assert [violation.field for violation in refused.value.violations] == ["params['lr']"]
    assert (await models.get(model.model_id)).params == {"depth": "3", "lr": "0.1"}


async def test_tags_are_set_and_deleted(models, create):
    model = await create()
    changed = await models.set_tags(model.model_id, [("a", "1"), ("b", ""), ("a", "2")])
    assert changed.tags == {"a": "2", "b": ""}

    await models.delete_tag(model.model_id, "a")
    assert (await models.get(model.model_id)).tags == {"b": ""}
    with pytest.raises(LoggedModelTagNotFound):
        await models.delete_tag(model.model_id, "a")


async def test_parallel_tags_in_different_orders_all_succeed(models, create):
    model = await create()
    keys = [f"k{number}" for number in range(40)]
    await asyncio.gather(
        *(
            models.set_tags(model.model_id, [(key, str(turn)) for key in (keys if turn % 2 else keys[::-1])])
            for turn in range(8)
        )
    )
    assert set((await models.get(model.model_id)).tags) == set(keys)


async def test_finalizing_sets_status_and_time(models, create, clock):
    model = await create()
    clock.advance(5)
    ready = await models.set_status(model.model_id, LoggedModelStatus.READY)

    assert ready.status is LoggedModelStatus.READY
    assert ready.last_update_time_ms == clock.now_ms() > ready.creation_time_ms


async def test_a_deleted_model_is_hidden_but_not_gone(models, create):
    model = await create()
    await models.delete(model.model_id)
    await models.delete(model.model_id)

    with pytest.raises(LoggedModelNotFound):
        await models.get(model.model_id)
    kept = await models.get(model.model_id, allow_deleted=True)
    assert kept.lifecycle_stage is LifecycleStage.DELETED
    # MLflow's store takes writes to deleted models.
    assert (await models.set_tags(model.model_id, [("a", "1")])).tags == {"a": "1"}


@pytest.mark.parametrize("model_id", [UNKNOWN, "no id at all"])
async def test_an_unknown_model_is_not_found(models, model_id, make_run):
    run = await make_run()
    for call in (
        models.get(model_id, allow_deleted=True),
        models.delete(model_id),
        models.set_status(model_id, LoggedModelStatus.READY),
        models.set_tags(model_id, [("a", "1")]),
        models.delete_tag(model_id, "a"),
        models.log_params(model_id, [("a", "1")]),
        models.log_metrics([ModelMetric(model_id, run.run_id, "loss", 1.0, 0, 0)]),
    ):
        with pytest.raises(LoggedModelNotFound):
            await call


async def test_metrics_are_filed_once_with_run_and_dataset(models, create, make_run):
    model, run = await create(), await make_run()
    points = [
        ModelMetric(model.model_id, run.run_id, "loss", value, step, 10 + step, "train", "d1")
        for step, value in enumerate([0.5, math.inf, -0.25])
    ]
    await models.log_metrics(points)
    await models.log_metrics([points[0], dataclasses.replace(points[0], dataset_name="test"), points[0]])

    found = (await models.get(model.model_id)).metrics
    assert [(metric.value, metric.dataset_name) for metric in found] == [
        (0.5, "train"),
        (0.5, "test"),
        (math.inf, "train"),
        (-0.25, "train"),
    ]
    assert {metric.run_id for metric in found} == {run.run_id}


async def test_of_too_many_points_the_newest_are_shown(models, create, make_run, monkeypatch):
    model, other, run = await create(), await create(), await make_run()
    await models.log_metrics(
        [
            ModelMetric(one.model_id, run.run_id, f"k{step % 2}", 1.0, step, 100 - step)
            for one in (model, other)
            for step in range(5)
        ]
    )
    monkeypatch.setattr(logged_model_queries, "MAX_SHOWN_METRICS", 3)
    for one in (model, other):
        found = (await models.get(one.model_id)).metrics
        assert [(metric.key, metric.timestamp_ms) for metric in found] == [
            ("k0", 98),
            ("k0", 100),
            ("k1", 99),
        ]


async def test_a_nan_is_kept_and_is_one_point(models, create, make_run):
    model, run = await create(), await make_run()
    point = ModelMetric(model.model_id, run.run_id, "loss", math.nan, 0, 0)
    await models.log_metrics([point, point])
    [found] = (await models.get(model.model_id)).metrics
    assert math.isnan(found.value)


async def test_metrics_need_an_active_run_and_known_models(models, create, make_run, runs):
    model, run = await create(), await make_run()
    point = ModelMetric(model.model_id, run.run_id, "loss", 1.0, 0, 0)

    with pytest.raises(LoggedModelNotFound) as refused:
        await models.log_metrics([point, dataclasses.replace(point, model_id=UNKNOWN)])
    assert refused.value.metadata["model_id"] == UNKNOWN
    with pytest.raises(RunNotFound):
        await models.log_metrics([dataclasses.replace(point, run_id="0" * 32)])
    await runs.delete(run.run_id)
    with pytest.raises(RunDeleted):
        await models.log_metrics([point])
    # All or nothing.
    assert (await models.get(model.model_id)).metrics == ()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"key": "../up"}, "metrics[1].key"),
        ({"timestamp_ms": -1}, "metrics[1].timestamp_ms"),
        ({"run_id": "x"}, "metrics[1].run_id"),
        ({"dataset_name": "x" * 501}, "metrics[1].dataset_name"),
        ({"dataset_digest": "x" * 37}, "metrics[1].dataset_digest"),
    ],
)
async def test_wrong_points_are_named(models, wrong, field):
    point = ModelMetric(UNKNOWN, "0" * 32, "loss", 1.0, 0, 0)
    with pytest.raises(InvalidArgument) as refused:
        await models.log_metrics([point, dataclasses.replace(point, **wrong)])
    assert [violation.field for violation in refused.value.violations] == [field]
