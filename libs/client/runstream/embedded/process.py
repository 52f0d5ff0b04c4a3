"""One supervised service process: started, watched, started again when it dies, stopped in order."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable

from runstream.embedded.services import ServiceSpec

RESTART_DELAYS_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_SECONDS = 60.0
"""A process that ran this long starts again with the first delay."""
LINE_LIMIT_BYTES = 1024 * 1024
START_ATTEMPTS = 3
"""A service that ends this often before it was ready has something to say that waiting will not change."""
KEPT_LINES = 5

LogLine = Callable[[str, str], None]
"""Takes the service's name and one line of its log."""


class ServiceFailed(RuntimeError):
    """A service did not become ready."""


class ServiceProcess:
    """Runs one service until told to stop.

    Args:
        spec: what to run.
        log_line: where its log lines go.
        on_start: called with the name and pid whenever a process has been started.
    """

    def __init__(self, spec: ServiceSpec, log_line: LogLine, on_start: Callable[[str, int], None]) -> None:
        self.spec = spec
        self._log_line = log_line
        self._on_start = on_start
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._failures = 0
        self._last_lines: deque[str] = deque(maxlen=KEPT_LINES)

    async def run(self) -> None:
        """Keep the service running until `stop`."""
        while not self._stopping:
            started = time.monotonic()
            status = await self._run_once()
            if self._stopping:
                return
            if time.monotonic() - started > STEADY_SECONDS:
                self._failures = 0
            delay = RESTART_DELAYS_SECONDS[min(self._failures, len(RESTART_DELAYS_SECONDS) - 1)]
            self._failures += 1
            self._log_line(
                "up", f"{self.spec.name} ended with {_status_text(status)}; starting it again in {delay:g} s"
            )
            await asyncio.sleep(delay)

    async def _run_once(self) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.spec.module,
            env={**os.environ, **self.spec.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_LIMIT_BYTES,
            # Ctrl-C goes to the supervisor alone, which stops the services in order.
            start_new_session=True,
        )
        self._process = process
        self._on_start(self.spec.name, process.pid)
        if process.stdout is None:
            raise AssertionError("stdout was asked for as a pipe")
        await self._pump(process.stdout)
        return await process.wait()

    async def _pump(self, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                self._log_line(self.spec.name, f"(a line longer than {LINE_LIMIT_BYTES} bytes was left out)")
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            self._last_lines.append(text)
            self._log_line(self.spec.name, text)

    async def wait_ready(self, timeout_seconds: float) -> None:
        """Return when the service says it is ready.

        Raises:
            ServiceFailed: it does not within the time, or ends again and again; the text holds its failing checks or
                its last words.
        """
        deadline = time.monotonic() + timeout_seconds
        url = f"http://{self.spec.environment['RUNSTREAM_ADMIN_HOST']}:{self.spec.admin_port}/readyz"
        answer = "it has not answered"
        while time.monotonic() < deadline:
            ready, answer = await asyncio.to_thread(_probe, url)
            if ready:
                return
            if self._failures >= START_ATTEMPTS:
                words = "\n".join(self._last_lines)
                raise ServiceFailed(f"{self.spec.name} ended {self._failures} times while starting:\n{words}")
            await asyncio.sleep(0.05)
        raise ServiceFailed(f"{self.spec.name} is not ready after {timeout_seconds:g} s: {answer}")

    def kill(self) -> None:
        """End the service with SIGKILL; `stop` then has nothing to wait for."""
        self._stopping = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self, grace_seconds: float) -> None:
        """End the service: SIGTERM, then SIGKILL when it takes longer than the grace period."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), grace_seconds)
        except TimeoutError:
            self._log_line("up", f"{self.spec.name} did not stop within {grace_seconds:g} s; killing it")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _probe(url: str) -> tuple[bool, str]:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own http:// address
            return answer.status == 200, ""
    except urllib.error.HTTPError as error:
        return False, _checks_text(error.read())
    except OSError as error:
        return False, str(error)


def _checks_text(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body))
    except ValueError:
        return body.decode(errors="replace")[:500]


def _status_text(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
