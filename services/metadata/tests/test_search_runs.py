"""Searches of runs in PostgreSQL against a plain model of the rules (MLflow's, see docs/search.md)."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runstream_common.database import Database
from runstream_common.search.syntax import (
    And,
    Comparison,
    Entity,
    Expression,
    Field,
    Membership,
    Not,
    NullCheck,
    Operator,
    Or,
    to_text,
)
from runstream_metadata.entities import RunStatus, ViewType
from runstream_metadata.search import RunSearch, search_runs
from runstream_metadata.store import search_windows

FUNCTIONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class ModelRun:
    """A run as the model sees it; ``experiment`` is 0 or 1 in the search's scope, 2 outside of it."""

    run_id: UUID
    experiment: int
    stage: int
    start_time: int
    end_time: int | None
    run_name: str
    user_id: str
    status: RunStatus
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: tuple[tuple[str, str, str | None], ...] = ()

    def values(self, item: Field) -> list[Any]:
        """What the field holds: nothing when it is missing, several values for datasets."""
        match item.entity:
            case Entity.METRIC:
                found = [self.metrics.get(item.key)]
            case Entity.PARAM:
                found = [self.params.get(item.key)]
            case Entity.TAG:
                found = [self.tags.get(item.key)]
            case Entity.DATASET:
                place = ("name", "digest", "context").index(item.key)
                found = [dataset[place] for dataset in self.datasets]
            case Entity.ATTRIBUTE:
                special = {"run_id": self.run_id.hex, "status": self.status.name, "artifact_uri": "uri"}
                found = [special.get(item.key, getattr(self, item.key, None))]
        return [value for value in found if value is not None]


def like(value: str, pattern: str) -> bool:
    if not pattern:
        return not value
    first, rest = pattern[0], pattern[1:]
    if first == "%":
        return any(like(value[start:], rest) for start in range(len(value) + 1))
    if first == "\\" and rest and rest[0] in "%_\\":
        return value[:1] == rest[0] and like(value[1:], rest[1:])
    return bool(value) and first in ("_", value[0]) and like(value[1:], rest)


def ilike(value: str, pattern: str) -> bool:
    return like(value.lower(), pattern.lower())


def holds(expression: Expression, run: ModelRun) -> bool:
    match expression:
        case And():
            return all(holds(operand, run) for operand in expression.operands)
        case Or():
            return any(holds(operand, run) for operand in expression.operands)
        case Not():
            return not holds(expression.operand, run)
        case NullCheck():
            return bool(run.values(expression.field)) == expression.negated
        case Membership():
            return any(
                (value in expression.values) != expression.negated for value in run.values(expression.field)
            )
        case Comparison():
            compare = FUNCTIONS.get(expression.operator) or (like if expression.operator == "LIKE" else ilike)
            return any(compare(value, expression.value) for value in run.values(expression.field))


def ordered(runs: Sequence[ModelRun], order: Sequence[tuple[Field, bool]]) -> list[ModelRun]:
    """Sorts by the last key first: every sort keeps the order of equals."""
    result = sorted(runs, key=lambda run: run.run_id.hex)
    result.sort(key=lambda run: run.start_time, reverse=True)
    for item, descending in reversed(order):
        values = {run.run_id: next(iter(run.values(item)), None) for run in result}
        missing = [run for run in result if values[run.run_id] is None]
        nans = [run for run in result if values[run.run_id] != values[run.run_id]]
        present = [run for run in result if run not in missing and run not in nans]
        present.sort(key=lambda run: values[run.run_id], reverse=descending)
        result = [*present, *nans, *missing]
    return result


METRIC_KEYS, TEXT_KEYS = ("a", "b c"), ("p", "q/r")
VALUES = [
    "",
    "a",
    "A",
    "aa",
    "b",
    "10",
    "2",
    "é",
    "É",
    "a%",
    "a_b",
    "\\",
    "it's",
    '"',
    "z" * 300,
    "z" * 299 + "y",
]
PATTERNS = [*VALUES, "%", "_", "a%", "%A%", "\\%", "a\\_b", "\\\\", "z%y", "É"]
NUMBERS = [-1.0, 0.0, 0.5, 1.0, 2.0, math.inf, -math.inf, math.nan, 1e-300]

