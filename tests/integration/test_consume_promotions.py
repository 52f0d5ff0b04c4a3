"""The example consumer, which knows Kafka and nothing of this project, against a real broker."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from runstream_common.bus.factory import build_bus
from runstream_common.bus.topics import MODEL_PROMOTED

from tests.support.bus import bus_settings, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runstream_common.bus.api import Bus

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "consume_promotions.py"
SCRIPT = """\
import pathlib, sys, time
folder, model, version = pathlib.Path(sys.argv[1]), *sys.argv[2:]
with (folder / "calls").open("a") as calls:
    calls.write(f"{model} {version}\\n")
while (folder / f"hold-{version}").exists():
    time.sleep(0.01)
sys.exit((folder / f"fail-{version}").exists())
"""


class Example:
    """The example as a process, with a deployment script that notes its calls."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self.folder = folder
        script = folder / "deploy.py"
        script.write_text(SCRIPT)
        self._command = [
            str(EXAMPLE),
            *arguments,
            str(folder / "done"),
            sys.executable,
            str(script),
            str(folder),
        ]

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    async def start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(sys.executable, *self._command)


async def promote(bus: Bus, version: int, event_id: str | None = None) -> str:
    event = {"event_id": event_id or str(uuid.uuid4()), "model": "churn", "version": version}
    await bus.publish(MODEL_PROMOTED.name, "churn", json.dumps(event).encode())
    return event["event_id"]  # type: ignore[return-value]


@pytest.fixture
async def bus(kafka_bootstrap: str, topic_prefix: str) -> AsyncIterator[Bus]:
    running = build_bus(bus_settings(f"kafka://{kafka_bootstrap}", topic_prefix), [MODEL_PROMOTED])
    await running.start()
    yield running
    await running.stop()


async def test_it_runs_the_command_once_for_each_promotion_over_crashes_and_repeats(
    bus: Bus, kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    """D3: a deployment system that uses Kafka itself misses nothing and does nothing twice."""
    example = Example(
        tmp_path, [kafka_bootstrap, f"{topic_prefix}{MODEL_PROMOTED.name}", f"{topic_prefix}deployer"]
    )
    (tmp_path / "hold-2").touch()
    first = await promote(bus, 1)
    await promote(bus, 2)
    running = await example.start()
    await eventually(lambda: example.calls == ["churn 1", "churn 2"])
    running.kill()  # in the middle of the second
    await running.wait()
    (tmp_path / "hold-2").unlink()
    (tmp_path / "fail-3").touch()
    await promote(bus, 1, event_id=first)
    await promote(bus, 3)
    async with asyncio.timeout(60):
        assert await (await example.start()).wait() == 1, "it ends at a command that fails"
    (tmp_path / "fail-3").unlink()
    await promote(bus, 4)
    running = await example.start()
    await eventually(lambda: example.calls[-1:] == ["churn 4"])
    running.kill()
    await running.wait()
    # The second and the third were in hand when it ended, so they came again; the repeat of the first did not count.
    assert example.calls == ["churn 1", "churn 2", "churn 2", "churn 3", "churn 3", "churn 4"]


def test_the_page_on_consuming_shows_the_example_as_it_is() -> None:
    page = (ROOT / "docs" / "consuming-events.md").read_text()
    [shown] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    program = EXAMPLE.read_text().partition("\n\n")[2]
    assert shown == program
    assert len([line for line in program.splitlines() if line]) <= 20
