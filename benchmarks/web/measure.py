"""The same measurements for MLflow's server and for our gateway: only the address differs."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from benchmarks import workload
from benchmarks.peer.http import connect
from benchmarks.web.files import file_rates
from benchmarks.web.load import API, Load, Outcome
from benchmarks.web.pages import runs_page_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.peer.http import PeerClient

NAMES = (
    "web_log_batch",
    "web_log_metric",
    "web_create_run",
    "web_search_runs",
    "web_history",
    "web_files",
    "web_training",
    "web_page",
)
"""What can be measured, as `--only` takes it."""

UNITS = {
    "web_log_batch": "points/s",
    "web_log_metric": "calls/s",
    "web_create_run": "runs/s",
    "web_search_runs": "ms",
    "web_history": "ms",
    "web_file_up": "MB/s",
    "web_file_down": "MB/s",
    "web_train_log_metric": "s",
    "web_train_autolog": "s",
    "web_train_log_metric_plugin": "s",
    "web_train_autolog_plugin": "s",
    "web_page": "ms",
}
"""Unit of each figure."""

HISTORY_POINTS = 100_000
FILE_BYTES = 100 * 1024 * 1024
LOG_METRIC_CONNECTIONS = 16
TRAINING_CALLS = 10_000
AUTOLOG_MODELS = 20

_PROBE_SHARE = 0.25
_TIMEOUT_SECONDS = 1800.0
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class WebServer:
    """A server with MLflow's API.

    Attributes:
        url: `http://host:port`.
        plugin_url: tracking URI of the same server over the plugin; None where there is none.
        fill_search: makes an experiment of `workload.SEARCH_RUNS` runs; returns its id.
        fill_history: makes a run with `HISTORY_POINTS` points of `workload.HISTORY_KEY`; returns its id.
    """

    url: str
    plugin_url: str | None
    fill_search: Callable[[], str]
    fill_history: Callable[[], str]

    def client(self) -> AbstractContextManager[PeerClient]:
        """A plain client for single calls, not kept: servers close connections that rest."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return connect(host, int(port))


def measure(
    server: WebServer, folder: Path, seconds: float, names: set[str], note: Callable[[str, float], None]
) -> None:
    """Measure everything that is asked for.

    Args:
        server: idle, and measured alone.
        folder: for files.
        seconds: time for each rate.
        names: of `NAMES`.
        note: takes name and figure, in the unit of `UNITS`.
    """
    # Filling takes a while: once for all that look at it.
    filled = functools.cache(server.fill_search)
    with server.client() as client:
        experiment_id = str(client.post("experiments/create", {"name": "web"})["experiment_id"])
    if "web_log_batch" in names:
        best = best_rate(server.url, "log_batch", experiment_id, seconds, (1, 2, 4, 8))
        note("web_log_batch", best * workload.BATCH_POINTS)
    if "web_log_metric" in names:
        rate = best_rate(server.url, "log_metric", experiment_id, seconds, (LOG_METRIC_CONNECTIONS,))
        note("web_log_metric", rate)
    if "web_create_run" in names:
        note("web_create_run", best_rate(server.url, "create_run", experiment_id, seconds, (1, 4, 16)))
    if "web_search_runs" in names:
        note("web_search_runs", search_ms(server, filled(), seconds))
    if "web_history" in names:
        note("web_history", history_ms(server, seconds))
    if "web_files" in names:
        with server.client() as client:
            run = client.post("runs/create", {"experiment_id": experiment_id})["run"]["info"]
        path = str(run["artifact_uri"]).removeprefix("mlflow-artifacts:/")
        up, down = file_rates(server.url, path, folder, FILE_BYTES)
        note("web_file_up", up)
        note("web_file_down", down)
    if "web_training" in names:
        _training(server, note)
    if "web_page" in names:
        note("web_page", page_ms(server, filled()))


