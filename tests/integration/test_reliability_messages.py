"""Repeats, disorder and poison on the bus: each costs only itself, and nothing is lost silently."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from runstream_contract.columns import INT64, encode
from runstream_contract.ids import new_batch_id, new_run_id
from runstream_proto.ingest.v1.ingest_service_pb2 import LogMetricsRequest
from runstream_proto.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from runstream_proto.metadata.v1.metric_service_pb2 import ListMetricsRequest
from runstream_proto.metadata.v1.metric_service_pb2_grpc import MetricServiceStub
from runstream_proto.metadata.v1.run_service_pb2 import DeleteRunRequest, RestoreRunRequest
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

from tests.support.load import (
    START_MS,
    create_run,
    read_histories,
    series_of_points,
    stored_point_counts,
)
from tests.support.messages import DeadLetters, histories_with, publish, publishing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import grpc
    from runstream_common.bus.api import Bus
    from runstream_proto.common.v1.position_pb2 import BusPosition

    from tests.support.service_stack import ServiceStack

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
KEY = "loss"


@pytest.fixture
async def channel(stack: ServiceStack) -> AsyncIterator[grpc.aio.Channel]:
    async with stack.channel() as opened:
        yield opened


@pytest.fixture
async def bus(stack: ServiceStack) -> AsyncIterator[Bus]:
    async with publishing(stack) as opened:
        yield opened


def batch(run_id: str, first: int, last: int, batch_id: str | None = None) -> bytes:
    steps = np.arange(first, last, dtype=INT64)
    return encode(batch_id or new_batch_id(), run_id, [series_of_points(KEY, steps)])


async def summary(
    channel: grpc.aio.Channel, run_id: str, positions: Sequence[BusPosition]
) -> tuple[int, int, float]:
    """Points, step and value of the latest point as a client sees them."""
    request = ListMetricsRequest(run_ids=[run_id], wait_for=positions, wait_timeout_ms=30_000)
    answer = await MetricServiceStub(channel).ListMetrics(request, timeout=60)
    assert answer.freshness.caught_up
    (metric,) = answer.metrics
    return metric.point_count, metric.latest.step, metric.latest.value


async def test_a_batch_sent_again_is_stored_once(stack: ServiceStack, channel: grpc.aio.Channel) -> None:
    """A2: through the door, as a client does that did not hear the acknowledgement."""
    run_id = await create_run(channel)
    data = batch(run_id, 0, 50)
    async with stack.channel(stack.ingest) as to_ingest:
        stub = IngestServiceStub(to_ingest)
        request = LogMetricsRequest.FromString(data)
        answers = [await stub.LogMetrics(request, timeout=30, wait_for_ready=True) for _ in range(5)]
    positions = [answer.position for answer in answers]
    assert len({position.offset for position in positions}) == 5
    assert (await summary(channel, run_id, positions))[0] == 50
    assert await stored_point_counts(stack.database_url, run_id) == {KEY: 50}


async def test_repeats_of_a_batch_in_one_flush_are_stored_once(
    stack: ServiceStack, channel: grpc.aio.Channel, bus: Bus
) -> None:
    run_id = await create_run(channel)
    data = batch(run_id, 0, 50)
    positions = [await publish(bus, run_id, data, content_type=PROTOBUF) for _ in range(20)]
    assert (await summary(channel, run_id, positions))[0] == 50
    assert await stored_point_counts(stack.database_url, run_id) == {KEY: 50}


async def test_the_same_points_under_another_batch_id_count_once_in_answers(
    stack: ServiceStack, channel: grpc.aio.Channel, bus: Bus
) -> None:
    """A2: MLflow's rule; the store holds them twice until chunks are merged."""
    run_id = await create_run(channel)
    positions = [
        await publish(bus, run_id, batch(run_id, first, first + 60), content_type=PROTOBUF)
        for first in (0, 30, 0)
    ]
    assert (await summary(channel, run_id, positions))[0] == 90
    history = (await read_histories(channel, run_id))[KEY]
    np.testing.assert_array_equal(history.steps, np.arange(90))
    # So the counts of the store, which the other tests rely on, do see what answers leave out.
    assert await stored_point_counts(stack.database_url, run_id) == {KEY: 180}


async def test_points_out_of_order_are_all_there_and_the_latest_is_the_latest(
    channel: grpc.aio.Channel, bus: Bus
) -> None:
    run_id = await create_run(channel)
    starts = np.random.default_rng(3).permutation(20) * 10
    positions = [
        await publish(bus, run_id, batch(run_id, int(first), int(first) + 10), content_type=PROTOBUF)
        for first in starts
    ]
    expected = series_of_points(KEY, np.arange(200, dtype=INT64))
    assert await summary(channel, run_id, positions) == (200, 199, expected.values[-1])
    history = (await read_histories(channel, run_id))[KEY]
    np.testing.assert_array_equal(history.values, expected.values)


