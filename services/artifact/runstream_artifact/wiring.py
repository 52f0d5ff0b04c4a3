"""Puts the artifact service together; the only module that knows every other."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_common.bus.factory import build_bus
from runstream_common.bus.outbox import OutboxRelay
from runstream_common.bus.topics import ARTIFACT_STORED
from runstream_common.clock import SystemClock
from runstream_common.database import Database
from runstream_common.migrations import check_schema, run_migrations
from runstream_common.object_store.factory import make_object_store
from runstream_common.rpc.channel import open_channel
from runstream_common.rpc.discovery import discovery_registration
from runstream_common.rpc.operations import operations_registration
from runstream_common.rpc.server import build_server
from runstream_common.service import Service

from runstream_artifact.abandonment import UploadExpiry
from runstream_artifact.api.artifact_service import ArtifactService, ArtifactUseCases
from runstream_artifact.completion import Completion
from runstream_artifact.files import Files
from runstream_artifact.integrity import Integrity
from runstream_artifact.jobs.expire_uploads import run_expire_uploads
from runstream_artifact.metadata_client import MetadataClient
from runstream_artifact.open_completion import OpenCompletion
from runstream_artifact.open_uploads import OpenUploads
from runstream_artifact.owners import Owners
from runstream_artifact.run_states import RunStates
from runstream_artifact.signing import Signer
from runstream_artifact.small_writes import SmallWrites
from runstream_artifact.store.signing_keys import select_or_insert_secret
from runstream_artifact.store.tables import SCHEMA, outbox
from runstream_artifact.transfers import Transfers
from runstream_artifact.upload_checks import UploadChecks
from runstream_artifact.upload_plans import UploadRules
from runstream_artifact.uploads import Uploads

if TYPE_CHECKING:
    from runstream_common.clock import Clock
    from runstream_common.object_store.api import ObjectStore
    from runstream_common.service import Runtime

    from runstream_artifact.run_states import RunLookup
    from runstream_artifact.settings import ArtifactSettings

PACKAGE = "runstream_artifact"
APPLICATION_NAME = "runstream-artifact"
RUN_SERVICE = "runstream.metadata.v1.RunService"
SECRET_BYTES = 32


class MetadataChannel:
    """The connection to the metadata service as a part of this one.

    Not a readiness check: files of known runs are taken while the metadata service is away.
    """

    name = "metadata channel"

    def __init__(self, settings: ArtifactSettings) -> None:
        self.channel = open_channel(
            settings.metadata_target, settings, idempotent=[f"{RUN_SERVICE}/CheckRuns"]
        )

    async def start(self) -> None:
        """Connects when first used."""

    async def stop(self) -> None:
        """Close the connection."""
        await self.channel.close(grace=None)


class Verification:
    """What is being read and hashed, as a part that ends with the service."""

    name = "verification"

    def __init__(self, checks: UploadChecks, open_completion: OpenCompletion) -> None:
        self.checks = checks
        self.open_completion = open_completion

    async def start(self) -> None:
        """Begins with the first large upload."""

    async def stop(self) -> None:
        """End it; completing again begins anew."""
        await self.checks.stop()
        await self.open_completion.stop()


@dataclass(frozen=True, slots=True)
class Parts:
    """What everything else is made from."""

    settings: ArtifactSettings
    clock: Clock
    database: Database
    store: ObjectStore
    lookup: RunLookup
    checks: UploadChecks
    open_completion: OpenCompletion


async def build(runtime: Runtime[ArtifactSettings]) -> Service:
    """The service's parts in start order.

    Raises:
        FailedPrecondition: the schema was not migrated, or a setting is missing.
    """
    settings = runtime.settings
    bus, metadata = build_bus(settings), MetadataChannel(settings)
    parts = build_parts(settings, MetadataClient(metadata.channel))
    await check_schema(parts.database, PACKAGE)
    server = build_server(
        settings,
        [
            ArtifactService(use_cases(parts)).registration(),
            operations_registration(bus, runtime.health, service=runtime.name),
            discovery_registration(settings),
        ],
    )
    runtime.health.add_check("database", parts.database.ping)
    runtime.health.add_check("bus", bus.ping)
    runtime.health.add_check("object store", parts.store.ping)
    relay = OutboxRelay(parts.database, outbox, bus, [ARTIFACT_STORED.name])
    expiry = UploadExpiry(parts.database, parts.store)
    runtime.tasks.spawn("outbox relay", relay.run())
    runtime.tasks.spawn("upload expiry", run_expire_uploads(expiry, settings.upload_expiry_interval_seconds))
    verification = Verification(parts.checks, parts.open_completion)
    return Service([parts.database, bus, metadata, parts.store, verification, server], asyncapi=_asyncapi)


async def migrate(settings: ArtifactSettings) -> None:
    """Bring the schema up to date."""
    database = _open_database(settings)
    try:
        await run_migrations(database, PACKAGE)
    finally:
        await database.stop()


def build_parts(settings: ArtifactSettings, lookup: RunLookup, clock: Clock | None = None) -> Parts:
    """What everything else is made from, not started.

    Args:
        lookup: who knows runs.
        clock: for times and expiry; the machine's own if not given.

    Raises:
        FailedPrecondition: no database or no object store is set.
    """
    clock, database = clock or SystemClock(), _open_database(settings)

    async def signing_secret() -> bytes:
        async with database.driver() as connection:
            fresh = secrets.token_bytes(SECRET_BYTES)
            return await select_or_insert_secret(connection, fresh, clock.now_ms())

    store = make_object_store(
        settings,
        signing_secret=signing_secret,
        http_host=settings.artifact_http_host,
        http_port=settings.artifact_http_port,
        clock=clock,
    )
    checks = UploadChecks(
        database,
        store,
        clock,
        parallel=settings.verification_parallel,
        hashing_parallel=settings.hashing_parallel,
        wait_seconds=settings.completion_wait_seconds,
    )
    open_completion = OpenCompletion(
        database,
        store,
        upload_rules(settings),
        clock,
        hashing_parallel=settings.hashing_parallel,
        wait_seconds=settings.completion_wait_seconds,
    )
    return Parts(settings, clock, database, store, lookup, checks, open_completion)


def upload_rules(settings: ArtifactSettings) -> UploadRules:
    """What the settings say of uploads."""
    return UploadRules(
        threshold_bytes=settings.multipart_threshold_bytes,
        part_bytes=settings.multipart_part_bytes,
        url_seconds=settings.artifact_url_expiry_seconds,
        keep_seconds=settings.upload_expiry_hours * 3600.0,
    )


def use_cases(parts: Parts) -> ArtifactUseCases:
    """What the handlers call."""
    settings, clock, database, store = parts.settings, parts.clock, parts.database, parts.store
    rules = upload_rules(settings)
    runs = RunStates(
        parts.lookup,
        clock,
        size=settings.run_cache_size,
        active_seconds=settings.run_cache_seconds,
        stale_seconds=settings.run_cache_stale_seconds,
    )
    owners = Owners(runs)
    return ArtifactUseCases(
        uploads=Uploads(database, store, owners, Signer(store, rules), rules, clock),
        completion=Completion(database, parts.checks, owners, rules, clock),
        files=Files(database, store, url_seconds=rules.url_seconds),
        transfers=Transfers(database, owners, clock),
        integrity=Integrity(
            database,
            store,
            parallel=settings.verification_parallel,
            hashing_parallel=settings.hashing_parallel,
        ),
        open_uploads=OpenUploads(database, store, owners, rules),
        open_completion=parts.open_completion,
        small_writes=SmallWrites(database, store, owners, clock),
    )


def _open_database(settings: ArtifactSettings) -> Database:
    return Database.from_settings(settings, schema=SCHEMA, application_name=APPLICATION_NAME)


def _asyncapi() -> dict[str, Any]:
    from runstream_common.bus.asyncapi import asyncapi_document  # noqa: PLC0415 - costs time that a start has not

    return asyncapi_document()
