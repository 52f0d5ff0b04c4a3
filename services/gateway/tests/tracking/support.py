"""Talks to a gateway as MLflow's clients do, and with requests that none of them would send."""

from __future__ import annotations

import uuid
from typing import Any

import requests

_TIMEOUT_SECONDS = 60


class Rest:
    """MLflow's REST API of one server, without MLflow's client."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        """Any request; the path is relative to /api/2.0/mlflow/ unless it begins with a slash."""
        address = self.url + (path if path.startswith("/") else f"/api/2.0/mlflow/{path}")
        if body is not None:
            options["json"] = body
        return self._session.request(method, address, timeout=_TIMEOUT_SECONDS, **options)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """The answer to a request that goes well."""
        return _well(self.send("POST", path, body))

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The answer to a request that goes well."""
        return _well(self.send("GET", path, params=query))

    def refused(self, path: str, method: str = "POST", **body: Any) -> tuple[int, str, str]:
        """Status, error code and text of the answer to a request with this body (of a GET: this query)."""
        if method == "GET":
            return refusal(self.send(method, path, params=body))
        return refusal(self.send(method, path, body))

    def experiment(self, name: str = "", **more: Any) -> str:
        """Id of a new experiment."""
        created = self.post("experiments/create", name=name or uuid.uuid4().hex, **more)
        experiment_id: str = created["experiment_id"]
        return experiment_id

    def run(self, experiment_id: str, **more: Any) -> str:
        """Id of a new run."""
        created = self.post("runs/create", experiment_id=experiment_id, **more)
        run_id: str = created["run"]["info"]["run_id"]
        return run_id

    def model(self, experiment_id: str, **more: Any) -> str:
        """Id of a new logged model."""
        created = self.post("logged-models", experiment_id=experiment_id, **more)
        model_id: str = created["model"]["info"]["model_id"]
        return model_id


def refusal(answer: requests.Response) -> tuple[int, str, str]:
    """Status, error code and text of an answer that is an error."""
    body = answer.json()
    return answer.status_code, body["error_code"], body["message"]


def pairs(items: list[dict[str, str]]) -> dict[str, str]:
    """Params or tags by key."""
    return {item["key"]: item["value"] for item in items}


def _well(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body
