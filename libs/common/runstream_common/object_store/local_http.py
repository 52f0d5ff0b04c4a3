"""The HTTP server of a local store: PUT and GET of what was signed, and nothing else.

Errors have S3's form and codes, so that a client needs to know one kind.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
from typing import TYPE_CHECKING, Any, Protocol
from xml.sax.saxutils import escape

import structlog
from aiohttp import ClientPayloadError, web

from runstream_common.errors import PlatformError
from runstream_common.object_store.errors import (
    ChecksumMismatch,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    UploadNotFound,
)
from runstream_common.object_store.local_signing import URL_PREFIX, UrlRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runstream_common.object_store.local_folder import Folder
    from runstream_common.object_store.local_signing import Grant, UrlSigner
    from runstream_common.object_store.local_uploads import Uploads
    from runstream_common.object_store.workers import Workers

log = structlog.get_logger(__name__)

MAX_TRANSFERS = 64
"""Requests in progress at once; more are told to come back. Each holds two pieces at most."""
PIECE_BYTES = 512 * 1024
"""What goes to or comes from the disk at once; a body of this size or less needs one step."""
IDLE_SECONDS = 60.0
"""A client that sends or takes nothing for this long is given up."""
LINGERING_SECONDS = 10.0
"""How long the body of a refused request is still taken, so that a client that is sending gets to see the answer."""
READ_BUFFER_BYTES = 256 * 1024
PREFLIGHT_SECONDS = 86_400
_CORS = {
    # Whoever has a signed URL has what it grants; the origin of a page adds nothing to it.
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Content-Disposition, Content-Length, Content-Range, ETag",
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, PUT",
    "Access-Control-Allow-Headers": "Content-Type, Range, X-Amz-Checksum-Crc32, X-Amz-Checksum-Sha256",
    "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
}


class Writer(Protocol):
    """Where a body goes; every method blocks."""

    def write(self, content: list[bytes]) -> None:
        """Append."""
        ...

    def finish(self) -> str:
        """Check and keep what was written; returns the etag."""
        ...

    def close(self) -> None:
        """Release what is held, and drop what was not finished."""
        ...


class _Refusal(Exception):
    """An answer other than success."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class LocalHttpServer:
    """Serves a folder's objects to those who have a signed URL.

    Args:
        folder: of the objects.
        uploads: of the same folder.
        workers: threads for everything that touches the disk.
        host: address to listen on.
        port: port to listen on; 0 picks one, which ``port`` tells after ``start``.
        idle_seconds: how long a client may send or take nothing.
        max_transfers: requests in progress at once.
    """

    def __init__(
        self,
        folder: Folder,
        uploads: Uploads,
        workers: Workers,
        *,
        host: str,
        port: int,
        idle_seconds: float = IDLE_SECONDS,
        max_transfers: int = MAX_TRANSFERS,
    ) -> None:
        self.host = host
        self.port = port
        self._folder = folder
        self._uploads = uploads
        self._workers = workers
        self._idle_seconds = idle_seconds
        self._max_transfers = max_transfers
        self.transfers = 0
        """Requests in progress."""
        self._signer: UrlSigner | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, signer: UrlSigner) -> None:
        """Listen.

        Args:
            signer: who signed the URLs that are served.

        Raises:
            OSError: the port is taken or the address is not ours.
        """
        self._signer = signer
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=5.0,
            keepalive_timeout=75.0,
            read_bufsize=READ_BUFFER_BYTES,
            lingering_time=min(self._idle_seconds, LINGERING_SECONDS),
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, backlog=512)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Finish what is in progress and stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return web.Response(status=204, headers={**_CORS, **_PREFLIGHT})
        if self.transfers >= self._max_transfers:
            return _error(
                request, _Refusal(503, "SlowDown", "Please reduce your request rate", Retry_After="1")
            )
        self.transfers += 1
        try:
            return await self._serve(request)
        except _Refusal as refusal:
            return _error(request, refusal)
        except UrlRefused as refused:
            return _error(request, _Refusal(403, refused.code, refused.message))
        except PlatformError as error:
            return _error(request, _refusal_for(error))
        finally:
            self.transfers -= 1

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        method = _METHODS.get(request.method)
        if method is None:
            raise _Refusal(
                405, "MethodNotAllowed", "The specified method is not allowed", Allow="GET, HEAD, PUT"
            )
        path = request.match_info["path"]
        prefix = URL_PREFIX.lstrip("/")
        if self._signer is None or not path.startswith(prefix):
            raise _Refusal(403, "AccessDenied", "Only signed requests are served")
        key = path.removeprefix(prefix)
        grant = self._signer.verify(request.method, key, request.query.items(), request.headers)
        return await method(self, request, grant)

    async def _put(self, request: web.Request, grant: Grant) -> web.StreamResponse:
        if request.content_length is None:
            raise _Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header")
        etag = await self._receive(request, request.content_length, self._writer(request, grant))
        return web.Response(headers={**_CORS, "ETag": f'"{etag}"'})

    def _writer(self, request: web.Request, grant: Grant) -> Callable[[], Writer]:
        if "uploadId" in grant.query:
            crc32 = request.headers.get("x-amz-checksum-crc32", "")
            upload_id, number = grant.query["uploadId"], int(grant.query["partNumber"])
            return lambda: self._uploads.receive(upload_id, number, crc32)
        try:
            sha256 = base64.b64decode(request.headers["x-amz-checksum-sha256"], validate=True)
        except (KeyError, binascii.Error):
            raise _Refusal(
                400, "InvalidRequest", "x-amz-checksum-sha256 must be a digest in base64"
            ) from None
        return lambda: self._folder.receive(grant.key, sha256)

    async def _receive(self, request: web.Request, size_bytes: int, make_writer: Callable[[], Writer]) -> str:
        if size_bytes <= PIECE_BYTES:
            content = await self._piece(request, size_bytes)
            return await self._workers.run("write", _write_whole, make_writer, content)
        writer = await self._workers.run("write", make_writer)
        writing: asyncio.Future[None] | None = None
        try:
            left = size_bytes
            while left:
                # The next piece is received while the one before goes to the disk.
                content = await self._piece(request, min(left, PIECE_BYTES))
                left -= sum(map(len, content))
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(self._workers.run("write", writer.write, content))
            if writing is not None:
                await writing
            return await self._workers.run("write", writer.finish)
        finally:
            # The thread must be done with the file before it is closed, even when this task is being cancelled.
            if writing is not None:
                await asyncio.wait([writing])
            await self._workers.run("write", writer.close)

    async def _piece(self, request: web.Request, wanted_bytes: int) -> list[bytes]:
        """At least so many bytes of the body (at most one buffer more) as they came in."""
        pieces: list[bytes] = []
        while wanted_bytes > 0:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    piece = await request.content.readany()
            except TimeoutError:
                raise _Refusal(400, "RequestTimeout", "Nothing was received for too long") from None
            except (ClientPayloadError, ConnectionError):
                piece = b""
            if not piece:
                raise _Refusal(400, "IncompleteBody", "The body is shorter than Content-Length says")
            pieces.append(piece)
            wanted_bytes -= len(piece)
        return pieces

    async def _get(self, request: web.Request, grant: Grant) -> web.StreamResponse:
        found = await self._workers.run("read", self._folder.open_object, grant.key)
        if found is None:
            raise _Refusal(404, "NoSuchKey", "The specified key does not exist.")
        descriptor, size_bytes = found
        try:
            status, begin, end = _range(request, size_bytes)
            headers = _headers(grant, size_bytes, status, begin, end)
            if request.method == "HEAD" or end - begin <= PIECE_BYTES:
                body = b"" if request.method == "HEAD" else await self._read(descriptor, begin, end)
                return web.Response(body=body or None, status=status, headers=headers)
            return await self._stream(
                request, web.StreamResponse(status=status, headers=headers), descriptor, begin, end
            )
        finally:
            os.close(descriptor)

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, descriptor: int, begin: int, end: int
    ) -> web.StreamResponse:
        await response.prepare(request)
        reading = asyncio.ensure_future(self._read(descriptor, begin, end))
        try:
            while begin < end:
                piece = await reading
                begin += len(piece)
                reading = asyncio.ensure_future(self._read(descriptor, begin, end))
                async with asyncio.timeout(self._idle_seconds):
                    await response.write(piece)
            await response.write_eof()
        except (TimeoutError, ConnectionError) as error:
            # The status is sent: all that is left is to break the connection, which the client sees as a short body.
            log.info("download_broken_off", reason=type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
        finally:
            await asyncio.wait([reading])
        return response

    async def _read(self, descriptor: int, begin: int, end: int) -> bytes:
        wanted = min(end - begin, PIECE_BYTES)
        piece = await self._workers.run("read", os.pread, descriptor, wanted, begin) if wanted else b""
        if wanted and not piece:
            raise ConnectionError("the file became shorter")
        return piece


_METHODS: dict[str, Callable[[LocalHttpServer, web.Request, Grant], Awaitable[web.StreamResponse]]] = {
    "PUT": LocalHttpServer._put,  # noqa: SLF001
    "GET": LocalHttpServer._get,  # noqa: SLF001
    "HEAD": LocalHttpServer._get,  # noqa: SLF001
}


def _write_whole(make_writer: Callable[[], Writer], content: list[bytes]) -> str:
    writer = make_writer()
    try:
        writer.write(content)
        return writer.finish()
    finally:
        writer.close()


def _range(request: web.Request, size_bytes: int) -> tuple[int, int, int]:
    """Status, first byte and the byte after the last one. A Range that is malformed or has several is ignored (RFC 9110)."""
    asked: slice[Any, Any, Any] = slice(None)
    with contextlib.suppress(ValueError):
        asked = request.http_range
    if asked.start is None and asked.stop is None:
        return 200, 0, size_bytes
    begin, end, _ = slice(asked.start, asked.stop).indices(size_bytes)
    if begin >= end:
        raise _Refusal(
            416,
            "InvalidRange",
            "The requested range is not satisfiable",
            Content_Range=f"bytes */{size_bytes}",
        )
    return 206, begin, end


def _headers(grant: Grant, size_bytes: int, status: int, begin: int, end: int) -> dict[str, str]:
    headers = {
        **_CORS,
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - begin),
        "Content-Type": grant.query.get("response-content-type", "application/octet-stream"),
        # What someone uploaded is never taken for a page of this host.
        "X-Content-Type-Options": "nosniff",
    }
    if "response-content-disposition" in grant.query:
        headers["Content-Disposition"] = grant.query["response-content-disposition"]
    if status == 206:
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size_bytes}"
    return headers


def _refusal_for(error: PlatformError) -> _Refusal:
    if isinstance(error, ChecksumMismatch):
        return _Refusal(400, "BadDigest", error.message)
    if isinstance(error, UploadNotFound):
        return _Refusal(404, "NoSuchUpload", error.message)
    if isinstance(error, ObjectStoreUnavailable):
        return _Refusal(503, "ServiceUnavailable", error.message, Retry_After="1")
    if isinstance(error, ObjectStoreRefused):
        return _Refusal(500, "InternalError", "The store's folder cannot be used")
    raise error


def _error(request: web.Request, refusal: _Refusal) -> web.Response:
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
        headers={**_CORS, **refusal.headers},
    )
