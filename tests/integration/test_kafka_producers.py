"""Producers that know Kafka and nothing of this project: plain aiokafka and confluent-kafka, JSON and protobuf."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import confluent_kafka
import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from runstream_proto.events.v1.run_logged_pb2 import MetricSeries, RunLogged

from tests.support.load import create_run
from tests.support.messages import DeadLetters, histories_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from tests.support.load import History
    from tests.support.service_stack import ServiceStack

pytestmark = [pytest.mark.kafka, pytest.mark.parametrize("stack", ["kafka"], indirect=True)]

START_MS = 1_700_000_000_000
JSON = {"content-type": "application/json"}


@pytest.fixture
async def channel(stack: ServiceStack) -> AsyncIterator[grpc.aio.Channel]:
    async with stack.channel() as opened:
        yield opened


class Producer(Protocol):
    """Puts one record on `run-logged` and returns when the broker has it."""

    async def send(self, key: str | None, value: bytes, headers: dict[str, str]) -> None: ...


@dataclass
class Aiokafka:
    producer: AIOKafkaProducer
    topic: str

    async def send(self, key: str | None, value: bytes, headers: dict[str, str]) -> None:
        pairs = [(name, text.encode()) for name, text in headers.items()]
        await self.producer.send_and_wait(self.topic, value, key=key.encode() if key else None, headers=pairs)


@dataclass
class Confluent:
    producer: confluent_kafka.Producer
    topic: str

    async def send(self, key: str | None, value: bytes, headers: dict[str, str]) -> None:
        pairs: Any = list(headers.items())
        self.producer.produce(self.topic, value, key=key, headers=pairs)
        assert self.producer.flush(30) == 0


@pytest.fixture(params=["aiokafka", "confluent-kafka"])
async def producer(
    request: pytest.FixtureRequest, stack: ServiceStack, kafka_bootstrap: str
) -> AsyncIterator[Producer]:
    topic = f"{stack.topic_prefix}run-logged"
    if request.param == "aiokafka":
        async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as plain:
            yield Aiokafka(plain, topic)
    else:
        yield Confluent(confluent_kafka.Producer({"bootstrap.servers": kafka_bootstrap}), topic)


def points_of(history: History) -> list[tuple[int, int, float]]:
    return list(
        zip(
            history.steps.tolist(),
            history.timestamps_ms.tolist(),
            history.values.tolist(),
            strict=True,
        )
    )


async def test_a_single_point_as_json(producer: Producer, channel: grpc.aio.Channel) -> None:
    run_id = await create_run(channel)
    point = {"run_id": run_id, "key": "loss", "value": 0.25, "step": 7, "timestamp_ms": START_MS}
    await producer.send(run_id, json.dumps(point).encode(), JSON)
    # No step is step 0, and no key on the record is no reason to refuse it.
    lone = {"run_id": run_id, "key": "accuracy", "value": 1, "timestamp_ms": START_MS + 1}
    await producer.send(None, json.dumps(lone).encode(), {"content-type": "application/json; charset=utf-8"})
    found = await histories_with(channel, run_id, {"loss": 1, "accuracy": 1})
    assert points_of(found["loss"]) == [(7, START_MS, 0.25)]
    assert points_of(found["accuracy"]) == [(0, START_MS + 1, 1.0)]


async def test_a_batch_of_points_as_json(producer: Producer, channel: grpc.aio.Channel) -> None:
    """One message with many points, sent twice as a retrying producer does; its batch id makes that harmless."""
    run_id = await create_run(channel)
    metrics = [
        {"key": key, "value": value, "step": step, "timestamp_ms": START_MS + step}
        for step in range(20)
        for key, value in (("loss", 1 / (step + 1)), ("accuracy", step / 20))
    ]
    metrics += [
        {"key": "odd", "value": text, "step": step, "timestamp_ms": START_MS}
        for step, text in enumerate(["NaN", "Infinity", "-Infinity"])
    ]
    message = {"run_id": run_id, "batch_id": str(uuid.uuid4()), "metrics": metrics}
    for _ in range(2):
        await producer.send(run_id, json.dumps(message).encode(), JSON)
    found = await histories_with(channel, run_id, {"loss": 20, "accuracy": 20, "odd": 3})
    assert points_of(found["loss"]) == [(step, START_MS + step, 1 / (step + 1)) for step in range(20)]
    assert points_of(found["accuracy"]) == [(step, START_MS + step, step / 20) for step in range(20)]
    np.testing.assert_array_equal(found["odd"].values, [np.nan, np.inf, -np.inf])


async def test_columns_as_json(producer: Producer, channel: grpc.aio.Channel) -> None:
    run_id = await create_run(channel)
    steps = list(range(100))
    series = {
        "key": "loss",
        "steps": steps,
        "timestamps_ms": [START_MS + step for step in steps],
        "values": [step * 0.5 for step in steps],
    }
    await producer.send(run_id, json.dumps({"run_id": run_id, "series": [series]}).encode(), JSON)
    found = await histories_with(channel, run_id, {"loss": 100})
    assert points_of(found["loss"]) == [(step, START_MS + step, step * 0.5) for step in steps]


async def test_protobuf(producer: Producer, channel: grpc.aio.Channel) -> None:
    """With the stubs of the public message, and without any header: protobuf is what a bare record is taken for."""
    run_id = await create_run(channel)
    event = RunLogged(
        batch_id=str(uuid.uuid4()),
        run_id=run_id,
        series=[
            MetricSeries(key="loss", steps=[0, 1], timestamps_ms=[START_MS, START_MS + 1], values=[0.5, 0.25])
        ],
    )
    await producer.send(run_id, event.SerializeToString(), {"content-type": "application/x-protobuf"})
    event.batch_id, event.series[0].key = "", "accuracy"
    await producer.send(run_id, event.SerializeToString(), {})
    found = await histories_with(channel, run_id, {"loss": 2, "accuracy": 2})
    expected = [(0, START_MS, 0.5), (1, START_MS + 1, 0.25)]
    assert points_of(found["loss"]) == points_of(found["accuracy"]) == expected


BAD = {
    "no JSON": (b"{", "MALFORMED_JSON", "truncated"),
    "not UTF-8": (b'{"run_id": "\xff"}', "MALFORMED_JSON", "UTF-8"),
    "no object": (b"[1, 2]", "MALFORMED_JSON", "object"),
    "an unknown field": (b'{"run_id": "$RUN", "metric": "loss"}', "MALFORMED_JSON", "`metric`"),
    "no run": (b'{"key": "loss", "value": 1, "timestamp_ms": 1}', "MALFORMED_JSON", "`run_id`"),
    "no time": (b'{"run_id": "$RUN", "key": "loss", "value": 1}', "MALFORMED_JSON", "lacks timestamp_ms"),
    "two forms": (
        b'{"run_id": "$RUN", "key": "loss", "value": 1, "timestamp_ms": 1, "metrics": []}',
        "MALFORMED_JSON",
        "mixes forms",
    ),
    "text as value": (
        b'{"run_id": "$RUN", "metrics": [{"key": "loss", "value": "high", "timestamp_ms": 1}]}',
        "MALFORMED_JSON",
        "$.metrics[0].value",
    ),
    "seconds with a fraction": (
        b'{"run_id": "$RUN", "key": "loss", "value": 1, "timestamp_ms": 1700000000.5}',
        "MALFORMED_JSON",
        "$.timestamp_ms",
    ),
    "columns of other lengths": (
        b'{"run_id": "$RUN", "series": [{"key": "loss", "steps": [1], "timestamps_ms": [], "values": [1]}]}',
        "LENGTH_MISMATCH",
        "got 1, 0 and 1",
    ),
    "a key nobody may use": (
        b'{"run_id": "$RUN", "key": "loss?", "value": 1, "timestamp_ms": 1}',
        "INVALID_KEY",
        "'loss?' may hold only",
    ),
    "an unknown run": (
        b'{"run_id": "00000000000000000000000000000000", "key": "loss", "value": 1, "timestamp_ms": 1}',
        "RUN_NOT_FOUND",
        "create the run",
    ),
    "JSON that says it is protobuf": (
        b'{"run_id": "$RUN", "key": "loss", "value": 1, "timestamp_ms": 1}',
        "MALFORMED_PROTOBUF",
        "set the header content-type to application/json",
    ),
}


async def test_bad_messages_are_parked_with_what_to_fix_and_good_ones_beside_them_applied(
    producer: Producer, channel: grpc.aio.Channel
) -> None:
    run_id = await create_run(channel)
    for step, (name, (value, _, _)) in enumerate(BAD.items()):
        headers = {"content-type": "application/x-protobuf"} if "protobuf" in name else JSON
        await producer.send(run_id, value.replace(b"$RUN", run_id.encode()), {**headers, "case": name})
        good = {"run_id": run_id, "key": "loss", "value": step, "step": step, "timestamp_ms": START_MS}
        await producer.send(run_id, json.dumps(good).encode(), JSON)
    letters = {
        letter.headers["case"]: letter for letter in await DeadLetters(channel).wait_for(run_id, len(BAD))
    }
    told = {name: (letter.reason, letter.detail) for name, letter in letters.items()}
    assert told.keys() == BAD.keys()
    for name, (_, reason, hint) in BAD.items():
        assert told[name][0] == reason, (name, told[name])
        assert hint in told[name][1], (name, told[name])
    # Same key, same partition: what lies behind the last bad one was applied, so all of them were.
    last = {"run_id": run_id, "key": "end", "value": 1, "timestamp_ms": START_MS}
    await producer.send(run_id, json.dumps(last).encode(), JSON)
    found = await histories_with(channel, run_id, {"loss": len(BAD), "end": 1})
    assert found["loss"].steps.tolist() == list(range(len(BAD)))


DOCUMENT = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
DOCUMENTED_RUN = "4f2a9c31d1e84f6c8f0e8d0c7b1a2e35"


def blocks(language: str, text: str = DOCUMENT) -> list[str]:
    """The document's code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


