"""A run as training code sees it."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Self, SupportsFloat

from runstream_common.errors import FailedPrecondition, InvalidArgument, PlatformError
from runstream_contract.limits import MAX_PARAMS_PER_BATCH, MAX_TAGS_PER_BATCH
from runstream_contract.names import key_problem
from runstream_proto.metadata.v1.run_service_pb2 import LogBatchRequest, LogInputsRequest, UpdateRunRequest
from runstream_proto.metadata.v1.types_pb2 import Dataset, DatasetInput, KeyValue, RunStatus

from runstream.series import series_of_arrays
from runstream.tracking.batches import encode_batches
from runstream.tracking.exits import ending_of
from runstream.tracking.operations import log_batch_record, log_inputs_record, update_run_record
from runstream.tracking.progress import FlushProgress
from runstream.tracking.run_artifacts import RunArtifacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    import numpy.typing as npt

    from runstream.query.results import Position
    from runstream.tracking.exits import Status
    from runstream.tracking.segments import Record
    from runstream.tracking.sender import FlushResult, RunQueue, Sender
    from runstream.tracking.session import Session

log = logging.getLogger("runstream")

FLUSH_TIMEOUT_SECONDS = 30.0
# A process that was told to stop gets killed soon; what is not sent by then is on disk.
KILL_TIMEOUT_SECONDS = 5.0
MAX_REASON_CHARS = 8_000
_CAPTURE_TIMEOUT_SECONDS = 10.0


class Run(RunArtifacts):
    """A run that is logged to; made by `start_run` and `attach_run`. Thread-safe.

    As a context manager it ends as FINISHED, as FAILED with the exception's text, or as KILLED on KeyboardInterrupt
    and SIGTERM.

    Attributes:
        run_id: 32 lowercase hexadecimal characters.
        name: name; empty while the server, which makes it, has not been reached.
        experiment: name of the experiment; empty when it was given by id.
        experiment_id: id of the experiment; empty when it was given by name.
        parent_run_id: run it is nested in; empty at the top.
    """

    def __init__(
        self,
        session: Session,
        queue: RunQueue,
        *,
        name: str = "",
        experiment: str = "",
        experiment_id: str = "",
        parent_run_id: str = "",
        owns: bool = True,
    ) -> None:
        self.run_id = queue.delivery.run_id
        self.name = name
        self.experiment = experiment
        self.experiment_id = experiment_id
        self.parent_run_id = parent_run_id
        self._session = session
        self._queue = queue
        self._append = queue.buffer.append
        self._owner_pid = os.getpid() if owns else -1
        self._end_lock = threading.RLock()
        self._ended: FlushResult | None = None
        self._killed_by = ""
        self._capture: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Run(run_id={self.run_id!r}, name={self.name!r}, experiment={self.experiment!r})"

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended is not None

    @property
    def owned(self) -> bool:
        """Whether this process started the run, and so ends it."""
        return self._owner_pid == os.getpid()

    def positions(self) -> tuple[Position, ...]:
        """Where the acknowledged points end on the bus; for reads that must see them."""
        return self._queue.result().positions

    def result(self) -> FlushResult:
        """What became of the points so far, without waiting."""
        return self._queue.result()

    @property
    def last_refusal(self) -> PlatformError | None:
        """Why the server last refused data of the run for good."""
        return self._queue.delivery.last_refusal

    def log_metric(
        self, key: str, value: SupportsFloat, step: int | None = None, timestamp_ms: int | None = None
    ) -> None:
        """Log one point. Takes about a microsecond, never waits for the network.

        Args:
            key: metric key (MLflow's rule).
            value: anything that converts to float; NaN and infinities are kept.
            step: any int64; None numbers the points of the key that came without a step: 0, 1, 2…
            timestamp_ms: milliseconds since the Unix epoch, 0 or greater; None means now.

        Raises:
            InvalidArgument: an argument breaks a rule; names it.
            FailedPrecondition: the run has ended.
        """
        if self._ended is not None:
            raise _has_ended(self.run_id)
        self._append(key, value, step, timestamp_ms)

    def log_metrics(
        self,
        metrics: Mapping[str, SupportsFloat],
        step: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Log a point of several keys with one step and time; see `log_metric`."""
        if self._ended is not None:
            raise _has_ended(self.run_id)
        now_ms = time.time_ns() // 1_000_000 if timestamp_ms is None else timestamp_ms
        for key, value in metrics.items():
            self._append(key, value, step, now_ms)

    def log_series(
        self,
        key: str,
        values: npt.ArrayLike,
        steps: npt.ArrayLike | None = None,
        timestamps_ms: npt.ArrayLike | None = None,
    ) -> None:
        """Log many points of one key at once, without work per point. The arrays are copied.

        Args:
            key: metric key.
            values: shape (n,), converts to float64.
            steps: shape (n,), int64; None goes on numbering as `log_metric` does.
            timestamps_ms: shape (n,) or a single number, milliseconds since the Unix epoch, 0 or greater; None means
                now for all.

        Raises:
            InvalidArgument: an argument breaks a rule; names it.
            FailedPrecondition: the run has ended.
        """
        if self._ended is not None:
            raise _has_ended(self.run_id)
        series = series_of_arrays(self._queue.buffer, key, values, steps, timestamps_ms)
        self._queue.delivery.submit(encode_batches(self.run_id, [series]))

    def log_param(self, key: str, value: object) -> None:
        """Log a param; see `log_params`."""
        self.log_params({key: value})

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log params: stored as text, immutable. While the server is away they wait in the spool.

        Raises:
            InvalidArgument: a key breaks the rule, or a param has another value already.
            PlatformError: the server refused them.
        """
        for part in _parts(params, "params", MAX_PARAMS_PER_BATCH):
            self._perform(log_batch_record(LogBatchRequest(run_id=self.run_id, params=part)))

    def set_tag(self, key: str, value: object) -> None:
        """Set a tag; see `set_tags`."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags: stored as text, the last value wins. While the server is away they wait in the spool.

        Raises:
            InvalidArgument: a key breaks the rule.
            PlatformError: the server refused them.
        """
        for part in _parts(tags, "tags", MAX_TAGS_PER_BATCH):
            self._perform(log_batch_record(LogBatchRequest(run_id=self.run_id, tags=part)))

    def log_input(
        self,
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
        """Record a dataset that the run uses.

        Args:
            name: at most 500 characters; with the digest it identifies the dataset in the experiment.
            digest: at most 36 characters.
            source_type: kind of source, such as "local" or "s3".
            source: where it came from; anything but text is stored as JSON.
            schema: schema; anything but text is stored as JSON.
            profile: profile, such as row counts; anything but text is stored as JSON.
            context: what for, such as "training"; becomes the tag mlflow.data.context.
            tags: further tags of the link.

        Raises:
            PlatformError: the server refused it.
        """
        link_tags = {**({"mlflow.data.context": context} if context else {}), **(tags or {})}
        dataset = Dataset(
            name=name,
            digest=digest,
            source_type=source_type,
            source=_text(source),
            schema=_text(schema),
            profile=_text(profile),
        )
        pairs = [KeyValue(key=key, value=str(value)) for key, value in link_tags.items()]
        request = LogInputsRequest(run_id=self.run_id, datasets=[DatasetInput(dataset=dataset, tags=pairs)])
        self._perform(log_inputs_record(request))

    def flush(self, timeout_seconds: float = FLUSH_TIMEOUT_SECONDS) -> FlushResult:
        """Wait until the server has everything that was logged, or until it is on disk because the server is away.

        In a forked child of a process that uses gRPC it returns when everything is on disk; the parent sends it.

        Returns:
            What became of the points. Look at `complete`: nothing is dropped without being counted there.
        """
        self._session.sender.flush([self._queue], timeout_seconds)
        return self._queue.result()

    def end(
        self, status: Status = "FINISHED", *, reason: str = "", timeout_seconds: float | None = None
    ) -> FlushResult:
        """End the run after everything that was logged has arrived or is on disk. Repeating it changes nothing.

        In a process that did not start the run (a forked child, `attach_run`) it only flushes.

        Args:
            status: FINISHED, FAILED or KILLED.
            reason: why, shown with the run; at most 8,000 characters, cut.
            timeout_seconds: longest wait; None takes RUNSTREAM_EXIT_TIMEOUT_SECONDS.

        Returns:
            What became of the points.
        """
        with self._end_lock:
            if self._ended is None:
                timeout = self._session.settings.exit_timeout_seconds
                self._finish(status, reason, timeout if timeout_seconds is None else timeout_seconds)
                self._ended = self._queue.result()
                self._session.ended(self)
        return self._ended

    def mark_killed(self, reason: str) -> None:
        """Bring everything to safety and mark the run KILLED, within seconds: the process was told to stop.

        The run can still be logged to: an earlier signal handler may decide to go on.

        Args:
            reason: such as "SIGTERM".
        """
        self._killed_by = reason
        with self._end_lock:
            if self._ended is None:
                self._finish("KILLED", reason, KILL_TIMEOUT_SECONDS)

    def end_at_exit(self, error: BaseException | None, exit_code: object = None) -> None:
        """End the run as the way the process ends tells.

        Args:
            error: exception that ends it, if any.
            exit_code: what sys.exit was called with, if it was.
        """
        status, reason = ending_of(error, exit_code)
        if self._killed_by and (error is None or isinstance(error, SystemExit | KeyboardInterrupt)):
            status, reason = "KILLED", self._killed_by
        self.end(status, reason=reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, trace
        if error is None and self._killed_by:
            self._killed_by = ""  # a handler decided to go on, and the work came to its end
        self.end_at_exit(error)

    def watch_capture(self, capture: threading.Thread) -> None:
        """Wait for these tags before the run ends."""
        self._capture = capture

    def forget_after_fork(self) -> None:
        """Start anew in a forked child."""
        self._end_lock = threading.RLock()
        self._capture = None

    def _begin_artifacts(self) -> None:
        if self._ended is not None:
            raise _has_ended(self.run_id)
        if self._queue.delivery.creation is not None:
            # It began offline; files can be stored when the server knows it.
            self.flush(self._session.settings.request_timeout_seconds)

    def _perform(self, record: Record) -> None:
        if self._ended is not None:
            raise _has_ended(self.run_id)
        self._queue.delivery.perform(record)

    def _finish(self, status: Status, reason: str, timeout_seconds: float) -> None:
        end_time_ms = time.time_ns() // 1_000_000
        sender = self._session.sender
        if self._capture is not None:
            self._capture.join(timeout=min(timeout_seconds, _CAPTURE_TIMEOUT_SECONDS))
        flushed = self._flush_with_progress(sender, timeout_seconds)
        if not self.owned:
            return
        if not flushed:
            self._queue.delivery.start_spooling(f"not everything was sent within {timeout_seconds:g} s")
        request = UpdateRunRequest(
            run_id=self.run_id,
            status=RunStatus.Value(f"RUN_STATUS_{status}"),
            end_time_ms=end_time_ms,
            status_reason=reason[:MAX_REASON_CHARS],
        )
        try:
            self._queue.delivery.perform(update_run_record(request))
        except PlatformError as error:
            # Training is over and its result must not be hidden by ours.
            log.warning("run %s could not be marked %s: %s", self.run_id, status, error)

    def _flush_with_progress(self, sender: Sender, timeout_seconds: float) -> bool:
        with FlushProgress(lambda: self._queue.result().pending_points) as progress:
            return sender.flush([self._queue], timeout_seconds, progress.update)


def _parts(given: Mapping[str, object], field: str, size: int) -> Iterator[list[KeyValue]]:
    for key in given:
        problem = key_problem(key) if isinstance(key, str) else "must be str"
        if problem is not None:
            raise InvalidArgument.of(f"{field}[{key!r:.300}]", problem)
    pairs = [KeyValue(key=key, value=str(value)) for key, value in given.items()]
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _has_ended(run_id: str) -> FailedPrecondition:
    return FailedPrecondition(f"run {run_id} has ended", reason="RUN_ENDED", metadata={"run_id": run_id})