def best_rate(url: str, kind: str, experiment_id: str, seconds: float, connections: Sequence[int]) -> float:
    """Requests a second with the number of connections that is best in a shorter trial."""
    best = connections[0]
    if len(connections) > 1:
        trials = {
            number: _rate(Load(url, kind, number, seconds * _PROBE_SHARE, experiment_id))
            for number in connections
        }
        best = max(trials, key=lambda number: trials[number])
    return _rate(Load(url, kind, best, seconds, experiment_id))


def search_ms(server: WebServer, experiment_id: str, seconds: float) -> float:
    """Median time of the first page of a search in many runs; the page is checked."""
    body = {
        "experiment_ids": [experiment_id],
        "filter": workload.SEARCH_FILTER,
        "order_by": [workload.SEARCH_ORDER_BY],
        "max_results": workload.SEARCH_PAGE,
    }
    with server.client() as client:
        runs = client.post("runs/search", body)["runs"]
    metrics = [{one["key"]: float(one["value"]) for one in run["data"]["metrics"]} for run in runs]
    accuracies = [found["accuracy"] for found in metrics]
    right = len(runs) == workload.SEARCH_PAGE and accuracies == sorted(accuracies, reverse=True)
    if not right or any(found["loss"] >= 0.5 for found in metrics):
        raise RuntimeError("the search did not answer with the right page")
    return _median_ms(server.url, "POST", API + "runs/search", json.dumps(body), seconds)


def page_ms(server: WebServer, experiment_id: str) -> float:
    """Median time until the table of many runs can be used in a browser."""
    with server.client() as client:
        newest = client.post("runs/search", {"experiment_ids": [experiment_id], "max_results": 1})["runs"][0]
    return runs_page_ms(server.url, experiment_id, str(newest["info"]["run_name"]))


def history_ms(server: WebServer, seconds: float) -> float:
    """Median time of a whole history in one answer; the answer is checked."""
    query: dict[str, str | int] = {"run_id": server.fill_history(), "metric_key": workload.HISTORY_KEY}
    with server.client() as client:
        points = client.get("metrics/get-history", query)["metrics"]
    if [point["step"] for point in points] != list(range(HISTORY_POINTS)):
        raise RuntimeError(f"the history has {len(points)} points, or not in order")
    return _median_ms(server.url, "GET", f"{API}metrics/get-history?{urlencode(query)}", "", seconds)


def training_seconds(kind: str, uri: str, count: int) -> float:
    """Time of a training process, in which everything that it logged is stored.

    Args:
        kind: "log_metric" or "autolog".
        uri: tracking URI, or "bare" for the same work without tracking.
        count: calls or models.
    """
    # MLflow and scikit-learn warn each other of coming changes with each fit.
    arguments = [sys.executable, "-W", "ignore", str(_HERE / "training_script.py"), kind, uri, str(count)]
    finished = subprocess.run(
        arguments, check=True, stdout=subprocess.PIPE, text=True, timeout=_TIMEOUT_SECONDS
    )
    return float(json.loads(finished.stdout.splitlines()[-1])["seconds"])


def _training(server: WebServer, note: Callable[[str, float], None]) -> None:
    for kind, count in (("log_metric", TRAINING_CALLS), ("autolog", AUTOLOG_MODELS)):
        bare = training_seconds(kind, "bare", count)
        for suffix, uri in (("", server.url), ("_plugin", server.plugin_url)):
            if uri is not None:
                note(f"web_train_{kind}{suffix}", training_seconds(kind, uri, count) - bare)


def _median_ms(url: str, method: str, target: str, body: str, seconds: float) -> float:
    return _run(Load(url, "repeat", 1, seconds, "", method, target, body)).median_ms


def _rate(load: Load) -> float:
    outcome = _run(load)
    return outcome.requests / outcome.seconds


def _run(load: Load) -> Outcome:
    arguments = [sys.executable, "-m", "benchmarks.web.load", json.dumps(asdict(load))]
    finished = subprocess.run(
        arguments, check=True, stdout=subprocess.PIPE, text=True, timeout=_TIMEOUT_SECONDS
    )
    figures: dict[str, Any] = json.loads(finished.stdout)
    return Outcome(**figures)
