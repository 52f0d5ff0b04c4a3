"""Deliveries: which are due, what came of them, and their log. Each function is one statement.

Waits and leases are in the database's time, so that the clocks of replicas need not agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from runstream_registry.store.delivery_queue import CHANNEL
from runstream_registry.store.webhook_repository import LIVE_PREVIOUS
from runstream_registry.webhook_entities import (
    Attempt,
    ClaimedDelivery,
    Delivery,
    DeliveryState,
    StoredSecrets,
    WebhookEvent,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Connection

# Due for each webhook by itself: a receiver with a long backlog takes nothing from the others; and in random order, so that
# few free slots do not always go to the same ones. An expired lease belongs to a worker that is gone.
CLAIM = f"""
WITH due AS (
    SELECT webhook.url, webhook.secret, webhook.previous, waiting.delivery_id
    FROM (
        SELECT webhook_id, url, secret, {LIVE_PREVIOUS} AS previous, coalesce(own.most, $2) AS most
        FROM registry.webhook
        LEFT JOIN unnest($3::uuid[], $4::integer[]) AS own (webhook_id, most) USING (webhook_id)
        WHERE status = 1
        ORDER BY random()
    ) AS webhook
    CROSS JOIN LATERAL (
        SELECT delivery_id FROM registry.delivery AS delivery
        WHERE delivery.webhook_id = webhook.webhook_id AND delivery.state = 1 AND delivery.next_attempt_at <= now()
            AND (delivery.leased_until IS NULL OR delivery.leased_until <= now())
        ORDER BY delivery.next_attempt_at
        LIMIT webhook.most
        FOR UPDATE SKIP LOCKED
    ) AS waiting
    LIMIT $1
)
UPDATE registry.delivery AS delivery
SET leased_until = now() + make_interval(secs => $5), attempt_count = attempt_count + 1
FROM due WHERE delivery.delivery_id = due.delivery_id
RETURNING delivery.delivery_id, delivery.webhook_id, delivery.body, delivery.attempt_count, delivery.round_start,
    due.url, due.secret, due.previous
"""

# An attempt is logged in any case. Its outcome counts unless the delivery was settled meanwhile; a failure counts only
# while no other worker has taken the delivery over and nobody has asked for a new round.
REPORT = """
WITH found AS (
    SELECT delivery_id, state, attempt_count, round_start FROM registry.delivery WHERE delivery_id = $1 FOR UPDATE
), logged AS (
    INSERT INTO registry.delivery_attempt
        (delivery_id, attempt, time_ms, response_status, error_message, duration_ms)
    SELECT delivery_id, $2, $3, $4, $5, $6 FROM found
    ON CONFLICT DO NOTHING
)
UPDATE registry.delivery AS delivery
SET state = $7, leased_until = NULL, next_attempt_at = now() + make_interval(secs => $8)
FROM found
WHERE delivery.delivery_id = found.delivery_id AND found.state = 1
    AND ($7 = 2 OR (found.attempt_count = $2 AND found.round_start < $2))
