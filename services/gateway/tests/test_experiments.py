"""Experiments through MLflow's REST API."""

import requests


def test_an_experiment_is_created(gateway_url: str) -> None:
    answer = requests.post(f"{gateway_url}/api/2.0/mlflow/experiments/create", json={"name": "created over REST"})
    assert answer.status_code == 200
    assert answer.json()["experiment_id"].isdigit()


def test_a_name_is_required(gateway_url: str) -> None:
    answer = requests.post(f"{gateway_url}/ajax-api/2.0/mlflow/experiments/create", json={})
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "Missing value for required parameter 'name'" in answer.json()["message"]
