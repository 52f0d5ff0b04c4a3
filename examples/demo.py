"""Runstream from nothing to a promoted model: boots the embedded stack, trains real models, follows them live, checks
every point, and releases the best one through a gate.

    python examples/demo.py            # or: make demo
    python examples/demo.py --keep     # leaves the stack up, to look around in it

The training code is in digits_training.py, the release in digits_release.py, plain MLflow code in mlflow_training.py; this
file is what surrounds them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from digits_release import ALIAS, MODEL, release_best
from digits_training import SETTINGS, Setting, Trained, train
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from runstream import Client
from runstream.embedded import stack
from runstream.embedded.options import DEFAULT_PORT, StackOptions
from runstream.embedded.ports import is_free
from runstream.embedded.services import free_stack_port, stack_ports
from runstream.query.plots import draw_terminal, panels_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from runstream.query.results import Run, RunTable

EXPERIMENT = "digits"
POLL_SECONDS = 0.3
console = Console()


def main() -> int:
    """Run the demo; returns 1 when a logged point is missing from the answers, or the gate did not do its work."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="leave the stack up and its data in place")
    parser.add_argument(
        "--workers", type=int, default=max(2, min(4, os.cpu_count() or 2)), help="training processes"
    )
    parser.add_argument(
        "--models", type=int, default=len(SETTINGS), help="train only the first so many settings"
    )
    arguments = parser.parse_args()
    began = time.monotonic()
    with embedded_stack(keep=arguments.keep) as (url, web_url, data_dir), Client(url) as client:
        client.create_experiment(EXPERIMENT)
        trained = train_all(client, SETTINGS[: arguments.models], arguments.workers)
        leaders = client.run_table(EXPERIMENT, order_by=["metrics.validation_accuracy DESC"])
        show_leaderboard(leaders)
        plot_losses(client, leaders[:3])
        complete = prove_every_point(client, trained)
        released = release_best(client, leaders, console)
        tracked = train_with_mlflow(web_url)
        show_commands(url, web_url, data_dir, [run.run_id for run in leaders[:2]], keep=arguments.keep)
    console.print(f"Done in {time.monotonic() - began:.0f} s.")
    return 0 if complete and released and tracked else 1


@contextmanager
def embedded_stack(*, keep: bool) -> Iterator[tuple[str, str, Path]]:
    """PostgreSQL, the bus and every service, in a temporary folder; gone afterwards unless kept.

    A stack that is kept takes the usual ports (5000 for the web UI) where they are free, any other one free ports.

    Yields:
        The address for the SDK, that of the web UI, and the folder.
    """
    data_dir = Path(tempfile.mkdtemp(prefix="runstream-demo-"))
    options = StackOptions(
        data_dir=data_dir, port=DEFAULT_PORT if keep and stack_ports_free() else free_stack_port()
    )
    web_url = f"http://localhost:{options.web_port}"
    began = time.monotonic()
    with console.status("Starting PostgreSQL and the services …"):
        url = stack.start_detached(options)
    console.print(f"The stack is ready at [bold]{url}[/] after {time.monotonic() - began:.1f} s.")
    console.print(
        f"MLflow's web UI and REST API: [bold]{web_url}[/]; the console: [bold]{web_url}/console[/]"
    )
    # The training processes inherit these; their code needs no address.
    os.environ["RUNSTREAM_URL"] = url
    os.environ["RUNSTREAM_SPOOL_DIR"] = str(data_dir / "spool")
    try:
        yield url, web_url, data_dir
    finally:
        if not keep:
            stack.stop(data_dir)
            shutil.rmtree(data_dir)


def train_all(client: Client, settings: list[Setting], workers: int) -> list[Trained]:
    """Train every setting, a few at a time in processes of their own, and show how they do meanwhile."""
    console.print(f"Training {len(settings)} models on scikit-learn's digits, {workers} at a time:")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores already
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # "spawn" starts clean interpreters, as separate training jobs would be.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(train, setting, EXPERIMENT) for setting in settings]
        follow(client, futures)
        return [future.result() for future in futures]


# --- live view -------------------------------------------------------------------------------------------------


@dataclass
class Follower:
    """What the live streams have brought so far. Each run has its own stream, read in a thread."""

    client: Client
    latest: dict[str, dict[str, tuple[int, float]]] = field(default_factory=lambda: defaultdict(dict))
    points: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    readers: dict[str, threading.Thread] = field(default_factory=dict)

    def watch(self, run_id: str) -> None:
        """Start to follow a run, unless that has been done."""
        if run_id not in self.readers:
            self.readers[run_id] = threading.Thread(target=self._read, args=(run_id,), daemon=True)
            self.readers[run_id].start()

    def finish(self) -> None:
        """Wait until the streams have ended, which they do once their runs have."""
        for reader in self.readers.values():
            reader.join()

    def _read(self, run_id: str) -> None:
        # Every point that was there already, then each new one as it becomes queryable, until the run ends.
        for part in self.client.watch_metrics([run_id], backlog_points=10_000):
            self.points[run_id] += len(part.steps)
            self.latest[run_id][part.key] = (int(part.steps[-1]), float(part.values[-1]))


def follow(client: Client, futures: list[Future[Trained]]) -> None:
    """Show a live table until every training has ended."""
    follower = Follower(client)
    ended: set[str] = set()
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        while wait(futures, timeout=POLL_SECONDS).not_done:
            runs = list(client.search_runs(EXPERIMENT, order_by=["attributes.start_time ASC"]))
            for run in runs:
                follower.watch(run.run_id)
            announce_ended(runs, ended)
            live.update(live_table(runs, follower))
    follower.finish()
    announce_ended(client.search_runs(EXPERIMENT), ended)


