"""Receivers of webhooks that run in this process, and whatever the tests do with them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from runstream_common.database import Database
from runstream_registry.notices import Notice
from runstream_registry.store import delivery_queue

DEADLINE_SECONDS = 30.0
CREATED = Notice("MODEL_VERSION", "CREATED", "fraud", {"name": "fraud", "version": "1"})

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Call:
    """What a receiver got."""

    headers: dict[str, str]
    body: str

    @property
    def delivery_id(self) -> str:
        return self.headers["X-MLflow-Delivery-Id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        """The rule of docs/webhooks.md, written once more."""
        signed = f"{self.delivery_id}.{self.headers['X-MLflow-Timestamp']}.{self.body}"
        digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
        expected = "v1," + base64.b64encode(digest).decode()
        return expected in self.headers.get("X-MLflow-Signature", "").split(" ")


@dataclass
class Receiver:
    """An HTTP server that keeps what it gets and answers what it is told to, then 200."""

    url: str = ""
    calls: list[Call] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)
    usual: Answer | None = None
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        async with self._changed:
            self.calls.append(Call(dict(request.headers), body))
            self._changed.notify_all()
        answer = self.answers.popleft() if self.answers else self.usual
        return web.Response(text="thanks") if answer is None else await answer(request)

    async def wait_for_calls(self, count: int) -> list[Call]:
        async with asyncio.timeout(DEADLINE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.calls) >= count)
        return self.calls


def status(code: int, **headers: str) -> Answer:
    """An answer with a status; header names are written with underscores."""

    async def answer(_request: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, text="no", headers=named)

    return answer


def hang_until(released: asyncio.Event) -> Answer:
    """An answer that comes only when it is let go."""

    async def answer(_request: web.Request) -> web.Response:
        await released.wait()
        return web.Response(text="late")

    return answer


@asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        receiver.url = f"http://127.0.0.1:{port}/hook"
        yield receiver
    finally:
        await runner.cleanup()


async def tell(database: Database, *notices: Notice) -> None:
    """Queue what a committed change would."""
    async with database.driver() as connection, connection.transaction():
        await delivery_queue.enqueue(connection, notices, 1_700_000_000_000)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.01)
