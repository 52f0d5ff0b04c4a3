"""Producers that write to the bus themselves: every form that is documented, and errors that say what to fix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from runstream_common.bus.messages import Message
from runstream_proto.events.v1.run_logged_pb2 import MetricSeries, RunLogged

from services.metadata.tests.metrics.support import count, json_message, message
from services.metadata.tests.metrics.test_intake import history

if TYPE_CHECKING:
    from runstream_common.database import Database
    from runstream_metadata.consumers.run_logged import RunLoggedConsumer
    from runstream_metadata.metric_reads import MetricReads

RUN = "0" * 32
NOW = 1_700_000_000_000
INT64_MAX = 2**63 - 1


def point(**changes: Any) -> dict[str, Any]:
    return {"key": "loss", "value": 0.5, "step": 1, "timestamp_ms": NOW, **changes}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (point(), [(1, NOW, 0.5)]),
        ({"key": "loss", "value": 3, "timestamp_ms": NOW}, [(0, NOW, 3.0)]),
        (
            {"metrics": [point(), point(value="NaN", step=-2), point(value="-Infinity", step=3)]},
            [(-2, NOW, math.nan), (1, NOW, 0.5), (3, NOW, -math.inf)],
        ),
        (
            {
                "series": [
                    {
                        "key": "loss",
                        "steps": [-(2**63), INT64_MAX],
                        "timestamps_ms": [0, INT64_MAX],
                        "values": ["Infinity", 1e308],
                    }
                ]
            },
            [(-(2**63), 0, math.inf), (INT64_MAX, INT64_MAX, 1e308)],
        ),
    ],
)
async def test_json_forms(
    consumer: RunLoggedConsumer, reads: MetricReads, run_id: str, content: dict[str, Any], expected: list
) -> None:
    assert await consumer.handle([json_message({"run_id": run_id, **content})]) == []
    assert str(await history(reads, run_id)) == str(expected)


async def test_json_without_batch_id_is_stored_once_when_redelivered(
    consumer: RunLoggedConsumer, database: Database, run_id: str
) -> None:
    one = json_message({"run_id": run_id, **point()}, offset=3)
    other = json_message({"run_id": run_id, **point(step=2)}, offset=4)
    await consumer.handle([one])
    await consumer.handle([one, other])
    async with database.driver() as connection:
        assert await connection.fetchval("SELECT sum(point_count) FROM metadata.metric_chunk") == 2


COLUMNS = {"key": "loss", "steps": [1, 2], "timestamps_ms": [1], "values": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        (b"{", "MALFORMED_JSON", "truncated"),
        (b'{"run_id": "\xff"}', "MALFORMED_JSON", ""),
        (b'{"run_id": "x", "key": "k", "value": NaN, "timestamp_ms": 1}', "MALFORMED_JSON", "malformed"),
        ({"run_id": RUN}, "MALFORMED_JSON", "one point"),
        ({"run_id": RUN, "key": "loss"}, "MALFORMED_JSON", "lacks value, timestamp_ms"),
        ({"run_id": RUN, **point(), "metrics": [point()]}, "MALFORMED_JSON", "mixes forms"),
        ({"run_id": RUN, "metrics": [point(), point(value="x")]}, "MALFORMED_JSON", "$.metrics[1].value"),
        ({"run_id": RUN, "metrics": [point(step=2**63)]}, "MALFORMED_JSON", "$.metrics[0].step"),
        ({"run_id": RUN, "metrics": [point(timestamp_ms=-1)]}, "MALFORMED_JSON", "$.metrics[0].timestamp_ms"),
        ({"run_id": RUN, "metrics": [point(stpe=1)]}, "MALFORMED_JSON", "stpe"),
        ({"run_id": RUN, "metrics": []}, "EMPTY_BATCH", "series"),
        ({"run_id": RUN, "series": [COLUMNS]}, "LENGTH_MISMATCH", "series[0] (key 'loss')"),
        ({"run_id": RUN, "metrics": [point(key="a//b")]}, "INVALID_KEY", "'a//b'"),
        ({"run_id": "RUN", **point()}, "INVALID_RUN_ID", "32 lowercase"),
        ({"run_id": RUN, "batch_id": "7", **point()}, "INVALID_BATCH_ID", "UUID"),
    ],
)
async def test_bad_json_says_what_to_fix_and_costs_only_itself(
    consumer: RunLoggedConsumer, reads: MetricReads, run_id: str, content: object, reason: str, said: str
) -> None:
    bad = json_message(content)
    rejected = await consumer.handle([bad, message(run_id, {"loss": [(0, 0, 1.0)]})])
    assert [(r.message, r.reason) for r in rejected] == [(bad, reason)]
    assert said in rejected[0].detail
    assert len(await history(reads, run_id)) == 1


def proto(run_id: str = RUN, **changes: Any) -> RunLogged:
    one = {"key": "loss", "steps": [1, 2], "timestamps_ms": [3, 4], "values": [1.0, 2.0], **changes}
    return RunLogged(run_id=run_id, series=[MetricSeries(**one)])


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        (b"\xff\xff", "MALFORMED_PROTOBUF", "application/json"),
        (b'{"run_id": "0"}', "MALFORMED_PROTOBUF", "application/json"),
        (proto(key=""), "INVALID_KEY", "series[0].key"),
        (proto(key="x" * 251), "INVALID_KEY", "251"),
        (proto(steps=[1]), "LENGTH_MISMATCH", "got 1, 2, 2"),
        (proto(steps=[], timestamps_ms=[], values=[]), "EMPTY_BATCH", "at least one point"),
        (RunLogged(run_id=RUN), "EMPTY_BATCH", "series"),
        (proto(run_id="x"), "INVALID_RUN_ID", "run_id"),
    ],
)
async def test_bad_protobuf_says_what_to_fix(
    consumer: RunLoggedConsumer, content: bytes | RunLogged, reason: str, said: str
) -> None:
    data = content if isinstance(content, bytes) else content.SerializeToString()
    (rejected,) = await consumer.handle([Message("run-logged", "", data, {}, 0, 0, NOW)])
    assert rejected.reason == reason
    assert said in rejected.detail


async def test_time_before_1970_is_rejected_with_its_index(
    consumer: RunLoggedConsumer, reads: MetricReads, run_id: str
) -> None:
    good = message(run_id, {"loss": [(0, 1, 1.0)]}, offset=0)
    bad = message(run_id, {"acc": [(0, 1, 1.0)], "loss": [(1, 5, 1.0), (2, -7, 1.0)]}, offset=1)
    (rejected,) = await consumer.handle([good, bad])
    assert (rejected.message, rejected.reason) == (bad, "INVALID_TIMESTAMP")
    assert "series[1].timestamps_ms[1]" in rejected.detail
    assert "-7" in rejected.detail
    assert len(await history(reads, run_id)) == 1
    assert await history(reads, run_id, "acc") == []


async def test_unpacked_protobuf_is_understood(
    consumer: RunLoggedConsumer, reads: MetricReads, run_id: str
) -> None:
    """Other encoders may write repeated numbers one by one."""
    packed = proto(run_id, steps=[1], timestamps_ms=[3], values=[1.5])
    one = bytearray(b"\x0a\x04loss\x11")
    one += (1).to_bytes(8, "little") + b"\x19" + (3).to_bytes(8, "little")
    one += b"\x21" + b"\x00\x00\x00\x00\x00\x00\xf8\x3f"
    data = RunLogged(run_id=run_id).SerializeToString() + b"\x1a" + bytes([len(one)]) + bytes(one)
    assert RunLogged.FromString(data) == packed
    assert await consumer.handle([Message("run-logged", "", data, {}, 0, 0, NOW)]) == []
    assert await history(reads, run_id) == [(1, 3, 1.5)]


async def test_unknown_content_type(consumer: RunLoggedConsumer) -> None:
    one = Message("run-logged", "", b"", {"content-type": "text/csv"}, 0, 0, NOW)
    (rejected,) = await consumer.handle([one])
    assert rejected.reason == "UNKNOWN_CONTENT_TYPE"
    assert "text/csv" in rejected.detail


async def test_content_type_may_have_parameters(
    consumer: RunLoggedConsumer, reads: MetricReads, run_id: str
) -> None:
    plain = json_message({"run_id": run_id, **point()})
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    one = Message(plain.topic, "", plain.value, headers, 0, 0, NOW)
    assert await consumer.handle([one]) == []
    assert len(await history(reads, run_id)) == 1


async def test_oversized_message(consumer: RunLoggedConsumer, database: Database) -> None:
    one = Message("run-logged", "", bytes(16 * 1024 * 1024 + 1), {}, 0, 0, NOW)
    (rejected,) = await consumer.handle([one])
    assert rejected.reason == "TOO_LARGE"
    assert await count(database, "applied_batch") == 0
