"""Files of the local store: atomic, durable placement under a key. Every function blocks."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import threading
import time
import uuid
from typing import TYPE_CHECKING, cast

from runstream_common.object_store.errors import (
    ChecksumMismatch,
    ObjectNotFound,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
)
from runstream_common.object_store.keys import checked_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STAGING = ".staging"
"""Folder of what is being received; a key's names never begin with a dot."""
STALE_SECONDS = 24 * 3600
"""A temporary file that no one wrote to for this long belongs to a process that died."""
STALE_UPLOAD_SECONDS = 40 * 24 * 3600
"""An open upload that no part came to for this long was never noted: those that were are given up after 30 days at most."""
COPY_CHUNK_BYTES = 64 * 1024 * 1024
_FILE_MODE = 0o640


class Folder:
    """A folder that holds objects by key; several processes may use one.

    Args:
        root: made when missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / STAGING
        self._durable_folders: set[Path] = set()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Make the folder and remove what dead processes left.

        Raises:
            ObjectStoreRefused: the folder cannot be made or written to.
        """
        try:
            self.staging.mkdir(parents=True, exist_ok=True)
            self.check()
            self._remove_stale()
        except OSError as error:
            raise ObjectStoreRefused(f"cannot use the folder {self.root}: {error.strerror}") from error

    def require(self) -> None:
        """Tell a file that is missing from a folder that is (not mounted, moved away).

        Raises:
            ObjectStoreUnavailable: the folder is gone.
        """
        if not self.staging.is_dir():
            raise ObjectStoreUnavailable(f"the folder {self.root} is gone")

    def check(self) -> None:
        """Raise OSError when nothing can be written."""
        probe = self.temporary_path()
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE_MODE))
        probe.unlink()

    def path_of(self, key: str) -> Path:
        """Where the object of a key lies."""
        return self.root / checked_key(key)

    def open_object(self, key: str) -> tuple[int, int] | None:
        """Descriptor (for reading) and size in bytes of an object; None when there is none."""
        try:
            descriptor = os.open(self.path_of(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self.require()
            return None
        return descriptor, os.fstat(descriptor).st_size

    def size_of(self, key: str) -> int | None:
        """Size of an object in bytes; None when there is none."""
        try:
            return self.path_of(key).stat().st_size
        except FileNotFoundError:
            self.require()
            return None

    def temporary_path(self) -> Path:
        """A path on the same file system for content that is being received."""
        return self.staging / f"put-{uuid.uuid4().hex}"

    def receive(self, key: str, sha256: bytes) -> ObjectWriter:
        """Begin to write an object.

        Args:
            key: where it goes.
            sha256: its digest.
        """
        return ObjectWriter(self, key, sha256)

    def publish(self, descriptor: int, temporary: Path, key: str) -> None:
        """Make a file the object of a key, atomically and durably: content first, then the name.

        A journal that is flushed for the content takes new folders with it, so that flushing those afterwards costs
        next to nothing; that is why they are made first.
        """
        target = self.path_of(key)
        changed = self._make_folder(target.parent)
        os.fsync(descriptor)
        temporary.rename(target)
        for folder in (target.parent, *changed):
            sync_folder(folder)
        with self._lock:
            self._durable_folders.update(
                folder for folder in (target.parent, *changed) if folder != self.root
            )

    def put(self, key: str, content: bytes) -> None:
        """Write an object whole."""
        temporary = self.temporary_path()
        descriptor = create(temporary)
        try:
            write_all(descriptor, [content], 0)
            self.publish(descriptor, temporary, key)
        finally:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)

    def copy(self, source: str, target: str) -> None:
        """Copy an object; the kernel moves the bytes (and shares them where the file system can).

        Raises:
            ObjectNotFound: there is nothing at the source.
        """
        temporary = self.temporary_path()
        try:
            reading = os.open(self.path_of(source), os.O_RDONLY)
        except FileNotFoundError:
            self.require()
            raise ObjectNotFound(f"no object {source}") from None
        try:
            writing = create(temporary)
            try:
                while os.copy_file_range(reading, writing, COPY_CHUNK_BYTES):
                    pass
                self.publish(writing, temporary, target)
            finally:
                os.close(writing)
        finally:
            os.close(reading)
            temporary.unlink(missing_ok=True)

    def delete(self, key: str) -> None:
        """Delete an object, durably; one that is not there is no error. Folders stay: they are few and used again."""
        path = self.path_of(key)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            sync_folder(path.parent)

    def _make_folder(self, folder: Path) -> list[Path]:
        """Make a folder; returns those above it whose names may not be on disk yet, the lowest first."""
        if folder in self._durable_folders:
            return []
        folder.mkdir(parents=True, exist_ok=True)
        changed = []
        while folder != self.root and folder not in self._durable_folders:
            folder = folder.parent
            changed.append(folder)
        return changed

    def _remove_stale(self) -> None:
        before = time.time() - STALE_SECONDS
        for path in self.staging.glob("put-*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
        for path in self.staging.glob("up-open-*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - STALE_UPLOAD_SECONDS:
                    remove_tree(path)


class ObjectWriter:
    """Writes one object; it is there when ``finish`` returns, and nothing is left if that never comes.

    Args:
        folder: where to.
        key: of the object.
        sha256: what ``finish`` compares with.
    """

    def __init__(self, folder: Folder, key: str, sha256: bytes) -> None:
        self._folder = folder
        self._key = checked_key(key)
        self._expected = sha256
        self._hash = hashlib.sha256()
        self._received = 0
        self._temporary = folder.temporary_path()
        self._descriptor = create(self._temporary)

    def write(self, content: list[bytes]) -> None:
        """Append to the object."""
        for piece in content:
            self._hash.update(piece)
        self._received += write_all(self._descriptor, content, self._received)

    def finish(self) -> str:
        """Put the object in place, on disk; returns its etag.

        Raises:
            ChecksumMismatch: the bytes are not those that were announced.
        """
        if self._hash.digest() != self._expected:
            raise ChecksumMismatch(f"SHA-256 is {self._hash.hexdigest()}, not {self._expected.hex()}")
        self._folder.publish(self._descriptor, self._temporary, self._key)
        return self._hash.hexdigest()

    def close(self) -> None:
        """Release the file and remove it if it was not put in place."""
        os.close(self._descriptor)
        self._temporary.unlink(missing_ok=True)


def create(path: Path) -> int:
    """Make a file that must not exist; returns its descriptor, for reading and writing."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, _FILE_MODE)


def write_all(descriptor: int, content: list[bytes], offset: int) -> int:
    """Write every byte at an offset; returns how many. ``pwritev`` may stop early and takes 1,024 buffers at most."""
    start = offset
    pending = [memoryview(piece) for piece in content if piece]
    while pending:
        written = os.pwritev(descriptor, pending[:1024], offset)
        offset += written
        while pending and written >= len(pending[0]):
            written -= len(pending.pop(0))
        if written:
            pending[0] = pending[0][written:]
    return offset - start


def copy_range(reading: int, source: int, writing: int, target: int, size_bytes: int) -> None:
    """Copy bytes between files in the kernel.

    Args:
        reading: descriptor.
        source: offset of the first byte.
        writing: descriptor.
        target: offset that it gets.
        size_bytes: how many.

    Raises:
        OSError: there are fewer, or no room.
    """
    while size_bytes:
        copied = os.copy_file_range(reading, writing, min(size_bytes, COPY_CHUNK_BYTES), source, target)
        if not copied:
            raise OSError(errno.EIO, "the file became shorter")
        source, target, size_bytes = source + copied, target + copied, size_bytes - copied


def start_flush(descriptor: int, offset: int, size_bytes: int) -> None:
    """Let the disk begin with what was written, without waiting for it; where the system cannot, it begins by itself later.

    It makes nothing durable, so that its failure is none: the flush that follows tells.
    """
    if _SYNC_FILE_RANGE is not None:
        _SYNC_FILE_RANGE(descriptor, offset, size_bytes, _SYNC_FILE_RANGE_WRITE)


def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Linux's sync_file_range(2), which Python has no function for."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    return cast("Callable[[int, int, int, int], int]", function)


_SYNC_FILE_RANGE = _sync_file_range()
_SYNC_FILE_RANGE_WRITE = 2


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Delete a folder with all in it; one that is not there is no error."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
