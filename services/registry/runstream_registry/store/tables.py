"""Tables that searches and the outbox relay need, in the schema ``registry``; migration 0001 makes them all.

Enumerations are stored as the numbers of ``runstream.registry.v1``, times as milliseconds since the Unix epoch.
"""

from __future__ import annotations

from faststream_outbox import make_outbox_table
from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, SmallInteger, Table, Text, Uuid

SCHEMA = "registry"
"""The schema that this service owns."""

INDEXED_VALUE_LENGTH = 256
"""Characters of a tag's value or a source that their indexes hold; longer ones are compared in the row."""

metadata = MetaData(schema=SCHEMA)

model = Table(
    "model",
    metadata,
    Column("model_id", BigInteger, primary_key=True),
    Column("name", Text(collation="C"), nullable=False),
    Column("prompt", Boolean, nullable=False),
    Column("description", Text, nullable=False),
    Column("creation_time_ms", BigInteger, nullable=False),
    Column("last_updated_time_ms", BigInteger, nullable=False),
    Column("deleted_time_ms", BigInteger),
    Column("last_version", Integer, nullable=False),
    Column("version_count", Integer, nullable=False),
    Column("promotion_sequence", BigInteger, nullable=False),
)

model_tag = Table(
    "model_tag",
    metadata,
    Column("model_id", BigInteger, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

version = Table(
    "version",
    metadata,
    Column("version_id", Uuid, primary_key=True),
    Column("model_id", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("prompt", Boolean, nullable=False),
    Column("source", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("stage", SmallInteger, nullable=False),
    Column("creation_time_ms", BigInteger, nullable=False),
    Column("last_updated_time_ms", BigInteger, nullable=False),
    Column("deleted_time_ms", BigInteger),
)

version_tag = Table(
    "version_tag",
    metadata,
    Column("version_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

outbox = make_outbox_table(metadata, "outbox")
"""Events that leave in the same transaction as the change they tell of."""
