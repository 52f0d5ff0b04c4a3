"""A service's life, in a process of its own: order, signals, failures, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from runstream_common.supervision import Supervisor, TaskDied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

PROGRAM = """
import asyncio, sys
from runstream_common.service import Runtime, Service, main
from runstream_common.settings import ServiceSettings

class Part:
    def __init__(self, name, start=None, stop=None):
        self.name, self._start, self._stop = name, start, stop
    async def start(self):
        print("start", self.name, flush=True)
        if self._start: await self._start()
    async def stop(self):
        print("stop", self.name, flush=True)
        if self._stop: await self._stop()

async def forever():
    await asyncio.Event().wait()

async def fail():
    raise ValueError("no such disk")

{body}

sys.exit(main("test", ServiceSettings, build, migrate=globals().get("migrate")))
"""


@dataclass
class Running:
    """A service process, with what it printed and logged so far."""

    process: asyncio.subprocess.Process
    printed: list[str] = field(default_factory=list)
    logged: list[dict[str, Any]] = field(default_factory=list)
    readers: list[asyncio.Task[None]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read_output(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self.changed:
                self.printed.append(line.decode().strip())
                self.changed.notify_all()

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self.changed:
                self.logged.append(
                    json.loads(line) if line.startswith(b"{") else {"event": line.decode().strip()}
                )
                self.changed.notify_all()

    async def event(self, name: str) -> dict[str, Any]:
        """Wait for a log line."""
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: any(line["event"] == name for line in self.logged))
        return next(line for line in self.logged if line["event"] == name)

    async def line(self, text: str) -> None:
        """Wait for a printed line."""
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: text in self.printed)

    async def press_enter(self) -> None:
        """Let a part that waits for a line go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        await self.process.stdin.drain()

    async def exit_code(self) -> int:
        async with asyncio.timeout(30):
            code = await self.process.wait()
            await asyncio.gather(*self.readers)
        return code


