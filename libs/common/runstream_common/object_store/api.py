"""What an object store does for us; ``s3.S3Store`` and ``local.LocalStore`` do it.

Bytes go straight between clients and the store with signed requests; a service only signs, completes and checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
GIBIBYTE = 1024 * MEBIBYTE

MIN_PART_BYTES = 5 * MEBIBYTE
"""Smallest part but the last one (S3)."""
MAX_PARTS = 10_000
"""Most parts of an upload (S3)."""
MAX_PUT_BYTES = 5 * GIBIBYTE
"""Largest content sent in one piece, and largest content copied (S3)."""
MAX_EXPIRES_SECONDS = 604_800
"""Longest life of a signed request: seven days (AWS Signature Version 4)."""


@dataclass(frozen=True, slots=True)
class StoreChecks:
    """What the store itself verifies of what it receives; known after ``start``."""

    sha256: bool
    """A PUT whose bytes do not have the signed SHA-256 is refused and stores nothing."""
    part_crc32: bool
    """A part whose bytes do not have the signed CRC32 is refused and stores nothing."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """An HTTP request that the store accepts as it is and not otherwise."""

    method: str
    url: str
    """Absolute; without a host (``http://:5072/…``) it means the host by which the client reached the deployment."""
    headers: Mapping[str, str]
    """Must be sent exactly so."""
    expire_time_ms: int
    """Milliseconds since the Unix epoch (UTC)."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """How the store is reached."""

    service_url: str
    """What requests signed for services begin with; without a host (``http://:5072``) the host is that of whoever signs."""
    clients_reach_it: bool
    """Whether clients reach it by themselves: it has a public address."""


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What the store knows of an object without reading it."""

    size_bytes: int
    sha256: bytes | None
    """The checksum that the store verified and kept; None when it has none (multipart, or a store without checksums)."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that the store has received."""

    number: int
    """From 1."""
    size_bytes: int
    etag: str
    checksum: str
    """CRC32 in base64, big endian, as in ``x-amz-checksum-crc32``; empty when the store keeps none."""


class HashedContent(NamedTuple):
    """What reading an object from first to last byte gave."""

    sha256: bytes
    size_bytes: int


class ObjectStore(Protocol):
    """Objects under keys; a service's component (started and stopped with it).

    Every ``async`` method raises ``Unavailable`` (with ``retry_after_seconds``) when the store cannot be reached, and
    ``FailedPrecondition`` naming bucket and action when it refuses our credentials. Signing only computes and never fails
    for the store's state. Keys are ours: ASCII letters, digits and ``/ - _ .``, no empty, ``.`` or ``..`` names.
    """

    @property
    def name(self) -> str:
        """How the component shows in logs and readiness."""
        ...

    @property
    def checks(self) -> StoreChecks:
        """What the store verifies; probed by ``start``."""
        ...

    async def start(self) -> None:
        """Reach the store, make the bucket or folder if that is wanted, probe ``checks``."""
        ...

    async def stop(self) -> None:
        """Release connections and threads."""
        ...

    async def ping(self) -> None:
        """Return when the store answers; a readiness check."""
        ...

    def sign_put(
        self, key: str, *, size_bytes: int, sha256: bytes, content_type: str, expires_seconds: int
    ) -> SignedRequest:
        """A PUT of one object in one piece that serves for exactly one content.

        Args:
            key: where to; an object that is there is replaced.
            size_bytes: 0 to ``MAX_PUT_BYTES``.
            sha256: digest of the content, 32 bytes; the store compares it if ``checks.sha256``.
            content_type: media type, kept with the object.
            expires_seconds: 1 to ``MAX_EXPIRES_SECONDS``.
        """
        ...

    def sign_part(
        self,
        key: str,
        store_upload_id: str,
        number: int,
        *,
        size_bytes: int,
        crc32_base64: str,
        expires_seconds: int,
    ) -> SignedRequest:
        """A PUT of one part; sending a part again replaces it.

        Args:
            key: as given to ``create_multipart``.
            store_upload_id: what ``create_multipart`` returned.
            number: 1 to ``MAX_PARTS``.
            size_bytes: size of this part.
            crc32_base64: CRC32 of the part, 4 bytes big endian in base64; must be given if ``checks.part_crc32``,
                and is left out of the request when empty.
            expires_seconds: 1 to ``MAX_EXPIRES_SECONDS``.
        """
        ...

    def sign_get(
        self,
        key: str,
        *,
        file_name: str,
        content_type: str,
        expires_seconds: int,
        for_service: bool = False,
    ) -> SignedRequest:
        """A GET, which takes a ``Range`` header on top of its own.

        Args:
            key: of the object; whether it exists is not checked.
            file_name: what a browser saves it as; any Unicode.
            content_type: media type of the answer; empty leaves the stored one.
            expires_seconds: 1 to ``MAX_EXPIRES_SECONDS``.
            for_service: for the address by which services reach the store.
        """
        ...

    @property
    def address(self) -> StoreAddress:
        """How it is reached; known after ``start``."""
        ...

    @property
    def open_parts_need_length(self) -> bool:
        """Whether a part of an open upload must be sent with a Content-Length."""
        ...

    async def put(self, key: str, content: bytes, *, sha256: bytes, content_type: str) -> None:
        """Store a small object, durably.

        Args:
            key: where to; an object that is there is replaced.
            content: all of it.
            sha256: its digest.
            content_type: media type, kept with the object.
        """
        ...

    async def create_open(self, key: str, *, content_type: str, part_count: int) -> str:
        """Open an upload of parts of any size (S3: at least ``MIN_PART_BYTES``, but the last); returns the store's id of it.
        ``list_parts`` and ``abort_multipart`` take it too.

        Args:
            key: where the content goes when the upload is completed.
            content_type: media type, kept with the object.
            part_count: parts that will come; 0 when that is not known.
        """
        ...

    def sign_open_part(
        self, key: str, store_upload_id: str, number: int, *, expires_seconds: int, for_service: bool
    ) -> SignedRequest:
        """A PUT of one part of an open upload, of any content; sending a part again replaces it.

        Args:
            key: as given to ``create_open``.
            store_upload_id: what ``create_open`` returned.
            number: 1 to ``MAX_PARTS``.
            expires_seconds: 1 to ``MAX_EXPIRES_SECONDS``.
            for_service: for the address by which services reach the store.
        """
        ...

    async def complete_open(
        self, key: str, store_upload_id: str, parts: Sequence[StoredPart]
    ) -> HashedContent | None:
        """Put the parts of an open upload together; the object is at ``key`` afterwards, and no request can change it.

        Args:
            key: as given to ``create_open``.
            store_upload_id: what ``create_open`` returned.
            parts: numbers 1, 2, 3 and so on, as ``list_parts`` gave them.

        Returns:
            Digest and size, if the store itself found them out while it received the content; else it has to be read.

        Raises:
            UploadNotFound: no such upload; see ``complete_multipart``.
            PartsNotAccepted: a part is missing, too small or not as listed.
        """
        ...

    async def create_multipart(
        self, key: str, *, content_type: str, size_bytes: int, part_size_bytes: int
    ) -> str:
        """Open a multipart upload; returns the store's id of it.

        Args:
            key: where the content goes when the upload is completed.
            content_type: media type, kept with the object.
            size_bytes: size of the whole content.
            part_size_bytes: size of every part but the last one.
        """
        ...

    async def list_parts(self, key: str, store_upload_id: str) -> list[StoredPart]:
        """The parts received so far, by number.

        Raises:
            UploadNotFound: no such upload; it was completed, aborted or expired.
        """
        ...

    async def complete_multipart(self, key: str, store_upload_id: str, parts: Sequence[StoredPart]) -> None:
        """Put the parts together; the object is at ``key`` afterwards.

        Args:
            key: as given to ``create_multipart``.
            store_upload_id: what ``create_multipart`` returned.
            parts: all of them, as ``list_parts`` gave them, by number.

        Raises:
            UploadNotFound: no such upload. After a lost answer it may have been completed: ask ``stat``. (An S3 server may
                also answer a repeated completion like the first one.)
            PartsNotAccepted: a part is missing, too small or not as listed.
        """
        ...

    async def abort_multipart(self, key: str, store_upload_id: str) -> None:
        """Delete what was received; an upload that is gone is no error."""
        ...

    async def stat(self, key: str) -> ObjectStat | None:
        """What the store knows of an object; None when there is none."""
        ...

    async def stat_many(self, keys: Sequence[str]) -> list[ObjectStat | None]:
        """The same of several objects, one after the other; far cheaper than as many calls. In the given order."""
        ...

    async def hash_content(self, key: str) -> HashedContent | None:
        """Read the whole object and hash it, with flat memory; None when there is none."""
        ...

    async def read(self, key: str, max_bytes: int) -> bytes | None:
        """The first ``max_bytes`` of an object; None when there is none."""
        ...

    async def copy(self, source: str, target: str) -> None:
        """Copy an object of at most ``MAX_PUT_BYTES`` within the store, replacing what is at the target.

        Raises:
            ObjectNotFound: there is nothing at the source.
        """
        ...

    async def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        ...
