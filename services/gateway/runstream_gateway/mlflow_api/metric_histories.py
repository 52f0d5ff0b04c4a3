"""Metric histories: metrics/get-history and the two endpoints of the web UI's charts."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
from mlflow.protos import service_pb2 as mlflow_pb
from starlette.responses import StreamingResponse

from runstream_gateway.mlflow_api.checks import CheckRefusal, int_like, required, string, strings
from runstream_gateway.mlflow_api.errors import invalid
from runstream_gateway.mlflow_api.history_reads import MAX_PAGE_POINTS, HistoryReads
from runstream_gateway.mlflow_api.messages import read_message
from runstream_gateway.mlflow_api.metric_points import NAN_TOKEN, encode_points
from runstream_gateway.replies import JSON, json_reply
from runstream_gateway.routes import Route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from runstream_gateway.backends import Backends
    from runstream_gateway.mlflow_api.checks import Schema
    from runstream_gateway.mlflow_api.metric_points import Points

_PREFIX = "/api/2.0/mlflow/metrics/"

MAX_BULK_RUNS = 100
"""Runs of one request for charts (MLflow)."""

MAX_BULK_POINTS = 25_000
"""Points of one answer of get-history-bulk (MLflow)."""

MAX_SAMPLED_POINTS = 2_500
"""Points of a run in one answer of get-history-bulk-interval (MLflow)."""

_EMPTY = b"{}"


def _few_runs(run_ids: Any) -> bool:
    if isinstance(run_ids, list) and len(run_ids) > MAX_BULK_RUNS:
        raise CheckRefusal(
            f"GetMetricHistoryBulkInterval request must specify at most {MAX_BULK_RUNS} run_ids. "
            f"Received {len(run_ids)} run_ids."
        )
    return True


def _sample_size(value: Any) -> bool:
    if int_like(value) and not 1 <= int(value) <= MAX_SAMPLED_POINTS:
        raise CheckRefusal(f"max_results must be between 1 and {MAX_SAMPLED_POINTS}.")
    return True


_INTERVAL_SCHEMA: Schema = {
    "run_ids": [required, strings, _few_runs],
    "metric_key": [required, string],
    "start_step": [int_like],
    "end_step": [int_like],
    "max_results": [int_like, _sample_size],
}


def routes(backends: Backends) -> list[Route]:
    """Routes of this area."""
    api = MetricHistories(backends)
    return [
        Route("GET", _PREFIX + "get-history", api.whole),
        Route("GET", _PREFIX + "get-history-bulk-interval", api.bulk_interval),
        Route("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", api.bulk),
    ]


class MetricHistories:
    """Answers histories; long ones are sent while they are read."""

    def __init__(self, backends: Backends) -> None:
        self._reads = HistoryReads(backends)

    async def whole(self, request: Request) -> Response:
        """metrics/get-history: everything, or a page of it when the request says how large."""
        schema = {
            "run_id": [string, required],
            "metric_key": [string, required],
            "page_token": [string],
        }
        asked = await read_message(request, mlflow_pb.GetMetricHistory(), schema)
        run_id = asked.run_id or asked.run_uuid
        if asked.HasField("max_results"):
            if asked.max_results <= 0:
                raise invalid(
                    f"Invalid value {asked.max_results} for parameter 'max_results' supplied. "
                    "It must be a positive integer."
                )
            return await self._page(run_id, asked.metric_key, asked.max_results, asked.page_token)
        if asked.page_token:
            return await self._page(run_id, asked.metric_key, MAX_PAGE_POINTS, asked.page_token)
        return await _long_reply(self._reads.whole([run_id], asked.metric_key))

    async def bulk(self, request: Request) -> Response:
        """metrics/get-history-bulk: the first points of several runs, by run id."""
        run_ids, key, limit = _bulk_query(request)
        left = limit
        pieces: list[bytes] = []
        async with aclosing(self._reads.whole(sorted(run_ids), key)) as histories:
            while left and (points := await anext(histories, None)) is not None:
                for part in points.part(0, left).parts():
                    pieces.append(encode_points(part, with_run_id=True, nan=NAN_TOKEN))
                    await asyncio.sleep(0)
                left -= min(left, len(points.values))
        return json_reply(b'{"metrics":[' + b",".join(pieces) + b"]}")

    async def bulk_interval(self, request: Request) -> Response:
        """metrics/get-history-bulk-interval: a sample of each run's history."""
        asked = await read_message(request, mlflow_pb.GetMetricHistoryBulkInterval(), _INTERVAL_SCHEMA)
        found = await sampled_histories(self._reads, asked)
        if not found:
            return json_reply(_EMPTY)
        return json_reply(b'{"metrics":[' + b",".join(_encoded(found)) + b"]}")

    async def _page(self, run_id: str, key: str, size: int, token: str) -> Response:
        page = await self._reads.page(run_id, key, size=size, token=token)
        if page is None or not len(page.points.values):
            return json_reply(_EMPTY)
        pieces = []
        for part in page.points.parts():
            pieces.append(encode_points(part, with_run_id=False))
            await asyncio.sleep(0)
        end = b"]}"
        if page.next_page_token:
            end = b'],"next_page_token":' + msgspec.json.encode(page.next_page_token) + b"}"
        return json_reply(b'{"metrics":[' + b",".join(pieces) + end)


