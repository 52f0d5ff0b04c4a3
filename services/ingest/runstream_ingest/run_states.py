"""What ingest knows about runs: a bounded cache in front of the metadata service."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from runstream_common.clock import Clock
from runstream_common.errors import FailedPrecondition, NotFound, PlatformError, Unavailable

LOOKUP_BATCH = 1000
"""Run ids asked of the metadata service in one call."""


class RunState(Enum):
    """State of a run as far as accepting points goes."""

    ACTIVE = "active"
    DELETED = "deleted"
    UNKNOWN = "unknown"


class RunNotFound(NotFound):
    """No run has this id."""

    default_reason = "RUN_NOT_FOUND"


class RunDeleted(FailedPrecondition):
    """The run is marked deleted and takes no points."""

    default_reason = "RUN_DELETED"


class RunLookup(Protocol):
    """Asks the owner of runs."""

    async def states(self, run_ids: Sequence[str]) -> dict[str, RunState]:
        """States of the runs; raises a retryable PlatformError when the owner is away."""
        ...


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How long answers are kept.

    Attributes:
        size: entries kept, least recently used leave first.
        active_seconds: trust in an active run.
        negative_seconds: trust in an unknown or deleted one.
        stale_seconds: further trust in an active run while the owner cannot be asked.
    """

    size: int
    active_seconds: float
    negative_seconds: float
    stale_seconds: float


class RunStates:
    """Tells whether a run takes points, from memory where possible.

    Concurrent questions are gathered into one call. While the owner of runs is away, runs known as active are
    trusted for a while longer: a training run should not stop because another service restarts.
    """

    def __init__(self, lookup: RunLookup, policy: CachePolicy, clock: Clock) -> None:
        self._lookup = lookup
        self._policy = policy
        self._clock = clock
        self._entries: OrderedDict[str, tuple[RunState, float]] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[RunState]] = {}
        self._task: asyncio.Task[None] | None = None
        self._owner_is_away = False

    def known_active(self, run_id: str) -> bool:
        """Whether the run is active by a fresh cached answer; never waits."""
        entry = self._entries.get(run_id)
        return (
            entry is not None
            and entry[0] is RunState.ACTIVE
            and self._age(entry) <= self._policy.active_seconds
        )

    def note_active(self, run_id: str) -> None:
        """Remember as active a run that the owner has just been asked for by somebody else."""
        self._remember(run_id, RunState.ACTIVE)

    async def require_active(self, run_id: str) -> None:
        """Return when the run takes points.

        Raises:
            RunNotFound: no such run.
            RunDeleted: the run is deleted.
            Unavailable: the owner of runs is away and the run is not known.
        """
        state = self._fresh(run_id)
        if state is None:
            state = await self._ask(run_id)
        if state is RunState.UNKNOWN:
            raise RunNotFound(f"run_id: no run {run_id}; create it first", metadata={"run_id": run_id})
        if state is RunState.DELETED:
            raise RunDeleted(
                f"run_id: run {run_id} is deleted; restore it to log to it", metadata={"run_id": run_id}
            )

    def _age(self, entry: tuple[RunState, float]) -> float:
        return self._clock.monotonic() - entry[1]

    def _fresh(self, run_id: str) -> RunState | None:
        entry = self._entries.get(run_id)
        if entry is None:
            return None
        active = entry[0] is RunState.ACTIVE
        limit = self._policy.active_seconds if active else self._policy.negative_seconds
        if self._age(entry) > limit:
            return None
        self._entries.move_to_end(run_id)
        return entry[0]

    def _stale_but_active(self, run_id: str) -> bool:
        entry = self._entries.get(run_id)
        limit = self._policy.active_seconds + self._policy.stale_seconds
        return entry is not None and entry[0] is RunState.ACTIVE and self._age(entry) <= limit

    async def _ask(self, run_id: str) -> RunState:
        future = self._question(run_id)
        if self._owner_is_away and self._stale_but_active(run_id):
            # The question goes on by itself: waiting for it with every batch would stop the stream.
            return RunState.ACTIVE
        try:
            # Shielded: another caller may wait for the same answer.
            return await asyncio.shield(future)
        except PlatformError as error:
            if error.retryable and self._stale_but_active(run_id):
                return RunState.ACTIVE
            raise
        finally:
            # It holds the error, and the error's traceback this frame and with it the caller's batch: a cycle, which
            # would keep megabytes for each refusal until the collector comes.
            del future

    def _question(self, run_id: str) -> "asyncio.Future[RunState]":
        future = self._waiting.get(run_id)
        if future is None:
            future = self._waiting[run_id] = asyncio.get_running_loop().create_future()
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._resolve_waiting(), name="run-lookup")
        return future

    async def _resolve_waiting(self) -> None:
        while self._waiting:
            futures = {run_id: self._waiting[run_id] for run_id in list(self._waiting)[:LOOKUP_BATCH]}
            try:
                states = await self._lookup.states(list(futures))
            except PlatformError as error:
                self._owner_is_away = error.retryable
                # Without the frames: this one holds the futures that hold the error.
                self._settle(futures, error.with_traceback(None))
            except Exception as error:  # noqa: BLE001 - whatever went wrong, the callers must hear of it
                failure = Unavailable("the metadata service cannot be asked", retry_after_seconds=1.0)
                failure.__cause__ = error.with_traceback(None)
                self._owner_is_away = True
                self._settle(futures, failure)
            else:
                self._owner_is_away = False
                for run_id in futures:
                    self._remember(run_id, states.get(run_id, RunState.UNKNOWN))
                self._settle(futures, states)

    def _settle(
        self, futures: dict[str, "asyncio.Future[RunState]"], outcome: dict[str, RunState] | Exception
    ) -> None:
        for run_id, future in futures.items():
            self._waiting.pop(run_id, None)
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
                future.exception()  # marks it as seen: all its callers may have been cancelled
            else:
                future.set_result(outcome.get(run_id, RunState.UNKNOWN))

    def _remember(self, run_id: str, state: RunState) -> None:
        self._entries[run_id] = (state, self._clock.monotonic())
        self._entries.move_to_end(run_id)
        while len(self._entries) > self._policy.size:
            self._entries.popitem(last=False)
