"""Sends what a spool folder holds, in order. Used by the background thread and by `runstream spool flush`."""

from __future__ import annotations

import json
import struct
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import grpc
from runstream_common.errors import PlatformError, Unavailable
from runstream_common.rpc.status import from_rpc_error

from runstream.tracking.file_lock import FileLock
from runstream.tracking.operations import is_retryable, perform, send_metrics
from runstream.tracking.segments import Record, RecordKind, read_records
from runstream.tracking.spool import (
    CURSOR,
    REJECTED,
    REPLAY_LOCK,
    WRITER_LOCK,
    remove_writer_dir,
    segments_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runstream_proto.common.v1.position_pb2 import BusPosition

    from runstream.connection import Connection
    from runstream.tracking.operations import PendingCall

TIMEOUT_SECONDS = 30.0
# Batches under way at once; the bound in bytes keeps memory flat with big ones.
WINDOW_BATCHES = 16
WINDOW_BYTES = 32 * 1024 * 1024
_CURSOR_RECORDS = 256
_LENGTH = struct.Struct("<I")


@dataclass(slots=True)
class ReplayReport:
    """What became of the records of a folder."""

    sent_records: int = 0
    sent_points: int = 0
    rejected_records: int = 0
    rejected_points: int = 0
    unreadable_bytes: int = 0
    reasons: list[str] = field(default_factory=list)
    """Reasons of rejections, each once."""
    error: PlatformError | None = None
    """Why the replay stopped before the end; the rest is kept."""

    def add(self, other: ReplayReport) -> None:
        """Count another folder's report in."""
        self.sent_records += other.sent_records
        self.sent_points += other.sent_points
        self.rejected_records += other.rejected_records
        self.rejected_points += other.rejected_points
        self.unreadable_bytes += other.unreadable_bytes
        self.reasons += [reason for reason in other.reasons if reason not in self.reasons]
        self.error = self.error or other.error


class Claim:
    """The right to replay a writer's folder; a context manager."""

    def __init__(self, directory: Path, replay_lock: FileLock, writer_lock: FileLock | None) -> None:
        self.directory = directory
        self._replay_lock = replay_lock
        self._writer_lock = writer_lock

    @property
    def writer_is_dead(self) -> bool:
        """Whether nothing more will be written."""
        return self._writer_lock is not None

    @classmethod
    def acquire(cls, directory: Path, family: str = "") -> Claim | None:
        """Take the right; None when another one has it or the folder is gone.

        Args:
            directory: the folder.
            family: process tree whose living writers' folders may be replayed too; a living stranger sends its own.
        """
        try:
            replay_lock = FileLock.acquire(directory / REPLAY_LOCK)
            if replay_lock is None:
                return None
            claim = cls(directory, replay_lock, FileLock.acquire(directory / WRITER_LOCK))
        except FileNotFoundError:
            return None
        if claim.writer_is_dead or (family and directory.name.startswith(family)):
            return claim
        claim.__exit__()
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._writer_lock is not None:
            self._writer_lock.release()
        self._replay_lock.release()


class Replay:
    """Sends the segments of one claimed folder.

    Args:
        connection: where to.
        claim: the folder.
        on_sent: told each record that the server took, and where metrics lie on the bus.
        on_rejected: told each record that the server refused for good, with the error.
        is_stopped: asked between records whether to stop early.
    """

    def __init__(
        self,
        connection: Connection,
        claim: Claim,
        on_sent: Callable[[Record, BusPosition | None], None] | None = None,
        on_rejected: Callable[[Record, PlatformError], None] | None = None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._connection = connection
        self._claim = claim
        self._directory = claim.directory
        self._on_sent = on_sent
        self._on_rejected = on_rejected
        self._is_stopped = is_stopped
        self._window: deque[tuple[Record, int, PendingCall]] = deque()
        self._window_bytes = 0
        self._settled: tuple[str, int] | None = None
        self._unsaved = 0
        self.report = ReplayReport()

    def run(self) -> ReplayReport:
        """Send every sealed segment, and of a dead writer all of them; delete what the server has taken.

        A failure that may pass stops the replay and stands in the report.

        Raises:
            OSError: a file cannot be read or deleted.
        """
        dead = self._claim.writer_is_dead
        try:
            for segment in segments_of(self._directory, unsealed=dead):
                self._send_segment(segment)
        except PlatformError as error:
            self.report.error = error
            return self.report
        finally:
            self._abandon_window()
            self._save_cursor()
        if dead:
            remove_writer_dir(self._directory)
        return self.report

    def _send_segment(self, segment: Path) -> None:
        offset = self._cursor(segment)
        end = offset
        for record, end in read_records(segment, offset):
            if self._is_stopped():
                raise Unavailable("the replay was stopped", reason="STOPPED")
            if record.kind is RecordKind.METRICS:
                self._send_metrics(segment, record, end)
            else:
                # Everything before it has arrived when it is sent: a run is created before its points, ends after them.
                self._settle_all(segment)
                self._send_operation(segment, record, end)
        self._settle_all(segment)
        unreadable = segment.stat().st_size - end
        if unreadable:
            self.report.unreadable_bytes += unreadable
            keep_unreadable(self._directory.parent, segment)
        else:
            segment.unlink()
        self._settled, self._unsaved = None, 0
        (self._directory / CURSOR).unlink(missing_ok=True)

    def _send_metrics(self, segment: Path, record: Record, end: int) -> None:
        while self._window and (
            len(self._window) >= WINDOW_BATCHES or self._window_bytes + len(record.payload) > WINDOW_BYTES
        ):
            self._settle_first(segment)
        future = send_metrics(self._connection, record.payload, TIMEOUT_SECONDS)
        self._window.append((record, end, future))
        self._window_bytes += len(record.payload)

    def _settle_all(self, segment: Path) -> None:
        while self._window:
            self._settle_first(segment)

    def _settle_first(self, segment: Path) -> None:
        record, end, future = self._window[0]
        try:
            answer = future.result()
        except grpc.FutureCancelledError as error:
            raise Unavailable("the connection was closed") from error
        except grpc.RpcError as error:
            self._refused(record, from_rpc_error(error))
        else:
            self._sent(record, answer.position)
        self._window.popleft()
        self._window_bytes -= len(record.payload)
        self._advance(segment, end)

    def _send_operation(self, segment: Path, record: Record, end: int) -> None:
        try:
            perform(self._connection, record, TIMEOUT_SECONDS)
        except PlatformError as error:
            self._refused(record, error)
        else:
            self._sent(record, None)
        self._advance(segment, end)

    def _sent(self, record: Record, position: BusPosition | None) -> None:
        self.report.sent_records += 1
        self.report.sent_points += record.points
        if self._on_sent is not None:
            self._on_sent(record, position)

    def _refused(self, record: Record, error: PlatformError) -> None:
        if is_retryable(error):
            raise error
        keep_rejected(self._directory.parent, record, error)
        self.report.rejected_records += 1
        self.report.rejected_points += record.points
        reason = f"{error.reason}: {error.message}"
        if reason not in self.report.reasons:
            self.report.reasons.append(reason)
        if self._on_rejected is not None:
            self._on_rejected(record, error)

    def _abandon_window(self) -> None:
        for _, _, future in self._window:
            future.cancel()
        self._window.clear()

    def _cursor(self, segment: Path) -> int:
        with suppress(FileNotFoundError, ValueError):
            name, offset = (self._directory / CURSOR).read_text().split()
            if name == segment.stem:
                return int(offset)
        return 0

    def _advance(self, segment: Path, end: int) -> None:
        # Repeats are harmless, so the file may lag behind; it spares a restart most of them.
        self._settled = (segment.stem, end)
        self._unsaved += 1
        if self._unsaved >= _CURSOR_RECORDS:
            self._save_cursor()

    def _save_cursor(self) -> None:
        if self._settled is None or not self._unsaved:
            return
        fresh = self._directory / f"{CURSOR}.new"
        fresh.write_text(f"{self._settled[0]} {self._settled[1]}")
        fresh.replace(self._directory / CURSOR)
        self._unsaved = 0


def keep_rejected(run_dir: Path, record: Record, error: PlatformError) -> None:
    """Keep what the server refused for good, with the reason, in the run's folder `rejected`.

    Raises:
        OSError: it cannot be written.
    """
    reason = json.dumps(
        {"kind": record.kind.name, "reason": error.reason, "message": error.message[:2000]}
    ).encode()
    payload = _LENGTH.pack(len(reason)) + reason + record.payload
    folder = run_dir / REJECTED
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "records.rej").open("ab") as file:
        file.write(Record(RecordKind.REJECTED, payload, record.points).encode())


def read_rejected(run_dir: Path) -> list[tuple[dict[str, str], bytes, int]]:
    """Read what was refused: the reason, the payload and its number of points, oldest first."""
    path = run_dir / REJECTED / "records.rej"
    if not path.exists():
        return []
    found = []
    for record, _ in read_records(path):
        (length,) = _LENGTH.unpack_from(record.payload)
        reason = json.loads(record.payload[_LENGTH.size :][:length])
        found.append((reason, record.payload[_LENGTH.size + length :], record.points))
    return found


def keep_unreadable(run_dir: Path, segment: Path) -> None:
    """Set a segment with an unreadable end aside; what could be read of it has been sent."""
    folder = run_dir / REJECTED
    folder.mkdir(parents=True, exist_ok=True)
    segment.rename(folder / f"{segment.parent.name}-{segment.stem}.torn")
