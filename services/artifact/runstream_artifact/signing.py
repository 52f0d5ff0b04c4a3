"""Requests that clients send to the object store by themselves."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import TYPE_CHECKING, NamedTuple

from runstream_common.errors import FailedPrecondition, InvalidArgument
from runstream_common.object_store.errors import UploadNotFound as StoreUploadNotFound

from runstream_artifact.entities import UploadMethod
from runstream_artifact.upload_plans import sent_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.object_store.api import ObjectStore, SignedRequest, StoredPart

    from runstream_artifact.entities import Upload
    from runstream_artifact.upload_plans import UploadRules

SIGNED_AT_ONCE = 50
"""Signatures computed before others get a turn: about two milliseconds."""

CRC32_BYTES = 4
PART_CHECKSUM = "CRC32"


class UploadTicket(NamedTuple):
    """An upload with what a client needs to send its content."""

    upload: Upload
    request: SignedRequest | None
    """How to send it in one piece; None for a multipart upload."""
    parts: Sequence[StoredPart]
    """Parts that need not be sent again."""
    part_checksum: str
    """What each part needs; empty when nothing."""


class PartToSign(NamedTuple):
    """A part that is about to be sent."""

    number: int
    checksum: str


class Signer:
    """Signs requests for uploads."""

    def __init__(self, store: ObjectStore, rules: UploadRules) -> None:
        self._store = store
        self._rules = rules

    async def tickets(
        self, uploads: Sequence[Upload], parts: dict[str, Sequence[StoredPart]]
    ) -> list[UploadTicket]:
        """Tickets for open uploads.

        Args:
            parts: what the store has received, by upload id.
        """
        tickets = []
        for index, upload in enumerate(uploads):
            if index % SIGNED_AT_ONCE == SIGNED_AT_ONCE - 1:
                await asyncio.sleep(0)
            tickets.append(self._ticket(upload, parts.get(upload.upload_id, ())))
        return tickets

    def _ticket(self, upload: Upload, parts: Sequence[StoredPart]) -> UploadTicket:
        if upload.method is UploadMethod.MULTIPART:
            checksum = PART_CHECKSUM if self._store.checks.part_crc32 else ""
            return UploadTicket(upload, None, whole_parts(upload, parts), checksum)
        request = self._store.sign_put(
            sent_key(upload),
            size_bytes=upload.size_bytes,
            sha256=upload.digest,
            content_type=upload.content_type,
            expires_seconds=self._rules.url_seconds,
        )
        return UploadTicket(upload, request, (), "")

    async def parts(self, upload: Upload, parts: Sequence[PartToSign]) -> list[SignedRequest]:
        """Requests for parts of an open upload, in the given order.

        Raises:
            InvalidArgument: a number or checksum is wrong.
            FailedPrecondition: it is no multipart upload.
        """
        if upload.method is not UploadMethod.MULTIPART or not upload.store_upload_id:
            raise FailedPrecondition(
                f"upload {upload.upload_id} is sent in one piece", reason="NOT_A_MULTIPART_UPLOAD"
            )
        requests = []
        for index, part in enumerate(parts):
            self._check_part(upload, part, f"parts[{index}]")
            if index % SIGNED_AT_ONCE == SIGNED_AT_ONCE - 1:
                await asyncio.sleep(0)
            requests.append(
                self._store.sign_part(
                    sent_key(upload),
                    upload.store_upload_id,
                    part.number,
                    size_bytes=upload.part_bytes(part.number),
                    crc32_base64=part.checksum if self._store.checks.part_crc32 else "",
                    expires_seconds=self._rules.url_seconds,
                )
            )
        return requests

    def _check_part(self, upload: Upload, part: PartToSign, field: str) -> None:
        if not 1 <= part.number <= upload.part_count:
            raise InvalidArgument.of(f"{field}.part_number", f"must be 1 to {upload.part_count}")
        if self._store.checks.part_crc32 and not _is_crc32(part.checksum):
            raise InvalidArgument.of(
                f"{field}.checksum", "must be the part's CRC32: 4 bytes, big endian, in base64"
            )


async def received_parts(store: ObjectStore, upload: Upload) -> list[StoredPart] | None:
    """What the store has received of a multipart upload; None when it knows no such upload (any longer)."""
    if not upload.store_upload_id:
        return None
    try:
        return await store.list_parts(sent_key(upload), upload.store_upload_id)
    except StoreUploadNotFound:
        return None


def whole_parts(upload: Upload, parts: Sequence[StoredPart]) -> list[StoredPart]:
    """The parts that have the size that they should have."""
    return [
        part
        for part in parts
        if 1 <= part.number <= upload.part_count and part.size_bytes == upload.part_bytes(part.number)
    ]


def _is_crc32(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == CRC32_BYTES
    except (binascii.Error, ValueError):
        return False
