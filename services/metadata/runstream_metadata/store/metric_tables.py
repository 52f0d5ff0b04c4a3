"""Tables of metrics; migration 0002 makes them.

No foreign key leads from here to ``run``: its check would cost the write path a look-up a row, and the consumer asks
for each run itself.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from runstream_metadata.store.tables import metadata

latest_metric = Table(
    "latest_metric",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("experiment_id", BigInteger, nullable=False),
    Column("series_id", BigInteger, Identity(), nullable=False),
    Column("value", Double, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
)
"""The latest point of each (run, key), for search and tables; NaN and infinities are kept as they are."""
Index(
    "latest_metric_search_idx",
    latest_metric.c.experiment_id,
    latest_metric.c.key,
    latest_metric.c.value,
)

metric_chunk = Table(
    "metric_chunk",
    metadata,
    Column("series_id", BigInteger, primary_key=True, autoincrement=False),
    # Within a series ids grow in the order of commits: the writer holds the series' latest_metric row.
    Column("chunk_id", BigInteger, Identity(), primary_key=True),
    Column("min_step", BigInteger, nullable=False),
    Column("max_step", BigInteger, nullable=False),
    Column("min_time_ms", BigInteger, nullable=False),
    Column("max_time_ms", BigInteger, nullable=False),
    Column("written_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("point_count", Integer, nullable=False),
    # Bits of runstream_metadata.chunks.Order.
    Column("order_flags", SmallInteger, nullable=False),
    # Not looked at by the merge yet.
    Column("fresh", Boolean, nullable=False, server_default=text("true")),
    # Encoded by runstream_metadata.chunks.
    Column("steps", LargeBinary, nullable=False),
    Column("timestamps_ms", LargeBinary, nullable=False),
    Column("point_values", LargeBinary, nullable=False),
)
"""Points of one series as three encoded columns."""
Index(
    "metric_chunk_fresh_idx",
    metric_chunk.c.series_id,
    metric_chunk.c.written_at,
    postgresql_where=metric_chunk.c.fresh,
)

applied_batch = Table(
    "applied_batch",
    metadata,
    Column("batch_id", Uuid, primary_key=True),
    Column("applied_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""Batches whose points are stored, so that a repeat changes nothing."""
Index("applied_batch_time_idx", applied_batch.c.applied_at, postgresql_using="brin")

watermark = Table(
    "watermark",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("applied_offset", BigInteger, nullable=False),
    Column("applied_time_ms", BigInteger, nullable=False),
)
"""Every message of the partition below ``applied_offset`` has been handled."""

experiment_watermark = Table(
    "experiment_watermark",
    metadata,
    Column("experiment_id", BigInteger, primary_key=True, autoincrement=False),
    Column("written_up_to_ms", BigInteger, nullable=False),
)
"""Accept time of the newest points written, per experiment."""
