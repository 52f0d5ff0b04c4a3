"""What a migration did, in numbers and in words."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ("experiments", "runs", "points", "files", "bytes", "logged models", "models", "versions")

MAX_PROBLEMS = 1_000
"""Problems that are kept in words; all are counted."""


@dataclass(slots=True)
class Report:
    """Counts by kind; thread-safe where it is written to.

    Attributes:
        carried: how much was carried over by this call.
        skipped: how much had been carried over before.
        verified: how much was compared and found equal.
        problems: what could not be carried over or differs, in words.
        problem_count: all of them.
        experiment_ids: ids over there by the ids they had.
        notes: what a person should know.
        phase: what is being done.
        on_change: called with every count.
    """

    carried: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    verified: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0
    experiment_ids: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    phase: str = "carrying over"
    on_change: Callable[[], None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, count: int = 1) -> None:
        """Count what was carried over."""
        with self._lock:
            self.carried[kind] += count
        self.on_change()

    def skip(self, kind: str) -> None:
        """Count what had been carried over before."""
        with self._lock:
            self.skipped[kind] += 1
        self.on_change()

    def verify(self, kind: str) -> None:
        """Count what was found equal."""
        with self._lock:
            self.verified[kind] += 1
        self.on_change()

    def problem(self, text: str) -> None:
        """Keep what went wrong."""
        with self._lock:
            self.problem_count += 1
            if len(self.problems) < MAX_PROBLEMS:
                self.problems.append(text)

    def note(self, text: str) -> None:
        """Keep what a person should know, once."""
        with self._lock:
            if text not in self.notes:
                self.notes.append(text)

    def line(self) -> str:
        """How far it is, in a line."""
        counts = self.verified if self.phase == "verifying" else self.carried
        return f"{self.phase}: " + ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind])

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "carried": {kind: self.carried[kind] for kind in KINDS},
            "skipped": dict(self.skipped),
            "verified": dict(self.verified),
            "experiment_ids": self.experiment_ids,
            "problem_count": self.problem_count,
            "problems": self.problems,
            "notes": self.notes,
        }
