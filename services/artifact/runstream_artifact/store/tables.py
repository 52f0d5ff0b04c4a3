"""The schema ``artifact``; migration 0001 makes its tables. Only the outbox is used through SQLAlchemy."""

from __future__ import annotations

from faststream_outbox import make_outbox_table
from sqlalchemy import MetaData

SCHEMA = "artifact"
"""The schema that this service owns."""

metadata = MetaData(schema=SCHEMA)

outbox = make_outbox_table(metadata, "outbox")
"""Events that leave in the same transaction as the change they tell of."""
