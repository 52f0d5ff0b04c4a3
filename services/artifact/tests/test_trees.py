"""Trees over gRPC: listed, deleted, copied, moved, sealed, measured, verified."""

from __future__ import annotations

import asyncio
import hashlib

import grpc
import pytest
from runstream_artifact.run_states import RunState
from runstream_common.errors import Unavailable
from runstream_common.object_store.keys import blob_key
from runstream_proto.artifact.v1 import artifact_service_pb2 as pb
from runstream_proto.artifact.v1 import types_pb2 as types

from services.artifact.tests.support import Door, announced, open_door, run_owner, tree_digest, version_owner

FILES = {"model/MLmodel": b"flavors", "model/data/weights": b"weights", "plot.png": b"png", "model.txt": b"t"}


def refused(code: grpc.StatusCode, match: str | None = None):
    def has_code(error: grpc.aio.AioRpcError) -> bool:
        return error.code() is code

    return pytest.raises(grpc.aio.AioRpcError, match=match, check=has_code)


async def listing(door: Door, owner: types.Owner, path: str = "", **options) -> list[tuple[str, bool]]:
    found, token = [], ""
    while True:
        request = pb.ListArtifactsRequest(owner=owner, path=path, page_token=token, **options)
        answer = await door.stub.ListArtifacts(request)
        found += [(item.path, item.is_directory) for item in answer.artifacts]
        token = answer.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
async def test_directories_list_in_order_and_page(local_door: Door, page_size: int) -> None:
    owner = run_owner()
    await local_door.put(owner, FILES)

    root = await listing(local_door, owner, page_size=page_size)
    model = await listing(local_door, owner, "model", page_size=page_size)
    whole = await listing(local_door, owner, recursive=True, page_size=page_size)

    assert root == [("model.txt", False), ("model", True), ("plot.png", False)]
    assert model == [("model/MLmodel", False), ("model/data", True)]
    assert whole == [(path, False) for path in sorted(FILES)]
    assert await listing(local_door, owner, "plot.png") == []
    assert await listing(local_door, owner, "nothing") == []
    assert await listing(local_door, run_owner()) == []


async def test_a_page_token_is_of_one_list(local_door: Door) -> None:
    owner = run_owner()
    await local_door.put(owner, FILES)
    first = await local_door.stub.ListArtifacts(pb.ListArtifactsRequest(owner=owner, page_size=1))
    for other in (
        pb.ListArtifactsRequest(owner=owner, path="model"),
        pb.ListArtifactsRequest(owner=owner, recursive=True),
        pb.ListArtifactsRequest(owner=run_owner()),
    ):
        other.page_token = first.next_page_token
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "page_token"):
            await local_door.stub.ListArtifacts(other)


async def test_a_file_and_a_directory_are_read_by_path(local_door: Door) -> None:
    owner = run_owner()
    await local_door.put(owner, FILES)

    async def get(path: str) -> types.Artifact:
        answer = await local_door.stub.GetArtifact(pb.GetArtifactRequest(owner=owner, path=path))
        return answer.artifact

    assert (await get("model/data/weights")).size_bytes == len(b"weights")
    assert (await get("plot.png")).content_type == "image/png"
    assert (await get("model/data")).is_directory
    for missing in ("mode", "model/dat", "nothing"):
        with refused(grpc.StatusCode.NOT_FOUND):
            await get(missing)


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b"), ("a", "a/b/c")])
async def test_a_path_is_a_file_or_a_directory_in_either_order(
    local_door: Door, first: str, second: str
) -> None:
    owner = run_owner()
    late = await local_door.open(owner, second, b"2")
    await local_door.send_content(late, b"2")
    await local_door.put(owner, {first: b"1"})

    (result,) = await local_door.complete(late.upload_id)

    assert result.failure.reason == "PATH_CONFLICT"
    with refused(grpc.StatusCode.FAILED_PRECONDITION):
        await local_door.create(owner, announced(second, b"other"))
    with refused(grpc.StatusCode.FAILED_PRECONDITION):
        await local_door.create(owner, announced(second, b"1"))
    assert await local_door.paths(owner) == [first]


