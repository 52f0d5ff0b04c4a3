"""MetricService over gRPC, read with the public messages: whole numbers of points, pages, parts, errors, live views."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from runstream_common.clock import SystemClock
from runstream_common.errors import InvalidArgument
from runstream_common.rpc.server import build_server
from runstream_common.rpc.status import from_rpc_error
from runstream_contract.ids import new_run_id
from runstream_metadata.api.metric_service import MetricService
from runstream_metadata.bus_progress import PartitionProgress
from runstream_metadata.chunk_merge import ChunkMerge, MergeRule
from runstream_metadata.entities import RunStatus
from runstream_metadata.metric_watching import MetricWatcher
from runstream_metadata.runs import RunUpdate
from runstream_metadata.settings import MetadataSettings
from runstream_metadata.watermarks import Watermarks
from runstream_proto.common.v1.position_pb2 import BusPosition
from runstream_proto.metadata.v1 import metric_service_pb2 as pb
from runstream_proto.metadata.v1.metric_service_pb2_grpc import MetricServiceStub

from services.metadata.tests.metrics.support import Row, message, same

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runstream_common.database import Database
    from runstream_metadata.consumers.run_logged import RunLoggedConsumer
    from runstream_metadata.live import LiveHub
    from runstream_metadata.metric_reads import MetricReads
    from runstream_metadata.runs import Runs
    from runstream_proto.events.v1.run_logged_pb2 import MetricSeries

    from services.metadata.tests.conftest import MakeRun

MAX_ANSWER_BYTES = 200_000
NAN = float("nan")


@pytest.fixture
async def stub(
    database: Database, database_url: str, reads: MetricReads, hub: LiveHub
) -> AsyncIterator[MetricServiceStub]:
    """A client of a server on a real port."""
    settings = MetadataSettings(
        database_url=database_url, bus_url=database_url, grpc_host="127.0.0.1", grpc_port=0
    )
    service = MetricService(
        reads,
        MetricWatcher(database, hub),
        Watermarks(database, hub, SystemClock(), PartitionProgress(database, SystemClock())),
        max_message_bytes=MAX_ANSWER_BYTES,
    )
    server = build_server(settings, [service.registration()])
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield MetricServiceStub(channel)
    finally:
        await server.stop()


def rows_of(series: MetricSeries) -> list[Row]:
    return list(zip(series.steps, series.timestamps_ms, series.values, strict=True))


async def refused(call: Any) -> InvalidArgument:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    refusal = from_rpc_error(error.value)
    assert isinstance(refusal, InvalidArgument)
    return refusal


async def test_list_metrics(consumer: RunLoggedConsumer, stub: MetricServiceStub, make_run: MakeRun) -> None:
    first, second = (await make_run()).run_id, (await make_run()).run_id
    rows = [(0, 5, 1.0), (2, 7, NAN), (2, 7, NAN)]
    await consumer.handle([message(first, {"b": rows, "a": rows[:1]}, headers={"accepted-at-ms": "77"})])
    await consumer.handle([message(second, {"b": rows[:1]}, offset=1)])
    answer = await stub.ListMetrics(pb.ListMetricsRequest(run_ids=[second, new_run_id(), first]))
    assert [(m.run_id, m.latest.key, m.point_count, m.max_step) for m in answer.metrics] == [
        (second, "b", 1, 0),
        (first, "a", 1, 0),
        (first, "b", 2, 2),
    ]
    assert math.isnan(answer.metrics[2].latest.value)
    assert answer.freshness.caught_up


async def test_history_by_pages_is_the_history(
    consumer: RunLoggedConsumer, stub: MetricServiceStub, database: Database, run_id: str
) -> None:
    """C2: a page never holds more than was asked for; a merge between two pages changes nothing."""
    rows = [(i % 10, i // 4, float(i)) for i in range(100)]
    for offset in range(10):
        await consumer.handle([message(run_id, {"loss": rows[offset::10]}, offset=offset)])
    found: list[Row] = []
    token = ""
    while True:
        request = pb.GetMetricHistoryRequest(run_id=run_id, key="loss", page_size=13, page_token=token)
        answer = await stub.GetMetricHistory(request)
        assert len(answer.series.values) <= 13
        found += rows_of(answer.series)
        token = answer.next_page_token
        if not token:
            break
        await ChunkMerge(database, MergeRule(age_seconds=0, chunk_count=2)).merge_all()
    assert same(found, sorted(rows, key=lambda row: (row[1], row[0])))


async def test_a_page_fits_into_a_message(
    consumer: RunLoggedConsumer, stub: MetricServiceStub, run_id: str
) -> None:
    rows = [(i, i, 0.5) for i in range(20_000)]
    await consumer.handle([message(run_id, {"loss": rows})])
    answer = await stub.GetMetricHistory(
        pb.GetMetricHistoryRequest(run_id=run_id, key="loss", page_size=1_000_000)
    )
    assert 5_000 < len(answer.series.values) < 20_000
    assert answer.next_page_token


async def test_history_of_nothing(stub: MetricServiceStub) -> None:
    answer = await stub.GetMetricHistory(pb.GetMetricHistoryRequest(run_id=new_run_id(), key="loss"))
    assert answer.series.key == "loss"
    assert not answer.series.values
    assert not answer.next_page_token


async def test_tokens_belong_to_their_history(
    consumer: RunLoggedConsumer, stub: MetricServiceStub, run_id: str
) -> None:
    await consumer.handle([message(run_id, {"loss": [(0, 0, 1.0), (1, 1, 1.0)]})])
    request = pb.GetMetricHistoryRequest(run_id=run_id, key="loss", page_size=1)
    token = (await stub.GetMetricHistory(request)).next_page_token
    for changes in ({"key": "acc"}, {"end_step": 5}, {"page_token": token[:-4]}, {"page_token": "!"}):
        other = pb.GetMetricHistoryRequest(
            **{"run_id": run_id, "key": "loss", "page_token": token, **changes}
        )
        assert (await refused(stub.GetMetricHistory(other))).reason == "INVALID_PAGE_TOKEN"


async def test_whole_histories_stream_in_parts(
    consumer: RunLoggedConsumer, stub: MetricServiceStub, make_run: MakeRun
) -> None:
    long, short = (await make_run()).run_id, (await make_run()).run_id
    rows = [(i, i, float(i)) for i in range(300_000)]
    await consumer.handle([message(long, {"loss": rows[150_000:], "acc": rows[:1]})])
    await consumer.handle([message(long, {"loss": rows[:160_000]}, offset=1)])
    await consumer.handle([message(short, {"loss": rows[:2]}, offset=2)])
    request = pb.StreamMetricHistoryRequest(run_ids=[short, long], start_step=1)
    parts = [part async for part in stub.StreamMetricHistory(request)]
    order = [(part.run_id, part.series.key) for part in parts]
    assert order == [(short, "loss")] + [(long, "loss")] * (len(parts) - 1)
    assert max(len(part.series.values) for part in parts) <= 131_072
    values = np.concatenate([part.series.values for part in parts[1:]])
    np.testing.assert_array_equal(values, np.arange(1, 300_000))


async def test_samples(consumer: RunLoggedConsumer, stub: MetricServiceStub, run_id: str) -> None:
    rows = [(i, 1_000 + 10 * i, float(i)) for i in range(100)]
    await consumer.handle([message(run_id, {"loss": rows, "acc": rows[:3]})])
    request = pb.SampleMetricHistoryRequest(
        run_ids=[run_id], keys=["none", "loss", "acc"], max_points=10, axis=pb.AXIS_RELATIVE_TIME
    )
    loss, acc = (await stub.SampleMetricHistory(request)).series
    assert (loss.key, loss.total_point_count, list(loss.point_counts)) == ("loss", 100, [10] * 10)
    assert list(loss.axis_values) == list(range(0, 1000, 100))
    assert list(loss.min_values) == [float(i) for i in range(0, 100, 10)]
    assert list(loss.max_values) == [float(i) for i in range(9, 100, 10)]
    assert (acc.key, list(acc.values)) == ("acc", [0.0, 1.0, 2.0])
    request.sampling = pb.SAMPLING_FIRST_IN_BUCKET
    (first, _) = (await stub.SampleMetricHistory(request)).series
    assert list(first.steps) == [*range(0, 90, 10), 99]
    assert not first.min_values


async def test_samples_that_do_not_fit_are_refused(
    consumer: RunLoggedConsumer, stub: MetricServiceStub, run_id: str
) -> None:
    rows = [(i, i, 1.0) for i in range(5_000)]
    await consumer.handle([message(run_id, {"loss": rows})])
    request = pb.SampleMetricHistoryRequest(run_ids=[run_id], keys=["loss"], max_points=10_000)
    assert (await refused(stub.SampleMetricHistory(request))).reason == "PAGE_TOO_LARGE"


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("ListMetrics", pb.ListMetricsRequest(), "run_ids"),
        ("ListMetrics", pb.ListMetricsRequest(run_ids=["x"]), "run_ids[0]"),
        ("GetMetricHistory", pb.GetMetricHistoryRequest(run_id="0" * 32), "key"),
        ("GetMetricHistory", pb.GetMetricHistoryRequest(run_id="0" * 32, key="k", page_size=-1), "page_size"),
        (
            "GetMetricHistory",
            pb.GetMetricHistoryRequest(run_id="0" * 32, key="k", start_step=2, end_step=1),
            "end_step",
        ),
        (
            "GetMetricHistory",
            pb.GetMetricHistoryRequest(run_id="0" * 32, key="k", wait_for=[BusPosition(topic="x")]),
            "wait_for.topic",
        ),
        ("SampleMetricHistory", pb.SampleMetricHistoryRequest(run_ids=["0" * 32]), "keys"),
        (
            "SampleMetricHistory",
            pb.SampleMetricHistoryRequest(run_ids=["0" * 32], keys=["k"], max_points=10_001),
            "max_points",
        ),
        (
            "SampleMetricHistory",
            pb.SampleMetricHistoryRequest(run_ids=["0" * 32], keys=["k"], axis=9),
            "axis",
        ),
    ],
)
async def test_refusals_name_the_field(
    stub: MetricServiceStub, method: str, request_: Any, field: str
) -> None:
    refusal = await refused(getattr(stub, method)(request_))
    assert [violation.field for violation in refusal.violations] == [field]


async def test_reads_wait_for_their_writes(
    consumer: RunLoggedConsumer, stub: MetricServiceStub, run_id: str
) -> None:
    wait_for = [BusPosition(topic="run-logged", partition=0, offset=5)]
    request = pb.GetMetricHistoryRequest(run_id=run_id, key="loss", wait_for=wait_for, wait_timeout_ms=60_000)
    reading = asyncio.ensure_future(stub.GetMetricHistory(request))
    await consumer.handle([message(run_id, {"loss": [(0, 0, 1.0)]}, offset=5)])
    answer = await asyncio.wait_for(reading, 30)
    assert answer.freshness.caught_up
    assert len(answer.series.values) == 1
    request.wait_for[0].offset, request.wait_timeout_ms = 6, 1
    assert not (await stub.GetMetricHistory(request)).freshness.caught_up


async def test_watching_sends_each_point_once_until_the_runs_end(
    consumer: RunLoggedConsumer, stub: MetricServiceStub, database: Database, runs: Runs, run_id: str
) -> None:
    """Repeats, late points, a new key and a merge in between."""
    await consumer.handle([message(run_id, {"loss": [(i, i, 1.0) for i in range(10)]})])
    call = stub.WatchMetrics(pb.WatchMetricsRequest(run_ids=[run_id], backlog_points=3))
    backlog = await asyncio.wait_for(call.read(), 30)
    assert list(backlog.series.steps) == [7, 8, 9]
    expected: list[tuple[dict[str, list[Row]], list[tuple[str, Row]]]] = [
        ({"loss": [(9, 9, 1.0), (10, 10, 1.0)]}, [("loss", (10, 10, 1.0))]),
        (
            {"loss": [(4, 4, 1.0), (4, 5, NAN), (4, 5, NAN)], "acc": [(0, 0, 1.0)]},
            [("acc", (0, 0, 1.0)), ("loss", (4, 5, NAN))],
        ),
        ({"loss": [(11, 11, 1.0), (4, 5, NAN)]}, [("loss", (11, 11, 1.0))]),
    ]
    for offset, (batch, new) in enumerate(expected, 1):
        await consumer.handle([message(run_id, batch, offset=offset)])
        seen: list[tuple[str, Row]] = []
        while len(seen) < len(new):
            part = await asyncio.wait_for(call.read(), 30)
            seen += [(part.series.key, row) for row in rows_of(part.series)]
        assert str(sorted(seen)) == str(new)
        await ChunkMerge(database, MergeRule(age_seconds=0, chunk_count=2)).merge_all()
    await runs.update(run_id, RunUpdate(status=RunStatus.FINISHED))
    assert await asyncio.wait_for(call.read(), 60) is grpc.aio.EOF


async def test_watching_only_new_points_of_some_keys(
    consumer: RunLoggedConsumer, stub: MetricServiceStub, run_id: str
) -> None:
    await consumer.handle([message(run_id, {"loss": [(-1, 0, 1.0)], "acc": [(0, 0, 1.0)]})])
    call = stub.WatchMetrics(pb.WatchMetricsRequest(run_ids=[run_id], keys=["loss"]))
    reading = asyncio.ensure_future(call.read())
    step = 0
    # The watch begins at a time of its own; whatever is written after that must come.
    while not reading.done():
        rows = [(step, step, 2.0)]
        await consumer.handle([message(run_id, {"loss": rows, "acc": rows}, offset=step + 1)])
        step += 1
    part = reading.result()
    assert (part.run_id, part.series.key) == (run_id, "loss")
    assert min(part.series.steps) >= 0
    call.cancel()


async def test_watching_ends_at_once_when_there_is_nothing_to_come(stub: MetricServiceStub) -> None:
    call = stub.WatchMetrics(pb.WatchMetricsRequest(run_ids=[new_run_id()]))
    assert await asyncio.wait_for(call.read(), 60) is grpc.aio.EOF
