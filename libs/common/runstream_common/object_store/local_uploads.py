"""Multipart uploads of the local store: parts are written where they belong in one file, and logged when on disk.

An upload is a folder ``.staging/up-<id>`` with ``data`` (the content, as large as it will be) and ``parts`` (one record for
each part received). Completing is a rename: nothing is copied. Any process may receive, list or complete; a lock on
``data`` keeps a slow writer from touching content that was completed. Every function blocks.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import re
import uuid
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.object_store.api import StoredPart
from runstream_common.object_store.errors import (
    ChecksumMismatch,
    ObjectStoreUnavailable,
    PartsNotAccepted,
    UploadNotFound,
)
from runstream_common.object_store.local_folder import Folder, create, remove_tree, sync_folder, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_UPLOAD_ID = re.compile(r"([0-9a-f]{32})-([0-9]{1,16})-([0-9]{1,16})")
_RECORD = re.compile(r"([0-9]{1,5}) ([0-9a-f]{8}) (-?[0-9]{1,16}) ([0-9a-f]{8})")
"""Part number, CRC32, size in bytes (-1: no longer received), and the CRC32 of the text before it."""
_INVALID = -1


@dataclass(frozen=True, slots=True)
class UploadShape:
    """What an upload's id says: where every part belongs, without a look at the disk."""

    token: str
    size_bytes: int
    part_size_bytes: int

    @classmethod
    def parse(cls, store_upload_id: str) -> UploadShape:
        """Read an id.

        Raises:
            UploadNotFound: it is none of ours.
        """
        match = _UPLOAD_ID.fullmatch(store_upload_id)
        if match is None or int(match[3]) == 0:
            raise UploadNotFound("no such upload")
        return cls(match[1], int(match[2]), int(match[3]))

    @classmethod
    def new(cls, size_bytes: int, part_size_bytes: int) -> UploadShape:
        """A shape with an id of its own."""
        return cls(uuid.uuid4().hex, size_bytes, part_size_bytes)

    def __str__(self) -> str:
        return f"{self.token}-{self.size_bytes}-{self.part_size_bytes}"

    @property
    def part_count(self) -> int:
        """Number of parts; an empty content has one."""
        return max(1, -(-self.size_bytes // self.part_size_bytes))

    def part_range(self, number: int) -> tuple[int, int] | None:
        """Offset and size of a part in bytes; None when there is no such part."""
        if not 1 <= number <= self.part_count:
            return None
        offset = (number - 1) * self.part_size_bytes
        return offset, min(self.part_size_bytes, self.size_bytes - offset)


class Uploads:
    """The uploads that are open.

    Args:
        folder: where they lie and where their content goes.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def create(self, size_bytes: int, part_size_bytes: int) -> str:
        """Open an upload; returns its id.

        Raises:
            ObjectStoreUnavailable: the disk has no room for it.
        """
        free = os.statvfs(self._folder.staging)
        if size_bytes > free.f_bavail * free.f_frsize:
            raise ObjectStoreUnavailable(f"no room for {size_bytes} bytes in {self._folder.root}")
        shape = UploadShape.new(size_bytes, part_size_bytes)
        path = self._path(shape)
        path.mkdir()
        data = create(path / "data")
        try:
            os.truncate(data, size_bytes)
            os.fsync(data)
        finally:
            os.close(data)
        os.close(create(path / "parts"))
        sync_folder(path)
        sync_folder(self._folder.staging)
        return str(shape)

    def receive(self, store_upload_id: str, number: int, crc32_base64: str) -> PartWriter:
        """Begin to write a part.

        Args:
            store_upload_id: of the upload.
            number: of the part.
            crc32_base64: its checksum; empty compares nothing.

        Raises:
            UploadNotFound: no such upload or part.
        """
        shape = UploadShape.parse(store_upload_id)
        where = shape.part_range(number)
        if where is None:
            raise UploadNotFound(f"the upload has {shape.part_count} parts, not {number}")
        return PartWriter(self._path(shape), number, offset=where[0], crc32_base64=crc32_base64)

    def parts(self, store_upload_id: str) -> list[StoredPart]:
        """The parts received so far, by number.

        Raises:
            UploadNotFound: no such upload.
        """
        shape = UploadShape.parse(store_upload_id)
        path = self._path(shape)
        if not (path / "data").exists():
            raise _gone(path / "data")
        found: dict[int, StoredPart] = {}
        for number, crc32, size_bytes in _read_log(path / "parts"):
            where = shape.part_range(number)
            if where is not None and size_bytes == where[1]:
                found[number] = _stored_part(number, crc32, size_bytes)
            else:
                found.pop(number, None)
        return [found[number] for number in sorted(found)]

    def complete(self, store_upload_id: str, parts: Sequence[StoredPart], key: str) -> None:
        """Make the content the object of a key.

        Raises:
            UploadNotFound: no such upload.
            PartsNotAccepted: the parts are not all there, or not those.
        """
        shape = UploadShape.parse(store_upload_id)
        path = self._path(shape)
        data = _open_existing(path / "data")
        try:
            # From here on no writer of any process touches the content: each of them finds it gone.
            fcntl.flock(data, fcntl.LOCK_EX)
            received = self.parts(store_upload_id)
            if received != list(parts) or len(received) != shape.part_count:
                raise PartsNotAccepted(f"{len(received)} of {shape.part_count} parts are there as listed")
            self._folder.publish(data, path / "data", key)
        finally:
            os.close(data)
        remove_tree(path)

    def abort(self, store_upload_id: str) -> None:
        """Delete an upload; one that is gone is no error."""
        with contextlib.suppress(UploadNotFound):
            path = self._path(UploadShape.parse(store_upload_id))
            data = _open_existing(path / "data")
            try:
                fcntl.flock(data, fcntl.LOCK_EX)
                remove_tree(path)
            finally:
                os.close(data)

    def _path(self, shape: UploadShape) -> Path:
        return self._folder.staging / f"up-{shape}"


class PartWriter:
    """Writes one part; it is received when ``finish`` returns, and its place holds nothing of worth if that never comes.

    Args:
        upload: the upload's folder.
        number: of the part.
        offset: where it begins, in bytes.
        crc32_base64: what ``finish`` compares with; empty compares nothing.

    Raises:
        UploadNotFound: the upload is gone.
    """

    def __init__(self, upload: Path, number: int, *, offset: int, crc32_base64: str) -> None:
        self._upload = upload
        self._number = number
        self._offset = offset
        self._expected = crc32_base64
        self._received = 0
        self._crc32 = 0
        self._data = _open_existing(upload / "data")
        # What was received of this part before is about to be overwritten.
        if any(record[0] == number for record in _read_log(upload / "parts")):
            self._record(_INVALID)

    def write(self, content: list[bytes]) -> None:
        """Append to the part.

        Raises:
            UploadNotFound: the upload was completed or aborted meanwhile.
        """
        for piece in content:
            self._crc32 = zlib.crc32(piece, self._crc32)
        with self._still_open():
            self._received += write_all(self._data, content, self._offset + self._received)

    def finish(self) -> str:
        """Make what was written durable and the part received; returns its etag.

        Raises:
            ChecksumMismatch: the bytes are not those that were announced.
            UploadNotFound: the upload was completed or aborted meanwhile.
        """
        part = _stored_part(self._number, self._crc32, self._received)
        if self._expected and part.checksum != self._expected:
            raise ChecksumMismatch(f"CRC32 of part {self._number} is {part.checksum}, not {self._expected}")
        with self._still_open():
            os.fdatasync(self._data)
            self._record(self._received)
        return part.etag

    def close(self) -> None:
        """Release the file."""
        os.close(self._data)

    @contextlib.contextmanager
    def _still_open(self) -> Iterator[None]:
        fcntl.flock(self._data, fcntl.LOCK_SH)
        try:
            if not _is_same_file(self._upload / "data", self._data):
                raise UploadNotFound("the upload was completed or aborted")
            yield
        finally:
            fcntl.flock(self._data, fcntl.LOCK_UN)

    def _record(self, size_bytes: int) -> None:
        text = f"{self._number} {self._crc32:08x} {size_bytes}"
        # The line break comes first: a record that a crash cut off spoils itself and not the next one.
        line = f"\n{text} {zlib.crc32(text.encode()):08x}"
        log = os.open(self._upload / "parts", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(log, line.encode())
            os.fdatasync(log)
        finally:
            os.close(log)


def _read_log(path: Path) -> Iterator[tuple[int, int, int]]:
    """Part number, CRC32 and size of every whole record, oldest first."""
    try:
        content = path.read_text("ascii", errors="replace")
    except FileNotFoundError:
        raise _gone(path) from None
    for line in content.split("\n"):
        match = _RECORD.fullmatch(line)
        if match and int(match[4], 16) == zlib.crc32(line.rpartition(" ")[0].encode()):
            yield int(match[1]), int(match[2], 16), int(match[3])


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _open_existing(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _gone(path) from None


def _gone(path: Path) -> UploadNotFound | ObjectStoreUnavailable:
    """What to say of an upload's file that is missing: a store that is away forgets nothing."""
    staging = path.parent.parent
    if staging.is_dir():
        return UploadNotFound("no such upload")
    return ObjectStoreUnavailable(f"the folder {staging.parent} is gone")


def _stored_part(number: int, crc32: int, size_bytes: int) -> StoredPart:
    return StoredPart(number, size_bytes, f"{crc32:08x}", _crc32_base64(crc32))


def _crc32_base64(value: int) -> str:
    return base64.b64encode(value.to_bytes(4, "big")).decode()
