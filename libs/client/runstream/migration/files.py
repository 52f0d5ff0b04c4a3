"""Files of an MLflow artifact location, fetched a bounded batch at a time, and what was carried over of them."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from runstream_common.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_BATCH_BYTES = 256 * 1024 * 1024
"""Of files that are on this machine's disk at a time; a larger one comes alone."""
MAX_BATCH_FILES = 500

_PROXIED = "mlflow-artifacts:"


@dataclass(frozen=True, slots=True, order=True)
class FileFact:
    """One file: path below its root, size in bytes, SHA-256 in hexadecimal digits (empty where nobody tells it)."""

    path: str
    size_bytes: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Files of one root in numbers.

    Attributes:
        file_count: files.
        size_bytes: their sizes.
        digest: SHA-256 over paths, sizes and digests.
    """

    file_count: int = 0
    size_bytes: int = 0
    digest: str = ""

    @classmethod
    def of(cls, files: Iterable[FileFact]) -> Inventory:
        """The same for any order of the files."""
        lines = sorted(files)
        text = "".join(f"{file.digest} {file.size_bytes} {file.path}\n" for file in lines)
        return cls(
            len(lines), sum(file.size_bytes for file in lines), hashlib.sha256(text.encode()).hexdigest()
        )


class FileReader:
    """Reads artifact locations of one MLflow deployment.

    Args:
        tracking_uri: its address.
        artifacts_root: folder or URI that stands for `mlflow-artifacts:/`, the server's `--artifacts-destination`; empty
            when the server itself is asked.
    """

    def __init__(self, tracking_uri: str, artifacts_root: str = "") -> None:
        self._tracking_uri = tracking_uri
        self._root = artifacts_root.rstrip("/")

    def batches(self, artifact_uri: str) -> Iterator[Path]:
        """Folders with the files of a location, each a part of them; a folder is gone when the next one is asked for.

        Raises:
            InvalidArgument: the location is behind a server that was not named.
            MlflowException, OSError: it cannot be read.
        """
        repository = get_artifact_repository(self._resolved(artifact_uri), tracking_uri=self._tracking_uri)
        batch: list[str] = []
        size_bytes = 0
        for path, size in walk(repository):
            if batch and (size_bytes + size > MAX_BATCH_BYTES or len(batch) >= MAX_BATCH_FILES):
                with _fetched(repository, batch) as folder:
                    yield folder
                batch, size_bytes = [], 0
            batch.append(path)
            size_bytes += size
        if batch:
            with _fetched(repository, batch) as folder:
                yield folder

    def _resolved(self, artifact_uri: str) -> str:
        if not artifact_uri.startswith(_PROXIED):
            return artifact_uri
        if self._root:
            return f"{self._root}/{artifact_uri.removeprefix(_PROXIED).lstrip('/')}"
        if not self._tracking_uri.startswith("http"):
            raise InvalidArgument.of(
                "--artifacts-from",
                f"is needed: {artifact_uri} is behind a tracking server, and only its database was named",
            )
        return artifact_uri


def facts_of(folder: Path) -> list[FileFact]:
    """The files of a folder with their digests."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append(FileFact(path.relative_to(folder).as_posix(), path.stat().st_size, digest))
    return found


def walk(repository: Any) -> Iterator[tuple[str, int]]:
    """Paths and sizes of all files below a root."""
    folders: list[str | None] = [None]
    while folders:
        for entry in repository.list_artifacts(folders.pop()):
            if entry.is_dir:
                folders.append(entry.path)
            else:
                yield entry.path, entry.file_size or 0


@contextmanager
def _fetched(repository: Any, paths: Iterable[str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="runstream-files-") as name:
        for path in paths:
            local = Path(name, path)
            local.parent.mkdir(parents=True, exist_ok=True)
            repository._download_file(path, str(local))  # noqa: SLF001 - what repositories implement, without a look-up
        yield Path(name)
