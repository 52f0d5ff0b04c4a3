"""Existing MLflow code with our tracking URI: metrics over gRPC, everything seen at once, errors as MLflow's."""

from __future__ import annotations

import math
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.rest_store import RestStore
from mlflow.tracking._tracking_service.utils import _get_store


@pytest.fixture
def rest_metric_calls(monkeypatch):
    """How many metrics went over REST."""
    calls = []
    monkeypatch.setattr(
        RestStore,
        "log_metric",
        lambda self, run_id, metric, original=RestStore.log_metric: (
            calls.append(metric.key),
            original(self, run_id, metric),
        ),
    )
    return calls


def test_tracking_uri_is_what_was_set(tracking_uri):
    assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == tracking_uri
    assert type(_get_store()).__name__ == "RunstreamTrackingStore"


def test_metrics_of_a_new_run_go_over_grpc_and_are_seen_at_once(experiment, rest_metric_calls):
    with mlflow.start_run() as run:
        for step in range(1000):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"acc": 0.5, "nan": math.nan}, step=7)
        seen = mlflow.get_run(run.info.run_id).data.metrics
        history = MlflowClient().get_metric_history(run.info.run_id, "loss")

    assert rest_metric_calls == []
    assert seen["loss"] == 1 / 1000
    assert math.isnan(seen["nan"])
    assert [point.step for point in history] == list(range(1000))
    ended = mlflow.get_run(run.info.run_id)
    assert ended.info.status == "FINISHED"
    assert mlflow.search_runs([run.info.experiment_id], "metrics.acc = 0.5").run_id.tolist() == [
        run.info.run_id
    ]


def test_params_tags_and_metrics_of_a_batch(experiment):
    run = MlflowClient().create_run(
        "0" if not experiment else mlflow.get_experiment_by_name(experiment).experiment_id
    )
    MlflowClient().log_batch(run.info.run_id, [Metric("m", 1.5, 1, 2)], [Param("p", "v")], [RunTag("t", "w")])
    data = MlflowClient().get_run(run.info.run_id).data

    assert (data.metrics, data.params["p"], data.tags["t"]) == ({"m": 1.5}, "v", "w")


def test_refused_params_leave_no_points(experiment):
    with mlflow.start_run() as run:
        mlflow.log_param("p", "1")
        with pytest.raises(MlflowException, match="p"):
            MlflowClient().log_batch(run.info.run_id, [Metric("m", 1.0, 1, 1)], [Param("p", "2")], [])
        assert mlflow.get_run(run.info.run_id).data.metrics == {}


@pytest.mark.parametrize(
    "metric",
    [
        Metric("bad!key", 1.0, 1, 0),
        Metric("m", 1.0, -1, 0),
        Metric("k" * 251, 1.0, 1, 0),
        Metric("../up", 1.0, 1, 0),
    ],
    ids=lambda metric: f"{metric.key[:8]}-{metric.value}-{metric.timestamp}",
)
def test_invalid_metrics_are_refused_at_once_as_over_http(experiment, gateway_url, metric):
    run_id = mlflow.start_run().info.run_id
    plain = MlflowClient(tracking_uri=gateway_url)
    with pytest.raises(MlflowException) as ours:
        MlflowClient().log_batch(run_id, [metric])
    with pytest.raises(MlflowException) as theirs:
        plain.log_batch(run_id, [metric])

    assert (ours.value.error_code, ours.value.message) == (theirs.value.error_code, theirs.value.message)


def test_unknown_and_deleted_runs_are_refused_at_once(experiment):
    with pytest.raises(MlflowException, match="f" * 32):
        MlflowClient().log_metric("f" * 32, "m", 1.0)
    run_id = mlflow.start_run().info.run_id
    mlflow.log_metric("m", 1.0)
    mlflow.end_run()
    MlflowClient().delete_run(run_id)
    with pytest.raises(MlflowException, match="deleted"):
        MlflowClient().log_metric(run_id, "m", 1.0)


