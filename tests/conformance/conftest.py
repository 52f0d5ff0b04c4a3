"""The two servers that scenarios run against: MLflow's own and ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.mlflow_server import MlflowServer

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read by MLflow when it is first imported; a retry of what a server refuses by mistake must not take minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The worker's real MLflow server."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow-server"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
