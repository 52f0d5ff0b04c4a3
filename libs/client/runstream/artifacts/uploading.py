"""Uploads: files are hashed, announced, sent straight to the object store, and made visible, a batch at a time.

While one batch is being sent, the next one is being hashed. What the store has already is not sent. An interrupted
multipart upload is found again by owner, path, size and digest, so that repeating the whole call resumes it.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runstream_common.errors import FieldViolation, InvalidArgument, PlatformError
from runstream_proto.artifact.v1 import artifact_service_pb2 as service_pb

from runstream.artifacts.errors import LocalFileChanged, UploadRefused
from runstream.artifacts.hashing import Hasher
from runstream.artifacts.parts import batches, missing_parts
from runstream.artifacts.results import Uploaded, artifact_of
from runstream.artifacts.sending import PartSender
from runstream.artifacts.transfer import BATCHES_AT_ONCE, MAX_BATCH_BYTES, MAX_BATCH_FILES
from runstream.tracking.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runstream_proto.artifact.v1 import types_pb2 as types_pb

    from runstream.artifacts.results import Artifact
    from runstream.artifacts.scanning import NewFile
    from runstream.artifacts.transfer import Transfer

log = logging.getLogger("runstream")

# Of one file: sending again what was lost, and starting anew after an upload that had gone wrong.
MAX_REPAIRS = 3
_FILE_FIELD = re.compile(r"files\[(\d+)\]")


@dataclass(slots=True)
class Sending:
    """A file on its way.

    Attributes:
        file: content and path.
        digest: SHA-256 of the content.
        upload: as announced; None when nothing has to be sent.
        artifact: set when it is visible.
        resumed: whether the upload had parts when it was announced.
        repairs: how often it had to be sent again.
    """

    file: NewFile
    digest: str
    upload: types_pb.Upload | None = None
    artifact: Artifact | None = None
    resumed: bool = False
    repairs: int = 0

    @property
    def size_bytes(self) -> int:
        """Size of the content."""
        return self.file.source.size_bytes


@dataclass(slots=True)
class Uploader:
    """One upload into one owner's tree.

    Attributes:
        transfer: threads, calls and progress.
        owner: whose tree.
        content_type: of every file; empty lets the service guess it from the path.
    """

    transfer: Transfer
    owner: types_pb.Owner
    content_type: str = ""
    _hasher: Hasher = field(init=False)
    _parts: PartSender = field(init=False)

    def __post_init__(self) -> None:
        self._hasher = Hasher(self.transfer.cancellation)
        self._parts = PartSender(self.transfer, self._announce_one)

    def run(self, files: Sequence[NewFile]) -> Uploaded:
        """Upload files.

        Args:
            files: content and paths, which must differ.

        Raises:
            LocalFileChanged: a file was written to meanwhile.
            UploadRefused: a file did not become visible, though it was sent as it should be.
            ObjectStoreAway: the store kept failing; repeating the call goes on where it stopped.
            PlatformError: the service refused it, or is away.
        """
        total = sum(file.source.size_bytes for file in files)
        self.transfer.meter.add(files=len(files), size_bytes=total)
        groups = batches(files, lambda file: file.source.size_bytes, MAX_BATCH_FILES, MAX_BATCH_BYTES)
        done: list[Sending] = []
        for group in self.transfer.batches.stream(self._upload_batch, groups, BATCHES_AT_ONCE):
            done.extend(group)
        sent = [sending for sending in done if sending.upload is not None]
        artifacts = tuple(s.artifact for s in done if s.artifact is not None)
        return Uploaded(artifacts, len(sent), sum(s.size_bytes for s in sent))

    def _upload_batch(self, files: list[NewFile]) -> list[Sending]:
        digests = self.transfer.hashers.map(lambda file: self._hasher.sha256(file.source), files)
        sendings = [Sending(file, digest) for file, digest in zip(files, digests, strict=True)]
        self._announce(sendings)
        waiting = [sending for sending in sendings if sending.artifact is None]
        try:
            while waiting:
                self._send(waiting)
                for sending in waiting:
                    sending.file.source.check_unchanged()
                waiting = self._complete(waiting)
        except LocalFileChanged:
            self._abort_changed(waiting)
            raise
        return sendings

    # Announcing

    def _announce(self, sendings: Sequence[Sending]) -> None:
        """Have uploads opened; what the store has already is visible afterwards."""
        new_files = [
            service_pb.NewFile(
                path=s.file.path, size_bytes=s.size_bytes, digest=s.digest, content_type=self.content_type
            )
            for s in sendings
        ]
        try:
            outcomes = self.transfer.calls.create_uploads(self.owner, new_files)
        except InvalidArgument as error:
            raise _naming_files(error, sendings) from error
        for sending, outcome in zip(sendings, outcomes, strict=True):
            if outcome.HasField("stored"):
                self._finish(sending, outcome.stored, count_bytes=sending.upload is None)
            else:
                sending.upload = outcome.upload
                sending.resumed = bool(outcome.upload.uploaded_parts)

    def _announce_one(self, sending: Sending) -> None:
        self._announce([sending])

    def _finish(self, sending: Sending, artifact: types_pb.Artifact, *, count_bytes: bool) -> None:
        if sending.artifact is None:
            sending.artifact = artifact_of(artifact)
            self.transfer.meter.finish()
            if count_bytes:
                self.transfer.meter.advance(sending.size_bytes)

    # Sending

    def _send(self, sendings: Sequence[Sending]) -> None:
        tasks: list[Callable[[], None]] = []
        for sending in sendings:
            tasks.extend(self._tasks(sending))
        self.transfer.senders.map(lambda task: task(), tasks)

    def _tasks(self, sending: Sending) -> list[Callable[[], None]]:
        upload = sending.upload
        if upload is None or sending.artifact is not None:
            return []
        if not upload.part_count:
            return [lambda: self._parts.send_whole(sending)]
        received = {part.part_number: part.size_bytes for part in upload.uploaded_parts}
        missing = missing_parts(sending.size_bytes, upload.part_size_bytes, received)
        self.transfer.meter.advance(sending.size_bytes - sum(part.size_bytes for part in missing))
        return [lambda part=part: self._parts.send_part(sending, part) for part in missing]  # type: ignore[misc]

    # Completing

    def _complete(self, sendings: Sequence[Sending]) -> list[Sending]:
        """Make files visible; returns those of which something has to be sent again."""
        backoff = Backoff()
        give_up = time.monotonic() + self.transfer.settings.transfer_retry_seconds
        waiting = [s for s in sendings if s.artifact is None]
        again: list[Sending] = []
        while waiting:
            later: list[tuple[Sending, service_pb.UploadFailure]] = []
            for sending, failure in self._complete_once(waiting):
                if failure.retryable:
                    later.append((sending, failure))
                elif self._repair(sending, failure):
                    again.append(sending)
            waiting = [sending for sending, _ in later]
            if later:
                delay = backoff.next_seconds()
                stuck = [item for item in later if item[1].reason != "VERIFICATION_RUNNING"]
                if stuck and time.monotonic() + delay > give_up:
                    raise _refusal(*stuck[0])
                self.transfer.cancellation.wait(delay)
        return again

    def _complete_once(self, sendings: Sequence[Sending]) -> list[tuple[Sending, service_pb.UploadFailure]]:
        ids = [sending.upload.upload_id for sending in sendings if sending.upload is not None]
        results = self.transfer.calls.complete_uploads(ids, sum(s.size_bytes for s in sendings))
        failures: list[tuple[Sending, service_pb.UploadFailure]] = []
        for sending, result in zip(sendings, results, strict=True):
            if result.HasField("artifact"):
                self._finish(sending, result.artifact, count_bytes=False)
            else:
                failures.append((sending, result.failure))
        return failures

    def _repair(self, sending: Sending, failure: service_pb.UploadFailure) -> bool:
        """Prepare what can be sent again; returns whether there is something to send."""
        reason = failure.reason
        sending.repairs += 1
        # An upload that was resumed may hold parts of another content: of a file that was changed and changed back.
        wrong = reason in {"SIZE_MISMATCH", "CHECKSUM_MISMATCH"} and sending.resumed
        if sending.repairs > MAX_REPAIRS or not (
            wrong or reason in {"UPLOAD_INCOMPLETE", "UPLOAD_NOT_FOUND"}
        ):
            raise _refusal(sending, failure)
        self.transfer.meter.advance(-sending.size_bytes)
        if reason == "UPLOAD_INCOMPLETE" and sending.upload is not None and sending.upload.part_count:
            sending.upload = self.transfer.calls.get_upload(sending.upload.upload_id)
        else:
            # An answer that was lost may have made it visible.
            self._announce_one(sending)
            if sending.artifact is not None:
                self.transfer.meter.advance(sending.size_bytes)
        return sending.artifact is None

    def _abort_changed(self, sendings: Sequence[Sending]) -> None:
        """Give up the uploads of files that changed: their content is gone, nobody will ever complete them."""
        for sending in sendings:
            try:
                sending.file.source.check_unchanged()
            except LocalFileChanged:
                if sending.upload is not None:
                    self._abort(sending.upload.upload_id)

    def _abort(self, upload_id: str) -> None:
        try:
            self.transfer.closing_calls.abort_upload(upload_id)
        except PlatformError as error:
            # The service expires it anyway, and the error that led here matters more.
            log.debug("upload %s is left to expire: %s", upload_id, error)


def _refusal(sending: Sending, failure: service_pb.UploadFailure) -> PlatformError:
    return UploadRefused(
        f"{sending.file.source.name}: {failure.message or failure.reason}",
        reason=failure.reason,
        metadata={"path": sending.file.path[:300]},
    )


def _naming_files(error: InvalidArgument, sendings: Sequence[Sending]) -> InvalidArgument:
    """The service's error with files by their names instead of their places in the request."""

    def name(violation: FieldViolation) -> FieldViolation:
        found = _FILE_FIELD.match(violation.field)
        if found is None or int(found[1]) >= len(sendings):
            return violation
        return FieldViolation(sendings[int(found[1])].file.source.name, violation.description)

    return InvalidArgument(
        [name(item) for item in error.violations],
        message=None if error.violations else error.message,
        reason=error.reason,
        metadata=error.metadata,
    )
