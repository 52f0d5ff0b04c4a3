"""What a folder adds: it serves itself, survives restarts, and keeps slow writers from what is completed."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from runstream_common.object_store import local_folder
from runstream_common.object_store.api import HashedContent
from runstream_common.object_store.errors import (
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    PartsNotAccepted,
    UploadNotFound,
)
from runstream_common.object_store.keys import blob_key
from runstream_common.object_store.local_folder import Folder
from runstream_common.object_store.local_http import LocalHttpServer
from runstream_common.object_store.local_open_uploads import OpenUploads
from runstream_common.object_store.local_signing import UrlSigner
from runstream_common.object_store.local_transfers import PIECE_BYTES
from runstream_common.object_store.local_uploads import Uploads, UploadShape
from runstream_common.object_store.workers import Workers

from tests.support.object_store import (
    SECRET,
    Multipart,
    Sender,
    ShiftedClock,
    absolute,
    crc32,
    local_store,
    sha256,
    signed_get,
    signed_put,
)

if TYPE_CHECKING:
    from pathlib import Path

    from runstream_common.object_store.api import SignedRequest
    from runstream_common.object_store.local import LocalStore

CONTENT = os.urandom(3 * PIECE_BYTES + 17)
KEY = blob_key(sha256(CONTENT))


async def open_request(request: SignedRequest) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the head of a request, and leave the body to the test."""
    parts = urlsplit(absolute(request.url))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = [f"{request.method} {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}"]
    head += [f"{name}: {value}" for name, value in request.headers.items()]
    writer.write("\r\n".join([*head, "", ""]).encode())
    await writer.drain()
    return reader, writer


async def no_transfers(server: LocalHttpServer) -> None:
    """Wait until the server is done with every request."""
    async with asyncio.timeout(30):
        while server.transfers:
            await asyncio.sleep(0.001)


def files(folder: Path) -> list[Path]:
    """Every file below, hidden ones too."""
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_an_upload_goes_on_after_a_restart(tmp_path: Path, send: Sender) -> None:
    before = local_store(tmp_path)
    await before.start()
    upload = Multipart(before, send, KEY)
    await upload.open()
    await upload.send(1)
    await upload.send(3)
    await before.stop()
    after = local_store(tmp_path)
    await after.start()
    upload.store = after
    assert await upload.received() == [1, 3]
    assert (await upload.send(2)).status == 200
    await upload.complete()
    assert await after.hash_content(KEY) == HashedContent(sha256(upload.content), len(upload.content))
    await after.stop()
    # Nothing is left of it but the object.
    assert files(tmp_path) == [tmp_path / KEY]


async def test_a_client_that_asks_first_is_told_to_go_on(local: LocalStore) -> None:
    request = signed_put(local, KEY, CONTENT)
    asking = replace(request, headers={**request.headers, "expect": "100-continue"})
    reader, writer = await open_request(asking)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(CONTENT)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    assert await local.read(KEY, len(CONTENT) + 1) == CONTENT


async def test_a_record_cut_off_by_a_crash_counts_for_nothing(
    local: LocalStore, send: Sender, tmp_path: Path
) -> None:
    upload = Multipart(local, send, KEY)
    await upload.open()
    await upload.send(1)
    (log,) = (tmp_path / "objects").rglob("parts")
    whole = log.read_bytes()
    await upload.send(2)
    log.write_bytes(log.read_bytes()[: len(whole) + 7])
    assert await upload.received() == [1]
    await upload.send(2)
    await upload.send(3)
    assert await upload.received() == [1, 2, 3]


async def test_an_overwritten_part_counts_only_when_it_is_whole_again(
    local: LocalStore, send: Sender
) -> None:
    upload = Multipart(local, send, KEY)
    await upload.open()
    for number in (1, 2, 3):
        await upload.send(number)
    reader, writer = await open_request(upload.signed(2))
    writer.write(b"x" * (PIECE_BYTES + 1000))
    writer.write_eof()
    await reader.read()
    writer.close()
    await no_transfers(local._http)
    assert await upload.received() == [1, 3]
    with pytest.raises(PartsNotAccepted):
        await upload.complete()
    await upload.send(2)
    await upload.complete()


async def test_a_slow_writer_cannot_touch_what_was_completed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.open()
    uploads = Uploads(folder)
    upload_id = uploads.create(10, 5)
    slow = uploads.receive(upload_id, 1, "")
    slow.write([b"slow"])
    for number, content in ((1, b"first"), (2, b"other")):
        writer = uploads.receive(upload_id, number, crc32(content))
        writer.write([content])
        writer.finish()
        writer.close()
    # The completion may come through another process, which shares nothing with the writer but the folder.
    Uploads(Folder(tmp_path)).complete(upload_id, uploads.parts(upload_id), KEY)
    with pytest.raises(UploadNotFound):
        slow.write([b"!"])
    with pytest.raises(UploadNotFound):
        slow.finish()
    slow.close()
    assert (tmp_path / KEY).read_bytes() == b"firstother"


