"""Puts the metadata service together; the only module that knows every other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_common.bus.factory import build_bus
from runstream_common.bus.outbox import OutboxRelay
from runstream_common.bus.topics import RUN_CHANGED, RUN_LOGGED
from runstream_common.clock import SystemClock
from runstream_common.database import Database
from runstream_common.migrations import check_schema, run_migrations
from runstream_common.rpc.discovery import discovery_registration
from runstream_common.rpc.operations import operations_registration
from runstream_common.rpc.server import build_server
from runstream_common.service import Service

from runstream_metadata.api.experiment_service import ExperimentService
from runstream_metadata.api.import_service import ImportService
from runstream_metadata.api.logged_model_service import LoggedModelService
from runstream_metadata.api.metric_service import MetricService
from runstream_metadata.api.run_service import RunService, RunUseCases
from runstream_metadata.bus_progress import CONSUMER_GROUP, PartitionProgress, QueueProgress
from runstream_metadata.chunk_merge import ChunkMerge, MergeRule
from runstream_metadata.consumers.run_logged import RunLoggedConsumer
from runstream_metadata.experiments import Experiments
from runstream_metadata.imports import Imports
from runstream_metadata.jobs.expire_batches import BatchExpiry, run_expire_batches
from runstream_metadata.jobs.lease_sweeper import LeaseSweeper, run_lease_sweeper
from runstream_metadata.jobs.merge_chunks import run_merge_chunks
from runstream_metadata.leases import Leases
from runstream_metadata.live import LiveHub
from runstream_metadata.logged_models import LoggedModels
from runstream_metadata.metric_intake import MetricIntake
from runstream_metadata.metric_reads import MetricReads
from runstream_metadata.metric_watching import MetricWatcher
from runstream_metadata.run_announcer import RunAnnouncer
from runstream_metadata.run_data import RunData
from runstream_metadata.run_directory import RunDirectory
from runstream_metadata.runs import Runs
from runstream_metadata.store.tables import SCHEMA, outbox
from runstream_metadata.watermarks import Watermarks

if TYPE_CHECKING:
    from runstream_common.bus.api import Bus
    from runstream_common.clock import Clock
    from runstream_common.rpc.server import Registration
    from runstream_common.service import Runtime
    from runstream_common.supervision import Supervisor

    from runstream_metadata.settings import MetadataSettings

PACKAGE = "runstream_metadata"
APPLICATION_NAME = "runstream-metadata"


@dataclass(frozen=True, slots=True)
class Parts:
    """What everything else is made from."""

    settings: MetadataSettings
    clock: Clock
    database: Database
    bus: Bus
    hub: LiveHub
    announcer: RunAnnouncer
    directory: RunDirectory
    watermarks: Watermarks


async def build(runtime: Runtime[MetadataSettings]) -> Service:
    """The service's parts in start order.

    Raises:
        FailedPrecondition: the schema was not migrated, or a setting is missing.
    """
    parts = _parts(runtime.settings)
    await check_schema(parts.database, PACKAGE)
    _subscribe(parts)
    server = build_server(
        runtime.settings,
        [
            *_services(parts),
            operations_registration(
                parts.bus,
                runtime.health,
                service=runtime.name,
                scope_watermarks=parts.watermarks.recent_scopes,
            ),
            discovery_registration(runtime.settings),
        ],
    )
    runtime.health.add_check("database", parts.database.ping)
    runtime.health.add_check("bus", parts.bus.ping)
    _spawn(parts, runtime.tasks)
    return Service([parts.database, parts.bus, server], asyncapi=_asyncapi)


async def migrate(settings: MetadataSettings) -> None:
    """Bring the schema up to date."""
    database = _open_database(settings)
    try:
        await run_migrations(database, PACKAGE)
    finally:
        await database.stop()


def _open_database(settings: MetadataSettings) -> Database:
    return Database.from_settings(settings, schema=SCHEMA, application_name=APPLICATION_NAME)


def _parts(settings: MetadataSettings) -> Parts:
    clock, database, bus = SystemClock(), _open_database(settings), build_bus(settings)
    hub = LiveHub(settings.require_database_url())
    embedded = bus.topology == "embedded"
    progress = QueueProgress(bus) if embedded else PartitionProgress(database, clock, bus)
    directory = RunDirectory(database, clock)
    return Parts(
        settings=settings,
        clock=clock,
        database=database,
        bus=bus,
        hub=hub,
        announcer=RunAnnouncer(hub, database, directory.forget),
        directory=directory,
        watermarks=Watermarks(database, hub, clock, progress),
    )


def _subscribe(parts: Parts) -> None:
    settings = parts.settings
    consumer = RunLoggedConsumer(MetricIntake(parts.database, parts.directory, parts.hub))
    parts.bus.subscribe(
        RUN_LOGGED.name,
        CONSUMER_GROUP,
        consumer.handle,
        max_messages=settings.run_logged_batch_messages,
        max_bytes=settings.run_logged_batch_bytes,
        max_wait_ms=settings.run_logged_batch_wait_ms,
    )


def _services(parts: Parts) -> list[Registration]:
    settings, database, clock, listener = parts.settings, parts.database, parts.clock, parts.announcer
    experiments = Experiments(database, clock, listener, artifact_root=settings.artifact_root)
    runs = RunUseCases(
        runs=Runs(database, clock, listener),
        data=RunData(database, clock, listener),
        leases=Leases(database, clock, listener),
        watermarks=parts.watermarks,
        hub=parts.hub,
    )
    metrics = MetricService(
        MetricReads(database),
        MetricWatcher(database, parts.hub),
        parts.watermarks,
        max_message_bytes=settings.grpc_max_message_bytes,
    )
    return [
        ExperimentService(experiments).registration(),
        ImportService(Imports(database, clock, artifact_root=settings.artifact_root)).registration(),
        RunService(runs, max_message_bytes=settings.grpc_max_message_bytes).registration(),
        LoggedModelService(
            LoggedModels(database, clock), max_message_bytes=settings.grpc_max_message_bytes
        ).registration(),
        metrics.registration(),
    ]


def _spawn(parts: Parts, tasks: Supervisor) -> None:
    settings, database = parts.settings, parts.database
    leases = Leases(database, parts.clock, parts.announcer)
    sweeper = LeaseSweeper(leases, batch_runs=settings.lease_sweep_batch_runs)
    relay = OutboxRelay(database, outbox, parts.bus, [RUN_CHANGED.name])
    merge = ChunkMerge(database, MergeRule())
    expiry = BatchExpiry(database, settings.batch_id_keep_hours * 3600.0)
    tasks.spawn("live hub", parts.hub.run())
    tasks.spawn("run announcer", parts.announcer.run())
    tasks.spawn("outbox relay", relay.run())
    tasks.spawn("lease sweeper", run_lease_sweeper(sweeper, settings.lease_sweep_interval_seconds))
    tasks.spawn("chunk merge", run_merge_chunks(merge, settings.merge_interval_seconds))
    tasks.spawn("batch expiry", run_expire_batches(expiry, settings.batch_expiry_interval_seconds))


def _asyncapi() -> dict[str, Any]:
    from runstream_common.bus.asyncapi import asyncapi_document  # noqa: PLC0415 - costs time that a start has not

    return asyncapi_document()
