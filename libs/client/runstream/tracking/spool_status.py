"""What waits in the spool directory of this machine, for people; looking changes nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream.query.frames import time_of, time_text
from runstream.tracking.file_lock import FileLock
from runstream.tracking.replay import read_rejected
from runstream.tracking.segments import read_records
from runstream.tracking.spool import CURSOR, REJECTED, WRITER_LOCK, directory_bytes, segments_of, writer_dirs

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class WaitingFolder:
    """What one writing process left for one run.

    Attributes:
        server: the server's folder name, its address with "_" for ":".
        records: records that the server has not yet acknowledged.
        points: metric points in them.
        size_bytes: size on disk.
        oldest: when the oldest segment was begun or last written; None when there is none.
        writer_alive: whether the process that writes it still runs, and so sends it itself.
    """

    server: str
    run_id: str
    directory: Path
    records: int
    points: int
    size_bytes: int
    oldest: datetime | None
    writer_alive: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        names = ("server", "run_id", "records", "points", "size_bytes", "writer_alive")
        fields = {name: getattr(self, name) for name in names}
        return {**fields, "oldest": time_text(self.oldest), "directory": str(self.directory)}


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """What a server refused for good; it is kept until someone deletes the folder."""

    server: str
    run_id: str
    kind: str
    reason: str
    message: str
    points: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {
            name: getattr(self, name) for name in ("server", "run_id", "kind", "reason", "message", "points")
        }


def waiting_folders(spool_dir: Path) -> list[WaitingFolder]:
    """Every folder that holds records, by server, run and age."""
    found = (_look(server, directory) for server in _folders(spool_dir) for directory in writer_dirs(server))
    return [folder for folder in found if folder.records]


def rejected_records(spool_dir: Path) -> list[RejectedRecord]:
    """Everything that servers refused for good, by server and run, oldest first."""
    return [
        RejectedRecord(server.name, run.name, reason["kind"], reason["reason"], reason["message"], points)
        for server in _folders(spool_dir)
        for run in _folders(server)
        if (run / REJECTED).is_dir()
        for reason, _, points in read_rejected(run)
    ]


def _look(server: Path, directory: Path) -> WaitingFolder:
    cursor_name, cursor_offset = _cursor(directory)
    records = points = 0
    times_ms: list[int] = []
    for segment in segments_of(directory, unsealed=True):
        # A segment that was replayed and deleted meanwhile no longer waits.
        with suppress(FileNotFoundError):
            offset = cursor_offset if segment.stem == cursor_name else 0
            times_ms.append(segment.stat().st_mtime_ns // 1_000_000)
            for record, _ in read_records(segment, offset):
                records += 1
                points += record.points
    return WaitingFolder(
        server=server.name,
        run_id=directory.parent.name,
        directory=directory,
        records=records,
        points=points,
        size_bytes=directory_bytes(directory),
        oldest=time_of(min(times_ms)) if times_ms else None,
        writer_alive=_is_written(directory),
    )


def _cursor(directory: Path) -> tuple[str, int]:
    with suppress(FileNotFoundError, ValueError):
        name, offset = (directory / CURSOR).read_text().split()
        return name, int(offset)
    return "", 0


def _is_written(directory: Path) -> bool:
    try:
        lock = FileLock.acquire(directory / WRITER_LOCK)
    except FileNotFoundError:
        return False
    if lock is None:
        return True
    lock.release()
    return False


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []
