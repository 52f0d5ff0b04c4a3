"""Tables of experiments and runs, all in the schema ``metadata``; migration 0001 makes them.

Enumerations are stored as the numbers of ``runstream.metadata.v1``, times as milliseconds since the Unix epoch.
"""

from __future__ import annotations

from faststream_outbox import make_outbox_table
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    desc,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "metadata"
"""The schema that this service owns."""

INDEXED_VALUE_LENGTH = 256
"""Characters of a param's or tag's value that its index holds; longer ones are compared in the row."""

metadata = MetaData(schema=SCHEMA)

experiment = Table(
    "experiment",
    metadata,
    Column("experiment_id", BigInteger, Identity(start=1), primary_key=True),
    Column("name", Text, nullable=False),
    Column("artifact_location", Text, nullable=False),
    Column("lifecycle_stage", SmallInteger, nullable=False, server_default=text("1")),
    Column("creation_time_ms", BigInteger, nullable=False),
    Column("last_update_time_ms", BigInteger, nullable=False),
    UniqueConstraint("name", name="experiment_name_key"),
)

experiment_tag = Table(
    "experiment_tag",
    metadata,
    Column("experiment_id", ForeignKey(experiment.c.experiment_id, ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

run = Table(
    "run",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("experiment_id", ForeignKey(experiment.c.experiment_id), nullable=False),
    Column("name", Text, nullable=False),
    Column("user_id", Text, nullable=False, server_default=""),
    Column("status", SmallInteger, nullable=False),
    Column("status_reason", Text, nullable=False, server_default=""),
    Column("start_time_ms", BigInteger, nullable=False),
    Column("end_time_ms", BigInteger),
    Column("artifact_uri", Text, nullable=False),
    Column("lifecycle_stage", SmallInteger, nullable=False, server_default=text("1")),
    Column("deleted_time_ms", BigInteger),
    # A run without a lease is never marked lost. The end of a lease is in the database's time: replicas share it.
    Column("lease_ms", BigInteger),
    Column("lease_expires_at", DateTime(timezone=True)),
)
Index(
    "run_experiment_idx",
    run.c.experiment_id,
    run.c.lifecycle_stage,
    desc(run.c.start_time_ms),
    run.c.run_id,
)
Index(
    "run_lease_idx",
    run.c.lease_expires_at,
    postgresql_where=run.c.lease_expires_at.is_not(None) & (run.c.status == text("1")),
)

# Params and tags carry their run's experiment, so that a search never leaves its scope. They have no foreign
# key to the run: its check would cost a look-up a row, and every writer holds the run's row anyway.
run_param = Table(
    "run_param",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("experiment_id", BigInteger, nullable=False),
)
Index(
    "run_param_search_idx",
    run_param.c.experiment_id,
    run_param.c.key,
    func.left(run_param.c.value, text(str(INDEXED_VALUE_LENGTH))),
)

run_tag = Table(
    "run_tag",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("experiment_id", BigInteger, nullable=False),
)
Index(
    "run_tag_search_idx",
    run_tag.c.experiment_id,
    run_tag.c.key,
    func.left(run_tag.c.value, text(str(INDEXED_VALUE_LENGTH))),
)

dataset = Table(
    "dataset",
    metadata,
    Column("dataset_id", BigInteger, Identity(), primary_key=True),
    Column("experiment_id", ForeignKey(experiment.c.experiment_id, ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("source_type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("schema", Text, nullable=False, server_default=""),
    Column("profile", Text, nullable=False, server_default=""),
    UniqueConstraint("experiment_id", "name", "digest", name="dataset_identity_key"),
)

run_input = Table(
    "run_input",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("dataset_id", ForeignKey(dataset.c.dataset_id, ondelete="CASCADE"), primary_key=True),
    # An object of texts, e.g. {"mlflow.data.context": "training"}.
    Column("tags", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
)
Index("run_input_dataset_idx", run_input.c.dataset_id)

run_model = Table(
    "run_model",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    # Number of runstream_metadata.store.model_links.Role.
    Column("role", SmallInteger, primary_key=True, autoincrement=False),
    # As the client gave it: the model need not exist (MLflow).
    Column("model_id", Text, primary_key=True),
    Column("step", BigInteger, nullable=False, server_default=text("0")),
    Column("link_id", BigInteger, Identity(), nullable=False),
)

outbox = make_outbox_table(metadata, "outbox")
"""Events that leave in the same transaction as the change they tell of."""
