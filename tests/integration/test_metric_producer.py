"""The SDK's Kafka producer against a real broker and the metadata service."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pytest
from runstream import MetricProducer

from tests.support.load import create_run
from tests.support.messages import histories_with
from tests.support.postgres import PostgresServer, fresh_database
from tests.support.service_stack import ServiceStack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.kafka.kafka import KafkaServer

pytestmark = pytest.mark.kafka

POINTS = 5000


@pytest.fixture
def stack(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceStack]:
    """A metadata service over Kafka. No ingest: the producer goes past it."""
    with fresh_database(postgres_server) as database_url:
        running = ServiceStack(
            tmp_path_factory.mktemp("services"),
            database_url=database_url,
            bus_url=f"kafka://{kafka_server.bootstrap}",
            topic_prefix=f"test-{uuid.uuid4().hex[:12]}.",
        )
        try:
            running.metadata.start()
            yield running
        finally:
            running.stop()


async def test_produced_points_are_queryable(stack: ServiceStack, kafka_bootstrap: str) -> None:
    def produce(run_id: str) -> None:
        with MetricProducer(kafka_bootstrap, topic_prefix=stack.topic_prefix) as producer:
            for step in range(POINTS):
                producer.log_metric(run_id, "loss", 1 / (step + 1), step)
            producer.log_series(run_id, "wave", np.sin(np.arange(POINTS)))
            assert producer.flush().acknowledged_points == 2 * POINTS

    async with stack.channel() as channel:
        run_id = await create_run(channel)
        await asyncio.to_thread(produce, run_id)
        found = await histories_with(channel, run_id, {"loss": POINTS, "wave": POINTS})
    assert sorted(found["loss"].steps.tolist()) == list(range(POINTS))
    np.testing.assert_array_equal(
        found["wave"].values[np.argsort(found["wave"].steps)], np.sin(np.arange(POINTS))
    )
