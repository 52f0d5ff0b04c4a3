"""The gRPC server of a service: health v1, reflection, keepalive, limits, draining."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import REGISTRY, CollectorRegistry

from runstream_common.rpc.channel import HEADROOM_BYTES
from runstream_common.rpc.interceptors import CallInterceptor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runstream_common.rpc.streams import OpenStreams
    from runstream_common.settings import ServiceSettings

log = structlog.get_logger(__name__)

DRAIN_SHARE = 0.5
"""Share of the grace period that calls in progress get; the rest is for what they handed to the bus."""

STREAM_DRAIN_SECONDS = 1.0
"""What is on its way in a client's stream gets this long; what is not acknowledged then is sent again."""


@dataclass(frozen=True, slots=True)
class Registration:
    """One gRPC service to serve.

    Args:
        name: its full name, from ``DESCRIPTOR.services_by_name[...].full_name``.
        add: the generated ``add_XServicer_to_server``.
        servicer: what implements it.
    """

    name: str
    add: Callable[[Any, Any], None]
    servicer: Any


class GrpcServer:
    """Serves until stopped; ``port`` tells where after ``start``."""

    name = "grpc"

    def __init__(
        self,
        server: grpc.aio.Server,
        health_servicer: Any,
        settings: ServiceSettings,
        service_names: Sequence[str],
        streams: OpenStreams,
    ) -> None:
        self._server = server
        self._health = health_servicer
        self._service_names = service_names
        self._streams = streams
        self._host = settings.grpc_host
        self._drain_seconds = settings.shutdown_grace_seconds * DRAIN_SHARE
        self.port = settings.grpc_port

    async def start(self) -> None:
        """Listen, then report SERVING.

        Raises:
            OSError: the port is taken or the address is not ours.
        """
        try:
            self.port = self._server.add_insecure_port(f"{self._host}:{self.port}")
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {self._host}:{self.port} (RUNSTREAM_GRPC_PORT): "
                "the port is taken or the address is not this machine's"
            ) from error
        await self._server.start()
        for name in ("", *self._service_names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info("grpc_listening", host=self._host, port=self.port)

    async def stop(self) -> None:
        """Report NOT_SERVING, take no more calls, let those in progress end, then cancel the rest.

        Streams last as long as their clients like, so they are ended: those that only answer at once,
        those that also take messages after a moment for what was sent.
        """
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.ensure_future(self._server.stop(self._drain_seconds))
        self._streams.end(request_streaming=False)
        await asyncio.wait({stopping}, timeout=min(STREAM_DRAIN_SECONDS, self._drain_seconds))
        self._streams.end(request_streaming=True)
        await stopping


def build_server(
    settings: ServiceSettings,
    services: Sequence[Registration],
    *,
    interceptors: Sequence[grpc.aio.ServerInterceptor[Any, Any]] = (),
    registry: CollectorRegistry = REGISTRY,
) -> GrpcServer:
    """The server of a service, not yet listening.

    Args:
        settings: address, limits, keepalive, default deadline.
        services: what it serves besides health and reflection.
        interceptors: run inside the one that maps errors, logs and measures.
        registry: where the call metrics go.
    """
    outer = CallInterceptor(settings, settings, registry)
    server = grpc.aio.server(
        interceptors=[outer, *interceptors],
        maximum_concurrent_rpcs=settings.grpc_max_concurrent_rpcs,
        options=_options(settings),
    )
    health_servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack aio
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    for item in services:
        item.add(item.servicer, server)
    names = [item.name for item in services]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return GrpcServer(server, health_servicer, settings, names, outer.streams)


def _options(settings: ServiceSettings) -> list[tuple[str, Any]]:
    limit = settings.grpc_max_message_bytes + HEADROOM_BYTES
    return [
        # Else a second process on the same port would silently share it.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
        ("grpc.keepalive_time_ms", settings.grpc_keepalive_seconds * 1000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients ping idle connections too; the defaults would punish that with GOAWAY.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
        ("grpc.http2.max_ping_strikes", 0),
    ]
