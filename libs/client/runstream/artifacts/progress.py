"""How far a transfer is, for a terminal or for whoever asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


@dataclass(frozen=True, slots=True)
class TransferState:
    """How far a transfer is.

    Attributes:
        label: what is done, such as "uploading".
        done_files: files that are finished.
        total_files: files known so far.
        done_bytes: bytes that are finished, or were there already.
        total_bytes: bytes known so far.
    """

    label: str
    done_files: int = 0
    total_files: int = 0
    done_bytes: int = 0
    total_bytes: int = 0


SHOW_AFTER_SECONDS = 0.5
"""A bar for what takes less would only flicker."""

Observer: TypeAlias = Callable[[TransferState], None]
Progress: TypeAlias = bool | Observer | None
"""True draws a bar, False nothing, None a bar if standard error is a terminal; or a function told of every step."""


class Meter:
    """Counts a transfer's steps; thread-safe. A context manager.

    Args:
        label: what is done.
        progress: who is told.
    """

    def __init__(self, label: str, progress: Progress) -> None:
        self._lock = threading.Lock()
        self._state = TransferState(label)
        self._bar = None if callable(progress) or progress is False else Bar.on_stderr(forced=bool(progress))
        self._observer: Observer | None = progress if callable(progress) else None
        if self._bar is not None:
            self._observer = self._bar.update

    @property
    def state(self) -> TransferState:
        """How far it is."""
        return self._state

    def add(self, *, files: int = 0, size_bytes: int = 0) -> None:
        """More to do has become known."""
        self._change(total_files=files, total_bytes=size_bytes)

    def advance(self, size_bytes: int) -> None:
        """Bytes are done; a negative number when they have to be done again."""
        self._change(done_bytes=size_bytes)

    def finish(self, files: int = 1) -> None:
        """Files are done."""
        self._change(done_files=files)

    def _change(self, **more: int) -> None:
        with self._lock:
            added = {name: getattr(self._state, name) + count for name, count in more.items()}
            self._state = replace(self._state, **added)
            if self._observer is not None:
                self._observer(self._state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._bar is not None:
            self._bar.close()


class Bar:
    """A bar on standard error, once the transfer takes a while; gone when it ends."""

    def __init__(self, drawing: RichProgress) -> None:
        self._drawing = drawing
        self._show_at = time.monotonic() + SHOW_AFTER_SECONDS
        self._started = False

    @classmethod
    def on_stderr(cls, *, forced: bool) -> Bar | None:
        """A bar; None when standard error is no terminal and it is not forced."""
        from rich.console import Console  # noqa: PLC0415 - logging metrics does not pay for it
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        console = Console(stderr=True)
        if not forced and not console.is_terminal:
            return None
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TextColumn("{task.fields[files]}"),
            TimeRemainingColumn(),
        )
        return cls(RichProgress(*columns, console=console, transient=True))

    def update(self, state: TransferState) -> None:
        """Draw a state."""
        if not self._started:
            if time.monotonic() < self._show_at:
                return
            self._start(state.label)
        if not self._started:
            return
        self._drawing.update(
            self._drawing.tasks[0].id,
            completed=state.done_bytes,
            total=state.total_bytes,
            files=f"{state.done_files:,}/{state.total_files:,} files",
        )

    def _start(self, label: str) -> None:
        from rich.errors import LiveError  # noqa: PLC0415

        self._drawing.add_task(label, total=0, files="")
        try:
            self._drawing.start()
        except LiveError:
            # The program draws something of its own, which must go on; try again when that may be over.
            self._drawing.remove_task(self._drawing.tasks[0].id)
            self._show_at = time.monotonic() + SHOW_AFTER_SECONDS
            return
        self._started = True

    def close(self) -> None:
        """Take it away."""
        if self._started:
            self._drawing.stop()