async def test_of_conflicting_paths_at_once_only_one_becomes_visible(local_door: Door) -> None:
    owners = [run_owner() for _ in range(8)]
    for owner in owners:
        uploads = []
        for path in ("a", "a/b", "a/b/c"):
            upload = await local_door.open(owner, path, path.encode() + owner.id.encode())
            await local_door.send_content(upload, path.encode() + owner.id.encode())
            uploads.append(upload)
        await asyncio.gather(*(local_door.complete(upload.upload_id) for upload in uploads))

    for owner in owners:
        assert len(await local_door.paths(owner)) == 1


async def test_files_announced_together_must_fit_together(local_door: Door) -> None:
    with refused(grpc.StatusCode.FAILED_PRECONDITION):
        await local_door.create(run_owner(), announced("a", b"1"), announced("a/b", b"2"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, r"files\[1\].path"):
        await local_door.create(run_owner(), announced("ü", b"1"), announced("u\u0308", b"2"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, r"files\[0\].path"):
        await local_door.create(run_owner(), announced("../x", b"1"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, r"files\[0\].size_bytes"):
        await local_door.create(run_owner(), announced("x", b"1", size_bytes=5 * 2**40 + 1))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, r"files\[0\].digest"):
        await local_door.create(run_owner(), announced("x", b"1", digest="00"))


async def test_deleting_a_file_a_directory_and_the_whole_tree(local_door: Door) -> None:
    owner = run_owner()
    await local_door.put(owner, FILES)

    async def delete(path: str) -> int:
        answer = await local_door.stub.DeleteArtifacts(pb.DeleteArtifactsRequest(owner=owner, path=path))
        return answer.deleted_count

    assert await delete("model") == 2
    assert await local_door.paths(owner) == ["model.txt", "plot.png"]
    with refused(grpc.StatusCode.NOT_FOUND):
        await delete("model")
    assert await delete("plot.png") == 1
    assert await delete("") == 1
    with refused(grpc.StatusCode.NOT_FOUND):
        await delete("")


async def test_a_copy_of_a_directory_has_its_digest_and_moves_no_bytes(door: Door) -> None:
    run, version = run_owner(), version_owner()
    await door.put(run, FILES)
    model = {"MLmodel": b"flavors", "data/weights": b"weights"}

    copied = await door.copy(run, "model", version, seal=True)

    assert copied.digest == tree_digest(model) == (await door.tree(run, "model")).digest
    assert (copied.file_count, copied.size_bytes, copied.sealed) == (2, 14, True)
    assert await door.paths(version) == sorted(model)
    assert await door.fetch(version, "data/weights") == b"weights"
    assert await door.count("blob") == len(FILES)
    (event,) = [event for event in await door.events() if event.owner_kind == "model_version"]
    assert {file.path: file.deduplicated for file in event.files} == {"MLmodel": True, "data/weights": True}


async def test_a_sealed_tree_never_changes(local_door: Door) -> None:
    run, version = run_owner(), version_owner()
    await local_door.put(run, FILES)
    waiting = await local_door.open(version, "late", b"late")
    await local_door.send_content(waiting, b"late")
    sealed = await local_door.copy(run, "model", version, seal=True)

    again = await local_door.copy(run, "model", version, seal=True)
    (late,) = await local_door.complete(waiting.upload_id)

    assert again == sealed
    assert late.failure.reason == "OWNER_NOT_WRITABLE"
    stub = local_door.stub
    for change in (
        local_door.create(version, announced("x", b"x")),
        local_door.create(version, announced("x", b"png")),
        local_door.copy(run, "model", version),
        local_door.copy(run, "", version, seal=True),
        local_door.copy(run, "plot.png", version, seal=True),
        stub.DeleteArtifacts(pb.DeleteArtifactsRequest(owner=version, path="MLmodel")),
        stub.MoveArtifacts(pb.MoveArtifactsRequest(owner=version, source_path="MLmodel", target_path="x")),
    ):
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "sealed"):
            await change
    await local_door.stub.DeleteArtifacts(pb.DeleteArtifactsRequest(owner=run))
    assert (await local_door.tree(version)) == sealed


async def test_copying_a_file_keeps_its_name_at_the_root_or_takes_the_given_one(local_door: Door) -> None:
    run, other = run_owner(), run_owner()
    await local_door.put(run, FILES)
    await local_door.copy(run, "model/MLmodel", other)
    await local_door.copy(run, "plot.png", other, "images/first.png")
    assert await local_door.paths(other) == ["MLmodel", "images/first.png"]


async def test_copies_that_cannot_be_are_refused_and_leave_nothing(local_door: Door) -> None:
    run, other = run_owner(), run_owner()
    await local_door.put(run, FILES)
    await local_door.put(other, {"data": b"a file", "dir/x": b"x"})
    for source, target in (("model", ""), ("plot.png", "dir"), ("plot.png", "data/x"), ("model", "data")):
        with refused(grpc.StatusCode.FAILED_PRECONDITION):
            await local_door.copy(run, source, other, target)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "target_path"):
        await local_door.copy(run, "model", other, "/".join(["a" * 204] * 5))
    with refused(grpc.StatusCode.NOT_FOUND):
        await local_door.copy(run, "mode", other)
    assert await local_door.paths(other) == ["data", "dir/x"]


