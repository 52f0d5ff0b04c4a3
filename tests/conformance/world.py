"""What a scenario works with: one server through MLflow's own client, and a notebook of what was seen."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class World:
    """One server and the names that are the scenario's own there.

    Args:
        url: the server, for MLflow's client.
        label: makes names unique on the server; the same for both servers.
        folder: an empty folder of this run of the scenario.
    """

    def __init__(self, url: str, label: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.client = MlflowClient(tracking_uri=url, registry_uri=url)
        self.seen: list[tuple[str, Any]] = []
        self._label = label

    def name(self, base: str) -> str:
        """A name of this scenario alone."""
        return f"{base}-{self._label}"

    def experiment(self, base: str = "experiment") -> str:
        """Id of a new experiment."""
        experiment_id: str = self.client.create_experiment(self.name(base))
        return experiment_id

    def see(self, what: str, value: Any) -> Any:
        """Note what the server showed; it must be the same on both."""
        self.seen.append((what, value))
        return value

    def refused(self, what: str, call: Callable[[], Any], *, text: bool = False) -> None:
        """Note how a call is refused, or what it returns when it is not.

        Args:
            what: names it in the notebook.
            call: what is expected to be refused.
            text: the message must be the same too.
        """
        try:
            self.seen.append((what, call()))
        except MlflowException as error:
            found = [type(error).__name__, error.error_code]
            self.seen.append((what, [*found, str(error)] if text else found))

    def send(self, what: str, method: str, path: str, *, text: bool = False, **request: Any) -> Any:
        """Send a request past the client and note status, error code and JSON answer."""
        answer = requests.request(method, self.url + path, timeout=60, **request)
        body: Any = None
        with contextlib.suppress(ValueError):
            body = answer.json()
        if isinstance(body, dict) and "error_code" in body:
            kept = ("error_code", "message") if text else ("error_code",)
            body = {key: body[key] for key in kept}
        self.seen.append((what, [answer.status_code, body]))
        return body

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Let the fluent API (`mlflow.log_metric` and its kin) talk to this server."""
        before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
        mlflow.set_tracking_uri(self.url)
        mlflow.set_registry_uri(self.url)
        try:
            yield
        finally:
            while mlflow.active_run() is not None:
                mlflow.end_run()
            mlflow.set_tracking_uri(before[0])
            mlflow.set_registry_uri(before[1])
