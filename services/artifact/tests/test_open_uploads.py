"""Uploads whose size and digest are found out on the way, and files whose bytes come with the call."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import grpc
import pytest
from runstream_artifact.run_states import RunState
from runstream_common.object_store.api import MIN_PART_BYTES
from runstream_proto.artifact.v1 import artifact_service_pb2 as pb
from runstream_proto.artifact.v1 import types_pb2 as types

from services.artifact.tests.support import digest, run_owner, signed, version_owner

if TYPE_CHECKING:
    from services.artifact.tests.support import Door, SteeredRuns

PARTS = (b"a" * MIN_PART_BYTES, b"b" * MIN_PART_BYTES, b"the end")


async def opened(
    door: Door, owner: types.Owner, path: str = "big", parts: int = 0, *, as_given: bool = False
) -> pb.CreateOpenUploadResponse:
    request = pb.CreateOpenUploadRequest(owner=owner, path=path, part_count=parts, as_given=as_given)
    return await door.stub.CreateOpenUpload(request)


async def sent(door: Door, request: types.SignedRequest, content: bytes) -> str:
    """Send a part; returns its etag."""
    answer = await door.send(signed(request), content)
    assert answer.status == 200, answer.body
    return answer.headers["ETag"]


async def completed(door: Door, upload_id: str, *etags: str) -> pb.CompletedUpload:
    parts = [pb.SentPart(part_number=number, etag=etag) for number, etag in enumerate(etags, 1)]
    request = pb.CompleteOpenUploadRequest(upload_id=upload_id, parts=parts)
    return (await door.stub.CompleteOpenUpload(request)).result


async def written(
    door: Door, owner: types.Owner, path: str, content: bytes, *, as_given: bool = False
) -> types.Artifact:
    request = pb.WriteArtifactRequest(owner=owner, path=path, content=content, as_given=as_given)
    return (await door.stub.WriteArtifact(request)).artifact


async def left_in_store(door: Door, upload_id: str) -> bool:
    return await door.parts.store.stat(f"blobs/open/{upload_id[-2:]}/{upload_id}") is not None


def reason_of(problem: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> str:
    return str(dict(problem.value.trailing_metadata() or ()).get("grpc-status-details-bin", b""))


async def test_content_of_one_part_becomes_visible_with_the_digest_that_it_has(door: Door) -> None:
    owner = run_owner()
    answer = await opened(door, owner, "model.bin")
    etag = await sent(door, answer.requests[0], b"weights")
    assert await door.paths(owner) == []

    result = await completed(door, answer.upload.upload_id, etag)

    assert (result.artifact.path, result.artifact.size_bytes) == ("model.bin", 7)
    assert result.artifact.digest == digest(b"weights")
    assert await door.fetch(owner, "model.bin") == b"weights"
    assert [event.files[0].digest for event in await door.events()] == [digest(b"weights")]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
async def test_parts_may_come_in_any_order(door: Door, order: tuple[int, ...]) -> None:
    owner = run_owner()
    answer = await opened(door, owner, parts=3)
    etags = {}
    for number in order:
        etags[number] = await sent(door, answer.requests[number - 1], PARTS[number - 1])

    result = await completed(door, answer.upload.upload_id, *(etags[number] for number in (1, 2, 3)))

    assert result.artifact.digest == digest(b"".join(PARTS))
    assert await door.fetch(owner, "big") == b"".join(PARTS)


async def test_parts_of_different_sizes_make_one_content(door: Door) -> None:
    pieces = (b"x" * (MIN_PART_BYTES + 3), b"y" * MIN_PART_BYTES, b"z" * (MIN_PART_BYTES + 1), b"")
    owner = run_owner()
    answer = await opened(door, owner, parts=4)
    etags = [await sent(door, request, piece) for request, piece in zip(answer.requests, pieces, strict=True)]

    result = await completed(door, answer.upload.upload_id, *etags)

    assert result.artifact.digest == digest(b"".join(pieces))


async def test_a_part_that_is_sent_again_replaces_the_first(door: Door) -> None:
    owner = run_owner()
    answer = await opened(door, owner, parts=2)
    await sent(door, answer.requests[0], PARTS[1])
    last = await sent(door, answer.requests[1], b"end")
    first = await sent(door, answer.requests[0], PARTS[0])

    result = await completed(door, answer.upload.upload_id, first, last)

    assert result.artifact.digest == digest(PARTS[0] + b"end")


async def test_what_was_not_sent_whole_is_told_and_can_be_sent_still(door: Door) -> None:
    owner = run_owner()
    answer = await opened(door, owner, parts=2)
    second = await sent(door, answer.requests[1], b"end")

    early = await completed(door, answer.upload.upload_id)
    first = await sent(door, answer.requests[0], PARTS[0])
    wrong = await completed(door, answer.upload.upload_id, '"0123"', second)
    right = await completed(door, answer.upload.upload_id, first, second)

    assert early.failure.reason == "UPLOAD_INCOMPLETE"
    assert "missing: 1" in early.failure.message
    assert wrong.failure.reason == "UPLOAD_INCOMPLETE"
    assert right.artifact.size_bytes == MIN_PART_BYTES + 3


async def test_completing_again_gives_the_same_file(door: Door) -> None:
    owner = run_owner()
    answer = await opened(door, owner)
    await sent(door, answer.requests[0], b"once")
    upload_id = answer.upload.upload_id

    first, again = await asyncio.gather(completed(door, upload_id), completed(door, upload_id))
    later = await completed(door, upload_id)

    assert first.artifact.digest == again.artifact.digest == later.artifact.digest == digest(b"once")
    assert len(await door.events()) == 1


async def test_a_completion_that_died_after_putting_together_is_made_up_for(door: Door) -> None:
    owner = run_owner()
    answer = await opened(door, owner, parts=1)
    await sent(door, answer.requests[0], b"content")
    key = f"blobs/open/{answer.upload.upload_id[-2:]}/{answer.upload.upload_id}"
    async with door.parts.database.driver() as connection:
        store_id = await connection.fetchval("SELECT store_upload_id FROM artifact.open_upload")
    await door.parts.store.complete_open(key, store_id, await door.parts.store.list_parts(key, store_id))

    result = await completed(door, answer.upload.upload_id)

    assert result.artifact.digest == digest(b"content")


async def test_content_that_is_stored_already_is_kept_once(door: Door) -> None:
    owner = run_owner()
    await door.put(owner, {"first": b"same"})
    answer = await opened(door, owner, "second")
    await sent(door, answer.requests[0], b"same")

    result = await completed(door, answer.upload.upload_id)

    assert result.artifact.digest == digest(b"same")
    assert await door.count("blob") == 1
    assert not await left_in_store(door, answer.upload.upload_id)
    assert [event.files[0].deduplicated for event in await door.events()] == [False, True]


async def test_an_aborted_upload_leaves_nothing(door: Door) -> None:
    owner = run_owner()
    answer = await opened(door, owner)
    await sent(door, answer.requests[0], b"gone")
    request = pb.AbortOpenUploadRequest(upload_id=answer.upload.upload_id)

    await door.stub.AbortOpenUpload(request)
    await door.stub.AbortOpenUpload(request)

    assert (await completed(door, answer.upload.upload_id)).failure.reason == "UPLOAD_NOT_FOUND"
    assert (await door.send(signed(answer.requests[0]), b"late")).status == 404
    assert not await left_in_store(door, answer.upload.upload_id)


async def test_uploads_that_rest_too_long_are_cleared_away_and_completed_files_stay(door: Door) -> None:
    owner = run_owner()
    kept, dropped = await opened(door, owner, "kept"), await opened(door, owner, "dropped")
    for answer in (kept, dropped):
        await sent(door, answer.requests[0], answer.upload.path.encode())
    await completed(door, kept.upload.upload_id)
    async with door.parts.database.driver() as connection:
        await connection.execute("UPDATE artifact.open_upload SET expires_at = now() - interval '1 second'")

    assert await door.expiry.expire_all() == 2

    assert await door.count("open_upload") == 0
    assert await door.fetch(owner, "kept") == b"kept"
    assert (await door.send(signed(dropped.requests[0]), b"late")).status == 404


async def test_an_upload_for_another_file_is_not_completed(local_door: Door) -> None:
    owner = run_owner()
    answer = await opened(local_door, owner)
    await sent(local_door, answer.requests[0], b"x")
    request = pb.CompleteOpenUploadRequest(upload_id=answer.upload.upload_id, owner=owner, path="another")

    result = (await local_door.stub.CompleteOpenUpload(request)).result

    assert result.failure.reason == "UPLOAD_NOT_FOUND"
    assert await local_door.paths(owner) == []


async def test_a_file_that_came_in_the_way_meanwhile_is_not_replaced_by_a_directory(local_door: Door) -> None:
    owner = run_owner()
    answer = await opened(local_door, owner, "a/b")
    await sent(local_door, answer.requests[0], b"x")
    await local_door.put(owner, {"a": b"file"})

    result = await completed(local_door, answer.upload.upload_id)

    assert result.failure.reason == "PATH_CONFLICT"
    assert await local_door.paths(owner) == ["a"]
    assert not await left_in_store(local_door, answer.upload.upload_id)


async def test_owners_that_take_no_files_are_told_at_once(local_door: Door, runs: SteeredRuns) -> None:
    owner, sealed = run_owner(), version_owner()
    runs.states[owner.id] = RunState.DELETED
    await local_door.put(run := run_owner(), {"m": b"1"})
    await local_door.copy(run, "", sealed, seal=True)

    for refused in (owner, sealed):
        with pytest.raises(grpc.aio.AioRpcError) as problem:
            await opened(local_door, refused)
        assert problem.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(grpc.aio.AioRpcError) as problem:
            await written(local_door, refused, "a", b"1")
        assert problem.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_files_as_given_need_no_run_and_no_portable_name(local_door: Door, runs: SteeredRuns) -> None:
    owner, path = run_owner(), "aux/C\\D."
    runs.states[owner.id] = RunState.UNKNOWN

    with pytest.raises(grpc.aio.AioRpcError) as problem:
        await written(local_door, run_owner(), path, b"1")
    await written(local_door, owner, path, b"1", as_given=True)
    answer = await opened(local_door, owner, f"{path}2", as_given=True)
    await sent(local_door, answer.requests[0], b"2")
    await completed(local_door, answer.upload.upload_id)

    assert problem.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await local_door.paths(owner) == [path, f"{path}2"]
    assert await local_door.paths(owner, "aux", recursive=False) == [path, f"{path}2"]
    assert await local_door.fetch(owner, path) == b"1"


async def test_a_small_file_is_written_in_one_call(door: Door) -> None:
    owner = run_owner()

    first = await written(door, owner, "d/notes.txt", b"one")
    again = await written(door, owner, "d/notes.txt", b"one")
    second = await written(door, owner, "d/notes.txt", b"two")
    empty = await written(door, owner, "d/empty", b"")

    assert (first.digest, first.content_type) == (digest(b"one"), "text/plain")
    assert again.stored_time_ms == first.stored_time_ms
    assert second.digest == digest(b"two")
    assert empty.size_bytes == 0
    assert await door.fetch(owner, "d/notes.txt") == b"two"
    assert await door.fetch(owner, "d/empty") == b""
    assert len(await door.events()) == 3


@pytest.mark.parametrize("path", ["d", "d/notes.txt/below"])
async def test_a_small_file_does_not_stand_where_a_directory_is(local_door: Door, path: str) -> None:
    owner = run_owner()
    await written(local_door, owner, "d/notes.txt", b"one")

    with pytest.raises(grpc.aio.AioRpcError) as problem:
        await written(local_door, owner, path, b"two")

    assert problem.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "PATH_CONFLICT" in reason_of(problem)


async def test_what_is_too_large_for_a_call_is_refused(local_door: Door) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as problem:
        await written(local_door, run_owner(), "a", bytes(1_048_577))

    assert problem.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "content" in (problem.value.details() or "")


async def test_a_service_gets_small_files_whole_and_large_ones_by_request(door: Door) -> None:
    owner = run_owner()
    await written(door, owner, "d/a", b"0123456789")

    whole = await door.stub.FetchArtifact(
        pb.FetchArtifactRequest(owner=owner, path="d/a", max_inline_bytes=10)
    )
    by_request = await door.stub.FetchArtifact(
        pb.FetchArtifactRequest(owner=owner, path="d/a", max_inline_bytes=9)
    )
    store = await door.stub.DescribeStore(pb.DescribeStoreRequest())

    assert (whole.content, whole.artifact.path) == (b"0123456789", "d/a")
    answer = await door.send(signed(by_request.request), headers={"range": "bytes=3-5"})
    assert (answer.status, answer.body) == (206, b"345")
    assert by_request.request.url.startswith(store.service_url + "/")
    assert not store.clients_reach_it
    for path, reason in (("d", "IS_A_DIRECTORY"), ("x", "ARTIFACT_NOT_FOUND")):
        with pytest.raises(grpc.aio.AioRpcError) as problem:
            await door.stub.FetchArtifact(pb.FetchArtifactRequest(owner=owner, path=path))
        assert reason in reason_of(problem)


async def test_the_rest_of_the_proxys_tree_has_one_owner(local_door: Door) -> None:
    rest = types.Owner(kind=types.OWNER_KIND_PROXY, id="rest")

    await written(local_door, rest, "any/path.txt", b"1", as_given=True)

    assert await local_door.paths(rest) == ["any/path.txt"]
    with pytest.raises(grpc.aio.AioRpcError) as problem:
        await written(local_door, types.Owner(kind=types.OWNER_KIND_PROXY, id="other"), "a", b"1")
    assert problem.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_large_uploads_answer_before_they_are_hashed_when_it_takes_long(local_door: Door) -> None:
    owner = run_owner()
    answer = await opened(local_door, owner, parts=2)
    for request, part in zip(answer.requests, (PARTS[0], b"end"), strict=True):
        await sent(local_door, request, part)
    local_door.parts.open_completion._wait_seconds = 0  # as if it took long

    result = await completed(local_door, answer.upload.upload_id)
    while result.failure.reason == "VERIFICATION_RUNNING":
        result = await completed(local_door, answer.upload.upload_id)

    assert result.artifact.digest == hashlib.sha256(PARTS[0] + b"end").hexdigest()