def test_points_of_a_run_that_someone_else_deleted_raise_at_the_next_read(experiment, gateway_url):
    client = MlflowClient()
    run_id = client.create_run(mlflow.get_experiment_by_name(experiment).experiment_id).info.run_id
    MlflowClient(tracking_uri=gateway_url).delete_run(run_id)
    client.log_metric(run_id, "m", 2.0)

    with pytest.raises(MlflowException, match="1 points of run"):
        client.get_run(run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    with pytest.raises(MlflowException, match="deleted"):
        client.log_metric(run_id, "m", 3.0)


def test_run_of_another_process_is_checked_by_the_server_first(experiment, gateway_url, rest_metric_calls):
    other = MlflowClient(tracking_uri=gateway_url)
    run_id = other.create_run(mlflow.get_experiment_by_name(experiment).experiment_id).info.run_id
    for step in range(5):
        MlflowClient().log_metric(run_id, "m", step, step=step)

    assert rest_metric_calls == ["m"]
    assert len(MlflowClient().get_metric_history(run_id, "m")) == 5


def test_run_can_be_logged_to_after_its_end(experiment):
    with mlflow.start_run() as run:
        mlflow.log_metric("m", 1.0, step=0)
    for step in range(1, 4):
        MlflowClient().log_metric(run.info.run_id, "m", 1.0, step=step)

    assert len(MlflowClient().get_metric_history(run.info.run_id, "m")) == 4


def test_async_logging_waits_until_points_are_there(experiment, gateway_url):
    with mlflow.start_run() as run:
        operations = [mlflow.log_metric("m", step, step=step, synchronous=False) for step in range(200)]
        mlflow.log_params({"p": 1}, synchronous=False).wait()
        for operation in operations:
            operation.wait()
        seen = MlflowClient(tracking_uri=gateway_url).get_metric_history(run.info.run_id, "m")
        mlflow.flush_async_logging()

    assert len(seen) == 200
    assert mlflow.get_run(run.info.run_id).data.params == {"p": "1"}


def test_metrics_of_a_logged_model_are_filed_under_it(experiment):
    with mlflow.start_run() as run:
        model = mlflow.create_external_model(name="net", source_run_id=run.info.run_id)
        mlflow.log_metric("f1", 0.5, model_id=model.model_id)
        mlflow.log_metric("f1", 0.6, step=1)

    assert [point.value for point in mlflow.get_logged_model(model.model_id).metrics] == [0.5]
    assert len(MlflowClient().get_metric_history(run.info.run_id, "f1")) == 2


def test_files_go_through_the_gateway(experiment, tmp_path):
    with mlflow.start_run() as run:
        mlflow.log_text("hello", "notes/hello.txt")
    path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="notes/hello.txt")

    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert Path(path).read_text() == "hello"


def test_registry_goes_through_the_gateway(experiment):
    name = f"{experiment}-model"
    client = MlflowClient()
    client.create_registered_model(name)
    with mlflow.start_run() as run:
        mlflow.log_text("x", "model/MLmodel")
    version = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias(name, "champion", version.version)

    assert client.get_model_version_by_alias(name, "champion").version == version.version


def test_an_mlflow_server_behind_the_address_gets_plain_rest(store, monkeypatch, experiment):
    class NotFound:
        status_code = 404
        text = ""

    monkeypatch.setattr("runstream.mlflow_plugin.tracking_store.http_request", lambda *_, **__: NotFound())
    run = store.create_run(mlflow.get_experiment_by_name(experiment).experiment_id, "me", 1, [], "by rest")
    store.log_metric(run.info.run_id, Metric("m", 1.0, 1, 0))

    assert not store.metrics.take(run.info.run_id, [Metric("m", 1.0, 2, 0)])
    assert store.get_run(run.info.run_id).data.metrics == {"m": 1.0}


def test_points_logged_just_before_a_deletion_survive_it(experiment):
    with mlflow.start_run() as run:
        for step in range(500):
            mlflow.log_metric("m", step, step=step)
        MlflowClient().delete_run(run.info.run_id)
        MlflowClient().restore_run(run.info.run_id)
        history = MlflowClient().get_metric_history(run.info.run_id, "m")

    assert len(history) == 500
