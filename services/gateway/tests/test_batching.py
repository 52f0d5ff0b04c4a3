"""Calls that come together leave together."""

import asyncio
from collections.abc import Sequence

import pytest
from runstream_gateway.batching import Batcher


class Sender:
    """Notes the batches; answers the double of a number, an error for a negative one, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        await self.gate.wait()
        return [ValueError(str(item)) if item < 0 else item * 2 for item in items]


async def settled(batcher: Batcher[int, int], items: Sequence[int]) -> list[asyncio.Task[int]]:
    """Tasks that wait for the items, each far enough to have asked."""
    tasks = [asyncio.create_task(batcher.call(item)) for item in items]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_what_comes_while_a_batch_is_on_its_way_leaves_together() -> None:
    sender = Sender()
    batcher = Batcher(sender)
    tasks = await settled(batcher, [1])
    tasks += await settled(batcher, [2, 3, 4])
    sender.gate.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
    assert sender.batches == [[1], [2, 3, 4]]


async def test_batches_are_bounded_in_number_and_bytes() -> None:
    sender = Sender()
    sender.gate.set()
    few = Batcher(sender, max_items=2)
    assert await asyncio.gather(*await settled(few, [1, 2, 3])) == [2, 4, 6]
    assert sender.batches == [[1, 2], [3]]
    sender.batches.clear()
    small = Batcher(sender, size_of=abs, max_bytes=10)
    assert await asyncio.gather(*await settled(small, [4, 5, 2, 30, 1])) == [8, 10, 4, 60, 2]
    assert sender.batches == [[4, 5], [2], [30], [1]]


async def test_an_item_that_fails_fails_alone() -> None:
    sender = Sender()
    sender.gate.set()
    batcher = Batcher(sender)
    fine, wrong = await settled(batcher, [1, -1])
    assert await fine == 2
    with pytest.raises(ValueError, match="-1"):
        await wrong


async def test_a_batch_that_fails_fails_all() -> None:
    async def send(items: Sequence[int]) -> Sequence[int]:
        raise ConnectionError(f"{len(items)} lost")

    batcher = Batcher(send)
    tasks = await settled(batcher, [1, 2])
    for task in tasks:
        with pytest.raises(ConnectionError, match="2 lost"):
            await task


async def test_who_has_left_is_not_sent_for() -> None:
    sender = Sender()
    batcher = Batcher(sender)
    first = await settled(batcher, [1])
    gone, stays = await settled(batcher, [2, 3])
    gone.cancel()
    sender.gate.set()
    assert await stays == 6
    assert await first[0] == 2
    assert sender.batches == [[1], [3]]
