"""Connections are used again while they are open, and never after that."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from runstream.artifacts.connections import Connections, Origin
from runstream.artifacts.transport import RequestFailed, RequestRefused, Transport
from runstream_proto.artifact.v1 import types_pb2 as types_pb

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = bytes(range(256)) * 8192


class Store(BaseHTTPRequestHandler):
    """Answers GET with content, refuses PUT before it has read the body."""

    protocol_version = "HTTP/1.1"
    peers: list[tuple[str, int]]
    hang_up = False

    def do_GET(self) -> None:
        self.peers.append(self.client_address)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        with suppress(ConnectionError):  # who has enough hangs up
            self.wfile.write(CONTENT)
        # Without "Connection: close": the client cannot know before it happens.
        self.close_connection = self.hang_up

    def do_PUT(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(**attributes: object) -> Iterator[tuple[Transport, types_pb.SignedRequest, type[Store]]]:
    handler = type("Handler", (Store,), {"peers": [], **attributes})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        transport = Transport("127.0.0.1", 2)
        try:
            yield (
                transport,
                types_pb.SignedRequest(method="GET", url=f"http://:{server.server_port}/x?y=1"),
                handler,
            )
        finally:
            transport.close()
            server.shutdown()
            thread.join()


def fetch(transport: Transport, request: types_pb.SignedRequest) -> bytes:
    with transport.get(request) as pieces:
        return b"".join(map(bytes, pieces))


def test_a_connection_is_used_again() -> None:
    with served() as (transport, request, handler):
        assert [fetch(transport, request) for _ in range(3)] == [CONTENT] * 3
        assert len(set(handler.peers)) == 1


def test_a_connection_that_the_store_closes_is_replaced() -> None:
    with served(hang_up=True) as (transport, request, handler):
        for _ in range(3):
            assert fetch(transport, request) == CONTENT
            ((idle,),) = transport._connections._idle.values() or [[]]
            assert idle.sock.recv(1) == b""  # the end of the connection has arrived
        assert len(set(handler.peers)) == 3


def test_an_answer_that_is_not_read_to_its_end_ends_the_connection() -> None:
    with (
        served() as (transport, request, _),
        transport.get(request) as pieces,
    ):
        assert bytes(next(pieces))[:256] == CONTENT[:256]
    assert not any(transport._connections._idle.values())


def test_a_refusal_is_seen_though_the_store_does_not_read_the_body() -> None:
    with served() as (transport, request, _):
        request.method = "PUT"
        body = (memoryview(b"x" * 1_000_000) for _ in range(64))
        with pytest.raises((RequestRefused, RequestFailed)):
            transport.put(request, body, 64_000_000)
        assert not any(transport._connections._idle.values())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "http://127.0.0.1:port/x", "http:///x"])
def test_what_is_no_origin_is_refused(url: str) -> None:
    with pytest.raises(RequestFailed):
        Transport("127.0.0.1", 1).put(types_pb.SignedRequest(method="PUT", url=url), iter(()), 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_does_not_use_its_parents_connections() -> None:
    connections = Connections(1)
    origin = Origin("http", "127.0.0.1:1")
    connections._idle[origin] = [connections._new(origin)]
    connections._pid = -1  # as it is for a child
    assert connections._take_idle(origin) is None
