"""Headers and queries of requests to an object store: the same for both stores, so that clients need not know which it is."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote

_UNSAFE = re.compile(r"[^A-Za-z0-9 !#$&+.^_`|~(),=@\[\]{}-]")


def content_disposition(file_name: str) -> str:
    """The header that makes a browser save a file under a name (RFC 6266): printable ASCII whatever the name.

    Args:
        file_name: any Unicode.
    """
    plain = _UNSAFE.sub("_", file_name)
    extended = quote(file_name.encode("utf-8", "replace"), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}"


def put_headers(*, size_bytes: int, sha256: bytes, content_type: str) -> dict[str, str]:
    """Headers of a PUT that serves for one content."""
    return {
        "content-length": str(size_bytes),
        "content-type": content_type,
        "x-amz-checksum-sha256": base64.b64encode(sha256).decode(),
    }


def part_headers(*, size_bytes: int, crc32_base64: str) -> dict[str, str]:
    """Headers of a part; without a checksum when the store verifies none."""
    checksum = {"x-amz-checksum-crc32": crc32_base64} if crc32_base64 else {}
    return {"content-length": str(size_bytes), **checksum}


def part_query(store_upload_id: str, number: int) -> dict[str, str]:
    """Query of a part (S3's UploadPart)."""
    return {"partNumber": str(number), "uploadId": store_upload_id}


def get_query(*, file_name: str, content_type: str) -> dict[str, str]:
    """Query of a GET whose answer says what to save it as, and a media type unless it is empty (S3's GetObject)."""
    media_type = {"response-content-type": content_type} if content_type else {}
    return {"response-content-disposition": content_disposition(file_name), **media_type}