async def test_poison_is_parked_with_what_to_fix_and_its_neighbours_are_applied(
    channel: grpc.aio.Channel, bus: Bus
) -> None:
    """B1: nothing is dropped, nothing behind a bad message waits."""
    run_id = await create_run(channel)
    negative = json.dumps({"run_id": run_id, "key": KEY, "value": 1, "timestamp_ms": -1}).encode()
    early = series_of_points(KEY, np.arange(3, dtype=INT64))
    early.timestamps_ms[1] = -5
    poison = {
        "MALFORMED_PROTOBUF": (b"\xff\xff\xff", PROTOBUF, "content-type"),
        "MALFORMED_JSON": (negative, JSON, "$.timestamp_ms"),
        "INVALID_TIMESTAMP": (encode("", run_id, [early]), PROTOBUF, "timestamps_ms[1]"),
        "UNKNOWN_CONTENT_TYPE": (b"<xml/>", "text/xml", "application/json"),
        "INVALID_KEY": (encode("", run_id, [series_of_points("../x", np.arange(1))]), PROTOBUF, "../x"),
        "EMPTY_BATCH": (encode("", run_id, []), PROTOBUF, "series"),
        "INVALID_BATCH_ID": (batch(run_id, 0, 1, "not-a-uuid"), PROTOBUF, "batch_id"),
        "INVALID_RUN_ID": (batch("RUN-1", 0, 1), PROTOBUF, "32 lowercase"),
    }
    positions = []
    for index, (value, content_type, _) in enumerate(poison.values()):
        good = batch(run_id, index * 10, index * 10 + 10)
        positions.append(await publish(bus, run_id, good, content_type=PROTOBUF))
        positions.append(await publish(bus, run_id, value, content_type=content_type))
    assert (await summary(channel, run_id, positions))[0] == 10 * len(poison)
    letters = {letter.reason: letter for letter in await DeadLetters(channel).wait_for(run_id, len(poison))}
    assert letters.keys() == poison.keys()
    for reason, (value, content_type, hint) in poison.items():
        letter = letters[reason]
        assert hint in letter.detail
        assert letter.headers["content-type"] == content_type
        assert await DeadLetters(channel).value(letter) == value


async def test_points_of_an_unknown_run_are_applied_by_a_replay_once_the_run_is_there(
    stack: ServiceStack, channel: grpc.aio.Channel, bus: Bus
) -> None:
    run_id = new_run_id()
    for first in (0, 10):
        await publish(bus, run_id, batch(run_id, first, first + 10), content_type=PROTOBUF)
    dead_letters = DeadLetters(channel)
    letters = await dead_letters.wait_for(run_id, 2)
    assert {letter.reason for letter in letters} == {"RUN_NOT_FOUND"}
    assert await create_run(channel, run_id) == run_id
    assert await dead_letters.replay(letters) == 2
    history = (await histories_with(channel, run_id, {KEY: 20}))[KEY]
    np.testing.assert_array_equal(history.steps, np.arange(20))
    assert await dead_letters.of(run_id) == []
    assert await stored_point_counts(stack.database_url, run_id) == {KEY: 20}


async def test_points_of_a_deleted_run_are_applied_by_a_replay_once_it_is_restored(
    channel: grpc.aio.Channel, bus: Bus
) -> None:
    run_id = await create_run(channel)
    runs = RunServiceStub(channel)
    await runs.DeleteRun(DeleteRunRequest(run_id=run_id), timeout=30)
    value = json.dumps({"run_id": run_id, "key": KEY, "value": 0.5, "timestamp_ms": START_MS}).encode()
    await publish(bus, run_id, value, content_type=JSON)
    dead_letters = DeadLetters(channel)
    letters = await dead_letters.wait_for(run_id, 1)
    assert letters[0].reason == "RUN_DELETED"
    assert "restore" in letters[0].detail
    # Too early: it comes back, and is not lost.
    assert await dead_letters.replay(letters) == 1
    letters = await dead_letters.wait_for(run_id, 1)
    await runs.RestoreRun(RestoreRunRequest(run_id=run_id), timeout=30)
    assert await dead_letters.replay(letters) == 1
    history = (await histories_with(channel, run_id, {KEY: 1}))[KEY]
    assert history.values.tolist() == [0.5]
