"""Puts the ingest service together; the only module that knows every other."""

from typing import Any

from runstream_common.bus.factory import build_bus
from runstream_common.clock import SystemClock
from runstream_common.rpc.channel import open_channel
from runstream_common.rpc.discovery import discovery_registration
from runstream_common.rpc.operations import operations_registration
from runstream_common.rpc.server import build_server
from runstream_common.service import Runtime, Service

from runstream_ingest.admission import InFlightBytes
from runstream_ingest.api.ingest_service import IngestHandlers
from runstream_ingest.intake import Intake
from runstream_ingest.metadata_client import MetadataClient
from runstream_ingest.metrics import observe_in_flight
from runstream_ingest.run_states import CachePolicy, RunStates
from runstream_ingest.settings import IngestSettings

RUN_SERVICE = "runstream.metadata.v1.RunService"


class MetadataChannel:
    """The connection to the metadata service as a part of this one.

    Not a readiness check: known runs are taken while the metadata service is away.
    """

    name = "metadata channel"

    def __init__(self, settings: IngestSettings) -> None:
        self.channel = open_channel(
            settings.metadata_target, settings, idempotent=[f"{RUN_SERVICE}/CheckRuns"]
        )

    async def start(self) -> None:
        """Connects when first used."""

    async def stop(self) -> None:
        """Close the connection."""
        await self.channel.close(grace=None)


async def build(runtime: Runtime[IngestSettings]) -> Service:
    """The service's parts in start order."""
    settings, clock = runtime.settings, SystemClock()
    bus = build_bus(settings)
    metadata = MetadataChannel(settings)
    runs = RunStates(MetadataClient(metadata.channel), _cache_policy(settings), clock)
    in_flight = InFlightBytes(settings.in_flight_max_bytes)
    observe_in_flight(in_flight)
    handlers = IngestHandlers(Intake(bus, runs, clock), in_flight)
    runtime.health.add_check("bus", bus.ping)
    operations = operations_registration(bus, runtime.health, service=runtime.name)
    server = build_server(settings, [handlers.registration(), discovery_registration(settings), operations])
    return Service([bus, metadata, server], asyncapi=_asyncapi)


def _cache_policy(settings: IngestSettings) -> CachePolicy:
    return CachePolicy(
        size=settings.run_cache_size,
        active_seconds=settings.run_cache_seconds,
        negative_seconds=settings.run_cache_negative_seconds,
        stale_seconds=settings.run_cache_stale_seconds,
    )


def _asyncapi() -> dict[str, Any]:
    from runstream_common.bus.asyncapi import asyncapi_document  # noqa: PLC0415 - costs time that a start has not

    return asyncapi_document()
