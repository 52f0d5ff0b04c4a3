"""The Kafka producer against a broker's stand-in; the real one is in tests/integration."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from aiokafka.errors import KafkaConnectionError
from runstream import producer as module
from runstream.producer import MetricProducer
from runstream_common.errors import InvalidArgument
from runstream_contract.columns import decode, series_of

RUN_ID = "c" * 32


class Broker:
    """Keeps messages; may be away."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes, bytes, dict[str, str]]] = []
        self.away = threading.Event()
        self.refused = threading.Event()
        self.options: dict[str, Any] = {}

    def producer(self, **options: Any) -> "Broker":
        self.options = options
        return self

    async def start(self) -> None:
        await self._answer()

    async def stop(self) -> None:
        await asyncio.sleep(0)

    async def send_and_wait(self, topic, value, key, headers) -> None:
        await self._answer()
        self.messages.append((topic, value, key, {name: text.decode() for name, text in headers}))

    async def _answer(self) -> None:
        if self.away.is_set():
            self.refused.set()
            raise KafkaConnectionError("away")

    def points(self) -> list[tuple[str, int, float]]:
        return [
            (columns.key, int(step), float(value))
            for _, data, _, _ in self.messages
            for columns in decode(data).series
            for step, value in zip(series_of(columns).steps, series_of(columns).values, strict=True)
        ]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(module, "AIOKafkaProducer", made.producer)
    return made


def test_points_arrive_as_run_logged_keyed_by_run(broker: Broker):
    with MetricProducer("kafka:9092", topic_prefix="team.", options={"compression_type": "gzip"}) as producer:
        for step in range(100):
            producer.log_metric(RUN_ID, "loss", step / 2, step)
        producer.log_metrics(RUN_ID, {"a": 1.0, "b": 2.0}, 3)
        producer.log_series(RUN_ID, "wave", np.arange(5))
        result = producer.flush()
    assert (result.acknowledged_points, result.complete) == (107, True)
    assert sorted(broker.points()) == sorted(
        [("loss", step, step / 2) for step in range(100)]
        + [("a", 3, 1.0), ("b", 3, 2.0)]
        + [("wave", step, float(step)) for step in range(5)]
    )
    topic, data, key, headers = broker.messages[0]
    assert (topic, key) == ("team.run-logged", RUN_ID.encode())
    assert headers == {
        "event-id": decode(data).batch_id,
        "event-type": "runstream.events.v1.RunLogged",
        "content-type": "application/x-protobuf",
    }
    assert (broker.options["acks"], broker.options["enable_idempotence"]) == ("all", True)
    assert broker.options["compression_type"] == "gzip"


def test_a_broker_that_is_away_is_waited_for(broker: Broker):
    """B7: nothing is lost while the buffer has room, and flush says what waits."""
    broker.away.set()
    with MetricProducer("kafka:9092") as producer:
        producer.log_metric(RUN_ID, "loss", 1.0, 0)
        assert producer.flush(timeout_seconds=0.1).pending_points == 1
        assert broker.refused.wait(10)
        broker.away.clear()
        assert producer.flush().complete
    assert broker.points() == [("loss", 0, 1.0)]


def test_what_a_broker_never_took_is_reported(broker: Broker, caplog):
    """B7."""
    broker.away.set()
    producer = MetricProducer("kafka:9092", buffer_points=10, max_bytes=1000)
    for step in range(15):
        producer.log_metric(RUN_ID, "loss", 1.0, step)
    producer.log_series(RUN_ID, "wave", np.zeros(1000))
    result = producer.close(timeout_seconds=0.1)
    assert (result.acknowledged_points, result.pending_points, result.dropped_points) == (0, 10, 1005)
    assert any("10 points were not acknowledged" in record.getMessage() for record in caplog.records)


def test_a_run_id_is_checked(broker: Broker):
    with MetricProducer("kafka:9092") as producer, pytest.raises(InvalidArgument, match="run_id"):
        producer.log_metric("first", "loss", 1.0)
