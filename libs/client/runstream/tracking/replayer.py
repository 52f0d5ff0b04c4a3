"""The background thread that empties spools: this process's, its forked children's, and those of dead processes."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from runstream_common.errors import Internal, PlatformError, Unavailable

from runstream.tracking.replay import Claim, Replay
from runstream.tracking.retry import Backoff
from runstream.tracking.spool import segments_of, writer_dirs

if TYPE_CHECKING:
    from pathlib import Path

    from runstream.connection import Connection
    from runstream.tracking.delivery import RunDelivery

log = logging.getLogger("runstream")

CHILDREN_INTERVAL_SECONDS = 0.25
"""How often children's folders are looked at."""


class Replayer:
    """Replays spools when there is something in them; thread-safe.

    Args:
        connection: where to.
        server_dir: the server's folder in the spool.
        family: see SpoolWriter.
    """

    def __init__(self, connection: Connection, server_dir: Path, family: str) -> None:
        self._connection = connection
        self._server_dir = server_dir
        self._family = family
        self._state = threading.Condition()
        self._deliveries: list[RunDelivery] = []
        self._backoff = Backoff()
        self._asked = True  # the first round looks for what dead processes left
        self._orphans_done = False
        self._has_children = False
        self._stopped = False
        self._thread: threading.Thread | None = None
        self.failures = 0
        """Attempts that failed because the server was away."""

    def start(self) -> None:
        """Start the thread."""
        with self._state:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="runstream-replay", daemon=True)
                self._thread.start()

    def watch(self, delivery: RunDelivery) -> None:
        """Replay a run's spool when it has one."""
        with self._state:
            self._deliveries.append(delivery)

    def forget(self, delivery: RunDelivery) -> None:
        """End `watch`."""
        with self._state:
            self._deliveries.remove(delivery)

    def watch_children(self) -> None:
        """Send from now on what forked children spool."""
        with self._state:
            self._has_children = True
            self._state.notify_all()

    def retry_now(self) -> int:
        """Try without waiting for the next turn; returns the failures so far."""
        with self._state:
            self._asked = True
            self._backoff.reset()
            self._state.notify_all()
            return self.failures

    def notify(self) -> None:
        """Let those who wait look again."""
        with self._state:
            self._state.notify_all()

    def wait_for_change(self, timeout_seconds: float) -> None:
        """Wait for the next acknowledgement, refusal or end of a replay."""
        with self._state:
            self._state.wait(timeout_seconds)

    def children_pending(self) -> bool:
        """Whether children have spooled what could be sent."""
        return self._has_children and any(segments_of(directory) for directory in self._family_dirs())

    def stop(self) -> None:
        """End the thread after the record under way."""
        with self._state:
            self._stopped = True
            self._state.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=5.0)

    def close(self) -> None:
        """Leave what is spooled to whoever replays it next."""
        for delivery in self._deliveries:
            delivery.close()

    def _run(self) -> None:
        while self._wait():
            try:
                self._round()
            except PlatformError as error:
                self._failed(error)
            except Exception as error:
                log.exception("the spool could not be replayed")
                self._failed(Internal(str(error)))
            else:
                self._backoff.reset()
            self.notify()

    def _wait(self) -> bool:
        with self._state:
            self._state.wait_for(self._has_work, CHILDREN_INTERVAL_SECONDS if self._has_children else None)
            self._asked = False
            return not self._stopped

    def _has_work(self) -> bool:
        return self._asked or self._stopped

    def _failed(self, error: PlatformError) -> None:
        seconds = self._backoff.next_seconds(getattr(error, "retry_after_seconds", None))
        log.debug("replay stopped: %s; next attempt in %.1f s", error, seconds)
        with self._state:
            self.failures += 1
            self._state.notify_all()
            self._state.wait_for(self._has_work, seconds)
            self._asked = True

    def _round(self) -> None:
        for delivery in list(self._deliveries):
            self._replay_own(delivery)
        if self._has_children:
            for directory in self._family_dirs():
                self._replay_foreign(directory)
        if not self._orphans_done:
            for directory in self._foreign_dirs():
                self._replay_foreign(directory)
            self._orphans_done = True

    def _replay_own(self, delivery: RunDelivery) -> None:
        while delivery.spooling and not self._stopped:
            if delivery.resume_if_empty():
                log.info("run %s: the server has what was spooled", delivery.run_id)
                return
            directory = delivery.spool_directory
            claim = Claim.acquire(directory, self._family) if directory else None
            if claim is None:
                raise Unavailable("the spool is in use")
            with claim:
                replay = Replay(
                    self._connection, claim, delivery.replayed, delivery.replay_refused, self._is_stopped
                )
                error = replay.run().error
            if error is not None:
                raise error

    def _replay_foreign(self, directory: Path) -> None:
        claim = Claim.acquire(directory, self._family)
        if claim is None:
            return
        with claim:
            report = Replay(self._connection, claim, is_stopped=self._is_stopped).run()
        if report.rejected_points or report.unreadable_bytes:
            log.warning(
                "spool %s: %d points refused, %d bytes unreadable; kept in %s",
                directory,
                report.rejected_points,
                report.unreadable_bytes,
                directory.parent / "rejected",
            )
        if report.error is not None:
            raise report.error

    def _is_stopped(self) -> bool:
        return self._stopped

    def _family_dirs(self) -> list[Path]:
        return [directory for directory in self._foreign_dirs() if directory.name.startswith(self._family)]

    def _foreign_dirs(self) -> list[Path]:
        own = {delivery.spool_directory for delivery in self._deliveries}
        return [directory for directory in writer_dirs(self._server_dir) if directory not in own]
