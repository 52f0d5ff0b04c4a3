"""A supervised service: started again when it dies, given up when it cannot start, ended within its grace period."""

from __future__ import annotations

import asyncio
import os
import signal
import textwrap
from pathlib import Path

import pytest
from runstream.embedded.ports import free_port
from runstream.embedded.process import ServiceFailed, ServiceProcess
from runstream.embedded.services import ServiceSpec

READY = """
    import http.server, os, signal, sys
    {prelude}
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response({status})
            self.end_headers()
            self.wfile.write(b'{{"checks": {{"bus": "away"}}}}')
        def log_message(self, *_):
            pass
    print("listening", flush=True)
    http.server.HTTPServer(("127.0.0.1", int(os.environ["RUNSTREAM_ADMIN_PORT"])), Handler).serve_forever()
"""


class Watched:
    """A service made of a module of its own, with what it said and the pids that it had."""

    def __init__(self, folder: Path, source: str) -> None:
        (folder / "service_under_test.py").write_text(textwrap.dedent(source))
        port = free_port()
        environment = {
            "RUNSTREAM_ADMIN_HOST": "127.0.0.1",
            "RUNSTREAM_ADMIN_PORT": str(port),
            "PYTHONPATH": str(folder),
        }
        self.lines: list[tuple[str, str]] = []
        self.pids: list[int] = []
        self.started = asyncio.Queue[int]()
        self.service = ServiceProcess(
            ServiceSpec("tested", "service_under_test", 0, port, environment),
            lambda name, text: self.lines.append((name, text)),
            self._on_start,
        )

    def _on_start(self, _name: str, pid: int) -> None:
        self.pids.append(pid)
        self.started.put_nowait(pid)


async def test_killed_service_is_started_again(tmp_path: Path) -> None:
    watched = Watched(tmp_path, READY.format(prelude="", status=200))
    running = asyncio.create_task(watched.service.run())
    first = await watched.started.get()
    await watched.service.wait_ready(30)
    os.kill(first, signal.SIGKILL)
    second = await watched.started.get()
    await watched.service.wait_ready(30)
    assert second != first
    assert ("up", "tested ended with signal SIGKILL; starting it again in 0.5 s") in watched.lines
    await watched.service.stop(10)
    await running
    assert watched.pids == [first, second]
    assert ("tested", "listening") in watched.lines


async def test_service_that_cannot_start_fails_with_its_last_words(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "raise SystemExit('RUNSTREAM_BUS_URL: Field required')")
    running = asyncio.create_task(watched.service.run())
    with pytest.raises(ServiceFailed, match=r"ended 3 times while starting:\n(?s:.*)BUS_URL: Field required"):
        await watched.service.wait_ready(60)
    running.cancel()


async def test_service_that_is_not_ready_fails_with_its_checks(tmp_path: Path) -> None:
    watched = Watched(tmp_path, READY.format(prelude="", status=503))
    running = asyncio.create_task(watched.service.run())
    await watched.started.get()
    with pytest.raises(ServiceFailed, match=r"bus.*away"):
        await watched.service.wait_ready(3)
    await watched.service.stop(10)
    await running


async def test_service_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    watched = Watched(tmp_path, READY.format(prelude=deaf, status=200))
    running = asyncio.create_task(watched.service.run())
    await watched.service.wait_ready(30)
    await watched.service.stop(0.2)
    await running
    assert ("up", "tested did not stop within 0.2 s; killing it") in watched.lines


async def test_line_of_any_length_and_any_bytes_gets_into_the_log(tmp_path: Path) -> None:
    source = r"""
        import sys
        sys.stdout.buffer.write(b"x" * 3_000_000 + b"\n" + b"\xff after\n")
    """
    watched = Watched(tmp_path, source)
    running = asyncio.create_task(watched.service.run())
    with pytest.raises(ServiceFailed):
        await watched.service.wait_ready(60)
    running.cancel()
    texts = [text for name, text in watched.lines if name == "tested"]
    assert "(a line longer than 1048576 bytes was left out)" in texts
    assert "\ufffd after" in texts
