"""Files on their way whose digest is not known: opened, renewed, completed, given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_artifact.entities import OpenUpload, Owner, OwnerKind, UploadState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from asyncpg import Connection

COLUMNS = """
upload_id, owner_kind, owner_id, path, content_type, part_count, store_upload_id, state, digest, size_bytes,
completed_time_ms, (extract(epoch FROM expires_at) * 1000)::bigint AS expire_time_ms
"""

INSERT = f"""
INSERT INTO artifact.open_upload (
    upload_id, owner_kind, owner_id, path, content_type, part_count, store_upload_id, expires_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8))
RETURNING {COLUMNS}
"""

RENEW = f"""
UPDATE artifact.open_upload SET expires_at = greatest(expires_at, now() + make_interval(secs => $2))
WHERE upload_id = $1 AND state = 1 AND expires_at > now()
RETURNING {COLUMNS}
"""

SELECT_COMPLETED = f"SELECT {COLUMNS} FROM artifact.open_upload WHERE upload_id = $1 AND state = 2"

LOCK = f"SELECT {COLUMNS} FROM artifact.open_upload WHERE upload_id = $1 FOR UPDATE"

COMPLETE = """
UPDATE artifact.open_upload
SET state = 2, digest = $2, size_bytes = $3, completed_time_ms = $4, expires_at = now() + make_interval(secs => $5)
WHERE upload_id = $1
"""

ABANDON = f"""
UPDATE artifact.open_upload SET state = 3, expires_at = now() + make_interval(secs => $2)
WHERE upload_id = $1 AND state = 1
RETURNING {COLUMNS}
"""

ABANDON_EXPIRED = """
UPDATE artifact.open_upload SET state = 3
WHERE upload_id IN (
    SELECT upload_id FROM artifact.open_upload WHERE state = 1 AND expires_at <= now()
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
"""

SELECT_CLOSED = f"""
SELECT {COLUMNS} FROM artifact.open_upload WHERE state <> 1 AND expires_at <= now() ORDER BY expires_at LIMIT $1
"""

DELETE_CLOSED = "DELETE FROM artifact.open_upload WHERE upload_id = ANY($1::uuid[]) AND state <> 1"


async def insert_upload(connection: Connection, upload: OpenUpload, keep_seconds: float) -> OpenUpload:
    """Open an upload.

    Args:
        keep_seconds: how long it may rest.
    """
    row = await connection.fetchrow(
        INSERT,
        upload.upload_id,
        upload.owner.kind,
        upload.owner.id,
        upload.path,
        upload.content_type,
        upload.part_count,
        upload.store_upload_id,
        keep_seconds,
    )
    return _upload(row)


async def renew_upload(connection: Connection, upload_id: str, keep_seconds: float) -> OpenUpload | None:
    """The upload with at least so long to go; None when it is not open."""
    row = await connection.fetchrow(RENEW, upload_id, keep_seconds)
    return None if row is None else _upload(row)


async def select_completed(connection: Connection, upload_id: str) -> OpenUpload | None:
    """The upload if it was completed lately."""
    row = await connection.fetchrow(SELECT_COMPLETED, upload_id)
    return None if row is None else _upload(row)


async def lock_upload(connection: Connection, upload_id: str) -> OpenUpload | None:
    """The upload as it is now, in any state, locked until the transaction ends."""
    row = await connection.fetchrow(LOCK, upload_id)
    return None if row is None else _upload(row)


async def complete_upload(
    connection: Connection, upload_id: str, digest: bytes, size_bytes: int, now_ms: int, keep_seconds: float
) -> None:
    """Mark an upload completed; it is remembered for a while."""
    await connection.execute(COMPLETE, upload_id, digest, size_bytes, now_ms, keep_seconds)


async def abandon_upload(connection: Connection, upload_id: str, keep_seconds: float) -> OpenUpload | None:
    """Give an open upload up; None when it was not open. Its row stays until its last request has expired."""
    row = await connection.fetchrow(ABANDON, upload_id, keep_seconds)
    return None if row is None else _upload(row)


async def abandon_expired(connection: Connection, limit: int) -> None:
    """Give up uploads that rested too long."""
    await connection.execute(ABANDON_EXPIRED, limit)


async def select_closed(connection: Connection, limit: int) -> list[OpenUpload]:
    """Completed and abandoned uploads that need not be remembered any longer."""
    return [_upload(row) for row in await connection.fetch(SELECT_CLOSED, limit)]


async def delete_closed(connection: Connection, upload_ids: Iterable[str]) -> None:
    """Forget uploads that are not open."""
    await connection.execute(DELETE_CLOSED, list(upload_ids))


def _upload(row: Mapping[str, Any]) -> OpenUpload:
    return OpenUpload(
        upload_id=str(row["upload_id"]),
        owner=Owner(OwnerKind(row["owner_kind"]), row["owner_id"]),
        path=row["path"],
        content_type=row["content_type"],
        part_count=row["part_count"],
        store_upload_id=row["store_upload_id"],
        state=UploadState(row["state"]),
        digest=row["digest"],
        size_bytes=row["size_bytes"],
        completed_time_ms=row["completed_time_ms"],
        expire_time_ms=row["expire_time_ms"],
    )
