"""A receiver of webhooks in the test's process that can fail in every way, and judges signatures by itself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from deploy.local.process import free_port
from tests.support.bus import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TAKEN = 200
_CLOSING_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Call:
    """What came; ``answered`` is the status that it got."""

    delivery_id: str
    timestamp: str
    signatures: str
    body: str
    answered: int

    @property
    def data(self) -> Any:
        """What the event tells."""
        return json.loads(self.body)["data"]

    def is_signed_with(self, secret: str) -> bool:
        """The documented rule, written once more: base64 of HMAC-SHA256 over id, timestamp and body."""
        signed = f"{self.delivery_id}.{self.timestamp}.{self.body}".encode()
        digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
        return f"v1,{base64.b64encode(digest).decode()}" == self.signatures


class WebhookReceiver:
    """An HTTP server on a port that stays the same.

    Attributes:
        status: what is answered.
        calls: what was answered, in that order.
        holding: calls that wait for ``release``.
    """

    def __init__(self) -> None:
        self.status = TAKEN
        self.calls: list[Call] = []
        self.holding = 0
        self._port = free_port()
        self._released = asyncio.Event()
        self._released.set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it is, also while it is closed."""
        return f"http://127.0.0.1:{self._port}/hook"

    def hold(self) -> None:
        """Answer nobody until ``release``."""
        self._released.clear()

    def release(self) -> None:
        """Answer again, also those who still wait."""
        self._released.set()

    async def more(self) -> None:
        """Wait for a further answered call."""
        before = len(self.calls)
        await eventually(lambda: len(self.calls) > before)

    async def open(self) -> None:
        """Accept connections."""
        application = web.Application()
        application.router.add_post("/hook", self._receive)
        self._runner = web.AppRunner(application, shutdown_timeout=_CLOSING_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def close(self) -> None:
        """Close every connection and refuse new ones."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.holding += 1
        try:
            await self._released.wait()
        finally:
            self.holding -= 1
        names = ("X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature")
        delivery_id, timestamp, signatures = (request.headers[name] for name in names)
        self.calls.append(Call(delivery_id, timestamp, signatures, body, self.status))
        return web.Response(status=self.status)


@contextlib.asynccontextmanager
async def running_receiver() -> AsyncIterator[WebhookReceiver]:
    """A receiver until the block ends."""
    receiver = WebhookReceiver()
    await receiver.open()
    try:
        yield receiver
    finally:
        receiver.release()
        await receiver.close()
