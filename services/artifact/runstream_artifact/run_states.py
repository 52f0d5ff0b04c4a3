"""Whether runs take files: asked of the metadata service, then remembered for a short while."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from runstream_common.errors import PlatformError

from runstream_artifact.errors import RunDeleted, RunNotFound

if TYPE_CHECKING:
    from runstream_common.clock import Clock


class RunState(Enum):
    """State of a run as far as taking files goes."""

    ACTIVE = "active"
    DELETED = "deleted"
    UNKNOWN = "unknown"


class RunLookup(Protocol):
    """Asks the owner of runs."""

    async def state(self, run_id: str) -> RunState:
        """State of a run; raises a retryable PlatformError when the owner is away."""
        ...


class RunStates:
    """Answers for runs. Only active ones are remembered: a refusal is final, so it is never made from memory.

    Args:
        lookup: who knows.
        size: runs remembered; the least recently used leave first.
        active_seconds: how long an active run is trusted without asking again.
        stale_seconds: how much longer while the owner cannot be asked: training goes on while it restarts.
    """

    def __init__(
        self, lookup: RunLookup, clock: Clock, *, size: int, active_seconds: float, stale_seconds: float
    ) -> None:
        self._lookup = lookup
        self._clock = clock
        self._size = size
        self._active_seconds = active_seconds
        self._stale_seconds = stale_seconds
        self._active_since: OrderedDict[str, float] = OrderedDict()

    async def require_active(self, run_id: str) -> None:
        """Return when the run takes files.

        Raises:
            RunNotFound: no such run.
            RunDeleted: it is marked deleted.
            Unavailable: the owner of runs is away and the run is not known.
        """
        if self._known_for(run_id, self._active_seconds):
            return
        try:
            state = await self._lookup.state(run_id)
        except PlatformError as error:
            if error.retryable and self._known_for(run_id, self._active_seconds + self._stale_seconds):
                return
            raise
        self._remember(run_id, state)
        if state is RunState.UNKNOWN:
            raise RunNotFound(run_id)
        if state is RunState.DELETED:
            raise RunDeleted(run_id)

    def _known_for(self, run_id: str, seconds: float) -> bool:
        since = self._active_since.get(run_id)
        return since is not None and self._clock.monotonic() - since <= seconds

    def _remember(self, run_id: str, state: RunState) -> None:
        self._active_since.pop(run_id, None)
        if state is RunState.ACTIVE:
            self._active_since[run_id] = self._clock.monotonic()
            if len(self._active_since) > self._size:
                self._active_since.popitem(last=False)
