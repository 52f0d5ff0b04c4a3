"""Whole trees: making files visible, and the digest of what is visible."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from runstream_artifact.entities import Tree
from runstream_artifact.errors import PathConflict, TreeSealed
from runstream_artifact.paths import below
from runstream_artifact.store import file_queries, tree_repository
from runstream_artifact.store.outbox_rows import insert_outbox_row
from runstream_artifact.store.tree_repository import Span
from runstream_artifact.tree_events import MAX_EVENT_FILES, NewlyVisible, artifact_stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from asyncpg import Connection

    from runstream_artifact.entities import Owner, StoredFile
    from runstream_artifact.store.tree_repository import LockedTree


async def lock_writable(connection: Connection, owner: Owner) -> LockedTree:
    """Lock an owner's tree for a change, until the transaction ends.

    Raises:
        TreeSealed: it can no longer change.
    """
    tree = await tree_repository.lock_tree(connection, owner)
    if tree.sealed:
        raise TreeSealed(owner)
    return tree


async def check_announced(connection: Connection, owner: Owner, paths: Sequence[str]) -> None:
    """Refuse early what could not become visible as things are; storing it checks again, under the lock.

    Raises:
        TreeSealed: the tree can no longer change.
        PathConflict: a path is a directory, or lies below a file.
    """
    found = await file_queries.select_tree(connection, owner)
    if found is None:
        return
    tree_id, sealed = found
    if sealed:
        raise TreeSealed(owner)
    await refuse_conflicts(connection, tree_id, paths)


async def refuse_conflicts(connection: Connection, tree_id: int, paths: Sequence[str]) -> None:
    """Refuse paths that cannot be files because of what is stored.

    Raises:
        PathConflict: a path is a directory, or lies below a file.
    """
    conflicts = await tree_repository.select_conflicts(connection, tree_id, paths)
    for path, other in sorted(conflicts.items()):
        raise PathConflict(path, other)


async def store_files(
    connection: Connection, owner: Owner, tree_id: int, files: Sequence[NewlyVisible], now_ms: int
) -> None:
    """Make files visible and tell of it; whatever could stand in their way has been checked under the tree's lock.

    Args:
        files: at most ``MAX_EVENT_FILES``, of different paths.
    """
    if files:
        await tree_repository.upsert_files(connection, tree_id, [new.file for new in files], now_ms)
        await insert_outbox_row(connection, artifact_stored(owner, files, now_ms))


async def announce(
    connection: Connection, owner: Owner, files: AsyncIterator[StoredFile], now_ms: int
) -> int:
    """Tell of files whose content was stored before, as many to an event as go into one; returns their number."""
    count = 0
    waiting: list[NewlyVisible] = []
    async for file in files:
        waiting.append(NewlyVisible(file, deduplicated=True))
        count += 1
        if len(waiting) == MAX_EVENT_FILES:
            await insert_outbox_row(connection, artifact_stored(owner, waiting, now_ms))
            waiting = []
    if waiting:
        await insert_outbox_row(connection, artifact_stored(owner, waiting, now_ms))
    return count


async def measure(connection: Connection, tree_id: int, path: str, *, sealed: bool) -> Tree:
    """Digest, number and size of the files below a directory; needs a transaction. Memory stays flat.

    Args:
        path: the directory; empty for the whole tree. Paths in the digest are relative to it.
    """
    start, end = below(path)
    cut = len(start)
    digest = hashlib.sha256()
    file_count = size_bytes = 0
    async for file in file_queries.iterate_span(connection, Span(tree_id, start, end)):
        digest.update(f"{file.digest.hex()} {file.size_bytes} {file.path[cut:]}\n".encode())
        file_count += 1
        size_bytes += file.size_bytes
    return Tree(digest.digest(), file_count, size_bytes, sealed)
