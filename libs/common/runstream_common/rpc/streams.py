"""The streams in progress, so that a stopping server can end them instead of waiting for their clients."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from runstream_common.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRY_AFTER_SECONDS = 0.5
"""Another replica takes the stream at once; a restart of the only one takes about this long."""


class OpenStreams:
    """The tasks of streaming calls, by whether their client sends a stream too."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], bool] = {}
        self._ended: set[asyncio.Task[Any]] = set()

    @contextlib.contextmanager
    def track(self, *, request_streaming: bool) -> Iterator[None]:
        """Count the current task as a stream while the block runs.

        Raises:
            Unavailable: ``end`` cancelled it; a cancellation by anyone else passes unchanged.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call runs in a task")
        self._tasks[task] = request_streaming
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            task.uncancel()
            raise Unavailable(
                "the server is stopping", reason="SERVER_STOPPING", retry_after_seconds=RETRY_AFTER_SECONDS
            ) from None
        finally:
            del self._tasks[task]
            self._ended.discard(task)

    def end(self, *, request_streaming: bool) -> None:
        """Cancel the streams of one kind; their clients are told UNAVAILABLE and when to come back."""
        for task, kind in self._tasks.items():
            if kind == request_streaming and task not in self._ended:
                self._ended.add(task)
                task.cancel()
