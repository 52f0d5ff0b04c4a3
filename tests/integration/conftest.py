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


@dataclass(frozen=True)
class Deployment:
    """Services over servers of their own, all of which may be killed.

    Attributes:
        kafka: None where PostgreSQL is the bus.
    """

    stack: ServiceStack
    postgres: PostgresServer
    kafka: KafkaServer | None


@pytest.fixture(scope="module", params=TOPOLOGIES)
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A running deployment of the module's own; each test leaves it running."""
    with contextlib.ExitStack() as servers:
        postgres = servers.enter_context(running_postgres())
        postgres.create_database(DATABASE)
        kafka = servers.enter_context(running_kafka()) if request.param == "kafka" else None
        database_url = postgres.url(DATABASE)
        stack = ServiceStack(
            tmp_path_factory.mktemp("services"),
            database_url=database_url,
            bus_url=f"kafka://{kafka.bootstrap}" if kafka else database_url,
            settings=getattr(request.module, "SETTINGS", {}),
        )
        servers.callback(stack.stop)
        stack.start()
        yield Deployment(stack, postgres, kafka)


@pytest.fixture(scope="module", params=TOPOLOGIES)
def stack(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServiceStack]:
    """Running services of the module's own over the shared servers, which stay up."""
    kafka = request.getfixturevalue("kafka_server") if request.param == "kafka" else None
    with fresh_database(postgres_server) as database_url:
        running = ServiceStack(
            tmp_path_factory.mktemp("services"),
            database_url=database_url,
            bus_url=f"kafka://{kafka.bootstrap}" if kafka else database_url,
            topic_prefix=f"test-{uuid.uuid4().hex[:12]}.",
            settings=getattr(request.module, "SETTINGS", {}),
        )
        try:
            running.start()
            yield running
        finally:
            running.stop()
