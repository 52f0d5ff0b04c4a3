"""Files from the SDK through the artifact service into a folder and into S3, and back."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import runstream
from runstream.artifacts.errors import ContentCorrupt
from runstream.connection import Connection
from runstream_common.errors import FailedPrecondition, InvalidArgument, NotFound
from runstream_contract.ids import new_run_id
from runstream_proto.metadata.v1.run_service_pb2 import CreateRunRequest
from runstream_proto.metadata.v1.run_service_pb2_grpc import RunServiceStub

from tests.support.postgres import fresh_database
from tests.support.service_stack import ServiceStack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runstream.artifacts.client import Artifacts

    from tests.support.postgres import PostgresServer

MEBIBYTE = 1024 * 1024
PART_BYTES = 5 * MEBIBYTE
SETTINGS = {
    "RUNSTREAM_MULTIPART_THRESHOLD_BYTES": str(PART_BYTES),
    "RUNSTREAM_MULTIPART_PART_BYTES": str(PART_BYTES),
}
STORES = ["folder", pytest.param("s3", marks=pytest.mark.s3)]


@pytest.fixture(scope="module", params=STORES)
def stack(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceStack]:
    """Metadata and artifact services over a store."""
    store_url = ""
    if request.param == "s3":
        s3 = request.getfixturevalue("s3_server")
        store_url = f"s3://{s3.access_key}:{s3.secret_key}@127.0.0.1:{s3.port}/sdk-{os.getpid()}"
    with fresh_database(postgres_server) as database_url:
        running = ServiceStack(
            tmp_path_factory.mktemp("services"),
            database_url=database_url,
            bus_url=database_url,
            names=("metadata", "artifact"),
            object_store_url=store_url,
            settings=SETTINGS,
        )
        try:
            running.start()
            yield running
        finally:
            running.stop()


@pytest.fixture
def artifacts(stack: ServiceStack) -> Iterator[Artifacts]:
    """A client of the stack."""
    with runstream.Client(stack.metadata.target) as client:
        yield client.artifacts


@pytest.fixture
def new_run(stack: ServiceStack) -> Callable[[], str]:
    """Creates runs; returns the id."""

    def create() -> str:
        run_id = new_run_id()
        with Connection(stack.metadata.target) as connection:
            connection.stub(RunServiceStub).CreateRun(CreateRunRequest(run_id=run_id, experiment_id="0"))
        return run_id

    return create


def files_of(folder: Path) -> dict[str, str]:
    """Digest of each file by path."""
    return {
        unicodedata.normalize("NFC", p.relative_to(folder).as_posix()): hashlib.sha256(
            p.read_bytes()
        ).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def write_large(path: Path, size_bytes: int, seed: int) -> None:
    """A file that differs in every part, without its content in memory."""
    noise = random.Random(seed)
    with path.open("wb") as file:
        for _ in range(size_bytes // MEBIBYTE):
            file.write(noise.randbytes(64) * (MEBIBYTE // 64))
        file.write(noise.randbytes(size_bytes % MEBIBYTE))


def test_every_kind_of_file_comes_back_as_it_was(artifacts, new_run, tmp_path):
    source = tmp_path / "in"
    (source / "sub" / "ünï code ✓").mkdir(parents=True)
    (source / "empty").touch()
    (source / "small").write_bytes(b"small")
    (source / "sub" / "100%+#?&=.txt").write_bytes(b"escaped?")
    (source / "sub" / "ünï code ✓" / "e\u0301").write_bytes(b"nfd")
    write_large(source / "exactly", PART_BYTES, 1)
    write_large(source / "large", 2 * PART_BYTES + 12_345, 2)
    run_id = new_run()
    done = artifacts.upload(source, run_id, progress=False)
    assert done.sent_count == 6
    artifacts.download(run_id, to=tmp_path / "out", progress=False)
    assert files_of(tmp_path / "out") == files_of(source)
    assert {item.path: item.digest for item in artifacts.list(run_id, recursive=True)} == files_of(source)
    again = artifacts.upload(source, new_run(), progress=False)
    assert (again.sent_count, len(again.artifacts)) == (0, 6)
    assert artifacts.verify(run_id, read_content=True).ok
    assert (
        artifacts.read_bytes(run_id, "large", offset=PART_BYTES - 5, length=10)
        == (source / "large").read_bytes()[PART_BYTES - 5 : PART_BYTES + 5]
    )


def test_thousands_of_files_come_and_go(request, artifacts, new_run, tmp_path):
    # The S3 server of the tests closes each connection after its answer: what ten thousand show, two thousand do there.
    count = 2_000 if request.node.callspec.params["stack"] == "s3" else 10_000
    source = tmp_path / "in"
    for number in range(count):
        folder = source / f"{number % 10}"
        if number < 10:
            folder.mkdir(parents=True)
        (folder / f"{number:05}").write_text(str(number))
    run_id = new_run()
    done = artifacts.upload(source, run_id, progress=False)
    assert len(done.artifacts) == count
    assert artifacts.usage(run_id).file_count == count
    assert [item.path for item in artifacts.list(run_id)] == [str(number) for number in range(10)]
    artifacts.download(run_id, to=tmp_path / "out", progress=False)
    assert files_of(tmp_path / "out") == files_of(source)


def test_memory_stays_flat_over_a_file_of_512_mib(stack, new_run, tmp_path):
    write_large(tmp_path / "large", 512 * MEBIBYTE, 3)
    script = """
