"""What a running stack leaves in its data directory for `down`, `status` and the next start."""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

STATE_FILE = "stack.json"
LOCK_FILE = "stack.lock"
LOG_FILE = "logs/runstream.log"
DYING_SECONDS = 5.0
"""Longest wait for the lock of a supervisor that was killed and is not quite gone."""
POLL_SECONDS = 0.02


class StackRunning(RuntimeError):
    """Another stack works in the same data directory."""


@dataclass(frozen=True, slots=True)
class ProcessRef:
    """A process that can be told from a later one with the same pid.

    Attributes:
        pid: process id.
        create_time: start time in seconds since the Unix epoch, as psutil reports it.
    """

    pid: int
    create_time: float

    @classmethod
    def of(cls, pid: int) -> "ProcessRef":
        """Reference to a process that runs now."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process, or None when it has ended."""
        try:
            process = psutil.Process(self.pid)
            alive = process.create_time() == self.create_time and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive else None


@dataclass(slots=True)
class StackState:
    """A stack as its state file describes it.

    Attributes:
        supervisor: the process that holds the stack.
        url: the one address for clients.
        ready: whether every service was ready when the file was written.
        services: process of each service.
    """

    supervisor: ProcessRef
    url: str
    ready: bool = False
    services: dict[str, ProcessRef] = field(default_factory=dict)

    def write(self, data_dir: Path) -> None:
        """Replace the state file in one step."""
        target = data_dir / STATE_FILE
        staging = target.with_suffix(".new")
        staging.write_text(json.dumps(asdict(self), indent=1))
        staging.replace(target)


def read_state(data_dir: Path) -> StackState | None:
    """The state file's content; None when there is none."""
    try:
        raw = json.loads((data_dir / STATE_FILE).read_text())
    except FileNotFoundError:
        return None
    services = {name: ProcessRef(**ref) for name, ref in raw["services"].items()}
    return StackState(ProcessRef(**raw["supervisor"]), raw["url"], raw["ready"], services)


@contextmanager
def exclusive(data_dir: Path) -> Iterator[None]:
    """Hold the data directory; the lock goes with the process, however it ends.

    Raises:
        StackRunning: another process holds it.
    """
    handle = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + DYING_SECONDS
        while not _try_lock(handle):
            state = read_state(data_dir)
            # The threads of a killed process end one by one, and the last one takes the lock along.
            dying = state is not None and state.supervisor.process() is None
            if not dying or time.monotonic() > deadline:
                raise StackRunning(_running_text(state, data_dir))
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _running_text(state: StackState | None, data_dir: Path) -> str:
    where = f" at {state.url} (pid {state.supervisor.pid})" if state else ""
    return (
        f"a stack already runs{where} with data in {data_dir}. Use it, choose another folder with --data-dir, "
        f"or stop it with: runstream down --data-dir {data_dir}"
    )


def end_leftovers(state: StackState, *, timeout_seconds: float = 10.0) -> bool:
    """End services whose supervisor was killed; call it while holding the data directory. False: there were none."""
    found = [ref for ref in state.services.values() if ref.process() is not None]
    _signal_and_wait(found, signal.SIGTERM, timeout_seconds)
    _signal_and_wait(found, signal.SIGKILL, timeout_seconds)
    return bool(found)


def _signal_and_wait(refs: list[ProcessRef], number: signal.Signals, timeout_seconds: float) -> None:
    for process in filter(None, (ref.process() for ref in refs)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    deadline = time.monotonic() + timeout_seconds
    # Not psutil's own wait: that waits for zombies too, which only their parent can end.
    while any(ref.process() is not None for ref in refs) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
