"""The background half of a process: collects points, sends them, replays what was spooled."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream.tracking.batches import encode_batches
from runstream.tracking.bus_positions import Positions
from runstream.tracking.delivery import RunDelivery
from runstream.tracking.replayer import Replayer
from runstream.tracking.spool import SpoolBudget, server_dir
from runstream.tracking.stream import MetricStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runstream_common.errors import PlatformError

    from runstream.connection import Connection
    from runstream.query.results import Position
    from runstream.tracking.batches import Batch
    from runstream.tracking.buffer import PointBuffer
    from runstream.tracking.settings import Settings

log = logging.getLogger("runstream")

# A thread that was inside log_metric when its run ended has long finished after two rounds.
_ROUNDS_TO_CLOSE = 2
_LOOK_SECONDS = 0.05
# A server counts as away when an attempt fails that was made after this long: gRPC does not see for up to a second
# that one has come back.
AWAY_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class FlushResult:
    """What became of the points that were logged so far. Nothing is lost without being counted here.

    Attributes:
        acknowledged_points: durable on the server.
        pending_points: still in memory: the time was up.
        spooled_points: kept on disk until the server is back.
        rejected_points: refused by the server for good; kept in the spool's folder `rejected`.
        dropped_points: lost, because buffer or spool were full.
        lost_records: params, tags, inputs or ends that could be neither sent nor spooled.
        positions: where the acknowledged points end on the bus; for reads that must see them.
    """

    acknowledged_points: int = 0
    pending_points: int = 0
    spooled_points: int = 0
    rejected_points: int = 0
    dropped_points: int = 0
    lost_records: int = 0
    positions: tuple[Position, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the server has every point."""
        waiting = self.pending_points + self.spooled_points
        return waiting + self.rejected_points + self.dropped_points + self.lost_records == 0


class RunQueue:
    """One run's way through the process: its buffer, its delivery."""

    def __init__(self, buffer: PointBuffer, delivery: RunDelivery) -> None:
        self.buffer = buffer
        self.delivery = delivery
        self.rounds_to_close: int | None = None
        """Rounds of collection without news after which the run is forgotten; None while it is open."""
        self._lock = threading.RLock()

    def drain(self) -> None:
        """Bring what waits in the buffer under way, or to the spool."""
        with self._lock:
            self.delivery.submit(encode_batches(self.delivery.run_id, self.buffer.drain()))
            if self.delivery.relayed:
                self.delivery.seal()
            else:
                self.delivery.sync()

    def settled(self) -> bool:
        """Whether nothing is in memory."""
        return not len(self.buffer) and self.delivery.pending_points == 0

    def result(self) -> FlushResult:
        """The counts as they are now."""
        with self.delivery.lock:
            counters = self.delivery.counters
            return FlushResult(
                acknowledged_points=counters.acknowledged,
                pending_points=len(self.buffer) + self.delivery.pending_points,
                spooled_points=counters.spooled,
                rejected_points=counters.rejected,
                dropped_points=counters.dropped + self.buffer.dropped_points,
                lost_records=counters.lost_records,
                positions=self.delivery.positions.known(),
            )

    def forget_after_fork(self, budget: SpoolBudget) -> None:
        """Start anew in a forked child."""
        self._lock = threading.RLock()
        self.buffer.forget_after_fork()
        self.delivery.forget_after_fork(budget)


