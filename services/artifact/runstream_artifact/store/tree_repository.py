"""Writing trees. Whoever changes a tree holds the lock of its row, so that checks of paths stay true until the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from runstream_artifact.entities import StoredFile
from runstream_artifact.paths import below, parents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from asyncpg import Connection

    from runstream_artifact.entities import Owner

# The update changes nothing; it locks a row that is there.
LOCK_TREE = """
INSERT INTO artifact.tree (owner_kind, owner_id) VALUES ($1, $2)
ON CONFLICT (owner_kind, owner_id) DO UPDATE SET owner_id = excluded.owner_id
RETURNING tree_id, sealed
"""

SELECT_CONFLICTS = """
SELECT parent AS path, child.path AS other
FROM unnest($2::text[]) AS new (parent)
CROSS JOIN LATERAL (
    SELECT path FROM artifact.file
    WHERE tree_id = $1 AND path >= (parent || '/') COLLATE "C" AND path < (parent || '0') COLLATE "C"
    LIMIT 1
) AS child
UNION ALL
SELECT '', path FROM artifact.file WHERE tree_id = $1 AND path = ANY($3::text[])
"""

SELECT_INNER_CONFLICT = """
SELECT file.path, child.path AS other
FROM artifact.file AS file
CROSS JOIN LATERAL (
    SELECT path FROM artifact.file AS child
    WHERE child.tree_id = $1 AND child.path >= file.path || '/' AND child.path < file.path || '0'
    LIMIT 1
) AS child
WHERE file.tree_id = $1 AND file.path >= $2 AND file.path < $3
LIMIT 1
"""

UPSERT_FILES = """
INSERT INTO artifact.file AS file (tree_id, path, digest, size_bytes, content_type, stored_time_ms)
SELECT $1, path, digest, size_bytes, content_type, $6
FROM unnest($2::text[], $3::bytea[], $4::bigint[], $5::text[]) AS new (path, digest, size_bytes, content_type)
ON CONFLICT (tree_id, path) DO UPDATE SET
    digest = excluded.digest, size_bytes = excluded.size_bytes,
    content_type = excluded.content_type, stored_time_ms = excluded.stored_time_ms
"""

DELETE_FILES = """
DELETE FROM artifact.file WHERE tree_id = $1 AND (path = $2 OR (path >= $3 AND path < $4))
"""

# One statement, so that it sees the source as it is at one moment, also within the same tree.
COPY_FILES = """
INSERT INTO artifact.file AS file (tree_id, path, digest, size_bytes, content_type, stored_time_ms)
SELECT $1, $2 || substr(path, $3), digest, size_bytes, content_type, $4
FROM artifact.file WHERE tree_id = $5 AND path >= $6 AND path < $7
ON CONFLICT (tree_id, path) DO UPDATE SET
    digest = excluded.digest, size_bytes = excluded.size_bytes,
    content_type = excluded.content_type, stored_time_ms = excluded.stored_time_ms
    WHERE (file.digest, file.content_type) IS DISTINCT FROM (excluded.digest, excluded.content_type)
RETURNING path, digest, size_bytes, content_type, stored_time_ms
"""

MOVE_FILES = """
UPDATE artifact.file SET path = $2 || substr(path, $3)
WHERE tree_id = $1 AND path >= $4 AND path < $5
RETURNING path, digest, size_bytes, content_type, stored_time_ms
"""

LONGEST_TAIL = """
SELECT max(octet_length(path)) FROM artifact.file WHERE tree_id = $1 AND path >= $2 AND path < $3
"""

FETCH_ROWS = 1_000
"""Rows read at once from a statement that may return very many."""


class LockedTree(NamedTuple):
    """A tree whose row is locked by the current transaction."""

    tree_id: int
    sealed: bool


class Span(NamedTuple):
    """Files of a tree: paths from the first on, before the second."""

    tree_id: int
    first: str
    end: str


async def lock_tree(connection: Connection, owner: Owner) -> LockedTree:
    """Lock an owner's tree until the transaction ends; it is made when there is none."""
    row = await connection.fetchrow(LOCK_TREE, owner.kind, owner.id)
    return LockedTree(row["tree_id"], row["sealed"])


async def seal_tree(connection: Connection, tree_id: int) -> None:
    """Let a tree change no more."""
    await connection.execute("UPDATE artifact.tree SET sealed = true WHERE tree_id = $1", tree_id)


async def select_conflicts(connection: Connection, tree_id: int, paths: Collection[str]) -> dict[str, str]:
    """Which of the new paths cannot be files, each with a stored path that stands in its way."""
    ancestors = {path: parents(path) for path in paths}
    asked = sorted({parent for found in ancestors.values() for parent in found})
    rows = await connection.fetch(SELECT_CONFLICTS, tree_id, list(paths), asked)
    conflicts = {row["path"]: row["other"] for row in rows if row["path"]}
    files = {row["other"] for row in rows if not row["path"]}
    for path, found in ancestors.items():
        blocking = next((parent for parent in found if parent in files), None)
        if blocking is not None:
            conflicts[path] = blocking
    return conflicts


async def select_inner_conflict(connection: Connection, span: Span) -> tuple[str, str] | None:
    """A file of the span that is also a directory, and a file in it; None when there is none."""
    row = await connection.fetchrow(SELECT_INNER_CONFLICT, *span)
    return None if row is None else (row["path"], row["other"])


async def upsert_files(
    connection: Connection, tree_id: int, files: Sequence[StoredFile], now_ms: int
) -> None:
    """Make files visible, replacing those of the same paths; the paths must differ."""
    await connection.execute(
        UPSERT_FILES,
        tree_id,
        [file.path for file in files],
        [file.digest for file in files],
        [file.size_bytes for file in files],
        [file.content_type for file in files],
        now_ms,
    )


async def delete_files(connection: Connection, tree_id: int, path: str) -> int:
    """Delete a file, or all below a directory; returns how many files."""
    status: str = await connection.execute(DELETE_FILES, tree_id, path, *below(path))
    return int(status.rpartition(" ")[2])


async def longest_path_bytes(connection: Connection, span: Span) -> int:
    """Bytes of the longest path of the span; 0 when it is empty."""
    return await connection.fetchval(LONGEST_TAIL, *span) or 0


async def copy_files(
    connection: Connection, source: Span, cut: int, tree_id: int, prefix: str, now_ms: int
) -> AsyncIterator[StoredFile]:
    """Copy the span to other paths; yields the files that are new or changed, in no order.

    Args:
        cut: characters taken off the front of each path.
        tree_id: where to.
        prefix: put in front instead.
    """
    arguments = (tree_id, prefix, cut + 1, now_ms, *source)
    async for row in connection.cursor(COPY_FILES, *arguments, prefetch=FETCH_ROWS):
        yield stored_file(row)


async def move_files(
    connection: Connection, source: Span, cut: int, prefix: str
) -> AsyncIterator[StoredFile]:
    """Rename the files of the span within their tree; yields them as they are then, in no order."""
    arguments = (source.tree_id, prefix, cut + 1, source.first, source.end)
    async for row in connection.cursor(MOVE_FILES, *arguments, prefetch=FETCH_ROWS):
        yield stored_file(row)


def stored_file(row: Mapping[str, Any]) -> StoredFile:
    """A row of ``artifact.file``."""
    return StoredFile(
        row["path"], row["size_bytes"], row["digest"], row["content_type"], row["stored_time_ms"]
    )
