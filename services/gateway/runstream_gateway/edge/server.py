"""The HTTP server as a part of the process."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn

from runstream_gateway.edge.protocol import ClientLimits, LimitedProtocol

if TYPE_CHECKING:
    from runstream_gateway.edge.application import Application
    from runstream_gateway.settings import GatewaySettings

BACKLOG = 2048
"""Connections that wait to be accepted; more are refused by the operating system."""
_GRACE_SHARE = 0.8
"""Of the grace period; the parts that stop after the server need the rest."""


def listening_socket(settings: GatewaySettings) -> socket.socket:
    """The socket that the server takes connections from: the one that was given, or a new one.

    Raises:
        OSError: the port is taken or the address is not ours.
    """
    if settings.http_listen_fd is not None:
        given = socket.socket(fileno=settings.http_listen_fd)
        given.setblocking(False)
        return given
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    return socket.create_server((settings.http_host, settings.http_port), family=family, backlog=BACKLOG)


class HttpServer:
    """Serves the application with uvicorn inside our own event loop.

    Args:
        settings: address and limits.
        application: answers requests.
    """

    name = "http server"

    def __init__(self, settings: GatewaySettings, application: Application) -> None:
        self._settings = settings
        self._application = application
        protocol: Any = partial(LimitedProtocol, limits=ClientLimits.of(settings))
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=settings.http_keep_alive_seconds,
                timeout_graceful_shutdown=max(1, int(settings.shutdown_grace_seconds * _GRACE_SHARE)),
            )
        )
        self._serving: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """Port that is listened on."""
        if self._socket is None:
            return self._settings.http_port
        number: int = self._socket.getsockname()[1]
        return number

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken or the address is not ours.
        """
        self._socket = listening_socket(self._settings)
        # Without uvicorn's own signal handlers: the service has its own.
        self._serving = asyncio.create_task(self._server._serve([self._socket]))  # noqa: SLF001
        while not self._server.started and not self._serving.done():  # noqa: ASYNC110 - uvicorn tells by a flag alone
            await asyncio.sleep(0.005)
        if self._serving.done():
            self._serving.result()

    async def stop(self) -> None:
        """Take no more, finish what is being answered."""
        self._server.should_exit = True
        self._application.end_event_streams()
        if self._serving is not None:
            await self._serving
        self._application.access_log.flush()
