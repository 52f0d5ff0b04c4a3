"""Uploads of the local store whose size is not known when they begin: parts of any size, in any order.

An upload is a folder ``.staging/up-open-<id>`` with ``data``, ``parts`` (one record for each part received) and files of
parts that have no place in ``data`` yet. Senders cut content into equal parts, so the first one that is not the last tells
where each belongs; it is written there, and completing is a rename. Whatever does not fit that picture waits in a file of
its own and is copied in when the upload is completed. Every function blocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import uuid
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.object_store.api import MAX_PARTS, HashedContent, StoredPart
from runstream_common.object_store.errors import (
    ObjectStoreUnavailable,
    PartsNotAccepted,
    UploadNotFound,
)
from runstream_common.object_store.local_folder import (
    Folder,
    copy_range,
    create,
    remove_tree,
    start_flush,
    write_all,
)
from runstream_common.object_store.local_signing import OPEN_UPLOAD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FLUSH_BYTES = 8 * 1024 * 1024
"""Written before the disk is made to begin with it, so that the end of a long part does not wait for all of it."""

_UPLOAD_ID = re.compile(r"open-([0-9a-f]{32})-([0-9]{1,5})")
_RECORD = re.compile(
    r"([0-9]{1,5}) ([0-9a-f]{8,32}) ([0-9]{1,16}) ([0-9]{1,16}|[0-9a-f]{32}) ([0-9a-f]{64}|-) ([0-9a-f]{8})"
)
"""Part number, etag, size in bytes, offset in ``data`` or name of the part's own file, SHA-256 of a part with its own file, and
the CRC32 of the text before it."""


@dataclass(frozen=True, slots=True)
class OpenShape:
    """What an upload's id says."""

    token: str
    part_count: int
    """Parts that were announced; 0: as many as come."""

    @classmethod
    def parse(cls, store_upload_id: str) -> OpenShape:
        """Read an id.

        Raises:
            UploadNotFound: it is none of ours.
        """
        match = _UPLOAD_ID.fullmatch(store_upload_id)
        if match is None:
            raise UploadNotFound("no such upload")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{OPEN_UPLOAD}{self.token}-{self.part_count}"


@dataclass(frozen=True, slots=True)
class _Received:
    number: int
    etag: str
    size_bytes: int
    place: str
    """Offset in ``data``, or the name of the part's own file."""
    sha256: str

    @property
    def offset(self) -> int | None:
        return int(self.place) if self.sha256 == "-" else None

    @property
    def stored(self) -> StoredPart:
        return StoredPart(self.number, self.size_bytes, self.etag, "")


