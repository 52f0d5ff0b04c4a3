"""The bus's tables in PostgreSQL: faststream-outbox's queue table, and who is subscribed to what.

One row of ``message`` is one message for one group; its queue is ``<topic>.<group>``. A topic that nobody has
subscribed to yet keeps its rows under ``<topic>``, and the first group takes them over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faststream_outbox import make_outbox_table, outbox_autovacuum_ddl
from sqlalchemy import Boolean, Column, DateTime, MetaData, String, Table, false, text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

SCHEMA = "runstream_bus"
METADATA = MetaData(schema=SCHEMA)
MESSAGE = make_outbox_table(METADATA, "message")
SUBSCRIPTION = Table(
    "subscription",
    METADATA,
    Column("topic", String(255), primary_key=True),
    Column("grp", String(255), primary_key=True),
    # Set for the groups of tails, which end with their reader; a durable group has none.
    Column("expires_at", DateTime(timezone=True), nullable=True),
    # Consumers that are no service of ours: what they leave unread is dropped after a while, and they may be deleted.
    Column("external", Boolean, nullable=False, server_default=false()),
)
CHANNEL = "outbox_message"
"""faststream-outbox's NOTIFY channel for the table; the payload is the queue."""

MIGRATION_LOCK = 0x72756E_62757301
"""Advisory lock: one process at a time creates the tables."""

GROUPS_LOCK = 0x72756E_62757302
"""Advisory lock: a publish holds it shared, a change of groups alone.

So a new group sees every message: a publish either commits before, and its rows are there to be taken over, or
starts after, and knows the group.
"""

VACUUM_AFTER_ROWS = 2000
VACUUM_COST_LIMIT = 2000
"""Every message leaves dead rows behind, so vacuum has to keep pace with publishing: ten times the default."""

_TOAST_DDL = (
    f"ALTER TABLE {SCHEMA}.message SET (toast.autovacuum_vacuum_scale_factor = 0, "
    f"toast.autovacuum_vacuum_threshold = {VACUUM_AFTER_ROWS * 10}, "
    f"toast.autovacuum_vacuum_insert_scale_factor = 0, "
    f"toast.autovacuum_vacuum_insert_threshold = {VACUUM_AFTER_ROWS * 50}, "
    f"toast.autovacuum_vacuum_cost_limit = {VACUUM_COST_LIMIT})"
)
_PAYLOAD_DDL = (
    # Values are compressed before they get here; pglz would only burn the server's CPU on them.
    f"ALTER TABLE {SCHEMA}.message ALTER COLUMN payload SET STORAGE EXTERNAL",
    _TOAST_DDL,
    outbox_autovacuum_ddl(
        "message",
        schema=SCHEMA,
        vacuum_threshold=VACUUM_AFTER_ROWS,
        insert_threshold=VACUUM_AFTER_ROWS * 10,
        vacuum_cost_limit=VACUUM_COST_LIMIT,
    ),
)


async def ensure_schema(engine: AsyncEngine) -> None:
    """Create the bus's tables if they are missing; safe when several processes start at once."""
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        if await _exists(connection):
            await _add_external(connection)
            return
        await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        await connection.run_sync(METADATA.create_all)
        for statement in _PAYLOAD_DDL:
            await connection.execute(text(statement))


async def ensure_groups(engine: AsyncEngine, groups: list[tuple[str, str]]) -> None:
    """Note durable groups, and hand each topic's waiting rows to the first group that it gets.

    Args:
        groups: pairs of topic and group; known ones are left as they are.
    """
    for topic, group in sorted(groups):
        known = text(f"SELECT 1 FROM {SCHEMA}.subscription WHERE topic = :topic AND grp = :grp")  # noqa: S608
        async with engine.begin() as connection:
            if (await connection.execute(known, {"topic": topic, "grp": group})).first() is None:
                await _add_group(connection, topic, group)


async def _add_group(connection: AsyncConnection, topic: str, group: str) -> None:
    names = {"topic": topic, "grp": group, "queue": f"{topic}.{group}"}
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": GROUPS_LOCK})
    await connection.execute(
        text(f"INSERT INTO {SCHEMA}.subscription (topic, grp) VALUES (:topic, :grp) ON CONFLICT DO NOTHING"),  # noqa: S608
        names,
    )
    await connection.execute(
        text(f"UPDATE {SCHEMA}.message SET queue = :queue WHERE queue = :topic"),  # noqa: S608
        names,
    )


async def _add_external(connection: AsyncConnection) -> None:
    """Bring a table of version 0.1.0 up to date. ALTER TABLE waits for every reader, so it is not tried in vain."""
    known = await connection.execute(
        text(
            "SELECT 1 FROM pg_attribute WHERE attrelid = CAST(:name AS regclass) AND attname = 'external' AND NOT attisdropped"
        ),
        {"name": f"{SCHEMA}.subscription"},
    )
    if known.first() is None:
        await connection.execute(
            text(f"ALTER TABLE {SCHEMA}.subscription ADD COLUMN external boolean NOT NULL DEFAULT false")
        )


async def _exists(connection: AsyncConnection) -> bool:
    found = await connection.execute(
        text("SELECT to_regclass(:message) IS NOT NULL AND to_regclass(:subscription) IS NOT NULL"),
        {"message": f"{SCHEMA}.message", "subscription": f"{SCHEMA}.subscription"},
    )
    return bool(found.scalar_one())
