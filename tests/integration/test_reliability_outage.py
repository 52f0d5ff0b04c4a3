"""Promises 1 and 2 (B1, B3, B5, B7): the bus is away for a while; clients are told when to come back, nothing is lost,
memory stays bounded, and training goes on.

RUNSTREAM_TEST_OUTAGE_SECONDS=30 makes the outages as long as a broker's bad restart.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from runstream_common.errors import ResourceExhausted, Unavailable
from runstream_common.rpc.status import from_rpc_error
from runstream_contract.columns import INT64, encode
from runstream_contract.ids import new_batch_id, new_run_id
from runstream_proto.ingest.v1.ingest_service_pb2 import LogMetricsResponse

from tests.integration.conftest import BOUND_BYTES
from tests.support.load import (
    PATIENCE_SECONDS,
    Load,
    check_exactly_once,
    create_run,
    read_histories,
    series_of_points,
    stored_point_counts,
    until,
)
from tests.support.messages import histories_with
from tests.support.service_stack import open_test_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.conftest import Deployment
    from tests.support.service_stack import Service, ServiceStack

OUTAGE_SECONDS = float(os.environ.get("RUNSTREAM_TEST_OUTAGE_SECONDS", "3"))

CALLERS = 8
LARGE_POINTS = 40_000
"""Of one key in a unary call: about a megabyte."""

STREAM = {"points": 20_000, "window_batches": 96, "pause_seconds": 0.0}
"""Batches of about a megabyte; the stream alone offers six times the bound at once."""

ALLOWED_GROWTH_BYTES = 8 * BOUND_BYTES
"""gRPC, ingest and the client of the bus each hold some. Without bounds it would be a multiple of this."""

OFFERED_BYTES = 2 * ALLOWED_GROWTH_BYTES

IN_FLIGHT_METRIC = "runstream_ingest_in_flight_bytes"
TRAINING = Path(__file__).with_name("training_script.py")


@asynccontextmanager
async def bus_away(deployment: Deployment) -> AsyncIterator[None]:
    """The bus is killed, stays away for the block and at least OUTAGE_SECONDS, and comes back."""
    server = deployment.kafka or deployment.postgres
    await asyncio.to_thread(server.kill)
    ends = asyncio.get_running_loop().time() + OUTAGE_SECONDS
    try:
        yield
        await asyncio.sleep(ends - asyncio.get_running_loop().time())
    finally:
        await asyncio.to_thread(server.start)


async def test_clients_are_told_when_to_come_back_and_lose_nothing(deployment: Deployment) -> None:
    async with deployment.stack.channel() as channel:
        run_ids = [await create_run(channel) for _ in range(3)]
    async with Load(deployment.stack, run_ids) as load:
        await load.more_acknowledged()
        async with bus_away(deployment):
            await until(lambda: all(run.refusals for run in load.runs))
        await load.more_acknowledged()
        await load.finish()
    refusals = [refusal for run in load.runs for refusal in run.refusals]
    assert {refusal.code for refusal in refusals} <= {
        grpc.StatusCode.UNAVAILABLE.value[0],
        grpc.StatusCode.RESOURCE_EXHAUSTED.value[0],
    }
    assert min(refusal.retry_delay_ms for refusal in refusals) > 0
    # Streams outlive the outage: a refusal is an answer.
    assert [run.broken_streams for run in load.runs] == [0, 0, 0]
    await check_exactly_once(deployment.stack, load)


@dataclass
class Caller:
    """Sends large batches one after the other over unary calls, each until it is accepted."""

    target: str
    run_id: str
    accepted: int = 0
    refusals: list[Unavailable | ResourceExhausted] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Send until `stop`; the batch in hand is seen through."""
        async with open_test_channel(self.target) as channel:
            send = channel.unary_unary(
                "/runstream.ingest.v1.IngestService/LogMetrics",
                response_deserializer=LogMetricsResponse.FromString,
            )
            while not self.stop.is_set():
                await self._see_through(send, self._batch())
                self.accepted += 1

    def _batch(self) -> bytes:
        first = self.accepted * LARGE_POINTS
        series = series_of_points("loss", np.arange(first, first + LARGE_POINTS, dtype=INT64))
        return encode(new_batch_id(), self.run_id, [series])

    async def _see_through(
        self, send: grpc.aio.UnaryUnaryMultiCallable[bytes, LogMetricsResponse], data: bytes
    ) -> None:
        while True:
            try:
                await send(data, timeout=PATIENCE_SECONDS)
            except grpc.aio.AioRpcError as raised:
                error = from_rpc_error(raised)
                assert isinstance(error, Unavailable | ResourceExhausted), error
                assert error.retry_after_seconds
                self.refusals.append(error)
                await asyncio.sleep(error.retry_after_seconds)
            else:
                return


