"""A real server on a free port with whatever handlers a test needs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from prometheus_client import CollectorRegistry
from runstream_common.rpc.channel import open_channel
from runstream_common.rpc.server import GrpcServer, Registration, build_server
from runstream_common.settings import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

SERVICE = "test.v1.TestService"


def settings_for_tests(**overrides: Any) -> ServiceSettings:
    """Settings of a server that only this machine reaches."""
    values: dict[str, Any] = {
        "bus_url": "kafka://localhost:1",
        "grpc_host": "127.0.0.1",
        "grpc_port": 0,
        "admin_host": "127.0.0.1",
        "admin_port": 0,
        "shutdown_grace_seconds": 10,
    }
    return ServiceSettings(**(values | overrides))


def registration(handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> Registration:
    """A service whose messages are plain bytes."""

    def add(servicer: Mapping[str, grpc.RpcMethodHandler[Any, Any]], server: grpc.aio.Server) -> None:
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, dict(servicer)),))

    return Registration(SERVICE, add, handlers)


class RunningServer:
    """A server that listens, a channel to it, and its metrics."""

    def __init__(self, server: GrpcServer, channel: grpc.aio.Channel, registry: CollectorRegistry) -> None:
        self.server, self.channel, self.registry = server, channel, registry

    async def unary(self, method: str, request: bytes = b"", **options: Any) -> bytes:
        """Call a unary method."""
        answer: bytes = await self.channel.unary_unary(f"/{SERVICE}/{method}")(request, **options)
        return answer

    def count(self, method: str, code: str) -> float:
        """How many calls of a method ended with a code."""
        labels = {"method": f"/{SERVICE}/{method}", "code": code}
        return self.registry.get_sample_value("runstream_rpc_handled_total", labels) or 0.0

    async def counted(self, method: str, code: str) -> None:
        """Wait until one call of a method is counted: that is done after its client has the answer."""
        async with asyncio.timeout(30):
            while self.count(method, code) != 1:
                await asyncio.sleep(0)

    def in_flight(self, method: str) -> float | None:
        """How many calls of a method run."""
        return self.registry.get_sample_value("runstream_rpc_in_flight", {"method": f"/{SERVICE}/{method}"})


@asynccontextmanager
async def serving(
    handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]], **overrides: Any
) -> AsyncIterator[RunningServer]:
    """Serve the handlers until the block ends."""
    settings = settings_for_tests(**overrides)
    registry = CollectorRegistry()
    server = build_server(settings, [registration(handlers)], registry=registry)
    await server.start()
    channel = open_channel(f"127.0.0.1:{server.port}", settings, idempotent=[SERVICE])
    try:
        yield RunningServer(server, channel, registry)
    finally:
        await channel.close()
        await server.stop()
