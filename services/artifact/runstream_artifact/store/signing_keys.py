"""The secret that signs a local folder's URLs, shared by all replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncpg import Connection

KEY_ID = 1

INSERT_KEY = """
INSERT INTO artifact.signing_key (key_id, secret, created_time_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""


async def select_or_insert_secret(connection: Connection, fresh: bytes, now_ms: int) -> bytes:
    """The secret; of several processes that start at once one's fresh secret wins.

    Args:
        fresh: what it becomes if there is none yet.
        now_ms: milliseconds since the Unix epoch.
    """
    # The insert waits for another one that is not committed yet, so the row is there for certain afterwards.
    await connection.execute(INSERT_KEY, KEY_ID, fresh, now_ms)
    secret: bytes = await connection.fetchval(
        "SELECT secret FROM artifact.signing_key WHERE key_id = $1", KEY_ID
    )
    return secret
