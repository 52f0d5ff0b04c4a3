"""One line a request. As JSON it is put together and written in groups, since it is written for every request."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TextIO

import msgspec
import structlog

if TYPE_CHECKING:
    from runstream_gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 0.2
"""How long a line may wait for others: short enough to follow a server by eye."""
FLUSH_LINES = 500

_encode = msgspec.json.encode


class AccessLog:
    """Writes what was asked and how it was answered.

    Args:
        mode: ``all`` requests, ``problems`` (answers from 400 on, slow ones) or ``off``.
        slow_ms: what takes longer counts as slow.
        stream: takes JSON lines; None sends records through structlog, as for a terminal.
    """

    def __init__(
        self, *, mode: Literal["all", "problems", "off"], slow_ms: float, stream: TextIO | None
    ) -> None:
        self._mode = mode
        self._slow_ms = slow_ms
        self._stream = stream
        self._lines: list[bytes] = []
        self._flushing: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, settings: GatewaySettings) -> AccessLog:
        """The log as the settings want it, on stderr like every other record."""
        # The same question as runstream_common.logs asks.
        for_people = settings.log_format == "console" or (
            settings.log_format == "auto" and sys.stderr.isatty()
        )
        mode = settings.http_access_log if settings.log_level in ("debug", "info") else "off"
        return cls(mode=mode, slow_ms=settings.http_slow_ms, stream=None if for_people else sys.stderr)

    def wants(self, status: int, milliseconds: float) -> bool:
        """Whether a request is logged."""
        if self._mode == "all":
            return True
        return self._mode == "problems" and (status >= 400 or milliseconds >= self._slow_ms)

    def write(self, status: int, milliseconds: float, fields: dict[str, Any]) -> None:
        """Log one request.

        Args:
            status: what was answered.
            milliseconds: how long it took.
            fields: what else is told.
        """
        slow = milliseconds >= self._slow_ms
        fields = {
            **fields,
            "status": status,
            "ms": round(milliseconds, 2),
            **({"slow": True} if slow else {}),
        }
        level = "warning" if slow or status >= 500 else "info"
        if self._stream is None:
            getattr(log, level)("http_request", **fields)
            return
        line = {
            "event": "http_request",
            "level": level,
            "logger": __name__,
            "service": "gateway",
            "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            **fields,
        }
        self._lines.append(_encode(line))
        if len(self._lines) >= FLUSH_LINES:
            self.flush()
        elif self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._lines and self._stream is not None:
            lines, self._lines = self._lines, []
            self._stream.write(b"\n".join(lines).decode() + "\n")
            self._stream.flush()
