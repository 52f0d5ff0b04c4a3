"""How processes end and fork: exits, signals, children. Each script runs in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_server import FakeServer

QUIET = {
    "RUNSTREAM_SYSTEM_METRICS": "false",
    "RUNSTREAM_CAPTURE": "false",
    "RUNSTREAM_FLUSH_INTERVAL_MS": "20",
    "RUNSTREAM_EXIT_TIMEOUT_SECONDS": "20",
}


@pytest.fixture
def environment(server: FakeServer, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        **QUIET,
        "RUNSTREAM_URL": server.url,
        "RUNSTREAM_SPOOL_DIR": str(tmp_path / "spool"),
    }


def run_script(script: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_script_that_just_ends_is_flushed_and_finished_without_a_word(server, environment):
    done = run_script(
        """
import runstream
runstream.start_run(run_name="plain")
for step in range(1000):
    runstream.log_metric("loss", 1.0, step)
""",
        environment,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(server.only_run().points) == 1000
    assert server.only_run().status_name == "FINISHED"


@pytest.mark.parametrize(
    ("ending", "status", "reason"),
    [
        ("raise ValueError('bad data')", "FAILED", "ValueError: bad data"),
        ("raise KeyboardInterrupt", "KILLED", "KeyboardInterrupt"),
        ("import sys; sys.exit(3)", "FAILED", "exited with code 3"),
        ("import sys; sys.exit('no data')", "FAILED", "exited with code no data"),
        ("import sys; sys.exit(0)", "FINISHED", ""),
    ],
)
@pytest.mark.parametrize("style", ["with", "open"])
def test_a_run_ends_as_its_process_does(server, environment, ending, status, reason, style):
    """A4: a process that exits early must not leave its run FINISHED."""
    start = "with runstream.start_run():" if style == "with" else "runstream.start_run()\nif True:"
    run_script(
        f"import runstream\n{start}\n    runstream.log_metric('loss', 1.0)\n    {ending}\n", environment
    )
    run = server.only_run()
    assert (run.status_name, run.status_reason) == (status, reason)
    assert run.values("loss") == [1.0]


SIGTERM_SCRIPT = """
import signal, sys, time
import runstream
{before}
run = runstream.start_run()
runstream.log_metric("loss", 1.0, 0)
run.flush()
runstream.log_metric("loss", 2.0, 1)
runstream.set_tag("ready", "yes")
{wait}
"""


def start_and_terminate(script: str, server: FakeServer, environment: dict[str, str]) -> tuple[int, str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        server.wait_until(lambda: server.runs and "ready" in server.only_run().tags)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    return process.returncode, out


def test_sigterm_kills_the_run_and_then_the_process(server, environment):
    """A4: runs must not stay RUNNING after SIGTERM."""
    script = SIGTERM_SCRIPT.format(before="", wait="time.sleep(60)")
    code, _ = start_and_terminate(script, server, environment)
    assert code == -signal.SIGTERM
    assert (server.only_run().status_name, server.only_run().status_reason) == ("KILLED", "SIGTERM")
    assert server.only_run().values("loss") == [1.0, 2.0]


def test_sigterm_goes_on_to_the_handler_that_was_there(server, environment):
    before = "signal.signal(signal.SIGTERM, lambda *_: (print('mine'), sys.exit(7)))"
    script = SIGTERM_SCRIPT.format(before=before, wait="with run:\n    time.sleep(60)")
    code, out = start_and_terminate(script, server, environment)
    assert (code, out) == (7, "mine\n")
    assert (server.only_run().status_name, server.only_run().status_reason) == ("KILLED", "SIGTERM")


def test_a_handler_that_goes_on_lets_the_run_finish(server, environment):
    before = "told = []\nsignal.signal(signal.SIGTERM, lambda *_: told.append(1))"
    wait = "with run:\n    while not told: time.sleep(0.01)\n    runstream.log_metric('loss', 3.0, 2)"
    code, _ = start_and_terminate(SIGTERM_SCRIPT.format(before=before, wait=wait), server, environment)
    assert code == 0
    assert server.only_run().status_name == "FINISHED"
    assert server.only_run().values("loss") == [1.0, 2.0, 3.0]


def test_a_killed_process_leaves_its_spool_for_the_next(server, environment):
    """What was spooled survives kill -9."""
    killed = """
import os, signal, time
import runstream
run = runstream.start_run(experiment="offline")
for step in range(100):
    runstream.log_metric("loss", 1.0, step)
assert run.flush().spooled_points == 100
os.kill(os.getpid(), signal.SIGKILL)
"""
    server.stop()
    assert run_script(killed, environment).returncode == -signal.SIGKILL
    server.start()
    flush = (
        "import sys\nfrom runstream.cli.app import main\nsys.argv = ['runstream', 'spool', 'flush']\nmain()"
    )
    done = run_script(flush, environment)
    assert done.returncode == 0, done.stderr
    assert len(server.only_run().points) == 100


def test_forked_children_log_to_the_parents_run(server, environment):
    """Threads, locks and connections of the parent are of no use in a child; its points arrive all the same."""
    done = run_script(
        """
import multiprocessing
import runstream

def work(worker):
    for step in range(500):
        runstream.log_metric(f"worker/{worker}", float(worker), step)
    runstream.set_tag(f"done/{worker}", "yes")

with runstream.start_run() as run:
    for step in range(500):
        runstream.log_metric("parent", 1.0, step)
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=work, args=(worker,)) for worker in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    for step in range(500, 1000):
        runstream.log_metric("parent", 1.0, step)
""",
        environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    run = server.only_run()
    assert [len(run.values(f"worker/{worker}")) for worker in range(4)] == [500] * 4
    assert len(run.values("parent")) == 1000
    assert set(run.points.values()) == {1}
    assert {tag for tag in run.tags if tag.startswith("done/")} == {f"done/{worker}" for worker in range(4)}
    assert run.status_name == "FINISHED"


def test_a_forked_child_may_have_a_run_of_its_own(server, environment):
    done = run_script(
        """
import multiprocessing
import runstream

def work(worker):
    with runstream.start_run(nested=True, run_name=f"child-{worker}") as run:
        run.log_metric("loss", 1.0, worker)
        run.log_param("worker", worker)

with runstream.start_run(run_name="parent"):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(work, range(3))
        pool.close()
        pool.join()
""",
        environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    children = [run for run in server.runs.values() if run.request.run_name.startswith("child")]
    (parent,) = [run for run in server.runs.values() if run.request.run_name == "parent"]
    assert sorted((run.status_name, run.params["worker"], len(run.points)) for run in children) == [
        ("FINISHED", "0", 1),
        ("FINISHED", "1", 1),
        ("FINISHED", "2", 1),
    ]
    assert {run.request.parent_run_id for run in children} == {parent.request.run_id}


def test_children_forked_before_anything_was_sent_talk_to_the_server_themselves(server, environment):
    done = run_script(
        """
import multiprocessing
import runstream

def work(worker):
    with runstream.start_run(run_name=f"job-{worker}") as run:
        run.log_metric("loss", 1.0, worker)
        assert run.flush().acknowledged_points == 1

children = [multiprocessing.get_context("fork").Process(target=work, args=(i,)) for i in range(3)]
for child in children: child.start()
for child in children:
    child.join()
    assert child.exitcode == 0
""",
        environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [run.status_name for run in server.runs.values()] == ["FINISHED"] * 3
