"""How a process ends: SIGTERM, an unhandled exception, sys.exit, or its last line."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Literal, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

Status = Literal["FINISHED", "FAILED", "KILLED"]

_exit_code: object = None
_watching = False


def watch_exit_code() -> None:
    """Remember what sys.exit is called with: atexit handlers are not told, and a run must not end FINISHED then.

    `raise SystemExit` past every `with` block of a run goes unnoticed; inside the block it does not.
    """
    global _watching  # noqa: PLW0603 - a fact about the process
    if _watching:
        return
    _watching = True
    original = sys.exit

    def exit_and_remember(status: Any = None, /) -> NoReturn:
        global _exit_code  # noqa: PLW0603
        # Only the main thread's exit ends the process.
        if threading.current_thread() is threading.main_thread():
            _exit_code = status
        original(status)

    sys.exit = exit_and_remember


def exit_code() -> object:
    """What the main thread called sys.exit with; None when it did not."""
    return _exit_code


def unhandled_error() -> BaseException | None:
    """The exception that ends the process, if one does; for atexit handlers."""
    return getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)


def ending_of(error: BaseException | None, code: object = None) -> tuple[Status, str]:
    """Status and reason of a run whose block or process ends so.

    Args:
        error: exception that ends it, if any.
        code: what sys.exit was called with, if it was.
    """
    if isinstance(error, SystemExit):
        code, error = error.code, None
    if error is None:
        return ("FINISHED", "") if code in {None, 0} else ("FAILED", f"exited with code {code}")
    status: Status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
    return status, "".join(traceback.format_exception_only(error)).strip()


def on_sigterm(action: Callable[[], None]) -> None:
    """Do something on SIGTERM before whatever was to be done; only in the main thread, and not if it is ignored.

    Args:
        action: called once, in a thread of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    previous = signal.getsignal(signal.SIGTERM)
    if previous in {signal.SIG_IGN, None}:  # None: a handler that Python did not set and cannot call
        return
    signal.signal(signal.SIGTERM, _Termination(action, previous).handle)


class _Termination:
    """Acts in the background and then sends the signal once more, for the handler that was there before.

    The main thread goes on meanwhile: stopped inside the handler it might hold a lock that the action needs.
    A second signal from outside is not kept waiting.
    """

    def __init__(
        self, action: Callable[[], None], previous: Callable[[int, FrameType | None], Any] | int
    ) -> None:
        self._action = action
        self._previous = previous
        self._started = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        if not self._started:
            self._started = True
            # Not threading.Thread: its start takes a lock that the interrupted code may hold.
            _thread.start_new_thread(self._act, (number,))
        elif callable(self._previous):
            self._previous(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _act(self, number: int) -> None:
        try:
            self._action()
        finally:
            os.kill(os.getpid(), number)
