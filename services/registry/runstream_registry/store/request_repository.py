"""Reading and writing requests for approval."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runstream_registry.promotion_entities import Decision, Request, RequestState, Target, TargetKind

if TYPE_CHECKING:
    from asyncpg import Connection, Record

INSERT = """
INSERT INTO registry.request (request_id, model_id, version, target_kind, target, reason, expected_current, actor, state,
    creation_time_ms, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""

SELECT = """
SELECT r.*, m.name, m.prompt,
       ARRAY(SELECT (d.actor, d.role, d.approved, d.comment, d.time_ms) FROM registry.decision AS d
             WHERE d.request_id = r.request_id ORDER BY d.time_ms, d.actor) AS decisions
FROM registry.request AS r JOIN registry.model AS m USING (model_id)
"""

SELECT_ONE = f"{SELECT} WHERE r.request_id = $1"

SELECT_PAGE = f"""
{SELECT}
WHERE ($1::bigint IS NULL OR r.model_id = $1::bigint) AND ($2::smallint IS NULL OR r.state = $2::smallint)
  AND ($3::bigint IS NULL OR (r.creation_time_ms, r.request_id) < ($3::bigint, $4::uuid))
ORDER BY r.creation_time_ms DESC, r.request_id DESC LIMIT $5
"""

SELECT_OPEN = f"""
{SELECT}
WHERE r.model_id = $1 AND r.version = $2 AND r.target_kind = $3 AND r.target = $4 AND r.state = {RequestState.PENDING:d}
  AND r.expires_at > $5
LIMIT 1
"""

SELECT_LAST_EXECUTED = f"""
{SELECT}
WHERE r.model_id = $1 AND r.version = $2 AND r.target_kind = $3 AND r.target = $4 AND r.state = {RequestState.EXECUTED:d}
ORDER BY r.promotion_sequence DESC LIMIT 1
"""

SELECT_EXPIRED = f"""
SELECT r.request_id FROM registry.request AS r JOIN registry.model AS m USING (model_id)
WHERE r.state IN ({RequestState.PENDING:d}, {RequestState.APPROVED:d}) AND r.expires_at <= $1
  AND m.deleted_time_ms IS NULL
ORDER BY r.expires_at LIMIT $2
"""

# A service that ended between the last approval and the promotion left these behind.
SELECT_LEFT_BEHIND = f"""
SELECT r.request_id FROM registry.request AS r JOIN registry.model AS m USING (model_id)
WHERE r.state = {RequestState.APPROVED:d} AND r.last_error = '' AND r.expires_at > $1 AND m.deleted_time_ms IS NULL
  AND (SELECT max(d.time_ms) FROM registry.decision AS d WHERE d.request_id = r.request_id) < $2
ORDER BY r.expires_at LIMIT $3
"""

INSERT_DECISION = """
INSERT INTO registry.decision (request_id, actor, role, approved, comment, time_ms) VALUES ($1, $2, $3, $4, $5, $6)
"""

UPDATE_STATE = """
UPDATE registry.request SET state = $2, promotion_sequence = $3, last_error = $4 WHERE request_id = $1
"""


async def insert(connection: Connection, request: Request) -> None:
    """Write a new request."""
    await connection.execute(
        INSERT,
        request.request_id,
        request.model_id,
        request.version,
        request.target.kind.value,
        request.target.name,
        request.reason,
        request.expected_current,
        request.actor,
        request.state,
        request.creation_time_ms,
        _moment(request.expire_time_ms),
    )


async def select_one(connection: Connection, request_id: str) -> Request | None:
    """One request with its decisions."""
    return _request_or_none(await connection.fetchrow(SELECT_ONE, request_id))


async def select_open(
    connection: Connection, model_id: int, version: int, target: Target, now_ms: int
) -> Request | None:
    """A request that waits for approvals of the same promotion."""
    row = await connection.fetchrow(
        SELECT_OPEN, model_id, version, target.kind.value, target.name, _moment(now_ms)
    )
    return _request_or_none(row)


async def select_last_executed(
    connection: Connection, model_id: int, version: int, target: Target
) -> Request | None:
    """The request that last brought the version to the target."""
    row = await connection.fetchrow(SELECT_LAST_EXECUTED, model_id, version, target.kind.value, target.name)
    return _request_or_none(row)


async def select_page(
    connection: Connection,
    *,
    model_id: int | None,
    state: RequestState | None,
    before: tuple[int, str] | None,
    limit: int,
) -> list[Request]:
    """Requests, newest first.

    Args:
        before: creation time and id that the page comes after in this order.
    """
    time_ms, request_id = before or (None, None)
    rows = await connection.fetch(SELECT_PAGE, model_id, state, time_ms, request_id, limit)
    return [_request(row) for row in rows]


async def select_expired(connection: Connection, now_ms: int, limit: int) -> list[str]:
    """Ids of open requests whose time is over."""
    return [str(row["request_id"]) for row in await connection.fetch(SELECT_EXPIRED, _moment(now_ms), limit)]


async def select_left_behind(
    connection: Connection, now_ms: int, decided_before_ms: int, limit: int
) -> list[str]:
    """Ids of approved requests that nobody has tried to carry out."""
    rows = await connection.fetch(SELECT_LEFT_BEHIND, _moment(now_ms), decided_before_ms, limit)
    return [str(row["request_id"]) for row in rows]


async def insert_decision(connection: Connection, request_id: str, decision: Decision) -> None:
    """Write one person's word.

    Raises:
        asyncpg.UniqueViolationError: the person has decided before.
    """
    await connection.execute(
        INSERT_DECISION,
        request_id,
        decision.actor,
        decision.role,
        decision.approved,
        decision.comment,
        decision.time_ms,
    )


async def update_state(
    connection: Connection,
    request_id: str,
    state: RequestState,
    *,
    promotion_sequence: int = 0,
    last_error: str = "",
) -> None:
    """Write what became of a request."""
    await connection.execute(UPDATE_STATE, request_id, state, promotion_sequence, last_error)


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _request_or_none(row: Record | None) -> Request | None:
    return None if row is None else _request(row)


def _request(row: Record) -> Request:
    return Request(
        request_id=str(row["request_id"]),
        model_id=row["model_id"],
        name=row["name"],
        prompt=row["prompt"],
        version=row["version"],
        target=Target(TargetKind(row["target_kind"]), row["target"]),
        reason=row["reason"],
        expected_current=row["expected_current"],
        actor=row["actor"],
        state=RequestState(row["state"]),
        creation_time_ms=row["creation_time_ms"],
        expire_time_ms=round(row["expires_at"].timestamp() * 1000),
        decisions=[Decision(*decision) for decision in row["decisions"]],
        promotion_sequence=row["promotion_sequence"],
        last_error=row["last_error"],
    )
