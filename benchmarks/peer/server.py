"""MLflow's tracking server as a child process."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import AbstractContextManager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import psutil

from benchmarks.peer.environment import ensure_environment
from benchmarks.peer.http import PeerClient, PeerError, connect

_START_SECONDS = 120.0  # the first start on an empty database runs all of MLflow's migrations
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.1


class MlflowServer:
    """`mlflow server` (uvicorn) on a free port of 127.0.0.1, with its tables in a given database.

    Use as a context manager. What would slow the peer and is no part of the comparison is off:
    telemetry, background job runner, access log.
    """

    host = "127.0.0.1"

    def __init__(self, database_url: str, *, workers: int = 2) -> None:
        """Prepare a server; `start` starts it.

        Args:
            database_url: `postgresql://…` (a driver suffix is dropped). The database must exist.
            workers: Server processes.
        """
        self.database_url = _plain_url(database_url)
        self.workers = workers
        self.port = 0
        self._folder = tempfile.TemporaryDirectory(prefix="mlflow-peer-")
        self._log = Path(self._folder.name) / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The tracking URI."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            PeerError: it ended or did not answer in time; the message ends with its log.
        """
        python = ensure_environment()
        self.port = _free_port()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(python),
                env=_environment(),
                cwd=self._folder.name,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that stop() reaches the workers too
            )
        try:
            self._wait_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and its workers; harmless when it is not running."""
        process, self._process = self._process, None
        if process is not None:
            _end_group(process)
        self._folder.cleanup()

    def connect(self) -> AbstractContextManager[PeerClient]:
        """Return a client of this server, closed when its `with` block ends."""
        return connect(self.host, self.port)

    def create_experiment(self, name: str) -> str:
        """Create an experiment and return its id."""
        with self.connect() as client:
            return str(client.post("experiments/create", {"name": name})["experiment_id"])

    def resident_bytes(self) -> list[int]:
        """Return the resident memory of each worker process, in bytes, largest first.

        The launcher and uvicorn's supervisor, which serve nothing, are left out.
        """
        if self._process is None:
            raise PeerError("the server is not running")
        sizes = []
        for child in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if any("spawn_main" in part for part in child.cmdline()):
                    sizes.append(child.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        return sorted(sizes, reverse=True)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _command(self, python: Path) -> list[str]:
        return [
            *(str(python), "-m", "mlflow", "server"),
            *("--host", self.host, "--port", str(self.port), "--workers", str(self.workers)),
            *("--backend-store-uri", self.database_url.replace("postgresql:", "postgresql+psycopg:", 1)),
            *("--artifacts-destination", f"{self._folder.name}/artifacts"),
            *("--uvicorn-opts", "--no-access-log"),
        ]

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if process.poll() is not None:
                raise PeerError(f"mlflow server ended with {process.returncode}:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise PeerError(f"mlflow server not ready in {_START_SECONDS:g} s:\n{self._log_tail()}")
            time.sleep(_POLL_SECONDS)

    def _answers(self) -> bool:
        connection = HTTPConnection(self.host, self.port, timeout=5.0)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]


def _environment() -> dict[str, str]:
    """Return the caller's environment without MLflow settings that could change the measurement."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    for foreign in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
        kept.pop(foreign, None)
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def _plain_url(database_url: str) -> str:
    """Return the URL that both psycopg (through SQLAlchemy) and asyncpg take."""
    parts = urlsplit(database_url)
    if parts.scheme.split("+")[0] not in {"postgresql", "postgres"}:
        raise ValueError(f"not a PostgreSQL URL: scheme {parts.scheme!r}")
    return urlunsplit(parts._replace(scheme="postgresql"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((MlflowServer.host, 0))
        port: int = probe.getsockname()[1]
        return port


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the launcher to stop, then make sure that nothing of its process group is left."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        with suppress(ProcessLookupError):  # the usual case: all workers went with the launcher
            os.killpg(process.pid, signal.SIGKILL)