@asynccontextmanager
async def running(
    body: str, *arguments: str, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    environment = {
        "PATH": os.environ["PATH"],
        "RUNSTREAM_BUS_URL": "kafka://localhost:1",
        "RUNSTREAM_ADMIN_HOST": "127.0.0.1",
        "RUNSTREAM_ADMIN_PORT": "0",
        "RUNSTREAM_SHUTDOWN_GRACE_SECONDS": "10",
    } | dict(settings or {})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM.format(body=body),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    service = Running(process)
    service.readers = [asyncio.create_task(service.read_output()), asyncio.create_task(service.read_log())]
    try:
        yield service
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await asyncio.gather(*service.readers)


TWO_PARTS = """
async def build(runtime):
    return Service([Part("database"), Part("grpc")], asyncapi=lambda: {"asyncapi": "3.0.0"})
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_starts_in_order_serves_and_stops_in_reverse(number: signal.Signals) -> None:
    async with running(TWO_PARTS) as service:
        port = (await service.event("service_ready"))["admin_port"]
        async with aiohttp.ClientSession() as client:
            for path in ("/readyz", "/healthz", "/metrics", "/asyncapi.json"):
                async with client.get(f"http://127.0.0.1:{port}{path}") as answer:
                    assert answer.status == 200, path
        service.process.send_signal(number)
        assert await service.exit_code() == 0
        assert service.printed == ["start database", "start grpc", "stop grpc", "stop database"]


async def test_it_is_not_ready_while_it_drains() -> None:
    body = """
async def drain():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
async def build(runtime):
    return Service([Part("grpc", stop=drain)])
"""
    async with running(body, settings={"RUNSTREAM_SHUTDOWN_GRACE_SECONDS": "30"}) as service:
        port = (await service.event("service_ready"))["admin_port"]
        service.process.terminate()
        await service.line("stop grpc")
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/readyz") as answer:
            assert (answer.status, (await answer.json())["state"]) == (503, "draining")
        await service.press_enter()
        assert await service.exit_code() == 0


async def test_a_failed_start_is_one_clear_line_and_stops_what_had_started() -> None:
    body = """
async def build(runtime):
    return Service([Part("database"), Part("bus", start=fail), Part("grpc")])
"""
    async with running(body) as service:
        assert await service.exit_code() == 1
        assert service.printed == ["start database", "start bus", "stop database"]
        (line,) = [line for line in service.logged if line["level"] in {"critical", "error"}]
        assert (line["component"], line["reason"]) == ("bus", "ValueError: no such disk")
        assert "exception" not in line


async def test_a_signal_during_a_start_that_hangs_ends_it() -> None:
    body = """
async def build(runtime):
    return Service([Part("database"), Part("bus", start=forever)])
"""
    async with running(body) as service:
        await service.line("start bus")
        service.process.terminate()
        assert await service.exit_code() == 0
        assert service.printed[-1] == "stop database"


async def test_a_background_task_that_dies_takes_the_service_down() -> None:
    body = """
async def build(runtime):
    async def sweep():
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        raise ValueError("no such disk")
    runtime.tasks.spawn("sweep", sweep())
    return Service([Part("database")])
"""
    async with running(body) as service:
        await service.event("service_ready")
        await service.press_enter()
        assert await service.exit_code() == 1
        line = await service.event("background_task_died")
        assert line["reason"] == "background task sweep ended: ValueError: no such disk"
        assert service.printed[-1] == "stop database"


async def test_background_tasks_end_before_what_they_use() -> None:
    body = """
async def build(runtime):
    async def sweep():
        try:
            await forever()
        finally:
            print("sweep ended", flush=True)
    runtime.tasks.spawn("sweep", sweep())
    return Service([Part("database")])
"""
    async with running(body) as service:
        await service.event("service_ready")
        service.process.terminate()
        assert await service.exit_code() == 0
        assert service.printed == ["start database", "sweep ended", "stop database"]


async def test_a_part_that_does_not_stop_is_left_behind_and_named() -> None:
    body = """
async def build(runtime):
    return Service([Part("database"), Part("bus", stop=fail), Part("grpc", stop=forever)])
"""
    async with running(body, settings={"RUNSTREAM_SHUTDOWN_GRACE_SECONDS": "0.05"}) as service:
        await service.event("service_ready")
        service.process.terminate()
        assert await service.exit_code() == 0
        assert service.printed[-3:] == ["stop grpc", "stop bus", "stop database"]
        assert (await service.event("component_stop_timed_out"))["component"] == "grpc"
        assert (await service.event("component_stop_failed"))["component"] == "bus"


async def test_a_second_signal_ends_it_at_once() -> None:
    body = """
async def build(runtime):
    return Service([Part("grpc", stop=forever)])
"""
    async with running(body, settings={"RUNSTREAM_SHUTDOWN_GRACE_SECONDS": "600"}) as service:
        await service.event("service_ready")
        service.process.terminate()
        await service.line("stop grpc")
        service.process.terminate()
        assert await service.exit_code() == 128 + signal.SIGTERM


async def test_wrong_settings_are_told_and_end_with_their_own_code() -> None:
    async with running(TWO_PARTS, settings={"RUNSTREAM_GRPC_PORT": "70000"}) as service:
        assert await service.exit_code() == 2
        assert service.logged[0]["event"].startswith("test: RUNSTREAM_GRPC_PORT: ")


MIGRATING = (
    """
async def migrate(settings):
    print("migrated", flush=True)
"""
    + TWO_PARTS
)


async def test_migrate_runs_migrations_and_nothing_else() -> None:
    async with running(MIGRATING, "migrate") as service:
        assert await service.exit_code() == 0
        assert service.printed == ["migrated"]


async def test_migrations_run_at_start_only_when_asked() -> None:
    async with running(MIGRATING, settings={"RUNSTREAM_MIGRATE_ON_START": "true"}) as service:
        await service.event("service_ready")
        assert service.printed == ["migrated", "start database", "start grpc"]
    async with running(MIGRATING) as service:
        await service.event("service_ready")
        assert "migrated" not in service.printed


async def test_a_failed_migration_ends_with_a_code() -> None:
    body = "async def migrate(settings):\n    await fail()\n" + TWO_PARTS
    async with running(body, "migrate") as service:
        assert await service.exit_code() == 1
        assert (await service.event("migration_failed"))["reason"] == "ValueError: no such disk"


async def test_unknown_arguments_are_refused() -> None:
    async with running(TWO_PARTS, "mgirate") as service:
        assert await service.exit_code() == 2
        assert service.logged[0]["event"].startswith("usage:")


async def test_a_task_that_returns_too_early_is_a_death_unless_it_may() -> None:
    async def done() -> None:
        """Return at once."""

    tasks = Supervisor()
    tasks.spawn("may", done(), may_return=True)
    tasks.spawn("must not", done())
    death = await tasks.wait_for_death()
    assert isinstance(death, TaskDied)
    assert str(death) == "background task must not ended: it returned"


async def test_the_second_death_does_not_hide_the_first() -> None:
    async def dies(text: str) -> None:
        raise ValueError(text)

    tasks = Supervisor()
    tasks.spawn("first", dies("a"))
    tasks.spawn("second", dies("b"))
    await asyncio.sleep(0)  # both tasks run before anyone asks
    death = await tasks.wait_for_death()
    assert (death.name, str(death.__cause__)) == ("first", "a")