texts = st.sampled_from(VALUES)
model_runs = st.builds(
    ModelRun,
    run_id=st.uuids(version=4),
    experiment=st.sampled_from([0, 0, 1, 2]),
    stage=st.sampled_from([1, 1, 1, 2]),
    start_time=st.integers(0, 3),
    end_time=st.none() | st.integers(0, 2),
    run_name=texts,
    user_id=texts,
    status=st.sampled_from(RunStatus),
    metrics=st.dictionaries(st.sampled_from(METRIC_KEYS), st.sampled_from(NUMBERS)),
    params=st.dictionaries(st.sampled_from(TEXT_KEYS), texts),
    tags=st.dictionaries(st.sampled_from(TEXT_KEYS), texts),
    datasets=st.lists(
        st.tuples(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), st.none() | st.sampled_from(["train", "x"])),
        max_size=2,
        unique_by=lambda dataset: dataset[:2],
    ).map(tuple),
)  # fmt: skip

metric_fields = st.builds(Field, st.just(Entity.METRIC), st.sampled_from([*METRIC_KEYS, "none"]))
text_fields = st.builds(
    Field, st.sampled_from([Entity.PARAM, Entity.TAG]), st.sampled_from([*TEXT_KEYS, "none"])
)
text_attributes = st.builds(
    Field, st.just(Entity.ATTRIBUTE), st.sampled_from(["run_name", "user_id", "artifact_uri"])
)
times = st.builds(Field, st.just(Entity.ATTRIBUTE), st.sampled_from(["start_time", "end_time"]))
status = st.just(Field(Entity.ATTRIBUTE, "status"))
run_ids = st.just(Field(Entity.ATTRIBUTE, "run_id"))
dataset_fields = st.builds(Field, st.just(Entity.DATASET), st.sampled_from(["name", "digest", "context"]))
numeric = st.sampled_from([Operator(symbol) for symbol in ("=", "!=", "<", "<=", ">", ">=")])
equality = st.sampled_from([Operator.EQUAL, Operator.NOT_EQUAL])
patterned = st.sampled_from([Operator.LIKE, Operator.ILIKE])
finite = st.sampled_from([number for number in NUMBERS if math.isfinite(number)])
names = st.sampled_from(["x", "1", "2", "train", "FAILED", "F%", "f%", "%", "KILLED", "0" * 32, "nothing"])
run_id_texts = st.sampled_from(["0" * 32, "not an id", "%a%", "A%"]) | st.uuids(version=4).map(
    lambda u: u.hex
)
name_lists = st.lists(names, min_size=1, max_size=3).map(tuple)

clauses: st.SearchStrategy[Expression] = st.one_of(
    st.builds(Comparison, metric_fields, numeric, finite),
    st.builds(Comparison, times, numeric, st.integers(-1, 3) | st.sampled_from([0.5, 1e30, -(10**25), 2.0])),
    st.builds(Comparison, text_fields | text_attributes, equality, texts),
    st.builds(Comparison, text_fields | text_attributes, patterned, st.sampled_from(PATTERNS)),
    st.builds(Comparison, status | dataset_fields, equality | patterned, names),
    st.builds(Comparison, run_ids, equality | patterned, run_id_texts),
    st.builds(NullCheck, text_fields, st.booleans()),
    st.builds(Membership, dataset_fields | run_ids, name_lists, st.booleans()),
)
expressions = st.recursive(
    clauses,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)
orders = st.lists(
    st.tuples(metric_fields | text_fields | times | text_attributes | status | run_ids, st.booleans()),
    max_size=3,
    unique_by=lambda term: term[0],
)
in_database = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)  # fmt: skip


