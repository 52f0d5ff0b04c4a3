"""Writing versions and their tags. Nothing commits here; the caller has locked the rows of the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asyncpg import Connection

    from runstream_registry.entities import Parent, Version

# The models' counters move in the statement that inserts, however many versions there are.
INSERT_VERSIONS = """
WITH counted AS (
    UPDATE registry.model AS m
    SET last_version = c.last_version, version_count = m.version_count + c.added, last_updated_time_ms = $24::bigint
    FROM unnest($1::bigint[], $2::integer[], $3::integer[]) AS c (model_id, last_version, added)
    WHERE m.model_id = c.model_id
), inserted AS (
    INSERT INTO registry.version
        (version_id, model_id, version, prompt, source, run_id, logged_model_id, run_link, description, user_id,
         status, status_message, artifact_uri, artifact_digest, artifact_file_count, artifact_size_bytes,
         signature, flavors, storage_location, creation_time_ms, last_updated_time_ms)
    SELECT new.*, $24::bigint, $24::bigint
    FROM unnest($4::uuid[], $5::bigint[], $6::integer[], $7::boolean[], $8::text[], $9::text[], $10::text[], $11::text[],
                $12::text[], $13::text[], $14::smallint[], $15::text[], $16::text[], $17::text[], $18::bigint[],
                $19::bigint[], $20::text[], $21::text[], $22::text[]) AS new
), tagged AS (
    INSERT INTO registry.version_tag (version_id, key, value)
    SELECT * FROM unnest($23::uuid[], $25::text[], $26::text[])
)
INSERT INTO registry.version_parent (version_id, parent_version_id, relation)
SELECT * FROM unnest($27::uuid[], $28::uuid[], $29::text[])
ON CONFLICT DO NOTHING
"""

SELECT_PARENTS = """
SELECT asked.name, asked.version, v.version_id
FROM unnest($1::text[], $2::integer[]) AS asked (name, version)
JOIN registry.model AS m ON m.name = asked.name AND m.deleted_time_ms IS NULL
JOIN registry.version AS v
    ON v.model_id = m.model_id AND v.version = asked.version AND v.deleted_time_ms IS NULL