class Sender:
    """Background threads and the runs they serve; thread-safe. Threads start with the first run.

    Args:
        connection: where to.
        settings: bounds and intervals.
        family: identity of the process tree: the parent knows by it what it has to send for its children.
        relayed: this process was forked from one that uses gRPC: it spools, and the parent sends.
    """

    def __init__(
        self, connection: Connection, settings: Settings, family: str, *, relayed: bool = False
    ) -> None:
        self.connection = connection
        self.relayed = relayed
        self._family = family
        self._settings = settings
        self._server_dir = server_dir(settings.spool_dir, connection.target)
        self._queues: dict[str, RunQueue] = {}
        self._budget = SpoolBudget(settings.spool_dir, settings.spool_max_bytes)
        self._start_anew()

    def _start_anew(self) -> None:
        self._wake = threading.Event()
        self._lock = threading.RLock()
        self._stopped = False
        self._positions = Positions()  # of runs that are forgotten
        self._collector: threading.Thread | None = None
        self._stream = MetricStream(self.connection, self, self._settings.memory_max_bytes)
        self.replayer = Replayer(self.connection, self._server_dir, self._family)

    def open_run(self, run_id: str, buffer: PointBuffer) -> RunQueue:
        """Begin to serve a run."""
        delivery = RunDelivery(
            run_id,
            self._server_dir / run_id,
            self.connection,
            self._stream,
            self._budget,
            self._family,
            self._settings.request_timeout_seconds,
            relayed=self.relayed,
        )
        queue = RunQueue(buffer, delivery)
        with self._lock:
            self._queues[run_id] = queue
            self.replayer.watch(delivery)
        self.start()
        return queue

    def start(self) -> None:
        """Start the background threads if they do not run."""
        with self._lock:
            if self._collector is None and not self._stopped:
                self._collector = threading.Thread(target=self._collect, name="runstream-sender", daemon=True)
                self._collector.start()
                if not self.relayed:
                    self._stream.start()
                    self.replayer.start()

    def wake(self) -> None:
        """Collect now."""
        self._wake.set()

    def flush(
        self,
        queues: Iterable[RunQueue],
        timeout_seconds: float,
        on_wait: Callable[[], None] = lambda: None,
    ) -> bool:
        """Wait until the server has everything, or it is on disk and the server is away.

        Args:
            queues: runs to flush.
            timeout_seconds: longest wait.
            on_wait: called again and again while waiting, for a progress display.

        Returns:
            False when the time was up first.
        """
        chosen = list(queues)
        deadline = time.monotonic() + timeout_seconds
        for queue in chosen:
            queue.drain()
        self.replayer.retry_now()
        last_attempt_at = time.monotonic() + AWAY_SECONDS
        failures: int | None = None
        while not all(queue.settled() and self._safe(queue, failures) for queue in chosen):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if failures is None and time.monotonic() >= last_attempt_at:
                failures = self.replayer.retry_now()
            on_wait()
            # A short wait at a time: buffers change without notice.
            self.replayer.wait_for_change(min(left, _LOOK_SECONDS))
        return True

    def flush_all(self, timeout_seconds: float, on_wait: Callable[[], None]) -> bool:
        """`flush` of every run and of what forked children have spooled."""
        deadline = time.monotonic() + timeout_seconds
        failures = self.replayer.failures
        if not self.flush(list(self._queues.values()), timeout_seconds, on_wait):
            return False
        while self.replayer.children_pending() and self.replayer.failures == failures:
            if time.monotonic() >= deadline:
                return False
            on_wait()
            self.replayer.wait_for_change(_LOOK_SECONDS)
        return True

    def positions(self) -> list[Position]:
        """Where everything that was acknowledged to this process ends on the bus."""
        positions = Positions()
        positions.merge(self._positions)
        for queue in list(self._queues.values()):
            positions.merge(queue.delivery.positions)
        return list(positions.known())

    def waiting_points(self) -> int:
        """Points of all runs that the server does not have yet."""
        results = [queue.result() for queue in list(self._queues.values())]
        return sum(result.pending_points + result.spooled_points for result in results)

    def _safe(self, queue: RunQueue, failures: int | None) -> bool:
        """Whether there is no use in waiting on: nothing is in the spool, or the last attempt has failed."""
        delivery = queue.delivery
        if delivery.relayed or not delivery.spooling:
            return True
        return failures is not None and self.replayer.failures > failures

    def close_run(self, queue: RunQueue) -> None:
        """Stop to serve a run once everything of it has arrived; stragglers of other threads are still sent."""
        queue.rounds_to_close = _ROUNDS_TO_CLOSE

    def stop(self) -> None:
        """End the threads; what is not acknowledged goes to the spool, where the next process finds it."""
        with self._lock:
            self._stopped = True
            collector = self._collector
        self._wake.set()
        if collector is not None:
            collector.join(timeout=5.0)
        self.replayer.stop()
        self._stream.stop()
        for queue in list(self._queues.values()):
            queue.drain()
        self.replayer.close()

    def salvage(self) -> None:
        """Bring everything to disk without gRPC, which does not answer."""
        for queue in list(self._queues.values()):
            queue.delivery.start_spooling("the process cannot end cleanly")
        for batch in self._stream.take_unacknowledged():
            self._delivery(batch).take_back(batch)
        for queue in list(self._queues.values()):
            queue.drain()
            queue.delivery.seal()

    def forget_after_fork(self, family: str, *, relayed: bool) -> None:
        """Start anew in a forked child."""
        self.relayed = relayed
        self._family = family
        self._budget = SpoolBudget(self._settings.spool_dir, self._settings.spool_max_bytes)
        self._start_anew()
        for queue in self._queues.values():
            queue.forget_after_fork(self._budget)
            self.replayer.watch(queue.delivery)

    def acknowledged(self, batch: Batch, topic: str, partition: int, offset: int) -> None:
        """See StreamEvents."""
        self._delivery(batch).acknowledged(batch, topic, partition, offset)
        self.replayer.notify()

    def refused(self, batch: Batch, error: PlatformError) -> None:
        """See StreamEvents."""
        self._delivery(batch).refused(batch, error)
        self.replayer.notify()

    def lost(self, batches: list[Batch], error: PlatformError) -> None:
        """See StreamEvents."""
        for batch in batches:
            delivery = self._delivery(batch)
            delivery.start_spooling(str(error))
            delivery.take_back(batch)
        self.replayer.retry_now()

    def _delivery(self, batch: Batch) -> RunDelivery:
        return self._queues[batch.run_id].delivery

    def _collect(self) -> None:
        interval_seconds = self._settings.flush_interval_ms / 1000
        while not self._stopped:
            self._wake.wait(interval_seconds)
            self._wake.clear()
            for queue in list(self._queues.values()):
                try:
                    self._serve(queue)
                except Exception:
                    log.exception("points of run %s could not be collected", queue.delivery.run_id)

    def _serve(self, queue: RunQueue) -> None:
        queue.drain()
        if queue.rounds_to_close is None or not queue.settled() or queue.delivery.spooling:
            return
        queue.rounds_to_close -= 1
        if queue.rounds_to_close <= 0:
            with self._lock:
                if self._queues.get(queue.delivery.run_id) is not queue:
                    return  # the run was opened again
                del self._queues[queue.delivery.run_id]
                self._positions.merge(queue.delivery.positions)
                self.replayer.forget(queue.delivery)
