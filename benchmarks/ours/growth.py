"""A big history, loaded straight into the tables, to see whether appending gets slower."""

import asyncpg

_TEMPLATE = """
    SELECT chunk_id, point_count FROM metadata.metric_chunk WHERE point_count >= 100 ORDER BY chunk_id DESC LIMIT 1
"""
_COLUMNS = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = 'metadata' AND table_name = 'metric_chunk' AND column_name NOT IN ('chunk_id', 'series_id')
    ORDER BY ordinal_position
"""
SERIES = 1000
STATEMENT_SECONDS = 1800.0


async def load_chunks(connection: asyncpg.Connection, points: int) -> int:
    """Fill the history with copies of a chunk that a consumer wrote, spread over a thousand series.

    Args:
        connection: to the database of the stack under test, which has written points before; not in a transaction.
        points: points wanted, rounded up to whole chunks.

    Returns:
        The points added.
    """
    template, per_chunk = await connection.fetchrow(_TEMPLATE)
    copies = -(-points // per_chunk)
    names = ", ".join(f'"{row["column_name"]}"' for row in await connection.fetch(_COLUMNS))
    # Far from the ids of real series, so that no reader meets them.
    first_series = await connection.fetchval("SELECT max(series_id) + 1000000 FROM metadata.metric_chunk")
    await connection.execute(
        f"INSERT INTO metadata.metric_chunk (series_id, {names}) "
        f"SELECT $2::bigint + n % {SERIES}, {names} FROM metadata.metric_chunk, generate_series(1, $3::bigint) AS n "
        "WHERE chunk_id = $1",
        template,
        first_series,
        copies,
        timeout=STATEMENT_SECONDS,
    )
    await connection.execute("VACUUM (ANALYZE) metadata.metric_chunk", timeout=STATEMENT_SECONDS)
    await connection.execute("CHECKPOINT", timeout=STATEMENT_SECONDS)
    return int(copies * per_chunk)
