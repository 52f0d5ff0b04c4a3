"""Probes and metrics over HTTP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from runstream_common.clock import ManualClock
from runstream_common.errors import Unavailable
from runstream_common.health import AdminServer, Health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Admin:
    """A listening admin server and a client of it."""

    def __init__(self, server: AdminServer, client: aiohttp.ClientSession) -> None:
        self.server, self.client = server, client

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.client.get(f"http://127.0.0.1:{self.server.port}{path}") as answer:
            kind = answer.content_type
            return answer.status, await (answer.json() if kind == "application/json" else answer.text())


@asynccontextmanager
async def listening(health: Health, **options: Any) -> AsyncIterator[Admin]:
    server = AdminServer(health, host="127.0.0.1", port=0, **options)
    await server.start()
    try:
        async with aiohttp.ClientSession() as client:
            yield Admin(server, client)
    finally:
        await server.stop()


async def fine() -> None:
    """A check that finds nothing."""


async def test_readiness_follows_the_state() -> None:
    health = Health()
    health.add_check("database", fine)
    async with listening(health) as admin:
        assert await admin.get("/readyz") == (
            503,
            {"ready": False, "state": "starting", "checks": {"database": {"ok": True}}},
        )
        health.state = "serving"
        assert (await admin.get("/readyz"))[0] == 200
        health.state = "draining"
        assert (await admin.get("/readyz"))[0] == 503
        assert await admin.get("/healthz") == (200, {"alive": True})


async def test_a_failing_check_says_what_and_a_strange_one_only_its_kind() -> None:
    async def away() -> None:
        raise Unavailable("the bus is away")

    async def strange() -> None:
        raise ValueError("host=secret.internal")

    health = Health()
    health.state = "serving"
    for name, check in {"bus": away, "odd": strange, "database": fine}.items():
        health.add_check(name, check)
    async with listening(health) as admin:
        status, body = await admin.get("/readyz")
    assert status == 503
    assert body["checks"] == {
        "bus": {"ok": False, "detail": "the bus is away"},
        "odd": {"ok": False, "detail": "ValueError"},
        "database": {"ok": True},
    }


async def test_a_check_that_hangs_has_failed() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    health = Health(check_timeout_seconds=0.02)
    health.state = "serving"
    health.add_check("database", hang)
    readiness = await health.readiness()
    assert not readiness.ready
    assert readiness.checks["database"].detail == "no answer within 0.02 s"


async def test_many_probes_cost_one_check_a_second() -> None:
    runs = 0

    async def counted() -> None:
        nonlocal runs
        runs += 1

    clock = ManualClock()
    health = Health(clock)
    health.add_check("database", counted)
    await asyncio.gather(*(health.readiness() for _ in range(20)))
    assert runs == 1
    clock.advance(0.9)
    await health.readiness()
    assert runs == 1
    clock.advance(0.2)
    await health.readiness()
    assert runs == 2


async def test_a_dead_task_fails_liveness_with_the_first_reason() -> None:
    health = Health()
    health.state = "serving"
    health.fail("background task sweep ended")
    health.fail("and another")
    async with listening(health) as admin:
        assert await admin.get("/healthz") == (
            503,
            {"alive": False, "reason": "background task sweep ended"},
        )
        assert (await admin.get("/readyz"))[0] == 503


async def test_metrics_are_shown_in_the_format_asked_for() -> None:
    registry = CollectorRegistry()
    Counter("runstream_test", "A test.", registry=registry).inc(3)
    async with listening(Health(), registry=registry) as admin:
        status, body = await admin.get("/metrics")
        assert status == 200
        assert "runstream_test_total 3.0" in body
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        url = f"http://127.0.0.1:{admin.server.port}/metrics"
        async with admin.client.get(url, headers=accept) as answer:
            assert (await answer.text()).endswith("# EOF\n")


async def test_the_default_registry_tells_of_the_process() -> None:
    async with listening(Health()) as admin:
        _, body = await admin.get("/metrics")
    assert "process_resident_memory_bytes" in body


async def test_asyncapi_is_made_on_demand_or_not_there() -> None:
    async with listening(Health(), asyncapi=lambda: {"asyncapi": "3.0.0"}) as admin:
        assert await admin.get("/asyncapi.json") == (200, {"asyncapi": "3.0.0"})
    async with listening(Health()) as admin:
        assert (await admin.get("/asyncapi.json"))[0] == 404


async def test_a_taken_port_is_an_error() -> None:
    async with listening(Health()) as admin:
        second = AdminServer(Health(), host="127.0.0.1", port=admin.server.port)
        with pytest.raises(OSError, match=str(admin.server.port)):
            await second.start()
        await second.stop()
