"""Random changes of a tree against a plain mapping from paths to contents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runstream_proto.artifact.v1 import artifact_service_pb2 as pb

from services.artifact.tests.support import digest, run_owner, tree_digest

if TYPE_CHECKING:
    from services.artifact.tests.support import Door

# "!" sorts before "/"; few names, so that paths get in each other's way.
paths = st.lists(st.sampled_from(["a", "b", "a!"]), min_size=1, max_size=3).map("/".join)
contents = st.sampled_from([b"1", b"2", b"3"])
changes = st.lists(
    st.one_of(
        st.tuples(st.just("put"), paths, contents),
        st.tuples(st.just("delete"), paths, st.none()),
        st.tuples(st.just("copy"), paths, paths),
        st.tuples(st.just("move"), paths, paths),
    ),
    min_size=10,
    max_size=30,
)


class Model:
    """What a tree should hold; each change says whether it should succeed."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def below(self, path: str) -> dict[str, bytes]:
        """What a path stands for: relative paths ("" for a file itself) to contents."""
        if path in self.files:
            return {"": self.files[path]}
        return {
            name[len(path) :]: content for name, content in self.files.items() if name.startswith(f"{path}/")
        }

    def fits(self, files: dict[str, bytes]) -> bool:
        return not any(other.startswith(f"{path}/") for path in files for other in files)

    def become(self, files: dict[str, bytes]) -> bool:
        if not self.fits(files):
            return False
        self.files = files
        return True

    def put(self, path: str, content: bytes) -> bool:
        return self.become({**self.files, path: content})

    def delete(self, path: str, _: None) -> bool:
        gone = self.below(path)
        for relative in gone:
            del self.files[path + relative]
        return bool(gone)

    def copy(self, source: str, target: str) -> bool:
        found = self.below(source)
        new = {target + relative: content for relative, content in found.items()}
        return bool(found) and self.become({**self.files, **new})

    def move(self, source: str, target: str) -> bool:
        found = self.below(source)
        if not found or self.below(target) or f"{target}/".startswith(f"{source}/"):
            return False
        kept = {
            path: content
            for path, content in self.files.items()
            if path != source and not path.startswith(f"{source}/")
        }
        # A file that is moved away no longer stands in the way, but what it stands below is checked before.
        if not self.fits({**self.files, target: b""}):
            return False
        return self.become(kept | {target + relative: content for relative, content in found.items()})

    def entries(self, directory: str) -> list[tuple[str, bool]]:
        prefix = f"{directory}/" if directory else ""
        found = {
            (prefix + rest.partition("/")[0], "/" in rest)
            for path in self.files
            if path.startswith(prefix)
            for rest in [path[len(prefix) :]]
        }
        return sorted(found, key=lambda entry: f"{entry[0]}/" if entry[1] else entry[0])


async def apply(door: Door, owner, change: str, path: str, other) -> bool:
    try:
        if change == "put":
            await door.create(owner, pb.NewFile(path=path, size_bytes=1, digest=digest(other)))
        elif change == "delete":
            await door.stub.DeleteArtifacts(pb.DeleteArtifactsRequest(owner=owner, path=path))
        elif change == "copy":
            await door.copy(owner, path, owner, other)
        else:
            request = pb.MoveArtifactsRequest(owner=owner, source_path=path, target_path=other)
            await door.stub.MoveArtifacts(request)
    except grpc.aio.AioRpcError as error:
        assert error.code() in {
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.INVALID_ARGUMENT,
        }, error
        return False
    return True


async def test_a_tree_behaves_like_a_mapping(local_door: Door) -> None:
    # Stored once, so that every put of the examples is visible at once.
    await local_door.put(run_owner(), {"1": b"1", "2": b"2", "3": b"3"})
    examples: list[list[tuple]] = []

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(changes)
    def gather(example) -> None:
        examples.append(example)

    gather()
    for example in examples:
        await follow(local_door, example)


async def follow(door: Door, example: list[tuple]) -> None:
    owner, model = run_owner(), Model()
    for change, path, other in example:
        before = dict(model.files)
        expected = getattr(model, change)(path, other)
        assert await apply(door, owner, change, path, other) == expected, (example, change, path, before)
    assert await door.paths(owner) == sorted(model.files, key=str.encode)
    assert (await door.tree(owner)).digest == tree_digest(model.files)
    directories = {"", *(path.rpartition("/")[0] for path in model.files)}
    for directory in directories:
        request = pb.ListArtifactsRequest(owner=owner, path=directory, page_size=2)
        found = []
        while True:
            answer = await door.stub.ListArtifacts(request)
            found += [(item.path, item.is_directory) for item in answer.artifacts]
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        assert found == model.entries(directory), example
