"""What searches read of a large experiment: plans and rows, never time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from runstream_common.search.planning import PLANNER_SETTINGS
from runstream_metadata.entities import ViewType
from runstream_metadata.search import RunSearch, search_runs
from runstream_metadata.search.searches import plan_runs
from runstream_metadata.store.search_queries import everything
from runstream_metadata.store.search_windows import phases
from sqlalchemy import Executable, Select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ClauseElement

from benchmarks import datasets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runstream_common.database import Database

RUNS = 20_000
PAGE = 100


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


async def run_plan(database: Database, statement: Select[Any]) -> Plan:
    async with database.connect() as connection:
        await connection.execute(PLANNER_SETTINGS)
        found = (await connection.execute(Explain(statement))).scalar_one()
    return Plan((json.loads(found) if isinstance(found, str) else found)[0]["Plan"])


@pytest.fixture
async def experiments(database: Database) -> list[int]:
    """Two large experiments; metrics of the second are NaN or missing for some runs."""
    async with database.driver() as driver:
        return [
            await datasets.load_search_experiment(driver, RUNS),
            await datasets.load_search_experiment(driver, RUNS, absent_one_in=8),
        ]


METRIC_ORDER = ["metrics.accuracy DESC"]


async def test_pages_in_the_order_of_an_index_cost_the_page_and_not_the_experiment(
    database: Database, experiments: list[int]
) -> None:
    first, both = experiments[:1], experiments
    searches = [
        (RunSearch(first, "metrics.loss < 0.5", METRIC_ORDER), "latest_metric_search_idx"),
        (RunSearch(first, "", ["metrics.accuracy"]), "latest_metric_search_idx"),
        (RunSearch(first, "params.optimizer != 'v1'", METRIC_ORDER), "latest_metric_search_idx"),
        (
            RunSearch(first, "metrics.loss < 0.5 OR NOT tags.team = 'v1'", METRIC_ORDER),
            "latest_metric_search_idx",
        ),
        (RunSearch(first, "", [*METRIC_ORDER, "params.layers"]), "latest_metric_search_idx"),
        (RunSearch(both, "metrics.loss < 0.5", METRIC_ORDER), "latest_metric_search_idx"),
        (RunSearch(first, "", METRIC_ORDER, ViewType.ALL), "latest_metric_search_idx"),
        (RunSearch(first), "run_experiment_idx"),
        (RunSearch(first, "metrics.loss < 0.5"), "run_experiment_idx"),
        (RunSearch(first, "", ["start_time"]), "run_experiment_idx"),
        (RunSearch(both), "run_experiment_idx"),
        (RunSearch(first, "", (), ViewType.ALL), "run_experiment_idx"),
        (RunSearch(first, "", ["metrics.unknown"]), "run_experiment_idx"),
    ]
    for search, index in searches:
        token = ""
        for _ in range(2):
            asked = RunSearch(
                search.experiment_ids, search.filter_text, search.order_by, search.view_type, PAGE, token
            )
            query, _ = plan_runs(asked, limit=PAGE + 1)
            # Of an unknown metric only the last phase has runs.
            phase = list(phases(query).parts)[-1 if "unknown" in str(search.order_by) else 0]
            plan = await run_plan(database, phase.page(query.limit))
            assert plan.read_whole == set(), search
            assert index in plan.indexes, search
            assert plan.root["Actual Rows"] == PAGE + 1, search
            assert plan.most_rows <= phase.size, search
            async with database.connect() as connection:
                token = (await search_runs(connection, asked)).next_page_token


async def test_rare_filters_are_found_by_their_index_when_the_window_holds_too_few(
    database: Database, experiments: list[int]
) -> None:
    for filter_text, index in [
        ("metrics.loss < 0.001", "latest_metric_search_idx"),
        ("metrics.loss < 0.001 AND params.optimizer = 'v7'", "latest_metric_search_idx"),
        ("params.optimizer = 'nowhere'", "run_param_search_idx"),
        ("tags.team = 'nowhere'", "run_tag_search_idx"),
        ("params.missing LIKE '%x%'", "run_param_search_idx"),
    ]:
        query, _ = plan_runs(RunSearch(experiments[:1], filter_text, METRIC_ORDER), limit=PAGE + 1)
        plan = await run_plan(database, everything(query)[0])
        assert plan.read_whole == set(), filter_text
        assert index in plan.indexes, filter_text
        assert plan.most_rows <= RUNS / 100, filter_text


async def test_all_pages_of_a_large_experiment_hold_every_run_once(
    database: Database, experiments: list[int]
) -> None:
    seen: list[str] = []
    token = ""
    while True:
        async with database.connect() as connection:
            search = RunSearch(experiments[1:], "", METRIC_ORDER, page_size=900, page_token=token)
            page = await search_runs(connection, search)
        seen += page.run_ids
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == len(set(seen)) == RUNS