"""

SELECT_OWNERS = """
SELECT v.version_id, v.deleted_time_ms IS NOT NULL OR m.deleted_time_ms IS NOT NULL AS deleted, m.name
FROM registry.version AS v JOIN registry.model AS m ON m.model_id = v.model_id
WHERE v.version_id = ANY($1::uuid[])
"""

UPDATE_VERSION = """
UPDATE registry.version SET description = $2, signature = $3, flavors = $4, status = $5, last_updated_time_ms = $6
WHERE version_id = $1
"""

DELETE_VERSION = """
WITH deleted AS (
    UPDATE registry.version SET deleted_time_ms = $2, last_updated_time_ms = $2 WHERE version_id = $1
    RETURNING model_id, version
), counted AS (
    UPDATE registry.model AS m SET version_count = version_count - 1, last_updated_time_ms = $2
    FROM deleted WHERE m.model_id = deleted.model_id
)
DELETE FROM registry.alias AS a USING deleted WHERE a.model_id = deleted.model_id AND a.version = deleted.version
RETURNING a.alias
"""

SELECT_TAGS = "SELECT key, value FROM registry.version_tag WHERE version_id = $1 AND key = ANY($2::text[])"

CHANGE_TAGS = """
WITH d AS (
    DELETE FROM registry.version_tag WHERE version_id = $1 AND key = ANY($4::text[])
)
INSERT INTO registry.version_tag (version_id, key, value)
SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS new (key, value)
ON CONFLICT (version_id, key) DO UPDATE SET value = excluded.value
"""

INSERT_EVALUATION = """
INSERT INTO registry.evaluation (version_id, name, passed, summary, url, actor, time_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """What a version id belongs to."""

    name: str
    deleted: bool


async def insert_versions(
    connection: Connection,
    versions: Sequence[Version],
    parent_ids: Mapping[tuple[str, int], str],
    now_ms: int,
) -> None:
    """Insert versions with tags and parents, and move the counters of their models.

    Args:
        versions: of one model in the order of their numbers.
        parent_ids: version ids by name and number, for every parent.
    """
    tags = [(v.version_id, key, value) for v in versions for key, value in v.tags.items()]
    links = [(v.version_id, parent_ids[p.name, p.version], p.relation) for v in versions for p in v.parents]
    await connection.execute(
        INSERT_VERSIONS,
        *_counters(versions),
        *_columns(versions),
        [tag[0] for tag in tags],
        now_ms,
        [tag[1] for tag in tags],
        [tag[2] for tag in tags],
        *([link[column] for link in links] for column in range(3)),
    )


async def select_parents(connection: Connection, parents: Iterable[Parent]) -> dict[tuple[str, int], str]:
    """Ids of those of the parents that exist, by name and number."""
    asked = sorted({(parent.name, parent.version) for parent in parents})
    if not asked:
        return {}
    rows = await connection.fetch(SELECT_PARENTS, [item[0] for item in asked], [item[1] for item in asked])
    return {(row["name"], row["version"]): row["version_id"].hex for row in rows}


async def select_owners(connection: Connection, version_ids: Sequence[str]) -> dict[str, Owner]:
    """What those of the ids belong to that are taken, deleted versions included."""
    if not version_ids:
        return {}
    rows = await connection.fetch(SELECT_OWNERS, version_ids)
    return {row["version_id"].hex: Owner(row["name"], row["deleted"]) for row in rows}


async def update_version(connection: Connection, version: Version) -> None:
    """Write what ``UpdateVersion`` changes."""
    await connection.execute(
        UPDATE_VERSION,
        version.version_id,
        version.description,
        version.signature_json,
        version.flavors_json,
        version.status,
        version.last_updated_time_ms,
    )


async def mark_deleted(connection: Connection, version_id: str, now_ms: int) -> list[str]:
    """Mark a version deleted and drop its aliases, which are returned."""
    return [row["alias"] for row in await connection.fetch(DELETE_VERSION, version_id, now_ms)]


async def select_tags(connection: Connection, version_id: str, keys: Sequence[str]) -> dict[str, str]:
    """Those of the tags that are there."""
    return {row["key"]: row["value"] for row in await connection.fetch(SELECT_TAGS, version_id, keys)}


async def change_tags(
    connection: Connection, version_id: str, to_set: Mapping[str, str], to_delete: Sequence[str]
) -> None:
    """Set and delete tags; no key is in both."""
    await connection.execute(CHANGE_TAGS, version_id, list(to_set), list(to_set.values()), to_delete)


async def insert_evaluation(
    connection: Connection,
    version_id: str,
    *,
    name: str,
    passed: bool,
    summary: str,
    url: str,
    actor: str,
    now_ms: int,
) -> None:
    """Insert the outcome of an evaluation."""
    await connection.execute(INSERT_EVALUATION, version_id, name, passed, summary, url, actor, now_ms)


def _counters(versions: Sequence[Version]) -> tuple[list[int], list[int], list[int]]:
    """Model ids, last versions and numbers of new versions."""
    last: dict[int, int] = {}
    added: dict[int, int] = {}
    for version in versions:
        last[version.model_id] = version.version
        added[version.model_id] = added.get(version.model_id, 0) + 1
    return list(last), list(last.values()), list(added.values())


def _columns(versions: Sequence[Version]) -> list[list[object]]:
    """The columns of INSERT_VERSIONS, $4 to $22."""
    rows = [
        (
            v.version_id,
            v.model_id,
            v.version,
            v.prompt,
            v.source,
            v.run_id,
            v.logged_model_id,
            v.run_link,
            v.description,
            v.user_id,
            v.status,
            v.status_message,
            v.artifacts.uri,
            v.artifacts.digest,
            v.artifacts.file_count,
            v.artifacts.size_bytes,
            v.signature_json,
            v.flavors_json,
            v.storage_location,
        )
        for v in versions
    ]
    return [list(column) for column in zip(*rows, strict=True)]
