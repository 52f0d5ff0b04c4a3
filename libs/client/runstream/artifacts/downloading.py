"""Downloads: listed, compared with what is there, fetched straight from the object store, and checked by digest.

Large files are fetched in ranges at the same time, small ones at the same time as others. Nothing appears under its name
before its SHA-256 is right.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runstream_common.errors import FailedPrecondition, InvalidArgument

from runstream.artifacts.errors import ContentCorrupt
from runstream.artifacts.hashing import Hasher
from runstream.artifacts.partial_file import RANGE_BYTES, PartialFile
from runstream.artifacts.parts import batches
from runstream.artifacts.results import Downloaded
from runstream.artifacts.sources import FileSource
from runstream.artifacts.transfer import BATCHES_AT_ONCE, MAX_BATCH_BYTES, MAX_BATCH_FILES
from runstream.artifacts.transport import RequestFailed, RequestRefused, repeated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from runstream_proto.artifact.v1 import types_pb2 as types_pb

    from runstream.artifacts.locations import Location
    from runstream.artifacts.parts import Part
    from runstream.artifacts.transfer import Transfer


@dataclass(slots=True)
class Fetching:
    """A file on its way.

    Attributes:
        artifact: what it is.
        target: where it goes.
        request: signed, None until it is asked for.
        is_there: whether the target has the content already.
    """

    artifact: types_pb.Artifact
    target: Path
    request: types_pb.SignedRequest | None = None
    is_there: bool = False

    @property
    def size_bytes(self) -> int:
        """Size of the content."""
        return self.artifact.size_bytes


@dataclass(slots=True)
class _Sum:
    files: int = 0
    size_bytes: int = 0

    def add(self, items: Sequence[Fetching]) -> None:
        self.files += len(items)
        self.size_bytes += sum(item.size_bytes for item in items)


@dataclass(slots=True)
class Downloader:
    """One download from one owner's tree.

    Attributes:
        transfer: threads, calls and progress.
        location: what is downloaded.
    """

    transfer: Transfer
    location: Location
    _hasher: Hasher = field(init=False)
    _signing: threading.Lock = field(init=False, default_factory=threading.Lock)
    _kept: list[PartialFile] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._hasher = Hasher(self.transfer.cancellation)

    def run(self, target: Path) -> Downloaded:
        """Download a file to a path, or the content of a directory into a folder.

        Args:
            target: made with its parents; files that are there with other content are replaced.

        Raises:
            NotFound: there is nothing at the location.
            ContentCorrupt: the store does not have what was recorded.
            ObjectStoreAway: the store kept failing; repeating the call goes on where it stopped.
            OSError: a file cannot be written.
        """
        groups = batches(self._files(target), lambda f: f.size_bytes, MAX_BATCH_FILES, MAX_BATCH_BYTES)
        total, fetched = _Sum(), _Sum()
        try:
            for group in self.transfer.batches.stream(self._download_batch, groups, BATCHES_AT_ONCE):
                total.add(group)
                fetched.add([item for item in group if not item.is_there])
        except KeyboardInterrupt:
            for partial in self._kept:
                partial.discard()
            raise
        return Downloaded(target, total.files, total.size_bytes, fetched.files, fetched.size_bytes)

    # Finding

    def _files(self, target: Path) -> Iterator[Fetching]:
        if self.location.path:
            entry = self.transfer.calls.get_artifact(self.location)
            if not entry.is_directory:
                yield self._fetching(entry, target)
                return
        target.mkdir(parents=True, exist_ok=True)
        prefix = f"{self.location.path}/" if self.location.path else ""
        for page in self.transfer.calls.list_pages(self.location, recursive=True):
            for artifact in page:
                yield self._fetching(artifact, _inside(target, artifact.path.removeprefix(prefix)))

    def _fetching(self, artifact: types_pb.Artifact, target: Path) -> Fetching:
        self.transfer.meter.add(files=1, size_bytes=artifact.size_bytes)
        return Fetching(artifact, target)

    def _download_batch(self, files: list[Fetching]) -> list[Fetching]:
        self.transfer.hashers.map(self._compare, files)
        wanted = [item for item in files if not item.is_there]
        if not wanted:
            return files
        paths = [item.artifact.path for item in wanted]
        downloads = self.transfer.calls.create_downloads(self.location.owner, paths)
        for item, download in zip(wanted, downloads, strict=True):
            # The file may have been replaced since it was listed.
            item.artifact, item.request = download.artifact, download.request
            item.target.parent.mkdir(parents=True, exist_ok=True)
        small = [item for item in wanted if item.size_bytes <= RANGE_BYTES]
        self.transfer.senders.map(self._fetch_small, small)
        for item in wanted:
            if item.size_bytes > RANGE_BYTES:
                self._fetch_large(item)
        return files

    def _compare(self, item: Fetching) -> None:
        target = item.target
        if not target.is_file() or target.is_symlink() or target.stat().st_size != item.size_bytes:
            return
        if self._hasher.sha256(FileSource(target)) == item.artifact.digest:
            item.is_there = True
            self.transfer.meter.advance(item.size_bytes)
            self.transfer.meter.finish()

    # Fetching

    def _fetch_small(self, item: Fetching) -> None:
        temporary = item.target.with_name(f".{item.target.name[:40]}.{uuid.uuid4().hex[:16]}.part")
        try:
            digest = self._fetch_whole(item, temporary)
            if digest != item.artifact.digest:
                raise _corrupt(item, digest)
            temporary.replace(item.target)
        finally:
            temporary.unlink(missing_ok=True)
        self.transfer.meter.finish()

    def _fetch_whole(self, item: Fetching, temporary: Path) -> str:
        digest = hashlib.sha256()

        def once(request: types_pb.SignedRequest) -> None:
            nonlocal digest
            digest = hashlib.sha256()
            with temporary.open("wb", buffering=0) as file, self.transfer.transport.get(request) as pieces:
                for piece in self._received(pieces, item.size_bytes):
                    digest.update(piece)
                    file.write(piece)

        self._repeat(once, item)
        return digest.hexdigest()

    def _fetch_large(self, item: Fetching) -> None:
        partial = PartialFile(item.target, item.size_bytes, item.artifact.digest, self.transfer.cancellation)
        try:
            self._fetch_ranges(item, partial)
            if not partial.digest_is_right() and partial.resumed:
                # What was there from an earlier attempt may have been lost in a crash of the machine.
                self.transfer.meter.advance(-item.size_bytes)
                partial.start_anew()
                self._fetch_ranges(item, partial)
            if not partial.digest_is_right():
                raise _corrupt(item, partial.hexdigest)
            partial.put_in_place()
        except ContentCorrupt:
            partial.discard()
            raise
        except BaseException:
            partial.keep()
            self._kept.append(partial)
            raise
        self.transfer.meter.finish()

    def _fetch_ranges(self, item: Fetching, partial: PartialFile) -> None:
        missing = partial.missing()
        self.transfer.meter.advance(item.size_bytes - sum(part.size_bytes for part in missing))
        self.transfer.senders.map(lambda part: self._fetch_range(item, partial, part), missing)

    def _fetch_range(self, item: Fetching, partial: PartialFile, part: Part) -> None:
        def once(request: types_pb.SignedRequest) -> None:
            with self.transfer.transport.get(request, start=part.start, end=part.end) as pieces:
                partial.write(part.start, self._received(pieces, part.size_bytes))

        self._repeat(once, item)
        partial.add_done(part)

    def _received(self, pieces: Iterator[memoryview], size_bytes: int) -> Iterator[memoryview]:
        """The pieces of an answer; raises RequestFailed when they are not as many bytes as they should be."""
        received = 0
        try:
            for piece in pieces:
                self.transfer.cancellation.check()
                if received + len(piece) > size_bytes:
                    raise RequestFailed(
                        f"the store sent more than the {size_bytes} bytes that were asked for"
                    )
                yield piece
                received += len(piece)
                self.transfer.meter.advance(len(piece))
            if received < size_bytes:
                raise RequestFailed(f"the store sent {received} of {size_bytes} bytes")
        except BaseException:
            self.transfer.meter.advance(-received)
            raise

    def _repeat(self, once: Callable[[types_pb.SignedRequest], None], item: Fetching) -> None:
        def attempt() -> None:
            request = item.request
            assert request is not None  # noqa: S101 - given with the batch
            try:
                once(request)
            except RequestRefused as error:
                if not error.may_have_expired:
                    raise
                once(self._signed_again(item, request))

        settings, cancellation = self.transfer.settings, self.transfer.cancellation
        repeated(attempt, item.artifact.path, settings.transfer_retry_seconds, cancellation)

    def _signed_again(self, item: Fetching, refused: types_pb.SignedRequest) -> types_pb.SignedRequest:
        with self._signing:
            if item.request is None or item.request is refused:  # else another thread was quicker
                (download,) = self.transfer.calls.create_downloads(self.location.owner, [item.artifact.path])
                if download.artifact.digest != item.artifact.digest:
                    raise FailedPrecondition(
                        f"{item.artifact.path} was replaced while it was being downloaded; download it again",
                        reason="ARTIFACT_REPLACED",
                    )
                item.request = download.request
            return item.request


def _corrupt(item: Fetching, digest: str) -> ContentCorrupt:
    return ContentCorrupt(
        f"{item.artifact.path}: what was downloaded has SHA-256 {digest}, recorded is {item.artifact.digest}; "
        f"{item.target} was not touched",
        metadata={"path": item.artifact.path[:300]},
    )


def _inside(folder: Path, relative: str) -> Path:
    """A path below a folder; whatever the service says, nothing is written elsewhere."""
    names = relative.split("/")
    target = folder.joinpath(*names)
    if any(name in {"", ".", ".."} or "\\" in name or "\0" in name for name in names):
        raise InvalidArgument.of("path", f"{relative!r} cannot be the name of a local file")
    return target
