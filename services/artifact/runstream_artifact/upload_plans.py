"""How a file is sent: in one piece or in parts, and to which key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_common.object_store.api import MAX_PARTS, MEBIBYTE
from runstream_common.object_store.keys import blob_key, staging_key
from runstream_contract.ids import new_batch_id

from runstream_artifact.entities import Upload, UploadMethod, UploadState

if TYPE_CHECKING:
    from runstream_common.object_store.api import StoreChecks

    from runstream_artifact.entities import NewFile, Owner


@dataclass(frozen=True, slots=True)
class UploadRules:
    """What the settings say of uploads.

    Args:
        threshold_bytes: largest file that goes in one piece.
        part_bytes: size of a part, unless the file needs larger ones.
        url_seconds: how long signed requests work.
        keep_seconds: how long an upload may rest; no less than ``url_seconds``.
    """

    threshold_bytes: int
    part_bytes: int
    url_seconds: int
    keep_seconds: float


def part_size_bytes(size_bytes: int, least_bytes: int) -> int:
    """Size of the parts of a file: at most 10,000 of them (S3), whole MiB when the file asks for more than the least."""
    needed = -(-size_bytes // MAX_PARTS)
    return max(least_bytes, -(-needed // MEBIBYTE) * MEBIBYTE)


def planned_upload(owner: Owner, file: NewFile, checks: StoreChecks, rules: UploadRules) -> Upload:
    """The upload that a new file needs."""
    in_parts = file.size_bytes > rules.threshold_bytes
    single = UploadMethod.SINGLE if checks.sha256 else UploadMethod.STAGED
    return Upload(
        upload_id=new_batch_id(),
        owner=owner,
        path=file.path,
        size_bytes=file.size_bytes,
        digest=file.digest,
        content_type=file.content_type,
        method=UploadMethod.MULTIPART if in_parts else single,
        part_size_bytes=part_size_bytes(file.size_bytes, rules.part_bytes) if in_parts else 0,
        store_upload_id="",
        state=UploadState.OPEN,
        completed_time_ms=None,
        expire_time_ms=0,
    )


def object_key(upload: Upload) -> str:
    """Where the content is kept once it is proven.

    Only requests signed for exactly this content can write to the key that is the bare digest. Whatever is proven by
    reading it lies under a key of its upload alone, so that no other upload can change it afterwards.
    """
    if upload.method is UploadMethod.SINGLE:
        return blob_key(upload.digest)
    return f"{blob_key(upload.digest)}.{upload.upload_id}"


def sent_key(upload: Upload) -> str:
    """Where the client sends the content to."""
    return staging_key(upload.upload_id) if upload.method is UploadMethod.STAGED else object_key(upload)