def announce_ended(runs: Iterable[Run], known: set[str]) -> None:
    """Print a line for each run that has ended since the last time."""
    for run in runs:
        if run.status != "RUNNING" and run.run_id not in known:
            known.add(run.run_id)
            accuracy = run.metrics.get("validation_accuracy", float("nan"))
            console.print(
                f"  {run.run_name}: {run.status}, validation accuracy {accuracy:.1%}", highlight=False
            )


def live_table(runs: list[Run], follower: Follower) -> Table:
    """Progress, loss and accuracy of every run."""
    table = Table("run", "status", "batches", "", "loss", "accuracy", "points", title="Live")
    for run in runs:
        latest = follower.latest[run.run_id]
        step, loss = latest.get("train_loss", (0, float("nan")))
        _, accuracy = latest.get("validation_accuracy", (0, float("nan")))
        total = int(run.params.get("batches", 0))
        table.add_row(
            run.run_name,
            run.status,
            f"{step}/{total}",
            ProgressBar(total=total or 1, completed=step, width=12),
            f"{loss:.4f}",
            f"{accuracy:.1%}",
            f"{follower.points[run.run_id]:,}",
        )
    return table


# --- results ---------------------------------------------------------------------------------------------------


def show_leaderboard(runs: RunTable) -> None:
    """Runs by validation accuracy."""
    table = Table("", "run", "rate", "hidden", "accuracy", "loss", "took", title="Leaderboard (validation)")
    for place, run in enumerate(runs, start=1):
        took = (
            (run.end_time - run.start_time).total_seconds()
            if run.start_time and run.end_time
            else float("nan")
        )
        table.add_row(
            str(place),
            run.run_name,
            run.params["learning_rate"],
            run.params["hidden_units"],
            f"{run.metrics['validation_accuracy']:.2%}",
            f"{run.metrics['validation_loss']:.4f}",
            f"{took:.1f} s",
        )
    console.print(table)


def plot_losses(client: Client, best: Sequence[Run]) -> None:
    """The training loss of some runs, downsampled by the server to what a terminal can show."""
    names = {run.run_id: run.run_name for run in best}
    histories = client.sampled_histories(list(names), ["train_loss"], max_points=100)
    chart = draw_terminal(
        panels_of(histories, names), width=min(console.width, 100), height=16, color=console.is_terminal
    )
    console.print(Text.from_ansi(chart))


# --- proof -----------------------------------------------------------------------------------------------------


def prove_every_point(client: Client, trained: list[Trained]) -> bool:
    """Compare what each training logged with what the server answers, point by point."""
    table = Table("run", "points logged", "points answered", "identical", title="Every point")
    logged_total = counted_total = 0
    complete = True
    for one in trained:
        logged = sum(len(steps) for steps, _ in one.logged.values())
        metrics = client.list_metrics([one.run_id], wait_for=one.flushed)
        counted = sum(metric.point_count for metric in metrics if metric.key in one.logged)
        same = all(answered(client, one, key) for key in one.logged)
        complete &= same and logged == counted
        logged_total += logged
        counted_total += counted
        table.add_row(one.name, f"{logged:,}", f"{counted:,}", "yes" if same else "[red]NO[/]")
    table.add_section()
    table.add_row("all", f"{logged_total:,}", f"{counted_total:,}", "yes" if complete else "[red]NO[/]")
    console.print(table)
    if complete:
        console.print(f"[green]All {logged_total:,} logged points are queryable.[/]")
    else:
        console.print("[red]Some logged points are missing or different.[/]")
    return complete


def answered(client: Client, one: Trained, key: str) -> bool:
    """Whether the server's history of a metric is what was logged."""
    steps, values = one.logged[key]
    history = client.metric_history(one.run_id, key)
    order = np.argsort(history.steps, kind="stable")
    return np.array_equal(history.steps[order], steps) and np.array_equal(history.values[order], values)


def train_with_mlflow(web_url: str) -> bool:
    """Train once more with code that knows MLflow alone; whether it went well."""
    console.print(
        "\nThe same stack for existing MLflow code: [bold]mlflow.set_tracking_uri()[/] is the only change."
    )
    script = Path(__file__).with_name("mlflow_training.py")
    # A process of its own, as it would be; what it prints is shown when something went wrong.
    done = subprocess.run([sys.executable, str(script), web_url], check=False, text=True, capture_output=True)
    console.print(Text((done.stdout if done.returncode == 0 else done.stdout + done.stderr).rstrip()))
    return done.returncode == 0


def stack_ports_free() -> bool:
    """Whether every port that a stack usually takes is free."""
    return all(is_free("127.0.0.1", port) for port in stack_ports(DEFAULT_PORT))


def show_commands(url: str, web_url: str, data_dir: Path, best: list[str], *, keep: bool) -> None:
    """What to type to look further."""
    lines = [
        f"runstream runs list -e {EXPERIMENT} -o 'metrics.validation_accuracy DESC'",
        f"runstream runs show {best[0]}",
        f"runstream runs compare {' '.join(best)}",
        f"runstream metrics plot {' '.join(best)} -k train_loss -k validation_loss",
        f"runstream artifacts ls {best[0]} model",
        f"runstream models show {MODEL}",
        f"runstream models lineage {MODEL} @{ALIAS}",
        "runstream registry verify-audit",
        "runstream status",
    ]
    if keep:
        console.print(f"The stack stays up at {url}. Look further with:")
        console.print(f"  export RUNSTREAM_URL={url} MLFLOW_TRACKING_URI={web_url}", highlight=False)
    else:
        console.print("With --keep the stack stays up, and you can look further with:")
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    if keep:
        console.print(f"Look at it all in a browser: [bold]{web_url}[/] and [bold]{web_url}/console[/]")
        console.print(f"Stop it with:\n  runstream down --data-dir {data_dir}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
