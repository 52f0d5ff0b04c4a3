"""A file that is being downloaded: beside its target under another name until its digest is right.

`.<name>.<digest>.part` holds the bytes, `.<name>.<digest>.ranges` the numbers of the ranges that are there, a line each,
so that a download that broke off goes on where it stopped. The lock on the latter keeps two downloads apart.
"""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from typing import TYPE_CHECKING

from runstream.artifacts.parts import Part, parts_of
from runstream.artifacts.sources import CHUNK_BYTES
from runstream.tracking.file_lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from runstream.artifacts.cancelling import Cancellation

RANGE_BYTES = 16 * 1024 * 1024
"""Large enough that a request costs nothing, small enough that little is fetched again."""
_MAX_STEM_CHARS = 40


class PartialFile:
    """The bytes of one download so far; thread-safe.

    Args:
        target: where it goes.
        size_bytes: size of the whole.
        digest: SHA-256 of the whole, hexadecimal.
        cancellation: ends hashing early.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, target: Path, size_bytes: int, digest: str, cancellation: Cancellation) -> None:
        self.target = target
        self.size_bytes = size_bytes
        self.digest = digest
        self._cancellation = cancellation
        self._lock = threading.Lock()
        stem = f".{target.name[:_MAX_STEM_CHARS]}.{digest[:16]}"
        self._journal_path = target.with_name(f"{stem}.ranges")
        self._owner_lock = FileLock.acquire(self._journal_path)
        if self._owner_lock is None:
            # Another download of the same content to the same place is under way; this one goes its own way.
            stem = f"{stem}.{uuid.uuid4().hex[:8]}"
            self._journal_path = target.with_name(f"{stem}.ranges")
            self._owner_lock = FileLock.acquire(self._journal_path)
        self.path = target.with_name(f"{stem}.part")
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        self._ranges = list(parts_of(size_bytes, RANGE_BYTES))
        done = self._read_journal()
        os.truncate(self._file, size_bytes)
        self._start_hashing(done)

    @property
    def resumed(self) -> bool:
        """Whether some of it was there already."""
        return self._resumed

    def _start_hashing(self, done: Iterable[int]) -> None:
        self._done = set(done)
        self._resumed = bool(self._done)
        self._hash = hashlib.sha256()
        self._hashed_count = 0
        self._hashing = False

    def missing(self) -> list[Part]:
        """The ranges that are not there yet."""
        return [part for part in self._ranges if part.number not in self._done]

    def write(self, start: int, pieces: Iterable[memoryview]) -> int:
        """Write pieces one after the other; returns the position after the last one."""
        for piece in pieces:
            self._cancellation.check()
            view = piece
            while view:
                written = _write_at(self._file, view, start)
                view = view[written:]
                start += written
        return start

    def add_done(self, part: Part) -> None:
        """A range is there; hash what can be hashed in order by now."""
        with self._lock:
            self._done.add(part.number)
            with self._journal_path.open("a") as journal:
                journal.write(f"{part.number}\n")
        self._hash_ready()

    def _hash_ready(self) -> None:
        """Hash the ranges that are next and there, unless another thread is at it."""
        while (part := self._take_next()) is not None:
            hashed = False
            try:
                self._hash_range(part)
                hashed = True
            finally:
                with self._lock:
                    self._hashing = False
                    self._hashed_count += hashed

    def _take_next(self) -> Part | None:
        with self._lock:
            if self._hashing or self._hashed_count == len(self._ranges):
                return None
            part = self._ranges[self._hashed_count]
            if part.number not in self._done:
                return None
            self._hashing = True
            return part

    def _hash_range(self, part: Part) -> None:
        for at in range(part.start, part.end, CHUNK_BYTES):
            self._cancellation.check()
            self._hash.update(_read_at(self._file, min(CHUNK_BYTES, part.end - at), at))

    def digest_is_right(self) -> bool:
        """Whether the content, all of which must be there, is what was recorded."""
        self._hash_ready()
        return self.hexdigest == self.digest

    @property
    def hexdigest(self) -> str:
        """SHA-256 of what has been hashed."""
        return self._hash.hexdigest()

    def start_anew(self) -> None:
        """Forget what is there."""
        self._journal_path.write_text("")
        self._start_hashing(())

    def put_in_place(self) -> None:
        """Give it its name. Raises OSError when that is not possible."""
        self._close()
        self.path.replace(self.target)
        self._journal_path.unlink(missing_ok=True)
        self._unlock()

    def keep(self) -> None:
        """Leave it to be resumed, when there is something to resume; else remove it."""
        if not self._done:
            self.discard()
            return
        self._close()
        self._unlock()

    def discard(self) -> None:
        """Remove every trace of it. Repeating it is harmless."""
        self._close()
        self.path.unlink(missing_ok=True)
        self._journal_path.unlink(missing_ok=True)
        self._unlock()

    def _read_journal(self) -> set[int]:
        if os.fstat(self._file).st_size != self.size_bytes:
            self._journal_path.write_text("")
            return set()
        lines = self._journal_path.read_text().split()
        return {int(line) for line in lines if line.isdecimal() and 0 < int(line) <= len(self._ranges)}

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _unlock(self) -> None:
        if self._owner_lock is not None:
            self._owner_lock.release()


if hasattr(os, "pwrite"):

    def _write_at(file: int, data: memoryview, position: int) -> int:
        return os.pwrite(file, data, position)

    def _read_at(file: int, size: int, position: int) -> bytes:
        return os.pread(file, size, position)

else:  # Windows
    _seek_lock = threading.Lock()

    def _write_at(file: int, data: memoryview, position: int) -> int:
        with _seek_lock:
            os.lseek(file, position, os.SEEK_SET)
            return os.write(file, data)

    def _read_at(file: int, size: int, position: int) -> bytes:
        with _seek_lock:
            os.lseek(file, position, os.SEEK_SET)
            return os.read(file, size)
