"""Makes messages, and a plain model of the rules to compare with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from runstream_common.bus.messages import Message
from runstream_contract import columns
from runstream_contract.ids import new_batch_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runstream_common.database import Database

Row = tuple[int, int, float]
"""Step, timestamp in ms, value."""


@dataclass
class Offsets:
    """Counts messages as a partition does."""

    next: int = 0

    def take(self) -> int:
        self.next += 1
        return self.next - 1


def series(key: str, rows: Sequence[Row]) -> columns.Series:
    """Points of one key."""
    steps, times, values = zip(*rows, strict=True)
    return columns.Series(
        key, np.array(steps, np.int64), np.array(times, np.int64), np.array(values, np.float64)
    )


def message(
    run_id: str,
    rows_by_key: dict[str, Sequence[Row]],
    *,
    offset: int = 0,
    partition: int = 0,
    batch_id: str | None = None,
    headers: dict[str, str] | None = None,
    timestamp_ms: int = 1_700_000_000_000,
) -> Message:
    """A protobuf message as ingest sends it."""
    data = columns.encode(
        new_batch_id() if batch_id is None else batch_id,
        run_id,
        [series(key, rows) for key, rows in rows_by_key.items()],
    )
    return Message("run-logged", run_id, data, headers or {}, partition, offset, timestamp_ms)


def json_message(content: object, *, offset: int = 0) -> Message:
    """A JSON message as a plain Kafka producer sends it."""
    data = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Message("run-logged", "", data, {"content-type": "application/json"}, 0, offset, 1_700_000_000_000)


def identity(row: Row) -> tuple[int, int, str]:
    """What makes two points the same one: NaN equals NaN, 0.0 equals -0.0."""
    step, time_ms, value = row
    return step, time_ms, "nan" if math.isnan(value) else repr(value + 0.0)


def rank(value: float) -> tuple[float, bool]:
    return (0.0, True) if math.isnan(value) else (value, False)


def model_history(rows: Iterable[Row]) -> list[Row]:
    """Each point once, by timestamp, step, value."""
    distinct = {identity(row): row for row in rows}
    return sorted(distinct.values(), key=lambda row: (row[1], row[0], rank(row[2])))


def model_latest(rows: Iterable[Row]) -> Row:
    """Greatest step, timestamp, value with NaN as 0; the first of equals."""
    best: Row | None = None
    for row in rows:
        if best is None or (row[0], row[1], rank(row[2])[0]) > (best[0], best[1], rank(best[2])[0]):
            best = row
    assert best is not None
    return best


def same(left: Iterable[Row], right: Iterable[Row]) -> bool:
    return [identity(row) for row in left] == [identity(row) for row in right]


async def count(database: Database, table: str) -> int:
    async with database.driver() as connection:
        return await connection.fetchval(f"SELECT count(*) FROM metadata.{table}")
