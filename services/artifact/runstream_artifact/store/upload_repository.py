"""Files on their way: opened, renewed, completed, given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstream_artifact.entities import Owner, OwnerKind, Upload, UploadMethod, UploadState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asyncpg import Connection

COLUMNS = """
upload_id, owner_kind, owner_id, path, digest, size_bytes, content_type, method, part_size_bytes, store_upload_id,
state, completed_time_ms, (extract(epoch FROM expires_at) * 1000)::bigint AS expire_time_ms
"""

# An upload of the same content to the same path is the same upload; it is renewed, whatever size or method the new call
# thinks of. Ordered, so that two that open the same ones wait for each other in one order.
OPEN_UPLOADS = f"""
INSERT INTO artifact.upload (
    upload_id, owner_kind, owner_id, path, digest, size_bytes, content_type, method, part_size_bytes, expires_at
)
SELECT upload_id, $1, $2, path, digest, size_bytes, content_type, method, part_size_bytes,
       now() + make_interval(secs => $3)
FROM unnest($4::uuid[], $5::text[], $6::bytea[], $7::bigint[], $8::text[], $9::smallint[], $10::bigint[])
    AS new (upload_id, path, digest, size_bytes, content_type, method, part_size_bytes)
ORDER BY path COLLATE "C", digest
ON CONFLICT (owner_kind, owner_id, path, digest) WHERE state = 1
    DO UPDATE SET expires_at = excluded.expires_at, content_type = excluded.content_type
RETURNING {COLUMNS}
"""

RENEW_UPLOADS = f"""
UPDATE artifact.upload SET expires_at = greatest(expires_at, now() + make_interval(secs => $2))
WHERE upload_id = ANY($1::uuid[]) AND state = 1 AND expires_at > now()
RETURNING {COLUMNS}
"""

SELECT_COMPLETED = f"""
SELECT {COLUMNS} FROM artifact.upload WHERE upload_id = ANY($1::uuid[]) AND state = 2
"""

LOCK_OPEN = f"""
SELECT {COLUMNS} FROM artifact.upload WHERE upload_id = ANY($1::uuid[]) ORDER BY upload_id FOR UPDATE
"""

COMPLETE_UPLOADS = """
UPDATE artifact.upload SET state = 2, completed_time_ms = $2, expires_at = now() + make_interval(secs => $3)
WHERE upload_id = ANY($1::uuid[])
"""

SET_STORE_UPLOAD = f"""
UPDATE artifact.upload SET store_upload_id = $3 WHERE upload_id = $1 AND store_upload_id = $2 AND state = 1
RETURNING {COLUMNS}
"""

ABANDON_UPLOADS = f"""
UPDATE artifact.upload SET state = 3, expires_at = now() + make_interval(secs => $2)
WHERE upload_id = ANY($1::uuid[]) AND state = 1
RETURNING {COLUMNS}
"""

ABANDON_EXPIRED = """
UPDATE artifact.upload SET state = 3
WHERE upload_id IN (
    SELECT upload_id FROM artifact.upload WHERE state = 1 AND expires_at <= now()
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
"""

SELECT_CLOSED = f"""
SELECT {COLUMNS} FROM artifact.upload WHERE state <> 1 AND expires_at <= now() ORDER BY expires_at LIMIT $1
"""

DELETE_CLOSED = "DELETE FROM artifact.upload WHERE upload_id = ANY($1::uuid[]) AND state <> 1"


async def open_uploads(
    connection: Connection, uploads: Sequence[Upload], keep_seconds: float
) -> list[Upload]:
    """Open uploads of one owner, or renew those that are open; in no order.

    Args:
        uploads: of different paths; their ids are used for those that are new.
        keep_seconds: how long they may rest.
    """
    owner = uploads[0].owner
    rows = await connection.fetch(
        OPEN_UPLOADS,
        owner.kind,
        owner.id,
        keep_seconds,
        [upload.upload_id for upload in uploads],
        [upload.path for upload in uploads],
        [upload.digest for upload in uploads],
        [upload.size_bytes for upload in uploads],
        [upload.content_type for upload in uploads],
        [upload.method for upload in uploads],
        [upload.part_size_bytes for upload in uploads],
    )
    return [_upload(row) for row in rows]


async def renew_uploads(
    connection: Connection, upload_ids: Iterable[str], keep_seconds: float
) -> dict[str, Upload]:
    """The open ones among the uploads, each with at least so long to go; by id."""
    return _by_id(await connection.fetch(RENEW_UPLOADS, list(upload_ids), keep_seconds))


async def select_completed(connection: Connection, upload_ids: Iterable[str]) -> dict[str, Upload]:
    """The uploads that were completed lately; by id."""
    return _by_id(await connection.fetch(SELECT_COMPLETED, list(upload_ids)))


async def lock_uploads(connection: Connection, upload_ids: Iterable[str]) -> dict[str, Upload]:
    """The uploads as they are now, in any state, locked until the transaction ends; by id."""
    return _by_id(await connection.fetch(LOCK_OPEN, list(upload_ids)))


async def complete_uploads(
    connection: Connection, upload_ids: Iterable[str], now_ms: int, keep_seconds: float
) -> None:
    """Mark uploads completed; they are remembered for a while."""
    await connection.execute(COMPLETE_UPLOADS, list(upload_ids), now_ms, keep_seconds)


async def set_store_upload(connection: Connection, upload: Upload, store_upload_id: str) -> Upload | None:
    """Note the store's id of a multipart upload; None when somebody else did meanwhile, or it is no longer open."""
    row = await connection.fetchrow(
        SET_STORE_UPLOAD, upload.upload_id, upload.store_upload_id, store_upload_id
    )
    return None if row is None else _upload(row)


async def abandon_uploads(
    connection: Connection, upload_ids: Iterable[str], keep_seconds: float
) -> list[Upload]:
    """Give open uploads up; returns those that were open. Their rows stay until their last request has expired."""
    rows = await connection.fetch(ABANDON_UPLOADS, list(upload_ids), keep_seconds)
    return [_upload(row) for row in rows]


async def abandon_expired(connection: Connection, limit: int) -> None:
    """Give up uploads that rested too long."""
    await connection.execute(ABANDON_EXPIRED, limit)


async def select_closed(connection: Connection, limit: int) -> list[Upload]:
    """Completed and abandoned uploads that need not be remembered any longer."""
    return [_upload(row) for row in await connection.fetch(SELECT_CLOSED, limit)]


async def delete_closed(connection: Connection, upload_ids: Iterable[str]) -> None:
    """Forget uploads that are not open."""
    await connection.execute(DELETE_CLOSED, list(upload_ids))


def _by_id(rows: Iterable[Mapping[str, Any]]) -> dict[str, Upload]:
    return {upload.upload_id: upload for upload in map(_upload, rows)}


def _upload(row: Mapping[str, Any]) -> Upload:
    return Upload(
        upload_id=str(row["upload_id"]),
        owner=Owner(OwnerKind(row["owner_kind"]), row["owner_id"]),
        path=row["path"],
        size_bytes=row["size_bytes"],
        digest=row["digest"],
        content_type=row["content_type"],
        method=UploadMethod(row["method"]),
        part_size_bytes=row["part_size_bytes"],
        store_upload_id=row["store_upload_id"],
        state=UploadState(row["state"]),
        completed_time_ms=row["completed_time_ms"],
        expire_time_ms=row["expire_time_ms"],
    )
