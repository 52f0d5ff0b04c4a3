"""Search of logged models: MLflow's grammar, metrics of any value and of datasets, orders with their ties, pages."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest
from runstream_common.errors import InvalidArgument
from runstream_common.search.problems import InvalidFilter, InvalidOrderBy, InvalidPageToken
from runstream_metadata.experiments import NewExperiment
from runstream_metadata.logged_model_entities import LoggedModelStatus, ModelMetric, NewLoggedModel
from runstream_metadata.logged_models import LoggedModels
from runstream_metadata.search import DatasetScope, LoggedModelOrder, LoggedModelSearch

NAMES = ("forest", "Forest", "linear", "net")


@pytest.fixture
def models(database, clock) -> LoggedModels:
    return LoggedModels(database, clock)


@pytest.fixture
async def zoo(models, make_run):
    """Four models, each created a millisecond after the one before; the last has no metric "acc"."""
    run = await make_run()
    made = {}
    for number, name in enumerate(NAMES):
        new = NewLoggedModel(
            model_id=f"m-{number:032x}",
            experiment_id=0,
            name=name,
            model_type="Agent" if number % 2 else "",
            source_run_id=run.run_id if number == 0 else "",
            creation_time_ms=1_000 + number,
            params={},
            tags={},
        )
        made[name], _ = await models.create(
            new, [("depth", str(number)), ("a b", "x")], [("team", "red" if number < 2 else "blue")]
        )

    async def point(name, value, timestamp_ms, dataset="", digest="", step=0):
        await models.log_metrics(
            [ModelMetric(made[name].model_id, run.run_id, "acc", value, step, timestamp_ms, dataset, digest)]
        )

    await point("forest", 0.9, 1)
    await point("forest", 0.2, 2, "test", "d1")
    await point("Forest", 0.5, 1, "train", "d2")
    await point("linear", math.nan, 1)
    await models.set_status(made["net"].model_id, LoggedModelStatus.READY)
    return SimpleNamespace(models=made, run=run)


@pytest.fixture
def names(models, zoo):
    async def search(filter_text="", *order, **fields):
        found, token = await models.search(
            LoggedModelSearch(
                **{"experiment_ids": [0], **fields}, filter_text=filter_text, order_by=list(order)
            )
        )
        assert token == ""
        return [model.name for model in found]

    return search


@pytest.mark.parametrize(
    ("filter_text", "expected"),
    [
        ("", "net linear Forest forest"),
        ("name = 'forest'", "forest"),
        ("attributes.name != 'forest'", "net linear Forest"),
        ("name LIKE 'for%'", "forest"),
        ("name ilike 'FOR%'", "Forest forest"),
        ("name IN ('net', 'linear')", "net linear"),
        ("name NOT IN ('net', 'linear')", "Forest forest"),
        (f"model_id = 'm-{2:032x}'", "linear"),
        ("model_id LIKE 'm-%2'", "linear"),
        ("model_type = 'Agent'", "net Forest"),
        ("source_run_id != ''", "forest"),
        # MLflow compares the status by its number.
        ("status = '2'", "net"),
        ("status != '2'", "linear Forest forest"),
        ("status = 'READY'", ""),
        ("status IN ('1', '2')", "net linear Forest forest"),
        ("creation_time >= 1002", "net linear"),
        ("attributes.creation_timestamp < 1001.5", "Forest forest"),
        ("creation_timestamp_ms = 1000 AND last_updated_timestamp <= 1000", "forest"),
        ("params.depth = '1'", "Forest"),
        ("params.`a b` = 'x' and params.depth != '1' AND ", "net linear forest"),
        ("params.missing != 'x'", ""),
        ("tags.team IN ('blue')", "net linear"),
        # Any value that was ever logged counts.
        ("metrics.acc > 0.8", "forest"),
        ("metrics.acc < 0.3", "forest"),
        ("metrics.acc > 0.4", "Forest forest"),
        ("metrics.acc != 0.5", "linear forest"),
        ("metrics.missing > 0", ""),
    ],
)
async def test_filters(names, filter_text, expected):
    assert await names(filter_text) == expected.split()


@pytest.mark.parametrize(
    ("filter_text", "datasets", "expected"),
    [
        ("metrics.acc > 0.1", [DatasetScope("test")], "forest"),
        ("metrics.acc > 0.8", [DatasetScope("test")], ""),
        ("metrics.acc > 0.1", [DatasetScope("test"), DatasetScope("train", "d2")], "Forest forest"),
        ("metrics.acc > 0.1", [DatasetScope("train", "other")], ""),
        ("", [DatasetScope("train")], "Forest"),
        ("name = 'forest'", [DatasetScope("train")], ""),
    ],
)
async def test_datasets_limit_metrics(names, filter_text, datasets, expected):
    assert await names(filter_text, datasets=datasets) == expected.split()


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([LoggedModelOrder("creation_timestamp")], "forest Forest linear net"),
        ([LoggedModelOrder("name")], "Forest forest linear net"),
        ([LoggedModelOrder("model_type", descending=True)], "net Forest linear forest"),
        ([LoggedModelOrder("status", descending=True)], "net linear Forest forest"),
        ([LoggedModelOrder("model_id")], "forest Forest linear net"),
        # The newest point counts; NaN comes after the numbers, and a missing value last.
        ([LoggedModelOrder("metrics.acc")], "forest Forest linear net"),
        ([LoggedModelOrder("metrics.acc", descending=True)], "Forest forest linear net"),
        (
            [LoggedModelOrder("metrics.acc", descending=True, dataset=DatasetScope("test", "d1"))],
            "forest net linear Forest",
        ),
        (
            [LoggedModelOrder("metrics.acc", dataset=DatasetScope("train"))],
            "Forest net linear forest",
        ),
    ],
)
@pytest.mark.parametrize("page_size", [4, 1])
async def test_orders_hold_across_pages(models, zoo, order, expected, page_size):
    found, token = [], ""
    while True:
        search = LoggedModelSearch([0], order_by=order, page_size=page_size, page_token=token)
        page, token = await models.search(search)
        found += [model.name for model in page]
        if not token:
            break
    assert found == expected.split()


@pytest.mark.parametrize(
    "filter_text",
    [
        "name = 'a' OR name = 'b'",
        "(name = 'a')",
        "nothing = 'x'",
        "attribute.name = 'x'",
        "metric.acc > 1",
        "metrics.acc = 'x'",
        "metrics.acc LIKE '1'",
        "creation_time = '1'",
        "name > 'a'",
        "tags.a IS NULL",
        " ",
    ],
)
async def test_other_filters_are_refused(names, filter_text):
    with pytest.raises(InvalidFilter):
        await names(filter_text)


@pytest.mark.parametrize(
    "field_name", ["", "nothing", "last_updated_time", "params.a", "attributes.name", "metrics."]
)
async def test_other_orders_are_refused(names, field_name):
    with pytest.raises(InvalidOrderBy):
        await names("", LoggedModelOrder(field_name))


async def test_a_token_belongs_to_its_search(models, zoo):
    search = LoggedModelSearch([0], page_size=1)
    _, token = await models.search(search)
    for other in (
        dataclasses.replace(search, page_token=token, filter_text="name != 'x'"),
        dataclasses.replace(search, page_token=token, order_by=[LoggedModelOrder("name")]),
        dataclasses.replace(search, page_token=token, datasets=[DatasetScope("test")]),
        dataclasses.replace(search, page_token="x"),
    ):
        with pytest.raises(InvalidPageToken):
            await models.search(other)


async def test_a_dataset_needs_a_name(models):
    with pytest.raises(InvalidArgument) as refused:
        await models.search(LoggedModelSearch([0], datasets=[DatasetScope("", "d")]))
    assert refused.value.violations[0].field == "datasets[0].dataset_name"


async def test_deleted_models_and_other_experiments_are_not_found(models, zoo, names, experiments):
    other, _ = await experiments.create(NewExperiment("other"))
    await models.delete(zoo.models["net"].model_id)

    assert await names() == ["linear", "Forest", "forest"]
    assert await names(experiment_ids=[other.experiment_id, 4711]) == []
    assert len(await names(experiment_ids=[other.experiment_id, 0, 0])) == 3
