"""The cache in front of the metadata service."""

import asyncio
import gc
import weakref
from collections.abc import Sequence

import pytest
from runstream_common.clock import ManualClock
from runstream_common.errors import Unavailable
from runstream_ingest.run_states import CachePolicy, RunDeleted, RunNotFound, RunState, RunStates

POLICY = CachePolicy(size=3, active_seconds=10, negative_seconds=2, stale_seconds=100)


class Owner:
    """A RunLookup that counts its calls and can be away."""

    def __init__(self, **states: RunState) -> None:
        self.runs = states
        self.calls: list[list[str]] = []
        self.away = False
        self.held: asyncio.Event | None = None

    async def states(self, run_ids: Sequence[str]) -> dict[str, RunState]:
        self.calls.append(list(run_ids))
        await asyncio.sleep(0)
        if self.held is not None:
            await self.held.wait()
        if self.away:
            raise Unavailable("away", retry_after_seconds=1)
        return {run_id: self.runs.get(run_id, RunState.UNKNOWN) for run_id in run_ids}


class Batch:
    """Stands for the bytes of a batch."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_active_run_is_asked_once(clock: ManualClock) -> None:
    owner = Owner(a=RunState.ACTIVE)
    states = RunStates(owner, POLICY, clock)
    for _ in range(3):
        await states.require_active("a")
    assert owner.calls == [["a"]]
    assert states.known_active("a")
    clock.advance(10.1)
    assert not states.known_active("a")
    await states.require_active("a")
    assert len(owner.calls) == 2


async def test_concurrent_questions_share_one_call(clock: ManualClock) -> None:
    owner = Owner(a=RunState.ACTIVE, b=RunState.ACTIVE)
    states = RunStates(owner, POLICY, clock)
    await asyncio.gather(*(states.require_active(run) for run in "abab"))
    assert sorted(sum(owner.calls, [])) == ["a", "b"]


async def test_negative_answers_are_cached_shortly(clock: ManualClock) -> None:
    owner = Owner(gone=RunState.DELETED)
    states = RunStates(owner, POLICY, clock)
    for _ in range(2):
        with pytest.raises(RunDeleted):
            await states.require_active("gone")
        with pytest.raises(RunNotFound):
            await states.require_active("never")
    assert len(owner.calls) == 2
    clock.advance(2.1)
    owner.runs["never"] = RunState.ACTIVE
    await states.require_active("never")


async def test_known_run_is_trusted_while_the_owner_is_away(clock: ManualClock) -> None:
    owner = Owner(a=RunState.ACTIVE)
    states = RunStates(owner, POLICY, clock)
    await states.require_active("a")
    owner.away = True
    clock.advance(50)
    await states.require_active("a")
    with pytest.raises(Unavailable):
        await states.require_active("b")
    clock.advance(100)
    with pytest.raises(Unavailable):
        await states.require_active("a")


async def test_while_the_owner_is_away_known_runs_do_not_wait_for_it(clock: ManualClock) -> None:
    """A lookup that fails takes its time: a stream that waited for one with each batch would all but stop."""
    owner = Owner(a=RunState.ACTIVE)
    states = RunStates(owner, POLICY, clock)
    await states.require_active("a")
    owner.away = True
    clock.advance(50)
    await states.require_active("a")
    owner.held = asyncio.Event()
    for _ in range(100):
        await states.require_active("a")
    owner.away = False
    owner.held.set()
    while not states.known_active("a"):
        await asyncio.sleep(0)
    assert len(owner.calls) == 3


async def test_a_failed_question_leaves_no_garbage_that_holds_the_batch(clock: ManualClock) -> None:
    """A batch may have 16 MiB; memory must not depend on when the garbage collector comes."""
    owner = Owner()
    owner.away = True
    states = RunStates(owner, POLICY, clock)

    async def accept(data: Batch) -> type[Exception]:
        try:
            await states.require_active("a")
        except Unavailable as error:
            return type(error)
        return type(data)

    batch = Batch()
    alive = weakref.ref(batch)
    gc.collect()
    gc.disable()
    try:
        assert await asyncio.create_task(accept(batch)) is Unavailable
        del batch
        await asyncio.sleep(0)
        assert alive() is None
    finally:
        gc.enable()


async def test_memory_is_bounded(clock: ManualClock) -> None:
    owner = Owner(**dict.fromkeys("abcd", RunState.ACTIVE))
    states = RunStates(owner, POLICY, clock)
    for run in "abcd":
        await states.require_active(run)
    assert [states.known_active(run) for run in "abcd"] == [False, True, True, True]


async def test_cancelled_caller_does_not_cancel_the_others(clock: ManualClock) -> None:
    owner = Owner(a=RunState.ACTIVE)
    states = RunStates(owner, POLICY, clock)
    first = asyncio.create_task(states.require_active("a"))
    second = asyncio.create_task(states.require_active("a"))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert states.known_active("a")
