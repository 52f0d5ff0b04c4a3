"""Signed requests over HTTP: one pool of connections, attempts with growing waits, errors in words.

A URL without a host ("http://:5072/…") gets the host by which the deployment was reached.
"""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import urllib3
from urllib3.exceptions import HTTPError

from runstream.artifacts.errors import ObjectStoreAway, ObjectStoreRefused
from runstream.artifacts.sources import CHUNK_BYTES
from runstream.tracking.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from runstream_proto.artifact.v1 import types_pb2 as types_pb

    from runstream.artifacts.cancelling import Cancellation

CONNECT_SECONDS = 10.0
READ_SECONDS = 120.0
MIN_ATTEMPTS = 3
_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
# S3's 400s that a repeat mends.
_PASSING_CODES = frozenset({"RequestTimeout", "SlowDown", "InternalError", "RequestTimeTooSkewed"})
_MAX_ERROR_BYTES = 64 * 1024


class RequestRefused(Exception):
    """The store answered with an error that the same request will meet again.

    Attributes:
        status: HTTP status.
        code: the store's own code, such as "AccessDenied"; may be empty.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"HTTP {status}{f' {code}' if code else ''}{f': {message}' if message else ''}")
        self.status = status
        self.code = code

    @property
    def may_have_expired(self) -> bool:
        """Whether a newly signed request may work."""
        return self.status == 403


class RequestFailed(Exception):
    """The store could not be reached or failed; the same request may work later."""


class Transport:
    """Sends signed requests; thread-safe, and usable in forked children.

    Args:
        host: what the deployment was reached by, for URLs without a host.
        threads: connections to one store that are kept.
    """

    def __init__(self, host: str, threads: int) -> None:
        self._host = host
        self._threads = threads
        self._lock = threading.Lock()
        self._pools: dict[int, urllib3.PoolManager] = {}

    def close(self) -> None:
        """Close idle connections."""
        pool = self._pools.pop(os.getpid(), None)
        if pool is not None:
            pool.clear()

    def put(self, request: types_pb.SignedRequest, body: Iterable[memoryview], size_bytes: int) -> None:
        """Send content once.

        Raises:
            RequestRefused: repeating it as it is does not help.
            RequestFailed: it may.
        """
        with self._send(request, body=body, size_bytes=size_bytes):
            pass

    @contextmanager
    def get(
        self, request: types_pb.SignedRequest, *, start: int = 0, end: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        """Fetch content once, as an iterator over pieces of it.

        Args:
            request: signed GET.
            start: first byte.
            end: one after the last byte; None means all of the file, without a Range header.

        Raises:
            RequestRefused: repeating it as it is does not help.
            RequestFailed: it may.
        """
        headers = {} if end is None else {"Range": f"bytes={start}-{end - 1}"}
        with self._send(request, headers=headers) as response:
            if end is not None and response.status != 206:
                raise RequestRefused(response.status, "", "the store does not serve ranges")
            yield _pieces(response)

    @contextmanager
    def _send(
        self,
        request: types_pb.SignedRequest,
        *,
        headers: dict[str, str] | None = None,
        body: Iterable[memoryview] | None = None,
        size_bytes: int = 0,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        sent = {**request.headers, **(headers or {})}
        if body is not None and "content-length" not in {name.lower() for name in sent}:
            sent["Content-Length"] = str(size_bytes)
        try:
            response = self._pool().urlopen(
                request.method,
                self._absolute(request.url),
                body=body,
                headers=sent,
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except HTTPError as error:
            raise RequestFailed(str(error)) from error
        try:
            if response.status >= 300:
                raise _error_of(response)
            yield response
            response.drain_conn()
        except HTTPError as error:
            raise RequestFailed(str(error)) from error
        finally:
            # Closed when the answer was not read to its end; else it goes back to the pool.
            response.close() if not _is_read(response) else response.release_conn()

    def _pool(self) -> urllib3.PoolManager:
        pid = os.getpid()
        pool = self._pools.get(pid)
        if pool is None:
            with self._lock:
                # A forked child must not use its parent's sockets.
                pool = self._pools.setdefault(pid, _new_pool(self._threads))
        return pool

    def _absolute(self, url: str) -> str:
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{self._host}{rest}" if rest.startswith(":") else url


def repeated(
    attempt: Callable[[], None], what: str, retry_seconds: float, cancellation: Cancellation
) -> None:
    """Try until it works, it is refused, or time and attempts are used up.

    Args:
        attempt: does it once.
        what: named in errors.
        retry_seconds: how long failures are repeated; at least three attempts are made.
        cancellation: ends it early.

    Raises:
        ObjectStoreRefused: the store refused it.
        ObjectStoreAway: it kept failing.
    """
    backoff = Backoff(first_seconds=0.1, max_seconds=5.0)
    give_up = time.monotonic() + retry_seconds
    while True:
        cancellation.check()
        try:
            return attempt()
        except RequestRefused as error:
            raise ObjectStoreRefused(f"{what}: the object store refused it: {error}") from error
        except RequestFailed as error:
            delay = backoff.next_seconds()
            if backoff.failures >= MIN_ATTEMPTS and time.monotonic() + delay > give_up:
                raise ObjectStoreAway(
                    f"{what}: the object store cannot be reached or fails: {error}; gave up after {backoff.failures} attempts"
                ) from error
            cancellation.wait(delay)


def _new_pool(threads: int) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        num_pools=8,
        maxsize=threads,
        block=False,
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        blocksize=CHUNK_BYTES,
    )


def _pieces(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    try:
        while piece := response.read(CHUNK_BYTES, decode_content=False):
            yield piece
    except HTTPError as error:
        raise RequestFailed(str(error)) from error


def _is_read(response: Any) -> bool:
    # What is left unread would be taken for the next answer on the connection.
    original = getattr(response, "_original_response", None)
    return original is None or bool(original.isclosed())


def _error_of(response: urllib3.BaseHTTPResponse) -> Exception:
    content = response.read(_MAX_ERROR_BYTES, decode_content=False)
    code, message = _code_and_message(content)
    if response.status in _PASSING_STATUSES or code in _PASSING_CODES:
        return RequestFailed(f"HTTP {response.status} {code} {message}".strip())
    return RequestRefused(response.status, code, message)


def _code_and_message(content: bytes) -> tuple[str, str]:
    """S3's <Error><Code>…</Code><Message>…</Message></Error>; anything else gives the first characters."""
    text = content.decode(errors="replace")
    code, message = (re.search(rf"<{name}>([^<]*)</{name}>", text) for name in ("Code", "Message"))
    if code is None:
        return "", text[:200].strip()
    return code[1], message[1] if message else ""
