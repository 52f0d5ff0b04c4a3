"""Several gateway processes behind one port. They need no services: what they serve here is /health."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import psutil
import pytest
import requests

from tests.support.service_stack import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAIT_SECONDS = 110.0
"""Longest wait on a loaded machine; a passing test never waits that long."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Service]:
    """A gateway of two workers."""
    service = Service(
        "gateway", "gateway", tmp_path, {"RUNSTREAM_HTTP_WORKERS": "2", "RUNSTREAM_LOG_FORMAT": "json"}
    )
    service.spawn()
    service.wait_ready(WAIT_SECONDS)
    try:
        yield service
    finally:
        service.stop()


def workers_of(service: Service) -> set[int]:
    return {
        child.pid
        for child in psutil.Process(service.pid).children()
        if child.status() != psutil.STATUS_ZOMBIE
    }


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def answered(service: Service) -> float:
    return service.metric('runstream_http_requests_total{method="GET",route="/health",status="2xx"}')


def test_workers_share_the_port_die_and_come_back(gateway: Service) -> None:
    before = workers_of(gateway)
    assert len(before) == 2
    for _ in range(20):
        # A connection each, so that both workers get some.
        assert requests.get(f"{gateway.url}/health").text == "OK"
    assert answered(gateway) == 20

    victim = min(before)
    psutil.Process(victim).kill()
    until(lambda: len(workers_of(gateway) - {victim}) == 2)
    until(lambda: "http_worker_died" in gateway.log_path.read_text())
    # What the dead one counted is kept.
    assert answered(gateway) == 20
    assert requests.get(f"{gateway.url}/health").text == "OK"

    last = workers_of(gateway)
    assert gateway.terminate(WAIT_SECONDS) == 0
    assert all(is_gone(pid) for pid in last)


def test_workers_end_with_their_parent(gateway: Service) -> None:
    workers = workers_of(gateway)
    gateway.kill()
    until(lambda: all(is_gone(pid) for pid in workers))


def test_a_worker_that_cannot_start_ends_the_service(tmp_path: Path) -> None:
    broken = {"RUNSTREAM_HTTP_WORKERS": "2", "RUNSTREAM_METADATA_TARGET": ""}
    service = Service("gateway", "broken", tmp_path, {**broken, "RUNSTREAM_HTTP_MAX_BODY_BYTES": "1"})
    service.spawn()
    until(lambda: service.exit_code() is not None)
    assert service.exit_code() == 2
    assert re.search("RUNSTREAM_HTTP_MAX_BODY_BYTES", service.log_path.read_text())


def test_a_port_that_is_taken_ends_the_service(gateway: Service, tmp_path: Path) -> None:
    other = Service("gateway", "other", tmp_path, {"RUNSTREAM_HTTP_WORKERS": "2"})
    other.http_port = gateway.http_port
    other.spawn()
    until(lambda: other.exit_code() is not None)
    assert other.exit_code() == 1
    assert "http workers" in other.log_path.read_text()
