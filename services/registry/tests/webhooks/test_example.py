"""The documented receiver, run as it stands."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import time
from pathlib import Path

import pytest
from runstream_registry.webhooks.signatures import signed_headers

from services.registry.tests.webhooks.support import CREATED, DEADLINE_SECONDS, tell

ROOT = Path(__file__).parents[4]
EXAMPLE = ROOT / "examples" / "webhook_receiver.py"
SECRET = "a secret of enough length"


@pytest.fixture
async def example():
    """URL of the running example, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        env={**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert process.returncode is None
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
    yield f"http://127.0.0.1:{port}/hook", process
    process.kill()
    await process.wait()


async def test_it_takes_what_is_signed_and_nothing_else(database, parts, register, start_worker, example):
    url, process = example
    await register(url, secret=SECRET)
    start_worker()
    await tell(database, CREATED)

    line = await asyncio.wait_for(process.stdout.readline(), DEADLINE_SECONDS)
    forged = await parts.sender.send(url, signed_headers(["another secret"], "id", "1700000000", "{}"), "{}")
    replayed = await parts.sender.send(url, signed_headers([SECRET], "id", "1700000000", "{}"), "{}")
    unsigned = await parts.sender.send(url, {}, "{}")

    assert b'"entity": "model_version"' in line
    assert (forged.status, replayed.status, unsigned.status) == (401, 400, 401)


async def test_it_takes_both_secrets_while_they_overlap_and_a_repeat_once(parts, example):
    url, process = example
    now = str(int(time.time()))
    for secrets in (["another secret", SECRET], [SECRET, "another secret"]):
        answer = await parts.sender.send(url, signed_headers(secrets, "same", now, '{"n": 1}'), '{"n": 1}')
        assert answer.status == 204
    await parts.sender.send(url, signed_headers([SECRET], "next", now, '{"n": 2}'), '{"n": 2}')

    lines = [await asyncio.wait_for(process.stdout.readline(), DEADLINE_SECONDS) for _ in range(2)]
    assert lines == [b'{"n": 1}\n', b'{"n": 2}\n']


def test_the_page_on_webhooks_shows_the_example_as_it_is():
    page = (ROOT / "docs" / "webhooks.md").read_text()
    [shown] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown == EXAMPLE.read_text().partition("\n\n")[2]
