"""What a read waits for, so that a process that logs and then reads sees what it logged."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from runstream.client_calls import Wait

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runstream.client_calls import WaitFor
    from runstream.results import Position


def wait_of(wait_for: WaitFor, seconds: float) -> Wait:
    """What was asked for as positions.

    Args:
        wait_for: positions, or a run that is being logged; None means the active run of this process.
        seconds: longest wait.
    """
    return Wait(tuple(_positions(wait_for)), seconds)


def _positions(wait_for: WaitFor) -> Iterable[Position]:
    if wait_for is None:
        wait_for = _active_run()
    if wait_for is None:
        return ()
    return wait_for if not hasattr(wait_for, "positions") else wait_for.positions()


def _active_run() -> WaitFor:
    # Reading does not load the logging half; without it no run is active.
    logging_half = sys.modules.get("runstream.run")
    return None if logging_half is None else logging_half.active_run()
