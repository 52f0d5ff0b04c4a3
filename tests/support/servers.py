"""Real Kafka and S3 servers for tests, over throw-away directories."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import pytest

from deploy.local.kafka.kafka import KafkaServer
from deploy.local.process import MissingToolError, free_port
from deploy.local.s3.s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Server(Protocol):
    """What a server's starter offers to a test."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


ServerT = TypeVar("ServerT", bound=Server)


@contextlib.contextmanager
def _running(make: Callable[[Path, int], ServerT], prefix: str) -> Iterator[ServerT]:
    with tempfile.TemporaryDirectory(prefix=prefix) as directory:
        server = make(Path(directory), free_port())
        try:
            _start_or_skip(server)
            yield server
        finally:
            server.stop()


def _start_or_skip(server: Server) -> None:
    try:
        server.start()
    except MissingToolError as problem:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(problem))


def running_kafka() -> contextlib.AbstractContextManager[KafkaServer]:
    """Run a broker until the block ends. Without Java or Maven: skips the test, in CI fails it."""
    return _running(KafkaServer, "runstream-kafka-")


def running_s3() -> contextlib.AbstractContextManager[S3Server]:
    """Run an S3 server until the block ends. Without Go: skips the test, in CI fails it."""
    return _running(S3Server, "runstream-s3-")
