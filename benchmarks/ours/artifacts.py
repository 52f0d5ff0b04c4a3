"""Measurements of storing and fetching files, beside the bare S3 client on the same server."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import minio
from runstream import Client

from benchmarks import workload
from benchmarks.ours.stack import MemoryWatch, StackUnderTest
from benchmarks.ours.write import new_experiment, new_runs
from deploy.local.s3.s3 import S3Server

BUCKET = "runstream"
BARE_BUCKET = "bare"
REPEATS = 3
_BLOCK_BYTES = 16 * 1024 * 1024
_MB = 1_000_000


@dataclass(frozen=True)
class LargeFileRates:
    """Medians in MB/s: through the artifact service, and with the S3 client alone.

    Attributes:
        service_bytes: largest resident memory of the artifact service meanwhile.
    """

    up: float
    down: float
    bare_up: float
    bare_down: float
    service_bytes: int


@dataclass(frozen=True)
class FolderTimes:
    """How long a folder took."""

    upload_seconds: float
    download_seconds: float


def object_store_url(server: S3Server) -> str:
    """The setting that makes a stack use the server."""
    return f"s3://{server.access_key}:{server.secret_key}@127.0.0.1:{server.port}/{BUCKET}"


def large_file_rates(
    stack: StackUnderTest, server: S3Server, folder: Path, size_bytes: int = workload.LARGE_FILE_BYTES
) -> LargeFileRates:
    """Send and fetch one large file by both ways in turn; what was fetched is compared.

    Args:
        stack: over the S3 server.
        server: the S3 server.
        folder: an empty one with room for two such files beside those of the server.
        size_bytes: size of the file.
    """
    bare = minio.Minio(
        f"127.0.0.1:{server.port}", server.access_key, server.secret_key, region=server.region, secure=False
    )
    bare.make_bucket(BARE_BUCKET)
    seconds: dict[str, list[float]] = {"up": [], "down": [], "bare_up": [], "bare_down": []}
    path, fetched = folder / "large.bin", folder / "fetched.bin"

    def timed(name: str, work: Callable[[], object]) -> None:
        # What one step leaves to be written to the disk must not slow down the next one.
        os.sync()
        started = time.perf_counter()
        work()
        seconds[name].append(time.perf_counter() - started)

    with Client(stack.metadata) as client, MemoryWatch(stack) as memory:
        run_id = _new_run(stack)
        for number in range(REPEATS):
            _write_random(path, size_bytes)
            name = f"large-{number}.bin"
            timed("bare_up", lambda: bare.fput_object(BARE_BUCKET, "large.bin", str(path)))
            timed("up", lambda name=name: client.artifacts.upload_file(path, run_id, name, progress=False))
            timed("bare_down", lambda: bare.fget_object(BARE_BUCKET, "large.bin", str(fetched)))
            fetched.unlink()
            timed(
                "down", lambda name=name: client.artifacts.download(run_id, name, to=fetched, progress=False)
            )
            if not _same(path, fetched):
                raise RuntimeError("what was fetched is not what was stored")
            fetched.unlink()
            bare.remove_object(BARE_BUCKET, "large.bin")
    rates = {name: size_bytes / _MB / statistics.median(taken) for name, taken in seconds.items()}
    return LargeFileRates(**rates, service_bytes=memory.peak_bytes["artifact"])


def folder_times(stack: StackUnderTest, folder: Path, target: Path) -> FolderTimes:
    """Store a folder in a new run and fetch it again; what was fetched is compared."""
    with Client(stack.metadata) as client:
        run_id = _new_run(stack)
        client.artifacts.upload_bytes(b"warm-up", run_id, "warm-up.txt")
        started = time.perf_counter()
        client.artifacts.upload(folder, run_id, "files", progress=False)
        stored = time.perf_counter()
        client.artifacts.download(run_id, "files", to=target, progress=False)
        done = time.perf_counter()
    for path in folder.iterdir():
        if path.read_bytes() != (target / path.name).read_bytes():
            raise RuntimeError(f"{path.name} is not what was stored")
    return FolderTimes(stored - started, done - stored)


def write_small_files(folder: Path) -> None:
    """Fill a new folder with the workload's small files, all different."""
    folder.mkdir()
    for number in range(workload.SMALL_FILES):
        (folder / f"file-{number:05d}.bin").write_bytes(os.urandom(workload.SMALL_FILE_BYTES))


def _new_run(stack: StackUnderTest) -> str:
    with stack.channel() as channel:
        return new_runs(channel, new_experiment(channel, "artifacts"), 1)[0]


def _write_random(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        for start in range(0, size_bytes, _BLOCK_BYTES):
            file.write(os.urandom(min(_BLOCK_BYTES, size_bytes - start)))


def _same(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while block := left.read(_BLOCK_BYTES):
            if block != right.read(_BLOCK_BYTES):
                return False
        return not right.read(1)
