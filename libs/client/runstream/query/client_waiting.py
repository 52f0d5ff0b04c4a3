"""What a read waits for, so that a process that logs and then reads sees what it logged."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from runstream.query.client_calls import Wait

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runstream.query.client_calls import WaitFor
    from runstream.query.results import Position


def wait_of(wait_for: WaitFor, seconds: float, target: str) -> Wait:
    """What was asked for as positions.

    Args:
        wait_for: positions, a run that is being logged, or what its `flush` returned; None means everything that the
            same server has acknowledged to this process.
        seconds: longest wait.
        target: address that the reader was given.
    """
    if wait_for is not None:
        return Wait(tuple(_positions(wait_for)), seconds)
    fluent = _logging_half()
    if fluent is None or fluent.server_target() != target:
        return Wait((), seconds)
    return Wait(tuple(fluent.written_positions()), seconds)


def default_url(url: str | None) -> str | None:
    """The given address, or else the one that this process logs to, so that `init` counts for reading too."""
    fluent = _logging_half()
    return url if url is not None or fluent is None else fluent.server_target()


def _logging_half() -> Any:
    # Reading alone does not load it; without it nothing was logged.
    return sys.modules.get("runstream.tracking.fluent")


def _positions(wait_for: Any) -> Iterable[Position]:
    found = getattr(wait_for, "positions", wait_for)
    positions: Iterable[Position] = found() if callable(found) else found
    return positions
