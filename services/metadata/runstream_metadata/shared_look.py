"""One look at something for all who want it at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class SharedLook(Generic[T]):
    """Lets concurrent callers share a look, such that each gets one that began after it had asked.

    At most one look is under way; whoever asks meanwhile shares the next one, since the one under way may have missed
    what was written before the question.

    Args:
        look: takes a look.
    """

    def __init__(self, look: Callable[[], Awaitable[T]]) -> None:
        self._look = look
        self._under_way: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """What a look saw that began after this call. Raises what the look raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._under_way))
            self._next.add_done_callback(_retrieve)
        # A caller that is cancelled must not cancel the others' look.
        return await asyncio.shield(self._next)

    async def _after(self, under_way: asyncio.Task[T] | None) -> T:
        if under_way is not None:
            await asyncio.wait([under_way])
        self._under_way, self._next = self._next, None
        return await self._look()


def _retrieve(task: asyncio.Task[T]) -> None:
    # Those who waited have the error; if all have left, nobody needs it.
    if not task.cancelled():
        task.exception()
