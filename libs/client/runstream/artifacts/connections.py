"""Connections to object stores: plain HTTP/1.1 of the standard library, kept and used again.

A general client spends more on a small request than the request itself takes; what is signed needs none of its redirects,
retries, cookies and content codings.
"""

from __future__ import annotations

import os
import select
import ssl
import threading
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket

CONNECT_SECONDS = 10.0
READ_SECONDS = 120.0


class Origin(NamedTuple):
    """What a connection leads to."""

    scheme: str
    authority: str
    """Host, and port unless it is the scheme's own."""


class Connections:
    """Idle connections by origin; thread-safe, and usable in forked children.

    Args:
        keep: idle connections to one origin that are kept.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._idle: dict[Origin, list[HTTPConnection]] = {}
        self._tls: ssl.SSLContext | None = None

    def take(self, origin: Origin) -> HTTPConnection:
        """A connection that is open, as far as one can know, and no one else's.

        Raises:
            OSError: the host cannot be reached.
            HTTPException: the origin is none.
        """
        while (idle := self._take_idle(origin)) is not None:
            if idle.sock is not None and not _has_input(idle.sock):
                return idle
            # The store closed it, or sent what nobody asked for.
            idle.close()
        connection = self._new(origin)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        connection.sock.settimeout(READ_SECONDS)
        return connection

    def give_back(self, origin: Origin, connection: HTTPConnection) -> None:
        """Keep a connection whose last answer was read to its end."""
        with self._lock:
            idle = self._of_this_process().setdefault(origin, [])
            if connection.sock is not None and len(idle) < self._keep:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            idle, self._idle = self._of_this_process(), {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _take_idle(self, origin: Origin) -> HTTPConnection | None:
        with self._lock:
            idle = self._of_this_process().get(origin)
            return idle.pop() if idle else None

    def _of_this_process(self) -> dict[Origin, list[HTTPConnection]]:
        # A forked child must not use its parent's sockets.
        if self._pid != os.getpid():
            self._pid, self._idle = os.getpid(), {}
        return self._idle

    def _new(self, origin: Origin) -> HTTPConnection:
        if origin.scheme == "http":
            return HTTPConnection(origin.authority, timeout=CONNECT_SECONDS)
        if origin.scheme != "https":
            raise HTTPException(f"{origin.scheme!r} is neither http nor https")
        self._tls = self._tls or ssl.create_default_context()
        return HTTPSConnection(origin.authority, timeout=CONNECT_SECONDS, context=self._tls)


if hasattr(select, "poll"):

    def _has_input(sock: socket.socket) -> bool:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))

else:  # Windows, where select takes any descriptor

    def _has_input(sock: socket.socket) -> bool:
        return bool(select.select([sock], [], [], 0)[0])
