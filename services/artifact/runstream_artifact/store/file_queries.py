"""Reading trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_artifact.entities import Directory, StoredFile
from runstream_artifact.paths import below
from runstream_artifact.store.tree_repository import FETCH_ROWS, Span, stored_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from asyncpg import Connection

    from runstream_artifact.entities import Entry, Owner

SELECT_TREE = "SELECT tree_id, sealed FROM artifact.tree WHERE owner_kind = $1 AND owner_id = $2"

COLUMNS = "path, digest, size_bytes, content_type, stored_time_ms"

SELECT_FILES = f"SELECT {COLUMNS} FROM artifact.file WHERE tree_id = $1 AND path = ANY($2::text[])"

SELECT_FIRST = f"""
SELECT {COLUMNS} FROM artifact.file WHERE tree_id = $1 AND path >= $2 AND path < $3 ORDER BY path LIMIT 1
"""

SELECT_ALL_BELOW = f"""
SELECT {COLUMNS} FROM artifact.file WHERE tree_id = $1 AND path >= $2 AND path < $3 ORDER BY path LIMIT $4
"""

SELECT_SPAN = f"""
SELECT {COLUMNS} FROM artifact.file WHERE tree_id = $1 AND path >= $2 AND path < $3 ORDER BY path
"""

# A loose index scan: each step seeks the first path behind the entry before, which for a directory is the first one
# behind everything in it. A page costs its entries, not what lies below them. No path holds U+0001.
SELECT_ENTRIES = f"""
WITH RECURSIVE entry AS (
    (
        SELECT {COLUMNS}, position('/' IN substr(path, $4)) AS slash
        FROM artifact.file WHERE tree_id = $1 AND path >= $2 AND path < $3 ORDER BY path LIMIT 1
    )
    UNION ALL
    SELECT following.* FROM entry CROSS JOIN LATERAL (
        SELECT {COLUMNS}, position('/' IN substr(path, $4)) AS slash
        FROM artifact.file
        WHERE tree_id = $1 AND path < $3 AND path >= (
            CASE WHEN entry.slash = 0 THEN entry.path || U&'\\0001'
            ELSE left(entry.path, $4 + entry.slash - 2) || '0' END
        ) COLLATE "C"
        ORDER BY path LIMIT 1
    ) AS following
)
SELECT * FROM entry LIMIT $5
"""


SELECT_CONTENT = """
SELECT file.path, file.digest, file.size_bytes, file.content_type, file.stored_time_ms, blob.object_key
FROM artifact.tree
JOIN artifact.file ON file.tree_id = tree.tree_id
JOIN artifact.blob ON blob.digest = file.digest
WHERE tree.owner_kind = $1 AND tree.owner_id = $2 AND file.path = $3
"""


async def select_content(connection: Connection, owner: Owner, path: str) -> tuple[StoredFile, str] | None:
    """A file and the key of its content; None when there is none."""
    row = await connection.fetchrow(SELECT_CONTENT, owner.kind, owner.id, path)
    return None if row is None else (stored_file(row), row["object_key"])


async def select_tree(connection: Connection, owner: Owner) -> tuple[int, bool] | None:
    """The tree's id and whether it is sealed; None when the owner never had files."""
    row = await connection.fetchrow(SELECT_TREE, owner.kind, owner.id)
    return None if row is None else (row["tree_id"], row["sealed"])


async def select_files(connection: Connection, tree_id: int, paths: Collection[str]) -> dict[str, StoredFile]:
    """The files that there are, by path."""
    rows = await connection.fetch(SELECT_FILES, tree_id, list(paths))
    return {row["path"]: stored_file(row) for row in rows}


async def select_entry(connection: Connection, tree_id: int, path: str) -> Entry | None:
    """A file, or a directory that has one below it; None when there is neither."""
    found = (await select_files(connection, tree_id, [path])).get(path)
    if found is not None:
        return found
    row = await connection.fetchrow(SELECT_FIRST, tree_id, *below(path))
    return None if row is None else Directory(path)


async def select_entries(
    connection: Connection, tree_id: int, directory: str, first: str, limit: int
) -> Sequence[Entry]:
    """Entries of one directory, in the order of their paths, a directory's with a slash behind it.

    Args:
        first: paths before it are left out; empty begins with the first.
        limit: most entries.
    """
    start, end = below(directory)
    rows = await connection.fetch(
        SELECT_ENTRIES, tree_id, max(first, start, key=_bytewise), end, len(start) + 1, limit
    )
    cut = len(start)
    return [
        Directory(row["path"][: cut + row["slash"] - 1]) if row["slash"] else stored_file(row) for row in rows
    ]


async def select_all_below(
    connection: Connection, tree_id: int, directory: str, first: str, limit: int
) -> Sequence[StoredFile]:
    """Every file below a directory, by path.

    Args:
        first: paths before it are left out; empty begins with the first.
        limit: most files.
    """
    start, end = below(directory)
    rows = await connection.fetch(SELECT_ALL_BELOW, tree_id, max(first, start, key=_bytewise), end, limit)
    return [stored_file(row) for row in rows]


async def iterate_span(connection: Connection, span: Span) -> AsyncIterator[StoredFile]:
    """Every file of the span, by path, as it is at one moment; needs a transaction."""
    async for row in connection.cursor(SELECT_SPAN, *span, prefetch=FETCH_ROWS):
        yield stored_file(row)


def _bytewise(path: str) -> bytes:
    return path.encode()
