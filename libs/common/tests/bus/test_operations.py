"""OperationsService over a real gRPC server and a real bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from runstream_common.bus.factory import build_bus
from runstream_common.bus.messages import Rejected
from runstream_common.bus.policy import DeadLetterPolicy
from runstream_common.bus.topics import RUN_CHANGED
from runstream_common.errors import InvalidArgument, NotFound
from runstream_common.health import Health
from runstream_common.rpc.operations import operations_registration
from runstream_common.rpc.server import build_server
from runstream_common.rpc.status import from_rpc_error
from runstream_common.settings import ServiceSettings
from runstream_proto.common.v1 import operations_service_pb2 as pb
from runstream_proto.common.v1.operations_service_pb2_grpc import OperationsServiceStub
from runstream_proto.events.v1.run_changed_pb2 import RunChanged

from tests.support.bus import Collector, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runstream_common.bus.api import Bus
    from runstream_common.bus.messages import Message

PATIENT = DeadLetterPolicy(attempts=1, max_ratio=1.0)


class Refusing(Collector):
    """Refuses everything until it is healed."""

    healed = False

    async def react(self, batch: Sequence[Message]) -> Sequence[Rejected]:
        return [] if self.healed else [Rejected(item, "RUN_NOT_FOUND", "create it") for item in batch]


class Served:
    """A running service's bus, its handlers and a client of its operations."""

    def __init__(self, bus: Bus, refusing: Refusing, other: Refusing, stub: Any) -> None:
        self.bus = bus
        self.refusing = refusing
        self.other = other
        self.stub = stub


@pytest.fixture
async def served(database_url: str) -> AsyncIterator[Served]:
    settings = ServiceSettings(bus_url=database_url, grpc_port=0, grpc_host="127.0.0.1")
    bus, refusing, other, health = build_bus(settings), Refusing(), Refusing(), Health()
    bus.subscribe(RUN_CHANGED.name, "audit", refusing, dead_letter=PATIENT)
    bus.subscribe(RUN_CHANGED.name, "billing", other, dead_letter=PATIENT)
    health.add_check("bus", bus.ping)
    registry = CollectorRegistry()
    server = build_server(
        settings, [operations_registration(bus, health, service="metadata")], registry=registry
    )
    await bus.start()
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield Served(bus, refusing, other, OperationsServiceStub(channel))
    await server.stop()
    await bus.stop()


async def publish(served: Served, count: int) -> None:
    for number in range(count):
        event = RunChanged(run_id=f"{number:032x}", status="RUNNING")
        await served.bus.publish(RUN_CHANGED.name, event.run_id, event.SerializeToString())


async def parked(served: Served, count: int) -> None:
    await served.refusing.until(lambda: sum(map(len, served.refusing.batches)) >= count)
    await served.other.until(lambda: sum(map(len, served.other.batches)) >= count)

    async def all_there() -> bool:
        answer = await served.stub.GetStatus(pb.GetStatusRequest())
        return [item.dead_letter_count for item in answer.subscriptions] == [count, count]

    for _ in range(500):
        if await all_there():
            return
    pytest.fail("letters were not parked")


async def test_status_tells_checks_lag_and_parked_messages(served: Served) -> None:
    await publish(served, 3)
    await parked(served, 3)
    await eventually(lambda: all(item.lag_messages == {0: 0} for item in served.bus.subscriptions()))
    answer = await served.stub.GetStatus(pb.GetStatusRequest())
    assert (answer.service, answer.topology) == ("metadata", "embedded")
    assert [(check.name, check.ok) for check in answer.checks] == [("bus", True)]
    audit, billing = answer.subscriptions
    assert (audit.group, billing.group) == ("audit", "billing")
    assert audit.state == pb.SUBSCRIPTION_STATE_RUNNING
    assert (audit.lag_messages, audit.dead_letter_count) == (0, 3)
    [mark] = audit.watermarks
    assert mark.applied_offset > 0
    assert answer.HasField("bus_size_bytes") == (answer.topology == "embedded")
    assert mark.applied_time_ms > 1_700_000_000_000


