"""Webhooks in the database. Each function is one statement, part of the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from runstream_registry.notices import event_name
from runstream_registry.webhook_entities import StoredSecrets, Webhook, WebhookEvent, WebhookStatus

if TYPE_CHECKING:
    from asyncpg import Connection

COLUMNS = """webhook_id, name, url, events, description, status, models, secret <> '' AS has_secret,
    creation_time_ms, last_updated_time_ms"""

LIVE_PREVIOUS = "CASE WHEN previous_secret_ends > now() THEN previous_secret ELSE '' END"
"""The secret before, for as long as it signs too."""


async def count(connection: Connection) -> int:
    """How many webhooks there are."""
    found: int = await connection.fetchval("SELECT count(*) FROM registry.webhook")
    return found


async def insert(connection: Connection, webhook: Webhook, *, model_pattern: str, secret: str) -> None:
    """Insert a webhook.

    Args:
        secret: as ``SecretBox.close`` gives it.
    """
    await connection.execute(
        """INSERT INTO registry.webhook (webhook_id, name, url, events, description, status, models, model_pattern,
               secret, creation_time_ms, last_updated_time_ms)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
        UUID(webhook.webhook_id),
        webhook.name,
        webhook.url,
        [event_name(event.entity, event.action) for event in webhook.events],
        webhook.description,
        webhook.status,
        webhook.models,
        model_pattern,
        secret,
        webhook.creation_time_ms,
        webhook.last_updated_time_ms,
    )


async def select(connection: Connection, webhook_id: str, *, lock: bool = False) -> Webhook | None:
    """One webhook; None when there is none of that id.

    Args:
        lock: keep others from changing it until the transaction ends; deliveries can still be queued for it.
    """
    statement = (
        f"SELECT {COLUMNS} FROM registry.webhook WHERE webhook_id = $1 {'FOR NO KEY UPDATE' if lock else ''}"
    )
    row = await connection.fetchrow(statement, UUID(webhook_id))
    return None if row is None else _webhook(row)


async def select_page(connection: Connection, after: tuple[int, str] | None, limit: int) -> list[Webhook]:
    """Webhooks behind a position (creation time in ms, id), newest first."""
    time_ms, webhook_id = after or (2**63 - 1, "ffffffff-ffff-ffff-ffff-ffffffffffff")
    rows = await connection.fetch(
        f"""SELECT {COLUMNS} FROM registry.webhook WHERE (creation_time_ms, webhook_id) < ($1, $2)
            ORDER BY creation_time_ms DESC, webhook_id DESC LIMIT $3""",
        time_ms,
        UUID(webhook_id),
        limit,
    )
    return [_webhook(row) for row in rows]


async def select_secrets(connection: Connection, webhook_id: str) -> StoredSecrets | None:
    """The secrets that sign now; None when there is no such webhook."""
    row = await connection.fetchrow(
        f"SELECT secret, {LIVE_PREVIOUS} AS previous FROM registry.webhook WHERE webhook_id = $1",
        UUID(webhook_id),
    )
    return None if row is None else StoredSecrets(row["secret"], row["previous"])


async def update(connection: Connection, webhook: Webhook, *, model_pattern: str) -> None:
    """Write everything but the secrets."""
    await connection.execute(
        """UPDATE registry.webhook SET name = $2, url = $3, events = $4, description = $5, status = $6, models = $7,
               model_pattern = $8, last_updated_time_ms = $9
           WHERE webhook_id = $1""",
        UUID(webhook.webhook_id),
        webhook.name,
        webhook.url,
        [event_name(event.entity, event.action) for event in webhook.events],
        webhook.description,
        webhook.status,
        webhook.models,
        model_pattern,
        webhook.last_updated_time_ms,
    )


async def replace_secret(
    connection: Connection, webhook_id: str, secret: str, *, overlap_hours: int, now_ms: int
) -> None:
    """Give a webhook a new secret.

    Args:
        secret: as ``SecretBox.close`` gives it.
        overlap_hours: how long the present one signs too.
    """
    await connection.execute(
        """UPDATE registry.webhook SET secret = $2, previous_secret = CASE WHEN $3 > 0 THEN secret ELSE '' END,
               previous_secret_ends = now() + make_interval(hours => $3), last_updated_time_ms = $4
           WHERE webhook_id = $1""",
        UUID(webhook_id),
        secret,
        overlap_hours,
        now_ms,
    )


async def delete(connection: Connection, webhook_id: str) -> None:
    """Delete a webhook with its deliveries."""
    await connection.execute("DELETE FROM registry.webhook WHERE webhook_id = $1", UUID(webhook_id))


async def forget_old_secrets(connection: Connection) -> int:
    """Erase secrets that no longer sign; returns how many."""
    done: str = await connection.execute(
        "UPDATE registry.webhook SET previous_secret = '' WHERE previous_secret <> '' AND previous_secret_ends <= now()"
    )
    return int(done.rpartition(" ")[2])


def _webhook(row: Any) -> Webhook:
    return Webhook(
        webhook_id=str(row["webhook_id"]),
        name=row["name"],
        url=row["url"],
        events=[_event(text) for text in row["events"]],
        description=row["description"],
        status=WebhookStatus(row["status"]),
        models=row["models"],
        has_secret=row["has_secret"],
        creation_time_ms=row["creation_time_ms"],
        last_updated_time_ms=row["last_updated_time_ms"],
    )


def _event(text: str) -> WebhookEvent:
    entity, _, action = text.partition(".")
    return WebhookEvent(entity, action)