async def test_the_documented_json_is_accepted_as_it_stands(
    producer: Producer, channel: grpc.aio.Channel
) -> None:
    run_id = await create_run(channel)
    writing = DOCUMENT.partition("## Writing to `run-logged`")[2].partition("\n## ")[0]
    for value in blocks("json", writing):
        # The documented batch id is the same for both producers.
        text = value.replace(DOCUMENTED_RUN, run_id).replace("0190163d", uuid.uuid4().hex[:8])
        await producer.send(run_id, text.encode(), JSON)
    found = await histories_with(channel, run_id, {"loss": 4, "gradient_norm": 1})
    assert found["loss"].steps.tolist() == [0, 1, 2, 7]
    assert found["gradient_norm"].values.tolist() == [float("inf")]
    assert await DeadLetters(channel).of(run_id) == []


async def test_the_documented_programs_run_as_they_stand(
    stack: ServiceStack, channel: grpc.aio.Channel, kafka_bootstrap: str
) -> None:
    producing, consuming = (
        code.replace("localhost:9092", kafka_bootstrap)
        .replace('"run-logged"', f'"{stack.topic_prefix}run-logged"')
        .replace('"run-changed"', f'"{stack.topic_prefix}run-changed"')
        .replace('"my-deployer"', f'"{stack.topic_prefix}my-deployer"')
        for code in blocks("python")
    )
    run_id = await create_run(channel)
    listener = await asyncio.create_subprocess_exec(
        sys.executable, "-c", consuming, stdout=asyncio.subprocess.PIPE
    )
    try:
        program = await asyncio.create_subprocess_exec(sys.executable, "-c", producing, run_id)
        assert await program.wait() == 0
        await histories_with(channel, run_id, {"loss": 100})
        async with asyncio.timeout(60):
            assert listener.stdout is not None
            told = [line.decode().split() async for line in lines_until(listener.stdout, run_id)]
        assert told[-1] == [run_id, "RUN_CHANGE_CREATED", "RUNNING"]
    finally:
        listener.kill()
        await listener.wait()


async def lines_until(stream: asyncio.StreamReader, text: str) -> AsyncIterator[bytes]:
    """Lines up to and with the first that holds the text."""
    async for line in stream:
        yield line
        if text in line.decode():
            return
