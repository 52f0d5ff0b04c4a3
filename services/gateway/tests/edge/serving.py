"""An application of a few plain routes behind a real HTTP server in the test's own loop, and raw sockets to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from runstream_gateway.edge.application import Application
from runstream_gateway.edge.server import HttpServer
from runstream_gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from runstream_gateway.routes import Route


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: list[int] = field(default_factory=list)
    """Statuses of 1xx answers before it."""

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """One connection, spoken to in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes | str) -> None:
        """Send bytes as they are."""
        self.writer.write(b"".join(part.encode() if isinstance(part, str) else part for part in parts))
        await self.writer.drain()

    async def ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Send a request and read its answer."""
        lines = {"Host": "localhost", **(headers or {})}
        if body is not None:
            lines.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n", body or b"")
        return await self.answer(has_body=method != "HEAD")

    async def answer(self, *, has_body: bool = True) -> Answer:
        """Read one answer."""
        interim = []
        while True:
            status, headers = await self._head()
            if status >= 200:
                break
            interim.append(status)
        body = await self._body(headers) if has_body and status not in (204, 304) else b""
        return Answer(status, headers, body, interim)

    async def is_closed(self) -> bool:
        """Wait until the server closes; False when it sends something instead."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def _head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(": ")
            known = headers.get(name.lower())
            headers[name.lower()] = value if known is None else f"{known}, {value}"
        return int(lines[0].split()[1]), headers

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", "0")))
        parts = []
        while size := int(await self.reader.readline(), 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readline()
        await self.reader.readline()
        return b"".join(parts)


class Served:
    """A running server."""

    def __init__(self, application: Application, server: HttpServer, registry: CollectorRegistry) -> None:
        self.application = application
        self.server = server
        self.registry = registry

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        """A connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, method: str, path: str, **arguments: Any) -> Answer:
        """One request on a connection of its own."""
        async with self.connected() as client:
            return await client.ask(method, path, **arguments)

    def counted(self, name: str, **labels: str) -> float:
        """Value of a metric, 0 when it was never counted."""
        return self.registry.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def serving(routes: Iterable[Route], **settings: Any) -> AsyncIterator[Served]:
    """Serve routes until the block ends.

    Args:
        routes: what is served.
        settings: of the gateway, on top of a port of its own.
    """
    registry = CollectorRegistry()
    chosen = GatewaySettings(
        **{"http_host": "127.0.0.1", "http_port": 0, "http_access_log": "off", **settings}
    )
    application = Application(routes, chosen, registry=registry)
    server = HttpServer(chosen, application)
    await server.start()
    try:
        yield Served(application, server, registry)
    finally:
        await server.stop()


async def until(condition: Any, *, seconds: float = 10.0) -> None:
    """Wait until a condition holds; fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
