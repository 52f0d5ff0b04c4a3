"""What is kept on disk while the server is away.

    <spool dir>/<server>/<run id>/<family>-<writer>/   one folder a writing process
        writer.lock                                      held while the writing process lives
        replay.lock                                      held while someone replays the folder
        00000001.seg, 00000002.seg …                     sealed: complete, replayed in order, deleted when done
        00000003.open                                    still written to
        cursor                                           how far the first sealed segment has been replayed
    <spool dir>/<server>/<run id>/rejected/              what the server refused for good, with the reasons

A process never writes to another one's files, so a torn tail only ever ends a dead writer's last segment.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from runstream_contract.ids import new_batch_id

from runstream.tracking.file_lock import FileLock
from runstream.tracking.segments import OVERHEAD_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from runstream.tracking.segments import Record

SEGMENT_BYTES = 8 * 1024 * 1024
SYNC_INTERVAL_SECONDS = 1.0
WRITER_LOCK = "writer.lock"
REPLAY_LOCK = "replay.lock"
CURSOR = "cursor"
REJECTED = "rejected"
_RECOUNT_SECONDS = 5.0


class SpoolFull(Exception):
    """The spool's bound is reached, or the disk is full."""


def server_dir(root: Path, target: str) -> Path:
    """The folder of one server's runs.

    Args:
        root: spool directory.
        target: the server's "host:port".
    """
    return root / re.sub(r"[^A-Za-z0-9.\-]", "_", target)


class SpoolBudget:
    """Bound of everything under a spool directory, other processes' files included."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self._used_bytes = 0
        self._counted_at = -_RECOUNT_SECONDS

    def reserve(self, size_bytes: int) -> None:
        """Account for bytes to be written.

        Raises:
            SpoolFull: they would exceed the bound.
        """
        with self._lock:
            if time.monotonic() - self._counted_at >= _RECOUNT_SECONDS:
                self._used_bytes = directory_bytes(self._root)
                self._counted_at = time.monotonic()
            if self._used_bytes + size_bytes > self._max_bytes:
                raise SpoolFull(f"the spool {self._root} holds its {self._max_bytes} bytes")
            self._used_bytes += size_bytes


def directory_bytes(root: Path) -> int:
    """Bytes of all files below a folder; files that vanish meanwhile count nothing."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size  # noqa: PTH116, PTH118 - a hot walk
    return total


class SpoolWriter:
    """Appends records to a folder of its own; the caller serializes calls.

    Args:
        run_dir: folder of the run.
        family: identity of the process tree, so that a parent finds what its children wrote.
        budget: bound shared by all writers of the process.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, run_dir: Path, family: str, budget: SpoolBudget) -> None:
        self._budget = budget
        name = f"{family}-{new_batch_id()}"
        self.directory = run_dir / name
        # Made under another name and renamed with the lock held, so that nobody ever sees it unlocked and adopts it.
        fresh = run_dir / f".{name}"
        fresh.mkdir(parents=True, mode=0o700)
        self._lock = FileLock.acquire(fresh / WRITER_LOCK)
        fresh.rename(self.directory)
        self._number = 0
        self._descriptor = -1
        self._size_bytes = 0
        self._unsynced_since: float | None = None

    def append(self, record: Record) -> None:
        """Write one record; it survives the death of this process when this returns, and that of the machine after
        the next `sync`.

        Raises:
            SpoolFull: there is no room; nothing was written.
        """
        data = record.encode()
        self._budget.reserve(len(data) + OVERHEAD_BYTES)
        try:
            if self._descriptor < 0:
                self._open_segment()
            self._write(data)
        except OSError as error:
            raise SpoolFull(f"the spool cannot be written: {error}") from error
        if self._size_bytes >= SEGMENT_BYTES:
            self.seal()

    def sync(self, *, now: bool = False) -> None:
        """Bring what was written to the disk itself, at most once a second.

        Args:
            now: do not wait for the second to pass.
        """
        due = self._unsynced_since is not None and (
            now or time.monotonic() - self._unsynced_since >= SYNC_INTERVAL_SECONDS
        )
        if due and self._descriptor >= 0:
            os.fsync(self._descriptor)
            self._unsynced_since = None

    def seal(self) -> None:
        """End the current segment, so that it may be replayed and deleted."""
        if self._descriptor < 0:
            return
        self.sync(now=True)
        os.close(self._descriptor)
        self._descriptor = -1
        path = self._path(self._number, "open")
        path.rename(path.with_suffix(".seg"))

    def close(self) -> None:
        """Seal, and let others replay what is left; an empty folder is removed."""
        self.seal()
        if not segments_of(self.directory):
            remove_writer_dir(self.directory)
        if self._lock is not None:
            self._lock.release()

    def abandon_after_fork(self) -> None:
        """Give up, in a forked child, what belongs to the parent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._lock is not None:
            self._lock.abandon()

    def _open_segment(self) -> None:
        self._number += 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._descriptor = os.open(self._path(self._number, "open"), flags, 0o600)
        self._size_bytes = 0

    def _write(self, data: bytes) -> None:
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, memoryview(data)[written:])
        except OSError:
            # Half a record in the middle would hide every later one of the segment.
            os.ftruncate(self._descriptor, self._size_bytes)
            raise
        self._size_bytes += len(data)
        if self._unsynced_since is None:
            self._unsynced_since = time.monotonic()

    def _path(self, number: int, suffix: str) -> Path:
        return self.directory / f"{number:08d}.{suffix}"


def segments_of(directory: Path, *, unsealed: bool = False) -> list[Path]:
    """Segments of a writer's folder in the order they were written.

    Args:
        directory: the folder.
        unsealed: also the one still written to; only when its writer is dead.
    """
    suffixes = {".seg", ".open"} if unsealed else {".seg"}
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in suffixes)
    except FileNotFoundError:
        return []


def remove_writer_dir(directory: Path) -> None:
    """Remove a replayed folder, and its run's when that is empty; someone else may have been faster."""
    shutil.rmtree(directory, ignore_errors=True)
    with suppress(OSError):  # not empty: other writers, or rejected records
        directory.parent.rmdir()


def writer_dirs(root: Path) -> list[Path]:
    """Folders of writers below a server's folder: of each run the oldest first."""
    return sorted(
        directory
        for run_dir in (root.iterdir() if root.is_dir() else ())
        if run_dir.is_dir()
        for directory in _children(run_dir)
        if directory.name != REJECTED and not directory.name.startswith(".")
    )


def _children(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
