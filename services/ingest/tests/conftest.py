"""An ingest server in this process, over a bus and an owner of runs that the test steers."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from runstream_common.bus.messages import Position
from runstream_common.clock import SystemClock
from runstream_common.rpc.server import build_server
from runstream_ingest.admission import InFlightBytes
from runstream_ingest.api.ingest_service import IngestHandlers
from runstream_ingest.intake import Intake
from runstream_ingest.run_states import CachePolicy, RunState, RunStates
from runstream_ingest.settings import IngestSettings
from runstream_proto.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub


@dataclass
class SteeredBus:
    """Keeps what was sent; confirms at once, or when told to, or fails."""

    sent: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    held: list["asyncio.Future[Position]"] = field(default_factory=list)
    hold: bool = False
    refuse: Exception | None = None
    fail: Exception | None = None

    def send(
        self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None
    ) -> "asyncio.Future[Position]":
        if self.refuse is not None:
            raise self.refuse
        future: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        self.sent.append((key, value, dict(headers or {})))
        if self.fail is not None:
            future.set_exception(self.fail)
        elif self.hold:
            self.held.append(future)
        else:
            future.set_result(Position(topic, 0, len(self.sent) - 1))
        return future

    def confirm_all(self) -> None:
        for index, future in enumerate(self.held):
            if not future.done():
                future.set_result(Position("run-logged", 0, index))
        self.held.clear()


@dataclass
class SteeredRuns:
    """Knows the runs that the test gives it."""

    states_by_id: dict[str, RunState] = field(default_factory=dict)

    async def states(self, run_ids: Sequence[str]) -> dict[str, RunState]:
        return {run_id: self.states_by_id.get(run_id, RunState.UNKNOWN) for run_id in run_ids}


@dataclass
class Door:
    """A running server with its parts."""

    bus: SteeredBus
    runs: SteeredRuns
    in_flight: InFlightBytes
    channel: grpc.aio.Channel
    stub: IngestServiceStub


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    bus, runs = SteeredBus(), SteeredRuns()
    clock = SystemClock()
    in_flight = InFlightBytes(100_000)
    states = RunStates(runs, CachePolicy(100, 10, 2, 100), clock)
    handlers = IngestHandlers(Intake(bus, states, clock), in_flight)
    settings = IngestSettings(bus_url=SecretStr("kafka://unused:1"), grpc_host="127.0.0.1", grpc_port=0)
    server = build_server(settings, [handlers.registration()], registry=CollectorRegistry())
    await server.start()
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{server.port}", options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        yield Door(bus, runs, in_flight, channel, IngestServiceStub(channel))
    await server.stop()
