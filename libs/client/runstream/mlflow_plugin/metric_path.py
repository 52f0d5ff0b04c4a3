"""The way of metrics from MLflow's client to the ingest service: the SDK's buffer, stream and spool.

A run takes it once the server is known to have it and to take points; until then, and for everything that is not
plainly valid, the caller goes over REST, where the server says what is wrong in MLflow's words.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from multiprocessing import process as multiprocessing_process
from multiprocessing import util as multiprocessing_util
from typing import TYPE_CHECKING
from weakref import WeakSet

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)
from runstream_common.errors import NotFound, PlatformError
from runstream_contract.names import key_problem

from runstream.connection import grpc_was_used
from runstream.tracking.exits import on_sigterm
from runstream.tracking.run import FLUSH_TIMEOUT_SECONDS, KILL_TIMEOUT_SECONDS
from runstream.tracking.session import Session
from runstream.tracking.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlflow.entities import Metric

    from runstream.tracking.run import Run

log = logging.getLogger("runstream")

RETRY_SECONDS = 30.0
"""How long metrics go over REST after the gRPC services could not be reached."""
MAX_OPEN_RUNS = 1_000
"""Runs of a process that are buffered at a time; the oldest makes room. A run that is never ended stays open."""
_INT64 = range(-(2**63), 2**63)


class MetricPath:
    """Buffered metrics of the runs of one gateway; thread-safe.

    Args:
        find: returns the gRPC address, None when the gateway knows of none; raises MlflowException when it is away.
    """

    def __init__(self, find: Callable[[], str | None]) -> None:
        self._find = find
        self._start_anew()
        _paths.add(self)

    def _start_anew(self) -> None:
        self._lock = threading.RLock()
        self._flush_lock = threading.RLock()
        self._session: Session | None = None
        self._runs: dict[str, Run] = {}
        self._keys: set[str] = set()
        self._losses: dict[str, int] = {}
        self._unflushed = False
        self._try_at = 0.0

    def can_take(self, run_id: str, metrics: Sequence[Metric]) -> bool:
        """Whether `take` would buffer the points now."""
        return run_id in self._runs and all(map(self._is_plain, metrics))

    def take(self, run_id: str, metrics: Sequence[Metric]) -> bool:
        """Buffer points of a run that was admitted; False, and nothing is buffered, when they must go over REST."""
        run = self._runs.get(run_id)
        if run is None or not all(map(self._is_plain, metrics)):
            return False
        try:
            for point in metrics:
                run.log_metric(point.key, point.value, point.step, point.timestamp)
        except PlatformError:  # another thread has just ended the run
            return False
        self._unflushed = True  # after the points: a flush that clears it has seen them
        return True

    def open_to(self, run_id: str) -> bool:
        """Whether points of a run come this way, or may after the server has taken the first of them."""
        return run_id in self._runs or time.monotonic() >= self._try_at

    def admit(self, run_id: str) -> None:
        """Let the points of a run that the server takes points of come this way from now on, if there is one."""
        if run_id in self._runs or time.monotonic() < self._try_at:
            return
        with self._lock:
            session = self._session or self._open()
            if session is None:
                return
            if len(self._runs) >= MAX_OPEN_RUNS:
                self.release(next(iter(self._runs)))
            self._runs[run_id] = session.attach_run(run_id)

    def release(self, run_id: str) -> None:
        """Send what waits of a run and forget it; later points of it go over REST until it is admitted again.

        Raises:
            MlflowException: points were refused or lost.
        """
        with self._lock:
            run = self._runs.pop(run_id, None)
        if run is not None:
            run.end(timeout_seconds=FLUSH_TIMEOUT_SECONDS)  # not ours to end: it flushes
            self._report(run)
            self._losses.pop(run_id, None)

    def flush(self, timeout_seconds: float = FLUSH_TIMEOUT_SECONDS) -> None:
        """Wait until the server has every point that was taken before, or it is on disk because the server is away.

        Raises:
            MlflowException: points were refused or lost.
        """
        with self._flush_lock:
            if not self._unflushed or self._session is None:
                return
            self._unflushed = False
            self._session.flush(timeout_seconds)
            for run in list(self._runs.values()):
                self._report(run)

    def close(self) -> None:
        """Send what is left, as at the end of the process; points that come later go over REST."""
        with self._lock:
            session, self._session = self._session, None
            self._runs, self._try_at = {}, float("inf")
        if session is not None:
            for run in session.open_runs():
                run.end()
            session.close()

    def after_fork_in_child(self) -> None:
        """Start anew: what waits is the parent's to send. gRPC does not survive a fork; then REST serves the child."""
        _left_behind.append((self._session, self._runs))
        self._start_anew()
        if grpc_was_used():
            self._try_at = float("inf")

    def _is_plain(self, metric: Metric) -> bool:
        """Whether a point is valid at first sight and belongs to no logged model."""
        return (
            isinstance(metric.value, float | int)
            and type(metric.timestamp) is int
            and 0 <= metric.timestamp in _INT64
            and type(metric.step) is int
            and metric.step in _INT64
            and metric.model_id is None
            and (metric.key in self._keys or self._is_key(metric.key))
            and not isinstance(metric.value, bool)
        )

    def _is_key(self, key: object) -> bool:
        if not isinstance(key, str) or key_problem(key) is not None:
            return False
        self._keys.add(key)
        return True

    def _open(self) -> Session | None:
        self._try_at = time.monotonic() + RETRY_SECONDS
        try:
            address = self._find()
            if address is None:
                self._try_at = float("inf")
                return None
            session = Session(address, Settings.load())
            session.connection.deployment().target("ingest")
        except (MlflowException, PlatformError) as error:
            log.warning(
                "metrics go over HTTP, one request a call: the gRPC services cannot be reached: %s", error
            )
            return None
        self._try_at = 0.0
        self._session = session
        _watch_the_end()
        return session

    def _report(self, run: Run) -> None:
        """Raise what became of points that are lost to the server, once."""
        result = run.result()
        lost = result.rejected_points + result.dropped_points
        if lost <= self._losses.get(run.run_id, 0):
            return
        self._losses[run.run_id] = lost
        self._runs.pop(run.run_id, None)  # the next point asks the server, which says what is wrong
        refusal = run.last_refusal
        raise MlflowException(
            f"{lost} points of run {run.run_id} were not stored: {refusal or 'buffer and disk are full'}",
            error_code=_code_of(refusal),
        )