class MemoryWatch:
    """The most memory that a process had during a block."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.before_bytes = self.peak_bytes = service.resident_bytes()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.peak_bytes = max(self.peak_bytes, self._service.resident_bytes())
            await asyncio.sleep(0.05)

    @property
    def growth_bytes(self) -> int:
        """Against the beginning."""
        return self.peak_bytes - self.before_bytes


async def test_full_buffers_refuse_with_a_hint_and_memory_stays_flat(deployment: Deployment) -> None:
    """B3, B5: many times what the buffers hold is offered while the bus is away, over both methods."""
    stack = deployment.stack
    async with stack.channel() as channel:
        callers = [Caller(stack.ingest.target, await create_run(channel)) for _ in range(CALLERS)]
        streamed = await create_run(channel)
    calling = [asyncio.create_task(caller.run()) for caller in callers]
    await until(lambda: all(caller.accepted for caller in callers))
    memory = MemoryWatch(stack.ingest)
    watching = asyncio.create_task(memory.run())
    async with Load(stack, [streamed], **STREAM) as load:
        (stream,) = load.runs
        await load.more_acknowledged(1)
        async with bus_away(deployment):
            await until(lambda: stream.sent_bytes > OFFERED_BYTES and all(c.refusals for c in callers))
            assert await asyncio.to_thread(stack.ingest.metric, IN_FLIGHT_METRIC) <= BOUND_BYTES
        stream.finish()
        for caller in callers:
            caller.stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*calling)
        await load.finish()
    watching.cancel()
    assert memory.growth_bytes < ALLOWED_GROWTH_BYTES
    await check_all_accepted(stack, callers)
    await check_exactly_once(stack, load)


async def check_all_accepted(stack: ServiceStack, callers: list[Caller]) -> None:
    for caller in callers:
        wanted = {"loss": caller.accepted * LARGE_POINTS}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await stored_point_counts(stack.database_url, caller.run_id) != wanted:
                await asyncio.sleep(0.1)
        async with stack.channel() as channel:
            found = (await read_histories(channel, caller.run_id))["loss"]
        expected = series_of_points("loss", np.arange(wanted["loss"], dtype=INT64))
        np.testing.assert_array_equal(found.values, expected.values)


class Training:
    """A training process that logs with the SDK; see training_script.py."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.logged = 0
        self.outcome: dict[str, int] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, stack: ServiceStack, run_id: str, spool_dir: Path) -> Training:
        """Start the script against the stack's one address."""
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, str(TRAINING), stack.metadata.target, run_id, str(spool_dir)),
                stdin=pipe,
                stdout=pipe,
            )
        )

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = json.loads(line)
            self.logged = message["logged"]
            self.outcome = message.get("outcome", self.outcome)

    async def more_logged(self, points: int) -> None:
        """Wait until it logged so many more; a training that waits for the server never does."""
        wanted = self.logged + points
        await until(lambda: self.logged >= wanted or self._process.returncode is not None)
        assert self._process.returncode is None

    async def finish(self) -> None:
        """Tell it to stop, and wait until it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._reader
            assert await self._process.wait() == 0

    def kill(self) -> None:
        """End it if it still runs."""
        if self._process.returncode is None:
            self._process.kill()


@pytest.mark.parametrize("what", ["bus", "ingest"])
async def test_training_goes_on_and_the_sdk_spools_until_the_server_is_back(
    deployment: Deployment, tmp_path: Path, what: str
) -> None:
    """B7: every logged point arrives once, none is dropped, and the SDK's counts say so."""
    stack, run_id = deployment.stack, new_run_id()
    training = await Training.start(stack, run_id, tmp_path / "spool")
    try:
        async with stack.channel() as channel:
            await histories_with(channel, run_id, {"loss": 1})
        if what == "bus":
            async with bus_away(deployment):
                await training.more_logged(5000)
        else:
            stack.ingest.kill()
            await training.more_logged(5000)
            await asyncio.to_thread(stack.ingest.start)
        await training.more_logged(1000)
        await training.finish()
    finally:
        training.kill()
    steps = np.arange(training.logged, dtype=INT64)
    assert training.outcome == {"acknowledged": len(steps), "lost": 0}
    async with stack.channel() as channel:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await stored_point_counts(stack.database_url, run_id) != {"loss": len(steps)}:
                await asyncio.sleep(0.1)
        history = (await read_histories(channel, run_id))["loss"]
    np.testing.assert_array_equal(history.steps, steps)
    np.testing.assert_array_equal(history.values, steps * 0.5)