@pytest.mark.parametrize(
    ("size_bytes", "part_size_bytes", "ranges"),
    [(10, 5, [(0, 5), (5, 5)]), (11, 5, [(0, 5), (5, 5), (10, 1)]), (3, 5, [(0, 3)]), (0, 5, [(0, 0)])],
)
def test_parts_cover_the_content(
    size_bytes: int, part_size_bytes: int, ranges: list[tuple[int, int]]
) -> None:
    shape = UploadShape.new(size_bytes, part_size_bytes)
    assert UploadShape.parse(str(shape)) == shape
    assert [shape.part_range(number) for number in range(1, shape.part_count + 1)] == ranges
    assert shape.part_range(0) is None
    assert shape.part_range(len(ranges) + 1) is None


@pytest.mark.parametrize("upload_id", ["", "x", "../../etc", f"{'0' * 32}-5-0", f"{'0' * 32}-5-5/.."])
async def test_upload_ids_that_are_none(local: LocalStore, upload_id: str) -> None:
    with pytest.raises(UploadNotFound):
        await local.list_parts(KEY, upload_id)
    await local.abort_multipart(KEY, upload_id)


async def test_content_larger_than_a_piece(local: LocalStore, send: Sender) -> None:
    assert (await send(signed_put(local, KEY, CONTENT), CONTENT)).status == 200
    assert (await send(signed_get(local, KEY))).body == CONTENT
    answer = await send(signed_get(local, KEY), headers={"Range": f"bytes=7-{len(CONTENT) - 9}"})
    assert answer.body == CONTENT[7:-8]
    assert (await send(signed_put(local, KEY, CONTENT), CONTENT[:-1] + b"!")).status == 400
    assert await local.read(KEY, len(CONTENT)) == CONTENT


async def test_a_head_tells_the_size(local: LocalStore, send: Sender) -> None:
    await send(signed_put(local, KEY, CONTENT), CONTENT)
    answer = await send(signed_get(local, KEY), method="HEAD")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", str(len(CONTENT)))


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,4-5", "pages=1-2", "bytes=x"])
async def test_a_range_that_means_nothing_is_ignored(local: LocalStore, send: Sender, asked: str) -> None:
    await send(signed_put(local, KEY, CONTENT), CONTENT)
    answer = await send(signed_get(local, KEY), headers={"Range": asked})
    assert (answer.status, answer.body) == (200, CONTENT)


@pytest.mark.parametrize("sent_bytes", [0, 10, PIECE_BYTES + 10])
async def test_a_client_that_breaks_off_leaves_nothing(
    local: LocalStore, tmp_path: Path, sent_bytes: int
) -> None:
    reader, writer = await open_request(signed_put(local, KEY, CONTENT))
    writer.write(CONTENT[:sent_bytes])
    writer.write_eof()
    await reader.read()
    writer.close()
    await no_transfers(local._http)
    assert files(tmp_path) == []


async def test_a_body_without_a_size_is_refused(local: LocalStore) -> None:
    request = signed_put(local, KEY, b"")
    parts = urlsplit(absolute(request.url))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode() + b"0\r\n\r\n")
    assert b" 403 " in await reader.readline()
    writer.close()


async def test_pages_of_other_origins_may_fetch(local: LocalStore, send: Sender) -> None:
    request = signed_put(local, KEY, CONTENT)
    preflight = await send(
        request, method="OPTIONS", headers={"content-length": None, "Origin": "https://ui"}
    )
    assert preflight.status == 204
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Range" in preflight.headers["Access-Control-Allow-Headers"]
    await send(request, CONTENT)
    answer = await send(signed_get(local, KEY))
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Content-Range" in answer.headers["Access-Control-Expose-Headers"]
    # An uploaded page is saved, not shown as a page of this host.
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    "path", ["/", "/objects/", "/objects/blobs/x", "/etc/passwd", "/objects/../../etc/passwd"]
)
async def test_what_is_not_signed_is_refused(local: LocalStore, send: Sender, path: str) -> None:
    request = signed_get(local, KEY)
    answer = await send(request, url=f"{local.base_url}{path}")
    assert answer.status == 403
    assert b"<Error><Code>" in answer.body


async def test_urls_begin_with_the_public_url_or_have_no_host(local: LocalStore) -> None:
    assert signed_get(local, KEY).url.startswith("http://:")
    assert urlsplit(local.base_url).hostname is None


