"""What is measured, in which order, and how figures become results."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runstream.embedded.postgres import LocalPostgres

from benchmarks import datasets, peer, workload
from benchmarks.ours import artifacts, growth, read, registry, write
from benchmarks.ours.stack import StackUnderTest, module, on_database, running_stack
from benchmarks.report import Result
from benchmarks.web import measure as web
from deploy.local.s3.s3 import S3Server

NAMES = (
    "accepted",
    "queryable",
    "delay",
    "log_metric",
    "create_run",
    "search_runs",
    "history_chart",
    "history_whole",
    "append_growth",
    "memory",
    "create_version",
    "resolve_alias",
    "promotion_delay",
    "search_versions",
    "large_file",
    "small_files",
    *web.NAMES,
)
MIB = 1024 * 1024


@dataclass(frozen=True)
class Plan:
    """How long and how much.

    Attributes:
        seconds: time for each rate.
        sustained_seconds: time for the sustained rate.
        log_metric_calls: calls of log_metric.
        growth_points: points loaded for append_growth.
        delay_samples: batches whose delay is measured.
        large_file_bytes: size of the large file.
    """

    seconds: float
    sustained_seconds: float
    log_metric_calls: int
    growth_points: int
    delay_samples: int
    large_file_bytes: int


FULL = Plan(8.0, 60.0, 1_000_000, 100_000_000, 300, workload.LARGE_FILE_BYTES)
QUICK = Plan(3.0, 5.0, 100_000, 1_000_000, 30, 256 * MIB)

Figures = dict[str, float]
Note = Callable[[str, Callable[[], float]], None]


def say(text: str) -> None:
    """Report progress on stderr; stdout holds the table alone."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def measure_peer(postgres: LocalPostgres, work_dir: Path, plan: Plan, names: set[str]) -> Figures:
    """The peer's figures by name, in the unit of our result."""
    postgres.create_database("peer")
    found: Figures = {}

    def note(name: str, measure: Callable[[], float]) -> None:
        found[name] = measure()
        say(f"peer {name}: {found[name]:.4g}")

    with peer.MlflowServer(postgres.url("peer")) as server:
        if names & {"accepted", "queryable", "memory"}:
            rate = peer.log_batch_rate(server, plan.seconds)
            note("accepted", lambda: rate.per_second)
            note("queryable", lambda: rate.per_second)
            note("memory", lambda: rate.worker_resident_bytes / MIB)
        if "delay" in names:
            note("delay", lambda: peer.write_delay(server).percentile_ms(99))
        if "log_metric" in names:
            logging = peer.log_metric_rate(server, plan.seconds, synchronous=False)
            note("log_metric", lambda: logging.calls_per_second)
            note("log_metric_call", lambda: logging.median_call_us)
        if "create_run" in names:
            note("create_run", lambda: peer.create_run_rate(server, plan.seconds).per_second)
        if "search_runs" in names:
            search = peer.search_runs_latency(server, peer.load_search_experiment(server))
            note("search_runs", lambda: search.median_ms)
            note("search_runs_p95", lambda: search.percentile_ms(95))
        if names & {"history_chart", "history_whole"}:
            history = peer.load_history(server)
            note("history_chart", lambda: peer.history_chart_latency(server, history).median_ms)
            note("history_whole", lambda: peer.history_whole_rate(server, history).points_per_second)
        _measure_peer_registry(server, work_dir, plan, names, note)
        if names & set(web.NAMES):
            _measure_peer_web(server, work_dir, plan, names, note)
    return found


def _measure_peer_web(
    server: peer.MlflowServer, work_dir: Path, plan: Plan, names: set[str], note: Note
) -> None:
    def note_also_for_plugin(name: str, figure: float) -> None:
        note(name, lambda: figure)
        if name.startswith("web_train"):
            # The plugin is ours; what it is compared with is MLflow's plain client.
            note(f"{name}_plugin", lambda: figure)

    target = web.WebServer(
        server.url,
        None,
        lambda: peer.load_search_experiment(server),
        lambda: peer.load_history(server, web.HISTORY_POINTS).run_id,
    )
    web.measure(target, work_dir, plan.seconds, names, note_also_for_plugin)


