"""ConsumeEvents over a real gRPC server, on each transport."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from runstream_common.bus.factory import build_bus
from runstream_common.bus.topics import MODEL_PROMOTED
from runstream_common.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from runstream_common.health import Health
from runstream_common.rpc.operations import operations_registration
from runstream_common.rpc.server import build_server
from runstream_common.rpc.status import from_rpc_error
from runstream_common.settings import ServiceSettings
from runstream_proto.common.v1 import operations_service_pb2 as pb
from runstream_proto.common.v1.operations_service_pb2_grpc import OperationsServiceStub
from runstream_proto.events.v1.run_logged_pb2 import MetricSeries, RunLogged

from tests.support.bus import eventually
from tests.support.service_stack import open_test_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runstream_common.bus.api import Bus
    from runstream_common.errors import PlatformError

START = pb.ConsumeEventsRequest(start=pb.StartConsuming(topic=MODEL_PROMOTED.name, group="deployer"))
ACKNOWLEDGE = pb.ConsumeEventsRequest(acknowledge=pb.AcknowledgeEvent())
JSON_HEADERS = {"content-type": "application/json"}
WAIT_SECONDS = 60.0


class Served:
    """A service's bus and its operations, as a client sees them."""

    def __init__(self, bus: Bus, stub: Any) -> None:
        self.bus = bus
        self.stub = stub

    async def promote(self, version: int, model: str = "churn") -> None:
        value = json.dumps({"model": model, "version": version}).encode()
        await self.bus.publish(MODEL_PROMOTED.name, model, value, JSON_HEADERS)

    @asynccontextmanager
    async def consuming(self, start: pb.ConsumeEventsRequest = START) -> AsyncIterator[Any]:
        call = self.stub.ConsumeEvents()
        await call.write(start)
        answer = await read(call)
        assert answer.WhichOneof("kind") == "started"
        try:
            yield call
        finally:
            call.cancel()


@pytest.fixture
async def served(bus_url: str, topic_prefix: str) -> AsyncIterator[Served]:
    settings = ServiceSettings(
        bus_url=bus_url, topic_prefix=topic_prefix, kafka_partitions=3, grpc_port=0, grpc_host="127.0.0.1"
    )
    bus, health = build_bus(settings, [MODEL_PROMOTED]), Health()
    registration = operations_registration(bus, health, service="registry")
    server = build_server(settings, [registration], registry=CollectorRegistry())
    await bus.start()
    await server.start()
    async with open_test_channel(f"127.0.0.1:{server.port}") as channel:
        yield Served(bus, OperationsServiceStub(channel))
    await server.stop()
    await bus.stop()


async def read(call: Any) -> pb.ConsumeEventsResponse:
    async with asyncio.timeout(WAIT_SECONDS):
        answer: pb.ConsumeEventsResponse = await call.read()
        return answer


async def refusal(call: Any) -> PlatformError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await read(call)
    return from_rpc_error(refused.value)


async def test_events_are_settled_one_by_one_over_the_stream(served: Served) -> None:
    async with served.consuming() as call:
        for version in (1, 2, 3):
            await served.promote(version)
        for version in (1, 2):
            event = (await read(call)).event
            assert (event.key, json.loads(event.json)["version"]) == ("churn", version)
            assert event.position.topic == MODEL_PROMOTED.name
            await call.write(ACKNOWLEDGE)
        await read(call)
    async with served.consuming() as call:
        event = (await read(call)).event
        assert json.loads(event.json)["version"] == 3, (
            "given again to the next, and only what was not settled"
        )


async def test_an_ended_stream_ends_its_membership(served: Served) -> None:
    async with served.consuming() as call:
        await call.done_writing()
        assert await read(call) is grpc.aio.EOF
    await eventually(lambda: served.bus._consumers == 0)


async def test_a_rejected_event_is_listed_with_its_reason(served: Served) -> None:
    async with served.consuming() as call:
        await served.promote(1)
        await served.promote(2)
        await read(call)
        rejected = pb.RejectEvent(reason="COMMAND_FAILED", detail="exit status 3", attempts=4)
        await call.write(pb.ConsumeEventsRequest(reject=rejected))
        assert json.loads((await read(call)).event.json)["version"] == 2
    listed = await served.stub.ListDeadLetters(pb.ListDeadLettersRequest(topic=MODEL_PROMOTED.name))
    [letter] = listed.dead_letters
    assert (letter.group, letter.key) == ("deployer", "churn")
    assert (letter.reason, letter.detail, letter.attempts) == ("COMMAND_FAILED", "exit status 3", 4)


async def test_the_largest_event_fits_into_an_answer(served: Served) -> None:
    largest = RunLogged(run_id="f" * 32, series=[MetricSeries(key="loss", values=[0.1] * 2_000_000)])
    headers = {"content-type": "application/x-protobuf", "event-type": RunLogged.DESCRIPTOR.full_name}
    async with served.consuming() as call:
        await served.bus.publish(MODEL_PROMOTED.name, "k", largest.SerializeToString(), headers)
        event = (await read(call)).event
        assert RunLogged.FromString(event.value) == largest
        assert event.json == ""


@pytest.mark.parametrize(
    ("start", "field"),
    [
        (ACKNOWLEDGE, "start"),
        (pb.ConsumeEventsRequest(), "start"),
        (pb.ConsumeEventsRequest(start=pb.StartConsuming(group="g")), "start.topic"),
        (pb.ConsumeEventsRequest(start=pb.StartConsuming(topic="model-promoted")), "start.group"),
        (pb.ConsumeEventsRequest(start=pb.StartConsuming(topic="model-promoted", group="a b")), "group"),
    ],
)
async def test_a_bad_start_is_refused_with_the_field(
    served: Served, start: pb.ConsumeEventsRequest, field: str
) -> None:
    call = served.stub.ConsumeEvents()
    await call.write(start)
    error = await refusal(call)
    assert isinstance(error, InvalidArgument)
    assert [item.field for item in error.violations] == [field]


async def test_steps_out_of_turn_are_refused(served: Served) -> None:
    async with served.consuming() as call:
        await call.write(ACKNOWLEDGE)
        assert isinstance(await refusal(call), FailedPrecondition)
    async with served.consuming() as call:
        await served.promote(1)
        await read(call)
        await call.write(START)
        assert isinstance(await refusal(call), InvalidArgument)
    async with served.consuming() as call:
        await read(call)
        await call.write(pb.ConsumeEventsRequest(reject=pb.RejectEvent()))
        assert isinstance(await refusal(call), InvalidArgument)


async def test_groups_are_deleted_unless_they_are_the_platforms_own(served: Served) -> None:
    async with served.consuming():
        pass
    request = pb.DeleteConsumerGroupRequest(topic=MODEL_PROMOTED.name, group="deployer")
    await eventually(lambda: served.bus._consumers == 0)
    await served.stub.DeleteConsumerGroup(request)
    for group, kind in (("deployer", NotFound), ("metadata", PermissionDenied), ("", InvalidArgument)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.stub.DeleteConsumerGroup(
                pb.DeleteConsumerGroupRequest(topic=MODEL_PROMOTED.name, group=group)
            )
        assert isinstance(from_rpc_error(refused.value), kind)
