"""Visible files: listed, read, deleted, measured, and signed for download."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, NamedTuple

from runstream_artifact.entities import Directory, StoredFile, Tree
from runstream_artifact.errors import ArtifactNotFound, ContentDamaged, FileTooLarge, IsADirectory
from runstream_artifact.page_tokens import decode_token, encode_token
from runstream_artifact.paths import base_name
from runstream_artifact.signing import SIGNED_AT_ONCE
from runstream_artifact.store import blob_repository, file_queries, tree_repository
from runstream_artifact.trees import lock_writable, measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runstream_common.database import Database
    from runstream_common.object_store.api import ObjectStore, SignedRequest, StoreAddress

    from runstream_artifact.entities import Blob, Entry, Owner

EMPTY_TREE_DIGEST = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
"""SHA-256 of nothing."""


class Listing(NamedTuple):
    """What to list.

    Args:
        directory: empty for the root.
        recursive: all files below it, instead of its own entries.
        page_size: most entries.
        page_token: of the page before; empty for the first page.
    """

    owner: Owner
    directory: str
    recursive: bool
    page_size: int
    page_token: str


class Wanted(NamedTuple):
    """A file that a service hands on.

    Args:
        max_inline_bytes: largest content that comes along.
        for_client: sign for the address by which clients reach the store.
        expires_seconds: how long the request works; None takes the setting.
    """

    owner: Owner
    path: str
    max_inline_bytes: int
    for_client: bool
    expires_seconds: int | None


class Files:
    """Use cases around visible files; owns their transactions.

    Args:
        url_seconds: how long signed requests work unless asked otherwise.
    """

    def __init__(self, database: Database, store: ObjectStore, *, url_seconds: int) -> None:
        self._database = database
        self._store = store
        self._url_seconds = url_seconds

    @property
    def store_address(self) -> StoreAddress:
        """How the object store is reached."""
        return self._store.address

    async def list(self, listing: Listing) -> tuple[Sequence[Entry], str]:
        """One page, and the token of the next; empty on the last one. A file, and what is not there, list as nothing.

        Raises:
            InvalidArgument: the token is of another list.
        """
        owner, directory, recursive, page_size, token = listing
        first = decode_token(token, owner, directory, recursive=recursive)
        select = file_queries.select_all_below if recursive else file_queries.select_entries
        async with self._database.driver() as connection:
            tree = await file_queries.select_tree(connection, owner)
            if tree is None:
                return [], ""
            found = await select(connection, tree[0], directory, first, page_size + 1)
        if len(found) <= page_size:
            return found, ""
        following = found[page_size]
        begin = f"{following.path}/" if isinstance(following, Directory) else following.path
        return found[:page_size], encode_token(owner, directory, begin, recursive=recursive)

    async def get(self, owner: Owner, path: str) -> Entry:
        """A file's or directory's entry.

        Raises:
            ArtifactNotFound: there is neither.
        """
        async with self._database.driver() as connection:
            tree = await file_queries.select_tree(connection, owner)
            entry = None if tree is None else await file_queries.select_entry(connection, tree[0], path)
        if entry is None:
            raise ArtifactNotFound(owner, path)
        return entry

    async def tree(self, owner: Owner, path: str) -> Tree:
        """Digest, number and size of what lies below a directory; an owner without files has an empty tree.

        Raises:
            ArtifactNotFound: a path was given and is no directory.
        """
        async with self._database.driver() as connection, connection.transaction(isolation="repeatable_read"):
            found = await file_queries.select_tree(connection, owner)
            if found is None:
                measured = Tree(EMPTY_TREE_DIGEST, 0, 0, sealed=False)
            else:
                measured = await measure(connection, found[0], path, sealed=found[1])
        if path and not measured.file_count:
            raise ArtifactNotFound(owner, path)
        return measured

    async def delete(self, owner: Owner, path: str) -> int:
        """Delete a file, a directory with all below it, or the whole tree (empty path); returns how many files.

        Raises:
            TreeSealed: the tree can no longer change.
            ArtifactNotFound: there is nothing.
        """
        async with self._database.driver() as connection:
            # Without it a tree would be made in order to be locked.
            if await file_queries.select_tree(connection, owner) is None:
                raise ArtifactNotFound(owner, path)
            async with connection.transaction():
                tree = await lock_writable(connection, owner)
                deleted = await tree_repository.delete_files(connection, tree.tree_id, path)
        if not deleted:
            raise ArtifactNotFound(owner, path)
        return deleted

    async def downloads(
        self, owner: Owner, paths: Sequence[str], expires_seconds: int | None
    ) -> Sequence[tuple[StoredFile, SignedRequest]]:
        """Requests to fetch files, in the given order.

        Args:
            expires_seconds: how long they work; None takes the setting.

        Raises:
            ArtifactNotFound: one of the paths is no file.
        """
        files, blobs = await self._files_with_blobs(owner, paths)
        downloads = []
        for index, path in enumerate(paths):
            if index % SIGNED_AT_ONCE == SIGNED_AT_ONCE - 1:
                await asyncio.sleep(0)
            file = files[path]
            request = self._store.sign_get(
                blobs[file.digest].object_key,
                file_name=base_name(path),
                content_type=file.content_type,
                expires_seconds=expires_seconds or self._url_seconds,
            )
            downloads.append((file, request))
        return downloads

    async def fetch(self, wanted: Wanted) -> tuple[StoredFile, bytes | SignedRequest]:
        """A file with its content when that is small, else with a request for it.

        Raises:
            ArtifactNotFound: there is neither file nor directory.
            IsADirectory: it is one.
            ContentDamaged: the store does not have what was verified.
        """
        async with self._database.driver() as connection:
            found = await file_queries.select_content(connection, wanted.owner, wanted.path)
        if found is None:
            await self.get(wanted.owner, wanted.path)
            raise IsADirectory(wanted.path)
        file, object_key = found
        if file.size_bytes <= wanted.max_inline_bytes:
            return file, await self._verified(file, object_key)
        return file, self._store.sign_get(
            object_key,
            file_name=base_name(file.path),
            content_type=file.content_type,
            expires_seconds=wanted.expires_seconds or self._url_seconds,
            for_service=not wanted.for_client,
        )

    async def _verified(self, file: StoredFile, object_key: str) -> bytes:
        content = await self._store.read(object_key, file.size_bytes)
        if content is None or hashlib.sha256(content).digest() != file.digest:
            raise ContentDamaged(file.path)
        return content

    async def read(self, owner: Owner, path: str, max_bytes: int) -> tuple[StoredFile, bytes]:
        """A file with its content, which is compared with the digest.

        Args:
            max_bytes: largest size that is read.

        Raises:
            ArtifactNotFound: there is no such file.
            FileTooLarge: it has more bytes.
            ContentDamaged: the store does not have what was verified.
        """
        files, blobs = await self._files_with_blobs(owner, [path])
        file = files[path]
        if file.size_bytes > max_bytes:
            raise FileTooLarge(path, file.size_bytes, max_bytes)
        return file, await self._verified(file, blobs[file.digest].object_key)

    async def _files_with_blobs(
        self, owner: Owner, paths: Sequence[str]
    ) -> tuple[Mapping[str, StoredFile], Mapping[bytes, Blob]]:
        async with self._database.driver() as connection:
            tree = await file_queries.select_tree(connection, owner)
            files = {} if tree is None else await file_queries.select_files(connection, tree[0], paths)
            for path in paths:
                if path not in files:
                    raise ArtifactNotFound(owner, path)
            blobs = await blob_repository.select_blobs(connection, (file.digest for file in files.values()))
        return files, blobs
