"""A run to put files into, and paths sent as they are written."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import requests

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
LARGE = bytes(range(256)) * 4096 * 3 + b"end"
"""More than goes with one call."""


@dataclass(frozen=True)
class Run:
    """A run of its own experiment."""

    url: str
    experiment_id: str
    run_id: str

    @property
    def root(self) -> str:
        """Path of its files in the proxy's tree."""
        return f"{self.experiment_id}/{self.run_id}/artifacts"

    def at(self, path: str) -> str:
        """URL of a file."""
        return f"{self.url}{PROXY}/{self.root}/{path}"

    def put(self, path: str, content: bytes) -> None:
        """Store a file."""
        answer = requests.put(self.at(path), data=content, timeout=60)
        assert answer.status_code == 200, answer.text

    def listed(self, path: str = "") -> list[dict[str, Any]]:
        """A directory by the proxy."""
        below = f"{self.root}/{path}" if path else self.root
        answer = requests.get(self.url + PROXY, params={"path": below}, timeout=60)
        assert answer.status_code == 200, answer.text
        files: list[dict[str, Any]] = answer.json().get("files", [])
        return files

    def names(self, path: str = "") -> list[str]:
        """Names in a directory."""
        return [file["path"] for file in self.listed(path)]


def new_run(url: str) -> Run:
    """A run of an experiment that no other test has."""
    name = f"files {uuid.uuid4().hex}"
    created = requests.post(f"{url}/api/2.0/mlflow/experiments/create", json={"name": name}, timeout=60)
    experiment_id = created.json()["experiment_id"]
    body = {"experiment_id": experiment_id}
    run = requests.post(f"{url}/api/2.0/mlflow/runs/create", json=body, timeout=60).json()["run"]
    return Run(url, experiment_id, run["info"]["run_id"])


def send_raw(method: str, url: str, path: str, content: bytes | None = None) -> requests.Response:
    """Send a path exactly as written: nothing is normalised on the way."""
    prepared = requests.Request(method, url, data=content).prepare()
    prepared.url = url + path
    with requests.Session() as session:
        return session.send(prepared, timeout=60)
