"""Queues deliveries in the transaction of the change that they tell of: both are there or neither."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from runstream_registry.notices import event_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpg import Connection

    from runstream_registry.notices import Notice

CHANNEL: Final = "runstream_registry_deliveries"
"""NOTIFY channel that wakes the workers when the transaction commits."""

MAX_BODY_BYTES: Final = 256 * 1024
"""Largest body; of an event that needs more only the fields that name its subject are sent."""

_NAMING_FIELDS: Final = frozenset({"name", "version", "key", "alias", "target", "target_kind", "sequence"})

# The pattern is a LIKE pattern and so takes linear time, whatever a user wrote. Locked, a webhook that is being deleted is
# waited for and left out; without that the foreign key would make the whole change fail.
ENQUEUE: Final = f"""
WITH queued AS (
    INSERT INTO registry.delivery
        (delivery_id, webhook_id, entity, action, body, state, creation_time_ms, next_attempt_at)
    SELECT gen_random_uuid(), webhook.webhook_id, notice.entity, notice.action, notice.body, 1, $6, now()
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
        AS notice (event, entity, action, model, body)
    JOIN registry.webhook AS webhook
        ON webhook.status = 1 AND webhook.events @> ARRAY[notice.event] AND notice.model LIKE webhook.model_pattern
    FOR KEY SHARE OF webhook
    RETURNING delivery_id
)
SELECT pg_notify('{CHANNEL}', '') WHERE EXISTS (SELECT FROM queued)
"""


async def enqueue(connection: Connection, notices: Sequence[Notice], now_ms: int) -> None:
    """Queue a delivery for each active webhook and each notice that it asks for; one statement.

    Args:
        connection: in the caller's transaction; workers hear of the deliveries when it commits.
        now_ms: when it happened, milliseconds since the Unix epoch.
    """
    if not notices:
        return
    await connection.execute(
        ENQUEUE,
        [event_name(notice.entity, notice.action) for notice in notices],
        [notice.entity for notice in notices],
        [notice.action for notice in notices],
        [notice.model for notice in notices],
        [body_json(notice, now_ms) for notice in notices],
        now_ms,
    )


def body_json(notice: Notice, now_ms: int) -> str:
    """The body of a call, as MLflow writes it: entity, action, timestamp (ISO 8601, UTC) and data.

    A body of more than MAX_BODY_BYTES keeps only the names of its subject, and ``"truncated": true`` beside them.
    """
    body = _json(notice, dict(notice.data), now_ms)
    if len(body) <= MAX_BODY_BYTES:
        return body
    named = {field: value for field, value in notice.data.items() if field in _NAMING_FIELDS}
    return _json(notice, {**named, "truncated": True}, now_ms)


def _json(notice: Notice, data: dict[str, Any], now_ms: int) -> str:
    time = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds")
    content = {
        "entity": notice.entity.lower(),
        "action": notice.action.lower(),
        "timestamp": time,
        "data": data,
    }
    # ASCII only: as many bytes as characters, and no receiver can read another text than was signed.
    return json.dumps(content)
