"""A lean keep-alive HTTP/1.1 client, so that the server is measured and not the client."""

from __future__ import annotations

import asyncio
from typing import Self, cast
from urllib.parse import urlsplit

import httptools


class WrongAnswer(RuntimeError):
    """A request was refused, so the measurement is worth nothing."""


def request_bytes(method: str, target: str, host: str, body: bytes = b"") -> bytes:
    """A whole request, ready to be sent as often as wanted."""
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n"
    if body or method in {"POST", "PUT"}:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to the server of a URL."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: cls(parts.netloc), str(parts.hostname), parts.port or 80
        )
        return connection

    async def ask(self, request: bytes) -> bytes:
        """Send a whole request and return the body of the answer.

        Raises:
            WrongAnswer: the status is not 200, or the connection was lost.
        """
        if self._transport is None:
            raise WrongAnswer("the connection is lost")
        self._body = []
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(WrongAnswer(f"the connection is lost: {error}"))

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self._answer is None or self._answer.done():
            return
        body = b"".join(self._body)
        if self._parser.get_status_code() == 200:
            self._answer.set_result(body)
        else:
            self._answer.set_exception(WrongAnswer(f"HTTP {self._parser.get_status_code()}: {body[:500]!r}"))
        self._parser = httptools.HttpResponseParser(self)