async def test_a_folder_that_is_away_is_told_from_an_object_that_is(
    local: LocalStore, send: Sender, tmp_path: Path
) -> None:
    upload = Multipart(local, send, KEY)
    await upload.open()
    await upload.send(1)
    (tmp_path / "objects").rename(tmp_path / "away")
    for call in (
        local.ping(),
        local.stat(KEY),
        local.hash_content(KEY),
        local.read(KEY, 1),
        local.list_parts(KEY, upload.upload_id),
        local.copy(KEY, "uploads/x"),
        local.create_multipart(KEY, content_type="", size_bytes=1, part_size_bytes=1),
    ):
        with pytest.raises(ObjectStoreUnavailable):
            await call
    for request, body in (
        (upload.signed(2), upload.parts[1]),
        (signed_put(local, KEY, b"small"), b"small"),
        (signed_get(local, KEY), None),
    ):
        answer = await send(request, body)
        assert answer.status == 503
        assert b"ServiceUnavailable" in answer.body
    (tmp_path / "away").rename(tmp_path / "objects")
    await local.ping()
    assert await upload.received() == [1]


async def test_a_folder_that_cannot_be_used_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ObjectStoreRefused, match="file"):
        await local_store(tmp_path / "file" / "below").start()


async def test_a_disk_without_room_is_said_before_anything_is_sent(local: LocalStore) -> None:
    with pytest.raises(ObjectStoreUnavailable, match="no room"):
        await local.create_multipart(KEY, content_type="", size_bytes=4 * 2**50, part_size_bytes=2**40)


async def test_what_dead_processes_left_is_removed_at_start(tmp_path: Path) -> None:
    staging = tmp_path / local_folder.STAGING
    staging.mkdir()
    stale, fresh = staging / "put-stale", staging / "put-fresh"
    for path in (stale, fresh):
        path.write_text("half")
    long_ago = time.time() - local_folder.STALE_SECONDS - 60
    os.utime(stale, (long_ago, long_ago))
    Folder(tmp_path).open()
    assert files(tmp_path) == [fresh]


async def test_a_client_that_hangs_up_within_a_download_frees_its_place(
    local: LocalStore, send: Sender
) -> None:
    await send(signed_put(local, KEY, CONTENT), CONTENT)
    reader, writer = await open_request(signed_get(local, KEY))
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await no_transfers(local._http)


async def test_a_file_that_became_shorter_is_not_taken_for_whole(local: LocalStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    with path.open("rb") as file, pytest.raises(ConnectionError):
        await local._http._bodies.read(file.fileno(), 5, 6)


class Bounded:
    """A server with its own bounds."""

    def __init__(self, root: Path, **bounds: float) -> None:
        self.folder = Folder(root)
        self.signer = UrlSigner(SECRET, ShiftedClock())
        self.workers = Workers(4, place="the folder")
        self.server = LocalHttpServer(
            self.folder,
            Uploads(self.folder),
            OpenUploads(self.folder),
            self.workers,
            host="127.0.0.1",
            port=0,
            **bounds,
        )

    async def __aenter__(self) -> Bounded:
        self.folder.open()
        await self.server.start(self.signer)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()
        self.workers.stop()

    def put(self, content: bytes) -> SignedRequest:
        headers = {
            "content-length": str(len(content)),
            "content-type": "a/b",
            "x-amz-checksum-sha256": "AAAA",
        }
        return self.signer.sign(
            "PUT", KEY, base_url=f"http://:{self.server.port}", headers=headers, query={}, expires_seconds=60
        )


async def test_a_client_that_sends_nothing_is_given_up(tmp_path: Path) -> None:
    async with Bounded(tmp_path, idle_seconds=0.05) as bounded:
        reader, writer = await open_request(bounded.put(CONTENT))
        writer.write(b"some")
        assert b" 400 " in await reader.readline()
        assert b"RequestTimeout" in await reader.read()
        writer.close()
    assert files(tmp_path) == []


async def test_more_transfers_than_bounded_are_told_to_come_back(tmp_path: Path, send: Sender) -> None:
    async with Bounded(tmp_path, max_transfers=1) as bounded:
        _, writer = await open_request(bounded.put(CONTENT))
        async with asyncio.timeout(30):
            while bounded.server.transfers == 0:
                await asyncio.sleep(0.001)
        answer = await send(bounded.put(b"other"), b"other")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert b"SlowDown" in answer.body
        writer.close()
        await no_transfers(bounded.server)
        # Room again: now it is the checksum that is wrong.
        assert (await send(bounded.put(b"other"), b"other")).status == 400
