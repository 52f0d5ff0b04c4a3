"""Reading versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, assert_never
from uuid import UUID

from runstream_registry.entities import (
    Artifacts,
    ByAlias,
    ByNumber,
    ByStage,
    Parent,
    ResolvedVersion,
    Stage,
    Version,
    VersionStatus,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncpg import Connection, Record

    from runstream_registry.entities import Selector

STATUSES = {status.value: status for status in VersionStatus}
STAGES = {stage.value: stage for stage in Stage}

VERSION_COLUMNS = """v.version_id, v.model_id, m.name, v.version, v.prompt, v.source, v.run_id, v.logged_model_id, v.run_link,
    v.description, v.user_id, v.status, v.status_message, v.stage, v.artifact_uri, v.artifact_digest,
    v.artifact_file_count, v.artifact_size_bytes, v.signature, v.flavors, v.creation_time_ms, v.last_updated_time_ms,
    v.storage_location"""

VERSION_DETAILS = """
    ARRAY(SELECT alias FROM registry.alias AS a
          WHERE a.model_id = v.model_id AND a.version = v.version ORDER BY alias) AS aliases,
    ARRAY(SELECT key FROM registry.version_tag AS t
          WHERE t.version_id = v.version_id ORDER BY key COLLATE "C") AS tag_keys,
    ARRAY(SELECT value FROM registry.version_tag AS t
          WHERE t.version_id = v.version_id ORDER BY key COLLATE "C") AS tag_values,
    (SELECT jsonb_agg(jsonb_build_array(pm.name, pv.version, p.relation) ORDER BY pm.name, pv.version)
     FROM registry.version_parent AS p
     JOIN registry.version AS pv ON pv.version_id = p.parent_version_id
     JOIN registry.model AS pm ON pm.model_id = pv.model_id
     WHERE p.version_id = v.version_id) AS parents"""

SELECT_BY_IDS = f"""
SELECT {VERSION_COLUMNS}, {VERSION_DETAILS}
FROM registry.version AS v JOIN registry.model AS m ON m.model_id = v.model_id
WHERE v.version_id = ANY($1::uuid[]) AND v.deleted_time_ms IS NULL AND m.deleted_time_ms IS NULL
"""

_HIGHEST = """LEFT JOIN LATERAL (
    SELECT * FROM registry.version AS highest
    WHERE highest.model_id = m.model_id AND highest.deleted_time_ms IS NULL {condition}
    ORDER BY highest.version DESC LIMIT 1
) AS v ON true"""
_BY_NUMBER = """LEFT JOIN registry.version AS v
    ON v.model_id = m.model_id AND v.version = $2 AND v.deleted_time_ms IS NULL"""
_BY_ALIAS = """LEFT JOIN registry.alias AS named ON named.model_id = m.model_id AND named.alias = $2
LEFT JOIN registry.version AS v
    ON v.model_id = m.model_id AND v.version = named.version AND v.deleted_time_ms IS NULL"""
_LATEST = _HIGHEST.format(condition="")
_BY_STAGE = _HIGHEST.format(condition="AND highest.stage = $2")


def _statements(columns: str) -> dict[str, str]:
    """One statement for each way to select; a row without a version means that the model has no such one."""
    return {
        join: f"SELECT {columns} FROM registry.model AS m {join} WHERE m.name = $1 AND m.deleted_time_ms IS NULL"
        for join in (_BY_NUMBER, _BY_ALIAS, _LATEST, _BY_STAGE)
    }


# Nothing that may be long, and so lie outside of the row.
_RESOLVED = _statements(
    "v.version_id, v.version, v.run_id, v.source, v.artifact_uri, v.artifact_digest, v.artifact_file_count, "
    "v.artifact_size_bytes"
)
_DETAILED = _statements(f"{VERSION_COLUMNS}, {VERSION_DETAILS}")


async def select_version(
    connection: Connection, name: str, selector: Selector
) -> tuple[bool, Version | None]:
    """Whether there is a model of that name, and its version with everything."""
    row = await _selected_row(connection, _DETAILED, name, selector)
    if row is None or row["version_id"] is None:
        return row is not None, None
    return True, version_from_row(row)


async def resolve_version(
    connection: Connection, name: str, selector: Selector
) -> tuple[bool, ResolvedVersion | None]:
    """The same with what loading needs: one look-up in two or three indexes, and nothing that is stored apart."""
    row = await _selected_row(connection, _RESOLVED, name, selector)
    if row is None or row["version_id"] is None:
        return row is not None, None
    resolved = ResolvedVersion(
        row["version"], row["version_id"].hex, _artifacts(row), row["run_id"], row["source"]
    )
    return True, resolved


async def select_versions(connection: Connection, version_ids: Sequence[UUID | str]) -> list[Version]:
    """The versions that are not deleted, with everything, in the given order: one statement whatever their number."""
    if not version_ids:
        return []
    rows = await connection.fetch(SELECT_BY_IDS, version_ids)
    found = {row["version_id"]: version_from_row(row) for row in rows}
    keys = [UUID(hex=item) if isinstance(item, str) else item for item in version_ids]
    return [found[key] for key in keys if key in found]


async def _selected_row(
    connection: Connection, statements: Mapping[str, str], name: str, selector: Selector
) -> Record | None:
    match selector:
        case ByNumber():
            return await connection.fetchrow(statements[_BY_NUMBER], name, selector.version)
        case ByAlias() if selector.alias.lower() == "latest":
            return await connection.fetchrow(statements[_LATEST], name)
        case ByAlias():
            return await connection.fetchrow(statements[_BY_ALIAS], name, selector.alias)
        case ByStage():
            return await connection.fetchrow(statements[_BY_STAGE], name, selector.stage)
        case _:
            assert_never(selector)


def version_from_row(row: Mapping[str, Any]) -> Version:
    """The version in a row with ``VERSION_COLUMNS`` and ``VERSION_DETAILS``."""
    return Version(
        version_id=row["version_id"].hex,
        model_id=row["model_id"],
        name=row["name"],
        version=row["version"],
        prompt=row["prompt"],
        source=row["source"],
        artifacts=_artifacts(row),
        creation_time_ms=row["creation_time_ms"],
        last_updated_time_ms=row["last_updated_time_ms"],
        status=STATUSES[row["status"]],
        status_message=row["status_message"],
        stage=STAGES[row["stage"]],
        run_id=row["run_id"],
        logged_model_id=row["logged_model_id"],
        run_link=row["run_link"],
        description=row["description"],
        user_id=row["user_id"],
        signature_json=row["signature"],
        flavors_json=row["flavors"],
        aliases=tuple(row["aliases"]),
        tags=dict(zip(row["tag_keys"], row["tag_values"], strict=True)),
        parents=tuple(Parent(*item) for item in json.loads(row["parents"] or "[]")),
        storage_location=row["storage_location"],
    )


def _artifacts(row: Mapping[str, Any]) -> Artifacts:
    return Artifacts(
        row["artifact_uri"],
        row["artifact_digest"],
        row["artifact_file_count"],
        row["artifact_size_bytes"],
    )
