"""Reading where versions came from and where they went. Deleted versions are part of the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runstream_registry.entities import PromotionFact, Relative

if TYPE_CHECKING:
    from asyncpg import Connection, Record

# One generation: the links that lead on from the versions found so far. Ordered, so that a cut is the same each time.
_LINKS = """
SELECT p.{near} AS near_id, p.{far} AS far_id, p.relation,
       m.name, v.version, v.run_id, v.deleted_time_ms IS NOT NULL AS deleted,
       nm.name AS near_name, nv.version AS near_version
FROM registry.version_parent AS p
JOIN registry.version AS v ON v.version_id = p.{far}
JOIN registry.model AS m ON m.model_id = v.model_id
JOIN registry.version AS nv ON nv.version_id = p.{near}
JOIN registry.model AS nm ON nm.model_id = nv.model_id
WHERE p.{near} = ANY($1::uuid[]) AND p.{far} <> ALL($2::uuid[])
ORDER BY m.name, v.version, near_name, near_version
LIMIT $3
"""
PARENTS = _LINKS.format(near="version_id", far="parent_version_id")
CHILDREN = _LINKS.format(near="parent_version_id", far="version_id")

SELECT_PROMOTIONS = """
SELECT p.target_kind, p.target, p.sequence, p.time_ms, p.actor,
       p.sequence = (SELECT max(q.sequence) FROM registry.promotion AS q
                     WHERE q.model_id = p.model_id AND q.target_kind = p.target_kind AND q.target = p.target
                       AND (p.target_kind = 'alias' OR q.version = p.version))
       AND CASE p.target_kind
           WHEN 'alias' THEN EXISTS (SELECT FROM registry.alias AS a
               WHERE a.model_id = p.model_id AND a.alias = p.target AND a.version = p.version)
           ELSE EXISTS (SELECT FROM registry.version AS v
               WHERE v.model_id = p.model_id AND v.version = p.version AND v.deleted_time_ms IS NULL
                 AND v.stage = CASE lower(p.target) WHEN 'none' THEN 1 WHEN 'staging' THEN 2 WHEN 'production' THEN 3
                                                    WHEN 'archived' THEN 4 END)
           END AS current
FROM registry.promotion AS p
WHERE p.model_id = $1 AND p.version = $2
ORDER BY p.sequence DESC LIMIT $3
"""


async def select_ancestors(
    connection: Connection, version_id: str, *, depth: int, limit: int
) -> list[Relative]:
    """Versions that one was made from, nearest first; each once, at its least distance."""
    return await _walk(connection, PARENTS, version_id, depth, limit)


async def select_descendants(
    connection: Connection, version_id: str, *, depth: int, limit: int
) -> list[Relative]:
    """Versions that were made from one, nearest first; each once, at its least distance."""
    return await _walk(connection, CHILDREN, version_id, depth, limit)


async def select_promotions(
    connection: Connection, model_id: int, version: int, *, limit: int
) -> list[PromotionFact]:
    """Promotions of a version, newest first."""
    return [
        PromotionFact(**row) for row in await connection.fetch(SELECT_PROMOTIONS, model_id, version, limit)
    ]


async def _walk(
    connection: Connection, links: str, version_id: str, depth: int, limit: int
) -> list[Relative]:
    """Generation by generation. A recursive query would visit a version once for each way that leads to it, and there
    are exponentially many."""
    seen: list[object] = [version_id]
    frontier: list[object] = [version_id]
    found: list[Relative] = []
    for generation in range(1, depth + 1):
        rows = await connection.fetch(links, frontier, seen, limit - len(found))
        nearest: dict[object, Record] = {}
        for row in rows:
            nearest.setdefault(row["far_id"], row)
        found += [_relative(row, generation) for row in nearest.values()]
        if not nearest or len(found) >= limit:
            break
        frontier = list(nearest)
        seen += frontier
    return found


def _relative(row: Record, generation: int) -> Relative:
    return Relative(
        name=row["name"],
        version=row["version"],
        run_id=row["run_id"],
        deleted=row["deleted"],
        generation=generation,
        near_name=row["near_name"],
        near_version=row["near_version"],
        relation=row["relation"],
    )
