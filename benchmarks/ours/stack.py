"""The stack under test: the embedded supervisor with the services as processes, over a given database and bus."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import asyncpg
import grpc
import psutil
from runstream.embedded import stack as embedded
from runstream.embedded.options import StackOptions
from runstream.embedded.services import free_stack_port
from runstream.embedded.state import read_state

T = TypeVar("T")

GATEWAY_WORKERS = 2
MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class StackUnderTest:
    """A running stack.

    Attributes:
        topology: "embedded" or "kafka".
        data_dir: its data directory.
        metadata: gRPC target of the metadata service.
        ingest: gRPC target of the ingest service.
        registry: gRPC target of the registry service.
        web_url: `http://host:port` of the gateway.
    """

    topology: str
    data_dir: Path
    metadata: str
    ingest: str
    registry: str
    web_url: str

    def processes(self) -> dict[str, psutil.Process]:
        """The services' processes by name."""
        state = read_state(self.data_dir)
        found = {name: ref.process() for name, ref in state.services.items()} if state else {}
        return {name: process for name, process in found.items() if process is not None}

    def channel(self) -> grpc.Channel:
        """A blocking channel to the metadata service."""
        limits = [(f"grpc.max_{way}_message_length", MESSAGE_LIMIT_BYTES) for way in ("receive", "send")]
        return grpc.insecure_channel(self.metadata, options=limits)


@contextlib.contextmanager
def running_stack(
    data_dir: Path, database_url: str, kafka: str | None, object_store_url: str | None = None
) -> Iterator[StackUnderTest]:
    """Start the stack as `runstream up` does; stop it afterwards.

    Args:
        data_dir: an empty folder.
        database_url: an empty database on the server that the peer uses too.
        kafka: bootstrap servers, or None for the PostgreSQL bus.
        object_store_url: `s3://…`, or None for a folder.
    """
    # As many as the peer has; passed on to the services.
    os.environ["RUNSTREAM_HTTP_WORKERS"] = str(GATEWAY_WORKERS)
    port = free_stack_port()
    options = StackOptions(
        data_dir=data_dir,
        port=port,
        kafka=kafka,
        database_url=database_url,
        object_store_url=object_store_url,
    )
    embedded.start_detached(options)
    try:
        topology = "kafka" if kafka else "embedded"
        yield StackUnderTest(
            topology,
            data_dir,
            f"127.0.0.1:{port}",
            f"127.0.0.1:{port + 1}",
            f"127.0.0.1:{port + 3}",
            f"http://127.0.0.1:{options.web_port}",
        )
    finally:
        embedded.stop(data_dir)


class MemoryWatch:
    """Samples the resident memory of each service while a block runs."""

    def __init__(self, stack: StackUnderTest, interval_seconds: float = 0.25) -> None:
        self._stack = stack
        self._interval_seconds = interval_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak_bytes: dict[str, int] = {}

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        processes = self._stack.processes()
        while not self._stop.wait(self._interval_seconds):
            for name, process in processes.items():
                with contextlib.suppress(psutil.NoSuchProcess):
                    resident = process.memory_info().rss
                    self.peak_bytes[name] = max(self.peak_bytes.get(name, 0), resident)


def on_database(url: str, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Do something with a connection to a database and return what it returns."""

    async def run() -> T:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def module(name: str, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start a module of ours as a process whose output is kept."""
    return subprocess.Popen([sys.executable, "-m", name, *arguments], stdout=subprocess.PIPE)
