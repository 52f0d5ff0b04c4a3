"""A file without content: nothing of it lies in the object store, and its URLs work all the same."""

from __future__ import annotations

import requests


def test_a_signed_url_of_an_empty_file_gives_nothing(gateway_url: str) -> None:
    art = f"{gateway_url}/api/2.0/mlflow-artifacts"
    requests.put(f"{art}/artifacts/empties/a b.txt", data=b"").raise_for_status()
    signed = requests.get(f"{art}/presigned/empties/a b.txt").json()
    assert signed["file_size"] == 0
    answer = requests.get(signed["url"], headers=signed["headers"])
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_signed_url_of_a_runs_empty_file_gives_nothing(gateway_url: str) -> None:
    api = f"{gateway_url}/api/2.0/mlflow"
    created = requests.post(f"{api}/runs/create", json={"experiment_id": "0", "start_time": 1}).json()
    run_id = created["run"]["info"]["run_id"]
    path = f"{gateway_url}/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/a/empty"
    requests.put(path, data=b"").raise_for_status()
    asked = {"run_id": run_id, "path": "a/empty"}
    signed = requests.post(f"{api}/artifacts/presigned-download-url", json=asked).json()
    answer = requests.get(signed["presigned_url"])
    assert (answer.status_code, answer.content) == (200, b"")
