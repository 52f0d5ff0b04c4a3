"""Several processes behind one port: the first binds it and keeps the others running.

Each worker is the same program, started with the listening socket and a socket to its parent. The parent answers no
requests; its admin server tells the readiness and the metrics of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from prometheus_client import REGISTRY
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from runstream_common.errors import Unavailable

from runstream_gateway.edge.server import listening_socket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runstream_common.service import Runtime

    from runstream_gateway.settings import GatewaySettings

log = structlog.get_logger(__name__)

READY = b"ready\n"
METRICS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The metrics library's own: processes that have it keep their values in files below it."""
START_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
"""Between starts of a worker that dies each time."""
_STOP_SHARE = 0.9
"""Of the grace period; what is left is for killing who did not end."""


class WorkerFailed(Exception):
    """A worker ended before it was ready; its log says why."""


@dataclass(slots=True)
class Worker:
    """A worker that runs.

    Args:
        process: its process.
        link: our end of the socket between us; its closing ends the worker.
    """

    process: asyncio.subprocess.Process
    link: socket.socket


class WorkerGroup:
    """Starts workers, replaces those that die, and ends them with the service.

    Args:
        runtime: settings, readiness, background tasks.
    """

    name = "http workers"

    def __init__(self, runtime: Runtime[GatewaySettings]) -> None:
        self._settings = runtime.settings
        self._tasks = runtime.tasks
        self._listening: socket.socket | None = None
        self._metrics_dir: Path | None = None
        self._workers: dict[int, Worker] = {}
        runtime.health.add_check("workers", self._check)

    async def start(self) -> None:
        """Bind the port, start every worker and wait until all are ready.

        Raises:
            OSError: the port is taken or the address is not ours.
            WorkerFailed: a worker ended before it was ready.
        """
        self._listening = listening_socket(self._settings)
        self._metrics_dir = Path(tempfile.mkdtemp(prefix="runstream-gateway-metrics-"))
        MultiProcessCollector(REGISTRY, str(self._metrics_dir))  # type: ignore[no-untyped-call]
        numbers = range(self._settings.http_workers)
        try:
            await asyncio.gather(*(self._start_worker(number) for number in numbers))
        except BaseException:
            await self.stop()
            raise
        for number in numbers:
            self._tasks.spawn(f"http worker {number}", self._keep_running(number))
        log.info("http_workers_ready", workers=len(self._workers), port=self._listening.getsockname()[1])

    async def stop(self) -> None:
        """End the workers: each finishes what it answers."""
        if self._listening is not None:
            self._listening.close()
        workers, self._workers = list(self._workers.values()), {}
        try:
            async with asyncio.timeout(self._settings.shutdown_grace_seconds * _STOP_SHARE):
                await asyncio.gather(*(_end(worker) for worker in workers))
        finally:
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.kill()
                worker.link.close()
            if self._metrics_dir is not None:
                await asyncio.to_thread(shutil.rmtree, self._metrics_dir, ignore_errors=True)

    async def _check(self) -> None:
        if not self._workers:
            raise Unavailable("no worker runs", reason="NO_WORKERS")

    async def _keep_running(self, number: int) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            worker = self._workers.get(number)
            if worker is not None:
                code = await worker.process.wait()
                self._forget(number)
                log.error("http_worker_died", worker=number, pid=worker.process.pid, exit_code=code)
            await asyncio.sleep(pause_seconds)
            try:
                await self._start_worker(number)
                pause_seconds = FIRST_PAUSE_SECONDS
            except (WorkerFailed, OSError) as error:
                log.error("http_worker_start_failed", worker=number, reason=str(error))  # noqa: TRY400 - its own log has more
                pause_seconds = min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)

    def _forget(self, number: int) -> None:
        worker = self._workers.pop(number)
        worker.link.close()
        mark_process_dead(worker.process.pid, str(self._metrics_dir))  # type: ignore[no-untyped-call]

    async def _start_worker(self, number: int) -> None:
        assert self._listening is not None  # noqa: S101 - start() made it
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "runstream_gateway",
                    env=self._environment(theirs),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(self._listening.fileno(), theirs.fileno()),
                    # A terminal's Ctrl-C goes to the whole group: it must reach the parent alone, who passes it on.
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        try:
            await self._wait_ready(ours)
        except BaseException:
            # Also when the service stops meanwhile: nobody else knows of the process yet.
            ours.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        self._workers[number] = Worker(process, ours)

    async def _wait_ready(self, link: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(START_SECONDS):
                told = await loop.sock_recv(link, len(READY))
        except TimeoutError:
            told = b""
        if told != READY:
            raise WorkerFailed("a worker ended or hung before it was ready; its own log says why")

    def _environment(self, link: socket.socket) -> Mapping[str, str]:
        assert self._listening is not None  # noqa: S101 - start() made it
        own = {
            "RUNSTREAM_HTTP_WORKERS": "1",
            "RUNSTREAM_HTTP_LISTEN_FD": str(self._listening.fileno()),
            "RUNSTREAM_HTTP_PARENT_FD": str(link.fileno()),
            # Never asked: the parent answers for all.
            "RUNSTREAM_ADMIN_HOST": "127.0.0.1",
            "RUNSTREAM_ADMIN_PORT": "0",
        }
        inherited = {
            name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in own
        }
        return {**inherited, **own, METRICS_DIR_VARIABLE: str(self._metrics_dir)}


async def _end(worker: Worker) -> None:
    with contextlib.suppress(ProcessLookupError):
        worker.process.terminate()
    await worker.process.wait()


class ParentLink:
    """A worker's tie to its parent: tells that it is ready, and ends with it.

    Args:
        descriptor: our end of the socket between us.
    """

    name = "link to the parent process"

    def __init__(self, descriptor: int) -> None:
        self._link = socket.socket(fileno=descriptor)
        self._link.setblocking(False)
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Tell the parent that requests are answered; to be started last."""
        await asyncio.get_running_loop().sock_sendall(self._link, READY)
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Watch no longer."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._link.close()

    async def _watch(self) -> None:
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_recv(self._link, 1)
        log.warning("parent_process_gone")
        # As if the parent had said so: a worker without one would keep the port for ever.
        os.kill(os.getpid(), signal.SIGTERM)
