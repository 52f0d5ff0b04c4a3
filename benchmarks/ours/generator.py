"""A load generator: streams 1000-point batches to ingest and says what became durable and when.

Runs as a process of its own (`python -m benchmarks.ours.generator …`), as training jobs do; prints one JSON line.
"""

import argparse
import asyncio
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
from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns, RunLoggedColumns
from runstream_proto.ingest.v1.ingest_service_pb2 import StreamMetricsResponse

from benchmarks import workload

METHOD = "/runstream.ingest.v1.IngestService/StreamMetrics"
WINDOW_BATCHES = 128
"""Unacknowledged batches a stream keeps on its way."""
VALUE_POOL = 64


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


class Stream:
    """One StreamMetrics call that writes to one run."""

    def __init__(self, channel: grpc.aio.Channel, run_id: str, batches: Batches, outcome: Outcome) -> None:
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


async def generate(
    target: str, run_ids: list[str], seconds: float, keys: int, rate_per_second: float | None
) -> Outcome:
    """Stream to every run at once.

    Args:
        target: ingest's "host:port".
        run_ids: runs to write to, one stream each.
        seconds: how long to send.
        keys: keys in a batch.
        rate_per_second: batches a second over all runs; None for as fast as it goes.
    """
    outcome = Outcome()
    batches = Batches(keys)
    each = None if rate_per_second is None else rate_per_second / len(run_ids)
    async with grpc.aio.insecure_channel(target) as channel:
        streams = [Stream(channel, run_id, batches, outcome) for run_id in run_ids]
        started = time.perf_counter()
        await asyncio.gather(*(stream.run(started + seconds, each) for stream in streams))
        outcome.seconds = time.perf_counter() - started
    outcome.points = sum(outcome.batches.values()) * workload.BATCH_POINTS
    delays = [delay for stream in streams for delay in stream.delays]
    outcome.ack_ms = (float(np.median(delays)) * 1000, float(np.percentile(delays, 99)) * 1000)
    return outcome


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--runs", required=True, help="run ids, comma-separated")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--keys", type=int, default=workload.BATCH_KEYS)
    parser.add_argument(
        "--rate", type=float, default=None, help="batches a second; as fast as it goes if not given"
    )
    arguments = parser.parse_args()
    outcome = uvloop.run(
        generate(
            arguments.target, arguments.runs.split(","), arguments.seconds, arguments.keys, arguments.rate
        )
    )
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
