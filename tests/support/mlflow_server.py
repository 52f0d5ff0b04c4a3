"""A real MLflow tracking server over sqlite, as a process of its own, to compare with."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import psutil

from deploy.local.process import free_port

if TYPE_CHECKING:
    from pathlib import Path

READY_SECONDS = 110.0
_POLL_SECONDS = 0.1


class MlflowServer:
    """`mlflow server` with one worker; stores and files lie in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What a client takes as its tracking URI."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def store_uri(self) -> str:
        """The database behind it, for readers that go past the server."""
        return f"sqlite:///{self._directory / 'mlflow.db'}"

    def start(self) -> None:
        """Start and block until it answers. Raises RuntimeError with its log when it does not."""
        log = self._directory / "mlflow-server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                    *("--host", "127.0.0.1", "--port", str(self._port)),
                    *("--backend-store-uri", self.store_uri),
                    *("--artifacts-destination", str(self._directory / "artifacts")),
                ],
                env={
                    **os.environ,
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                },
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mlflow server is not ready\n{log.read_text()[-4000:]}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End it with its workers."""
        if self._process is None:
            return
        try:
            family = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in family:
            if child.is_running():
                child.kill()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
