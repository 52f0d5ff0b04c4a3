"""The HTTP server of a local store: PUT and GET of what was signed, and nothing else."""

from __future__ import annotations

import base64
import binascii
import os
from typing import TYPE_CHECKING

from aiohttp import web

from runstream_common.errors import PlatformError
from runstream_common.object_store import metrics
from runstream_common.object_store.local_answers import (
    CORS,
    PREFLIGHT,
    Refusal,
    asked_range,
    error_answer,
    object_headers,
    refusal_for,
)
from runstream_common.object_store.local_signing import URL_PREFIX, UrlRefused
from runstream_common.object_store.local_transfers import PIECE_BYTES, Transfers, Writer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runstream_common.object_store.local_folder import Folder
    from runstream_common.object_store.local_open_uploads import OpenUploads
    from runstream_common.object_store.local_signing import Grant, UrlSigner
    from runstream_common.object_store.local_uploads import Uploads
    from runstream_common.object_store.workers import Workers

MAX_TRANSFERS = 64
"""Requests in progress at once; more are told to come back. Each holds two pieces at most."""
IDLE_SECONDS = 60.0
"""A client that sends or takes nothing for this long is given up."""
LINGERING_SECONDS = 10.0
"""How long the body of a refused request is still taken, so that a client that is sending gets to see the answer."""
READ_BUFFER_BYTES = 256 * 1024


class LocalHttpServer:
    """Serves a folder's objects to those who have a signed URL.

    Args:
        folder: of the objects.
        uploads: of the same folder.
        open_uploads: of the same folder.
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
        open_uploads: OpenUploads,
        workers: Workers,
        *,
        host: str,
        port: int,
        idle_seconds: float = IDLE_SECONDS,
        max_transfers: int = MAX_TRANSFERS,
    ) -> None:
        self.host = host
        self.port = port
        self.transfers = 0
        """Requests in progress."""
        self._folder = folder
        self._uploads = uploads
        self._open_uploads = open_uploads
        self._workers = workers
        self._bodies = Transfers(workers, idle_seconds)
        self._max_transfers = max_transfers
        self._signer: UrlSigner | None = None
        self._runner: web.ServerRunner | None = None

    async def start(self, signer: UrlSigner) -> None:
        """Listen.

        Args:
            signer: who signed the URLs that are served.

        Raises:
            OSError: the port is taken or the address is not ours.
        """
        self._signer = signer
        # There is one route: what an application adds to the bare server would cost a tenth of a small request.
        server = web.Server(
            self._handle,
            access_log=None,
            keepalive_timeout=75.0,
            read_bufsize=READ_BUFFER_BYTES,
            lingering_time=min(self._bodies.idle_seconds, LINGERING_SECONDS),
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=5.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, backlog=512)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Finish what is in progress and stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=PREFLIGHT)
        if self.transfers >= self._max_transfers:
            busy = Refusal(503, "SlowDown", "Please reduce your request rate", Retry_After="1")
            return error_answer(request, busy)
        self.transfers += 1
        try:
            return await self._serve(request)
        except Refusal as refusal:
            return error_answer(request, refusal)
        except UrlRefused as refused:
            return error_answer(request, Refusal(403, refused.code, refused.message))
        except PlatformError as error:
            return error_answer(request, refusal_for(error))
        finally:
            self.transfers -= 1

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        method = _METHODS.get(request.method)
        if method is None:
            allowed = ", ".join(_METHODS)
            raise Refusal(405, "MethodNotAllowed", "The specified method is not allowed", Allow=allowed)
        if self._signer is None or not request.path.startswith(URL_PREFIX):
            raise Refusal(403, "AccessDenied", "Only signed requests are served")
        key = request.path.removeprefix(URL_PREFIX)
        grant = self._signer.verify(request.method, key, request.query.items(), request.headers)
        return await method(self, request, grant)

    async def _put(self, request: web.BaseRequest, grant: Grant) -> web.StreamResponse:
        if request.content_length is None and not grant.is_open_part:
            raise Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header")
        make_writer = self._writer(request, grant)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        etag = await self._bodies.receive(request, request.content_length, make_writer)
        return web.Response(headers={**CORS, "ETag": f'"{etag}"'})

    def _writer(self, request: web.BaseRequest, grant: Grant) -> Callable[[], Writer]:
        if grant.is_open_part:
            upload_id, number = grant.query["uploadId"], int(grant.query["partNumber"])
            size_bytes = request.content_length
            return lambda: self._open_uploads.receive(upload_id, number, size_bytes)
        if "uploadId" in grant.query:
            crc32 = request.headers.get("x-amz-checksum-crc32", "")
            upload_id, number = grant.query["uploadId"], int(grant.query["partNumber"])
            return lambda: self._uploads.receive(upload_id, number, crc32)
        try:
            sha256 = base64.b64decode(request.headers["x-amz-checksum-sha256"], validate=True)
        except (KeyError, binascii.Error):
            message = "x-amz-checksum-sha256 must be a digest in base64"
            raise Refusal(400, "InvalidRequest", message) from None
        return lambda: self._folder.receive(grant.key, sha256)

    async def _get(self, request: web.BaseRequest, grant: Grant) -> web.StreamResponse:
        found = await self._workers.run("read", self._folder.open_object, grant.key)
        if found is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        descriptor, size_bytes = found
        try:
            status, begin, end = asked_range(request, size_bytes)
            headers = object_headers(grant, size_bytes, status, begin, end)
            if request.method == "HEAD":
                return web.Response(status=status, headers=headers)
            if end - begin <= PIECE_BYTES:
                body = await self._bodies.read(descriptor, begin, end)
                metrics.SENT_BYTES.inc(len(body))
                return web.Response(body=body or None, status=status, headers=headers)
            response = web.StreamResponse(status=status, headers=headers)
            await self._bodies.send(request, response, descriptor, begin, end)
            return response
        finally:
            os.close(descriptor)


_METHODS: dict[str, Callable[[LocalHttpServer, web.BaseRequest, Grant], Awaitable[web.StreamResponse]]] = {
    "GET": LocalHttpServer._get,  # noqa: SLF001
    "HEAD": LocalHttpServer._get,  # noqa: SLF001
    "PUT": LocalHttpServer._put,  # noqa: SLF001
}
