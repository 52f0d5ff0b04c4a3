"""Copying and moving files: pointers alone, never bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from runstream_common.errors import InvalidArgument

from runstream_artifact.entities import Directory, StoredFile, Tree
from runstream_artifact.errors import ArtifactExists, ArtifactNotFound, PathConflict, TreeSealed
from runstream_artifact.paths import MAX_PATH_BYTES, base_name, below, joined
from runstream_artifact.store import file_queries, tree_repository
from runstream_artifact.store.tree_repository import Span
from runstream_artifact.trees import announce, lock_writable, measure

if TYPE_CHECKING:
    from asyncpg import Connection
    from runstream_common.clock import Clock
    from runstream_common.database import Database

    from runstream_artifact.entities import Owner
    from runstream_artifact.owners import Owners


class Place(NamedTuple):
    """A file or directory of a tree; the empty path is the whole tree."""

    owner: Owner
    path: str


class _Transfer(NamedTuple):
    """Which files go where."""

    source: Span
    cut: int
    """Characters taken off the front of each path."""
    prefix: str
    """What is put in front instead."""
    target: str
    """Path of the file, or of the directory that the files lie in then."""
    is_file: bool

    @property
    def target_span(self) -> tuple[str, str]:
        """Paths that the files may get: from the first, before the second."""
        return (self.target, f"{self.target}/") if self.is_file else below(self.target)


class Transfers:
    """Use cases that copy and move; owns their transactions."""

    def __init__(self, database: Database, owners: Owners, clock: Clock) -> None:
        self._database = database
        self._owners = owners
        self._clock = clock

    async def copy(self, source: Place, target: Place, *, seal: bool) -> Tree:
        """Copy a file or the content of a directory; files of the same paths are replaced.

        Args:
            target: a file goes under its own name when the path is empty.
            seal: let the target change no more; repeating such a copy with the same content is harmless.

        Returns:
            The whole target afterwards.

        Raises:
            ArtifactNotFound: there is nothing at the source.
            RunNotFound, RunDeleted, TreeSealed: the target takes no files.
            PathConflict: a path would be a file and a directory.
            InvalidArgument: a path would become too long.
        """
        await self._owners.require_writable(target.owner)
        async with self._database.driver() as connection, connection.transaction():
            tree = await tree_repository.lock_tree(connection, target.owner)
            transfer = await _planned(connection, source, target.path)
            if tree.sealed:
                await self._check_repeated(connection, tree.tree_id, transfer, target.owner, seal=seal)
            else:
                await self._copy(connection, tree.tree_id, transfer, target.owner)
            if seal and not tree.sealed:
                await tree_repository.seal_tree(connection, tree.tree_id)
            return await measure(connection, tree.tree_id, "", sealed=seal or tree.sealed)

    async def move(self, owner: Owner, source_path: str, target_path: str) -> int:
        """Rename a file or directory; returns how many files.

        Raises:
            ArtifactNotFound: there is nothing at the source.
            ArtifactExists: there is something at the target.
            InvalidArgument: the target lies below the source, or a path would become too long.
            PathConflict: the target lies below a file.
            TreeSealed: the tree can no longer change.
        """
        if f"{target_path}/".startswith(f"{source_path}/"):
            raise InvalidArgument.of("target_path", "must not be source_path, nor lie below it")
        async with self._database.driver() as connection:
            if await file_queries.select_tree(connection, owner) is None:
                raise ArtifactNotFound(owner, source_path)
            async with connection.transaction():
                tree = await lock_writable(connection, owner)
                transfer = await _planned(connection, Place(owner, source_path), target_path)
                if await file_queries.select_entry(connection, tree.tree_id, target_path) is not None:
                    raise ArtifactExists(target_path)
                await _check_ancestors(connection, tree.tree_id, target_path)
                moved = tree_repository.move_files(connection, transfer.source, transfer.cut, transfer.prefix)
                return await announce(connection, owner, moved, self._clock.now_ms())

    async def _copy(self, connection: Connection, tree_id: int, transfer: _Transfer, owner: Owner) -> None:
        if transfer.is_file:
            await _check_file(connection, tree_id, transfer.target)
        else:
            await _check_directory(connection, tree_id, transfer.target)
        now_ms = self._clock.now_ms()
        copied = tree_repository.copy_files(
            connection, transfer.source, transfer.cut, tree_id, transfer.prefix, now_ms
        )
        await announce(connection, owner, copied, now_ms)
        # Both kinds of conflict within the target show once everything is there; the transaction takes it back.
        conflict = await tree_repository.select_inner_conflict(
            connection, Span(tree_id, *transfer.target_span)
        )
        if conflict is not None:
            raise PathConflict(*conflict)

    async def _check_repeated(
        self, connection: Connection, tree_id: int, transfer: _Transfer, owner: Owner, *, seal: bool
    ) -> None:
        """Accept a copy into a sealed tree only if it is the one that sealed it, or says the same."""
        if not seal:
            raise TreeSealed(owner)
        wanted = file_queries.iterate_span(connection, transfer.source)
        there = file_queries.iterate_span(connection, Span(tree_id, *transfer.target_span))
        expected = [(transfer.prefix + file.path[transfer.cut :], file.digest) async for file in wanted]
        found = [(file.path, file.digest) async for file in there]
        if expected != found:
            raise TreeSealed(owner, "with other content")


async def _planned(connection: Connection, source: Place, target_path: str) -> _Transfer:
    """What a transfer does.

    Raises:
        ArtifactNotFound: there is nothing at the source.
        InvalidArgument: a path would become too long.
    """
    tree = await file_queries.select_tree(connection, source.owner)
    entry = None if tree is None else await file_queries.select_entry(connection, tree[0], source.path)
    if tree is None or entry is None:
        raise ArtifactNotFound(source.owner, source.path)
    if isinstance(entry, StoredFile):
        target = target_path or base_name(source.path)
        only = Span(tree[0], source.path, f"{source.path}\x01")
        return _Transfer(only, len(source.path), target, target, is_file=True)
    first, end = below(source.path)
    transfer = _Transfer(
        Span(tree[0], first, end), len(first), joined(target_path, ""), target_path, is_file=False
    )
    longest = await tree_repository.longest_path_bytes(connection, transfer.source)
    if longest - len(first.encode()) + len(transfer.prefix.encode()) > MAX_PATH_BYTES:
        raise InvalidArgument.of("target_path", f"makes a path longer than {MAX_PATH_BYTES} bytes")
    return transfer


async def _check_file(connection: Connection, tree_id: int, path: str) -> None:
    entry = await file_queries.select_entry(connection, tree_id, path)
    if isinstance(entry, Directory):
        raise PathConflict(path, f"{path}/…")
    await _check_ancestors(connection, tree_id, path)


async def _check_directory(connection: Connection, tree_id: int, path: str) -> None:
    # A name below it, so that the directory itself counts as one that must not be a file.
    if path:
        await _check_ancestors(connection, tree_id, f"{path}/.")


async def _check_ancestors(connection: Connection, tree_id: int, path: str) -> None:
    conflicts = await tree_repository.select_conflicts(connection, tree_id, [path])
    for conflicting, other in conflicts.items():
        raise PathConflict(conflicting, other)
