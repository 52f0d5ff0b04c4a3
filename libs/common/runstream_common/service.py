"""A service's life: read settings, start in order, serve until told to stop, stop in reverse order.

A service's ``__main__`` is one call of ``main``; its ``wiring`` is the ``build`` function given to it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import structlog

from runstream_common.errors import PlatformError
from runstream_common.health import AdminServer, Health
from runstream_common.logs import configure_logging
from runstream_common.settings import DatabaseSettings, SettingsError, StatelessSettings, load_settings
from runstream_common.supervision import Supervisor, TaskDied
from runstream_common.telemetry import configure_tracing, shutdown_tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

log = structlog.get_logger(__name__)

EXIT_START_FAILED = 1
EXIT_TASK_DIED = 1
EXIT_BAD_SETTINGS = 2
LEAST_STOP_SECONDS = 0.5
"""What a component gets to stop even when those before it used up the grace period."""


class Component(Protocol):
    """A part that is started and stopped with the service: database, bus, gRPC server."""

    @property
    def name(self) -> str:
        """How it shows in logs."""
        ...

    async def start(self) -> None:
        """Be ready to work, or raise why not."""
        ...

    async def stop(self) -> None:
        """Finish what was accepted, take no more, release what is held. Called only after ``start``."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """What a service is made of.

    Args:
        components: in start order (database, bus, consumers, gRPC server); stopped in reverse.
        asyncapi: makes the document of /asyncapi.json.
    """

    components: Sequence[Component]
    asyncapi: Callable[[], Mapping[str, Any]] | None = None


SettingsT = TypeVar("SettingsT", bound=StatelessSettings)


@dataclass(frozen=True, slots=True)
class Runtime(Generic[SettingsT]):
    """What ``build`` gets to build with."""

    name: str
    settings: SettingsT
    health: Health = field(default_factory=Health)
    """Readiness checks are added here."""
    tasks: Supervisor = field(default_factory=Supervisor)
    """Background work is spawned here; it is cancelled before the components stop."""


def main(
    name: str,
    settings_type: type[SettingsT],
    build: Callable[[Runtime[SettingsT]], Awaitable[Service]],
    *,
    migrate: Callable[[SettingsT], Awaitable[None]] | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """The command ``python -m runstream_<name> [migrate]``; returns the exit code.

    Args:
        name: the service's name, such as ``metadata``.
        settings_type: what to read.
        build: wires the service.
        migrate: brings the schema up to date; None when the service owns no tables.
        argv: arguments after the program's name; the process's own if not given.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments not in ([], ["migrate"]):
        print(f"usage: python -m runstream_{name} [migrate]", file=sys.stderr)  # noqa: T201 - logging is not set up
        return EXIT_BAD_SETTINGS
    try:
        settings = load_settings(settings_type)
    except SettingsError as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201 - the settings say how to log
        return EXIT_BAD_SETTINGS
    configure_logging(settings, service=name)
    if arguments == ["migrate"]:
        return _run_migrate(settings, migrate)
    return run_service(name, build, settings=settings, migrate=migrate)


