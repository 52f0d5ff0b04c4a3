"""Commands for events, run as real processes."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from runstream.events.command import EVENT_VARIABLE, MAX_VARIABLE_BYTES, run_command

from tests.support.bus import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from runstream.events.command import CommandResult

EVENT = json.dumps({"model": "churn"}).encode()


async def python(code: str, event: bytes = EVENT, timeout_seconds: float | None = None) -> CommandResult:
    return await run_command([sys.executable, "-c", code], event, timeout_seconds=timeout_seconds)


async def test_the_event_is_on_standard_input_and_in_the_environment() -> None:
    code = f"import os, sys; text = sys.stdin.read(); print(text == os.environ['{EVENT_VARIABLE}'] + '\\n', text)"
    result = await python(code)
    assert result.ok
    assert result.output == f"True {EVENT.decode()}"


async def test_a_large_event_is_on_standard_input_only() -> None:
    code = f"import os, sys; print(len(sys.stdin.read()), '{EVENT_VARIABLE}' in os.environ)"
    result = await python(code, b"x" * (MAX_VARIABLE_BYTES + 1))
    assert result.output == f"{MAX_VARIABLE_BYTES + 2} False"


async def test_a_command_need_not_read_its_input() -> None:
    assert (await python("pass", b"x" * 1_000_000)).ok


async def test_a_failure_tells_its_status_and_the_end_of_the_output(
    capfd: pytest.CaptureFixture[str],
) -> None:
    result = await python(
        "import sys; print('x' * 100_000); print('disk full', file=sys.stderr); sys.exit(3)"
    )
    assert (result.ok, result.exit_status, result.reason, result.text) == (
        False,
        3,
        "COMMAND_FAILED",
        "exit status 3",
    )
    assert result.output.endswith("disk full")
    assert len(result.output) <= 4096
    told = capfd.readouterr()
    assert told.out == "", "our own output has a line an event and nothing else"
    assert len(told.err) > 100_000


async def test_a_command_that_is_not_there_or_ends_by_a_signal() -> None:
    missing = await run_command(["no-such-command"], EVENT, timeout_seconds=None)
    assert (missing.ok, missing.reason, missing.exit_status) == (False, "COMMAND_NOT_STARTED", None)
    killed = await python("import os; os.kill(os.getpid(), 9)")
    assert (killed.ok, killed.text) == (False, "it was ended by SIGKILL")


async def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    code = (
        "import pathlib, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    result = await python(code, timeout_seconds=2.0)
    assert (result.ok, result.reason) == (False, "COMMAND_TIMED_OUT")
    if (tmp_path / "pid").exists():
        await eventually(lambda: not _lives(int((tmp_path / "pid").read_text())))


async def test_a_cancelled_command_is_ended(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    running = asyncio.create_task(python(code))
    await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not _lives(int((tmp_path / "pid").read_text()))


def _lives(pid: int) -> bool:
    # A zombie whose parent is gone waits for init and does nothing any more.
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