_paths: WeakSet[MetricPath] = WeakSet()
# A forked child never frees its copies of the parent's sessions: they hold locks of threads that are not there.
_left_behind: list[object] = []
_sigterm_is_watched = False


def close_all() -> None:
    """Send what every path of the process still holds."""
    for path in list(_paths):
        path.close()


def _flush_all() -> None:
    for path in list(_paths):
        try:
            path.flush(KILL_TIMEOUT_SECONDS)
        except MlflowException as error:
            log.warning("%s", error)


def _watch_the_end() -> None:
    global _sigterm_is_watched  # noqa: PLW0603 - a fact about the process
    if not _sigterm_is_watched and threading.current_thread() is threading.main_thread():
        on_sigterm(_flush_all)
        _sigterm_is_watched = True
    if multiprocessing_process.parent_process() is not None:
        # Children of multiprocessing leave without atexit handlers.
        multiprocessing_util.Finalize(None, close_all, exitpriority=0)


def _code_of(refusal: PlatformError | None) -> int:
    if refusal is None:
        return int(TEMPORARILY_UNAVAILABLE)
    return int(RESOURCE_DOES_NOT_EXIST if isinstance(refusal, NotFound) else INVALID_PARAMETER_VALUE)


def _after_fork_in_child() -> None:
    for path in list(_paths):
        path.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
