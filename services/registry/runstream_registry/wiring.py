"""Puts the registry service together; the only module that knows every other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_common.bus.factory import build_bus
from runstream_common.bus.outbox import OutboxRelay
from runstream_common.bus.topics import MODEL_CHANGED, MODEL_PROMOTED, MODEL_VERSION_CREATED
from runstream_common.clock import SystemClock
from runstream_common.database import Database
from runstream_common.migrations import check_schema, run_migrations
from runstream_common.rpc.channel import open_channel
from runstream_common.rpc.discovery import discovery_registration
from runstream_common.rpc.operations import operations_registration
from runstream_common.rpc.server import build_server
from runstream_common.service import Service

from runstream_registry.artifact_client import ArtifactClient
from runstream_registry.metadata_client import MetadataClient
from runstream_registry.model_wiring import ModelParts
from runstream_registry.promotion_wiring import PromotionParts
from runstream_registry.prompt_wiring import prompt_registration
from runstream_registry.store.tables import SCHEMA, outbox
from runstream_registry.webhook_wiring import WebhookParts

if TYPE_CHECKING:
    import grpc
    from runstream_common.bus.api import Bus
    from runstream_common.clock import Clock
    from runstream_common.rpc.server import Registration
    from runstream_common.service import Component, Runtime
    from runstream_common.supervision import Supervisor

    from runstream_registry.settings import RegistrySettings

PACKAGE = "runstream_registry"
APPLICATION_NAME = "runstream-registry"
TOPICS = (MODEL_PROMOTED.name, MODEL_VERSION_CREATED.name, MODEL_CHANGED.name)
RUN_SERVICE = "runstream.metadata.v1.RunService"
ARTIFACT_SERVICE = "runstream.artifact.v1.ArtifactService"


class Channels:
    """The connections to other services as a part of this one.

    No readiness check: models are read and resolved while the others are away.
    """

    name = "channels"

    def __init__(self, settings: RegistrySettings) -> None:
        self.metadata: grpc.aio.Channel = open_channel(
            settings.metadata_target, settings, idempotent=[f"{RUN_SERVICE}/GetRuns"]
        )
        self.artifact: grpc.aio.Channel = open_channel(
            settings.artifact_target, settings, idempotent=[ARTIFACT_SERVICE]
        )

    async def start(self) -> None:
        """Connects when first used."""

    async def stop(self) -> None:
        """Close the connections."""
        await self.metadata.close(grace=None)
        await self.artifact.close(grace=None)


@dataclass(frozen=True, slots=True)
class Parts:
    """What everything else is made from."""

    settings: RegistrySettings
    clock: Clock
    database: Database
    bus: Bus
    relay: OutboxRelay
    channels: Channels
    metadata: MetadataClient
    artifacts: ArtifactClient
    models: ModelParts
    promotions: PromotionParts
    webhooks: WebhookParts


async def build(runtime: Runtime[RegistrySettings]) -> Service:
    """The service's parts in start order.

    Raises:
        FailedPrecondition: the schema was not migrated, or a setting is missing.
    """
    parts = _parts(runtime.settings)
    await check_schema(parts.database, PACKAGE)
    server = build_server(
        runtime.settings,
        [
            *_services(parts),
            operations_registration(parts.bus, runtime.health, service=runtime.name),
            discovery_registration(runtime.settings),
        ],
    )
    runtime.health.add_check("database", parts.database.ping)
    runtime.health.add_check("bus", parts.bus.ping)
    _spawn(parts, runtime.tasks)
    components: list[Component] = [parts.database, parts.bus, parts.channels, parts.webhooks.sender, server]
    return Service(components, asyncapi=_asyncapi)


async def migrate(settings: RegistrySettings) -> None:
    """Bring the schema up to date."""
    database = _open_database(settings)
    try:
        await run_migrations(database, PACKAGE)
    finally:
        await database.stop()


def _open_database(settings: RegistrySettings) -> Database:
    return Database.from_settings(settings, schema=SCHEMA, application_name=APPLICATION_NAME)


def _parts(settings: RegistrySettings) -> Parts:
    database, bus, channels = _open_database(settings), build_bus(settings), Channels(settings)
    clock = SystemClock()
    relay = OutboxRelay(database, outbox, bus, TOPICS)
    metadata = MetadataClient(channels.metadata)
    artifacts = ArtifactClient(channels.artifact)
    return Parts(
        settings=settings,
        clock=clock,
        database=database,
        bus=bus,
        relay=relay,
        channels=channels,
        metadata=metadata,
        artifacts=artifacts,
        models=ModelParts(settings, database, clock, metadata, artifacts, relay.wake),
        promotions=PromotionParts(
            database,
            clock,
            metadata,
            artifacts,
            relay.wake,
            max_message_bytes=settings.grpc_max_message_bytes,
        ),
        webhooks=WebhookParts(settings, database, clock),
    )


def _services(parts: Parts) -> list[Registration]:
    models = parts.models
    return [
        models.registration(),
        models.import_registration(),
        prompt_registration(parts.database, parts.clock, models.versions, models.searches),
        parts.promotions.registration(),
        parts.webhooks.registration(),
    ]


def _spawn(parts: Parts, tasks: Supervisor) -> None:
    tasks.spawn("outbox relay", parts.relay.run())
    parts.promotions.spawn(tasks, parts.settings.request_expiry_interval_seconds)
    parts.webhooks.spawn(tasks)


def _asyncapi() -> dict[str, Any]:
    from runstream_common.bus.asyncapi import asyncapi_document  # noqa: PLC0415 - costs time that a start has not

    return asyncapi_document()
