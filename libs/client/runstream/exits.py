"""How a process ends: SIGTERM, an unhandled exception, sys.exit, or its last line."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

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


def on_sigterm(action: Callable[[], None]) -> None:
    """Do something on SIGTERM before whatever was to be done; only in the main thread, and not if it is ignored.

    Args:
        action: called in the signal handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    previous = signal.getsignal(signal.SIGTERM)
    if previous in {signal.SIG_IGN, None}:  # None: a handler that Python did not set and cannot call
        return

    def handle(number: int, frame: FrameType | None) -> None:
        action()
        if callable(previous):
            previous(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, handle)
