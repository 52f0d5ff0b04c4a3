"""What a migration has done, on disk, so that a repeated call goes on where the last one stopped."""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from runstream_common.errors import FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS done (
    kind TEXT NOT NULL, id TEXT NOT NULL, target_id TEXT NOT NULL, final INTEGER NOT NULL, facts TEXT NOT NULL,
    PRIMARY KEY (kind, id)
);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was carried over.

    Attributes:
        id: id it had.
        target_id: id it has over there.
        final: whether it can change no more, so that it need not be looked at again.
        facts: what it was counted to consist of.
    """

    id: str
    target_id: str
    final: bool
    facts: Mapping[str, Any]


class Journal:
    """A file of its own for each pair of deployments; thread-safe. Written through with every entry.

    Args:
        path: the file; made with its folder.
        source: what is read.
        target: what is written.

    Raises:
        FailedPrecondition: the file is of another migration.
    """

    def __init__(self, path: Path, source: str, target: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A process that is killed loses nothing; a machine that loses power repeats the last entries.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        self._check({"source": source, "target": target})

    def get(self, kind: str, item_id: str) -> Entry | None:
        """The entry of something; None when it was not carried over."""
        with self._lock:
            row = self._connection.execute(
                "SELECT id, target_id, final, facts FROM done WHERE kind = ? AND id = ?", (kind, item_id)
            ).fetchone()
        return None if row is None else _entry(row)

    def put(self, kind: str, entry: Entry) -> None:
        """Note that something was carried over."""
        row = (kind, entry.id, entry.target_id, int(entry.final), json.dumps(entry.facts))
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?, ?)", row)

    def entries(self, kind: str) -> Iterator[Entry]:
        """All of a kind, a bounded number in memory at a time."""
        last = ""
        while True:
            with self._lock:
                rows = self._connection.execute(
                    "SELECT id, target_id, final, facts FROM done WHERE kind = ? AND id > ? ORDER BY id LIMIT 1000",
                    (kind, last),
                ).fetchall()
            if not rows:
                return
            yield from map(_entry, rows)
            last = rows[-1][0]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _check(self, about: Mapping[str, str]) -> None:
        for name, value in about.items():
            self._connection.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, value))
            (known,) = self._connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
            if known != value:
                raise FailedPrecondition(
                    f"{self.path} is the state of a migration with {name} {known}, not {value}; give another --state",
                    reason="OTHER_MIGRATION",
                )


def _entry(row: tuple[str, str, int, str]) -> Entry:
    return Entry(row[0], row[1], bool(row[2]), json.loads(row[3]))
