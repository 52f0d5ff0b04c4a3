"""Tables of logged models; migration 0001 makes them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Table,
    Text,
    Uuid,
    desc,
    func,
    text,
)

from runstream_metadata.store.tables import experiment, metadata

logged_model = Table(
    "logged_model",
    metadata,
    # The hexadecimal part of "m-<32 hexadecimal characters>".
    Column("model_id", Uuid, primary_key=True),
    Column("experiment_id", ForeignKey(experiment.c.experiment_id), nullable=False),
    Column("name", Text, nullable=False),
    Column("model_type", Text, nullable=False, server_default=""),
    # As the client gave it: it is not checked (MLflow).
    Column("source_run_id", Text, nullable=False, server_default=""),
    Column("status", SmallInteger, nullable=False),
    Column("status_message", Text, nullable=False, server_default=""),
    Column("artifact_uri", Text, nullable=False),
    Column("lifecycle_stage", SmallInteger, nullable=False, server_default=text("1")),
    Column("creation_time_ms", BigInteger, nullable=False),
    Column("last_update_time_ms", BigInteger, nullable=False),
)
Index(
    "logged_model_experiment_idx",
    logged_model.c.experiment_id,
    logged_model.c.lifecycle_stage,
    desc(logged_model.c.creation_time_ms),
    logged_model.c.model_id,
)


def _keyed_texts(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("model_id", ForeignKey(logged_model.c.model_id, ondelete="CASCADE"), primary_key=True),
        Column("key", Text, primary_key=True),
        Column("value", Text, nullable=False),
    )


logged_model_param = _keyed_texts("logged_model_param")
logged_model_tag = _keyed_texts("logged_model_tag")

logged_model_metric = Table(
    "logged_model_metric",
    metadata,
    Column("metric_id", BigInteger, Identity(), primary_key=True),
    Column("model_id", ForeignKey(logged_model.c.model_id, ondelete="CASCADE"), nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("dataset_name", Text, nullable=False, server_default=""),
    Column("dataset_digest", Text, nullable=False, server_default=""),
)
"""Points filed under logged models; NaN and infinities are kept as they are."""
Index(
    "logged_model_metric_point_idx",
    logged_model_metric.c.model_id,
    logged_model_metric.c.key,
    logged_model_metric.c.timestamp_ms,
    logged_model_metric.c.step,
    logged_model_metric.c.run_id,
    logged_model_metric.c.value,
    func.hashtextextended(
        logged_model_metric.c.dataset_digest + " " + logged_model_metric.c.dataset_name, text("0")
    ),
    unique=True,
)
