"""uvicorn's HTTP protocol with patience that ends: limits of time and size that uvicorn itself lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from prometheus_client import REGISTRY
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from runstream_gateway.edge.metrics import http_metrics

if TYPE_CHECKING:
    import asyncio

    from runstream_gateway.settings import HttpSettings

ON_DISCONNECT = "runstream.on_disconnect"
"""Key of the scope: a function that is called when the client closes the connection before the answer is through."""

Phase = Literal["idle", "head", "body"]


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """How long and how large a client may be.

    Args:
        header_seconds: until the headers of a request are complete.
        stall_seconds: longest pause within a body, and of taking an answer.
        header_bytes: request line and headers together.
    """

    header_seconds: float
    stall_seconds: float
    header_bytes: int

    @classmethod
    def of(cls, settings: HttpSettings) -> ClientLimits:
        """The limits of the settings."""
        return cls(
            header_seconds=settings.http_header_timeout_seconds,
            stall_seconds=settings.http_stall_timeout_seconds,
            header_bytes=settings.http_max_header_bytes,
        )


class LimitedProtocol(HttpToolsProtocol):
    """One connection. Timers exist only while something is waited for: a request in one packet sets none.

    Args:
        limits: what the client may do.
        arguments: uvicorn's.
    """

    def __init__(self, *, limits: ClientLimits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._phase: Phase = "head"
        self._head_bytes = 0
        self._refused = False
        self._reading: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._writing: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0

    # What the client sends

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """A client connected: it has the header timeout for its first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._refused:
            return
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._phase == "head":
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.header_bytes:
                self._refuse_large_head()
            elif self._reading is None:
                self._wait_for_head()
        elif self._phase == "body" and self._reading is None:
            self._heard_at = self.loop.time()
            self._wait_for_body(self._limits.stall_seconds)

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._phase = "head"
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """A request's headers are here: it is given to the application."""
        self._stop_reading_timer()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.header_bytes:
            self._refuse_large_head()
            return
        self._phase = "body"
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._refused:
            return
        self._heard_at = self.loop.time()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here in full."""
        if self._refused:
            return
        self._phase = "idle"
        self._stop_reading_timer()
        super().on_message_complete()

    def _wait_for_head(self) -> None:
        self._reading = self.loop.call_later(self._limits.header_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        self._reading = None
        if self.transport.is_closing():
            return
        if self._is_answering():
            # The late one is the next request of a pipeline, whose answer would now come between.
            self._wait_for_head()
            return
        http_metrics(REGISTRY).timeouts.labels("headers").inc()
        if self._head_bytes == 0 and self.cycle is None:
            # A connection that was opened in advance, as browsers do.
            self.transport.close()
            return
        self._refuse(408, "DEADLINE_EXCEEDED", "The request's headers took too long.")

    def _wait_for_body(self, seconds: float) -> None:
        self._reading = self.loop.call_later(seconds, self._look_at_body)

    def _look_at_body(self) -> None:
        self._reading = None
        if self.transport.is_closing():
            return
        silent_seconds = self.loop.time() - self._heard_at
        left = self._limits.stall_seconds - silent_seconds
        if self.flow.read_paused:
            # We are the slow ones: the application does not take what came.
            self._heard_at = self.loop.time()
            left = self._limits.stall_seconds
        if left > 0:
            self._wait_for_body(left)
            return
        http_metrics(REGISTRY).timeouts.labels("body").inc()
        self._refuse(408, "DEADLINE_EXCEEDED", "The request's body stopped coming.")

    def _stop_reading_timer(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    # What the client takes

    def pause_writing(self) -> None:
        """The client takes less than we send."""
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        """The client caught up."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _watch_writing(self) -> None:
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._writing = self.loop.call_later(self._limits.stall_seconds, self._look_at_writing)

    def _look_at_writing(self) -> None:
        self._writing = None
        if self.transport.get_write_buffer_size() < self._unsent_bytes:
            self._watch_writing()
            return
        http_metrics(REGISTRY).timeouts.labels("answer").inc()
        self.transport.abort()

    # The end

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_reading_timer()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        super().connection_lost(exc)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            scope: Any = cycle.scope
            leave = scope.get(ON_DISCONNECT)
            if leave is not None:
                leave()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse_large_head(self) -> None:
        self._refuse(431, "MALFORMED_REQUEST", "The request line and headers are too large.")

    def _refuse(self, status: int, error_code: str, message: str) -> None:
        """Answer past the application, and close."""
        self._refused = True
        self._stop_reading_timer()
        cycle = self.cycle if self._is_answering() else None
        if cycle is not None and (cycle.response_started or self._phase == "head"):
            self.transport.abort()
            return
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(_raw_answer(status, error_code, message))
        self.transport.close()


def _raw_answer(status: int, error_code: str, message: str) -> bytes:
    body = msgspec.json.encode({"error_code": error_code, "message": message})
    return b"".join(
        (
            STATUS_LINE[status],
            b"content-type: application/json\r\nx-content-type-options: nosniff\r\nconnection: close\r\n",
            b"content-length: %d\r\n\r\n" % len(body),
            body,
        )
    )
