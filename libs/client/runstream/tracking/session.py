"""A process's connection to one server and everything that works for its runs."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from runstream_common.errors import FailedPrecondition, InvalidArgument, PlatformError
from runstream_contract.ids import new_batch_id, new_run_id
from runstream_contract.names import is_run_id
from runstream_proto.metadata.v1.run_service_pb2 import CreateRunRequest, UpdateRunRequest
from runstream_proto.metadata.v1.types_pb2 import KeyValue, RunStatus

from runstream.connection import Connection, grpc_was_used
from runstream.tracking.buffer import PointBuffer
from runstream.tracking.capture import environment_tags, start_tags, user_name
from runstream.tracking.heartbeat import Heartbeat
from runstream.tracking.operations import create_run, create_run_record, is_retryable, update_run_record
from runstream.tracking.progress import FlushProgress
from runstream.tracking.run import Run
from runstream.tracking.sender import FlushResult, RunQueue, Sender
from runstream.tracking.system_metrics import SystemMetrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream.artifacts.client import Artifacts
    from runstream.tracking.segments import Record
    from runstream.tracking.settings import Settings

log = logging.getLogger("runstream")

DEFAULT_EXPERIMENT_ID = "0"

_family = new_batch_id()
_forked_from_grpc = False


class Session:
    """Everything between the public functions and the threads; thread-safe.

    Args:
        url: see `runstream.connection.target_of`.
        settings: bounds and intervals.
    """

    def __init__(self, url: str | None, settings: Settings) -> None:
        self.settings = settings
        self.connection = Connection(url)
        self.sender = Sender(self.connection, settings, _family, relayed=_forked_from_grpc)
        self._heartbeat = Heartbeat(self.connection, settings.lease_seconds)
        self._system_metrics: dict[str, SystemMetrics] = {}
        self._lock = threading.RLock()
        self._runs: dict[str, tuple[Run, RunQueue]] = {}
        self._artifacts: Artifacts | None = None

    def start_run(
        self,
        *,
        experiment: str = "",
        experiment_id: str = "",
        run_name: str = "",
        run_id: str = "",
        parent_run_id: str = "",
        beside: Run | None = None,
        tags: Mapping[str, object] | None = None,
        system_metrics: bool | None = None,
    ) -> Run:
        """Create a run, or without a server begin it offline. See `runstream.start_run`.

        Args:
            experiment: name.
            experiment_id: id instead of the name.
            run_name: name.
            run_id: id, or empty for a new one.
            parent_run_id: run to nest in.
            beside: run whose experiment is taken when none is named.
            tags: tags to begin with.
            system_metrics: overrides the setting.
        """
        if run_id and not is_run_id(run_id):
            raise InvalidArgument.of("run_id", f"{run_id!r:.100} must be 32 lowercase hexadecimal characters")
        if not experiment and not experiment_id:
            experiment = beside.experiment if beside else self.settings.experiment
            experiment_id = beside.experiment_id if beside else DEFAULT_EXPERIMENT_ID
        request = self._create_request(run_name, run_id or new_run_id(), parent_run_id, tags)
        request.experiment_id = "" if experiment else experiment_id
        record = create_run_record(experiment, request)
        queue = self._open(request.run_id)
        try:
            server_name = self._create(queue, record)
        except PlatformError:
            self.sender.close_run(queue)
            raise
        run = Run(
            self,
            queue,
            name=server_name or run_name,
            experiment=experiment,
            experiment_id=request.experiment_id,
            parent_run_id=parent_run_id,
        )
        with self._lock:
            self._runs[run.run_id] = (run, queue)
        self._heartbeat.add(queue.delivery)
        self._watch(run, self.settings.system_metrics if system_metrics is None else system_metrics)
        return run

    def attach_run(self, run_id: str) -> Run:
        """A run that another process has started and will end. See `runstream.attach_run`."""
        if not is_run_id(run_id):
            raise InvalidArgument.of("run_id", f"{run_id!r:.100} must be 32 lowercase hexadecimal characters")
        with self._lock:
            if run_id in self._runs:
                return self._runs[run_id][0]
            queue = self._open(run_id)
            run = Run(self, queue, owns=False)
            self._runs[run_id] = (run, queue)
        return run

    def ended(self, run: Run) -> None:
        """A run has ended: nothing works for it any longer."""
        self._heartbeat.remove(run.run_id)
        sampler = self._system_metrics.pop(run.run_id, None)
        if sampler is not None:
            sampler.stop()
        with self._lock:
            _, queue = self._runs.pop(run.run_id)
        self.sender.close_run(queue)

    def artifacts(self) -> Artifacts:
        """Files of runs, over the session's connection.

        Raises:
            FailedPrecondition: this is a child that was forked after gRPC had been used, which does not survive it.
        """
        if self.sender.relayed:
            raise FailedPrecondition(
                "files cannot be stored or fetched in a process that was forked after its parent used the server; "
                "spawn it instead (multiprocessing's start method 'spawn')",
                reason="FORKED",
            )
        from runstream.artifacts.client import Artifacts  # noqa: PLC0415 - logging metrics does not pay for HTTP

        with self._lock:
            if self._artifacts is None:
                self._artifacts = Artifacts(self.connection)
            return self._artifacts

    def open_runs(self) -> list[Run]:
        """Runs that have not ended, the last started first."""
        with self._lock:
            return [run for run, _ in reversed(self._runs.values())]

    def flush(self, timeout_seconds: float) -> FlushResult:
        """Flush every open run. See `runstream.flush`."""
        with self._lock:
            queues = [queue for _, queue in self._runs.values()]
        self.sender.flush(queues, timeout_seconds)
        return _sum([queue.result() for queue in queues])

    def close(self) -> None:
        """Send what is left if the server can be reached, and end the threads; the rest waits on disk."""
        self._heartbeat.stop()
        waiting = self.sender.waiting_points
        with FlushProgress(waiting) as progress:
            self.sender.flush_all(self.settings.exit_timeout_seconds, progress.update)
        self.sender.stop()
        left = waiting()
        if left and not self.sender.relayed:  # a forked child's points are the parent's to send
            log.warning(
                "%d points wait in %s until the server is back; `runstream spool flush` sends them",
                *(left, self.settings.spool_dir),
            )
        if self._artifacts is not None:
            self._artifacts.close()
        self.connection.close()

    def forget_after_fork(self) -> None:
        """Start anew in a forked child: it spools, and the parent sends."""
        self._lock = threading.RLock()
        self._system_metrics = {}
        self._heartbeat.forget_after_fork()
        self.sender.forget_after_fork(_family, relayed=_forked_from_grpc)
        for run, _ in self._runs.values():
            run.forget_after_fork()

    def _create_request(
        self, run_name: str, run_id: str, parent_run_id: str, tags: Mapping[str, object] | None
    ) -> CreateRunRequest:
        captured = start_tags() if self.settings.capture else {}
        all_tags = {**captured, **{key: str(value) for key, value in (tags or {}).items()}}
        return CreateRunRequest(
            run_id=run_id,
            run_name=run_name,
            user_id=all_tags.get("mlflow.user") or user_name(),
            start_time_ms=time.time_ns() // 1_000_000,
            lease_ms=int(self.settings.lease_seconds * 1000),
            parent_run_id=parent_run_id,
            tags=[KeyValue(key=key, value=value) for key, value in all_tags.items()],
        )

    def _open(self, run_id: str) -> RunQueue:
        buffer = PointBuffer(self.settings.buffer_points, self.sender.wake)
        return self.sender.open_run(run_id, buffer)

    def _create(self, queue: RunQueue, record: Record) -> str:
        """Create the run now, or in the spool; returns the name the server gave it."""
        delivery = queue.delivery
        delivery.creation = record
        if not delivery.relayed:
            try:
                answer = create_run(self.connection, record, self.settings.request_timeout_seconds)
            except PlatformError as error:
                if not is_retryable(error):
                    raise
                delivery.start_spooling(f"begins offline: {error}")
            else:
                delivery.creation = None
                self._resume(queue, created=answer.created)
                return answer.run.run_name
        delivery.open_spool()
        return ""

    def _resume(self, queue: RunQueue, *, created: bool) -> None:
        if not created:
            running = UpdateRunRequest(run_id=queue.delivery.run_id, status=RunStatus.RUN_STATUS_RUNNING)
            queue.delivery.perform(update_run_record(running))

    def _watch(self, run: Run, system_metrics: bool) -> None:
        if self.settings.capture:
            capture = threading.Thread(target=_capture, args=(run,), name="runstream-capture", daemon=True)
            run.watch_capture(capture)
            capture.start()
        if system_metrics:
            sampler = SystemMetrics(run.log_metrics, self.settings.system_metrics_interval_seconds)
            self._system_metrics[run.run_id] = sampler
            sampler.start()


def prepare_child_after_fork() -> None:
    """Decide in a forked child, before anything else of ours runs there, how it may send."""
    global _family, _forked_from_grpc  # noqa: PLW0603 - facts about the process
    _forked_from_grpc = _forked_from_grpc or grpc_was_used()
    if not _forked_from_grpc:
        _family = new_batch_id()


def _capture(run: Run) -> None:
    try:
        run.set_tags(environment_tags())
    except Exception as error:  # noqa: BLE001 - training goes on without them
        log.warning("run %s: git state and packages are not recorded: %s", run.run_id, error)


def _sum(results: list[FlushResult]) -> FlushResult:
    return FlushResult(
        acknowledged_points=sum(r.acknowledged_points for r in results),
        pending_points=sum(r.pending_points for r in results),
        spooled_points=sum(r.spooled_points for r in results),
        rejected_points=sum(r.rejected_points for r in results),
        dropped_points=sum(r.dropped_points for r in results),
        lost_records=sum(r.lost_records for r in results),
        positions=tuple(position for result in results for position in result.positions),
    )
