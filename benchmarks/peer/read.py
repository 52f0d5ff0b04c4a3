"""The peer's reads: searching runs and metric histories."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import workload
from benchmarks.peer.http import AJAX, PeerClient, PeerError
from benchmarks.peer.load import LoadedHistory
from benchmarks.peer.server import MlflowServer

_WARM_UP_CALLS = 2  # one for each worker: connections, statement caches, first pages of the tables


@dataclass(frozen=True)
class Latency:
    """Latencies of one call repeated, in seconds."""

    seconds: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """The median, in milliseconds."""
        return statistics.median(self.seconds) * 1000

    def percentile_ms(self, percent: float) -> float:
        """The given percentile (0 to 100), in milliseconds."""
        return float(np.percentile(self.seconds, percent)) * 1000


@dataclass(frozen=True)
class HistoryRate:
    """How fast a whole history was read."""

    points_per_second: float
    page_points: int


def search_runs_latency(
    server: MlflowServer,
    experiment_id: str,
    *,
    calls: int = 20,
    seconds: float = 60.0,
    filter_string: str = workload.SEARCH_FILTER,
    order_by: str = workload.SEARCH_ORDER_BY,
    page: int = workload.SEARCH_PAGE,
) -> Latency:
    """Measure the first page of a search with a metric filter and a metric order.

    Args:
        server: A running peer.
        experiment_id: From `load_search_experiment`.
        calls: Calls to measure, one after another.
        seconds: No call starts after this time.
        filter_string: MLflow filter on runs.
        order_by: MLflow order clause.
        page: Runs a page.

    Raises:
        PeerError: an answer is not the workload's: page not full, filter or order not kept.
    """
    body = {
        "experiment_ids": [experiment_id],
        "filter": filter_string,
        "order_by": [order_by],
        "max_results": page,
    }
    with server.connect() as client:
        _check_page(client.post("runs/search", body), page)
        return repeat(lambda: client.post("runs/search", body), calls=calls, seconds=seconds)


def history_chart_latency(
    server: MlflowServer,
    history: LoadedHistory,
    *,
    points: int = workload.CHART_POINTS,
    calls: int = 10,
    seconds: float = 60.0,
) -> Latency:
    """Measure the web UI's own chart call: one history sampled down to `points`.

    Raises:
        PeerError: the answer holds no points, or many more than asked for.
    """
    query: dict[str, str | int] = {
        "run_ids": history.run_id,
        "metric_key": history.key,
        "max_results": points,
    }

    def call(client: PeerClient) -> dict[str, Any]:
        return client.get("metrics/get-history-bulk-interval", query, prefix=AJAX)

    with server.connect() as client:
        returned = len(call(client).get("metrics", []))
        if not points // 2 <= returned <= points * 2:
            raise PeerError(f"asked for {points} points of {history.points}, got {returned}")
        return repeat(lambda: call(client), calls=calls, seconds=seconds)


def history_whole_rate(
    server: MlflowServer,
    history: LoadedHistory,
    *,
    page_sizes: Sequence[int] = (25_000, 1_000_000),
    seconds: float = 60.0,
) -> HistoryRate:
    """Measure reading a history into numpy, with the page size that suits the peer best.

    Args:
        server: A running peer.
        history: From `load_history`.
        page_sizes: Page sizes to try, in points: that of MLflow's client, and all at once.
        seconds: A page size that needs longer is measured over what it read until then.
    """
    with server.connect() as client:
        rates = [_read_pages(client, history, size, seconds) for size in page_sizes]
    return max(rates, key=lambda rate: rate.points_per_second)


def repeat(call: Callable[[], object], *, calls: int, seconds: float) -> Latency:
    """Time a call over and over, after a warm-up, until `calls` or `seconds` is reached."""
    for _ in range(_WARM_UP_CALLS):
        call()
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(latencies) < calls and (not latencies or time.perf_counter() < deadline):
        started = time.perf_counter()
        call()
        latencies.append(time.perf_counter() - started)
    return Latency(tuple(latencies))


def _read_pages(client: PeerClient, history: LoadedHistory, page_points: int, seconds: float) -> HistoryRate:
    query: dict[str, str | int] = {
        "run_id": history.run_id,
        "metric_key": history.key,
        "max_results": page_points,
    }
    read = 0
    started = time.perf_counter()
    while True:
        answer = client.get("metrics/get-history", query)
        read += len(_to_numpy(answer))
        elapsed = time.perf_counter() - started
        token = answer.get("next_page_token")
        if not token or elapsed > seconds:
            break
        query["page_token"] = token
    if not token and read != history.points:
        raise PeerError(f"read {read} of {history.points} points")
    return HistoryRate(read / elapsed, page_points)


def _to_numpy(answer: dict[str, Any]) -> "np.ndarray[Any, np.dtype[np.void]]":
    """Return steps, timestamps and values: what a caller computes with."""
    points = answer.get("metrics", [])
    rows = ((int(point["step"]), int(point["timestamp"]), float(point["value"])) for point in points)
    return np.fromiter(rows, dtype="i8,i8,f8", count=len(points))


def _check_page(answer: dict[str, Any], page: int) -> None:
    """Make sure that the peer did the work: a full page, filtered and ordered."""
    runs = answer.get("runs", [])
    metrics = [{m["key"]: float(m["value"]) for m in run["data"]["metrics"]} for run in runs]
    accuracies = [values["accuracy"] for values in metrics]
    if len(runs) != page or accuracies != sorted(accuracies, reverse=True):
        raise PeerError(f"search answered {len(runs)} runs, or not in order")
    if any(values["loss"] >= 0.5 for values in metrics):
        raise PeerError("search answered runs that the filter excludes")
