"""Where the data of one run goes: straight to the server, or to the spool while the server is away.

While anything of a run lies in the spool, everything of that run goes there, so that it arrives in order. The
background replay ends that state when the spool is empty.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.errors import PlatformError

from runstream.tracking.bus_positions import Positions
from runstream.tracking.operations import is_retryable, perform
from runstream.tracking.replay import keep_rejected
from runstream.tracking.segments import Record, RecordKind
from runstream.tracking.spool import SpoolFull, SpoolWriter, segments_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from runstream_proto.common.v1.position_pb2 import BusPosition

    from runstream.connection import Connection
    from runstream.tracking.batches import Batch
    from runstream.tracking.spool import SpoolBudget
    from runstream.tracking.stream import MetricStream

log = logging.getLogger("runstream")


@dataclass(slots=True)
class Counters:
    """Points of one run by what became of them."""

    acknowledged: int = 0
    spooled: int = 0
    """On disk, not yet acknowledged."""
    rejected: int = 0
    dropped: int = 0
    lost_records: int = 0
    """Params, tags, inputs or ends that could be neither sent nor spooled."""


class RunDelivery:
    """Delivery of one run's data; thread-safe.

    Args:
        run_id: run.
        run_dir: folder of the run in the spool.
        connection: where to.
        stream: the process's metric stream.
        budget: bound of the spool.
        family: see SpoolWriter.
        timeout_seconds: longest wait of one call.
        relayed: this process must not use gRPC (it was forked); a parent sends what it spools.
    """

    def __init__(
        self,
        run_id: str,
        run_dir: Path,
        connection: Connection,
        stream: MetricStream,
        budget: SpoolBudget,
        family: str,
        timeout_seconds: float,
        *,
        relayed: bool = False,
    ) -> None:
        self.run_id = run_id
        self.run_dir = run_dir
        self.connection = connection
        self.lock = threading.RLock()
        self.counters = Counters()
        self.positions = Positions()
        self.pending_points = 0  # in memory: queued or under way
        self.spooling = relayed
        self.relayed = relayed
        self.last_refusal: PlatformError | None = None
        """Why the server last refused something for good."""
        self.creation: Record | None = None
        """How to create the run, until the server is known to have it."""
        self._stream = stream
        self._budget = budget
        self._family = family
        self._timeout_seconds = timeout_seconds
        self._writer: SpoolWriter | None = None
        self._warned: set[str] = set()

    @property
    def spool_directory(self) -> Path | None:
        """Folder of what this process has spooled for the run; None when there is none."""
        return self._writer.directory if self._writer else None

    def submit(self, batches: Iterable[Batch]) -> None:
        """Hand over batches; blocks for memory or disk only."""
        for batch in batches:
            with self.lock:
                if not self.spooling:
                    self.pending_points += batch.points
                    if self._stream.put(batch):
                        continue
                    self.pending_points -= batch.points
                    self.start_spooling("the server is slower than this run")
                self._spool(Record(RecordKind.METRICS, batch.data, batch.points))

    def perform(self, record: Record) -> bool:
        """Send anything but metrics now, or spool it when the server is away.

        Returns:
            Whether the server has taken it; False means that it is in the spool, or was dropped and counted.

        Raises:
            PlatformError: the server refused it for good.
        """
        if not self.spooling:
            try:
                perform(self.connection, record, self._timeout_seconds)
            except PlatformError as error:
                if not is_retryable(error):
                    raise
                self.start_spooling(str(error))
            else:
                return True
        with self.lock:
            if self.spooling:
                self._spool(record)
                return False
        return self.perform(record)  # the replay has just caught up

    def start_spooling(self, why: str) -> None:
        """Send everything to the spool from now on, what waits in memory first."""
        with self.lock:
            if self.spooling:
                return
            self.spooling = True
            # A server that comes and goes is worth one warning, not one for each time.
            level = logging.INFO if "spooling" in self._warned else logging.WARNING
            self._warned.add("spooling")
            log.log(
                level, "run %s: %s; data is kept in %s until it can be sent", self.run_id, why, self.run_dir
            )
            for batch in self._stream.take_unsent(self.run_id):
                self.take_back(batch)

    def take_back(self, batch: Batch) -> None:
        """Spool a batch that was handed to the stream and not acknowledged."""
        with self.lock:
            self.start_spooling("the connection was lost")
            self.pending_points -= batch.points
            self._spool(Record(RecordKind.METRICS, batch.data, batch.points))

    def acknowledged(self, batch: Batch, topic: str, partition: int, offset: int) -> None:
        """The stream reports that a batch is durable, and where it lies on the bus."""
        with self.lock:
            self.pending_points -= batch.points
            self.counters.acknowledged += batch.points
            self.positions.advance(topic, partition, offset)

    def refused(self, batch: Batch, error: PlatformError) -> None:
        """The stream reports that the server refused a batch for good."""
        with self.lock:
            self.pending_points -= batch.points
            record = Record(RecordKind.METRICS, batch.data, batch.points)
            try:
                self._budget.reserve(len(batch.data))
                keep_rejected(self.run_dir, record, error)
            except (OSError, SpoolFull) as problem:
                self._drop(record, problem)
            else:
                self.count_rejected(record, error)

    def count_rejected(self, record: Record, error: PlatformError) -> None:
        """Count what the server refused for good; the first of a kind is worth a warning."""
        self.counters.rejected += record.points
        self.last_refusal = error
        if error.reason not in self._warned:
            self._warned.add(error.reason)
            log.warning(
                "run %s: the server refused %s for good (%s: %s); kept in %s",
                *(self.run_id, record.kind.name, error.reason, error.message, self.run_dir / "rejected"),
            )

    def replayed(self, record: Record, position: BusPosition | None) -> None:
        """The replay reports that the server has taken a record, and where metrics lie on the bus."""
        with self.lock:
            if position is not None:
                self.positions.advance(position.topic, position.partition, position.offset)
            self.counters.spooled -= record.points
            self.counters.acknowledged += record.points
            if record.kind is RecordKind.CREATE_RUN:
                self.creation = None

    def replay_refused(self, record: Record, error: PlatformError) -> None:
        """The replay reports that the server refused a record for good."""
        with self.lock:
            self.counters.spooled -= record.points
            self.count_rejected(record, error)

    def seal(self) -> None:
        """Let what was spooled so far be replayed."""
        with self.lock:
            if self._writer is not None:
                self._try_disk(self._writer.seal)

    def sync(self) -> None:
        """Bring the spool to the disk itself when that is due."""
        with self.lock:
            if self._writer is not None:
                self._try_disk(self._writer.sync)

    def resume_if_empty(self) -> bool:
        """Send straight to the server again if the spool is empty; says whether it is so now."""
        with self.lock:
            if self._writer is not None:
                self._try_disk(self._writer.seal)
                if segments_of(self._writer.directory):
                    return False
                self._close_writer()
            # What a torn or dropped record cost is no longer on disk.
            self.counters.dropped += self.counters.spooled
            self.counters.spooled = 0
            self.spooling = self.relayed
            return not self.spooling

    def open_spool(self) -> None:
        """Spool the run's creation, so that it exists before anything of it is logged."""
        with self.lock:
            try:
                self._open_writer()
            except (OSError, SpoolFull) as problem:
                self._drop(self.creation or Record(RecordKind.CREATE_RUN, b""), problem)

    def close(self) -> None:
        """Leave what is spooled to whoever replays it next."""
        with self.lock:
            self._close_writer()

    def forget_after_fork(self, budget: SpoolBudget) -> None:
        """Start anew in a forked child: what was logged so far is the parent's to deliver."""
        self.lock = threading.RLock()
        self._budget = budget
        if self._writer is not None:
            self._writer.abandon_after_fork()
            self._writer = None
        self.counters = Counters()
        self.positions = Positions()
        self.pending_points = 0
        self.spooling = self.relayed = True

    def _spool(self, record: Record) -> None:
        try:
            writer = self._open_writer()
            writer.append(record)
        except (OSError, SpoolFull) as problem:
            self._drop(record, problem)
        else:
            self.counters.spooled += record.points

    def _open_writer(self) -> SpoolWriter:
        if self._writer is None:
            writer = SpoolWriter(self.run_dir, self._family, self._budget)
            try:
                if self.creation is not None:
                    writer.append(self.creation)
            except SpoolFull:
                writer.close()
                raise
            self._writer = writer
        return self._writer

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._try_disk(self._writer.close)
            self._writer = None

    def _drop(self, record: Record, problem: Exception) -> None:
        self.counters.dropped += record.points
        self.counters.lost_records += record.kind is not RecordKind.METRICS
        if "dropped" not in self._warned:
            self._warned.add("dropped")
            log.warning(
                "run %s: %s of %d points was lost: %s",
                *(self.run_id, record.kind.name, record.points, problem),
            )

    def _try_disk(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as problem:
            log.warning("run %s: the spool cannot be written: %s", self.run_id, problem)