def run_service(
    name: str,
    build: Callable[[Runtime[SettingsT]], Awaitable[Service]],
    *,
    settings: SettingsT,
    migrate: Callable[[SettingsT], Awaitable[None]] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code (0 after a signal, else non-zero).

    A second signal ends the process at once.
    """
    configure_tracing(settings, service=name)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(_serve(Runtime(name, settings), build, migrate))
        finally:
            shutdown_tracing()


async def _serve(
    runtime: Runtime[SettingsT],
    build: Callable[[Runtime[SettingsT]], Awaitable[Service]],
    migrate: Callable[[SettingsT], Awaitable[None]] | None,
) -> int:
    stop_requested = _listen_for_signals()
    admin = AdminServer(runtime.health, host=runtime.settings.admin_host, port=runtime.settings.admin_port)
    started: list[Component] = []
    try:
        starting = asyncio.create_task(_start(runtime, build, migrate, admin, started))
        if await _finished_first(starting, stop_requested, runtime.tasks):
            # Modules and wiring live as long as the process: looking through them again at each full collection
            # would hold up calls for milliseconds.
            gc.collect()
            gc.freeze()
            runtime.health.state = "serving"
            log.info("service_ready", admin_port=admin.port)
            await _finished_first(None, stop_requested, runtime.tasks)
    except TaskDied as death:
        runtime.health.fail(str(death))
        log.critical("background_task_died", task=death.name, reason=str(death), exc_info=death.__cause__)
        return EXIT_TASK_DIED
    except Exception as error:
        log.critical("service_start_failed", **_what_failed(error))
        log.debug("service_start_traceback", exc_info=True)
        return EXIT_START_FAILED
    finally:
        runtime.health.state = "draining"
        await _stop(runtime, started)
    return 0


async def _start(
    runtime: Runtime[SettingsT],
    build: Callable[[Runtime[SettingsT]], Awaitable[Service]],
    migrate: Callable[[SettingsT], Awaitable[None]] | None,
    admin: AdminServer,
    started: list[Component],
) -> None:
    await _start_component(admin, started)
    settings = runtime.settings
    if migrate is not None and isinstance(settings, DatabaseSettings) and settings.migrate_on_start:
        await migrate(settings)
    service = await build(runtime)
    admin.asyncapi = service.asyncapi
    for part in service.components:
        await _start_component(part, started)


class _StartFailed(Exception):
    """Names the component whose start raised."""

    def __init__(self, component: str) -> None:
        super().__init__(component)
        self.component = component


async def _start_component(part: Component, started: list[Component]) -> None:
    try:
        await part.start()
    except Exception as error:
        raise _StartFailed(part.name) from error
    started.append(part)
    log.debug("component_started", component=part.name)


async def _stop(runtime: Runtime[SettingsT], started: list[Component]) -> None:
    """Stop in reverse order; each part may use what is left of the grace period."""
    deadline = time.monotonic() + runtime.settings.shutdown_grace_seconds
    await _stop_within(deadline, "background tasks", runtime.tasks.stop())
    for part in reversed(started):
        await _stop_within(deadline, part.name, part.stop())
    log.info("service_stopped", seconds_left=round(deadline - time.monotonic(), 1))


async def _stop_within(deadline: float, name: str, stopping: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(max(deadline - time.monotonic(), LEAST_STOP_SECONDS)):
            await stopping
    except TimeoutError:
        log.warning("component_stop_timed_out", component=name)
    except Exception:
        # The parts below it hold what was accepted: they are stopped all the same.
        log.exception("component_stop_failed", component=name)


async def _finished_first(
    work: asyncio.Task[None] | None, stop_requested: asyncio.Event, tasks: Supervisor
) -> bool:
    """Wait for the work, a signal or a death; whether it was the work, which is else cancelled.

    Raises:
        TaskDied: a background task ended.
        Exception: what the work raised.
    """
    signalled: asyncio.Task[Any] = asyncio.create_task(stop_requested.wait())
    death = asyncio.create_task(tasks.wait_for_death())
    waiting = {signalled, death} | ({work} if work is not None else set())
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for other in pending:
        other.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    if death in done:
        raise death.result()
    if work is None or work not in done:
        return False
    work.result()
    return True


def _listen_for_signals() -> asyncio.Event:
    requested = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if requested.is_set():
            log.warning("service_killed", signal=signal.Signals(number).name)
            os._exit(128 + number)
        log.info("service_stopping", signal=signal.Signals(number).name)
        requested.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return requested


def _what_failed(error: Exception) -> dict[str, str]:
    cause = error.__cause__ if isinstance(error, _StartFailed) and error.__cause__ else error
    component = error.component if isinstance(error, _StartFailed) else "wiring"
    text = cause.message if isinstance(cause, PlatformError) else f"{type(cause).__name__}: {cause}"
    return {"component": component, "reason": text}


def _run_migrate(settings: SettingsT, migrate: Callable[[SettingsT], Awaitable[None]] | None) -> int:
    if migrate is None:
        log.info("no_migrations", service_owns_tables=False)
        return 0
    try:
        asyncio.run(_awaited(migrate(settings)))
    except Exception as error:
        log.critical("migration_failed", **_what_failed(error))
        log.debug("migration_traceback", exc_info=True)
        return EXIT_START_FAILED
    return 0


async def _awaited(work: Awaitable[None]) -> None:
    await work


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not made for every platform; asyncio's own loop does there
    except ImportError:
        return None
    return uvloop.new_event_loop
