"""`runstream up` with real processes: what was logged is there after every way in which a stack can end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import runstream
from runstream.embedded import stack
from runstream.embedded.options import StackOptions
from runstream.embedded.process import ServiceFailed
from runstream.embedded.services import free_stack_port
from runstream.embedded.state import LOG_FILE, StackState, read_state
from runstream.query.client import Client
from runstream_common.errors import DeadlineExceeded, NotFound, Unavailable

EXPERIMENT = "embedded"
POINTS = 500
WAIT_SECONDS = 60.0


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keeps what the SDK spools while a service is away out of the user's own spool."""
    monkeypatch.setenv("RUNSTREAM_SPOOL_DIR", str(tmp_path / "spool"))
    yield
    runstream.close()


@pytest.fixture
def options() -> Iterator[StackOptions]:
    """Choices for a stack of its own. Not in pytest's folder, which other users, like the database's, may not enter."""
    data_dir = Path(tempfile.mkdtemp(prefix="runstream-stack-"))
    yield StackOptions(data_dir=data_dir, port=free_stack_port())
    stack.stop(data_dir)
    shutil.rmtree(data_dir)


def log_points(url: str, count: int = POINTS) -> str:
    """Log a run as a training would; returns its id."""
    with Client(url) as client:
        runstream.init(url)
        client.create_experiment(EXPERIMENT, get_if_exists=True)
        with runstream.start_run(experiment=EXPERIMENT, run_name="training") as run:
            run.log_param("learning_rate", 0.1)
            for step in range(count):
                run.log_metric("loss", 1.0 / (step + 1), step=step)
    return str(run.run_id)


def assert_points(url: str, run_id: str, count: int = POINTS) -> None:
    """The run is whole: its end, its param, every point once. What the SDK spooled meanwhile is on its way."""
    with Client(url) as client:
        eventually(lambda: has_ended(client, run_id), f"run {run_id} has ended")
        assert client.get_run(run_id).params["learning_rate"] == "0.1"
        eventually(lambda: point_count(client, run_id) == count, f"{count} points of run {run_id}")
        history = client.metric_history(run_id, "loss")
        assert sorted(history.steps.tolist()) == list(range(count))


def has_ended(client: Client, run_id: str) -> bool:
    try:
        return client.get_run(run_id).status == "FINISHED"
    except (NotFound, Unavailable, DeadlineExceeded):
        # Its making is in the spool, the service is on its way up, or it has yet to apply what the killed one held.
        return False


def point_count(client: Client, run_id: str) -> int:
    return next((m.point_count for m in client.list_metrics([run_id]) if m.key == "loss"), 0)


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS:g} s: {what}"
        time.sleep(0.05)


def state_of(options: StackOptions) -> StackState:
    state = read_state(options.data_dir)
    assert state is not None
    return state


