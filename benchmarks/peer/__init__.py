"""The peer: MLflow's own tracking server, measured at its best on the same PostgreSQL and machine.

Everything here is synchronous; from a coroutine, call it with `asyncio.to_thread`.
"""

from benchmarks.peer.artifacts import FolderTimes, folder_times
from benchmarks.peer.load import (
    LoadedHistory,
    load_history,
    load_points,
    load_search_experiment,
)
from benchmarks.peer.read import (
    HistoryRate,
    Latency,
    history_chart_latency,
    history_whole_rate,
    search_runs_latency,
)
from benchmarks.peer.registry import create_version_rate, load_versions, search_versions_latency
from benchmarks.peer.server import MlflowServer
from benchmarks.peer.write import (
    AppendGrowth,
    LoggingRate,
    Rate,
    append_growth,
    create_run_rate,
    log_batch_rate,
    log_metric_rate,
    write_delay,
)

__all__ = [
    "AppendGrowth",
    "FolderTimes",
    "HistoryRate",
    "Latency",
    "LoadedHistory",
    "LoggingRate",
    "MlflowServer",
    "Rate",
    "append_growth",
    "create_run_rate",
    "create_version_rate",
    "folder_times",
    "history_chart_latency",
    "history_whole_rate",
    "load_history",
    "load_points",
    "load_search_experiment",
    "load_versions",
    "log_batch_rate",
    "log_metric_rate",
    "search_runs_latency",
    "search_versions_latency",
    "write_delay",
]
