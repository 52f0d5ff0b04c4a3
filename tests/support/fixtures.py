"""Fixtures for tests of every package: one real server per test worker, something of its own per test."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.support.postgres import PostgresServer, fresh_database, running_postgres, shared_postgres
from tests.support.servers import running_kafka, running_s3
from tests.support.service_stack import EVERY_SERVICE, ServiceStack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from deploy.local.kafka.kafka import KafkaServer
    from deploy.local.s3.s3 import S3Server

_MARKER_OF_FIXTURE = {
    "kafka_bootstrap": "kafka",
    "disposable_kafka": "kafka",
    "s3_server": "s3",
}


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses a server by that server, so that none is forgotten."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in _MARKER_OF_FIXTURE:
                item.add_marker(_MARKER_OF_FIXTURE[fixture])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The worker's PostgreSQL server. Shared: a test that stops a server takes `disposable_postgres`."""
    with shared_postgres() as server:
        yield server


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL (`postgresql+asyncpg://…`) of an empty database of this test alone."""
    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def mlflow_stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceStack]:
    """The worker's whole deployment with its gateway, on embedded defaults. Shared: tests keep to experiments and models
    with names of their own, and stop nothing.
    """
    with fresh_database(postgres_server) as url:
        plain = url.replace("+asyncpg", "")
        stack = ServiceStack(
            tmp_path_factory.mktemp("mlflow-stack"), database_url=plain, bus_url=plain, names=EVERY_SERVICE
        )
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


@pytest.fixture
def gateway_url(mlflow_stack: ServiceStack) -> str:
    """`http://host:port` of the worker's gateway: what an MLflow client takes as its tracking URI."""
    return mlflow_stack.gateway.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium for the tests of a module, which must not be coroutines; see tests.support.browser."""
    # Most tests need no browser, and the import takes a while.
    from tests.support.browser import running_browser

    with running_browser() as chromium:
        yield chromium


@pytest.fixture
def disposable_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test alone, as durable as the product's, to kill and restart."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaServer]:
    """The worker's Kafka broker. Tests take `kafka_bootstrap`, or `disposable_kafka` to stop one."""
    with running_kafka() as server:
        yield server


@pytest.fixture
def kafka_bootstrap(kafka_server: KafkaServer) -> str:
    """`host:port` of the worker's Kafka broker. Topics and groups of a test begin with `topic_prefix`."""
    return kafka_server.bootstrap


@pytest.fixture
def topic_prefix() -> str:
    """A beginning for topic and group names that no other test has; ends with a dot."""
    return f"test-{uuid.uuid4().hex[:12]}."


@pytest.fixture
def disposable_kafka() -> Iterator[KafkaServer]:
    """A Kafka broker of this test alone, to kill and restart."""
    with running_kafka() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The worker's S3 server. A test makes a bucket of its own."""
    with running_s3() as server:
        yield server