class OpenUploads:
    """The open uploads of a folder.

    Args:
        folder: where they lie and where their content goes.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def create(self, part_count: int) -> str:
        """Open an upload; returns its id. It may be lost if the machine fails: nobody was promised its content.

        Args:
            part_count: parts that will come; 0 when that is not known.
        """
        shape = OpenShape(uuid.uuid4().hex, part_count)
        path = self._path(shape)
        path.mkdir()
        for name in ("data", "parts"):
            os.close(create(path / name))
        return str(shape)

    def receive(self, store_upload_id: str, number: int, size_bytes: int | None) -> OpenPartWriter:
        """Begin to write a part.

        Args:
            store_upload_id: of the upload.
            number: of the part.
            size_bytes: its size; None when that is not known.

        Raises:
            UploadNotFound: no such upload or part.
        """
        shape = OpenShape.parse(store_upload_id)
        if not 1 <= number <= (shape.part_count or MAX_PARTS):
            raise UploadNotFound(f"the upload has {shape.part_count} parts, not {number}")
        path = self._path(shape)
        return OpenPartWriter(path, number, _offset_of(path, shape, number, size_bytes))

    def parts(self, store_upload_id: str) -> list[StoredPart]:
        """The parts received so far, by number.

        Raises:
            UploadNotFound: no such upload.
        """
        received = _received(self._path(OpenShape.parse(store_upload_id)))
        return [received[number].stored for number in sorted(received)]

    def complete(self, store_upload_id: str, parts: Sequence[StoredPart], key: str) -> HashedContent | None:
        """Make the parts, in their order, the object of a key.

        Returns:
            Its digest and size if that is known from writing it: it came in one part.

        Raises:
            UploadNotFound: no such upload.
            PartsNotAccepted: the parts are not there as listed, or one between is missing.
        """
        path = self._path(OpenShape.parse(store_upload_id))
        data = _open_existing(path / "data")
        try:
            # From here on no writer of any process touches the content: each of them finds it gone.
            fcntl.flock(data, fcntl.LOCK_EX)
            chosen = _chosen(_received(path), parts)
            if len(chosen) == 1 and chosen[0].offset is None:
                known = HashedContent(bytes.fromhex(chosen[0].sha256), chosen[0].size_bytes)
                self._publish(path / f"part-{chosen[0].place}", key)
            else:
                known = None
                self._publish(_assembled(path, data, chosen), key)
            # Writers look whether it is there; whoever completes again does too.
            (path / "data").unlink(missing_ok=True)
        finally:
            os.close(data)
        remove_tree(path)
        return known

    def abort(self, store_upload_id: str) -> None:
        """Delete an upload; one that is gone is no error."""
        with contextlib.suppress(UploadNotFound):
            path = self._path(OpenShape.parse(store_upload_id))
            data = _open_existing(path / "data")
            try:
                fcntl.flock(data, fcntl.LOCK_EX)
                remove_tree(path)
            finally:
                os.close(data)

    def _publish(self, content: Path, key: str) -> None:
        descriptor = _open_existing(content)
        try:
            self._folder.publish(descriptor, content, key)
        finally:
            os.close(descriptor)

    def _path(self, shape: OpenShape) -> Path:
        return self._folder.staging / f"up-{shape}"


class OpenPartWriter:
    """Writes one part; it is received when ``finish`` returns, and nothing of it counts if that never comes.

    Args:
        upload: the upload's folder.
        number: of the part.
        offset: where it belongs in ``data``; None: in a file of its own, which nobody else writes to.

    Raises:
        UploadNotFound: the upload is gone.
    """

    def __init__(self, upload: Path, number: int, offset: int | None) -> None:
        self._upload = upload
        self._number = number
        self._offset = offset
        self._received = self._flushed = 0
        self._crc32 = 0
        self._data = _open_existing(upload / "data")
        self._hash = hashlib.sha256() if offset is None else None
        self._name = uuid.uuid4().hex if offset is None else ""
        self._file = self._data if offset is not None else create(self._own_path)
        self._finished = False

    @property
    def _own_path(self) -> Path:
        return self._upload / f"part-{self._name}"

    def write(self, content: list[bytes]) -> None:
        """Append to the part.

        Raises:
            UploadNotFound: the upload was completed or aborted meanwhile.
        """
        with self._still_open():
            # One at a time: what was just hashed is still in the processor's cache when it is written.
            for piece in content:
                if self._hash is not None:
                    self._hash.update(piece)
                else:
                    self._crc32 = zlib.crc32(piece, self._crc32)
                self._received += write_all(self._file, [piece], (self._offset or 0) + self._received)
        if self._received - self._flushed >= FLUSH_BYTES:
            start_flush(self._file, (self._offset or 0) + self._flushed, self._received - self._flushed)
            self._flushed = self._received

    def finish(self) -> str:
        """Make what was written durable and the part received; returns its etag.

        Raises:
            UploadNotFound: the upload was completed or aborted meanwhile.
        """
        with self._still_open():
            os.fdatasync(self._file)
            self._record()
        self._finished = True
        return self._etag

    @property
    def _etag(self) -> str:
        return f"{self._crc32:08x}" if self._hash is None else self._hash.hexdigest()[:32]

    def close(self) -> None:
        """Release the files, and remove what was not finished."""
        if self._hash is not None:
            os.close(self._file)
            if not self._finished:
                self._own_path.unlink(missing_ok=True)
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

    def _record(self) -> None:
        place = self._name if self._offset is None else str(self._offset)
        sha256 = "-" if self._hash is None else self._hash.hexdigest()
        text = f"{self._number} {self._etag} {self._received} {place} {sha256}"
        # The line break comes first: a record that a crash cut off spoils itself and not the next one.
        line = f"\n{text} {zlib.crc32(text.encode()):08x}"
        log = os.open(self._upload / "parts", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(log, line.encode())
            os.fdatasync(log)
        finally:
            os.close(log)


def _offset_of(path: Path, shape: OpenShape, number: int, size_bytes: int | None) -> int | None:
    """Where a part belongs in ``data``; None when that cannot be said yet."""
    if size_bytes is None or shape.part_count < 2:
        return None
    part_size_bytes = _part_size(path, size_bytes if number < shape.part_count else None)
    fits = part_size_bytes is not None and (
        size_bytes == part_size_bytes if number < shape.part_count else size_bytes <= part_size_bytes
    )
    return (number - 1) * part_size_bytes if fits and part_size_bytes is not None else None


def _part_size(path: Path, seen_bytes: int | None) -> int | None:
    """Size of every part but the last: that of the first one seen, which is noted; None when none was seen."""
    note = path / "part-size"
    with contextlib.suppress(FileNotFoundError):
        return int(note.read_text("ascii"))
    if not seen_bytes:
        return None
    _require_open(path)
    # Written whole before it has its name: a reader sees all of it or nothing.
    whole = path / f"part-size-{uuid.uuid4().hex}"
    whole.write_text(str(seen_bytes), "ascii")
    with contextlib.suppress(FileExistsError):
        os.link(whole, note)
    whole.unlink()
    return int(note.read_text("ascii"))


def _received(path: Path) -> dict[int, _Received]:
    """What was received last of each part, by number."""
    try:
        content = (path / "parts").read_text("ascii", errors="replace")
    except FileNotFoundError:
        raise _gone(path) from None
    _require_open(path)
    found = {}
    for line in content.split("\n"):
        match = _RECORD.fullmatch(line)
        if match and int(match[6], 16) == zlib.crc32(line.rpartition(" ")[0].encode()):
            part = _Received(int(match[1]), match[2], int(match[3]), match[4], match[5])
            found[part.number] = part
    return found


def _chosen(received: dict[int, _Received], parts: Sequence[StoredPart]) -> list[_Received]:
    if not parts or [part.number for part in parts] != list(range(1, len(parts) + 1)):
        raise PartsNotAccepted("parts must be 1, 2, 3 and so on")
    for part in parts:
        if part.number not in received or received[part.number].stored != part:
            raise PartsNotAccepted(f"part {part.number} is not there as listed")
    return [received[part.number] for part in parts]


def _assembled(path: Path, data: int, parts: list[_Received]) -> Path:
    """The file with the content of all parts; only those that have no place in ``data`` are copied."""
    offsets = _running_sums([part.size_bytes for part in parts])
    in_place = all(part.offset in (None, offset) for part, offset in zip(parts, offsets, strict=False))
    target = path / "data" if in_place else path / f"whole-{uuid.uuid4().hex}"
    writing = data if in_place else create(target)
    try:
        for part, offset in zip(parts, offsets, strict=False):
            if part.offset is not None and in_place:
                continue
            reading = data if part.offset is not None else _open_existing(path / f"part-{part.place}")
            try:
                copy_range(reading, part.offset or 0, writing, offset, part.size_bytes)
            finally:
                if reading != data:
                    os.close(reading)
        os.truncate(writing, offsets[-1])
    finally:
        if writing != data:
            os.close(writing)
    return target


def _running_sums(sizes: list[int]) -> list[int]:
    sums = [0]
    for size in sizes:
        sums.append(sums[-1] + size)
    return sums


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _open_existing(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _gone(path.parent) from None


def _require_open(path: Path) -> None:
    if not (path / "data").exists():
        raise _gone(path)


def _gone(upload: Path) -> UploadNotFound | ObjectStoreUnavailable:
    """What to say of an upload that is missing: a store that is away forgets nothing."""
    staging = upload.parent
    if staging.is_dir():
        return UploadNotFound("no such upload")
    return ObjectStoreUnavailable(f"the folder {staging.parent} is gone")
