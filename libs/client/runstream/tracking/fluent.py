"""The functions of the package: one server a process, and the run that is active."""

from __future__ import annotations

import atexit
import os
import threading
from contextvars import ContextVar
from multiprocessing import util as multiprocessing_util
from typing import TYPE_CHECKING, SupportsFloat

from runstream_common.errors import FailedPrecondition

from runstream.connection import grpc_was_used
from runstream.tracking.exits import exit_code, on_sigterm, unhandled_error, watch_exit_code
from runstream.tracking.run import FLUSH_TIMEOUT_SECONDS, Run
from runstream.tracking.session import Session, prepare_child_after_fork
from runstream.tracking.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from runstream.query.results import Position
    from runstream.tracking.exits import Status
    from runstream.tracking.sender import FlushResult

_EXIT_GRACE_SECONDS = 15.0

_lock = threading.RLock()
_session: Session | None = None
_sigterm_is_watched = False

# Each thread and task has its own stack of active runs, so that parallel jobs in one process do not meet; a thread that
# started none logs to the run that was started last.
_stack: ContextVar[tuple[Run, ...]] = ContextVar("runstream_runs", default=())
_last_started: list[Run] = []


def init(
    url: str | None = None,
    *,
    experiment: str | None = None,
    spool_dir: str | Path | None = None,
    system_metrics: bool | None = None,
    system_metrics_interval_seconds: float | None = None,
    capture: bool | None = None,
) -> None:
    """Choose the server and change settings for this process. Without it the environment decides at first use.

    Nothing is sent yet, and no server needs to be there.

    Args:
        url: "host:port" of any service; None takes RUNSTREAM_URL, or else localhost:5050.
        experiment: experiment of runs that name none; RUNSTREAM_EXPERIMENT.
        spool_dir: where data waits while the server is away; RUNSTREAM_SPOOL_DIR.
        system_metrics: whether CPU, memory, disk, network and GPU are sampled; RUNSTREAM_SYSTEM_METRICS.
        system_metrics_interval_seconds: RUNSTREAM_SYSTEM_METRICS_INTERVAL_SECONDS.
        capture: whether git state, command line and packages become tags; RUNSTREAM_CAPTURE.

    Raises:
        InvalidArgument: the address or a setting cannot be read.
        FailedPrecondition: a run is open.
    """
    global _session
    overrides = {
        "experiment": experiment,
        "spool_dir": None if spool_dir is None else _path(spool_dir),
        "system_metrics": system_metrics,
        "system_metrics_interval_seconds": system_metrics_interval_seconds,
        "capture": capture,
    }
    fresh = Session(url, Settings.load(overrides))
    with _lock:
        if _session is not None and _session.open_runs():
            raise FailedPrecondition("end the open runs before init", reason="RUN_OPEN")
        previous, _session = _session, fresh
    if previous is not None:
        previous.close()


def session() -> Session:
    """The process's session; made from the environment when `init` was not called."""
    global _session  # noqa: PLW0603 - one server a process
    with _lock:
        if _session is None:
            _session = Session(None, Settings.load())
        return _session


def start_run(
    experiment: str = "",
    run_name: str = "",
    *,
    experiment_id: str = "",
    run_id: str = "",
    nested: bool = False,
    parent_run_id: str = "",
    tags: Mapping[str, object] | None = None,
    system_metrics: bool | None = None,
) -> Run:
    """Start a run and make it the active one; use it in a `with` statement, or call `end_run`.

    When the server cannot be reached the run begins offline, and everything is sent when it is back.

    Args:
        experiment: name; made when there is none. Empty means RUNSTREAM_EXPERIMENT, or else "Default".
        run_name: name; empty lets the server make one.
        experiment_id: id instead of the name.
        run_id: id for the run, 32 lowercase hexadecimal characters; the run of that id is continued when there is one.
        nested: make it a child of the active run.
        parent_run_id: make it a child of another run.
        tags: tags to begin with.
        system_metrics: overrides the setting for this run.

    Raises:
        FailedPrecondition: a run is active and `nested` is false.
        PlatformError: the server refused it.
    """
    global _sigterm_is_watched  # noqa: PLW0603 - a fact about the process
    active = _innermost()
    if active is not None and not nested and not parent_run_id:
        raise FailedPrecondition(
            f"run {active.run_id} is active; end it first, or pass nested=True", reason="RUN_ACTIVE"
        )
    with _lock:
        watch_exit_code()
        if not _sigterm_is_watched and threading.current_thread() is threading.main_thread():
            on_sigterm(_kill_runs)
            _sigterm_is_watched = True
    parent = parent_run_id or (active.run_id if nested and active is not None else "")
    run = session().start_run(
        experiment=experiment,
        experiment_id=experiment_id,
        beside=active if nested else None,
        run_name=run_name,
        run_id=run_id,
        parent_run_id=parent,
        tags=tags,
        system_metrics=system_metrics,
    )
    _stack.set((*_open(_stack.get()), run))
    with _lock:
        _last_started[:] = [*_open(_last_started), run]
    return run


def attach_run(run_id: str) -> Run:
    """Log to a run that another process started and will end: workers of a job, spawned processes.

    The run does not become the active one; use its methods.

    Raises:
        InvalidArgument: the id has the wrong form.
    """
    return session().attach_run(run_id)


