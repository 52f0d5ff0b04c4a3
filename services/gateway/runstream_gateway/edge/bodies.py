"""Request bodies that handlers get whole: bounded, and decompressed when they came compressed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from isal import igzip_lib
from starlette.requests import ClientDisconnect, Request

from runstream_gateway.edge.refusals import Refusal, too_large

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope

OFF_LOOP_BYTES = 256 * 1024
"""From here on the work takes longer than the hop to a thread."""

_GZIP = frozenset({b"gzip", b"x-gzip"})
_IsalError: Any = igzip_lib.IsalError  # its stubs do not say what it is


class WholeRequest(Request):
    """A request whose body was read already.

    Args:
        scope: ASGI's.
        receive: ASGI's.
        body: the whole body.
    """

    def __init__(self, scope: Scope, receive: Receive, body: bytes) -> None:
        super().__init__(scope, receive)
        # Starlette's own place of a body that was read: body(), json() and stream() all look here first.
        self._body = body


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limit_bytes: int) -> bytes:
    """The whole body of a request.

    Args:
        receive: ASGI's.
        headers: the request's, names in lower case.
        limit_bytes: largest body, before and after decompression.

    Raises:
        Refusal: 413 over the limit, 400 for broken gzip, 415 for another Content-Encoding.
        ClientDisconnect: the client left before the end.
    """
    length = headers.get(b"content-length")
    if length is None and b"transfer-encoding" not in headers:
        return b""
    if length is not None and int(length) > limit_bytes:
        raise too_large(limit_bytes)
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    if encoding not in _GZIP and encoding not in (b"", b"identity"):
        raise Refusal(
            415,
            "INVALID_PARAMETER_VALUE",
            "Content-Encoding must be gzip or identity.",
            headers={"Accept-Encoding": "gzip"},
        )
    body = await _gathered(receive, limit_bytes)
    return await _decompressed(body, limit_bytes) if encoding in _GZIP and body else body


async def _gathered(receive: Receive, limit_bytes: int) -> bytes:
    message: Any = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        first: bytes = message.get("body", b"")
        if len(first) > limit_bytes:
            raise too_large(limit_bytes)
        return first
    parts, total = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        total += len(part)
        if total > limit_bytes:
            raise too_large(limit_bytes)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


async def _decompressed(body: bytes, limit_bytes: int) -> bytes:
    # Small bodies may expand a thousandfold, which is still well under what blocks the loop.
    if len(body) < OFF_LOOP_BYTES // 64:
        return gunzip(body, limit_bytes)
    return await asyncio.to_thread(gunzip, body, limit_bytes)


def gunzip(body: bytes, limit_bytes: int) -> bytes:
    """Decompress gzip.

    Args:
        body: one gzip member; a chain of them, which no HTTP client sends, would take time without bound.
        limit_bytes: largest result; no more than that is ever made.

    Raises:
        Refusal: 400 when it is no whole gzip, 413 over the limit.
    """
    decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    try:
        plain: bytes = decompressor.decompress(body, limit_bytes + 1)
    except _IsalError as error:
        raise _broken_gzip() from error
    if len(plain) > limit_bytes:
        raise too_large(limit_bytes)
    if not decompressor.eof or decompressor.unused_data:
        raise _broken_gzip()
    return plain


def _broken_gzip() -> Refusal:
    return Refusal(400, "MALFORMED_REQUEST", "The body of the request is not valid gzip.")
