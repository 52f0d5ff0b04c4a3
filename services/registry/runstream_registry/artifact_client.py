"""Asks the artifact service about files: copy, measure, verify, and read small ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from runstream_common.errors import FailedPrecondition, NotFound
from runstream_common.rpc.status import from_rpc_error
from runstream_proto.artifact.v1 import artifact_service_pb2 as pb
from runstream_proto.artifact.v1 import types_pb2 as types
from runstream_proto.artifact.v1.artifact_service_pb2_grpc import ArtifactServiceStub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

CALL_TIMEOUT_SECONDS = 30.0
"""A copy of a large tree takes some seconds."""

VERIFY_TIMEOUT_SECONDS = 3600.0
"""Reading and hashing every byte of a large model takes minutes."""

FILE_TOO_LARGE = "FILE_TOO_LARGE"
"""Why ``ReadArtifact`` refuses a large file."""


@dataclass(frozen=True, slots=True)
class FileOwner:
    """Whose tree; the kind is a number of ``runstream.artifact.v1.OwnerKind``."""

    kind: types.OwnerKind.ValueType
    owner_id: str

    @classmethod
    def run(cls, run_id: str) -> FileOwner:
        """The tree of a run."""
        return cls(types.OWNER_KIND_RUN, run_id)

    @classmethod
    def version(cls, version_id: str) -> FileOwner:
        """The tree of a registered model's version."""
        return cls(types.OWNER_KIND_MODEL_VERSION, version_id)

    @classmethod
    def logged_model(cls, model_id: str) -> FileOwner:
        """The tree of a logged model."""
        return cls(types.OWNER_KIND_LOGGED_MODEL, model_id)

    def message(self) -> types.Owner:
        """As the artifact service takes it."""
        return types.Owner(kind=self.kind, id=self.owner_id)


@dataclass(frozen=True, slots=True)
class TreeFacts:
    """A tree in numbers; the digest is SHA-256 as hexadecimal text."""

    digest: str
    file_count: int
    size_bytes: int
    sealed: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """What a comparison with the store found; no problems means that all is well."""

    file_count: int
    size_bytes: int
    problems: tuple[str, ...]


class ArtifactClient:
    """Calls the artifact service.

    Args:
        channel: to the service.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # The generated stub does not know that the channel is an asynchronous one.
        self._files: Any = ArtifactServiceStub(channel)

    async def copy_sealed(self, source: FileOwner, path: str, target: FileOwner) -> TreeFacts:
        """Copy a file or directory to the root of another tree and make that immutable; repeating it is harmless.

        Raises:
            NotFound: there is nothing at the path.
            PlatformError: what the artifact service answered, or Unavailable when it is away.
        """
        request = pb.CopyArtifactsRequest(
            source_owner=source.message(), source_path=path, target_owner=target.message(), seal_target=True
        )
        answer = await _called(self._files.CopyArtifacts(request, timeout=CALL_TIMEOUT_SECONDS))
        return _tree(answer.tree)

    async def tree(self, owner: FileOwner, path: str = "") -> TreeFacts:
        """Digest and size of a tree or a directory of it. Raises as ``copy_sealed``."""
        request = pb.GetTreeRequest(owner=owner.message(), path=path)
        answer = await _called(self._files.GetTree(request, timeout=CALL_TIMEOUT_SECONDS))
        return _tree(answer.tree)

    async def verify(self, owner: FileOwner, paths: Sequence[str], *, read_content: bool) -> Verification:
        """Compare what the store holds with what was recorded.

        Args:
            paths: that must be there; empty means whatever is there.
            read_content: hash every byte instead of comparing sizes.

        Raises:
            PlatformError: what the artifact service answered, or Unavailable when it is away.
        """
        request = pb.VerifyArtifactsRequest(owner=owner.message(), paths=paths, read_content=read_content)
        timeout = VERIFY_TIMEOUT_SECONDS if read_content else CALL_TIMEOUT_SECONDS
        answer = await _called(self._files.VerifyArtifacts(request, timeout=timeout))
        problems = tuple(f"{item.path}: {item.message}" for item in answer.problems)
        return Verification(answer.verified_count, answer.verified_bytes, problems)

    async def read_file(self, owner: FileOwner, path: str, *, max_bytes: int) -> bytes | None:
        """A small file's content; None when there is none or it is larger than ``max_bytes``.

        Raises:
            PlatformError: what the artifact service answered, or Unavailable when it or the object store is away.
        """
        request = pb.ReadArtifactRequest(owner=owner.message(), path=path, max_bytes=max_bytes)
        try:
            answer = await _called(self._files.ReadArtifact(request, timeout=CALL_TIMEOUT_SECONDS))
        except NotFound:
            return None
        except FailedPrecondition as error:
            if error.reason == FILE_TOO_LARGE:
                return None
            raise
        content: bytes = answer.content
        return content


async def _called(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


def _tree(tree: types.Tree) -> TreeFacts:
    return TreeFacts(tree.digest, tree.file_count, tree.size_bytes, tree.sealed)