@dataclass
class Store:
    """Writes model runs straight into the tables, in place of those from before."""

    database: Database

    async def load(self, runs: Sequence[ModelRun]) -> list[int]:
        async with self.database.transaction() as session:
            driver = await self.database.raw(session)
            for table in ("run_input", "dataset", "latest_metric", "run_param", "run_tag", "run"):
                await driver.execute(f"DELETE FROM metadata.{table}")
            experiment_ids = [await self._experiment(driver) for _ in range(3)]
            home = {run.run_id: experiment_ids[run.experiment] for run in runs}
            await driver.executemany(
                "INSERT INTO metadata.run (run_id, experiment_id, name, user_id, status, start_time_ms, end_time_ms,"
                " artifact_uri, lifecycle_stage) VALUES ($1, $2, $3, $4, $5, $6, $7, 'uri', $8)",
                [
                    (
                        r.run_id,
                        home[r.run_id],
                        r.run_name,
                        r.user_id,
                        r.status,
                        r.start_time,
                        r.end_time,
                        r.stage,
                    )
                    for r in runs
                ],
            )
            await driver.executemany(
                "INSERT INTO metadata.latest_metric (run_id, key, experiment_id, value, step, timestamp_ms)"
                " VALUES ($1, $2, $3, $4, 0, 0)",
                [(r.run_id, key, home[r.run_id], value) for r in runs for key, value in r.metrics.items()],
            )
            for table, kind in (("run_param", "params"), ("run_tag", "tags")):
                await driver.executemany(
                    f"INSERT INTO metadata.{table} (run_id, key, value, experiment_id) VALUES ($1, $2, $3, $4)",
                    [(r.run_id, k, v, home[r.run_id]) for r in runs for k, v in getattr(r, kind).items()],
                )
            for run in runs:
                for name, digest, context in run.datasets:
                    await self._link(driver, run.run_id, home[run.run_id], name, digest, context)
        return experiment_ids

    async def search(self, search: RunSearch) -> list[list[str]]:
        """All pages."""
        pages = []
        while True:
            async with self.database.connect() as connection:
                page = await search_runs(connection, search)
            pages.append(list(page.run_ids))
            if not page.next_page_token:
                return pages
            search = RunSearch(
                search.experiment_ids,
                search.filter_text,
                search.order_by,
                search.view_type,
                search.page_size,
                page.next_page_token,
            )

    @staticmethod
    async def _experiment(driver: Any) -> int:
        experiment_id: int = await driver.fetchval(
            "INSERT INTO metadata.experiment (name, artifact_location, creation_time_ms, last_update_time_ms)"
            " VALUES ($1, '', 0, 0) RETURNING experiment_id",
            uuid4().hex,
        )
        return experiment_id

    @staticmethod
    async def _link(
        driver: Any, run_id: UUID, experiment_id: int, name: str, digest: str, context: str | None
    ) -> None:
        await driver.execute(
            "WITH d AS (INSERT INTO metadata.dataset (experiment_id, name, digest, source_type, source)"
            " VALUES ($2, $3, $4, '', '') ON CONFLICT (experiment_id, name, digest) DO UPDATE SET source = ''"
            " RETURNING dataset_id) INSERT INTO metadata.run_input (run_id, dataset_id, tags)"
            " SELECT $1, dataset_id, $5::jsonb FROM d",
            run_id, experiment_id, name, digest, json.dumps({"mlflow.data.context": context} if context else {}),
        )  # fmt: skip


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


def order_text(order: Sequence[tuple[Field, bool]]) -> list[str]:
    return [f"{item.entity}.`{item.key}` {'DESC' if descending else 'ASC'}" for item, descending in order]


@in_database
@given(
    runs=st.lists(model_runs, max_size=14, unique_by=lambda run: run.run_id),
    expression=st.none() | expressions,
    order=orders,
    view_type=st.sampled_from(ViewType),
    page_size=st.integers(1, 6),
    window=st.sampled_from([1, 2, 2_000]),
    both=st.booleans(),
)
async def test_pages_hold_what_the_rules_say_in_their_order(
    store: Store,
    runs: list[ModelRun],
    expression: Expression | None,
    order: list[tuple[Field, bool]],
    view_type: ViewType,
    page_size: int,
    window: int,
    both: bool,
) -> None:
    experiment_ids = await store.load(runs)
    searched = (0, 1) if both else (0,)
    stages = {ViewType.ACTIVE_ONLY: (1,), ViewType.DELETED_ONLY: (2,), ViewType.ALL: (1, 2)}[view_type]
    visible = [run for run in runs if run.experiment in searched and run.stage in stages]
    matching = [run for run in visible if expression is None or holds(expression, run)]
    search = RunSearch(
        [experiment_ids[index] for index in searched],
        "" if expression is None else to_text(expression),
        order_text(order),
        view_type,
        page_size,
    )
    with pytest.MonkeyPatch.context() as patch:
        # Small windows run dry, so that every way to a page is taken.
        patch.setattr(search_windows, "MIN_WINDOW", window)
        patch.setattr(search_windows, "WINDOW_PER_RESULT", 1)
        pages = await store.search(search)
    assert [run_id for page in pages for run_id in page] == [
        run.run_id.hex for run in ordered(matching, order)
    ]
    assert all(len(page) == page_size for page, _ in pairwise(pages))


@in_database
@given(
    runs=st.lists(model_runs, min_size=4, max_size=10, unique_by=lambda run: run.run_id),
    first=expressions,
    second=expressions,
)
async def test_not_is_the_complement_and_de_morgan_holds_with_missing_keys(
    store: Store, runs: list[ModelRun], first: Expression, second: Expression
) -> None:
    experiment_ids = await store.load(runs)

    async def found(expression: Expression) -> set[str]:
        pages = await store.search(RunSearch(experiment_ids, to_text(expression), view_type=ViewType.ALL))
        return {run_id for page in pages for run_id in page}

    everything = {run.run_id.hex for run in runs}
    assert await found(Not(first)) == everything - await found(first)
    assert await found(Not(And((first, second)))) == await found(Or((Not(first), Not(second))))
    assert await found(Not(Or((first, second)))) == await found(And((Not(first), Not(second))))
