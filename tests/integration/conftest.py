"""Fixtures of the cross-process tests; the servers come from the root conftest.py."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.postgres import PostgresServer, fresh_database, running_postgres
from tests.support.servers import running_kafka
from tests.support.service_stack import ServiceStack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.kafka.kafka import KafkaServer

TOPOLOGIES = ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)]
DATABASE = "runstream"
GRACE_SECONDS = 15.0
BOUND_BYTES = 16 * 1024 * 1024
"""As small as the largest message allows, so that a test can offer many times as much."""

DEPLOYMENT_SETTINGS = {
    "RUNSTREAM_SHUTDOWN_GRACE_SECONDS": f"{GRACE_SECONDS:g}",
    "RUNSTREAM_IN_FLIGHT_MAX_BYTES": str(BOUND_BYTES),
    "RUNSTREAM_PUBLISH_MAX_IN_FLIGHT_BYTES": str(BOUND_BYTES),
    # Batches whose bus is away come back soon.
    "RUNSTREAM_PUBLISH_TIMEOUT_SECONDS": "2",
}


@dataclass(frozen=True)
class Deployment:
    """Services over servers of their own, all of which may be killed.

    Attributes:
        kafka: None where PostgreSQL is the bus.
    """

    stack: ServiceStack
    postgres: PostgresServer
    kafka: KafkaServer | None

    def repair(self) -> None:
        """Start what a failed test left dead, so that it fails alone."""
        if not self.postgres.is_ready():
            self.postgres.restart()
        if self.kafka is not None and not self.kafka.is_running():
            self.kafka.start()
        self.stack.recover()


@pytest.fixture(scope="session", params=TOPOLOGIES)
def running_deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """One deployment a topology for all tests that kill parts of it: its start costs more than most of them."""
    with contextlib.ExitStack() as servers:
        postgres = servers.enter_context(running_postgres())
        postgres.create_database(DATABASE)
        kafka = servers.enter_context(running_kafka()) if request.param == "kafka" else None
        database_url = postgres.url(DATABASE)
        stack = ServiceStack(
            tmp_path_factory.mktemp("services"),
            database_url=database_url,
            bus_url=f"kafka://{kafka.bootstrap}" if kafka else database_url,
            settings=DEPLOYMENT_SETTINGS,
        )
        servers.callback(stack.stop)
        stack.start()
        yield Deployment(stack, postgres, kafka)


@pytest.fixture
def deployment(running_deployment: Deployment) -> Deployment:
    """A running deployment, any part of which the test may kill."""
    running_deployment.repair()
    return running_deployment


@pytest.fixture(scope="session", params=TOPOLOGIES)
def stack(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServiceStack]:
    """Running services over the shared servers, which stay up. A test leaves both services running."""
    kafka = request.getfixturevalue("kafka_server") if request.param == "kafka" else None
    with fresh_database(postgres_server) as database_url:
        running = ServiceStack(
            tmp_path_factory.mktemp("services"),
            database_url=database_url,
            bus_url=f"kafka://{kafka.bootstrap}" if kafka else database_url,
            topic_prefix=f"test-{uuid.uuid4().hex[:12]}.",
        )
        try:
            running.start()
            yield running
        finally:
            running.stop()
