"""What listings read of large trees: plans and rows, never time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from runstream_artifact.paths import below
from runstream_artifact.store.file_queries import SELECT_ALL_BELOW, SELECT_ENTRIES

from services.artifact.tests.support import run_owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runstream_proto.artifact.v1 import types_pb2 as types

    from services.artifact.tests.support import Door

# One directory of 10,000 files, and 300 directories of 200 files each.
LOAD = """
WITH tree AS (INSERT INTO artifact.tree (owner_kind, owner_id) VALUES (1, $1) RETURNING tree_id),
     blob AS (INSERT INTO artifact.blob VALUES ($2, 1, 'key', 0) RETURNING digest),
     path AS (
        SELECT 'flat/' || to_char(n, 'FM00000') AS path FROM generate_series(1, 10000) AS n
        UNION ALL
        SELECT 'deep/' || to_char(d, 'FM000') || '/' || to_char(n, 'FM000')
        FROM generate_series(1, 300) AS d, generate_series(1, 200) AS n
     )
INSERT INTO artifact.file SELECT tree_id, path, digest, 1, 'text/plain', 0 FROM tree, blob, path
RETURNING tree_id
"""


@pytest.fixture
async def large(local_door: Door) -> tuple[types.Owner, int]:
    owner = run_owner()
    async with local_door.parts.database.driver() as connection:
        tree_id = await connection.fetchval(LOAD, owner.id, bytes(32))
        await connection.execute("ANALYZE artifact.file")
    return owner, tree_id


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    waiting = [plan]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        yield node


async def explained(door: Door, statement: str, *arguments: object) -> list[dict[str, Any]]:
    async with door.parts.database.driver() as connection:
        found = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments)
    return list(nodes(json.loads(found)[0]["Plan"]))


@pytest.mark.parametrize(
    ("directory", "entries"), [("", 2), ("deep", 101), ("flat", 101)], ids=["root", "deep", "flat"]
)
async def test_a_page_of_a_directory_costs_its_entries_and_not_what_lies_below(
    local_door: Door, large: tuple[types.Owner, int], directory: str, entries: int
) -> None:
    first, end = below(directory)
    plan = await explained(local_door, SELECT_ENTRIES, large[1], first, end, len(first) + 1, 101)

    assert {node["Node Type"] for node in plan}.isdisjoint({"Sort", "Seq Scan", "Incremental Sort"})
    scans = [node for node in plan if node.get("Index Name") == "file_pkey"]
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in scans) <= entries + 1


async def test_a_page_of_everything_below_costs_the_page(
    local_door: Door, large: tuple[types.Owner, int]
) -> None:
    plan = await explained(local_door, SELECT_ALL_BELOW, large[1], *below("deep"), 101)

    assert {node["Node Type"] for node in plan}.isdisjoint({"Sort", "Seq Scan", "Incremental Sort"})
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in plan) <= 101


async def test_a_directory_of_ten_thousand_files_lists_whole(
    local_door: Door, large: tuple[types.Owner, int]
) -> None:
    owner, _ = large
    assert len(await local_door.paths(owner, "flat", recursive=False)) == 10_000
    assert await local_door.paths(owner, recursive=False) == ["deep", "flat"]
    assert len(await local_door.paths(owner, "deep", recursive=False)) == 300
