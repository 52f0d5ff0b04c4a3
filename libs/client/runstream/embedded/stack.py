"""The embedded stack: PostgreSQL from a wheel and every service as its own supervised process."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from runstream.embedded.log import StackLog
from runstream.embedded.options import StackOptions
from runstream.embedded.ports import free_port, require_free
from runstream.embedded.postgres import LocalPostgres, PostgresError
from runstream.embedded.process import ServiceFailed, ServiceProcess
from runstream.embedded.services import ServiceSpec, service_specs
from runstream.embedded.state import LOG_FILE, ProcessRef, StackState, end_leftovers, exclusive, read_state

DATABASE_NAME = "runstream"
READY_TIMEOUT_SECONDS = 60.0
STOP_GRACE_SECONDS = 25.0
POSTGRES_POLL_SECONDS = 0.5
POSTGRES_RESTARTS = 10


@dataclass(frozen=True, slots=True)
class StackStatus:
    """What is known of a stack from outside.

    Attributes:
        running: whether its supervisor runs.
        ready: whether every service was ready.
        url: the one address for clients; empty when it never ran.
        log_path: its log file.
    """

    running: bool
    ready: bool
    url: str
    log_path: Path


def run(options: StackOptions, *, echo: bool = True, on_ready: Callable[[str], None] | None = None) -> None:
    """Run a stack until SIGINT or SIGTERM; a second one kills what has not stopped yet.

    Args:
        options: choices.
        echo: write the log to standard output too.
        on_ready: called with the URL once every service is ready.

    Raises:
        StackRunning: the data directory is in use.
        PortTaken: a port is in use.
        PostgresError: the embedded PostgreSQL does not start.
        ServiceFailed: a service does not become ready.
    """
    options.data_dir.mkdir(parents=True, exist_ok=True)
    with exclusive(options.data_dir):
        log = StackLog(options.data_dir / LOG_FILE, echo=echo)
        try:
            leftover = read_state(options.data_dir)
            if leftover is not None and end_leftovers(leftover):
                log.line("up", "the last stack here was killed; its services have been ended")
            asyncio.run(_Stack(options, log).run(on_ready))
        finally:
            log.close()


class _Stack:
    def __init__(self, options: StackOptions, log: StackLog) -> None:
        self._options = options
        self._log = log
        self._url = f"{options.host}:{options.port}"
        self._state = StackState(ProcessRef.of(psutil.Process().pid), self._url)
        self._services: list[ServiceProcess] = []
        self._stop_requested = asyncio.Event()

    async def run(self, on_ready: Callable[[str], None] | None) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        started = time.monotonic()
        for spec in service_specs(self._options, database_url=""):
            self._require_ports(spec)
        postgres = await self._start_postgres()
        try:
            if self._stop_requested.is_set():
                return
            url = postgres.socket_url(DATABASE_NAME) if postgres else str(self._options.database_url)
            await self._serve(service_specs(self._options, url), postgres, started, on_ready)
        finally:
            if postgres is not None:
                self._log.line("postgres", "stopping")
                await asyncio.to_thread(postgres.stop)
            self._log.line("up", "stopped")

    def _on_signal(self) -> None:
        if self._stop_requested.is_set():
            self._log.line("up", "asked again to stop; killing the services")
            for service in self._services:
                service.kill()
        self._stop_requested.set()

    def _require_ports(self, spec: ServiceSpec) -> None:
        require_free(self._options.host, spec.port, f"{spec.name}, gRPC")
        require_free(self._options.host, spec.admin_port, f"{spec.name}, health and metrics")
        if spec.data_port is not None:
            require_free(self._options.host, spec.data_port, f"{spec.name}, HTTP")

    async def _start_postgres(self) -> LocalPostgres | None:
        if self._options.database_url is not None:
            return None
        postgres = LocalPostgres(self._options.data_dir / "postgres", free_port())
        await asyncio.to_thread(self._boot_postgres, postgres)
        return postgres

    def _boot_postgres(self, postgres: LocalPostgres) -> None:
        postgres.stop_leftover()
        postgres.initialise()
        postgres.start()
        postgres.create_database(DATABASE_NAME)
        self._log.line("postgres", f"ready, data in {self._options.data_dir / 'postgres'}")

    async def _serve(
        self,
        specs: list[ServiceSpec],
        postgres: LocalPostgres | None,
        started: float,
        on_ready: Callable[[str], None] | None,
    ) -> None:
        self._services = [ServiceProcess(spec, self._log.line, self._remember) for spec in specs]
        tasks = [asyncio.create_task(service.run(), name=service.spec.name) for service in self._services]
        stop = asyncio.create_task(self._stop_requested.wait(), name="stop")
        watch = [asyncio.create_task(self._watch_postgres(postgres), name="postgres")] if postgres else []
        ready = asyncio.gather(*(service.wait_ready(READY_TIMEOUT_SECONDS) for service in self._services))
        try:
            await _first_of(ready, stop, *tasks, *watch)
            if not stop.done():
                self._state.ready = True
                self._state.write(self._options.data_dir)
                self._log.line("up", f"ready in {time.monotonic() - started:.1f} s at {self._url}")
                self._log.line(
                    "up", f"MLflow's API and web UI at http://{self._options.host}:{self._options.web_port}"
                )
                if on_ready is not None:
                    on_ready(self._url)
                await _first_of(stop, *tasks, *watch)
        finally:
            await self._stop_services()
            running: list[asyncio.Future[Any]] = [*tasks, *watch, stop, ready]
            for future in running:
                future.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _remember(self, name: str, pid: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended at once; its exit is seen elsewhere
            self._state.services[name] = ProcessRef.of(pid)
            self._state.write(self._options.data_dir)

    async def _watch_postgres(self, postgres: LocalPostgres) -> None:
        while True:
            await asyncio.sleep(POSTGRES_POLL_SECONDS)
            if postgres.poll() is not None:
                self._log.line("up", "PostgreSQL ended; starting it again")
                await self._restart_postgres(postgres)

    async def _restart_postgres(self, postgres: LocalPostgres) -> None:
        """Start a server that ended; its last connections hold its memory for a moment, which a new one refuses."""
        for _ in range(POSTGRES_RESTARTS - 1):
            try:
                await asyncio.to_thread(self._boot_postgres, postgres)
            except PostgresError as error:
                self._log.line("postgres", str(error).splitlines()[-1])
                await asyncio.sleep(POSTGRES_POLL_SECONDS)
            else:
                return
        await asyncio.to_thread(self._boot_postgres, postgres)

    async def _stop_services(self) -> None:
        self._state.ready = False
        self._state.write(self._options.data_dir)
        # Doors first, so that what they accepted is applied before the consumers stop.
        for service in reversed(self._services):
            self._log.line("up", f"stopping {service.spec.name}")
            await service.stop(STOP_GRACE_SECONDS)


async def _first_of(*futures: "asyncio.Future[Any]") -> None:
    """Wait for the first one; raises what it raised."""
    done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    for future in done:
        future.result()


def start_detached(options: StackOptions, *, timeout_seconds: float = 90.0) -> str:
    """Start a stack in the background and return its URL once it is ready.

    Raises:
        ServiceFailed: it ended or did not become ready; the text ends with the last lines of its log.
    """
    options.data_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "runstream.embedded", *_arguments(options)]
    launch_log = options.data_dir / "launch.log"
    with launch_log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServiceFailed(f"the stack did not start: {launch_log.read_text().strip()[-2000:]}")
        state = read_state(options.data_dir)
        if state is not None and state.ready and state.supervisor.pid == process.pid:
            return state.url
        time.sleep(0.05)
    process.terminate()
    raise ServiceFailed(
        f"the stack is not ready after {timeout_seconds:g} s; see {options.data_dir / LOG_FILE}"
    )


def _arguments(options: StackOptions) -> list[str]:
    arguments = ["--data-dir", str(options.data_dir), "--host", options.host, "--port", str(options.port)]
    for name in ("http_port", "kafka", "database_url", "object_store_url"):
        value = getattr(options, name)
        if value is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    return arguments


def stop(data_dir: Path, *, timeout_seconds: float = 90.0) -> bool:
    """Stop the stack of a data directory, or what a killed one left running; returns False when nothing runs.

    Raises:
        ServiceFailed: it did not stop in time.
    """
    state = read_state(data_dir)
    supervisor = state.supervisor.process() if state else None
    if supervisor is None:
        return state is not None and _stop_leftovers(data_dir, state)
    supervisor.terminate()
    try:
        supervisor.wait(timeout_seconds)
    except psutil.TimeoutExpired as error:
        raise ServiceFailed(
            f"the stack (pid {supervisor.pid}) did not stop in {timeout_seconds:g} s"
        ) from error
    return True


def _stop_leftovers(data_dir: Path, state: StackState) -> bool:
    with exclusive(data_dir):
        ended = end_leftovers(state)
        if (data_dir / "postgres").is_dir():
            LocalPostgres(data_dir / "postgres", free_port()).stop_leftover()
        return ended


def status(data_dir: Path) -> StackStatus:
    """What is known of the stack of a data directory."""
    state = read_state(data_dir)
    running = state is not None and state.supervisor.process() is not None
    return StackStatus(
        running=running,
        ready=running and state is not None and state.ready,
        url=state.url if state else "",
        log_path=data_dir / LOG_FILE,
    )
