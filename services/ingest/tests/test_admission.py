"""The bound on in-flight bytes (B5: full buffers refuse, nothing grows)."""

import asyncio

import pytest
from runstream_common.errors import ResourceExhausted
from runstream_ingest.admission import InFlightBytes


def test_full_refuses_with_a_delay() -> None:
    bound = InFlightBytes(100)
    bound.try_acquire(60)
    with pytest.raises(ResourceExhausted) as caught:
        bound.try_acquire(60)
    assert caught.value.retry_after_seconds
    bound.release(60)
    bound.try_acquire(60)


def test_oversized_message_passes_when_alone() -> None:
    bound = InFlightBytes(100)
    bound.try_acquire(500)
    assert bound.used_bytes == 500


async def test_waiters_are_admitted_in_order() -> None:
    bound = InFlightBytes(100)
    await bound.acquire(100)
    order: list[int] = []

    async def wait(size: int) -> None:
        await bound.acquire(size)
        order.append(size)

    tasks = [asyncio.create_task(wait(size)) for size in (70, 20, 30)]
    await asyncio.sleep(0)
    assert order == []
    bound.release(100)
    await asyncio.wait(tasks[:2])
    assert order == [70, 20]
    bound.release(90)
    await tasks[2]
    assert bound.used_bytes == 30


async def test_cancelled_waiter_gives_its_place_back() -> None:
    bound = InFlightBytes(100)
    await bound.acquire(100)
    first = asyncio.create_task(bound.acquire(100))
    second = asyncio.create_task(bound.acquire(10))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    bound.release(100)
    await second
    assert bound.used_bytes == 10


async def test_a_release_before_a_cancelled_waiter_wakes_up_passes_it_over() -> None:
    bound = InFlightBytes(100)
    await bound.acquire(100)
    gone = asyncio.create_task(bound.acquire(50))
    waiting = asyncio.create_task(bound.acquire(100))
    await asyncio.sleep(0)
    gone.cancel()
    bound.release(100)
    await asyncio.wait([gone, waiting])
    assert gone.cancelled()
    assert bound.used_bytes == 100