"""

# Pages end early when their bodies get large: a page fits a message and memory.
SELECT_PAGE = """
SELECT page.*, coalesce((extract(epoch FROM page.next_attempt_at) * 1000)::bigint, 0) AS next_attempt_time_ms
FROM (
    SELECT found.*, count(*) OVER () AS found_count,
        sum(octet_length(body)) OVER (ORDER BY creation_time_ms DESC, delivery_id DESC) - octet_length(body) AS bytes_before
    FROM (
        SELECT delivery_id, webhook_id, entity, action, body, state, creation_time_ms,
            CASE WHEN state = 1 THEN next_attempt_at END AS next_attempt_at
        FROM registry.delivery
        WHERE webhook_id = $1 AND (creation_time_ms, delivery_id) < ($2, $3) AND ($4 = 0 OR state = $4)
        ORDER BY creation_time_ms DESC, delivery_id DESC
        LIMIT $5 + 1
    ) AS found
) AS page
WHERE page.bytes_before < $6
ORDER BY page.creation_time_ms DESC, page.delivery_id DESC
LIMIT $5
"""


async def claim(
    connection: Connection,
    *,
    limit: int,
    limit_per_webhook: int,
    own_limits: Mapping[str, int],
    lease_seconds: float,
) -> list[ClaimedDelivery]:
    """Take deliveries that are due; nobody else gets them while the lease lasts.

    Args:
        limit: most of all.
        limit_per_webhook: most of one webhook, unless ``own_limits`` has another number for it.
    """
    rows = await connection.fetch(
        CLAIM,
        limit,
        limit_per_webhook,
        [UUID(item) for item in own_limits],
        list(own_limits.values()),
        lease_seconds,
    )
    return [
        ClaimedDelivery(
            delivery_id=str(row["delivery_id"]),
            webhook_id=str(row["webhook_id"]),
            url=row["url"],
            body_json=row["body"],
            secrets=StoredSecrets(row["secret"], row["previous"]),
            attempt=row["attempt_count"],
            attempt_in_round=row["attempt_count"] - row["round_start"],
        )
        for row in rows
    ]


async def report(
    connection: Connection,
    claimed: ClaimedDelivery,
    attempt: Attempt,
    state: DeliveryState,
    *,
    next_attempt_seconds: float = 0.0,
) -> None:
    """Log an attempt and what follows from it.

    Args:
        state: PENDING: another attempt comes after ``next_attempt_seconds``.
    """
    await connection.execute(
        REPORT,
        UUID(claimed.delivery_id),
        claimed.attempt,
        attempt.time_ms,
        attempt.response_status,
        attempt.error_message,
        attempt.duration_ms,
        state,
        next_attempt_seconds,
    )


async def release(connection: Connection, claimed: Sequence[ClaimedDelivery]) -> None:
    """Give back deliveries whose attempts were broken off, for others to take at once."""
    await connection.execute(
        """UPDATE registry.delivery AS delivery SET leased_until = NULL
           FROM unnest($1::uuid[], $2::integer[]) AS own (delivery_id, attempt)
           WHERE delivery.delivery_id = own.delivery_id AND delivery.attempt_count = own.attempt""",
        [UUID(item.delivery_id) for item in claimed],
        [item.attempt for item in claimed],
    )


async def redeliver(connection: Connection, delivery_id: str) -> bool:
    """Make a delivery due, with all its attempts to come; False when there is none of that id, or it is disabled."""
    row = await connection.fetchrow(
        f"""WITH again AS (
                UPDATE registry.delivery AS delivery
                SET state = 1, round_start = attempt_count, next_attempt_at = now(), leased_until = NULL
                FROM registry.webhook AS webhook
                WHERE delivery.delivery_id = $1 AND webhook.webhook_id = delivery.webhook_id AND webhook.status = 1
                RETURNING delivery_id
            )
            SELECT pg_notify('{CHANNEL}', '') FROM again""",
        UUID(delivery_id),
    )
    return row is not None


async def webhook_of(connection: Connection, delivery_id: str) -> str | None:
    """The webhook of a delivery; None when there is no such delivery."""
    found = await connection.fetchval(
        "SELECT webhook_id FROM registry.delivery WHERE delivery_id = $1", UUID(delivery_id)
    )
    return None if found is None else str(found)


async def select_page(
    connection: Connection,
    webhook_id: str,
    *,
    state: DeliveryState | None,
    after: tuple[int, str] | None,
    limit: int,
    max_bytes: int,
) -> tuple[list[Delivery], bool]:
    """Deliveries of a webhook behind a position (creation time in ms, id), newest first.

    Args:
        max_bytes: a page ends after the body with which it reaches this size.

    Returns:
        The page with attempts, and whether there is more.
    """
    time_ms, delivery_id = after or (2**63 - 1, "ffffffff-ffff-ffff-ffff-ffffffffffff")
    rows = await connection.fetch(
        SELECT_PAGE, UUID(webhook_id), time_ms, UUID(delivery_id), int(state or 0), limit, max_bytes
    )
    attempts = await _attempts(connection, [row["delivery_id"] for row in rows])
    page = [_delivery(row, attempts.get(row["delivery_id"], [])) for row in rows]
    return page, bool(rows) and rows[0]["found_count"] > len(rows)


async def delete_old(connection: Connection, keep_days: int, limit: int) -> int:
    """Delete deliveries from before the keeping time, but none that is about to be made; returns how many."""
    done: str = await connection.execute(
        """DELETE FROM registry.delivery WHERE delivery_id IN (
               SELECT delivery_id FROM registry.delivery
               WHERE creation_time_ms < extract(epoch FROM now() - make_interval(days => $1)) * 1000
                   AND (state <> 1 OR next_attempt_at < now() - make_interval(days => $1))
               ORDER BY creation_time_ms
               LIMIT $2
           )""",
        keep_days,
        limit,
    )
    return int(done.rpartition(" ")[2])


async def _attempts(connection: Connection, delivery_ids: Sequence[UUID]) -> dict[UUID, list[Attempt]]:
    rows = await connection.fetch(
        """SELECT delivery_id, time_ms, response_status, error_message, duration_ms FROM registry.delivery_attempt
           WHERE delivery_id = ANY ($1::uuid[]) ORDER BY delivery_id, attempt""",
        delivery_ids,
    )
    found: dict[UUID, list[Attempt]] = {}
    for row in rows:
        attempt = Attempt(row["time_ms"], row["response_status"], row["error_message"], row["duration_ms"])
        found.setdefault(row["delivery_id"], []).append(attempt)
    return found


def _delivery(row: Any, attempts: Sequence[Attempt]) -> Delivery:
    return Delivery(
        delivery_id=str(row["delivery_id"]),
        webhook_id=str(row["webhook_id"]),
        event=WebhookEvent(row["entity"], row["action"]),
        body_json=row["body"],
        state=DeliveryState(row["state"]),
        creation_time_ms=row["creation_time_ms"],
        next_attempt_time_ms=row["next_attempt_time_ms"],
        attempts=attempts,
    )
