"""Uploads over gRPC: announced, sent straight to the object store, proven, visible; resumed and given up."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import grpc
import pytest
from runstream_common.object_store.api import MIN_PART_BYTES
from runstream_common.object_store.errors import ObjectStoreUnavailable
from runstream_proto.artifact.v1 import artifact_service_pb2 as pb

from services.artifact.tests.support import announced, digest, open_door, part_of, run_owner, signed

if TYPE_CHECKING:
    from services.artifact.tests.support import Door

LARGE = b"0123456789abcdef" * (MIN_PART_BYTES // 16) * 2 + b"tail"
"""Content of three parts."""


def code_of(problem: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> grpc.StatusCode:
    return problem.value.code()


async def test_a_small_file_goes_in_one_piece_and_becomes_visible_when_completed(door: Door) -> None:
    owner = run_owner()
    upload = await door.open(owner, "model/weights.bin", b"weights")
    await door.send_content(upload, b"weights")
    assert await door.paths(owner) == []

    (result,) = await door.complete(upload.upload_id)

    assert result.artifact.path == "model/weights.bin"
    assert result.artifact.digest == digest(b"weights")
    assert await door.paths(owner) == ["model/weights.bin"]
    assert await door.fetch(owner, "model/weights.bin") == b"weights"


async def test_a_large_file_goes_in_parts(door: Door) -> None:
    owner = run_owner()
    upload = await door.open(owner, "big", LARGE)
    assert (upload.part_count, upload.part_size_bytes, upload.part_checksum) == (3, MIN_PART_BYTES, "CRC32")
    await door.send_content(upload, LARGE)

    (result,) = await door.complete(upload.upload_id)

    assert result.artifact.digest == digest(LARGE)
    assert await door.fetch(owner, "big") == LARGE


async def test_an_interrupted_upload_in_parts_is_resumed_where_it_stopped(door: Door) -> None:
    owner = run_owner()
    first = await door.open(owner, "big", LARGE)
    await door.send_part(first, 2, LARGE)

    again = await door.open(owner, "big", LARGE)
    read = (await door.stub.GetUpload(pb.GetUploadRequest(upload_id=first.upload_id))).upload

    assert again.upload_id == first.upload_id == read.upload_id
    assert [part.part_number for part in again.uploaded_parts] == [2]
    assert [part.part_number for part in read.uploaded_parts] == [2]
    (early,) = await door.complete(first.upload_id)
    assert early.failure.reason == "UPLOAD_INCOMPLETE"
    assert "1, 3" in early.failure.message
    await door.send_content(again, LARGE)
    (done,) = await door.complete(first.upload_id)
    assert done.artifact.path == "big"


async def test_the_same_content_is_stored_once_and_visible_at_once(door: Door) -> None:
    """D1: the same checkpoint logged by several runs."""
    await door.put(run_owner(), {"checkpoint": b"same"})
    other = run_owner()

    (outcome,) = await door.create(other, announced("a/copy", b"same"))

    assert outcome.stored.path == "a/copy"
    assert await door.fetch(other, "a/copy") == b"same"
    assert await door.count("blob") == 1
    assert [event.files[0].deduplicated for event in await door.events()] == [False, True]


async def test_storing_the_same_file_again_changes_nothing_and_tells_nothing(local_door: Door) -> None:
    owner = run_owner()
    await local_door.put(owner, {"a": b"1"})
    first = (await local_door.events())[0]

    (outcome,) = await local_door.create(owner, announced("a", b"1"))

    assert outcome.stored.stored_time_ms == first.occurred_time_ms
    assert len(await local_door.events()) == 1


async def test_content_that_differs_from_its_digest_never_becomes_visible(door: Door) -> None:
    """A3: what is downloaded is what was logged."""
    owner = run_owner()
    upload = await door.open(owner, "a", b"right")

    answer = await door.send(signed(upload.request), b"wrong")

    assert answer.status == 400
    (result,) = await door.complete(upload.upload_id)
    assert result.failure.reason == "UPLOAD_INCOMPLETE"
    assert await door.paths(owner) == []


async def test_parts_that_make_another_content_never_become_visible(door: Door) -> None:
    owner, wrong = run_owner(), LARGE[:-1] + b"X"
    upload = await door.open(owner, "big", LARGE)
    await door.send_content(upload, wrong)

    (result,) = await door.complete(upload.upload_id)

    assert result.failure.reason == "CHECKSUM_MISMATCH"
    assert not result.failure.retryable
    assert await door.paths(owner) == []
    assert await door.count("blob") == 0
    (again,) = await door.complete(upload.upload_id)
    assert again.failure.reason == "UPLOAD_NOT_FOUND"
    await door.put(owner, {"big": LARGE})
    assert await door.fetch(owner, "big") == LARGE


async def test_a_part_with_another_checksum_or_size_is_refused_by_the_store(door: Door) -> None:
    upload = await door.open(run_owner(), "big", LARGE)
    part = part_of(upload, 1, LARGE)
    request = await door.sign(upload, 1, part)

    assert (await door.send(request, b"X" + part[1:])).status == 400
    shorter = {"content-length": str(len(part) - 1)}
    assert (await door.send(request, part[:-1], headers=shorter)).status == 403
    read = (await door.stub.GetUpload(pb.GetUploadRequest(upload_id=upload.upload_id))).upload
    assert list(read.uploaded_parts) == []


async def test_an_expired_or_changed_request_is_refused(door: Door, clock) -> None:
    owner = run_owner()
    upload = await door.open(owner, "a", b"content")
    request = signed(upload.request)
    elsewhere = request.url.replace(digest(b"content"), digest(b"other"))

    assert (await door.send(request, b"content", url=elsewhere)).status == 403
    clock.shift_seconds = -3601
    (late,) = await door.create(owner, announced("a", b"content"))
    clock.shift_seconds = 0
    assert (await door.send(signed(late.upload.request), b"content")).status == 403
    (result,) = await door.complete(upload.upload_id)
    assert result.failure.reason == "UPLOAD_INCOMPLETE"


async def test_an_empty_file_is_a_file(door: Door) -> None:
    owner = run_owner()
    await door.put(owner, {"empty": b""})
    assert await door.fetch(owner, "empty") == b""


async def test_completing_again_after_a_lost_answer_gives_the_same_artifact(local_door: Door) -> None:
    owner = run_owner()
    upload = await local_door.open(owner, "a", b"1")
    await local_door.send_content(upload, b"1")
    (first,) = await local_door.complete(upload.upload_id)

    (second,) = await local_door.complete(upload.upload_id)

    assert second.artifact == first.artifact
    assert len(await local_door.events()) == 1


async def test_concurrent_completions_of_one_upload_and_of_one_content_all_succeed(door: Door) -> None:
    owners = [run_owner() for _ in range(4)]
    uploads = [await door.open(owner, "big", LARGE) for owner in owners]
    for upload in uploads:
        await door.send_content(upload, LARGE)

    results = await asyncio.gather(*(door.complete(upload.upload_id) for upload in uploads for _ in range(3)))

    assert {result.WhichOneof("result") for (result,) in results} == {"artifact"}
    assert await door.count("blob") == 1
    assert len(await door.events()) == len(owners)
    for owner in owners:
        assert await door.fetch(owner, "big") == LARGE


async def test_what_a_beaten_upload_left_is_cleared_away_and_the_winner_stays(door: Door) -> None:
    owners = [run_owner() for _ in range(3)]
    uploads = [await door.open(owner, "big", LARGE) for owner in owners]
    for upload in uploads:
        await door.send_content(upload, LARGE)
    await asyncio.gather(*(door.complete(upload.upload_id) for upload in uploads))

    await door.let_uploads_expire()
    assert await door.expiry.expire_all() == 3
    assert await door.expiry.expire_all() == 0

    assert await door.count("upload") == 0
    for owner in owners:
        assert await door.fetch(owner, "big") == LARGE


async def test_an_abandoned_upload_expires_with_what_it_sent(door: Door) -> None:
    upload = await door.open(run_owner(), "big", LARGE)
    await door.send_part(upload, 1, LARGE)
    late = await door.sign(upload, 2, part_of(upload, 2, LARGE))

    await door.let_uploads_expire()
    assert await door.expiry.expire_all() == 1

    assert (await door.send(late, part_of(upload, 2, LARGE))).status == 404
    (result,) = await door.complete(upload.upload_id)
    assert result.failure.reason == "UPLOAD_NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError) as problem:
        await door.stub.GetUpload(pb.GetUploadRequest(upload_id=upload.upload_id))
    assert code_of(problem) is grpc.StatusCode.NOT_FOUND


async def test_aborting_deletes_what_was_sent_and_may_be_repeated(door: Door) -> None:
    owner = run_owner()
    upload = await door.open(owner, "big", LARGE)
    await door.send_part(upload, 1, LARGE)

    for _ in range(2):
        await door.stub.AbortUpload(pb.AbortUploadRequest(upload_id=upload.upload_id))

    (result,) = await door.complete(upload.upload_id)
    assert result.failure.reason == "UPLOAD_NOT_FOUND"
    again = await door.open(owner, "big", LARGE)
    assert again.upload_id != upload.upload_id
    assert list(again.uploaded_parts) == []


async def test_an_object_store_that_is_away_leaves_the_upload_open(local_door: Door, monkeypatch) -> None:
    owner = run_owner()
    upload = await local_door.open(owner, "a", b"1")
    await local_door.send_content(upload, b"1")

    async def away(keys: list[str]) -> None:
        raise ObjectStoreUnavailable("the object store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(local_door.parts.store, "stat_many", away)
        (failed,) = await local_door.complete(upload.upload_id)
    (done,) = await local_door.complete(upload.upload_id)

    assert (failed.failure.reason, failed.failure.retryable) == ("OBJECT_STORE_UNAVAILABLE", True)
    assert done.artifact.path == "a"


async def test_verification_outlives_the_call_that_began_it(
    local_settings, runs, clock, send, monkeypatch
) -> None:
    settings = local_settings.model_copy(update={"completion_wait_seconds": 0.01})
    async with open_door(settings, runs, clock, send) as door:
        store, may_go_on, calls = door.parts.store, asyncio.Event(), 0
        hash_content = store.hash_content

        async def slow(key: str):
            nonlocal calls
            calls += 1
            await may_go_on.wait()
            return await hash_content(key)

        monkeypatch.setattr(store, "hash_content", slow)
        owner = run_owner()
        upload = await door.open(owner, "big", LARGE)
        await door.send_content(upload, LARGE)
        for _ in range(2):
            (early,) = await door.complete(upload.upload_id)
            assert (early.failure.reason, early.failure.retryable) == ("VERIFICATION_RUNNING", True)
        may_go_on.set()
        async with asyncio.timeout(30):
            while (await door.complete(upload.upload_id))[0].WhichOneof("result") != "artifact":
                pass
        assert calls == 1


async def test_a_completion_that_died_half_way_is_finished_by_the_next_one(door: Door, monkeypatch) -> None:
    owner = run_owner()
    upload = await door.open(owner, "big", LARGE)
    await door.send_content(upload, LARGE)

    async def dies(key: str) -> None:
        raise ObjectStoreUnavailable("gone while reading")

    with monkeypatch.context() as patch:
        patch.setattr(door.parts.store, "hash_content", dies)
        (failed,) = await door.complete(upload.upload_id)
    again = await door.open(owner, "big", LARGE)

    assert failed.failure.retryable
    assert [part.part_number for part in again.uploaded_parts] == [1, 2, 3]
    (done,) = await door.complete(upload.upload_id)
    assert done.artifact.digest == digest(LARGE)


async def test_a_store_that_verifies_nothing_is_read_back(door: Door, monkeypatch) -> None:
    store = door.parts.store
    unable = dataclasses.replace(store.checks, sha256=False)
    monkeypatch.setattr(type(store), "checks", property(lambda self: unable))
    owner = run_owner()
    right, wrong = await door.open(owner, "right", b"right"), await door.open(owner, "wrong", b"wrong")
    await door.send_content(right, b"right")
    # What an unable store would have let in.
    key = f"uploads/{right.upload_id}"
    await store.copy(key, f"uploads/{wrong.upload_id}")

    results = await door.complete(right.upload_id, wrong.upload_id)

    assert results[0].artifact.path == "right"
    assert results[1].failure.reason in {"CHECKSUM_MISMATCH", "SIZE_MISMATCH"}
    assert await door.fetch(owner, "right") == b"right"
    await door.let_uploads_expire()
    await door.expiry.expire_all()
    assert await store.stat(key) is None
    assert await door.fetch(owner, "right") == b"right"


async def test_several_files_take_one_transaction_and_one_event(local_door: Door) -> None:
    owner = run_owner()
    files = {f"dir/{index:04}": str(index).encode() for index in range(30)}
    await local_door.put(owner, files)

    (event,) = await local_door.events()
    assert [file.path for file in event.files] == sorted(files)
    assert (event.owner_kind, event.owner_id) == ("run", owner.id)


async def test_one_failure_does_not_touch_the_others(local_door: Door) -> None:
    owner = run_owner()
    sent, unsent = await local_door.open(owner, "sent", b"1"), await local_door.open(owner, "unsent", b"2")
    await local_door.send_content(sent, b"1")
    unknown = "00000000-0000-7000-8000-000000000000"

    results = await local_door.complete(unsent.upload_id, sent.upload_id, unknown)

    assert [result.failure.reason for result in results] == ["UPLOAD_INCOMPLETE", "", "UPLOAD_NOT_FOUND"]
    assert await local_door.paths(owner) == ["sent"]


async def test_content_cannot_be_announced_with_another_size_than_it_has(local_door: Door) -> None:
    await local_door.put(run_owner(), {"a": b"12"})
    with pytest.raises(grpc.aio.AioRpcError, match=r"files\[0\].size_bytes") as problem:
        await local_door.create(run_owner(), announced("a", b"12", size_bytes=3))
    assert code_of(problem) is grpc.StatusCode.INVALID_ARGUMENT
