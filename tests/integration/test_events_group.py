"""`runstream events tail --group` against running services, on both transports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from runstream_common.bus.factory import build_bus
from runstream_common.bus.topics import MODEL_PROMOTED

from tests.support.bus import bus_settings, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runstream_common.bus.api import Bus

    from tests.support.service_stack import ServiceStack

WAIT_SECONDS = 60.0

SCRIPT = """\
import json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
event = json.load(sys.stdin)
assert event == json.loads(os.environ["RUNSTREAM_EVENT"])
with (folder / "calls").open("a") as calls:
    calls.write(" ".join(sys.argv[2:]) + "\\n")
hold = folder / f"hold-{event['version']}"
while hold.exists():
    time.sleep(0.01)
fail = folder / f"fail-{event['version']}"
if fail.exists():
    left = int(fail.read_text())
    fail.write_text(str(left - 1))
    if left > 0:
        print("no room on the target")
        sys.exit(3)
"""


class Tail:
    """A running `runstream events tail`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def event(self) -> dict[str, Any]:
        """The next line of its output."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            line = await self.process.stdout.readline()
        assert line, "it ended"
        document: dict[str, Any] = json.loads(line)
        return document

    async def said(self, text: str) -> None:
        """Wait for something on its standard error."""
        assert self.process.stderr is not None
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                line = await self.process.stderr.readline()
                assert line, "it ended"
                if text in line.decode():
                    return

    async def ended(self) -> int:
        """Its exit code."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


class Shell:
    """Publishes promotions and runs the command line, under a group of this test alone."""

    def __init__(
        self, bus: Bus, stack: ServiceStack, folder: Path, stopping: contextlib.AsyncExitStack
    ) -> None:
        self.bus = bus
        self.group = f"deployer-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self._stack = stack
        self._stopping = stopping
        (folder / "deploy.py").write_text(SCRIPT)

    @property
    def deploy(self) -> str:
        return f"{sys.executable} {self.folder / 'deploy.py'} {self.folder} {{model}} {{version}} {{metrics.val.acc}}"

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    async def promote(self, version: int, model: str = "churn") -> None:
        event = {
            "event_id": str(uuid.uuid4()),
            "model": model,
            "version": version,
            "metrics": {"val.acc": 0.5},
        }
        value = json.dumps(event).encode()
        await self.bus.publish(MODEL_PROMOTED.name, model, value, {"content-type": "application/json"})

    async def run(self, *arguments: str) -> Tail:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("runstream")),
            "events",
            *arguments,
            "--url",
            self._stack.metadata.target,
            "--json",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._stopping.push_async_callback(_end, process)
        return Tail(process)

    async def tail(self, *options: str) -> Tail:
        return await self.run("tail", MODEL_PROMOTED.name, "--group", self.group, *options)

    async def joined(self, *options: str) -> Tail:
        """A first member, which has joined."""
        tail = await self.tail(*options)
        await tail.said("is new")
        return tail


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


@pytest.fixture
async def shell(stack: ServiceStack, tmp_path: Path) -> AsyncIterator[Shell]:
    bus = build_bus(bus_settings(stack.bus_url, stack.topic_prefix))
    async with contextlib.AsyncExitStack() as stopping:
        await bus.start()
        stopping.push_async_callback(bus.stop)
        yield Shell(bus, stack, tmp_path, stopping)


async def test_a_command_that_fails_is_tried_again_and_the_event_counts_when_it_succeeds(
    shell: Shell,
) -> None:
    """D3: a deployment runs for every promotion."""
    (shell.folder / "fail-1").write_text("2")
    tail = await shell.joined("--exec", shell.deploy, "--retry-delay", "0.01", "--limit", "2")
    await shell.promote(1)
    await shell.promote(2)
    first, second = await tail.event(), await tail.event()
    assert (first["value"]["version"], first["outcome"], first["attempts"]) == (1, "done", 3)
    assert (second["value"]["version"], second["outcome"], second["attempts"]) == (2, "done", 1)
    assert await tail.ended() == 0
    assert shell.calls == ["churn 1 0.5"] * 3 + ["churn 2 0.5"]


async def test_an_event_that_cannot_be_handled_is_a_dead_letter_with_what_the_command_said(
    shell: Shell,
) -> None:
    (shell.folder / "fail-1").write_text("99")
    tail = await shell.joined(
        "--exec", shell.deploy, "--retries", "1", "--retry-delay", "0.01", "--limit", "2"
    )
    await shell.promote(1)
    await shell.promote(2)
    first, second = await tail.event(), await tail.event()
    assert (first["outcome"], first["reason"], first["exit_status"]) == ("dead-letter", "COMMAND_FAILED", 3)
    assert second["outcome"] == "done"
    assert await tail.ended() == 0
    [letter] = await shell.bus.list_dead_letters(MODEL_PROMOTED.name, shell.group)
    assert (letter.reason, letter.attempts) == ("COMMAND_FAILED", 2)
    assert "exit status 3; it said: no room on the target" in letter.error


