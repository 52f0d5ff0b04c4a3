"""The HTTP server as a part of the process."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from runstream_gateway.settings import GatewaySettings


class HttpServer:
    """Serves an ASGI application with uvicorn inside our own event loop."""

    name = "http server"

    def __init__(self, settings: GatewaySettings, application: ASGIApp) -> None:
        self._host, self._port = settings.http_host, settings.http_port
        self._server = uvicorn.Server(
            uvicorn.Config(application, log_config=None, access_log=False, lifespan="off", http="httptools")
        )
        self._serving: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """Port that is listened on."""
        if self._socket is None:
            return self._port
        number: int = self._socket.getsockname()[1]
        return number

    async def start(self) -> None:
        """Listen."""
        self._socket = socket.create_server((self._host, self._port))
        self._serving = asyncio.create_task(self._server._serve([self._socket]))  # noqa: SLF001
        while not self._server.started:  # noqa: ASYNC110 - uvicorn tells by a flag alone
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Take no more, finish what is being answered."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
