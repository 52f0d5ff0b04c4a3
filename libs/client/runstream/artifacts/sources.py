"""What is uploaded: a file on disk, or bytes in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from runstream.artifacts.errors import LocalFileChanged, LocalFileUnreadable

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

CHUNK_BYTES = 1024 * 1024
"""Read, hashed and sent at once: memory is this much a thread, however large files and parts are."""


class Source(Protocol):
    """Content that can be read several times, from anywhere, by several threads."""

    @property
    def name(self) -> str:
        """How errors call it."""
        ...

    @property
    def size_bytes(self) -> int:
        """Size."""
        ...

    @property
    def identity(self) -> object:
        """Equal for equal content, without reading it; None when there is no such thing."""
        ...

    def chunks(self, start: int, end: int) -> Iterator[memoryview]:
        """The bytes from start up to end in pieces; each piece is valid until the next one is asked for."""
        ...

    def check_unchanged(self) -> None:
        """Raise LocalFileChanged when it is no longer what it was when it was first looked at."""
        ...


class BytesSource:
    """Bytes in memory."""

    identity = None

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.size_bytes = len(content)
        self._content = memoryview(content)

    def chunks(self, start: int, end: int) -> Iterator[memoryview]:
        """See Source."""
        for at in range(start, end, CHUNK_BYTES):
            yield self._content[at : min(end, at + CHUNK_BYTES)]

    def check_unchanged(self) -> None:
        """Bytes do not change."""


class FileSource:
    """A file on disk.

    Args:
        path: where.
        status: what `os.stat` said when it was found; None asks now.

    Raises:
        OSError: the file cannot be looked at.
    """

    def __init__(self, path: Path, status: os.stat_result | None = None) -> None:
        self.path = path
        self._status = status or path.stat()
        self.size_bytes = self._status.st_size

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def identity(self) -> object:
        """File and version of it; a hard link has the same."""
        return _identity(self._status)

    def chunks(self, start: int, end: int) -> Iterator[memoryview]:
        """See Source.

        Raises:
            LocalFileChanged: the file has become shorter.
            LocalFileUnreadable: it cannot be read.
        """
        buffer = memoryview(bytearray(min(CHUNK_BYTES, max(end - start, 1))))
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(start)
                left = end - start
                while left:
                    count = file.readinto(buffer[: min(left, len(buffer))])
                    if not count:
                        raise self._changed()
                    left -= count
                    yield buffer[:count]
        except OSError as error:
            # Not left as it is: where it is sent, it would look like an error of the network.
            raise LocalFileUnreadable(f"{self.name} cannot be read: {error.strerror or error}") from error

    def check_unchanged(self) -> None:
        """See Source."""
        try:
            now = self.path.stat()
        except FileNotFoundError as error:
            raise self._changed() from error
        if _identity(now) != self.identity:
            raise self._changed()

    def _changed(self) -> LocalFileChanged:
        return LocalFileChanged(
            f"{self.name} changed while it was being uploaded; nothing of it became visible. Upload it when it is complete",
            metadata={"path": self.name[:300]},
        )


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
