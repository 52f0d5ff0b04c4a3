"""Compares what was carried over with what is there now."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from runstream.migration.migration import LOGGED_MODEL, MODEL, RUN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runstream.migration.journal import Entry, Journal
    from runstream.migration.report import Report
    from runstream.migration.target import Target

AT_ONCE = 4


class Verification:
    """One comparison; problems go to the report.

    Args:
        target: what was written.
        journal: what should be there.
        report: where outcomes go.
        files: whether files were carried over.
    """

    def __init__(self, target: Target, journal: Journal, report: Report, *, files: bool) -> None:
        self._target = target
        self._journal = journal
        self._report = report
        self._files = files

    def run(self) -> None:
        """Compare every entry of the journal."""
        self._target.settle()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="runstream-verification") as pool:
            self._compare(pool, RUN, self._run)
            self._compare(pool, LOGGED_MODEL, self._logged_model)
            self._compare(pool, MODEL, self._model)

    def _compare(self, pool: ThreadPoolExecutor, kind: str, check: Callable[[Entry], Iterator[str]]) -> None:
        def differences(entry: Entry) -> tuple[Entry, list[str]]:
            return entry, list(check(entry))

        for entry, found in _bounded(pool, differences, self._journal.entries(kind)):
            if not found:
                self._report.verify(f"{kind.replace('_', ' ')}s")
            for text in found:
                self._report.problem(f"{kind.replace('_', ' ')} {entry.id}: {text}")

    def _run(self, entry: Entry) -> Iterator[str]:
        counts = self._target.run_counts(entry.target_id)
        if counts is None:
            yield "is missing"
            return
        there = asdict(counts)
        points, files = there.pop("points"), there.pop("files")
        yield from _unequal(
            {name: entry.facts[name] for name in there if entry.final or name != "status"}, there
        )
        yield from _unequal(entry.facts["points"], points, "points of ")
        if self._files:
            yield from self._unequal_files(entry.facts["files"], files)

    def _logged_model(self, entry: Entry) -> Iterator[str]:
        files = self._target.logged_model_files(entry.target_id)
        if files is None or not entry.facts:
            yield "is missing or was not carried over to its end"
        elif self._files:
            yield from self._unequal_files(entry.facts["files"], asdict(files))

    def _model(self, entry: Entry) -> Iterator[str]:
        counts = self._target.model_counts(entry.target_id)
        if counts is None:
            yield "is missing"
            return
        yield from _unequal({"tags": entry.facts["tags"]}, {"tags": counts.tags})
        yield from _unequal(entry.facts["aliases"], counts.aliases, "alias ")
        yield from _unequal(entry.facts["versions"], counts.versions, "stage of version ")

    def _unequal_files(self, here: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
        names = ("file_count", "size_bytes", "digest")
        yield from _unequal({name: here[name] for name in names}, there, "files: ")


def _unequal(here: Mapping[str, Any], there: Mapping[str, Any], what: str = "") -> Iterator[str]:
    for name in sorted({*here, *there} if what else here):
        if here.get(name) != there.get(name):
            yield f"{what}{name} was {here.get(name)!r} and is {there.get(name)!r}"


def _bounded(
    pool: ThreadPoolExecutor,
    action: Callable[[Entry], tuple[Entry, list[str]]],
    entries: Iterator[Entry],
) -> Iterator[tuple[Entry, list[str]]]:
    """Results in order, a bounded number of entries in memory."""
    window: list[Any] = []
    for entry in entries:
        window.append(pool.submit(action, entry))
        if len(window) >= 4 * AT_ONCE:
            yield window.pop(0).result()
    for future in window:
        yield future.result()
