"""gRPC handlers of MetricService: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from runstream_common.errors import InvalidArgument
from runstream_common.rpc.answers import check_answer_size
from runstream_common.rpc.server import Registration
from runstream_proto.metadata.v1 import metric_columns_pb2 as columns_pb
from runstream_proto.metadata.v1 import metric_service_pb2 as pb
from runstream_proto.metadata.v1 import run_service_pb2 as run_pb

from runstream_metadata import history_tokens, rules
from runstream_metadata.api import metric_mapping
from runstream_metadata.api.fresh_reads import wait_as_asked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runstream_metadata.metric_reads import MetricReads
    from runstream_metadata.metric_watching import MetricWatcher
    from runstream_metadata.store.metric_queries import SeriesRow
    from runstream_metadata.watermarks import Watermarks

    Context = grpc.aio.ServicerContext[Any, Any]

# ruff: noqa: N802, ARG002 - names and signatures are gRPC's

MAX_RUN_IDS = 1_000
MAX_SAMPLED_RUN_IDS = 100
MAX_WATCHED_RUN_IDS = 100
MAX_BACKLOG_POINTS = 10_000
DEFAULT_PAGE_SIZE = 25_000
MAX_PAGE_SIZE = 1_000_000

BYTES_PER_POINT = 24
"""Of a history on the wire."""

ANSWER_HEADROOM_BYTES = 64 * 1024
"""What an answer holds besides its points: ids, keys, a token."""

NAME = pb.DESCRIPTOR.services_by_name["MetricService"].full_name


class MetricService:
    """Metric histories over gRPC.

    It does not derive from the generated servicer, since it answers with the columns views of the messages.

    Args:
        reads: the histories.
        watcher: live views.
        watermarks: how far the bus has been written.
        max_message_bytes: largest answer.
    """

    def __init__(
        self,
        reads: MetricReads,
        watcher: MetricWatcher,
        watermarks: Watermarks,
        *,
        max_message_bytes: int,
    ) -> None:
        self._reads = reads
        self._watcher = watcher
        self._watermarks = watermarks
        self._max_message_bytes = max_message_bytes

    def registration(self) -> Registration:
        """What the server registers."""
        return Registration(NAME, _add_to_server, self)

    async def ListMetrics(self, request: pb.ListMetricsRequest, context: Context) -> pb.ListMetricsResponse:
        """List keys with their counts."""
        run_ids = rules.run_ids(request.run_ids, at_most=MAX_RUN_IDS)
        caught_up = await wait_as_asked(self._watermarks, request)
        summaries = await self._reads.summaries(run_ids)
        answer = pb.ListMetricsResponse(
            metrics=[metric_mapping.summary_message(one) for one in summaries],
            freshness=await self._fresh(caught_up, [one.series for one in summaries]),
        )
        check_answer_size(answer, self._max_message_bytes, "run_ids")
        return answer

    async def GetMetricHistory(
        self, request: pb.GetMetricHistoryRequest, context: Context
    ) -> columns_pb.GetMetricHistoryColumns:
        """Read one page of a history."""
        run_id = rules.run_id(request.run_id)
        if not request.key:
            raise InvalidArgument.of("key", "is required")
        steps = metric_mapping.step_range(request)
        size = metric_mapping.bounded(
            "page_size", request.page_size, default=DEFAULT_PAGE_SIZE, at_most=MAX_PAGE_SIZE
        )
        after = history_tokens.decode_token(request.page_token, run_id, request.key, steps)
        caught_up = await wait_as_asked(self._watermarks, request)
        series = await self._reads.find(run_id, request.key)
        answer = columns_pb.GetMetricHistoryColumns(freshness=await self._fresh(caught_up, [series]))
        if series is None:
            answer.series.key = request.key
            return answer
        page = await self._reads.page(series, steps, after, min(size, self._points_of_message()))
        answer.series.CopyFrom(metric_mapping.series_columns(request.key, page.points))
        if page.more:
            answer.next_page_token = history_tokens.encode_token(
                run_id, request.key, steps, page.points.at(-1)
            )
        return answer

    async def StreamMetricHistory(
        self, request: pb.StreamMetricHistoryRequest, context: Context
    ) -> AsyncIterator[columns_pb.MetricPartColumns]:
        """Stream whole histories."""
        run_ids = rules.run_ids(request.run_ids, at_most=MAX_RUN_IDS)
        keys = metric_mapping.keys(request.keys, at_least=0, at_most=metric_mapping.MAX_KEYS_STREAMED)
        steps = metric_mapping.step_range(request)
        await wait_as_asked(self._watermarks, request)
        async for part in self._reads.stream(run_ids, keys or None, steps):
            yield metric_mapping.part_message(*part)

    async def SampleMetricHistory(
        self, request: pb.SampleMetricHistoryRequest, context: Context
    ) -> columns_pb.SampleMetricHistoryColumns:
        """Read downsampled histories."""
        run_ids = rules.run_ids(request.run_ids, at_most=MAX_SAMPLED_RUN_IDS)
        keys = metric_mapping.keys(request.keys, at_least=1, at_most=metric_mapping.MAX_KEYS_SAMPLED)
        how = metric_mapping.sample(request)
        caught_up = await wait_as_asked(self._watermarks, request)
        answer = columns_pb.SampleMetricHistoryColumns()
        series: list[SeriesRow] = []
        async for row, sampled in self._reads.sample(run_ids, keys, how):
            series.append(row)
            answer.series.append(metric_mapping.sampled_message(row.run_id, row.key, sampled))
            check_answer_size(answer, self._max_message_bytes, "max_points")
        answer.freshness.CopyFrom(await self._fresh(caught_up, series))
        return answer

    async def WatchMetrics(
        self, request: pb.WatchMetricsRequest, context: Context
    ) -> AsyncIterator[columns_pb.MetricPartColumns]:
        """Follow runs."""
        run_ids = rules.run_ids(request.run_ids, at_most=MAX_WATCHED_RUN_IDS)
        keys = metric_mapping.keys(request.keys, at_least=0, at_most=metric_mapping.MAX_KEYS_STREAMED)
        backlog = metric_mapping.bounded(
            "backlog_points", request.backlog_points, default=0, at_most=MAX_BACKLOG_POINTS
        )
        async for part in self._watcher.watch(run_ids, keys or None, backlog):
            yield metric_mapping.part_message(*part)

    async def _fresh(self, caught_up: bool, series: Sequence[SeriesRow | None]) -> run_pb.Freshness:
        first = next((one for one in series if one is not None), None)
        written_up_to_ms = (
            0 if first is None else await self._watermarks.written_up_to_ms(first.experiment_id)
        )
        return run_pb.Freshness(caught_up=caught_up, written_up_to_ms=written_up_to_ms)

    def _points_of_message(self) -> int:
        return (self._max_message_bytes - ANSWER_HEADROOM_BYTES) // BYTES_PER_POINT


def _add_to_server(service: MetricService, server: grpc.aio.Server) -> None:
    """Register as the generated function does, with the serializers of the columns views."""
    part = columns_pb.MetricPartColumns.SerializeToString
    handlers = {
        "ListMetrics": grpc.unary_unary_rpc_method_handler(
            service.ListMetrics, pb.ListMetricsRequest.FromString, pb.ListMetricsResponse.SerializeToString
        ),
        "GetMetricHistory": grpc.unary_unary_rpc_method_handler(
            service.GetMetricHistory,
            pb.GetMetricHistoryRequest.FromString,
            columns_pb.GetMetricHistoryColumns.SerializeToString,
        ),
        "StreamMetricHistory": grpc.unary_stream_rpc_method_handler(
            service.StreamMetricHistory, pb.StreamMetricHistoryRequest.FromString, part
        ),
        "SampleMetricHistory": grpc.unary_unary_rpc_method_handler(
            service.SampleMetricHistory,
            pb.SampleMetricHistoryRequest.FromString,
            columns_pb.SampleMetricHistoryColumns.SerializeToString,
        ),
        "WatchMetrics": grpc.unary_stream_rpc_method_handler(
            service.WatchMetrics, pb.WatchMetricsRequest.FromString, part
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    server.add_registered_method_handlers(NAME, handlers)  # type: ignore[attr-defined]  # the stubs lack it
