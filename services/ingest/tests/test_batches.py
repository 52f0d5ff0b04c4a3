"""LogMetricBatches: many batches in one call, each with its own outcome."""

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from runstream_common.errors import InvalidArgument, ResourceExhausted, Unavailable
from runstream_common.rpc.status import from_rpc_error
from runstream_contract.columns import Series, encode
from runstream_contract.ids import new_batch_id, new_run_id
from runstream_ingest.run_states import RunState
from runstream_proto.ingest.v1.ingest_service_pb2 import LogMetricBatchesRequest, LogMetricBatchesResponse


def known_run(door: Any) -> str:
    run_id = new_run_id()
    door.runs.states_by_id[run_id] = RunState.ACTIVE
    return run_id


def batch(run_id: str, count: int = 3) -> bytes:
    steps = np.arange(count)
    return encode(new_batch_id(), run_id, [Series("loss", steps, steps, steps / 2)])


def call(*batches: bytes, runs_checked: bool = False) -> LogMetricBatchesRequest:
    return LogMetricBatchesRequest(batches=batches, runs_checked=runs_checked)


async def answered(door: Any, request: LogMetricBatchesRequest) -> LogMetricBatchesResponse:
    answer: LogMetricBatchesResponse = await door.stub.LogMetricBatches(request)
    return answer


async def test_all_batches_are_forwarded_as_they_came_and_acknowledged(door: Any) -> None:
    runs = [known_run(door) for _ in range(3)]
    batches = [batch(run_id) for run_id in runs]
    answer = await door.stub.LogMetricBatches(call(*batches))
    assert [ack.sequence for ack in answer.acks] == [0, 1, 2]
    assert [ack.position.offset for ack in answer.acks] == [0, 1, 2]
    assert [(key, value) for key, value, _ in door.bus.sent] == list(zip(runs, batches, strict=True))
    assert not answer.rejections
    assert door.in_flight.used_bytes == 0


async def test_all_are_handed_to_the_bus_before_the_first_is_durable(door: Any) -> None:
    """One round trip of the bus, not one a batch."""
    door.bus.hold = True
    run_id = known_run(door)
    request = call(*(batch(run_id) for _ in range(5)))
    answer = asyncio.create_task(answered(door, request))
    while len(door.bus.held) < 5:
        await asyncio.sleep(0)
    assert not answer.done()
    door.bus.confirm_all()
    assert len((await answer).acks) == 5


async def test_a_refused_batch_leaves_the_others_alone(door: Any) -> None:
    run_id, deleted = known_run(door), new_run_id()
    door.runs.states_by_id[deleted] = RunState.DELETED
    answer = await door.stub.LogMetricBatches(
        call(b"\xff\xff", batch(run_id), batch(new_run_id()), batch(deleted), batch("short"))
    )
    assert [ack.sequence for ack in answer.acks] == [1]
    assert {one.sequence: one.reason for one in answer.rejections} == {
        0: "MALFORMED_PROTOBUF",
        2: "RUN_NOT_FOUND",
        3: "RUN_DELETED",
        4: "INVALID_ARGUMENT",
    }
    assert door.in_flight.used_bytes == 0


async def test_checked_runs_are_not_asked_for_and_remembered(door: Any) -> None:
    run_id = new_run_id()
    answer = await door.stub.LogMetricBatches(call(batch(run_id), runs_checked=True))
    assert len(answer.acks) == 1
    answer = await door.stub.LogMetricBatches(call(batch(run_id)))
    assert len(answer.acks) == 1


async def test_failures_of_the_bus_say_when_to_come_back(door: Any) -> None:
    door.bus.fail = Unavailable("bus away", retry_after_seconds=0.25)
    answer = await door.stub.LogMetricBatches(call(batch(known_run(door))))
    [refused] = answer.rejections
    assert (refused.code, refused.retry_delay_ms) == (grpc.StatusCode.UNAVAILABLE.value[0], 250)
    door.bus.refuse = ResourceExhausted("full", retry_after_seconds=0.5)
    answer = await door.stub.LogMetricBatches(call(batch(known_run(door))))
    [refused] = answer.rejections
    assert (refused.code, refused.retry_delay_ms) == (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], 500)


async def test_a_full_service_refuses_the_whole_call(door: Any) -> None:
    door.bus.hold = True
    run_id = known_run(door)
    first = asyncio.create_task(answered(door, call(batch(run_id, 4000))))
    while not door.bus.held:
        await asyncio.sleep(0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub.LogMetricBatches(call(batch(run_id, 1000)))
    error = from_rpc_error(caught.value)
    assert isinstance(error, ResourceExhausted)
    assert error.retry_after_seconds
    door.bus.confirm_all()
    await first
    assert door.in_flight.used_bytes == 0


@pytest.mark.parametrize("batches", [[], [b""] * 10_001])
async def test_too_few_or_too_many_batches_are_refused(door: Any, batches: list[bytes]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.stub.LogMetricBatches(call(*batches))
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidArgument)
    assert error.violations[0].field == "batches"
