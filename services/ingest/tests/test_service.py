"""The two methods over a real gRPC server."""

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runstream_common.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from runstream_common.rpc.status import from_rpc_error
from runstream_contract.columns import Series, encode
from runstream_contract.ids import new_batch_id, new_run_id
from runstream_ingest.run_states import RunState
from runstream_proto.events.v1.run_logged_pb2 import RunLogged
from runstream_proto.ingest.v1.ingest_service_pb2 import (
    LogMetricsRequest,
    StreamMetricsRequest,
    StreamMetricsResponse,
)


def known_run(door: Any) -> str:
    run_id = new_run_id()
    door.runs.states_by_id[run_id] = RunState.ACTIVE
    return run_id


def batch(run_id: str, count: int = 10, sequence: int = 0) -> bytes:
    steps = np.arange(count)
    return encode(
        new_batch_id(),
        run_id,
        [Series("loss", steps, steps, np.random.default_rng(0).random(count))],
        sequence,
    )


def unary(run_id: str, count: int = 10) -> LogMetricsRequest:
    return LogMetricsRequest.FromString(batch(run_id, count))


def streamed(run_id: str, sequence: int, count: int = 10) -> StreamMetricsRequest:
    return StreamMetricsRequest.FromString(batch(run_id, count, sequence))


async def answers_until(call: Any, count: int) -> StreamMetricsResponse:
    """Merge answers until `count` batches are answered."""
    merged = StreamMetricsResponse()
    while len(merged.acks) + len(merged.rejections) < count:
        answer = await call.read()
        assert answer is not grpc.aio.EOF
        merged.MergeFrom(answer)
    return merged


async def test_accepted_bytes_are_forwarded_as_they_came(door: Any) -> None:
    run_id = known_run(door)
    request = unary(run_id, 25)
    answer = await door.stub.LogMetrics(request)
    assert answer.point_count == 25
    assert answer.position.topic == "run-logged"
    [(key, value, headers)] = door.bus.sent
    assert key == run_id
    assert value == request.SerializeToString()
    assert RunLogged.FromString(value).series[0].key == "loss"
    assert headers["event-id"] == request.batch_id
    assert headers["content-type"] == "application/x-protobuf"


async def test_answer_waits_until_the_batch_is_durable(door: Any) -> None:
    """B2: one durable write an acknowledgement."""
    door.bus.hold = True
    call = asyncio.ensure_future(door.stub.LogMetrics(unary(known_run(door))))
    while not door.bus.held:
        await asyncio.sleep(0)
    assert not call.done()
    door.bus.confirm_all()
    assert (await call).point_count == 10


