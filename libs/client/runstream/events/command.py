"""Run one command for one event: no shell, the event on its standard input, its output kept for the dead letter."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENT_VARIABLE = "RUNSTREAM_EVENT"
MAX_VARIABLE_BYTES = 96 * 1024
"""Linux takes 128 KiB for one variable; a larger event is on standard input only."""

KEPT_OUTPUT_BYTES = 4096
TERMINATE_SECONDS = 10.0
"""What a command gets between SIGTERM and SIGKILL."""

LATE_OUTPUT_SECONDS = 1.0
"""A command may leave children behind that keep its output open; they are not waited for."""

_READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended.

    Attributes:
        exit_status: its exit status; negative for the signal that ended it; None when it could not be started.
        timed_out: whether it was stopped because it took too long.
        output: the end of what it printed.
    """

    exit_status: int | None
    timed_out: bool
    output: str

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.exit_status == 0 and not self.timed_out

    @property
    def reason(self) -> str:
        """Why it failed, as a constant."""
        if self.timed_out:
            return "COMMAND_TIMED_OUT"
        return "COMMAND_FAILED" if self.exit_status is not None else "COMMAND_NOT_STARTED"

    @property
    def text(self) -> str:
        """Why it failed, for a person."""
        if self.timed_out:
            return "it took too long"
        if self.exit_status is None:
            return "it could not be started"
        if self.exit_status < 0:
            return f"it was ended by {signal.Signals(-self.exit_status).name}"
        return f"exit status {self.exit_status}"


async def run_command(
    arguments: Sequence[str], event: bytes, *, timeout_seconds: float | None
) -> CommandResult:
    """Run it to its end. When this is cancelled, the command is ended too.

    It runs in a session of its own, so that Ctrl-C reaches us and not it. What it prints goes to our standard error.

    Args:
        arguments: the program and its arguments.
        event: written to its standard input, and put into RUNSTREAM_EVENT.
        timeout_seconds: longest time it may take; None for no limit.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env=_environment(event),
        )
    except (OSError, ValueError) as error:
        return CommandResult(None, timed_out=False, output=f"{arguments[0]}: {error}")
    output = _Output()
    talking = [asyncio.create_task(_feed(process, event)), asyncio.create_task(output.follow(process))]
    timed_out = False
    try:
        async with asyncio.timeout(timeout_seconds):
            await process.wait()
    except TimeoutError:
        timed_out = True
    finally:
        await asyncio.shield(_end(process))
        await asyncio.wait(talking, timeout=LATE_OUTPUT_SECONDS)
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
    return CommandResult(process.returncode, timed_out, output.text)


class _Output:
    """The end of what a command prints; all of it is passed on as it comes."""

    def __init__(self) -> None:
        self._kept = b""

    @property
    def text(self) -> str:
        return self._kept.decode(errors="replace").strip()

    async def follow(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise RuntimeError("the process has no pipe")
        while part := await process.stdout.read(_READ_BYTES):
            self._kept = (self._kept + part)[-KEPT_OUTPUT_BYTES:]
            sys.stderr.write(part.decode(errors="replace"))
            sys.stderr.flush()


async def _feed(process: asyncio.subprocess.Process, event: bytes) -> None:
    if process.stdin is None:
        raise RuntimeError("the process has no pipe")
    # A command need not read what it is given.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(event + b"\n")
        await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the command and what it started; nothing to do when it has ended by itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), TERMINATE_SECONDS)


def _environment(event: bytes) -> dict[str, str]:
    variables = {name: text for name, text in os.environ.items() if name != EVENT_VARIABLE}
    if len(event) <= MAX_VARIABLE_BYTES and b"\x00" not in event:
        variables[EVENT_VARIABLE] = event.decode(errors="replace")
    return variables
