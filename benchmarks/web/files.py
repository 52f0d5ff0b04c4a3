"""A large file through the artifact proxy."""

from __future__ import annotations

import http.client
import os
import statistics
import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.web.connection import WrongAnswer

if TYPE_CHECKING:
    from pathlib import Path

REPEATS = 3
BLOCK_BYTES = 1024 * 1024
_MB = 1_000_000
_TIMEOUT_SECONDS = 300.0


def file_rates(url: str, run_path: str, folder: Path, size_bytes: int) -> tuple[float, float]:
    """Store a file and fetch it back, in turns; medians in MB/s, up and down.

    Args:
        url: server.
        run_path: path of a run's artifacts below the proxy.
        folder: where the file is made.
        size_bytes: of the file.

    Raises:
        WrongAnswer: the server refused, or what came back is not what was stored.
    """
    source = folder / "large-file.bin"
    with source.open("wb") as file:
        for _ in range(0, size_bytes, BLOCK_BYTES):
            file.write(os.urandom(BLOCK_BYTES))
    size_bytes = source.stat().st_size
    up, down = [], []
    for _ in range(REPEATS):
        target = f"/api/2.0/mlflow-artifacts/artifacts/{run_path}/{uuid.uuid4().hex}.bin"
        started = time.perf_counter()
        _put(url, target, source)
        up.append(size_bytes / _MB / (time.perf_counter() - started))
        started = time.perf_counter()
        received = _get(url, target)
        down.append(size_bytes / _MB / (time.perf_counter() - started))
        if received != size_bytes:
            raise WrongAnswer(f"{received} of {size_bytes} bytes came back")
    source.unlink()
    return statistics.median(up), statistics.median(down)


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(
        str(parts.hostname), parts.port, timeout=_TIMEOUT_SECONDS, blocksize=BLOCK_BYTES
    )


def _put(url: str, target: str, source: Path) -> None:
    connection = _connect(url)
    with source.open("rb") as file:
        headers = {"Content-Length": str(source.stat().st_size), "Content-Type": "application/octet-stream"}
        connection.request("PUT", target, file, headers)
        response = connection.getresponse()
    text = response.read()
    connection.close()
    if response.status != 200:
        raise WrongAnswer(f"PUT {target}: HTTP {response.status}: {text[:500]!r}")


def _get(url: str, target: str) -> int:
    connection = _connect(url)
    connection.request("GET", target)
    response = connection.getresponse()
    received = 0
    while block := response.read(BLOCK_BYTES):
        received += len(block)
    connection.close()
    if response.status != 200:
        raise WrongAnswer(f"GET {target}: HTTP {response.status}")
    return received
