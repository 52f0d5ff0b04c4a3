"""Alembic's entry point for every service; ``runstream_common.migrations`` hands over the connection."""

from __future__ import annotations

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=None,
    version_table="schema_version",
    version_table_schema=attributes["schema"],
    # A revision that fails leaves those before it in place, and the next run goes on from there.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
