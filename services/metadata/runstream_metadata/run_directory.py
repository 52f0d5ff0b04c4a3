"""Which runs take points: asked of the database once, then remembered for a short while."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runstream_metadata.store import metric_writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runstream_common.clock import Clock
    from runstream_common.database import Database

REMEMBERED_RUNS: Final = 50_000
"""Active runs remembered; at about 300 bytes each this is 15 MB at most."""

REMEMBER_SECONDS: Final = 5.0
"""How long points of a run that was just deleted may still be taken."""


@dataclass(frozen=True, slots=True)
class KnownRun:
    """What the write path needs of a run."""

    experiment_id: int
    active: bool


class RunDirectory:
    """Answers for runs by id. Only active runs are remembered: a refusal is final, so it is never made from memory."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._active: OrderedDict[str, tuple[float, KnownRun]] = OrderedDict()

    async def find(self, run_ids: Iterable[str]) -> Mapping[str, KnownRun]:
        """The runs that exist, by id (32 hexadecimal characters)."""
        now = self._clock.monotonic()
        known: dict[str, KnownRun] = {}
        missing: list[str] = []
        for run_id in run_ids:
            entry = self._active.get(run_id)
            if entry is not None and entry[0] > now:
                known[run_id] = entry[1]
            else:
                missing.append(run_id)
        if missing:
            known.update(await self._ask(missing, now))
        return known

    def forget(self, run_id: str) -> None:
        """Ask the database the next time, because the run has changed."""
        self._active.pop(run_id, None)

    async def _ask(self, run_ids: list[str], now: float) -> dict[str, KnownRun]:
        async with self._database.driver() as connection:
            rows = await metric_writer.find_runs(connection, run_ids)
        found = {run_id: KnownRun(experiment_id, active) for run_id, experiment_id, active in rows}
        for run_id in run_ids:
            self._active.pop(run_id, None)
        for run_id, run in found.items():
            if run.active:
                self._active[run_id] = (now + REMEMBER_SECONDS, run)
        while len(self._active) > REMEMBERED_RUNS:
            self._active.popitem(last=False)
        return found