async def test_stopping_on_failure_leaves_the_event_to_the_next(shell: Shell) -> None:
    (shell.folder / "fail-1").write_text("1")
    options = ("--exec", shell.deploy, "--retries", "0", "--stop-on-failure", "--limit", "1")
    tail = await shell.joined(*options)
    await shell.promote(1)
    assert await tail.ended() == 1
    again = await shell.tail(*options)
    assert (await again.event())["outcome"] == "done"
    assert await again.ended() == 0


async def test_a_killed_member_s_event_comes_again(shell: Shell) -> None:
    (shell.folder / "hold-1").touch()
    tail = await shell.joined("--exec", shell.deploy)
    await shell.promote(1)
    await eventually(lambda: shell.calls == ["churn 1 0.5"])
    tail.process.kill()
    await tail.process.wait()
    again = await shell.tail("--exec", shell.deploy, "--limit", "1")
    await eventually(lambda: len(shell.calls) == 2)
    (shell.folder / "hold-1").unlink()
    assert (await again.event())["value"]["version"] == 1
    assert await again.ended() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_signal_lets_the_command_in_hand_finish(shell: Shell, number: int, code: int) -> None:
    (shell.folder / "hold-1").touch()
    tail = await shell.joined("--exec", shell.deploy)
    await shell.promote(1)
    await shell.promote(2)
    await eventually(lambda: bool(shell.calls))
    tail.process.send_signal(number)
    await tail.said("finishing the command in hand")
    (shell.folder / "hold-1").unlink()
    assert (await tail.event())["outcome"] == "done"
    assert await tail.ended() == code
    again = await shell.tail("--limit", "1")
    assert (await again.event())["value"]["version"] == 2, "the first one counted"


async def test_a_second_signal_ends_the_command_and_the_event_comes_again(shell: Shell) -> None:
    (shell.folder / "hold-1").touch()
    tail = await shell.joined("--exec", shell.deploy)
    await shell.promote(1)
    await eventually(lambda: bool(shell.calls))
    tail.process.send_signal(signal.SIGINT)
    await tail.said("finishing the command in hand")
    tail.process.send_signal(signal.SIGINT)
    assert await tail.ended() == 130
    again = await shell.tail("--limit", "1")
    assert (await again.event())["value"]["version"] == 1


async def test_a_command_that_takes_too_long_is_ended(shell: Shell) -> None:
    (shell.folder / "hold-1").touch()
    tail = await shell.joined("--exec", shell.deploy, "--timeout", "0.5", "--retries", "0", "--limit", "1")
    await shell.promote(1)
    assert (await tail.event())["reason"] == "COMMAND_TIMED_OUT"
    assert await tail.ended() == 0


async def test_a_restarted_service_is_found_again_and_nothing_is_done_twice(
    shell: Shell, stack: ServiceStack
) -> None:
    (shell.folder / "hold-1").touch()
    tail = await shell.joined("--exec", shell.deploy, "--limit", "3")
    await shell.promote(1)
    await eventually(lambda: bool(shell.calls))
    stack.metadata.kill()
    (shell.folder / "hold-1").unlink()
    assert (await tail.event())["outcome"] == "done"
    stack.recover()
    await shell.promote(2)
    await shell.promote(3)
    assert [(await tail.event())["value"]["version"] for _ in range(2)] == [2, 3]
    assert await tail.ended() == 0
    assert shell.calls == ["churn 1 0.5", "churn 2 0.5", "churn 3 0.5"]


async def test_events_are_printed_and_acknowledged_without_a_command(shell: Shell) -> None:
    tail = await shell.joined("--limit", "1")
    await shell.promote(1)
    assert (await tail.event())["value"]["version"] == 1
    assert await tail.ended() == 0
    deleted = await shell.run("groups", "delete", MODEL_PROMOTED.name, shell.group)
    assert (await deleted.event())["deleted"] is True
    assert await deleted.ended() == 0
    assert await (await shell.run("groups", "delete", MODEL_PROMOTED.name, shell.group)).ended() == 3


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--exec", "true {modle}"), "modle"),
        (("--exec", "true {model.name}"), "model.name"),
        (("--exec", "true {"), "brace"),
        (("--exec", "no-such-command {model}"), "no-such-command"),
    ],
)
async def test_a_wrong_command_is_refused_before_anything_is_consumed(
    shell: Shell, options: tuple[str, ...], complaint: str
) -> None:
    tail = await shell.tail(*options)
    await tail.said(complaint)
    assert await tail.ended() == 2