def family(options: StackOptions) -> list[psutil.Process]:
    """The supervisor, PostgreSQL and the services."""
    supervisor = psutil.Process(state_of(options).supervisor.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def assert_all_gone(processes: list[psutil.Process]) -> None:
    def alive() -> list[psutil.Process]:
        return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    eventually(lambda: not alive(), "every process of the stack has ended")


def test_second_start_finds_what_the_first_one_stored(options: StackOptions) -> None:
    url = stack.start_detached(options)
    run_id = log_points(url)
    processes = family(options)
    assert stack.status(options.data_dir).ready
    assert stack.stop(options.data_dir) is True
    assert_all_gone(processes)
    assert not stack.status(options.data_dir).running
    assert stack.start_detached(options) == url
    assert_points(url, run_id)


@pytest.mark.parametrize("service", ["ingest", "metadata"])
def test_killed_service_comes_back_with_nothing_lost(options: StackOptions, service: str) -> None:
    """Promise 1 of the twelve: what was acknowledged survives kill -9."""
    url = stack.start_detached(options)
    run_id = log_points(url)
    killed = state_of(options).services[service]
    os.kill(killed.pid, signal.SIGKILL)
    eventually(lambda: state_of(options).services[service] != killed, f"{service} is started again")
    assert_points(url, run_id)
    assert_points(url, log_points(url))


def test_killed_postgresql_comes_back_with_nothing_lost(options: StackOptions) -> None:
    """B1: a database that goes away costs time, not data."""
    url = stack.start_detached(options)
    run_id = log_points(url)
    server = postgres_of(options)
    server.kill()
    eventually(
        lambda: not server.is_running() and postgres_of(options) != server, "PostgreSQL is started again"
    )
    assert_points(url, run_id)
    assert_points(url, log_points(url))


def postgres_of(options: StackOptions) -> psutil.Process | None:
    children = psutil.Process(state_of(options).supervisor.pid).children()
    return next((child for child in children if child.name() == "postgres"), None)


def test_start_recovers_from_a_killed_supervisor(options: StackOptions) -> None:
    url = stack.start_detached(options)
    run_id = log_points(url)
    orphans = family(options)[1:]
    os.kill(state_of(options).supervisor.pid, signal.SIGKILL)
    eventually(lambda: not stack.status(options.data_dir).running, "the supervisor is dead")
    assert stack.start_detached(options) == url
    assert_all_gone(orphans)
    assert_points(url, run_id)


def test_down_ends_what_a_killed_supervisor_left(options: StackOptions) -> None:
    stack.start_detached(options)
    processes = family(options)
    processes[0].kill()
    eventually(lambda: not stack.status(options.data_dir).running, "the supervisor is dead")
    assert stack.stop(options.data_dir) is True
    assert_all_gone(processes)
    assert stack.stop(options.data_dir) is False


def test_taken_port_and_taken_folder_are_said(options: StackOptions) -> None:
    url = stack.start_detached(options)
    with pytest.raises(ServiceFailed, match=f"a stack already runs at {url}"):
        stack.start_detached(options)
    with tempfile.TemporaryDirectory() as other:
        second = StackOptions(data_dir=Path(other), port=options.port)
        with pytest.raises(
            ServiceFailed, match=rf"port {options.port} \(metadata, gRPC\) is taken by .*--port"
        ):
            stack.start_detached(second)
    assert stack.status(options.data_dir).ready, "the first one is not disturbed"


def test_ctrl_c_in_a_terminal_ends_everything_in_order(options: StackOptions) -> None:
    with up_in_foreground(options) as process:
        eventually(lambda: stack.status(options.data_dir).ready, "the stack is ready")
        processes = family(options)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process in the foreground
        output, _ = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0
        assert_all_gone(processes)
    lines = [line for line in output.splitlines() if line.startswith(("up", "postgres"))]
    stops = [
        "up       | stopping ingest",
        "up       | stopping metadata",
        "postgres | stopping",
        "up       | stopped",
    ]
    assert lines[-4:] == stops
    assert "Traceback" not in output
    assert "stopping metadata" in (options.data_dir / LOG_FILE).read_text()


def test_ctrl_c_during_the_very_first_start_leaves_a_folder_that_starts(options: StackOptions) -> None:
    with up_in_foreground(options) as process:
        eventually(lambda: any(options.data_dir.glob(".postgres.initialising")), "initdb has begun")
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0, output
    assert_points(url := stack.start_detached(options), log_points(url))


@contextmanager
def up_in_foreground(options: StackOptions) -> Iterator[subprocess.Popen[str]]:
    command = [str(Path(sys.executable).with_name("runstream")), "up", "--data-dir", str(options.data_dir)]
    process = subprocess.Popen(
        [*command, "--port", str(options.port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_kafka_and_a_given_database_instead_of_the_embedded_ones(
    options: StackOptions,
    kafka_bootstrap: str,
    topic_prefix: str,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNSTREAM_TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("RUNSTREAM_KAFKA_PARTITIONS", "2")
    real = StackOptions(
        data_dir=options.data_dir, port=options.port, kafka=kafka_bootstrap, database_url=database_url
    )
    url = stack.start_detached(real)
    assert not (options.data_dir / "postgres").exists()
    assert postgres_of(options) is None
    run_id = log_points(url)
    assert_points(url, run_id)
    stack.stop(options.data_dir)
    assert_points(stack.start_detached(real), run_id)