async def test_letters_of_every_group_are_listed_page_by_page_and_replayed(served: Served) -> None:
    await publish(served, 5)
    await parked(served, 5)
    seen: list[pb.DeadLetter] = []
    token = ""
    while True:
        page = await served.stub.ListDeadLetters(
            pb.ListDeadLettersRequest(topic=RUN_CHANGED.name, page_size=3, page_token=token)
        )
        seen.extend(page.dead_letters)
        assert len(page.dead_letters) <= 3
        token = page.next_page_token
        if not token:
            break
    assert [letter.group for letter in seen] == ["audit"] * 5 + ["billing"] * 5
    assert [letter.key for letter in seen[:5]] == [f"{number:032x}" for number in range(5)]
    assert {(letter.reason, letter.detail, letter.value) for letter in seen} == {
        ("RUN_NOT_FOUND", "create it", b"")
    }
    shown = await served.stub.GetDeadLetter(
        pb.GetDeadLetterRequest(topic=RUN_CHANGED.name, group="audit", id=seen[2].id)
    )
    assert RunChanged.FromString(shown.dead_letter.value).run_id == seen[2].key
    assert shown.dead_letter.value_size_bytes == len(shown.dead_letter.value)

    served.refusing.healed = True
    replayed = await served.stub.ReplayDeadLetters(
        pb.ReplayDeadLettersRequest(topic=RUN_CHANGED.name, group="audit")
    )
    assert replayed.replayed_count == 5
    await served.refusing.until(lambda: len(served.refusing.messages) == 5)
    assert not served.other.messages
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await served.stub.GetDeadLetter(
            pb.GetDeadLetterRequest(topic=RUN_CHANGED.name, group="audit", id=seen[2].id)
        )
    assert isinstance(from_rpc_error(gone.value), NotFound)


async def test_discarded_letters_are_gone(served: Served) -> None:
    await publish(served, 2)
    await parked(served, 2)
    listed = await served.stub.ListDeadLetters(
        pb.ListDeadLettersRequest(topic=RUN_CHANGED.name, group="audit")
    )
    for request in (
        pb.DiscardDeadLettersRequest(topic=RUN_CHANGED.name, group="audit", ids=[listed.dead_letters[0].id]),
        pb.DiscardDeadLettersRequest(topic=RUN_CHANGED.name, group="audit", all=True),
    ):
        assert (await served.stub.DiscardDeadLetters(request)).discarded_count == 1
    left = await served.stub.ListDeadLetters(pb.ListDeadLettersRequest(topic=RUN_CHANGED.name, group="audit"))
    assert not left.dead_letters


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ListDeadLetters", pb.ListDeadLettersRequest()),
        ("ListDeadLetters", pb.ListDeadLettersRequest(topic="run-changed", page_size=1001)),
        ("ListDeadLetters", pb.ListDeadLettersRequest(topic="run-changed", page_token="x/1")),
        ("GetDeadLetter", pb.GetDeadLetterRequest(topic="run-changed", group="audit")),
        ("ReplayDeadLetters", pb.ReplayDeadLettersRequest(topic="run-changed")),
        ("DiscardDeadLetters", pb.DiscardDeadLettersRequest(topic="run-changed", group="audit")),
        (
            "DiscardDeadLetters",
            pb.DiscardDeadLettersRequest(topic="run-changed", group="audit", ids=["0:1"], all=True),
        ),
    ],
)
async def test_a_request_that_lacks_something_is_refused(served: Served, method: str, request_: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(served.stub, method)(request_)
    error = from_rpc_error(refused.value)
    assert isinstance(error, InvalidArgument)
    assert len(error.violations) == 1


async def test_events_are_followed_as_json(served: Served) -> None:
    served.refusing.healed = served.other.healed = True
    call = served.stub.TailEvents(pb.TailEventsRequest(topic=RUN_CHANGED.name))
    reading = call.read()
    event = None
    async for attempt in _until_done(reading, served):
        event = attempt
    assert event is not None
    assert event.key == f"{0:032x}"
    assert '"run_id":"' in event.json.replace(" ", "")
    assert RunChanged.FromString(event.value).status == "RUNNING"
    assert event.position.topic == RUN_CHANGED.name
    call.cancel()


async def _until_done(reading: Any, served: Served) -> AsyncIterator[pb.TailEventsResponse]:
    """Publish until the tail, which only sees what comes after it began, has got one."""
    import asyncio

    task = asyncio.ensure_future(reading)
    while not task.done():
        await publish(served, 1)
    yield await task
