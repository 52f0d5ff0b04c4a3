"""Background tasks that cannot die unnoticed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


class TaskDied(Exception):
    """A background task ended although it should run as long as the service."""

    def __init__(self, name: str, cause: BaseException | None) -> None:
        why = f"{type(cause).__name__}: {cause}" if cause else "it returned"
        super().__init__(f"background task {name} ended: {why}")
        self.name = name


class Supervisor:
    """Runs background tasks; the first that ends by itself ends the service, with the reason."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], str] = {}
        self._died: asyncio.Future[TaskDied] | None = None
        self._stopping = False

    def spawn(self, name: str, work: Coroutine[Any, Any, Any], *, may_return: bool = False) -> None:
        """Run ``work`` until the service stops.

        Args:
            name: how it shows in logs.
            work: the coroutine; it is cancelled when the service stops.
            may_return: whether returning is a normal end; raising never is.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = name
        task.add_done_callback(lambda done: self._ended(done, may_return=may_return))

    async def wait_for_death(self) -> TaskDied:
        """Wait until a task ends by itself."""
        return await asyncio.shield(self._future())

    async def stop(self) -> None:
        """Cancel what runs and wait for it."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any], *, may_return: bool) -> None:
        name = self._tasks.pop(task)
        cause = None if task.cancelled() else task.exception()
        if self._stopping or (may_return and cause is None and not task.cancelled()):
            return
        death = TaskDied(name, cause)
        death.__cause__ = cause
        future = self._future()
        if not future.done():
            future.set_result(death)

    def _future(self) -> asyncio.Future[TaskDied]:
        if self._died is None:
            self._died = asyncio.get_running_loop().create_future()
        return self._died
