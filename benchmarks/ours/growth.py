"""Append cost with a big history stored, against an empty store."""

import asyncio

import asyncpg

_TEMPLATE = """
    SELECT chunk_id FROM metadata.metric_chunk WHERE point_count >= 100 ORDER BY chunk_id DESC LIMIT 1
"""


def load_chunks(database_url: str, points: int) -> int:
    """Fill the history with copies of a chunk that is there, spread over a thousand series; returns the points added.

    Args:
        database_url: database of the stack under test, with at least one written chunk.
        points: points wanted, rounded up to whole chunks.
    """
    return asyncio.run(_load_chunks(database_url.replace("+asyncpg", ""), points))


async def _load_chunks(database_url: str, points: int) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        template = await connection.fetchval(_TEMPLATE)
        per_chunk = await connection.fetchval(
            "SELECT point_count FROM metadata.metric_chunk WHERE chunk_id = $1", template
        )
        copies = -(-points // per_chunk)
        columns = await connection.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'metadata' "
            "AND table_name = 'metric_chunk' AND column_name NOT IN ('chunk_id', 'series_id') ORDER BY ordinal_position"
        )
        names = ", ".join(f'"{row["column_name"]}"' for row in columns)
        base = await connection.fetchval("SELECT max(series_id) + 1000000 FROM metadata.metric_chunk")
        await connection.execute(
            f"INSERT INTO metadata.metric_chunk (series_id, {names}) "
            f"SELECT $2 + n % 1000, {names} FROM metadata.metric_chunk, generate_series(1, $3::bigint) AS n "
            "WHERE chunk_id = $1",
            template,
            base,
            copies,
            timeout=1800,
        )
        await connection.execute("VACUUM ANALYZE metadata.metric_chunk", timeout=1800)
        await connection.execute("CHECKPOINT", timeout=600)
        return int(copies * per_chunk)
    finally:
        await connection.close()