async def test_a_directory_may_be_copied_into_itself(local_door: Door) -> None:
    owner = run_owner()
    await local_door.put(owner, {"a/x": b"1", "a/b/y": b"2"})
    await local_door.copy(owner, "a", owner, "a/c")
    assert await local_door.paths(owner) == ["a/b/y", "a/c/b/y", "a/c/x", "a/x"]


async def test_moving_renames_files_and_directories(local_door: Door) -> None:
    owner = run_owner()
    await local_door.put(owner, FILES)

    async def move(source: str, target: str) -> int:
        request = pb.MoveArtifactsRequest(owner=owner, source_path=source, target_path=target)
        return (await local_door.stub.MoveArtifacts(request)).moved_count

    assert await move("model", "final/model") == 2
    assert await move("plot.png", "final/plot.png") == 1
    expected = ["final/model/MLmodel", "final/model/data/weights", "final/plot.png", "model.txt"]
    assert await local_door.paths(owner) == expected
    for source, target, code in (
        ("final", "final/deeper", grpc.StatusCode.INVALID_ARGUMENT),
        ("model.txt", "final", grpc.StatusCode.FAILED_PRECONDITION),
        ("model.txt", "final/plot.png", grpc.StatusCode.FAILED_PRECONDITION),
        ("model.txt", "final/plot.png/x", grpc.StatusCode.FAILED_PRECONDITION),
        ("nothing", "x", grpc.StatusCode.NOT_FOUND),
    ):
        with refused(code):
            await move(source, target)
    assert await local_door.paths(owner) == expected


async def test_an_owner_without_files_has_an_empty_tree(local_door: Door) -> None:
    tree = await local_door.tree(run_owner())
    assert (tree.digest, tree.file_count, tree.size_bytes, tree.sealed) == (
        hashlib.sha256().hexdigest(),
        0,
        0,
        False,
    )