async def test_unknown_run_is_refused(door: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub.LogMetrics(unary(new_run_id()))
    error = from_rpc_error(caught.value)
    assert isinstance(error, NotFound)
    assert error.reason == "RUN_NOT_FOUND"
    assert door.bus.sent == []


async def test_full_service_refuses_unary_calls_with_a_delay(door: Any) -> None:
    """B5: RESOURCE_EXHAUSTED with RetryInfo, nothing kept."""
    door.bus.hold = True
    run_id = known_run(door)
    first = asyncio.ensure_future(door.stub.LogMetrics(unary(run_id, 4000)))
    while not door.bus.held:
        await asyncio.sleep(0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub.LogMetrics(unary(run_id, 1000))
    error = from_rpc_error(caught.value)
    assert isinstance(error, ResourceExhausted)
    assert error.retry_after_seconds
    door.bus.confirm_all()
    await first
    assert door.in_flight.used_bytes == 0


@pytest.mark.parametrize("stage", ["refuse", "fail"])
async def test_bus_away_is_unavailable_with_a_delay(door: Any, stage: str) -> None:
    setattr(door.bus, stage, Unavailable("bus away", retry_after_seconds=0.5))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub.LogMetrics(unary(known_run(door)))
    error = from_rpc_error(caught.value)
    assert isinstance(error, Unavailable)
    assert error.retry_after_seconds == 0.5
    assert door.in_flight.used_bytes == 0


async def test_stream_acknowledges_every_sequence(door: Any) -> None:
    run_id = known_run(door)
    call = door.stub.StreamMetrics()
    for sequence in range(1, 51):
        await call.write(streamed(run_id, sequence))
    answers = await answers_until(call, 50)
    assert sorted(ack.sequence for ack in answers.acks) == list(range(1, 51))
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert door.in_flight.used_bytes == 0


async def test_refused_batch_does_not_end_the_stream(door: Any) -> None:
    run_id = known_run(door)
    call = door.stub.StreamMetrics()
    await call.write(streamed(new_run_id(), 1))
    await call.write(StreamMetricsRequest(batch_id="x", run_id=run_id, sequence=2))
    await call.write(streamed(run_id, 3))
    answers = await answers_until(call, 3)
    assert [ack.sequence for ack in answers.acks] == [3]
    refused = {r.sequence: r for r in answers.rejections}
    assert refused[1].reason == "RUN_NOT_FOUND"
    assert refused[1].retry_delay_ms == 0
    assert "batch_id" in refused[2].message
    assert door.in_flight.used_bytes == 0


async def test_stream_tells_when_to_retry(door: Any) -> None:
    door.bus.fail = Unavailable("bus away", retry_after_seconds=0.25)
    call = door.stub.StreamMetrics()
    await call.write(streamed(known_run(door), 7))
    [refused] = (await answers_until(call, 1)).rejections
    assert (refused.sequence, refused.code, refused.retry_delay_ms) == (
        7,
        grpc.StatusCode.UNAVAILABLE.value[0],
        250,
    )


async def test_full_service_stops_reading_streams(door: Any) -> None:
    """Backpressure, not collapse: what is taken in stays bounded however much the client has written."""
    door.bus.hold = True
    run_id = known_run(door)
    call = door.stub.StreamMetrics()

    async def write_all() -> None:
        for sequence in range(1, 41):
            await call.write(streamed(run_id, sequence, 1000))

    writing = asyncio.create_task(write_all())
    while len(door.bus.held) < 4:
        await asyncio.sleep(0)
    for _ in range(200):
        await asyncio.sleep(0)
    assert door.in_flight.used_bytes <= 100_000
    door.bus.hold = False
    door.bus.confirm_all()
    await writing
    answers = await answers_until(call, 40)
    assert len(answers.acks) == 40
    call.cancel()


async def test_leaving_client_frees_what_it_held(door: Any) -> None:
    door.bus.hold = True
    call = door.stub.StreamMetrics()
    await call.write(streamed(known_run(door), 1))
    while not door.bus.held:
        await asyncio.sleep(0)
    call.cancel()
    door.bus.confirm_all()
    while door.in_flight.used_bytes:
        await asyncio.sleep(0)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
async def test_garbage_is_refused_precisely(door: Any, data: bytes) -> None:
    """Malformed protobuf at the edge: INVALID_ARGUMENT, never INTERNAL, and the server lives on."""
    call = door.channel.unary_unary("/runstream.ingest.v1.IngestService/LogMetrics")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(data)
    assert isinstance(from_rpc_error(caught.value), InvalidArgument)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 200), flip=st.integers(1, 255), data=st.data())
async def test_damaged_batches_never_break_the_server(
    door: Any, position: int, flip: int, data: st.DataObject
) -> None:
    """One flipped byte gives an accepted batch or a precise refusal."""
    del data
    whole = bytearray(batch(known_run(door), 3))
    whole[position % len(whole)] ^= flip
    call = door.channel.unary_unary("/runstream.ingest.v1.IngestService/LogMetrics")
    try:
        await call(bytes(whole))
    except grpc.aio.AioRpcError as error:
        assert error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert door.in_flight.used_bytes == 0
