"""The peer's writes. MLflow answers after its commit, so accepted is queryable."""

import itertools
import json
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from benchmarks import workload
from benchmarks.peer.environment import ensure_environment
from benchmarks.peer.http import PeerClient
from benchmarks.peer.load import load_points
from benchmarks.peer.read import Latency, repeat
from benchmarks.peer.server import MlflowServer

CONNECTIONS = (1, 2, 3, 4)
_PROBE_SHARE = 0.25
_SAMPLE_SECONDS = 0.5
_LOG_METRIC_SCRIPT = Path(__file__).with_name("log_metric_script.py")
_EXIT_SECONDS = 120.0


@dataclass(frozen=True)
class Rate:
    """Throughput, with the number of client connections that gave it."""

    per_second: float
    connections: int
    worker_resident_bytes: int
    """Largest resident memory of a server worker seen during the load."""


@dataclass(frozen=True)
class _Share:
    """What one connection wrote, and when (seconds of the performance counter)."""

    done: int
    started: float
    ended: float


@dataclass(frozen=True)
class AppendGrowth:
    """Write rate into the store as it was, and after `points` more were stored."""

    points: int
    before: Rate
    after: Rate

    @property
    def cost_factor(self) -> float:
        """How many times more one append costs afterwards."""
        return self.before.per_second / self.after.per_second


@dataclass(frozen=True)
class LoggingRate:
    """What one training process sees of `mlflow.log_metric`."""

    calls_per_second: float
    """Calls over the time spent calling."""
    stored_per_second: float
    """Calls over the time until all of them were stored."""
    median_call_us: float


def log_batch_rate(
    server: MlflowServer,
    seconds: float,
    *,
    connections: Sequence[int] = CONNECTIONS,
    keys: int = workload.BATCH_KEYS,
) -> Rate:
    """Measure points a second through `runs/log-batch`, 1000 points a request.

    Args:
        server: A running peer.
        seconds: Time for the figure itself; finding the best number of connections takes a
            quarter of it for each.
        connections: Numbers of connections to try; each connection writes to a run of its own,
            so that none waits for another's row locks.
        keys: Keys in a batch; divides 1000.
    """
    if keys < 1 or workload.BATCH_POINTS % keys:
        raise ValueError(f"{keys} keys do not share {workload.BATCH_POINTS} points evenly")
    experiment_id = server.create_experiment(f"log-batch-{uuid.uuid4().hex[:8]}")

    def writer(client: PeerClient) -> Callable[[], int]:
        run_id = _create_run(client, experiment_id)
        batches = itertools.count()

        def write() -> int:
            client.post("runs/log-batch", _batch(run_id, next(batches), keys))
            return workload.BATCH_POINTS

        return write

    return best_rate(server, writer, seconds, connections)


def create_run_rate(
    server: MlflowServer, seconds: float, *, connections: Sequence[int] = CONNECTIONS, params: int = 5
) -> Rate:
    """Measure runs a second: create, log params in one batch, set finished (three requests)."""
    experiment_id = server.create_experiment(f"create-run-{uuid.uuid4().hex[:8]}")
    pairs = [{"key": f"param-{number}", "value": str(number)} for number in range(params)]

    def writer(client: PeerClient) -> Callable[[], int]:
        def write() -> int:
            run_id = _create_run(client, experiment_id)
            client.post("runs/log-batch", {"run_id": run_id, "params": pairs})
            client.post(
                "runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": workload.START_MS + 1}
            )
            return 1

        return write

    return best_rate(server, writer, seconds, connections)


def write_delay(server: MlflowServer, *, calls: int = 100, seconds: float = 30.0) -> Latency:
    """Measure one 1000-point `log-batch` call at a time: sent until queryable."""
    experiment_id = server.create_experiment(f"delay-{uuid.uuid4().hex[:8]}")
    with server.connect() as client:
        run_id = _create_run(client, experiment_id)
        batches = itertools.count()
        return repeat(
            lambda: client.post("runs/log-batch", _batch(run_id, next(batches), workload.BATCH_KEYS)),
            calls=calls,
            seconds=seconds,
        )


