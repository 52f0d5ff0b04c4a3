"""Nothing is lost however a process ends, and a forked child's points arrive too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import mlflow
import pytest
from mlflow import MlflowClient


@pytest.fixture
def run_id(experiment):
    return MlflowClient().create_run(mlflow.get_experiment_by_name(experiment).experiment_id).info.run_id


def script(text: str, run_id: str, tracking_uri: str) -> subprocess.Popen[str]:
    code = f"import mlflow, os, sys\nfrom mlflow import MlflowClient\nrun_id = {run_id!r}\nclient = MlflowClient()\n"
    return subprocess.Popen(
        [sys.executable, "-c", code + textwrap.dedent(text)],
        env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri},
        stdout=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    return out


def steps(run_id: str) -> list[int]:
    return [point.step for point in MlflowClient().get_metric_history(run_id, "m")]


def test_last_points_of_a_process_that_just_ends_arrive(run_id, tracking_uri):
    code = "for step in range(5000): client.log_metric(run_id, 'm', step, step=step)"
    finished(script(code, run_id, tracking_uri))

    assert steps(run_id) == list(range(5000))


def test_active_run_of_a_process_that_just_ends_is_finished(experiment, tracking_uri):
    code = f"""
        mlflow.set_experiment({experiment!r})
        print(mlflow.start_run().info.run_id)
        mlflow.log_metrics({{"m": 1.0}}, step=3)
    """
    run_id = finished(script(code, "", tracking_uri)).split()[0]

    assert mlflow.get_run(run_id).info.status == "FINISHED"
    assert steps(run_id) == [3]


def test_async_points_of_a_process_that_just_ends_arrive(run_id, tracking_uri):
    code = "for step in range(300): client.log_metric(run_id, 'm', step, step=step, synchronous=False)"
    finished(script(code, run_id, tracking_uri))

    assert steps(run_id) == list(range(300))


def test_sigterm_sends_what_waits(run_id, tracking_uri):
    code = """
        for step in range(2000):
            client.log_metric(run_id, 'm', step, step=step)
        print("logged", flush=True)
        sys.stdin.read()
        import time
        while True:
            time.sleep(1)
    """
    process = script(code, run_id, tracking_uri)
    assert process.stdout is not None
    assert process.stdout.readline() == "logged\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    assert process.returncode == -signal.SIGTERM
    assert steps(run_id) == list(range(2000))


def test_forked_child_logs_over_rest_and_the_parent_goes_on(run_id, tracking_uri):
    code = """
        import multiprocessing
        def work(first):
            for step in range(first, first + 20):
                client.log_metric(run_id, 'm', step, step=step)
            assert len(client.get_metric_history(run_id, 'm')) >= 20
        for step in range(20):
            client.log_metric(run_id, 'm', step, step=step)
        child = multiprocessing.get_context("fork").Process(target=work, args=(20,))
        child.start()
        for step in range(40, 60):
            client.log_metric(run_id, 'm', step, step=step)
        child.join()
        assert child.exitcode == 0
    """
    finished(script(code, run_id, tracking_uri))

    assert sorted(steps(run_id)) == list(range(60))


def test_child_that_is_forked_first_has_a_stream_of_its_own(run_id, tracking_uri):
    code = """
        import multiprocessing
        def work(first):
            for step in range(first, first + 500):
                client.log_metric(run_id, 'm', step, step=step)
        children = [multiprocessing.get_context("fork").Process(target=work, args=(n * 500,)) for n in range(2)]
        for child in children: child.start()
        for child in children: child.join()
        assert [child.exitcode for child in children] == [0, 0]
    """
    finished(script(code, run_id, tracking_uri))

    assert sorted(steps(run_id)) == list(range(1000))
