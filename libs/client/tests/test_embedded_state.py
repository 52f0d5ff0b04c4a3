"""What a stack leaves in its data directory, and what the next one makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from runstream.embedded.options import StackOptions
from runstream.embedded.services import service_specs
from runstream.embedded.stack import status, stop
from runstream.embedded.state import (
    ProcessRef,
    StackRunning,
    StackState,
    end_leftovers,
    exclusive,
    read_state,
)

# Says when it is set up, then waits for a line that never comes.
WAITING = "print('up', flush=True); input()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAITING


def started(program: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


@pytest.fixture(params=[WAITING, DEAF], ids=["listens", "ignores SIGTERM"])
def leftover(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    process = started(request.param)
    yield process
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def me() -> ProcessRef:
    return ProcessRef.of(os.getpid())


def gone() -> ProcessRef:
    process = subprocess.Popen([sys.executable, "-c", ""])
    reference = ProcessRef(process.pid, psutil.Process(process.pid).create_time())
    process.wait()
    return reference


def test_state_survives_a_round_trip(tmp_path: Path) -> None:
    state = StackState(me(), "127.0.0.1:5050", ready=True, services={"ingest": ProcessRef(1, 2.5)})
    state.write(tmp_path)
    assert read_state(tmp_path) == state


def test_no_state_is_no_stack(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    assert not status(tmp_path).running
    assert stop(tmp_path) is False


def test_status_of_a_dead_supervisor_is_not_running(tmp_path: Path) -> None:
    StackState(gone(), "127.0.0.1:5050", ready=True).write(tmp_path)
    assert not status(tmp_path).running
    assert not status(tmp_path).ready


def test_a_stranger_with_the_same_pid_is_left_alone() -> None:
    stranger = ProcessRef(os.getpid(), me().create_time - 1)
    assert stranger.process() is None
    assert end_leftovers(StackState(gone(), "", services={"ingest": stranger})) is False


def test_leftovers_of_a_killed_supervisor_are_ended(leftover: subprocess.Popen[bytes]) -> None:
    state = StackState(gone(), "", services={"ingest": ProcessRef.of(leftover.pid), "metadata": gone()})
    assert end_leftovers(state, timeout_seconds=0.5) is True
    assert leftover.wait() != 0


def test_down_ends_what_a_killed_supervisor_left(tmp_path: Path) -> None:
    process = started(WAITING)
    with process:
        state = StackState(gone(), "127.0.0.1:5050", services={"ingest": ProcessRef.of(process.pid)})
        state.write(tmp_path)
        assert stop(tmp_path) is True
        assert process.wait() != 0


def test_second_stack_over_one_directory_is_told_where_the_first_is(tmp_path: Path) -> None:
    StackState(me(), "127.0.0.1:5050").write(tmp_path)
    where = rf"127\.0\.0\.1:5050 \(pid {os.getpid()}\)"
    with exclusive(tmp_path), pytest.raises(StackRunning, match=where), exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass


def test_services_get_the_stacks_addresses(tmp_path: Path) -> None:
    options = StackOptions(data_dir=tmp_path, port=6000, kafka="kafka://broker:9092")
    specs = {spec.name: spec for spec in service_specs(options, "postgresql://stack")}
    assert {name: (spec.port, spec.admin_port) for name, spec in specs.items()} == {
        "metadata": (6000, 6010),
        "ingest": (6001, 6011),
        "artifact": (6002, 6012),
        "registry": (6003, 6013),
        "gateway": (6004, 6014),
    }
    assert specs["artifact"].data_port == 6022
    assert specs["gateway"].data_port == 5950
    assert specs["gateway"].environment["RUNSTREAM_HTTP_PORT"] == "5950"
    assert specs["artifact"].environment["RUNSTREAM_ARTIFACT_HTTP_PORT"] == "6022"
    addresses = "metadata=:6000,ingest=:6001,artifact=:6002,registry=:6003"
    for spec in specs.values():
        assert spec.environment["RUNSTREAM_BUS_URL"] == "kafka://broker:9092"
        assert spec.environment["RUNSTREAM_DATABASE_URL"] == "postgresql://stack"
        assert spec.environment["RUNSTREAM_SERVICES"] == addresses
        assert spec.environment["RUNSTREAM_METADATA_TARGET"] == "127.0.0.1:6000"
        assert spec.environment["RUNSTREAM_ARTIFACT_TARGET"] == "127.0.0.1:6002"


def test_without_kafka_the_database_is_the_bus(tmp_path: Path) -> None:
    specs = service_specs(StackOptions(data_dir=tmp_path), "postgresql://stack")
    assert {spec.environment["RUNSTREAM_BUS_URL"] for spec in specs} == {"postgresql://stack"}
