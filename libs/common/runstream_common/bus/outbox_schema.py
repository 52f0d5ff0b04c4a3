"""The table behind ``Outbox``, for the migrations of services that have one."""

from __future__ import annotations

from faststream_outbox.autovacuum import outbox_autovacuum_ddl


def outbox_statements(schema: str) -> tuple[str, ...]:
    """Statements that make ``<schema>.outbox``, the table that ``faststream_outbox.make_outbox_table`` describes.

    A migration's meaning must not change once it is out: a change of the table is a function of its own.
    """
    return (
        f"""
        CREATE TABLE {schema}.outbox (
            id               bigserial PRIMARY KEY,
            queue            varchar(255) NOT NULL,
            payload          bytea NOT NULL,
            headers          jsonb,
            attempts_count   bigint NOT NULL DEFAULT 0,
            deliveries_count bigint NOT NULL DEFAULT 0,
            created_at       timestamptz NOT NULL DEFAULT now(),
            next_attempt_at  timestamptz NOT NULL DEFAULT now(),
            first_attempt_at timestamptz,
            last_attempt_at  timestamptz,
            acquired_at      timestamptz,
            acquired_token   uuid,
            timer_id         varchar(255),
            CONSTRAINT outbox_lease_ck CHECK ((acquired_token IS NULL) = (acquired_at IS NULL))
        )
        """,
        f"""
        CREATE INDEX outbox_pending_idx ON {schema}.outbox (queue, next_attempt_at, id)
            WHERE acquired_token IS NULL
        """,
        f"""
        CREATE UNIQUE INDEX outbox_timer_id_uq ON {schema}.outbox (queue, timer_id)
            WHERE timer_id IS NOT NULL
        """,
        f"""
        CREATE INDEX outbox_leased_idx ON {schema}.outbox (queue, next_attempt_at, id)
            WHERE acquired_token IS NOT NULL
        """,
        # Each row is inserted, leased and deleted within a second: vacuum follows the churn, not the table's size.
        outbox_autovacuum_ddl("outbox", schema=schema),
    )
