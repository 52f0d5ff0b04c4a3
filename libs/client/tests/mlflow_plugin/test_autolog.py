"""Autologging, system metrics and files of a real training, by the tracking URI alone."""

from __future__ import annotations

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression


@pytest.fixture
def autolog(experiment):
    mlflow.sklearn.autolog(silent=True)
    yield
    mlflow.sklearn.autolog(disable=True)


def test_sklearn_training_is_logged_with_its_model(autolog):
    rng = np.random.default_rng(7)
    features = rng.normal(size=(80, 3))
    labels = (features[:, 0] > 0).astype(int)
    with mlflow.start_run() as run:
        model = LogisticRegression(C=0.5).fit(features, labels)
        mlflow.log_metric("after", 1.0)
    data = MlflowClient().get_run(run.info.run_id).data
    [logged] = mlflow.search_logged_models([run.info.experiment_id], output_format="list")
    loaded = mlflow.sklearn.load_model(f"models:/{logged.model_id}")

    assert data.params["C"] == "0.5"
    assert data.metrics["after"] == 1.0
    assert 0.5 < data.metrics["training_accuracy_score"] <= 1.0
    assert logged.source_run_id == run.info.run_id
    assert (loaded.predict(features) == model.predict(features)).all()
