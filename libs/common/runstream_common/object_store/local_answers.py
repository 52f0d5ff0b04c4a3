"""What the local store's HTTP server answers: headers, ranges, and errors in S3's form and with S3's codes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import structlog
from aiohttp import web

from runstream_common.object_store import metrics
from runstream_common.object_store.errors import (
    ChecksumMismatch,
    ObjectStoreFull,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    UploadNotFound,
)

if TYPE_CHECKING:
    from runstream_common.errors import PlatformError
    from runstream_common.object_store.local_signing import Grant

log = structlog.get_logger(__name__)

PREFLIGHT_SECONDS = 86_400
CORS = {
    # Whoever has a signed URL has what it grants; the origin of a page adds nothing to it.
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Disposition, Content-Length, Content-Range, ETag",
}
PREFLIGHT = {
    **CORS,
    "Access-Control-Allow-Methods": "GET, HEAD, PUT",
    "Access-Control-Allow-Headers": "Content-Type, Range, X-Amz-Checksum-Crc32, X-Amz-Checksum-Sha256",
    "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
}
PARTIAL_CONTENT = 206


class Refusal(Exception):
    """An answer other than success.

    Args:
        status: of HTTP.
        code: of S3.
        message: for a person.
        headers: more headers, ``_`` for ``-``.
    """

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def refusal_for(error: PlatformError) -> Refusal:
    """How a client is told of one of our errors.

    Raises:
        PlatformError: it is none that it could be told of.
    """
    if isinstance(error, ChecksumMismatch):
        return Refusal(400, "BadDigest", error.message)
    if isinstance(error, UploadNotFound):
        return Refusal(404, "NoSuchUpload", error.message)
    if isinstance(error, ObjectStoreFull):
        return Refusal(507, "InsufficientStorage", error.message)
    if isinstance(error, ObjectStoreUnavailable):
        return Refusal(503, "ServiceUnavailable", error.message, Retry_After="1")
    if isinstance(error, ObjectStoreRefused):
        return Refusal(500, "InternalError", "The store's folder cannot be used")
    raise error


def error_answer(request: web.BaseRequest, refusal: Refusal) -> web.Response:
    """The answer to a request that is refused."""
    metrics.REFUSED.labels(refusal.code).inc()
    log.info("object_request_refused", method=request.method, code=refusal.code, status=refusal.status)
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
        f"<Resource>{escape(request.path)}</Resource></Error>"
    )
    return web.Response(
        status=refusal.status,
        text=body,
        content_type="application/xml",
        headers={**CORS, **refusal.headers},
    )


def asked_range(request: web.BaseRequest, size_bytes: int) -> tuple[int, int, int]:
    """Status, first byte and the byte after the last one.

    A Range that is malformed or has several parts is ignored, as RFC 9110 allows.

    Raises:
        Refusal: the range lies beyond the end.
    """
    asked: slice[Any, Any, Any] = slice(None)
    with contextlib.suppress(ValueError):
        asked = request.http_range
    if asked.start is None and asked.stop is None:
        return 200, 0, size_bytes
    begin, end, _ = slice(asked.start, asked.stop).indices(size_bytes)
    if begin >= end:
        unsatisfied = f"bytes */{size_bytes}"
        raise Refusal(
            416, "InvalidRange", "The requested range is not satisfiable", Content_Range=unsatisfied
        )
    return PARTIAL_CONTENT, begin, end


def object_headers(grant: Grant, size_bytes: int, status: int, begin: int, end: int) -> dict[str, str]:
    """Headers of an answer with the bytes from ``begin`` to before ``end`` of an object."""
    headers = {
        **CORS,
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - begin),
        "Content-Type": grant.query.get("response-content-type", "application/octet-stream"),
        # What someone uploaded is never taken for a page of this host.
        "X-Content-Type-Options": "nosniff",
    }
    if "response-content-disposition" in grant.query:
        headers["Content-Disposition"] = grant.query["response-content-disposition"]
    if status == PARTIAL_CONTENT:
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size_bytes}"
    return headers