def active_run() -> Run | None:
    """The run that `log_metric` and the like log to: this thread's innermost, or else the one started last."""
    run = _innermost()
    if run is None:
        for run in reversed(_last_started):
            if not run.ended:
                return run
        return None
    return run


def end_run(status: Status = "FINISHED", *, reason: str = "") -> FlushResult | None:
    """End the active run; see `Run.end`. None when there is none."""
    run = active_run()
    return None if run is None else run.end(status, reason=reason)


def log_metric(
    key: str, value: SupportsFloat, step: int | None = None, timestamp_ms: int | None = None
) -> None:
    """Log one point to the active run; see `Run.log_metric`."""
    require_run().log_metric(key, value, step, timestamp_ms)


def log_metrics(
    metrics: Mapping[str, SupportsFloat], step: int | None = None, timestamp_ms: int | None = None
) -> None:
    """Log a point of several keys to the active run; see `Run.log_metrics`."""
    require_run().log_metrics(metrics, step, timestamp_ms)


def log_series(
    key: str,
    values: npt.ArrayLike,
    steps: npt.ArrayLike | None = None,
    timestamps_ms: npt.ArrayLike | None = None,
) -> None:
    """Log many points of one key to the active run; see `Run.log_series`."""
    require_run().log_series(key, values, steps, timestamps_ms)


def log_param(key: str, value: object) -> None:
    """Log a param of the active run; see `Run.log_params`."""
    require_run().log_param(key, value)


def log_params(params: Mapping[str, object]) -> None:
    """Log params of the active run; see `Run.log_params`."""
    require_run().log_params(params)


def set_tag(key: str, value: object) -> None:
    """Set a tag of the active run; see `Run.set_tags`."""
    require_run().set_tag(key, value)


def set_tags(tags: Mapping[str, object]) -> None:
    """Set tags of the active run; see `Run.set_tags`."""
    require_run().set_tags(tags)


def log_input(
    name: str,
    digest: str,
    *,
    source_type: str = "local",
    source: object = "",
    schema: object = "",
    profile: object = "",
    context: str = "",
    tags: Mapping[str, object] | None = None,
) -> None:
    """Record a dataset that the active run uses; see `Run.log_input`."""
    require_run().log_input(
        name,
        digest,
        source_type=source_type,
        source=source,
        schema=schema,
        profile=profile,
        context=context,
        tags=tags,
    )


def flush(timeout_seconds: float = FLUSH_TIMEOUT_SECONDS) -> FlushResult:
    """Wait until the server has what all open runs have logged, or until it is on disk; see `Run.flush`."""
    return session().flush(timeout_seconds)


def server_target() -> str | None:
    """The "host:port" that this process logs to; None when it has not logged and `init` was not called."""
    return None if _session is None else _session.connection.target


def written_positions() -> list[Position]:
    """Where everything that the server has acknowledged to this process ends on the bus; for reads that must see it."""
    return [] if _session is None else _session.sender.positions()


def close() -> None:
    """End the open runs and the session, as at the end of the process. A later call starts anew."""
    global _session
    with _lock:
        ending, _session = _session, None
    if ending is None:
        return
    error = unhandled_error()
    for run in ending.open_runs():
        run.end_at_exit(error, exit_code())
    ending.close()


def _close_at_exit() -> None:
    """`close` that cannot hang: a signal handler's exception may have left gRPC locked for ever."""
    ending = _session
    if ending is None:
        return
    closing = threading.Thread(target=close, name="runstream-close", daemon=True)
    try:
        closing.start()
    except RuntimeError:  # from Python 3.12 on, no thread starts while the process ends
        close()
        return
    closing.join(timeout=2 * ending.settings.exit_timeout_seconds + _EXIT_GRACE_SECONDS)
    if closing.is_alive():
        ending.sender.salvage()


def require_run() -> Run:
    """The active run.

    Raises:
        FailedPrecondition: there is none.
    """
    run = active_run()
    if run is None:
        raise FailedPrecondition("no run is active; call start_run first", reason="NO_ACTIVE_RUN")
    return run


def _innermost() -> Run | None:
    for run in reversed(_stack.get()):
        if not run.ended:
            return run
    return None


def _open(runs: list[Run] | tuple[Run, ...]) -> list[Run]:
    return [run for run in runs if not run.ended]


def _kill_runs() -> None:
    if _session is not None:
        for run in _session.open_runs():
            run.mark_killed("SIGTERM")


def _path(given: str | Path) -> Path:
    from pathlib import Path  # noqa: PLC0415 - at run time needed only here

    return Path(given)


def _after_fork_in_parent() -> None:
    if _session is not None and grpc_was_used():
        _session.sender.replayer.watch_children()
        _session.sender.start()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 - the parent's may be held by a thread that is not here
    _lock = threading.RLock()
    prepare_child_after_fork()
    if _session is not None:
        _session.forget_after_fork()


def _close_child() -> None:
    # Children of multiprocessing leave without atexit handlers.
    multiprocessing_util.Finalize(None, close, exitpriority=0)


atexit.register(_close_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
    multiprocessing_util.register_after_fork(_close_child, lambda register: register())
