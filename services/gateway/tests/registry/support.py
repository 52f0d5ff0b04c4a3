"""Raw requests to the registry's endpoints of MLflow's REST API."""

from __future__ import annotations

import uuid
from typing import Any

import requests

PROMPT_TAGS = [
    {"key": "mlflow.prompt.is_prompt", "value": "true"},
    {"key": "mlflow.prompt.text", "value": "Hello {{name}}"},
    {"key": "_mlflow_prompt_type", "value": "text"},
]


class Api:
    """MLflow's REST API of one gateway; ``unique`` begins the names of one test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.unique = f"t{uuid.uuid4().hex[:12]}"
        self._session = requests.Session()

    def ask(self, method: str, path: str, **fields: Any) -> requests.Response:
        """The answer to a request; fields go into the query of a GET and the body of everything else."""
        place = {"params": fields} if method == "GET" else {"json": fields}
        return self._session.request(method, f"{self.url}/api/2.0/mlflow/{path}", **place)

    def ok(self, method: str, path: str, **fields: Any) -> dict[str, Any]:
        """The JSON of an answer that must be 200."""
        answer = self.ask(method, path, **fields)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refused(self, method: str, path: str, **fields: Any) -> tuple[int, str, str]:
        """Status, error code and text of a refusal."""
        answer = self.ask(method, path, **fields)
        body = answer.json()
        return answer.status_code, body["error_code"], body["message"]

    def model(self, suffix: str = "", **fields: Any) -> str:
        """Create a registered model; its name."""
        name = f"{self.unique}{suffix}"
        self.ok("POST", "registered-models/create", name=name, **fields)
        return name

    def version(self, name: str, source: str = "s3://bucket/model", **fields: Any) -> dict[str, Any]:
        """Create a version."""
        answer = self.ok("POST", "model-versions/create", name=name, source=source, **fields)
        version: dict[str, Any] = answer["model_version"]
        return version

    def run(self) -> tuple[str, str]:
        """Create a run; its id and the URI of its artifacts."""
        info = self.ok("POST", "runs/create", experiment_id="0")["run"]["info"]
        return info["run_id"], info["artifact_uri"]
