"""Hands metrics to ingest: columns instead of points, and the batches of concurrent requests in one call."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from runstream_contract.ids import new_batch_id
from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns, RunLoggedColumns
from runstream_proto.ingest.v1.ingest_service_pb2 import LogMetricBatchesRequest

from runstream_gateway.batching import Batcher
from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.errors import translated
from runstream_gateway.mlflow_api.failures import platform_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.exceptions import MlflowException

    from runstream_gateway.backends import Backends
    from runstream_gateway.mlflow_api.write_bodies import MetricBody

MAX_BATCHES = 1_000
MAX_CALL_BYTES = 8 * 1024 * 1024
"""Half of what ingest takes in a call."""


class MetricIngest:
    """Makes points durable; the caller has just asked whether their run takes them."""

    def __init__(self, backends: Backends) -> None:
        self._ingest = backends.ingest
        self._timeout = backends.timeout_seconds
        self._batches: Batcher[bytes, None] = Batcher(
            self._send, max_items=MAX_BATCHES, max_in_flight=2, size_of=len, max_bytes=MAX_CALL_BYTES
        )

    async def log(self, run_id: str, metrics: Sequence[MetricBody]) -> None:
        """Return when the points are durable on the bus.

        Raises:
            MlflowException: RESOURCE_EXHAUSTED or TEMPORARILY_UNAVAILABLE, which clients repeat, or what ingest refuses.
        """
        await self._batches.call(encode_points(run_id, metrics))

    async def _send(self, batches: Sequence[bytes]) -> Sequence[MlflowException | None]:
        message = LogMetricBatchesRequest(batches=batches, runs_checked=True)
        answer = await call(self._ingest.LogMetricBatches, message, self._timeout)
        outcomes: list[MlflowException | None] = [None] * len(batches)
        for refused in answer.rejections:
            outcomes[refused.sequence] = translated(platform_error(refused))
        return outcomes


def encode_points(run_id: str, metrics: Sequence[MetricBody]) -> bytes:
    """A batch as ingest takes it, with an id of its own: MLflow's requests carry none, so a repeat is a new batch.

    Points that a repeat stores again count once all the same.
    """
    by_key: dict[str, tuple[list[int], list[int], list[float]]] = {}
    for metric in metrics:
        columns = by_key.get(metric.key)
        if columns is None:
            columns = by_key[metric.key] = ([], [], [])
        columns[0].append(metric.step)
        columns[1].append(metric.timestamp)
        columns[2].append(float(metric.value))
    series = [
        MetricSeriesColumns(
            key=key,
            steps=struct.pack(f"<{len(steps)}q", *steps),
            timestamps_ms=struct.pack(f"<{len(steps)}q", *timestamps_ms),
            values=struct.pack(f"<{len(steps)}d", *values),
        )
        for key, (steps, timestamps_ms, values) in by_key.items()
    ]
    return RunLoggedColumns(batch_id=new_batch_id(), run_id=run_id, series=series).SerializeToString()
