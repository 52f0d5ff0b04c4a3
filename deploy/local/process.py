"""Server processes that outlive the command which started them.

Shared by the local Kafka and the local S3 server. A process is remembered by a file with its pid and its start
time, so `down` never signals a stranger that got the same pid later.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LOCAL_DIR = Path(__file__).resolve().parents[2] / ".local"
_POLL_SECONDS = 0.05


class MissingToolError(RuntimeError):
    """A program that the server needs is not installed; the text says which one and how to get it."""


class ServerFailedError(RuntimeError):
    """The server ended, or did not answer in time; the text ends with the tail of its log."""


def require_tool(name: str, *, install: str) -> str:
    """Return the full path of a program. Raises MissingToolError with the advice in `install`."""
    path = shutil.which(name)
    if path is None:
        raise MissingToolError(f"`{name}` is not installed: {install}")
    return path


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file, so that parallel test workers download or build one thing once. Blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class ServerProcess:
    """One background process with a pid file and a log in `directory`."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.log_path = directory / "server.log"
        self._pid_path = directory / "server.pid"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start `command`, detached from the terminal, with its output appended to the log."""
        self._pid_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                list(command),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started = psutil.Process(self._child.pid).create_time()
        self._pid_path.write_text(f"{self._child.pid} {started}\n")

    def find(self) -> psutil.Process | None:
        """Return the running process, also one that another command started; None when there is none."""
        try:
            pid, started = self._pid_path.read_text().split()
            process = psutil.Process(int(pid))
            alive = process.create_time() == float(started) and process.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None
        return process if alive else None

    def wait_ready(self, answers: Callable[[], bool], *, timeout_seconds: float) -> None:
        """Block until `answers()` is true. Raises ServerFailedError when the process ends or the time is up."""
        deadline = time.monotonic() + timeout_seconds
        while not answers():
            if self.find() is None:
                raise ServerFailedError(f"{self.name} ended while starting\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise ServerFailedError(
                    f"{self.name} gave no answer in {timeout_seconds} s\n{self._log_tail()}"
                )
            time.sleep(_POLL_SECONDS)

    def stop(self, *, timeout_seconds: float) -> None:
        """Ask the process to end (SIGTERM), wait, and kill it when the time is up. No process is no error."""
        process = self.find()
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout_seconds)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait()
        self._reap()

    def kill(self) -> None:
        """End the process at once (SIGKILL), as a crash would, and wait until it is gone."""
        process = self.find()
        if process is not None:
            process.kill()
            process.wait()
        self._reap()

    def _reap(self) -> None:
        if self._child is not None:
            self._child.wait()
            self._child = None
        self._pid_path.unlink(missing_ok=True)

    def _log_tail(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join(lines[-30:])
