"""Content that is stored and proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_artifact.entities import Blob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncpg import Connection

SELECT_BLOBS = "SELECT digest, size_bytes, object_key FROM artifact.blob WHERE digest = ANY($1::bytea[])"

# Ordered, so that two that insert the same ones wait for each other in one order.
INSERT_BLOBS = """
INSERT INTO artifact.blob (digest, size_bytes, object_key, stored_time_ms)
SELECT digest, size_bytes, object_key, $4
FROM unnest($1::bytea[], $2::bigint[], $3::text[]) AS new (digest, size_bytes, object_key)
ORDER BY digest
ON CONFLICT (digest) DO NOTHING
"""

# The lock holds off whoever would give the upload up; nothing is inserted once that has happened.
INSERT_BLOB_OF_UPLOAD = """
WITH upload AS (
    SELECT digest, size_bytes FROM artifact.upload WHERE upload_id = $1 AND state = 1 FOR SHARE
)
INSERT INTO artifact.blob (digest, size_bytes, object_key, stored_time_ms)
SELECT digest, size_bytes, $2, $3 FROM upload
ON CONFLICT (digest) DO NOTHING
"""


async def select_blobs(connection: Connection, digests: Iterable[bytes]) -> dict[bytes, Blob]:
    """The blobs that there are, by digest."""
    rows = await connection.fetch(SELECT_BLOBS, list(set(digests)))
    return {row["digest"]: Blob(row["digest"], row["size_bytes"], row["object_key"]) for row in rows}


async def insert_blob(connection: Connection, blob: Blob, now_ms: int) -> bool:
    """Record proven content; whether nobody else had recorded the same."""
    status: str = await connection.execute(
        INSERT_BLOBS, [blob.digest], [blob.size_bytes], [blob.object_key], now_ms
    )
    return status.endswith(" 1")


async def insert_blobs(connection: Connection, blobs: Sequence[Blob], now_ms: int) -> None:
    """Record proven content; what is recorded already stays as it is."""
    if blobs:
        await connection.execute(
            INSERT_BLOBS,
            [blob.digest for blob in blobs],
            [blob.size_bytes for blob in blobs],
            [blob.object_key for blob in blobs],
            now_ms,
        )


async def insert_blob_of_upload(
    connection: Connection, upload_id: str, digest: bytes, object_key: str, now_ms: int
) -> Blob | None:
    """Record what an open upload brought.

    Returns:
        What is recorded for the digest, possibly under another key; None when the upload is no longer open and nobody
        else brought the content.
    """
    await connection.execute(INSERT_BLOB_OF_UPLOAD, upload_id, object_key, now_ms)
    return (await select_blobs(connection, [digest])).get(digest)
