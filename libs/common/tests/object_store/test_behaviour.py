"""What any object store does, over a folder and over a real S3 server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from runstream_common.object_store.api import HashedContent, StoreChecks
from runstream_common.object_store.errors import ObjectNotFound, PartsNotAccepted, UploadNotFound
from runstream_common.object_store.keys import blob_key

from tests.support.object_store import Multipart, Sender, ShiftedClock, sha256, signed_get, signed_put

if TYPE_CHECKING:
    from runstream_common.object_store.api import ObjectStore

CONTENT = bytes(range(256)) * 40
KEY = blob_key(sha256(CONTENT))


async def test_everything_is_verified(store: ObjectStore) -> None:
    assert store.checks == StoreChecks(sha256=True, part_crc32=True)


async def test_content_comes_back_as_sent(store: ObjectStore, send: Sender) -> None:
    assert await store.stat(KEY) is None
    assert (await send(signed_put(store, KEY, CONTENT), CONTENT)).status == 200
    stat = await store.stat(KEY)
    assert stat is not None
    assert stat.size_bytes == len(CONTENT)
    assert stat.sha256 in {None, sha256(CONTENT)}
    assert await store.hash_content(KEY) == HashedContent(sha256(CONTENT), len(CONTENT))
    assert await store.read(KEY, 10) == CONTENT[:10]
    answer = await send(signed_get(store, KEY, file_name='mödel "1".bin'))
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["Content-Type"] == "text/plain"
    assert "filename*=UTF-8''m%C3%B6del%20%221%22.bin" in answer.headers["Content-Disposition"]


async def test_empty_content(store: ObjectStore, send: Sender) -> None:
    assert (await send(signed_put(store, KEY, b""), b"")).status == 200
    assert await store.hash_content(KEY) == HashedContent(sha256(b""), 0)
    assert await store.read(KEY, 10) == b""
    assert (await send(signed_get(store, KEY))).body == b""


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-0", 206, CONTENT[:1]),
        ("bytes=10-19", 206, CONTENT[10:20]),
        ("bytes=10000-", 206, CONTENT[10000:]),
        ("bytes=-5", 206, CONTENT[-5:]),
        ("bytes=10-99999999", 206, CONTENT[10:]),
        (f"bytes={len(CONTENT)}-", 416, None),
    ],
)
async def test_ranges(
    store: ObjectStore, send: Sender, asked: str, status: int, expected: bytes | None
) -> None:
    await send(signed_put(store, KEY, CONTENT), CONTENT)
    answer = await send(signed_get(store, KEY), headers={"Range": asked})
    assert answer.status == status
    if expected is not None:
        assert answer.body == expected
        begin = (
            CONTENT.index(expected)
            if len(expected) > 10
            else int(answer.headers["Content-Range"][6:].split("-")[0])
        )
        assert answer.headers["Content-Range"].endswith(f"/{len(CONTENT)}")
        assert CONTENT[begin : begin + len(expected)] == expected


async def test_wrong_bytes_are_refused_and_never_readable(store: ObjectStore, send: Sender) -> None:
    wrong = b"!" + CONTENT[1:]
    assert (await send(signed_put(store, KEY, CONTENT), wrong)).status == 400
    assert await store.stat(KEY) is None
    assert (await send(signed_get(store, KEY))).status == 404


async def test_wrong_bytes_do_not_harm_what_is_there(store: ObjectStore, send: Sender) -> None:
    await send(signed_put(store, KEY, CONTENT), CONTENT)
    assert (await send(signed_put(store, KEY, CONTENT), b"!" + CONTENT[1:])).status == 400
    assert await store.hash_content(KEY) == HashedContent(sha256(CONTENT), len(CONTENT))


async def test_another_size_is_refused(store: ObjectStore, send: Sender) -> None:
    answer = await send(signed_put(store, KEY, CONTENT), CONTENT[:-1], headers={"content-length": None})
    assert answer.status == 403
    assert await store.stat(KEY) is None


async def test_expired_urls_are_refused(store: ObjectStore, send: Sender, clock: ShiftedClock) -> None:
    await send(signed_put(store, KEY, CONTENT), CONTENT)
    clock.shift_seconds = -3600
    late = [signed_put(store, KEY, b"later"), signed_get(store, KEY)]
    clock.shift_seconds = 0
    for request, body in zip(late, (b"later", None), strict=True):
        answer = await send(request, body)
        assert answer.status == 403
        assert b"expired" in answer.body
    assert await store.read(KEY, 100_000) == CONTENT


async def test_multipart(store: ObjectStore, send: Sender) -> None:
    upload = Multipart(store, send, KEY)
    await upload.open()
    assert await upload.received() == []
    answers = await asyncio.gather(*(upload.send(number) for number in (3, 1, 2)))
    assert [answer.status for answer in answers] == [200, 200, 200]
    parts = await store.list_parts(KEY, upload.upload_id)
    assert [(part.number, part.size_bytes) for part in parts] == [
        (number, len(content)) for number, content in enumerate(upload.parts, 1)
    ]
    assert await store.stat(KEY) is None
    await upload.complete()
    assert await store.hash_content(KEY) == HashedContent(sha256(upload.content), len(upload.content))
    answer = await send(signed_get(store, KEY), headers={"Range": "bytes=5242870-5242889"})
    assert answer.body == upload.content[5242870:5242890]


async def test_a_part_with_wrong_bytes_is_refused(store: ObjectStore, send: Sender) -> None:
    upload = Multipart(store, send, KEY)
    await upload.open()
    for number in (1, 2, 3):
        await upload.send(number)
    wrong = b"!" + upload.parts[0][1:]
    assert (await upload.send(1, wrong)).status == 400
    # Whether the right bytes that came before are still there is the store's affair; the wrong ones are not.
    if 1 not in await upload.received():
        await upload.send(1)
    await upload.complete()
    assert await store.hash_content(KEY) == HashedContent(sha256(upload.content), len(upload.content))


async def test_sending_a_part_again_replaces_it(store: ObjectStore, send: Sender) -> None:
    upload = Multipart(store, send, KEY)
    await upload.open()
    for number in (1, 2, 3, 2, 2):
        assert (await upload.send(number)).status == 200
    assert await upload.received() == [1, 2, 3]
    await upload.complete()
    assert await store.hash_content(KEY) == HashedContent(sha256(upload.content), len(upload.content))


async def test_an_upload_that_ended_is_gone(store: ObjectStore, send: Sender) -> None:
    completed, aborted = Multipart(store, send, KEY), Multipart(store, send, "uploads/other")
    for upload in (completed, aborted):
        await upload.open()
        for number in (1, 2, 3):
            await upload.send(number)
    parts = await store.list_parts(completed.key, completed.upload_id)
    await completed.complete()
    await store.abort_multipart(aborted.key, aborted.upload_id)
    for upload in (completed, aborted):
        assert (await upload.send(1)).status == 404
        with pytest.raises(UploadNotFound):
            await store.list_parts(upload.key, upload.upload_id)
        await store.abort_multipart(upload.key, upload.upload_id)
    with contextlib.suppress(UploadNotFound):  # a server may say again that it is completed
        await store.complete_multipart(completed.key, completed.upload_id, parts)
    with pytest.raises(UploadNotFound):
        await store.complete_multipart(aborted.key, aborted.upload_id, parts)
    assert await store.stat(aborted.key) is None
    assert await store.hash_content(KEY) == HashedContent(sha256(completed.content), len(completed.content))


async def test_parts_that_are_not_there_are_not_accepted(store: ObjectStore, send: Sender) -> None:
    upload = Multipart(store, send, KEY)
    await upload.open()
    await upload.send(1)
    (part,) = await store.list_parts(KEY, upload.upload_id)
    invented = type(part)(2, len(upload.parts[1]), part.etag, part.checksum)
    with pytest.raises(PartsNotAccepted):
        await store.complete_multipart(KEY, upload.upload_id, [part, invented])
    with pytest.raises(PartsNotAccepted):
        await store.complete_multipart(KEY, upload.upload_id, [])
    assert await store.stat(KEY) is None
    assert await upload.received() == [1]


async def test_copy_and_delete(store: ObjectStore, send: Sender) -> None:
    await send(signed_put(store, "uploads/one", CONTENT), CONTENT)
    await store.copy("uploads/one", KEY)
    assert await store.hash_content(KEY) == HashedContent(sha256(CONTENT), len(CONTENT))
    await store.delete("uploads/one")
    await store.delete("uploads/one")
    assert await store.stat("uploads/one") is None
    assert await store.hash_content("uploads/one") is None
    assert await store.read("uploads/one", 1) is None
    with pytest.raises(ObjectNotFound):
        await store.copy("uploads/one", "uploads/two")
    assert await store.read(KEY, 100_000) == CONTENT


async def test_many_objects_are_looked_at_together(store: ObjectStore, send: Sender) -> None:
    for name, content in (("uploads/one", b"1"), ("uploads/three", b"333")):
        await send(signed_put(store, name, content), content)
    names = ["uploads/three", "uploads/two", "uploads/one", "uploads/three"]
    found = await store.stat_many(names)
    assert found == [await store.stat(name) for name in names]
    assert [None if stat is None else stat.size_bytes for stat in found] == [3, None, 1, 3]
    assert await store.stat_many([]) == []


async def test_many_clients_at_once(store: ObjectStore, send: Sender) -> None:
    contents = [b"%d" % number * 3000 for number in range(40)]
    keys = [blob_key(sha256(content)) for content in contents]
    # Each content twice: the same blob may be sent by two clients at the same time.
    answers = await asyncio.gather(
        *(
            send(signed_put(store, key, content), content)
            for key, content in zip(keys, contents, strict=True)
            for _ in range(2)
        )
    )
    assert {answer.status for answer in answers} == {200}
    hashed = await asyncio.gather(*map(store.hash_content, keys))
    assert hashed == [HashedContent(sha256(content), len(content)) for content in contents]


async def test_it_answers_when_asked_how_it_is(store: ObjectStore) -> None:
    await store.ping()
