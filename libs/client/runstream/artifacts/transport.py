"""Signed requests over HTTP: connections that are kept, attempts with growing waits, errors in words.

A URL without a host ("http://:5072/…") gets the host by which the deployment was reached.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import TYPE_CHECKING

from runstream.artifacts.connections import Connections, Origin
from runstream.artifacts.errors import ObjectStoreAway, ObjectStoreRefused
from runstream.artifacts.sources import CHUNK_BYTES
from runstream.tracking.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from http.client import HTTPConnection, HTTPResponse

    from runstream_proto.artifact.v1 import types_pb2 as types_pb

    from runstream.artifacts.cancelling import Cancellation

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
        self._connections = Connections(threads)

    def close(self) -> None:
        """Close idle connections."""
        self._connections.close()

    def put(self, request: types_pb.SignedRequest, body: Iterable[memoryview], size_bytes: int) -> None:
        """Send content once.

        Raises:
            RequestRefused: repeating it as it is does not help.
            RequestFailed: it may.
        """
        headers = dict(request.headers)
        if "content-length" not in map(str.lower, headers):
            headers["Content-Length"] = str(size_bytes)
        with self._answered(request, headers, body):
            pass

    @contextmanager
    def get(
        self, request: types_pb.SignedRequest, *, start: int = 0, end: int | None = None
    ) -> Iterator[Iterator[memoryview]]:
        """Fetch content once, as an iterator over pieces of it; each is valid until the next one is asked for.

        Args:
            request: signed GET.
            start: first byte.
            end: one after the last byte; None means all of the file, without a Range header.

        Raises:
            RequestRefused: repeating it as it is does not help.
            RequestFailed: it may.
        """
        headers = dict(request.headers)
        if end is not None:
            headers["Range"] = f"bytes={start}-{end - 1}"
        with self._answered(request, headers) as response:
            if end is not None and response.status != 206:
                raise RequestRefused(response.status, "", "the store does not serve ranges")
            yield _pieces(response)

    @contextmanager
    def _answered(
        self,
        request: types_pb.SignedRequest,
        headers: dict[str, str],
        body: Iterable[memoryview] | None = None,
    ) -> Iterator[HTTPResponse]:
        origin, target = self._split(request.url)
        try:
            connection = self._connections.take(origin)
        except (OSError, HTTPException) as error:
            raise _failed(error) from error
        reusable = False
        try:
            response = _send(connection, request.method, target, headers, body)
            if response.status >= 300:
                raise _error_of(response)
            yield response
            _read(response, _MAX_ERROR_BYTES)
            # What is left unread would be taken for the next answer on the connection.
            reusable = response.isclosed() and not response.will_close
        finally:
            if reusable:
                self._connections.give_back(origin, connection)
            else:
                connection.close()

    def _split(self, url: str) -> tuple[Origin, str]:
        scheme, _, rest = url.partition("://")
        authority, _, target = rest.partition("/")
        return Origin(
            scheme, f"{self._host}{authority}" if authority.startswith(":") else authority
        ), f"/{target}"


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


def _send(
    connection: HTTPConnection,
    method: str,
    target: str,
    headers: dict[str, str],
    body: Iterable[memoryview] | None,
) -> HTTPResponse:
    try:
        # A store that refuses a request answers and hangs up before it has all of the body.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body=body, headers=headers)
        return connection.getresponse()
    except (OSError, HTTPException) as error:
        raise _failed(error) from error


def _pieces(response: HTTPResponse) -> Iterator[memoryview]:
    wanted = CHUNK_BYTES if response.length is None else min(CHUNK_BYTES, max(response.length, 1))
    buffer = memoryview(bytearray(wanted))
    while count := _read_into(response, buffer):
        yield buffer[:count]


def _read_into(response: HTTPResponse, buffer: memoryview) -> int:
    try:
        return response.readinto(buffer)
    except (OSError, HTTPException) as error:
        raise _failed(error) from error


def _read(response: HTTPResponse, max_bytes: int) -> bytes:
    try:
        return response.read(max_bytes)
    except (OSError, HTTPException) as error:
        raise _failed(error) from error


def _failed(error: Exception) -> RequestFailed:
    return RequestFailed(str(error) or type(error).__name__)


def _error_of(response: HTTPResponse) -> Exception:
    code, message = _code_and_message(_read(response, _MAX_ERROR_BYTES))
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
