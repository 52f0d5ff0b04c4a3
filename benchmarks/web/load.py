"""Sends one kind of request over some connections for a while; a process of its own, as clients are.

`python -m benchmarks.web.load LOAD` with a Load as JSON; prints an Outcome as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from itertools import count, repeat
from typing import TYPE_CHECKING

import msgspec
import uvloop

from benchmarks import workload
from benchmarks.web.connection import Connection, request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

API = "/api/2.0/mlflow/"
VALUES = 10_007
"""Different values in batches; making each anew would cost the generator more than sending it."""


@dataclass(frozen=True)
class Load:
    """What to send.

    Attributes:
        url: server, `http://host:port`.
        kind: "log_batch", "log_metric", "create_run", or "repeat" for one request again and again.
        connections: connections that send at the same time.
        seconds: how long.
        experiment_id: experiment for what is created.
        method: of the request, for the kind "repeat".
        target: path and query of it.
        body: JSON text of it.
    """

    url: str
    kind: str
    connections: int
    seconds: float
    experiment_id: str
    method: str = "GET"
    target: str = "/"
    body: str = ""


@dataclass(frozen=True)
class Outcome:
    """What was answered.

    Attributes:
        requests: answers.
        seconds: from the first request to the last answer.
        median_ms: of the answers' delays.
        p99_ms: of the answers' delays.
    """

    requests: int
    seconds: float
    median_ms: float
    p99_ms: float


def log_batches(host: str, run_id: str) -> Iterator[bytes]:
    """runs/log-batch with 1000 new points each."""
    steps = workload.BATCH_POINTS // workload.BATCH_KEYS
    keys = [f"key-{key}" for key in range(workload.BATCH_KEYS)]
    values = [workload.unit_value(row, 0) for row in range(VALUES)]
    for number in count():
        metrics = [
            {"key": key, "value": values[step % VALUES], "timestamp": workload.START_MS + step, "step": step}
            for key in keys
            for step in range(number * steps, (number + 1) * steps)
        ]
        body = msgspec.json.encode({"run_id": run_id, "metrics": metrics})
        yield request_bytes("POST", API + "runs/log-batch", host, body)


def log_metrics(host: str, run_id: str) -> Iterator[bytes]:
    """runs/log-metric as MLflow's client sends it, one new point each."""
    for step in count():
        body = json.dumps(
            {
                "run_uuid": run_id,
                "run_id": run_id,
                "key": "loss",
                "value": workload.unit_value(step, 0),
                "timestamp": workload.START_MS + step,
                "step": step,
            }
        )
        yield request_bytes("POST", API + "runs/log-metric", host, body.encode())


def new_runs(host: str, experiment_id: str) -> Iterator[bytes]:
    """runs/create with the tags that MLflow's client sends."""
    names = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")
    tags = [{"key": name, "value": "benchmark"} for name in names]
    for number in count():
        body = {"experiment_id": experiment_id, "user_id": "bench", "start_time": workload.START_MS + number}
        yield request_bytes("POST", API + "runs/create", host, json.dumps({**body, "tags": tags}).encode())


async def _requests(connection: Connection, load: Load) -> Iterator[bytes]:
    host = connection.host
    if load.kind == "repeat":
        return repeat(request_bytes(load.method, load.target, host, load.body.encode()))
    if load.kind == "create_run":
        return new_runs(host, load.experiment_id)
    kinds = {"log_batch": log_batches, "log_metric": log_metrics}
    created = await connection.ask(next(new_runs(host, load.experiment_id)))
    return kinds[load.kind](host, json.loads(created)["run"]["info"]["run_id"])


async def run(load: Load) -> Outcome:
    """Send until the time is up, then wait for the last answers."""
    connections = [await Connection.open(load.url) for _ in range(load.connections)]
    sequences = [await _requests(connection, load) for connection in connections]
    # The first request of each opens the server's own connections.
    await asyncio.gather(*(c.ask(next(requests)) for c, requests in zip(connections, sequences, strict=True)))
    delays: list[float] = []
    started = time.perf_counter()
    deadline = started + load.seconds

    async def send(connection: Connection, requests: Iterator[bytes]) -> None:
        while time.perf_counter() < deadline:
            request = next(requests)
            before = time.perf_counter()
            await connection.ask(request)
            delays.append(time.perf_counter() - before)

    await asyncio.gather(*(send(c, requests) for c, requests in zip(connections, sequences, strict=True)))
    seconds = time.perf_counter() - started
    for connection in connections:
        connection.close()
    delays.sort()
    return Outcome(
        requests=len(delays),
        seconds=seconds,
        median_ms=delays[len(delays) // 2] * 1000,
        p99_ms=delays[int(len(delays) * 0.99)] * 1000,
    )


def main() -> None:
    """Run from the command line."""
    outcome = uvloop.run(run(Load(**json.loads(sys.argv[1]))))
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
