"""What the artifact half of the client returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream.query.frames import time_of, time_text

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from runstream_proto.artifact.v1 import artifact_service_pb2 as service_pb
    from runstream_proto.artifact.v1 import types_pb2 as types_pb


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file or directory of a tree.

    Attributes:
        path: relative to the owner's root, "/" between names.
        is_directory: whether it is a directory.
        size_bytes: size; of a directory 0.
        digest: SHA-256, 64 hexadecimal characters; of a directory empty.
        content_type: media type; of a directory empty.
        stored_time: when it became visible; of a directory None.
    """

    path: str
    is_directory: bool
    size_bytes: int
    digest: str
    content_type: str
    stored_time: datetime | None

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "path": self.path,
            "is_directory": self.is_directory,
            "size_bytes": self.size_bytes,
            "digest": self.digest,
            "content_type": self.content_type,
            "stored_time": time_text(self.stored_time),
        }


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree, or a directory of one, in numbers.

    Attributes:
        digest: SHA-256 over digests, sizes and paths of its files.
        file_count: files.
        size_bytes: sum of their sizes.
        sealed: whether it can no longer change.
    """

    digest: str
    file_count: int
    size_bytes: int
    sealed: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "digest": self.digest,
            "file_count": self.file_count,
            "size_bytes": self.size_bytes,
            "sealed": self.sealed,
        }


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload did.

    Attributes:
        artifacts: the files that are visible now, in the order of their paths on this side.
        sent_count: files whose content was sent.
        sent_bytes: bytes that were sent; what the store had already is not among them.
    """

    artifacts: tuple[Artifact, ...]
    sent_count: int
    sent_bytes: int

    @property
    def size_bytes(self) -> int:
        """Sum of the files' sizes."""
        return sum(artifact.size_bytes for artifact in self.artifacts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the files."""
        return {
            "file_count": len(self.artifacts),
            "size_bytes": self.size_bytes,
            "sent_count": self.sent_count,
            "sent_bytes": self.sent_bytes,
        }


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a download did.

    Attributes:
        path: where the file or the directory is now.
        file_count: files that are there now.
        size_bytes: sum of their sizes.
        fetched_count: files that were fetched; the others were there with the same content.
        fetched_bytes: bytes of those.
    """

    path: Path
    file_count: int
    size_bytes: int
    fetched_count: int
    fetched_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "path": str(self.path),
            "file_count": self.file_count,
            "size_bytes": self.size_bytes,
            "fetched_count": self.fetched_count,
            "fetched_bytes": self.fetched_bytes,
        }


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is not as recorded.

    Attributes:
        path: path.
        reason: "MISSING", "SIZE_MISMATCH" or "CHECKSUM_MISMATCH".
        message: in words.
    """

    path: str
    reason: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"path": self.path, "reason": self.reason, "message": self.message}


@dataclass(frozen=True, slots=True)
class Verification:
    """What comparing the object store with the records found.

    Attributes:
        verified_count: files that were compared.
        verified_bytes: bytes of those.
        problems: at most 1,000; none means that all is well.
    """

    verified_count: int
    verified_bytes: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is as recorded."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "ok": self.ok,
            "verified_count": self.verified_count,
            "verified_bytes": self.verified_bytes,
            "problems": [problem.to_dict() for problem in self.problems],
        }


def artifact_of(message: types_pb.Artifact) -> Artifact:
    """The artifact in an answer."""
    return Artifact(
        message.path,
        message.is_directory,
        message.size_bytes,
        message.digest,
        message.content_type,
        time_of(message.stored_time_ms) if message.stored_time_ms else None,
    )


def tree_of(message: types_pb.Tree) -> Tree:
    """The tree in an answer."""
    return Tree(message.digest, message.file_count, message.size_bytes, message.sealed)


def verification_of(message: service_pb.VerifyArtifactsResponse) -> Verification:
    """The findings in an answer."""
    problems = tuple(Problem(p.path, p.reason, p.message) for p in message.problems)
    return Verification(message.verified_count, message.verified_bytes, problems)
