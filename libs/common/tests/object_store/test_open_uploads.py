"""Open uploads of the local store: where parts are written, and what happens when several write at once."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING

import pytest
from runstream_common.object_store.api import StoredPart
from runstream_common.object_store.errors import (
    ObjectStoreFull,
    ObjectStoreUnavailable,
    PartsNotAccepted,
    UploadNotFound,
)
from runstream_common.object_store.local_folder import STALE_UPLOAD_SECONDS, Folder
from runstream_common.object_store.local_open_uploads import OpenUploads
from runstream_common.object_store.workers import Workers

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder."""
    made = Folder(tmp_path / "objects")
    made.open()
    return made


@pytest.fixture
def uploads(folder: Folder) -> OpenUploads:
    """Its uploads."""
    return OpenUploads(folder)


def send(uploads: OpenUploads, upload_id: str, number: int, content: bytes, *, known: bool = True) -> str:
    writer = uploads.receive(upload_id, number, len(content) if known else None)
    try:
        writer.write([content[: SIZE // 3], content[SIZE // 3 :]])
        return writer.finish()
    finally:
        writer.close()


def own_files(folder: Folder) -> list[str]:
    return [path.name for path in folder.staging.glob("up-open-*/part-*") if len(path.name) > 20]


def content_of(folder: Folder, key: str) -> bytes:
    return folder.path_of(key).read_bytes()


def test_equal_parts_are_written_where_they_belong(folder: Folder, uploads: OpenUploads) -> None:
    upload_id = uploads.create(3)
    for number, letter in ((2, b"b"), (1, b"a")):
        send(uploads, upload_id, number, letter * SIZE)
    send(uploads, upload_id, 3, b"end")
    assert own_files(folder) == []

    known = uploads.complete(upload_id, uploads.parts(upload_id), "blobs/x")

    assert known is None
    assert content_of(folder, "blobs/x") == b"a" * SIZE + b"b" * SIZE + b"end"
    assert list(folder.staging.iterdir()) == []


def test_a_last_part_that_comes_first_waits_in_a_file_of_its_own(
    folder: Folder, uploads: OpenUploads
) -> None:
    upload_id = uploads.create(2)
    send(uploads, upload_id, 2, b"end")
    assert len(own_files(folder)) == 1
    send(uploads, upload_id, 1, b"a" * SIZE)

    uploads.complete(upload_id, uploads.parts(upload_id), "blobs/x")

    assert content_of(folder, "blobs/x") == b"a" * SIZE + b"end"


@pytest.mark.parametrize("sizes", [(5, 3, 7, 1), (3, 5, 5, 9), (4, 4, 5, 0), (0, 0, 3, 3)])
def test_parts_of_any_size_make_the_content_in_their_order(
    folder: Folder, uploads: OpenUploads, sizes: tuple[int, ...]
) -> None:
    pieces = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    upload_id = uploads.create(len(pieces))
    for number, piece in enumerate(pieces, 1):
        send(uploads, upload_id, number, piece)

    uploads.complete(upload_id, uploads.parts(upload_id), "blobs/x")

    assert content_of(folder, "blobs/x") == b"".join(pieces)


def test_the_digest_of_a_single_part_is_known_from_writing_it(folder: Folder, uploads: OpenUploads) -> None:
    upload_id = uploads.create(0)
    send(uploads, upload_id, 1, b"content", known=False)

    known = uploads.complete(upload_id, uploads.parts(upload_id), "blobs/x")

    assert known is not None
    assert (known.sha256, known.size_bytes) == (hashlib.sha256(b"content").digest(), 7)
    assert content_of(folder, "blobs/x") == b"content"


def test_two_that_send_the_same_single_part_do_not_mix(folder: Folder, uploads: OpenUploads) -> None:
    upload_id = uploads.create(1)
    slow = uploads.receive(upload_id, 1, 6)
    slow.write([b"slo"])
    send(uploads, upload_id, 1, b"faster")
    slow.write([b"wer"])
    slow.finish()
    slow.close()

    known = uploads.complete(upload_id, uploads.parts(upload_id), "blobs/x")

    assert known is not None
    assert known.sha256 == hashlib.sha256(content_of(folder, "blobs/x")).digest()
    assert content_of(folder, "blobs/x") == b"slower"


def test_what_was_not_finished_does_not_count_and_leaves_nothing(
    folder: Folder, uploads: OpenUploads
) -> None:
    upload_id = uploads.create(1)
    writer = uploads.receive(upload_id, 1, 10)
    writer.write([b"half"])
    writer.close()

    assert uploads.parts(upload_id) == []
    assert own_files(folder) == []
    with pytest.raises(PartsNotAccepted):
        uploads.complete(upload_id, [], "blobs/x")


@pytest.mark.parametrize("listed", [[2], [1, 3], [2, 1]])
def test_only_parts_without_a_gap_are_accepted(uploads: OpenUploads, listed: list[int]) -> None:
    upload_id = uploads.create(3)
    for number in (1, 2, 3):
        send(uploads, upload_id, number, b"x" * 3)
    parts = {part.number: part for part in uploads.parts(upload_id)}

    with pytest.raises(PartsNotAccepted):
        uploads.complete(upload_id, [parts[number] for number in listed], "blobs/x")
    with pytest.raises(PartsNotAccepted, match="as listed"):
        uploads.complete(upload_id, [StoredPart(1, 3, "another", "")], "blobs/x")


@pytest.mark.parametrize("end", ["complete", "abort"])
def test_a_writer_that_is_late_changes_nothing(folder: Folder, uploads: OpenUploads, end: str) -> None:
    upload_id = uploads.create(2)
    for number in (1, 2):
        send(uploads, upload_id, number, b"a" * SIZE)
    late = uploads.receive(upload_id, 1, SIZE)
    if end == "complete":
        uploads.complete(upload_id, uploads.parts(upload_id), "blobs/x")
    else:
        uploads.abort(upload_id)

    with pytest.raises(UploadNotFound):
        late.write([b"b" * SIZE])
    with pytest.raises(UploadNotFound):
        late.finish()
    late.close()
    for call in (uploads.parts, lambda upload: uploads.receive(upload, 1, 1)):
        with pytest.raises(UploadNotFound):
            call(upload_id)
    uploads.abort(upload_id)
    if end == "complete":
        assert content_of(folder, "blobs/x") == b"a" * 2 * SIZE


def test_a_damaged_record_spoils_only_itself(folder: Folder, uploads: OpenUploads) -> None:
    upload_id = uploads.create(2)
    for number in (1, 2):
        send(uploads, upload_id, number, b"x" * SIZE)
    log = next(folder.staging.glob("up-open-*/parts"))
    log.write_bytes(log.read_bytes()[:-3])

    assert [part.number for part in uploads.parts(upload_id)] == [1]


@pytest.mark.parametrize("upload_id", ["", "open-x-1", "open-" + "0" * 32 + "-1", "../../etc"])
def test_unknown_uploads(uploads: OpenUploads, upload_id: str) -> None:
    with pytest.raises(UploadNotFound):
        uploads.parts(upload_id)
    uploads.abort(upload_id)


def test_a_folder_that_is_away_forgets_no_upload(
    folder: Folder, uploads: OpenUploads, tmp_path: Path
) -> None:
    upload_id = uploads.create(1)
    folder.root.rename(tmp_path / "away")

    with pytest.raises(ObjectStoreUnavailable):
        uploads.parts(upload_id)


def test_uploads_that_nobody_noted_are_removed_at_a_start(folder: Folder, uploads: OpenUploads) -> None:
    uploads.create(1)
    (old,) = folder.staging.glob("up-open-*")
    uploads.create(1)
    long_ago = old.stat().st_mtime - STALE_UPLOAD_SECONDS - 60
    os.utime(old, (long_ago, long_ago))

    folder.open()

    assert not old.exists()
    assert len(list(folder.staging.glob("up-open-*"))) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_told_from_one_that_fails(code: int) -> None:
    workers = Workers(1, place="a folder")

    def write() -> None:
        raise OSError(code, os.strerror(code))

    try:
        with pytest.raises(ObjectStoreFull, match="a folder"):
            await workers.run("write", write)
    finally:
        workers.stop()