def _measure_peer_registry(
    server: peer.MlflowServer, work_dir: Path, plan: Plan, names: set[str], note: Note
) -> None:
    if "create_version" in names:
        note("create_version", lambda: peer.create_version_rate(server, plan.seconds).per_second)
    if "search_versions" in names:
        peer.load_versions(server)
        versions = peer.search_versions_latency(server)
        note("search_versions", lambda: versions.median_ms)
        note("search_versions_p95", lambda: versions.percentile_ms(95))
    if "small_files" in names:
        folder, target = work_dir / "small-files", work_dir / "small-files-peer"
        artifacts.write_small_files(folder)
        times = peer.folder_times(server, folder, target)
        note("small_files_up", lambda: workload.SMALL_FILES / times.upload_seconds)
        note("small_files_down", lambda: workload.SMALL_FILES / times.download_seconds)
        shutil.rmtree(folder)


def measure_ours(
    postgres: LocalPostgres, data_dir: Path, kafka: str | None, plan: Plan, names: set[str], peers: Figures
) -> list[Result]:
    """Our results in one topology, on a database of its own on the server that the peer used.

    Args:
        postgres: the shared server.
        data_dir: folder for the stack.
        kafka: bootstrap servers, or None for the PostgreSQL bus.
        plan: how long and how much.
        names: what to measure.
        peers: the peer's figures.
    """
    database = f"runstream_{data_dir.name}"
    postgres.create_database(database)
    url = postgres.url(database)
    with running_stack(data_dir, url, kafka) as stack:
        collected = _Collected(stack.topology, peers)
        if "create_run" in names:
            collected.add("create_run", "runs/s", write.create_run_rate(stack, plan.seconds / 4))
        if "log_metric" in names:
            _log_metric(stack, plan, collected)
        if names & {"accepted", "queryable", "memory", "delay"}:
            _rates(stack, plan, names, collected)
        if names & {"history_chart", "history_whole"}:
            _history(stack, names, collected)
        if "search_runs" in names:
            experiment_id = on_database(url, datasets.load_search_experiment)
            search = read.search_latency(stack, str(experiment_id))
            collected.add("search_runs", "ms", search.median_ms)
            collected.add("search_runs_p95", "ms", search.percentile_ms(95))
        _registry(stack, url, plan, names, collected)
        if names & set(web.NAMES):
            _web(stack, url, data_dir, plan, names, collected)
        if "append_growth" in names:
            _growth(stack, url, plan, collected)
    return collected.results


class _Collected:
    def __init__(self, topology: str, peers: Figures) -> None:
        self._topology = topology
        self._peers = peers
        self.results: list[Result] = []

    def add(self, name: str, unit: str, value: float) -> None:
        result = Result(
            name=name, topology=self._topology, unit=unit, value=value, peer=self._peers.get(name)
        )
        self.results.append(result)
        ratio = "" if result.ratio is None else f" ({result.ratio:.3g} x the peer)"
        say(f"{self._topology} {name}: {value:.4g} {unit}{ratio}")


def _rates(stack: StackUnderTest, plan: Plan, names: set[str], collected: _Collected) -> None:
    write.write_rate(stack, 2.0)  # warm-up: connections, caches, first allocation of files
    short = write.write_rate(stack, plan.seconds)
    if "accepted" in names:
        collected.add("accepted", "points/s", short.accepted_per_second)
    if names & {"queryable", "memory"}:
        sustained = write.write_rate(stack, plan.sustained_seconds, max_behind=write.MAX_BEHIND_BATCHES)
        collected.add("queryable", "points/s", sustained.queryable_per_second)
        say(
            f"  caught up {sustained.catch_up_seconds:.2f} s after the last acknowledgement, ack {sustained.ack_ms}"
        )
        for name, resident in sorted(sustained.peak_bytes.items()):
            say(f"  {name}: {resident / MIB:.0f} MiB")
        collected.add("memory", "MiB", max(sustained.peak_bytes.values()) / MIB)
    if "delay" in names:
        delay = write.queryable_delay(stack, short.queryable_per_second / 10, samples=plan.delay_samples)
        collected.add("delay", "ms", delay.percentile_ms(99))
        say(f"  delay median {delay.median_ms:.1f} ms")


def _history(stack: StackUnderTest, names: set[str], collected: _Collected) -> None:
    run_id = read.write_history(stack)
    if "history_chart" in names:
        collected.add("history_chart", "ms", read.chart_latency(stack, run_id).median_ms)
    if "history_whole" in names:
        collected.add("history_whole", "points/s", read.whole_rate(stack, run_id))


