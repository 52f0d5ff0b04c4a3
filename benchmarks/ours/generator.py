"""A load generator: streams 1000-point batches to ingest and says what became durable and when.

Runs as a process of its own (`python -m benchmarks.ours.generator LOAD`, see Load), as training jobs do; prints one JSON line.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field

import grpc
import numpy as np
import uvloop
from runstream_contract.columns import FLOAT64, INT64
from runstream_contract.ids import new_batch_id
from runstream_proto.common.v1.position_pb2 import BusPosition
from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns, RunLoggedColumns
from runstream_proto.ingest.v1.ingest_service_pb2 import StreamMetricsResponse
from runstream_proto.metadata.v1.run_service_pb2 import GetRunRequest
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

from benchmarks import workload

METHOD = "/runstream.ingest.v1.IngestService/StreamMetrics"
WINDOW_BATCHES = 128
"""Unacknowledged batches a stream keeps on its way."""
VALUE_POOL = 64
FOLLOW_SECONDS = 0.02


@dataclass(frozen=True)
class Load:
    """What to send.

    Attributes:
        ingest: ingest's "host:port".
        metadata: the metadata service's "host:port".
        run_ids: runs to write to, one stream each.
        seconds: how long to send.
        keys: keys in a batch.
        rate_per_second: batches a second over all runs; None for as fast as it goes.
        max_behind: batches that may be acknowledged and not yet queryable; None for any number.
    """

    ingest: str
    metadata: str
    run_ids: list[str]
    seconds: float
    keys: int = workload.BATCH_KEYS
    rate_per_second: float | None = None
    max_behind: int | None = None


@dataclass
class Outcome:
    """What one generator did.

    Attributes:
        points: points acknowledged.
        seconds: from the first batch sent to the last acknowledgement.
        refused: batches refused.
        batches: batches acknowledged for each run.
        positions: highest acknowledged offset of each topic partition.
        ack_ms: median and p99 time from sending a batch to its acknowledgement.
    """

    points: int = 0
    seconds: float = 0.0
    refused: list[str] = field(default_factory=list)
    batches: dict[str, int] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)
    ack_ms: tuple[float, float] = (0.0, 0.0)


class Batches:
    """Makes batches of new points: `keys` series that together hold 1000 points."""

    def __init__(self, keys: int, points: int = workload.BATCH_POINTS) -> None:
        self._each = points // keys
        self._keys = [f"metric-{number}" for number in range(keys)]
        generator = np.random.default_rng(7)
        self._values = [generator.random(self._each).astype(FLOAT64).tobytes() for _ in range(VALUE_POOL)]
        self._ramp = np.arange(self._each, dtype=INT64)

    def make(self, run_id: str, number: int) -> bytes:
        """Serialize batch `number` of a run; steps go on where the batch before ended."""
        steps = self._ramp + number * self._each
        packed, times = steps.tobytes(), (steps * 1000 + workload.START_MS).tobytes()
        series = [
            MetricSeriesColumns(
                key=key, steps=packed, timestamps_ms=times, values=self._values[(number + index) % VALUE_POOL]
            )
            for index, key in enumerate(self._keys)
        ]
        message = RunLoggedColumns(batch_id=new_batch_id(), run_id=run_id, series=series, sequence=number + 1)
        return message.SerializeToString()


class Pace:
    """Holds the senders back while too much of what was acknowledged is not yet queryable.

    Args:
        metadata: channel to the metadata service, asked when positions are applied; None for no limit.
        run_id: any run, whose read waits.
        max_behind: batches acknowledged and not yet known to be queryable.
    """

    def __init__(
        self, metadata: grpc.aio.Channel | None, run_id: str, max_behind: int, outcome: Outcome
    ) -> None:
        self._runs = RunServiceStub(metadata) if metadata is not None else None
        self._run_id = run_id
        self._max_behind = max_behind
        self._outcome = outcome
        self._queryable = 0
        self._moved = asyncio.Event()

    async def wait(self) -> None:
        """Return when another batch may be sent."""
        while self._runs is not None and self._acknowledged() - self._queryable >= self._max_behind:
            self._moved.clear()
            await self._moved.wait()

    async def follow(self) -> None:
        """Keep learning what is queryable, until cancelled."""
        while self._runs is not None:
            reached = self._acknowledged()
            positions = [
                BusPosition(topic="run-logged", partition=partition, offset=offset)
                for partition, offset in self._outcome.positions.items()
            ]
            request = GetRunRequest(run_id=self._run_id, wait_for=positions, wait_timeout_ms=60_000)
            answer = await self._runs.GetRun(request)
            if answer.freshness.caught_up:
                self._queryable = reached
                self._moved.set()
            await asyncio.sleep(FOLLOW_SECONDS)

    def _acknowledged(self) -> int:
        return sum(self._outcome.batches.values())


class Stream:
    """One StreamMetrics call that writes to one run."""

    def __init__(
        self, channel: grpc.aio.Channel, run_id: str, batches: Batches, outcome: Outcome, pace: Pace
    ) -> None:
        self._pace = pace
        self._call = channel.stream_stream(METHOD, response_deserializer=StreamMetricsResponse.FromString)()
        self._run_id = run_id
        self._batches = batches
        self._outcome = outcome
        self._window = asyncio.Semaphore(WINDOW_BATCHES)
        self._sent: dict[int, float] = {}
        self.delays: list[float] = []

    async def run(self, deadline: float, rate_per_second: float | None) -> None:
        """Send until the deadline, then wait for every answer."""
        reader = asyncio.create_task(self._read())
        async for number in self._numbers(deadline, rate_per_second):
            await self._pace.wait()
            await self._window.acquire()
            data = self._batches.make(self._run_id, number)
            self._sent[number + 1] = time.perf_counter()
            await self._call.write(data)
        await self._call.done_writing()
        await reader

    async def _numbers(self, deadline: float, rate_per_second: float | None) -> AsyncIterator[int]:
        started, number = time.perf_counter(), 0
        while time.perf_counter() < deadline:
            if rate_per_second is not None:
                await asyncio.sleep(max(0.0, started + number / rate_per_second - time.perf_counter()))
            yield number
            number += 1

    async def _read(self) -> None:
        outcome = self._outcome
        async for answer in self._call:
            now = time.perf_counter()
            for ack in answer.acks:
                self.delays.append(now - self._sent.pop(ack.sequence))
                position = ack.position
                known = outcome.positions.get(position.partition, -1)
                outcome.positions[position.partition] = max(known, position.offset)
            outcome.refused += [f"{item.reason}: {item.message}" for item in answer.rejections]
            outcome.batches[self._run_id] = outcome.batches.get(self._run_id, 0) + len(answer.acks)
            for _ in range(len(answer.acks) + len(answer.rejections)):
                self._window.release()


async def generate(load: Load) -> Outcome:
    """Stream to every run at once."""
    outcome = Outcome()
    batches = Batches(load.keys)
    each = None if load.rate_per_second is None else load.rate_per_second / len(load.run_ids)
    async with contextlib.AsyncExitStack() as channels:
        ingest = await channels.enter_async_context(grpc.aio.insecure_channel(load.ingest))
        metadata = (
            await channels.enter_async_context(grpc.aio.insecure_channel(load.metadata))
            if load.max_behind is not None
            else None
        )
        pace = Pace(metadata, load.run_ids[0], load.max_behind or 0, outcome)
        follower = asyncio.create_task(pace.follow())
        streams = [Stream(ingest, run_id, batches, outcome, pace) for run_id in load.run_ids]
        started = time.perf_counter()
        await asyncio.gather(*(stream.run(started + load.seconds, each) for stream in streams))
        outcome.seconds = time.perf_counter() - started
        follower.cancel()
    outcome.points = sum(outcome.batches.values()) * workload.BATCH_POINTS
    delays = [delay for stream in streams for delay in stream.delays]
    outcome.ack_ms = (float(np.median(delays)) * 1000, float(np.percentile(delays, 99)) * 1000)
    return outcome


def main() -> None:
    """Run from the command line: the load as JSON in, the outcome as JSON out."""
    load = Load(**json.loads(sys.argv[1]))
    json.dump(asdict(uvloop.run(generate(load))), sys.stdout)


if __name__ == "__main__":
    main()
