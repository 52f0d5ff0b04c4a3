"""`Client.artifacts`: everything that can be done with files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from runstream_common.errors import InvalidArgument, NotFound

from runstream.artifacts.calls import CALL_SECONDS, ArtifactCalls
from runstream.artifacts.downloading import Downloader
from runstream.artifacts.locations import joined
from runstream.artifacts.reader import BUFFER_BYTES, ArtifactFile, RangeReader
from runstream.artifacts.results import artifact_of, tree_of, verification_of
from runstream.artifacts.scanning import NewFile, regular_file, scan
from runstream.artifacts.settings import TransferSettings
from runstream.artifacts.sources import BytesSource
from runstream.artifacts.transfer import Transfer
from runstream.artifacts.transport import Transport
from runstream.artifacts.uploading import Uploader

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from runstream.artifacts.locations import Location
    from runstream.artifacts.progress import Progress
    from runstream.artifacts.results import Artifact, Downloaded, Tree, Uploaded, Verification
    from runstream.connection import Connection


class Artifacts:
    """Files of runs, logged models, model versions and traces; thread-safe.

    Every method takes a *place*: a run id, `runs:/<run_id>/path`, `models:/<name>/<version>/path`,
    `models:/<name>@<alias>/path` or `runstream://model-versions/<version_id>/path`, and where it makes sense a path below
    it. Bytes go straight between this process and the object store. Nothing waits in the spool: when the service or the
    store is away for longer than RUNSTREAM_TRANSFER_RETRY_SECONDS, `Unavailable` is raised, and repeating the same call
    goes on where it stopped.

    Args:
        connection: channels.
        timeout_seconds: deadline of a call to the service.
        settings: threads and patience; None reads the environment.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        timeout_seconds: float = CALL_SECONDS,
        settings: TransferSettings | None = None,
    ) -> None:
        self._settings = settings or TransferSettings.load()
        self._calls = ArtifactCalls(connection, timeout_seconds=timeout_seconds)
        host = connection.target.rpartition(":")[0]
        self._transport = Transport(host, self._settings.transfer_threads)

    def close(self) -> None:
        """Close idle connections to the object store."""
        self._transport.close()

    # Looking

    def list(self, place: str, path: str = "", *, recursive: bool = False) -> Iterator[Artifact]:
        """Iterate over a directory by path; pages are read as they are needed. A file lists as nothing.

        Args:
            place: see the class.
            path: directory below it.
            recursive: everything below, files only.
        """
        location = self._calls.locate(place, path)
        for page in self._calls.list_pages(location, recursive=recursive):
            yield from map(artifact_of, page)

    def stat(self, place: str, path: str = "") -> Artifact:
        """Read the entry of one file or directory; raises NotFound."""
        return artifact_of(self._calls.get_artifact(self._named(place, path)))

    def usage(self, place: str, path: str = "") -> Tree:
        """Digest, number of files and size of a directory or a whole tree; one without files is empty."""
        return tree_of(self._calls.get_tree(self._calls.locate(place, path)))

    def verify(
        self, place: str, path: str = "", *, required: Sequence[str] = (), read_content: bool = False
    ) -> Verification:
        """Have the object store compared with what was recorded.

        Args:
            place: see the class.
            path: file or directory below it; empty means all.
            required: further paths that must be there.
            read_content: have every byte read and hashed, instead of comparing size and the store's own checksum.
        """
        location = self._calls.locate(place, path)
        paths = [item for item in (location.path, *map(joined, required)) if item]
        return verification_of(self._calls.verify(location, paths, read_content=read_content))

    # Uploading

    def upload(
        self,
        local_path: str | os.PathLike[str],
        place: str,
        path: str = "",
        *,
        skip_special: bool = False,
        progress: Progress = None,
    ) -> Uploaded:
        """Store a file under its name, or the content of a folder. What the store has already is not sent.

        Args:
            local_path: file or folder.
            place: see the class.
            path: directory below it; empty means the place itself.
            skip_special: leave symbolic links and special files out instead of refusing them.
            progress: True draws a bar, False nothing, None a bar if standard error is a terminal; or a function.

        Raises:
            LocalPathRefused: there are symbolic links, special files or names that cannot be stored.
            LocalFileChanged: a file was written to meanwhile.
            Unavailable: the service or the store is away; repeating the call resumes.
        """
        location = self._calls.locate(place, path)
        files = scan(Path(local_path), location.path, skip_special=skip_special)
        return self._upload(files, location, progress)

    def upload_file(
        self,
        local_path: str | os.PathLike[str],
        place: str,
        path: str = "",
        *,
        content_type: str = "",
        progress: Progress = None,
    ) -> Artifact:
        """Store one file under another name; see `upload`.

        Args:
            local_path: file.
            place: see the class.
            path: path of the file, its name included.
            content_type: media type; empty lets the service guess it.
            progress: see `upload`.
        """
        location = self._named(place, path)
        files = [NewFile(location.path, regular_file(Path(local_path)))]
        return self._upload(files, location, progress, content_type).artifacts[0]

    def upload_bytes(self, content: bytes, place: str, path: str = "", *, content_type: str = "") -> Artifact:
        """Store bytes as one file.

        Args:
            content: what to store.
            place: see the class.
            path: path of the file, its name included.
            content_type: media type; empty lets the service guess it.
        """
        location = self._named(place, path)
        files = [NewFile(location.path, BytesSource(location.path, content))]
        return self._upload(files, location, False, content_type).artifacts[0]

    def _upload(
        self, files: Sequence[NewFile], location: Location, progress: Progress, content_type: str = ""
    ) -> Uploaded:
        with Transfer(self._calls, self._transport, self._settings, "uploading", progress) as transfer:
            return Uploader(transfer, location.owner, content_type).run(files)

    # Downloading

    def download(
        self,
        place: str,
        path: str = "",
        *,
        to: str | os.PathLike[str],
        progress: Progress = None,
    ) -> Downloaded:
        """Fetch a file to a path, or the content of a directory into a folder. What is there already is not fetched.

        Every file's SHA-256 is checked before it appears under its name. A large file that broke off is resumed.

        Args:
            place: see the class.
            path: file or directory below it; empty means the place itself.
            to: path of the file, or the folder; made with its parents.
            progress: see `upload`.

        Raises:
            NotFound: there is nothing there.
            ContentCorrupt: the store does not have what was recorded.
            Unavailable: the service or the store is away; repeating the call resumes.
            OSError: a file cannot be written.
        """
        location = self._calls.locate(place, path)
        with Transfer(self._calls, self._transport, self._settings, "downloading", progress) as transfer:
            return Downloader(transfer, location).run(Path(to))

    def read_bytes(self, place: str, path: str = "", *, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file, or a range of it, into memory; a range is not checked against the digest.

        Args:
            place: see the class.
            path: file below it.
            offset: first byte, 0 or greater.
            length: at most so many bytes; None means up to the end.
        """
        return self._reader(place, path).read(offset, length)

    def open(self, place: str, path: str = "", *, buffer_bytes: int = BUFFER_BYTES) -> BinaryIO:
        """Open a file for reading without downloading it; it can seek, so that e.g. Parquet reads only what it needs.

        Args:
            place: see the class.
            path: file below it.
            buffer_bytes: asked for at once.
        """
        return io.BufferedReader(ArtifactFile(self._reader(place, path)), buffer_bytes)

    def _reader(self, place: str, path: str) -> RangeReader:
        location = self._named(place, path)
        return RangeReader(self._calls, self._transport, location, self._settings.transfer_retry_seconds)

    # Changing

    def delete(self, place: str, path: str = "") -> int:
        """Delete a file, or a directory with all below it; returns the number of files. Raises NotFound."""
        return self._calls.delete(self._calls.locate(place, path))

    def copy(self, source: str, target: str) -> Tree:
        """Copy a file or directory to another place; no bytes are moved.

        Args:
            source: place with the path in it.
            target: place where the file, or the directory's content, goes; at a root a file keeps its name.

        Returns:
            The whole tree of the target.
        """
        return tree_of(self._calls.copy(self._calls.locate(source), self._calls.locate(target)))

    def move(self, place: str, source_path: str, target_path: str) -> int:
        """Rename a file or directory within one tree; returns the number of files.

        Args:
            place: see the class; paths are below it.
            source_path: what is renamed.
            target_path: its new path, which must not exist.
        """
        base = self._calls.locate(place)
        return self._calls.move(base.below(source_path), base.below(target_path).path)

    def resolve(self, place: str, path: str = "") -> str:
        """The place by id, `runstream://…`: what an alias means now."""
        return self._calls.locate(place, path).uri

    def exists(self, place: str, path: str = "") -> bool:
        """Whether there is a file or directory."""
        try:
            self.stat(place, path)
        except NotFound as error:
            if error.reason != "ARTIFACT_NOT_FOUND":
                raise
            return False
        return True

    def _named(self, place: str, path: str) -> Location:
        location = self._calls.locate(place, path)
        if not location.path:
            raise InvalidArgument.of("path", "must name a file or directory")
        return location
