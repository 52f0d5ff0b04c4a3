"""Puts the metadata service together; the only module that knows every other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.bus.factory import build_bus
from runstream_common.clock import SystemClock
from runstream_common.database import Database
from runstream_common.migrations import check_schema, run_migrations
from runstream_common.rpc.discovery import discovery_registration
from runstream_common.rpc.server import build_server
from runstream_common.service import Service

from runstream_metadata.api.experiment_service import ExperimentService
from runstream_metadata.api.run_service import RunService, RunUseCases
from runstream_metadata.consumers import run_logged
from runstream_metadata.experiments import Experiments
from runstream_metadata.jobs.lease_sweeper import LeaseSweeper
from runstream_metadata.leases import Leases
from runstream_metadata.live import LiveHub
from runstream_metadata.metric_intake import MetricIntake
from runstream_metadata.run_announcer import RunAnnouncer
from runstream_metadata.run_data import RunData
from runstream_metadata.run_directory import RunDirectory
from runstream_metadata.runs import Runs
from runstream_metadata.store.tables import SCHEMA
from runstream_metadata.watermarks import Watermarks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.service import Runtime

    from runstream_metadata.settings import MetadataSettings

PACKAGE = "runstream_metadata"
APPLICATION_NAME = "runstream-metadata"


def open_database(settings: MetadataSettings) -> Database:
    """The service's own database."""
    return Database.from_settings(settings, schema=SCHEMA, application_name=APPLICATION_NAME)


async def migrate(settings: MetadataSettings) -> None:
    """Bring the schema up to date."""
    database = open_database(settings)
    try:
        await run_migrations(database, PACKAGE)
    finally:
        await database.stop()
