"""Gathers calls that come at the same time into one: what a service does once for many costs little for each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")


class Batcher(Generic[ItemT, AnswerT]):
    """Sends items in batches; while batches are on their way, the next one gathers.

    A lone item leaves at once, so nothing waits for company.

    Args:
        send: sends a batch; answers in the order of the items, an exception for an item that failed. An exception that it
            raises goes to every item of the batch.
        max_items: most items of one batch.
        max_in_flight: batches on their way at once.
        size_of: bytes of an item; None when only their number counts.
        max_bytes: most bytes of one batch; an item that is larger goes alone.
    """

    def __init__(
        self,
        send: Callable[[Sequence[ItemT]], Awaitable[Sequence[AnswerT | Exception]]],
        *,
        max_items: int = 1_000,
        max_in_flight: int = 1,
        size_of: Callable[[ItemT], int] | None = None,
        max_bytes: int = 0,
    ) -> None:
        self._send = send
        self._size_of = size_of
        self._max_bytes = max_bytes
        self._max_items = max_items
        self._max_in_flight = max_in_flight
        self._waiting: list[tuple[ItemT, asyncio.Future[AnswerT]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def call(self, item: ItemT) -> AnswerT:
        """The answer for one item.

        Raises:
            Exception: what became of this item, or of its whole batch.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[AnswerT] = loop.create_future()
        self._waiting.append((item, future))
        if not self._scheduled and len(self._tasks) < self._max_in_flight:
            self._scheduled = True
            # In the loop's next round, so that whatever is ready now goes along.
            loop.call_soon(self._start)
        return await future

    def _start(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._tasks) < self._max_in_flight:
            count = self._count_that_fits()
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
            task = asyncio.create_task(self._deliver(batch))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _count_that_fits(self) -> int:
        most = min(len(self._waiting), self._max_items)
        if self._size_of is None:
            return most
        total_bytes = 0
        for index in range(most):
            total_bytes += self._size_of(self._waiting[index][0])
            if total_bytes > self._max_bytes:
                return max(index, 1)
        return most

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._waiting:
            self._start()

    async def _deliver(self, batch: list[tuple[ItemT, asyncio.Future[AnswerT]]]) -> None:
        # Callers that left meanwhile are not sent for.
        batch = [(item, future) for item, future in batch if not future.done()]
        if not batch:
            return
        try:
            answers = await self._send([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - handed to every caller
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