async def test_a_small_file_is_read_through_the_service(door: Door) -> None:
    owner = run_owner()
    await door.put(owner, FILES | {"empty": b""})

    async def read(path: str, max_bytes: int = 0) -> pb.ReadArtifactResponse:
        return await door.stub.ReadArtifact(
            pb.ReadArtifactRequest(owner=owner, path=path, max_bytes=max_bytes)
        )

    answer = await read("model/MLmodel", len(FILES["model/MLmodel"]))
    assert (answer.artifact.path, answer.content) == ("model/MLmodel", FILES["model/MLmodel"])
    assert (await read("empty")).content == b""
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "has 7 bytes, more than 6"):
        await read("model/MLmodel", 6)
    for path in ("model", "absent"):
        with refused(grpc.StatusCode.NOT_FOUND):
            await read(path)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "max_bytes"):
        await read("model/MLmodel", 1_048_577)
    await door.parts.store.delete(blob_key(hashlib.sha256(FILES["plot.png"]).digest()))
    with refused(grpc.StatusCode.INTERNAL):
        await read("plot.png")


@pytest.mark.parametrize("read_content", [False, True])
async def test_verification_tells_what_is_missing_and_wrong(door: Door, read_content: bool) -> None:
    owner = run_owner()
    await door.put(owner, {"a": b"aaa", "dir/b": b"bbb", "dir/c": b"ccc", "same": b"aaa"})

    async def verify(*paths: str) -> pb.VerifyArtifactsResponse:
        request = pb.VerifyArtifactsRequest(owner=owner, paths=paths, read_content=read_content)
        return await door.stub.VerifyArtifacts(request)

    well = await verify()
    assert (well.verified_count, well.verified_bytes, list(well.problems)) == (4, 12, [])
    store = door.parts.store
    await store.delete(blob_key(hashlib.sha256(b"bbb").digest()))
    await store.copy(blob_key(hashlib.sha256(b"ccc").digest()), blob_key(hashlib.sha256(b"aaa").digest()))
    found = await verify("dir", "dir/b", "nothing", "a", "same")

    problems = {item.path: item.reason for item in found.problems}
    assert found.verified_count == 4
    assert (problems.pop("dir/b"), problems.pop("nothing")) == ("MISSING", "MISSING")
    # Without reading, content of the same size shows only where the store keeps checksums.
    if read_content:
        assert problems == {"a": "CHECKSUM_MISMATCH", "same": "CHECKSUM_MISMATCH"}


async def test_a_run_must_exist_and_be_active(local_door: Door, runs) -> None:
    unknown, deleted = run_owner(), run_owner()
    runs.states = {unknown.id: RunState.UNKNOWN, deleted.id: RunState.DELETED}
    with refused(grpc.StatusCode.NOT_FOUND, "does not exist"):
        await local_door.create(unknown, announced("a", b"1"))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "is deleted"):
        await local_door.create(deleted, announced("a", b"1"))
    for owner in (
        types.Owner(kind=types.OWNER_KIND_RUN, id="x"),
        types.Owner(kind=types.OWNER_KIND_TRACE, id=unknown.id),
        types.Owner(id=unknown.id),
    ):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "owner"):
            await local_door.create(owner, announced("a", b"1"))


async def test_known_runs_take_files_while_the_metadata_service_is_away(local_door: Door, runs) -> None:
    known, unknown = run_owner(), run_owner()
    await local_door.put(known, {"a": b"1"})
    runs.error = Unavailable("the metadata service is away")

    await local_door.put(known, {"b": b"2"})

    assert await local_door.paths(known) == ["a", "b"]
    with refused(grpc.StatusCode.UNAVAILABLE):
        await local_door.create(unknown, announced("a", b"1"))


async def test_a_run_that_was_deleted_meanwhile_gets_no_files(local_settings, runs, clock, send) -> None:
    forgetful = local_settings.model_copy(update={"run_cache_seconds": 1e-9})
    async with open_door(forgetful, runs, clock, send) as door:
        owner = run_owner()
        upload = await door.open(owner, "a", b"1")
        await door.send_content(upload, b"1")
        runs.states[owner.id] = RunState.DELETED

        (result,) = await door.complete(upload.upload_id)

        assert result.failure.reason == "OWNER_NOT_WRITABLE"
        assert await door.paths(owner) == []