def append_growth(server: MlflowServer, seconds: float, *, points: int = 10_000_000) -> AppendGrowth:
    """Measure `log_batch_rate` before and after `points` points are put into the store.

    Call it on a fresh database, so that "before" is the empty store.
    """
    before = log_batch_rate(server, seconds)
    stored = load_points(server, points)
    return AppendGrowth(stored, before, log_batch_rate(server, seconds))


def log_metric_rate(
    server: MlflowServer, seconds: float, *, synchronous: bool = True, max_calls: int = 3000
) -> LoggingRate:
    """Measure `mlflow.log_metric` in a training process of its own.

    Args:
        server: A running peer.
        seconds: Longest time to keep calling.
        synchronous: False measures MLflow's asynchronous logging, which queues in memory.
        max_calls: Most calls. Asynchronous calls come some 20 times faster than they are stored,
            so without a limit the wait for the queue would take minutes.

    Raises:
        subprocess.CalledProcessError: the training process failed.
        subprocess.TimeoutExpired: it had not stored everything in time.
    """
    mode = "synchronous" if synchronous else "asynchronous"
    arguments = [server.url, str(seconds), str(max_calls), mode]
    finished = subprocess.run(
        [str(ensure_environment()), "-I", str(_LOG_METRIC_SCRIPT), *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds + _EXIT_SECONDS,
    )
    return LoggingRate(**json.loads(finished.stdout.splitlines()[-1]))


def best_rate(
    server: MlflowServer,
    writer: Callable[[PeerClient], Callable[[], int]],
    seconds: float,
    connections: Sequence[int],
) -> Rate:
    """Measure with the number of connections that is best in a shorter trial."""
    trials = [_rate(server, writer, seconds * _PROBE_SHARE, number) for number in connections]
    best = max(trials, key=lambda rate: rate.per_second)
    final = _rate(server, writer, seconds, best.connections)
    return max(final, best, key=lambda rate: rate.per_second)


def _rate(
    server: MlflowServer, writer: Callable[[PeerClient], Callable[[], int]], seconds: float, connections: int
) -> Rate:
    """Run `connections` writers for `seconds` and count what was answered until the last one ended."""
    ready = threading.Barrier(connections)
    with ThreadPoolExecutor(connections) as pool:
        writers = [pool.submit(_write_for, server, writer, seconds, ready) for _ in range(connections)]
        peak_bytes = 0
        while wait(writers, timeout=_SAMPLE_SECONDS).not_done:
            peak_bytes = max(peak_bytes, *server.resident_bytes())
    _raise_first_cause(writers)
    shares = [each.result() for each in writers]
    elapsed = max(share.ended for share in shares) - min(share.started for share in shares)
    return Rate(sum(share.done for share in shares) / elapsed, connections, peak_bytes)


def _raise_first_cause(writers: Sequence[Future[_Share]]) -> None:
    """Raise what stopped a writer, rather than that the others waited for it in vain."""
    errors = [error for each in writers if (error := each.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error


def _write_for(
    server: MlflowServer,
    writer: Callable[[PeerClient], Callable[[], int]],
    seconds: float,
    ready: threading.Barrier,
) -> _Share:
    """Write on one connection, from the moment when all are ready until `seconds` later."""
    with server.connect() as client:
        try:
            write = writer(client)
            write()  # warm-up: opens the connection and, in the server, the one to the database
        except BaseException:
            ready.abort()  # else the other writers would wait for this one for ever
            raise
        ready.wait()
        started = time.perf_counter()
        done = 0
        while time.perf_counter() < started + seconds:
            done += write()
        return _Share(done, started, time.perf_counter())


def _create_run(client: PeerClient, experiment_id: str) -> str:
    body = {"experiment_id": experiment_id, "start_time": workload.START_MS}
    run_id: str = client.post("runs/create", body)["run"]["info"]["run_id"]
    return run_id


def _batch(run_id: str, number: int, keys: int) -> bytes:
    """Return batch `number` of a run: 1000 new points, so that no insert meets a duplicate."""
    steps = workload.BATCH_POINTS // keys
    first = number * steps
    metrics = [
        {
            "key": f"key-{key}",
            "value": workload.unit_value(step, 0),
            "timestamp": workload.START_MS + step,
            "step": step,
        }
        for key in range(keys)
        for step in range(first, first + steps)
    ]
    return json.dumps({"run_id": run_id, "metrics": metrics}).encode()
