"""Reads metric histories from the metadata service as columns, after everything that was acknowledged before."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import grpc
from runstream_contract.names import is_run_id
from runstream_proto.metadata.v1 import metric_columns_pb2 as columns_pb
from runstream_proto.metadata.v1 import metric_service_pb2 as pb

from runstream_gateway.mlflow_api.calls import call
from runstream_gateway.mlflow_api.errors import translated
from runstream_gateway.mlflow_api.metric_points import read_points

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from runstream_gateway.backends import Backends
    from runstream_gateway.mlflow_api.metric_points import Points

MAX_PAGE_POINTS = 1_000_000
"""Points of one page; who asks for more gets so many and a token."""

_SERVICE = "/runstream.metadata.v1.MetricService/"


class HistoryPage(NamedTuple):
    """One page of a history."""

    points: Points
    next_page_token: str


class HistoryReads:
    """MetricService with answers as bytes columns (metric_columns.proto). Unknown runs have no points."""

    def __init__(self, backends: Backends) -> None:
        channel = backends.channels["metadata"]
        self._timeout = backends.timeout_seconds
        self._wait_ms = backends.read_wait_ms
        self._stream: grpc.aio.UnaryStreamMultiCallable[
            pb.StreamMetricHistoryRequest, columns_pb.MetricPartColumns
        ] = channel.unary_stream(
            _SERVICE + "StreamMetricHistory",
            request_serializer=pb.StreamMetricHistoryRequest.SerializeToString,
            response_deserializer=columns_pb.MetricPartColumns.FromString,
        )
        self._page: grpc.aio.UnaryUnaryMultiCallable[
            pb.GetMetricHistoryRequest, columns_pb.GetMetricHistoryColumns
        ] = channel.unary_unary(
            _SERVICE + "GetMetricHistory",
            request_serializer=pb.GetMetricHistoryRequest.SerializeToString,
            response_deserializer=columns_pb.GetMetricHistoryColumns.FromString,
        )
        self._sample: grpc.aio.UnaryUnaryMultiCallable[
            pb.SampleMetricHistoryRequest, columns_pb.SampleMetricHistoryColumns
        ] = channel.unary_unary(
            _SERVICE + "SampleMetricHistory",
            request_serializer=pb.SampleMetricHistoryRequest.SerializeToString,
            response_deserializer=columns_pb.SampleMetricHistoryColumns.FromString,
        )

    async def whole(self, run_ids: Sequence[str], key: str) -> AsyncGenerator[Points]:
        """Whole histories of one key in parts, by run as asked, ordered by timestamp, step and value.

        Raises:
            MlflowException: the service refused, or could not be reached.
        """
        known = _known(run_ids)
        if not known:
            return
        request = pb.StreamMetricHistoryRequest(
            run_ids=known, keys=[key], wait_for_latest=True, wait_timeout_ms=self._wait_ms
        )
        answers = self._stream(request, timeout=self._timeout)
        try:
            with _in_mlflows_words():
                async for part in answers:
                    if part.series.values:
                        yield read_points(part.run_id, key, part.series)
        finally:
            # Whoever has read enough leaves before the end.
            answers.cancel()

    async def page(self, run_id: str, key: str, *, size: int, token: str) -> HistoryPage | None:
        """One page of a history in the same order; None for a run that cannot be.

        Raises:
            MlflowException: the token is not one of this history, or the service could not be reached.
        """
        if not is_run_id(run_id):
            return None
        request = pb.GetMetricHistoryRequest(
            run_id=run_id,
            key=key,
            page_size=min(size, MAX_PAGE_POINTS),
            page_token=token,
            wait_for_latest=True,
            wait_timeout_ms=self._wait_ms,
        )
        answer = await call(self._page, request, self._timeout)
        return HistoryPage(read_points(run_id, key, answer.series), answer.next_page_token)

    async def sampled(
        self,
        run_ids: Sequence[str],
        key: str,
        *,
        max_points: int,
        start_step: int | None = None,
        end_step: int | None = None,
    ) -> list[Points]:
        """Histories of one key with at most so many points each, as MLflow's charts draw them.

        The first of as many equal parts of the points, ordered by step, timestamp and value, and always the last point.

        Args:
            run_ids: at most 100; one that comes twice is answered twice.
            key: of the metric.
            max_points: 1 to 10,000.
            start_step: least step.
            end_step: greatest step.

        Raises:
            MlflowException: the service refused, or could not be reached.
        """
        known = _known(run_ids)
        if not known:
            return []
        request = pb.SampleMetricHistoryRequest(
            run_ids=known,
            keys=[key],
            max_points=max_points,
            sampling=pb.SAMPLING_FIRST_IN_BUCKET,
            start_step=start_step,
            end_step=end_step,
            wait_for_latest=True,
            wait_timeout_ms=self._wait_ms,
        )
        answer = await call(self._sample, request, self._timeout)
        found = {series.run_id: read_points(series.run_id, key, series) for series in answer.series}
        return [found[run_id] for run_id in run_ids if run_id in found]


def _known(run_ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(run_id for run_id in run_ids if is_run_id(run_id)))


@contextmanager
def _in_mlflows_words() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise translated(error) from error
