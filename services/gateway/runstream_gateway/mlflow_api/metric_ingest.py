"""Hands metrics to ingest: columns instead of points, and concurrent requests in one round of calls.

Each call of a service costs a good part of a millisecond, whatever it carries, so one round is on its way at a time, and
what comes meanwhile gathers for the next.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from runstream_contract.ids import new_batch_id
from runstream_proto.events.v1.run_logged_columns_pb2 import MetricSeriesColumns, RunLoggedColumns
from runstream_proto.ingest.v1.ingest_service_pb2 import LogMetricBatchesRequest

from runstream_gateway.batching import Batcher
from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.errors import translated
from runstream_gateway.mlflow_api.failures import platform_error
from runstream_gateway.mlflow_api.identities import existing_run_id
from runstream_gateway.mlflow_api.run_checks import check_stages, refusal_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.exceptions import MlflowException

    from runstream_gateway.backends import Backends
    from runstream_gateway.mlflow_api.write_bodies import MetricBody

MAX_BATCHES = 1_000
MAX_CALL_BYTES = 8 * 1024 * 1024
"""Half of what ingest takes in a call."""

_Columns: TypeAlias = tuple[list[int], list[int], list[float | str]]


class _Batch(NamedTuple):
    run_id: str
    data: bytes
    run_checked: bool

    def size_bytes(self) -> int:
        return len(self.data)


class MetricIngest:
    """Makes points durable, of runs that take them as of now: nothing is remembered about a run."""

    def __init__(self, backends: Backends) -> None:
        self._runs = backends.runs
        self._ingest = backends.ingest
        self._timeout = backends.timeout_seconds
        self._batches: Batcher[_Batch, None] = Batcher(
            self._send, max_items=MAX_BATCHES, size_of=_Batch.size_bytes, max_bytes=MAX_CALL_BYTES
        )

    async def log(self, run_id: str, metrics: Sequence[MetricBody], *, run_checked: bool) -> None:
        """Return when the points are durable on the bus.

        Args:
            run_id: as the client wrote it.
            metrics: one or more points.
            run_checked: whether the run was just found to take writes.

        Raises:
            MlflowException: RESOURCE_DOES_NOT_EXIST or INVALID_PARAMETER_VALUE for a run that is missing or deleted,
                RESOURCE_EXHAUSTED or TEMPORARILY_UNAVAILABLE, which clients repeat, or what ingest refuses.
        """
        data = encode_points(existing_run_id(run_id), metrics)
        await self._batches.call(_Batch(run_id, data, run_checked))

    async def _send(self, batches: Sequence[_Batch]) -> Sequence[MlflowException | None]:
        asked = {batch.run_id for batch in batches if not batch.run_checked}
        stages = await check_stages(self._runs, asked, timeout_seconds=self._timeout) if asked else {}
        outcomes = [
            None if batch.run_checked else refusal_of(batch.run_id, stages[batch.run_id]) for batch in batches
        ]
        # One message a run: what ten threads of one training process log costs as much as what one does.
        by_run: defaultdict[str, list[int]] = defaultdict(list)
        for index, batch in enumerate(batches):
            if outcomes[index] is None:
                by_run[batch.run_id].append(index)
        if by_run:
            parts = list(by_run.values())
            message = LogMetricBatchesRequest(
                batches=[_joined([batches[index] for index in part]) for part in parts], runs_checked=True
            )
            answer = await call(self._ingest.LogMetricBatches, message, self._timeout)
            for rejected in answer.rejections:
                for index in parts[rejected.sequence]:
                    outcomes[index] = translated(platform_error(rejected))
        return outcomes


def _joined(batches: Sequence[_Batch]) -> bytes:
    """Batches of one run as one: of messages put behind each other, protobuf reads lists as one and the last id."""
    return b"".join([batch.data for batch in batches]) if len(batches) > 1 else batches[0].data


def encode_points(run_id: str, metrics: Sequence[MetricBody]) -> bytes:
    """A batch as ingest takes it, with an id of its own: MLflow's requests carry none, so a repeat is a new batch.

    Points that a repeat stores again count once all the same.
    """
    by_key: dict[str, _Columns] = {}
    for metric in metrics:
        columns = by_key.get(metric.key)
        if columns is None:
            columns = by_key[metric.key] = ([], [], [])
        columns[0].append(metric.step)
        columns[1].append(metric.timestamp)
        columns[2].append(metric.value)
    series = [_series(key, *columns) for key, columns in by_key.items()]
    return RunLoggedColumns(batch_id=new_batch_id(), run_id=run_id, series=series).SerializeToString()


def _series(
    key: str, steps: list[int], timestamps_ms: list[int], values: list[float | str]
) -> MetricSeriesColumns:
    integers = struct.Struct(f"<{len(steps)}q")
    return MetricSeriesColumns(
        key=key,
        steps=integers.pack(*steps),
        timestamps_ms=integers.pack(*timestamps_ms),
        values=struct.pack(f"<{len(values)}d", *map(float, values)),
    )