import resource, sys, runstream
def most() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
client = runstream.Client(sys.argv[1])
client.artifacts.upload_bytes(b"warm", sys.argv[2], "warm")
client.artifacts.read_bytes(sys.argv[2], "warm")
before = most()
client.artifacts.upload(sys.argv[3], sys.argv[2], progress=False)
client.artifacts.download(sys.argv[2], "large", to=sys.argv[3] + ".out", progress=False)
print(most() - before)
"""
    words = [stack.metadata.target, new_run(), str(tmp_path / "large")]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * MEBIBYTE
    assert stack.artifact.resident_bytes() < 200 * MEBIBYTE


def test_a_killed_upload_is_resumed(stack, artifacts, new_run, tmp_path):
    write_large(tmp_path / "large", 12 * PART_BYTES, 4)
    run_id = new_run()
    script = """
import sys, runstream
client = runstream.Client(sys.argv[1])
def tell(state):
    print(state.done_bytes, flush=True)
client.artifacts.upload(sys.argv[3], sys.argv[2], progress=tell)
"""
    words = [stack.metadata.target, run_id, str(tmp_path / "large")]
    child = subprocess.Popen(
        [sys.executable, "-c", script, *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "RUNSTREAM_TRANSFER_THREADS": "2"},
    )
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            if int(line) >= 6 * PART_BYTES:
                child.kill()
                break
    assert child.wait() != 0
    with pytest.raises(NotFound):
        artifacts.stat(run_id, "large")
    states = []
    artifacts.upload(tmp_path / "large", run_id, progress=states.append)
    # What had arrived is counted in one step, before the first byte is sent.
    resumed = max(later.done_bytes - state.done_bytes for state, later in pairwise(states))
    assert resumed >= 3 * PART_BYTES
    artifacts.download(run_id, "large", to=tmp_path / "out", progress=False)
    assert files_of(tmp_path)["out"] == files_of(tmp_path)["large"]


def test_files_are_copied_moved_and_deleted(artifacts, new_run, tmp_path):
    first, second = new_run(), new_run()
    artifacts.upload_bytes(b"1", first, "model/MLmodel")
    artifacts.upload_bytes(b"2", first, "model/data/weights")
    tree = artifacts.copy(f"runs:/{first}/model", f"runs:/{second}/best")
    assert (tree.file_count, tree.size_bytes) == (2, 2)
    assert artifacts.usage(second, "best").digest == artifacts.usage(first, "model").digest
    assert artifacts.move(second, "best", "old") == 2
    assert artifacts.exists(second, "old/data/weights")
    assert not artifacts.exists(second, "best")
    assert artifacts.delete(second, "old/data") == 1
    assert artifacts.read_bytes(second, "old/MLmodel") == b"1"
    with pytest.raises(FailedPrecondition) as conflict:
        artifacts.upload_bytes(b"x", first, "model/MLmodel/below")
    assert conflict.value.reason == "PATH_CONFLICT"


def test_refusals_name_what_is_wrong(artifacts, new_run, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "aux.txt").write_bytes(b"1")
    with pytest.raises(InvalidArgument, match=r"aux\.txt"):
        artifacts.upload(tmp_path / "in", new_run(), progress=False)
    with pytest.raises(NotFound) as unknown:
        artifacts.upload_bytes(b"1", "0" * 32, "a")
    assert unknown.value.reason == "RUN_NOT_FOUND"


@pytest.mark.parametrize("stack", ["folder"], indirect=True)
def test_what_was_damaged_in_the_store_never_takes_its_place(stack, artifacts, new_run, tmp_path):
    run_id = new_run()
    for path, size in (("small", 1000), ("large", 40 * MEBIBYTE)):
        write_large(tmp_path / path, size, size)
        artifacts.upload(tmp_path / path, run_id, progress=False)
        digest = artifacts.stat(run_id, path).digest
        (stored,) = (p for p in stack.artifact.log_path.parent.rglob(f"*{digest}*") if p.is_file())
        with stored.open("r+b") as file:
            file.seek(size // 2)
            file.write(b"damage")
        with pytest.raises(ContentCorrupt, match=path):
            artifacts.download(run_id, path, to=tmp_path / "out" / path, progress=False)
        assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    problems = artifacts.verify(run_id, read_content=True).problems
    assert {(problem.path, problem.reason) for problem in problems} == {
        ("small", "CHECKSUM_MISMATCH"),
        ("large", "CHECKSUM_MISMATCH"),
    }
