"""What searches read of a large registry: plans and rows, never time (C4)."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from runstream_common.database import driver_dsn
from runstream_common.search.planning import PLANNER_SETTINGS
from runstream_registry.entities import Stage
from runstream_registry.search.searches import Search, plan_models, plan_versions
from runstream_registry.store.model_queries import SELECT_LATEST_IDS
from sqlalchemy import Executable, Select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement

from services.registry.tests.models.support import Registry
from tests.support.postgres import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresServer

VERSIONS = 20_000
MODELS = 200
PAGE = 100
LARGE = VERSIONS // 2
"""Half of the versions belong to one model."""

LOAD = [
    f"""INSERT INTO registry.model (name, creation_time_ms, last_updated_time_ms)
    SELECT 'model-' || i, i, i FROM generate_series(1, {MODELS}) AS i""",
    f"""INSERT INTO registry.version (version_id, model_id, version, source, run_id, status, stage, artifact_uri,
        creation_time_ms, last_updated_time_ms)
    SELECT md5('version-' || i)::uuid, CASE WHEN i <= {LARGE} THEN 1 ELSE 2 + i % ({MODELS} - 1) END, i, 's3://m/' || i,
        md5('run-' || i), {Stage.STAGING:d}, 1 + i % 4, 's3://m/' || i, i, i
    FROM generate_series(1, {VERSIONS}) AS i""",
    f"""INSERT INTO registry.version_tag (version_id, key, value)
    SELECT md5('version-' || i)::uuid, key, key || i % size
    FROM generate_series(1, {VERSIONS}) AS i, (VALUES ('team', 20), ('rare', 4000)) AS tags (key, size)""",
    f"""INSERT INTO registry.model_tag (model_id, key, value)
    SELECT i, 'team', 't' || i % 50 FROM generate_series(1, {MODELS}) AS i""",
    "VACUUM (ANALYZE) registry.model",
    "VACUUM (ANALYZE) registry.version",
    "VACUUM (ANALYZE) registry.version_tag",
    "VACUUM (ANALYZE) registry.model_tag",
]


class Explain(Executable, ClauseElement):
    """EXPLAIN of a statement, run, as JSON."""

    inherit_cache = False

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement


@compiles(Explain)
def _explain(element: Explain, compiler: Any, **options: Any) -> str:
    return "EXPLAIN (ANALYZE, FORMAT JSON) " + compiler.process(element.statement, **options)


@dataclass(frozen=True)
class Plan:
    """A plan that was run."""

    root: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            waiting += node.get("Plans", [])
            yield node

    @property
    def read_whole(self) -> set[str]:
        """Tables that were read from end to end."""
        return {node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"}

    @property
    def indexes(self) -> set[str]:
        return {node["Index Name"] for node in self.nodes() if "Index Name" in node}

    @property
    def most_rows(self) -> float:
        """Rows that came out of the plan's busiest step."""
        return max(node["Actual Rows"] * node["Actual Loops"] for node in self.nodes())


async def run_plan(registry: Registry, statement: Select[Any]) -> Plan:
    async with registry.database.connect() as connection:
        await connection.execute(PLANNER_SETTINGS)
        found = (await connection.execute(Explain(statement))).scalar_one()
    return Plan((json.loads(found) if isinstance(found, str) else found)[0]["Plan"])


@pytest.fixture(scope="module")
def loaded_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A database with many versions, which the tests only read."""
    with (
        fresh_database(postgres_server, template=migrated_template) as url,
        ThreadPoolExecutor(max_workers=1) as thread,
    ):
        thread.submit(asyncio.run, _load(url)).result()
        yield url


async def _load(url: str) -> None:
    connection = await asyncpg.connect(driver_dsn(url))
    try:
        for statement in LOAD:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
def database_url(loaded_url: str) -> str:
    return loaded_url


@pytest.fixture
def large(registry: Registry) -> Registry:
    """A registry with many versions."""
    return registry


@pytest.mark.parametrize(
    ("filter_text", "order_by", "index", "most_rows"),
    [
        ("", [], "version_updated_idx", 2 * PAGE),
        ("name = 'model-7'", [], "version_model_updated_idx", PAGE),
        ("name = 'model-1'", [], "version_model_updated_idx", 2 * PAGE),
        ("name = 'model-1' AND version_number > 5", [], "version_model_updated_idx", 2 * PAGE),
        ("name = 'nowhere'", [], "version_model_updated_idx", 1),
        ("run_id = 'nowhere'", [], "version_run_idx", 1),
        ("source_path = 's3://m/77'", [], "version_source_idx", 1),
        ("tags.rare = 'rare7'", [], "version_tag_search_idx", 20),
        ("tags.rare = 'nowhere' AND name LIKE 'model%'", [], "version_tag_search_idx", 1),
        ("tags.team = 'team3'", ["creation_timestamp DESC"], "version_tag_search_idx", VERSIONS / 20),
    ],
)
async def test_versions_are_read_by_an_index_and_hardly_more_than_the_page(
    large: Registry, filter_text: str, order_by: list[str], index: str, most_rows: float
) -> None:
    query, _ = plan_versions(Search(filter_text, order_by), limit=PAGE)
    plan = await run_plan(large, query.page())

    assert plan.read_whole == set()
    assert index in plan.indexes
    # A group of equal times may be read a little beyond the page.
    assert plan.most_rows <= most_rows + PAGE / 10


async def test_the_second_page_costs_what_the_first_does(large: Registry) -> None:
    _, token = await large.use.searches.versions(Search(page_size=5_000))
    query, _ = plan_versions(Search(page_size=5_000, page_token=token), limit=PAGE)
    plan = await run_plan(large, query.page())

    assert plan.indexes >= {"version_updated_idx"}
    assert plan.most_rows <= 2 * PAGE + PAGE / 10


async def test_one_model_among_many_is_found_by_its_name(large: Registry) -> None:
    query, _ = plan_models(Search("name = 'model-7'"), limit=PAGE)
    plan = await run_plan(large, query.page())

    assert plan.indexes == {"model_name_key"}
    assert plan.most_rows == 1


async def test_latest_versions_cost_a_look_up_a_stage(large: Registry) -> None:
    async with large.database.driver() as connection:
        found = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {SELECT_LATEST_IDS}", [1, 2, 3])
    plan = Plan(json.loads(found)[0]["Plan"])

    assert plan.indexes == {"version_stage_idx"}
    assert plan.most_rows <= 3 * len(Stage)
