"""Experiments, runs and logged models as MLflow's own client sees them."""

import uuid
from typing import Any

import pytest
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException, RestException
from mlflow.tracking import MlflowClient


@pytest.fixture
def client(gateway_url: str) -> MlflowClient:
    return MlflowClient(gateway_url)


@pytest.fixture
def experiment_id(client: MlflowClient) -> str:
    created: str = client.create_experiment(uuid.uuid4().hex)
    return created


def test_an_experiment_lives_its_life(client: MlflowClient) -> None:
    name = uuid.uuid4().hex
    assert client.get_experiment_by_name(name) is None
    experiment_id = client.create_experiment(name, tags={"a": "1"})
    client.set_experiment_tag(experiment_id, "b", 2)
    client.rename_experiment(experiment_id, f"{name}-new")
    found = client.get_experiment(experiment_id)
    assert (found.name, found.tags, found.lifecycle_stage) == (f"{name}-new", {"a": "1", "b": "2"}, "active")
    client.delete_experiment_tag(experiment_id, "b")
    client.delete_experiment(experiment_id)
    assert client.get_experiment(experiment_id).lifecycle_stage == "deleted"
    deleted = client.search_experiments(ViewType.DELETED_ONLY, filter_string=f"name LIKE '{name}%'")
    assert [item.experiment_id for item in deleted] == [experiment_id]
    client.restore_experiment(experiment_id)
    assert client.get_experiment_by_name(f"{name}-new").tags == {"a": "1"}
    with pytest.raises(RestException, match="already exists") as refused:
        client.create_experiment(f"{name}-new")
    assert refused.value.error_code == "RESOURCE_ALREADY_EXISTS"


def test_experiments_are_paged(client: MlflowClient) -> None:
    prefix = uuid.uuid4().hex
    for number in range(3):
        client.create_experiment(f"{prefix}-{number}")
    page = client.search_experiments(filter_string=f"name LIKE '{prefix}%'", order_by=["name"], max_results=2)
    rest = client.search_experiments(
        filter_string=f"name LIKE '{prefix}%'", order_by=["name"], max_results=2, page_token=page.token
    )
    assert [item.name[-1] for item in [*page, *rest]] == ["0", "1", "2"]
    assert not rest.token


def test_a_run_lives_its_life(client: MlflowClient, experiment_id: str) -> None:
    run = client.create_run(experiment_id, start_time=5, tags={"team": "x"}, run_name="first")
    run_id = run.info.run_id
    client.log_param(run_id, "lr", 0.1)
    client.log_metric(run_id, "loss", 0.5, timestamp=7, step=3)
    metrics, params, tags = [Metric("acc", 0.9, 8, 4)], [Param("depth", "3")], [RunTag("k", "v")]
    client.log_batch(run_id, metrics, params, tags)
    client.set_tag(run_id, "gone", "1")
    client.delete_tag(run_id, "gone")
    client.update_run(run_id, name="second")
    client.set_terminated(run_id, "FINISHED", end_time=9)
    found = client.get_run(run_id)
    assert (found.info.run_name, found.info.status, found.info.start_time, found.info.end_time) == (
        "second",
        RunStatus.to_string(RunStatus.FINISHED),
        5,
        9,
    )
    assert found.data.params == {"lr": "0.1", "depth": "3"}
    assert found.data.metrics == {"loss": 0.5, "acc": 0.9}
    assert found.data.tags == {"team": "x", "k": "v", "mlflow.runName": "second"}
    assert [(point.value, point.step) for point in client.get_metric_history(run_id, "loss")] == [(0.5, 3)]
    client.delete_run(run_id)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        client.log_param(run_id, "late", 1)
    client.restore_run(run_id)
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_param(run_id, "lr", 0.2)


def test_inputs_and_outputs_are_read_back(client: MlflowClient, experiment_id: str) -> None:
    run_id = client.create_run(experiment_id).info.run_id
    model_id = client.create_logged_model(experiment_id, name="m").model_id
    dataset = Dataset("d", "1", "local", "{}", profile="{}")
    tags = [InputTag("mlflow.data.context", "train")]
    client.log_inputs(run_id, [DatasetInput(dataset, tags)], models=[LoggedModelInput(model_id)])
    client.log_outputs(run_id, [LoggedModelOutput(model_id, step=2)])
    found = client.get_run(run_id)
    [linked] = found.inputs.dataset_inputs
    assert (linked.dataset.name, linked.dataset.profile) == ("d", "{}")
    assert [(tag.key, tag.value) for tag in linked.tags] == [("mlflow.data.context", "train")]
    assert [item.model_id for item in found.inputs.model_inputs] == [model_id]
    assert [(item.model_id, item.step) for item in found.outputs.model_outputs] == [(model_id, 2)]


def test_runs_are_searched(client: MlflowClient, experiment_id: str) -> None:
    runs = [client.create_run(experiment_id, start_time=number).info.run_id for number in range(1, 4)]
    for number, run_id in enumerate(runs):
        client.log_metric(run_id, "score", number)
    found = client.search_runs([experiment_id], "metrics.score >= 1", order_by=["metrics.score DESC"])
    assert [run.info.run_id for run in found] == [runs[2], runs[1]]
    page = client.search_runs([experiment_id], max_results=2)
    rest = client.search_runs([experiment_id], max_results=2, page_token=page.token)
    assert [run.info.run_id for run in [*page, *rest]] == runs[::-1]
    with pytest.raises(RestException) as refused:
        client.search_runs([experiment_id], "metrics.score >= 'x'")
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_logged_model_lives_its_life(client: MlflowClient, experiment_id: str) -> None:
    run_id = client.create_run(experiment_id).info.run_id
    model: Any = client.create_logged_model(
        experiment_id, name="m", source_run_id=run_id, tags={"a": "1"}, params={"p": "1"}, model_type="Agent"
    )
    client.log_metric(run_id, "acc", 0.5, model_id=model.model_id, dataset_name="d", dataset_digest="1")
    client.set_logged_model_tags(model.model_id, {"b": "2"})
    client.delete_logged_model_tag(model.model_id, "a")
    ready = client.finalize_logged_model(model.model_id, "READY")
    assert (ready.status, ready.tags, ready.params) == ("READY", {"b": "2"}, {"p": "1"})
    [metric] = client.get_logged_model(model.model_id).metrics
    assert (metric.key, metric.value, metric.run_id, metric.dataset_name) == ("acc", 0.5, run_id, "d")
    found = client.search_logged_models([experiment_id], filter_string="metrics.acc > 0.1")
    assert [item.model_id for item in found] == [model.model_id]
    client.delete_logged_model(model.model_id)
    with pytest.raises(MlflowException, match="not found"):
        client.get_logged_model(model.model_id)