def measure_files(
    postgres: LocalPostgres,
    work_dir: Path,
    server: S3Server | None,
    plan: Plan,
    names: set[str],
    peers: Figures,
) -> list[Result]:
    """Our results with files; the bus plays no part in them.

    Args:
        postgres: the shared server.
        work_dir: folder for the stack and the files.
        server: an S3 server, or None for the local folder.
        plan: how long and how much.
        names: what to measure.
        peers: the peer's figures.
    """
    store = "s3" if server else "folder"
    database = f"files_{store}"
    postgres.create_database(database)
    url = artifacts.object_store_url(server) if server else None
    collected = _Collected(store, peers)
    with running_stack(work_dir / f"stack-{store}", postgres.url(database), None, url) as stack:
        if "small_files" in names:
            folder = work_dir / f"small-{store}"
            artifacts.write_small_files(folder)
            times = artifacts.folder_times(stack, folder, work_dir / f"small-{store}-fetched")
            collected.add("small_files_up", "files/s", workload.SMALL_FILES / times.upload_seconds)
            collected.add("small_files_down", "files/s", workload.SMALL_FILES / times.download_seconds)
        if "large_file" in names and server is not None:
            rates = artifacts.large_file_rates(stack, server, work_dir, plan.large_file_bytes)
            bare = _Collected(store, {"large_file_up": rates.bare_up, "large_file_down": rates.bare_down})
            bare.add("large_file_up", "MB/s", rates.up)
            bare.add("large_file_down", "MB/s", rates.down)
            bare.add("artifact_memory", "MiB", rates.service_bytes / MIB)
            collected.results += bare.results
    return collected.results


def _registry(stack: StackUnderTest, url: str, plan: Plan, names: set[str], collected: _Collected) -> None:
    if "create_version" in names:
        collected.add("create_version", "versions/s", registry.create_version_rate(stack, plan.seconds / 3))
    if "resolve_alias" in names:
        resolved = registry.resolve_latency(stack, plan.seconds)
        collected.add("resolve_alias", "ms", resolved.percentile_ms(99))
        say(f"  resolve median {resolved.median_ms:.2f} ms")
    if "promotion_delay" in names:
        delay = registry.promotion_delay(stack, plan.seconds)
        collected.add("promotion_delay", "ms", delay.percentile_ms(99))
        say(f"  promotion delay median {delay.median_ms:.1f} ms")
    if "search_versions" in names:
        on_database(url, registry.load_versions)
        search = registry.search_latency(stack)
        collected.add("search_versions", "ms", search.median_ms)
        collected.add("search_versions_p95", "ms", search.percentile_ms(95))


def _web(
    stack: StackUnderTest, url: str, folder: Path, plan: Plan, names: set[str], collected: _Collected
) -> None:
    server = web.WebServer(
        stack.web_url,
        f"runstream://{stack.web_url.removeprefix('http://')}",
        lambda: str(on_database(url, datasets.load_search_experiment)),
        lambda: read.write_history(stack, web.HISTORY_POINTS),
    )
    web.measure(
        server,
        folder,
        plan.seconds,
        names,
        lambda name, figure: collected.add(name, web.UNITS[name], figure),
    )


def _log_metric(stack: StackUnderTest, plan: Plan, collected: _Collected) -> None:
    process = module("benchmarks.ours.log_metric_script", stack.metadata, str(plan.log_metric_calls))
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the logging process ended with status {process.returncode}")
    figures = json.loads(output)
    collected.add("log_metric", "calls/s", figures["calls_per_second"])
    collected.add("log_metric_call", "us/call", figures["median_call_us"])


def _growth(stack: StackUnderTest, database_url: str, plan: Plan, collected: _Collected) -> None:
    """Append cost before and after the store has grown, by the rate at which points become queryable."""
    seconds, behind = plan.seconds, write.MAX_BEHIND_BATCHES
    before = write.write_rate(stack, seconds, max_behind=behind).queryable_per_second
    added = on_database(database_url, lambda link: growth.load_chunks(link, plan.growth_points))
    say(f"  {added} points loaded")
    after = write.write_rate(stack, seconds, max_behind=behind).queryable_per_second
    collected.add("append_growth", "x cost", before / after)
