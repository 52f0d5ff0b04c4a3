"""Refusals of this service, with the reasons that clients key on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_common.errors import FailedPrecondition, Internal, NotFound

if TYPE_CHECKING:
    from runstream_artifact.entities import Owner


class RunNotFound(NotFound):
    """The run that would own the files does not exist."""

    default_reason = "RUN_NOT_FOUND"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} does not exist; create it first", metadata={"run_id": run_id})


class RunDeleted(FailedPrecondition):
    """The run is marked deleted; its files can be read, new ones are refused."""

    default_reason = "RUN_DELETED"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} is deleted; restore it first", metadata={"run_id": run_id})


class TreeSealed(FailedPrecondition):
    """The tree can no longer change."""

    default_reason = "TREE_SEALED"

    def __init__(self, owner: Owner, detail: str = "") -> None:
        super().__init__(
            f"the files of {owner} are sealed{detail and ': ' + detail}", metadata={"owner_id": owner.id}
        )


class PathConflict(FailedPrecondition):
    """A path would be a file and a directory at once."""

    default_reason = "PATH_CONFLICT"

    def __init__(self, path: str, other: str) -> None:
        super().__init__(
            conflict_message(path, other), metadata={"path": path[:250], "conflicting_path": other[:250]}
        )


def conflict_message(path: str, other: str) -> str:
    """What is wrong between the path of a new file and one that is there."""
    if other.startswith(f"{path}/"):
        return f"{path!r} is a directory: {other!r} lies in it"
    return f"{path!r} cannot be stored: {other!r} is a file"


class ArtifactNotFound(NotFound):
    """There is no such file or directory."""

    default_reason = "ARTIFACT_NOT_FOUND"

    def __init__(self, owner: Owner, path: str) -> None:
        what = f"no file or directory {path!r}" if path else "no files"
        super().__init__(f"{owner} has {what}", metadata={"owner_id": owner.id, "path": path[:250]})


class ArtifactExists(FailedPrecondition):
    """The new path of a move is taken."""

    default_reason = "ARTIFACT_EXISTS"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path!r} exists; delete it first, or choose another path", metadata={"path": path[:250]}
        )


class IsADirectory(FailedPrecondition):
    """A file was asked for, and the path is a directory."""

    default_reason = "IS_A_DIRECTORY"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path!r} is a directory, not a file", metadata={"path": path[:250]})


class FileTooLarge(FailedPrecondition):
    """The file has more bytes than the caller wants to read."""

    default_reason = "FILE_TOO_LARGE"

    def __init__(self, path: str, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"{path!r} has {size_bytes} bytes, more than {max_bytes}", metadata={"path": path[:250]}
        )


class ContentDamaged(Internal):
    """The store has lost a verified file's content, or holds another one."""

    default_reason = "CONTENT_DAMAGED"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"the object store no longer holds the content of {path!r}", metadata={"path": path[:250]}
        )


class UploadNotFound(NotFound):
    """There is no such upload, or it has been completed, given up or has expired."""

    default_reason = "UPLOAD_NOT_FOUND"

    def __init__(self, upload_id: str) -> None:
        super().__init__(
            f"upload {upload_id} is not open: unknown, ended or expired", metadata={"upload_id": upload_id}
        )
