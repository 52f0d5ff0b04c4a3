"""What this service keeps, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

MAX_FILE_BYTES = 5 * 1024**4
"""Largest file: 5 TiB, the most that S3 keeps in one object."""


class OwnerKind(IntEnum):
    """What a tree belongs to; the numbers are those of ``runstream.artifact.v1.OwnerKind`` and of the tables."""

    RUN = 1
    LOGGED_MODEL = 2
    MODEL_VERSION = 3
    TRACE = 4
    PROXY = 5


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """Whose file tree."""

    kind: OwnerKind
    id: str

    def __str__(self) -> str:
        """Fit for a message: ``run 4f…``."""
        return f"{self.kind.name.lower().replace('_', ' ')} {self.id}"


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that somebody wants to store; path, size and digest have been checked."""

    path: str
    size_bytes: int
    digest: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A visible file."""

    path: str
    size_bytes: int
    digest: bytes
    content_type: str
    stored_time_ms: int


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory; it exists while there is a file below it."""

    path: str


Entry = StoredFile | Directory


@dataclass(frozen=True, slots=True)
class Blob:
    """Content that the object store has and that was compared with its digest."""

    digest: bytes
    size_bytes: int
    object_key: str


class UploadMethod(IntEnum):
    """How content is sent and proven."""

    SINGLE = 1
    """One PUT whose checksum the store verifies, to the key that the digest names."""
    STAGED = 2
    """One PUT to a key of the upload's own, which is copied and read back: the store verifies nothing."""
    MULTIPART = 3
    """Parts that become an object under a key of the upload's own, which is read back."""


class UploadState(IntEnum):
    """Where an upload is in its life."""

    OPEN = 1
    COMPLETED = 2
    ABANDONED = 3


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way."""

    upload_id: str
    owner: Owner
    path: str
    size_bytes: int
    digest: bytes
    content_type: str
    method: UploadMethod
    part_size_bytes: int
    store_upload_id: str
    state: UploadState
    completed_time_ms: int | None
    expire_time_ms: int

    @property
    def part_count(self) -> int:
        """Number of parts; 0 unless it is a multipart upload."""
        return -(-self.size_bytes // self.part_size_bytes) if self.part_size_bytes else 0

    def part_bytes(self, number: int) -> int:
        """Size of one part; all but the last have the same."""
        return min(self.part_size_bytes, self.size_bytes - (number - 1) * self.part_size_bytes)


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A file on its way whose size and digest are not known."""

    upload_id: str
    owner: Owner
    path: str
    content_type: str
    part_count: int
    """Parts that were announced; 0: as many as come."""
    store_upload_id: str
    state: UploadState
    digest: bytes | None
    """Known once it is completed, as are the following two."""
    size_bytes: int | None
    completed_time_ms: int | None
    expire_time_ms: int

    @property
    def object_key(self) -> str:
        """Where the content is: under a key of the upload's own, which no request can write to once it is put together."""
        # The last characters: ids begin with the time, which would put all of a day into one folder.
        return f"blobs/open/{self.upload_id[-2:]}/{self.upload_id}"


@dataclass(frozen=True, slots=True)
class Tree:
    """A whole tree, or a directory of it, in numbers."""

    digest: bytes
    file_count: int
    size_bytes: int
    sealed: bool
