"""A client that streams known points through crashes, and the checks of what is stored afterwards."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
import numpy as np
from runstream_contract.columns import FLOAT64, INT64, Series, encode
from runstream_contract.ids import new_batch_id
from runstream_proto.common.v1.position_pb2 import BusPosition
from runstream_proto.ingest.v1.ingest_service_pb2 import StreamMetricsResponse
from runstream_proto.metadata.v1.metric_service_pb2 import StreamMetricHistoryRequest
from runstream_proto.metadata.v1.metric_service_pb2_grpc import MetricServiceStub
from runstream_proto.metadata.v1.run_service_pb2 import CreateRunRequest
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

from tests.support.service_stack import open_test_channel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runstream_contract.columns import Float64Array, Int64Array
    from runstream_proto.ingest.v1.ingest_service_pb2 import BatchRejection

    from tests.support.service_stack import ServiceStack

STREAM_METHOD = "/runstream.ingest.v1.IngestService/StreamMetrics"
KEYS = ("loss", "accuracy")
START_MS = 1_700_000_000_000
PATIENCE_SECONDS = 60.0
"""How long anything may take on a loaded machine; a passing test never waits that long."""

RECONNECT_SECONDS = 0.1


async def create_run(channel: grpc.aio.Channel, run_id: str = "", experiment_id: str = "0") -> str:
    """Create a run and return its id."""
    request = CreateRunRequest(run_id=run_id, experiment_id=experiment_id, start_time_ms=START_MS)
    answer = await RunServiceStub(channel).CreateRun(request, timeout=PATIENCE_SECONDS, wait_for_ready=True)
    return str(answer.run.run_id)


def series_of_points(key: str, steps: Int64Array) -> Series:
    """The points that a load logs at these steps: anyone can tell what they must be."""
    return Series(key, steps, START_MS + steps * 10, np.sin(steps) * (1 + len(key)))


@dataclass
class RunLoad:
    """Streams numbered batches to one run until each of them is acknowledged.

    As a good client does: what is not acknowledged when a stream breaks is sent again with the same batch id, and a
    refused batch after the delay that the refusal names.

    Args:
        target: ingest's ``host:port``.
        run_id: an active run.
        points: points of each key in a batch.
        window_batches: unacknowledged batches that it keeps before it waits.
        pause_seconds: between two new batches, so that a load costs a known share of the machine.
    """

    target: str
    run_id: str
    points: int = 100
    window_batches: int = 64
    pause_seconds: float = 0.005
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    batch_count: int = 0
    acknowledged_count: int = 0
    broken_streams: int = 0
    sent_bytes: int = 0
    refusals: list[BatchRejection] = field(default_factory=list)
    positions: dict[int, BusPosition] = field(default_factory=dict)
    _unacknowledged: dict[int, bytes] = field(default_factory=dict)
    _due: deque[int] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def point_count(self) -> int:
        """Points of each key in all batches."""
        return self.batch_count * self.points

    def refused_for_good(self) -> list[BatchRejection]:
        """Refusals that say not to send the batch again."""
        return [item for item in self.refusals if not item.retry_delay_ms]

    async def run(self) -> None:
        """Send until ``stop``, then until everything is acknowledged."""
        async with open_test_channel(self.target) as channel:
            while not self._finished:
                try:
                    await self._stream(channel)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    # The second is what a write to a stream that has just ended raises.
                    self.broken_streams += 1
                    await asyncio.sleep(RECONNECT_SECONDS)

    async def _stream(self, channel: grpc.aio.Channel) -> None:
        call = channel.stream_stream(STREAM_METHOD, response_deserializer=StreamMetricsResponse.FromString)()
        self._due = deque(sorted(self._unacknowledged))
        reader = asyncio.create_task(self._read(call))
        reader.add_done_callback(lambda _: self._wake.set())
        try:
            while not reader.done() and not self._finished:
                number = self._due_again() or await self._new()
                if number:
                    self.sent_bytes += len(self._unacknowledged[number])
                    await call.write(self._unacknowledged[number])
                else:
                    await self._wake.wait()
                    self._wake.clear()
            if not reader.done():
                await call.done_writing()
            await reader
        finally:
            reader.cancel()
            call.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    @property
    def is_full(self) -> bool:
        """Whether it waits for acknowledgements."""
        return len(self._unacknowledged) >= self.window_batches

    @property
    def _finished(self) -> bool:
        return self.stop.is_set() and not self._unacknowledged

    def _due_again(self) -> int:
        """Number of a batch to send once more; 0 when there is none."""
        while self._due:
            number = self._due.popleft()
            if number in self._unacknowledged:
                return number
        return 0

    async def _new(self) -> int:
        """Number of a new batch; 0 when no more are wanted now."""
        if self.stop.is_set() or self.is_full:
            return 0
        await asyncio.sleep(self.pause_seconds)
        return self._make()

    def finish(self) -> None:
        """Make no more batches."""
        self.stop.set()
        self._wake.set()

    def _make(self) -> int:
        first = self.batch_count * self.points
        steps = np.arange(first, first + self.points, dtype=INT64)
        self.batch_count += 1
        series = [series_of_points(key, steps) for key in KEYS]
        data = encode(new_batch_id(), self.run_id, series, sequence=self.batch_count)
        self._unacknowledged[self.batch_count] = data
        return self.batch_count

    async def _read(self, call: grpc.aio.StreamStreamCall[bytes, StreamMetricsResponse]) -> None:
        async for answer in call:
            for ack in answer.acks:
                if self._unacknowledged.pop(ack.sequence, None) is not None:
                    self.acknowledged_count += 1
                known = self.positions.get(ack.position.partition)
                if known is None or known.offset < ack.position.offset:
                    self.positions[ack.position.partition] = ack.position
            for refusal in answer.rejections:
                self._refused(refusal)
            self._wake.set()

    def _refused(self, refusal: BatchRejection) -> None:
        self.refusals.append(refusal)
        if not refusal.retry_delay_ms:
            self._unacknowledged.pop(refusal.sequence, None)
            return

        def send_again() -> None:
            self._due.append(refusal.sequence)
            self._wake.set()

        asyncio.get_running_loop().call_later(refusal.retry_delay_ms / 1000, send_again)


class Load:
    """Several runs that log at once, from the start of the block until ``finish``.

    Args:
        options: see RunLoad.
    """

    def __init__(self, stack: ServiceStack, run_ids: Sequence[str], **options: Any) -> None:
        self.runs = [RunLoad(stack.ingest.target, run_id, **options) for run_id in run_ids]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(run.run()) for run in self.runs]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def acknowledged_count(self) -> int:
        """Batches acknowledged, over all runs."""
        return sum(run.acknowledged_count for run in self.runs)

    async def more_acknowledged(self, batches: int = 100) -> None:
        """Wait until so many more batches are acknowledged."""
        wanted = self.acknowledged_count + batches
        await until(lambda: self.acknowledged_count >= wanted)

    async def finish(self) -> None:
        """Make no more batches, and wait until every one is acknowledged."""
        for run in self.runs:
            run.finish()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*self._tasks)


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class History:
    """Points of one key in the order of their steps."""

    steps: Int64Array
    timestamps_ms: Int64Array
    values: Float64Array


async def read_histories(
    channel: grpc.aio.Channel, run_id: str, wait_for: Sequence[BusPosition] = ()
) -> dict[str, History]:
    """Every point of a run as a client sees it, by key."""
    parts: defaultdict[str, list[tuple[Int64Array, Int64Array, Float64Array]]] = defaultdict(list)
    request = StreamMetricHistoryRequest(run_ids=[run_id], wait_for=wait_for, wait_timeout_ms=60_000)
    async for answer in MetricServiceStub(channel).StreamMetricHistory(request, timeout=PATIENCE_SECONDS):
        one = answer.series
        arrays = np.array(one.steps, INT64), np.array(one.timestamps_ms, INT64), np.array(one.values, FLOAT64)
        parts[one.key].append(arrays)
    histories = {}
    for key, pieces in parts.items():
        steps, times, values = (np.concatenate(column) for column in zip(*pieces, strict=True))
        order = np.argsort(steps, kind="stable")
        histories[key] = History(steps[order], times[order], values[order])
    return histories


async def stored_point_counts(database_url: str, run_id: str) -> dict[str, int]:
    """Points that lie in the store for each key, repeats included, which answers leave out."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        rows = await connection.fetch(
            """SELECT l.key, sum(c.point_count) FROM metadata.latest_metric l
            JOIN metadata.metric_chunk c USING (series_id) WHERE l.run_id = $1::uuid GROUP BY l.key""",
            run_id,
        )
    finally:
        await connection.close()
    return {key: int(count) for key, count in rows}


async def check_exactly_once(stack: ServiceStack, load: Load) -> None:
    """Every acknowledged point is there with its value, once, and nothing else is."""
    async with stack.channel() as channel:
        for run in load.runs:
            assert run.refused_for_good() == []
            assert run.acknowledged_count == run.batch_count > 0
            histories = await read_histories(channel, run.run_id, list(run.positions.values()))
            assert histories.keys() == set(KEYS)
            for key, history in histories.items():
                expected = series_of_points(key, np.arange(run.point_count, dtype=INT64))
                np.testing.assert_array_equal(history.steps, expected.steps)
                np.testing.assert_array_equal(history.timestamps_ms, expected.timestamps_ms)
                np.testing.assert_array_equal(history.values, expected.values)
            stored = await stored_point_counts(stack.database_url, run.run_id)
            assert stored == dict.fromkeys(KEYS, run.point_count), "a batch was stored more than once"