async def sampled_histories(
    reads: HistoryReads, asked: mlflow_pb.GetMetricHistoryBulkInterval
) -> list[Points]:
    """What get-history-bulk-interval answers, for the REST endpoint and for GraphQL.

    Args:
        reads: where histories are read.
        asked: with run ids, key and size already checked.

    Raises:
        MlflowException: INVALID_PARAMETER_VALUE, the steps are not a range.
    """
    start = asked.start_step if asked.HasField("start_step") else None
    end = asked.end_step if asked.HasField("end_step") else None
    if (start is None) != (end is None):
        raise invalid("If either start step or end step are specified, both must be specified.")
    if start is not None and end is not None and start > end:
        raise invalid(
            f"end_step must be greater than start_step. Found start_step={start} and end_step={end}."
        )
    return await reads.sampled(
        asked.run_ids,
        asked.metric_key,
        max_points=asked.max_results if asked.HasField("max_results") else MAX_SAMPLED_POINTS,
        start_step=start,
        end_step=end,
    )


def _bulk_query(request: Request) -> tuple[list[str], str, int]:
    query = request.query_params
    run_ids = query.getlist("run_id")
    if not run_ids:
        raise invalid("GetMetricHistoryBulk request must specify at least one run_id.")
    if len(run_ids) > MAX_BULK_RUNS:
        raise invalid(
            f"GetMetricHistoryBulk request cannot specify more than {MAX_BULK_RUNS} run_ids. "
            f"Received {len(run_ids)} run_ids."
        )
    key = query.get("metric_key")
    if key is None:
        raise invalid("GetMetricHistoryBulk request must specify a metric_key.")
    text = query.get("max_results", str(MAX_BULK_POINTS))
    if not int_like(text) or int(text) < 0:
        raise invalid(
            f"Invalid value {text!r} for parameter 'max_results' supplied: it must be an integer from 0."
        )
    return run_ids, key, min(int(text), MAX_BULK_POINTS)


def _encoded(histories: Iterable[Points]) -> list[bytes]:
    return [encode_points(part, with_run_id=True) for points in histories for part in points.parts()]


async def _long_reply(histories: AsyncGenerator[Points]) -> Response:
    """The answer for a history of any length. What fails before its first part is an error as usual."""
    first = await anext(histories, None)
    if first is None:
        return json_reply(_EMPTY)
    return StreamingResponse(_pieces(first, histories), media_type=JSON)


async def _pieces(first: Points, rest: AsyncGenerator[Points]) -> AsyncIterator[bytes]:
    before = b'{"metrics":['
    async with aclosing(rest):
        for part in first.parts():
            yield before + encode_points(part, with_run_id=False)
            before = b","
        async for points in rest:
            for part in points.parts():
                yield before + encode_points(part, with_run_id=False)
    yield b"]}"
