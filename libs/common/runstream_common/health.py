"""Liveness, readiness and metrics over HTTP, for orchestrators and monitoring."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import structlog
from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from runstream_common.clock import SystemClock
from runstream_common.errors import PlatformError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from runstream_common.clock import Clock

log = structlog.get_logger(__name__)

CACHE_SECONDS = 1.0
"""Results are shared this long, so that many probes cost the database one ping a second."""
CHECK_TIMEOUT_SECONDS = 2.0
"""A check that hangs is a check that failed; probes usually give up after a few seconds."""

State = Literal["starting", "serving", "draining"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found."""

    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the service should get work, and why not."""

    ready: bool
    state: State
    checks: Mapping[str, CheckResult]

    def as_json(self) -> dict[str, Any]:
        """The body of /readyz."""
        return {
            "ready": self.ready,
            "state": self.state,
            "checks": {
                name: {"ok": result.ok, **({"detail": result.detail} if result.detail else {})}
                for name, result in self.checks.items()
            },
        }


class Health:
    """What is known about this process: its state, its named checks, and what killed it.

    Args:
        clock: for the age of cached results.
        check_timeout_seconds: longest time a check may take.
    """

    def __init__(
        self, clock: Clock | None = None, *, check_timeout_seconds: float = CHECK_TIMEOUT_SECONDS
    ) -> None:
        self.state: State = "starting"
        self.failure: str | None = None
        self._clock = clock or SystemClock()
        self._timeout_seconds = check_timeout_seconds
        self._checks: dict[str, Callable[[], Awaitable[object]]] = {}
        self._results: dict[str, CheckResult] = {}
        self._checked_at: float | None = None
        self._refreshing = asyncio.Lock()

    def add_check(self, name: str, check: Callable[[], Awaitable[object]]) -> None:
        """Add a readiness check.

        Args:
            name: how it shows in /readyz, such as ``database``.
            check: returns when all is well; raises what is wrong. Must be safe to cancel.
        """
        self._checks[name] = check

    def fail(self, reason: str) -> None:
        """Say that the process is beyond help; /healthz answers 503 from now on."""
        self.failure = self.failure or reason

    async def readiness(self) -> Readiness:
        """The state and the checks, at most a second old; checks run side by side."""
        async with self._refreshing:
            now = self._clock.monotonic()
            if self._checked_at is None or now - self._checked_at >= CACHE_SECONDS:
                found = await asyncio.gather(*(self._run(name) for name in self._checks))
                self._results = dict(zip(self._checks, found, strict=True))
                self._checked_at = now
        ready = (
            self.state == "serving"
            and self.failure is None
            and all(result.ok for result in self._results.values())
        )
        return Readiness(ready, self.state, self._results)

    async def _run(self, name: str) -> CheckResult:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._checks[name]()
        except TimeoutError:
            return CheckResult(ok=False, detail=f"no answer within {self._timeout_seconds:g} s")
        except PlatformError as error:
            return CheckResult(ok=False, detail=error.message)
        except Exception as error:
            # The text may name hosts and users, which a probe's reader need not see.
            log.warning("readiness_check_failed", check=name, exc_info=error)
            return CheckResult(ok=False, detail=type(error).__name__)
        return CheckResult(ok=True)


class AdminServer:
    """The HTTP server of /healthz, /readyz, /metrics and /asyncapi.json.

    Args:
        health: what /healthz and /readyz answer from.
        host: address to listen on.
        port: port to listen on; 0 picks one, which ``port`` tells after ``start``.
        registry: what /metrics shows.
        asyncapi: makes the document; None leaves /asyncapi.json out.
    """

    name = "admin"

    def __init__(
        self,
        health: Health,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry = REGISTRY,
        asyncapi: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._health = health
        self._registry = registry
        self.asyncapi = asyncapi
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken or the address is not ours.
        """
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/asyncapi.json", self._asyncapi),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _healthz(self, _request: web.Request) -> web.Response:
        # That this runs shows the event loop moves; a dead background task is recorded in the health.
        failure = self._health.failure
        body = {"alive": failure is None, **({"reason": failure} if failure else {})}
        return web.json_response(body, status=503 if failure else 200)

    async def _readyz(self, _request: web.Request) -> web.Response:
        readiness = await self._health.readiness()
        return web.json_response(readiness.as_json(), status=200 if readiness.ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def _asyncapi(self, _request: web.Request) -> web.Response:
        if self.asyncapi is None:
            raise web.HTTPNotFound(text="this service has no events")
        return web.Response(text=json.dumps(self.asyncapi()), content_type="application/json")
