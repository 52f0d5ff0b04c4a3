"""A progress bar on the terminal when the end of a process has to wait for its data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable

SHOW_AFTER_SECONDS = 1.0


class FlushProgress:
    """Shows how many points still wait, once that takes longer than a second and when standard error is a terminal.

    Args:
        waiting_points: how many points wait now.
        console: where to draw.
    """

    def __init__(self, waiting_points: Callable[[], int], console: Console | None = None) -> None:
        self._waiting_points = waiting_points
        self._console = console or Console(stderr=True)
        self._started = time.monotonic()
        self._first_points = waiting_points()
        self._progress: Progress | None = None

    def update(self) -> None:
        """Draw the state as it is."""
        if not self._console.is_terminal or time.monotonic() - self._started < SHOW_AFTER_SECONDS:
            return
        waiting = self._waiting_points()
        if self._progress is None:
            self._progress = Progress(
                TextColumn("runstream: sending"),
                BarColumn(),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f} points"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.add_task("flush", total=max(self._first_points, waiting))
            self._progress.start()
        task = self._progress.tasks[0]
        self._progress.update(task.id, completed=max((task.total or 0) - waiting, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._progress is not None:
            self._progress.stop()
