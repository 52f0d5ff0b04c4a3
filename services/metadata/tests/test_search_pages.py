"""Page tokens, hostile texts, experiments and bounds of searches, in PostgreSQL."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runstream_common.errors import InvalidArgument
from runstream_common.search.keyset import KeyAt
from runstream_common.search.page_tokens import encode_token
from runstream_common.search.problems import InvalidFilter, InvalidPageToken
from runstream_metadata.entities import ViewType
from runstream_metadata.search import (
    ExperimentSearch,
    RunPage,
    RunSearch,
    search_experiments,
    search_runs,
)
from runstream_metadata.search.searches import plan_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_common.database import Database


async def add_runs(
    database: Database, metrics: Sequence[float | None], *, first_start_ms: int = 0
) -> list[str]:
    """Runs in experiment 0, one a value of metric "m"; each starts a millisecond after the one before."""
    run_ids = [uuid4() for _ in metrics]
    async with database.connect() as connection:
        driver = await database.raw(connection)
        await driver.executemany(
            "INSERT INTO metadata.run (run_id, experiment_id, name, status, start_time_ms, artifact_uri)"
            " VALUES ($1, 0, 'r', 1, $2, '')",
            [(run_id, first_start_ms + index) for index, run_id in enumerate(run_ids)],
        )
        await driver.executemany(
            "INSERT INTO metadata.latest_metric (run_id, key, experiment_id, value, step, timestamp_ms)"
            " VALUES ($1, 'm', 0, $2, 0, 0)",
            [(run_id, value) for run_id, value in zip(run_ids, metrics, strict=True) if value is not None],
        )
    return [run_id.hex for run_id in run_ids]


async def find(database: Database, search: RunSearch) -> RunPage:
    async with database.connect() as connection:
        return await search_runs(connection, search)


BASE = RunSearch([0], "metrics.m > 0", ["metrics.m DESC"], page_size=2)


async def test_a_token_belongs_to_its_search_alone(database: Database) -> None:
    await add_runs(database, [1, 2, 3, 4])
    token = (await find(database, BASE)).next_page_token
    assert token
    for other in (
        {"filter_text": "metrics.m > 1"},
        {"order_by": ["metrics.m ASC"]},
        {"order_by": []},
        {"experiment_ids": [0, 1]},
        {"view_type": ViewType.ALL},
    ):
        with pytest.raises(InvalidPageToken, match="another search") as caught:
            await find(database, dataclasses.replace(BASE, page_token=token, **other))
        assert caught.value.reason == "INVALID_PAGE_TOKEN"
    page = await find(database, dataclasses.replace(BASE, page_token=token, page_size=50))
    assert len(page.run_ids) == 2


async def test_a_token_of_runs_is_none_of_experiments(database: Database) -> None:
    await add_runs(database, [1, 2, 3])
    token = (await find(database, RunSearch([0], page_size=1))).next_page_token
    async with database.connect() as connection:
        with pytest.raises(InvalidPageToken):
            await search_experiments(connection, ExperimentSearch(page_token=token))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: raw.hex()), st.integers(0, 80))
async def test_damaged_tokens_are_refused(database: Database, garbage: str, place: int) -> None:
    query, digest = plan_runs(BASE, limit=3)
    assert query.after is None
    good = encode_token(digest, (KeyAt(0, 1.5), KeyAt(0, 7), KeyAt(0, UUID(int=5))))
    assert (await find(database, dataclasses.replace(BASE, page_token=good))).run_ids == ()
    for token in (garbage, good[:place] + "A" + good[place:], good[: place % len(good)]):
        if token:
            with pytest.raises(InvalidPageToken):
                await find(database, dataclasses.replace(BASE, page_token=token))


@pytest.mark.parametrize(
    "position",
    [
        (KeyAt(0, 1.0), KeyAt(0, 7)),
        (KeyAt(0, "1.0"), KeyAt(0, 7), KeyAt(0, UUID(int=5))),
        (KeyAt(0, None), KeyAt(0, 7), KeyAt(0, UUID(int=5))),
        (KeyAt(3), KeyAt(0, 7), KeyAt(0, UUID(int=5))),
        (KeyAt(0, 1.0), KeyAt(2), KeyAt(0, UUID(int=5))),
        (KeyAt(0, 1.0), KeyAt(0, 2**63), KeyAt(0, UUID(int=5))),
        (KeyAt(0, 1.0), KeyAt(0, True), KeyAt(0, UUID(int=5))),
        (KeyAt(0, 1.0), KeyAt(0, 7), KeyAt(0, "5")),
    ],
)
async def test_forged_tokens_with_impossible_positions_are_refused(
    database: Database, position: tuple[KeyAt, ...]
) -> None:
    _, digest = plan_runs(BASE, limit=3)
    with pytest.raises(InvalidPageToken, match="damaged"):
        await find(database, dataclasses.replace(BASE, page_token=encode_token(digest, position)))


async def test_runs_that_come_between_pages_neither_repeat_nor_hide_others(database: Database) -> None:
    old = await add_runs(database, [None] * 5)
    first = await find(database, RunSearch([0], page_size=2))
    await add_runs(database, [None] * 3, first_start_ms=1_000)
    second = await find(database, RunSearch([0], page_size=2, page_token=first.next_page_token))
    third = await find(database, RunSearch([0], page_size=2, page_token=second.next_page_token))
    assert [*first.run_ids, *second.run_ids, *third.run_ids] == old[::-1]


async def test_nan_comes_after_numbers_and_before_missing_in_both_directions(database: Database) -> None:
    two, nan, none, top, one = await add_runs(database, [2.0, float("nan"), None, float("inf"), 1.0])
    ascending = await find(database, RunSearch([0], order_by=["metrics.m"]))
    assert list(ascending.run_ids) == [one, two, top, nan, none]
    descending = await find(database, RunSearch([0], order_by=["metrics.m DESC"]))
    assert list(descending.run_ids) == [top, two, one, nan, none]


HOSTILE = [
    "'; DROP TABLE metadata.run; --",
    "' OR '1'='1",
    "x' OR 1=1 --",
    "$1",
    "%(param_1)s",
    ":value",
    "{0}",
    "\\'; SELECT pg_sleep(10); --",
    '" OR ""="',
    "%",
]


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_texts_are_values_and_never_statements(database: Database, text: str) -> None:
    (run_id,) = await add_runs(database, [1.0])
    async with database.connect() as connection:
        driver = await database.raw(connection)
        await driver.execute(
            "INSERT INTO metadata.run_tag (run_id, key, value, experiment_id) VALUES ($1, $2, $3, 0)",
            UUID(run_id), text, text,
        )  # fmt: skip
    quoted = text.replace("'", "''")
    matching = f"tags.`{text}` = '{quoted}'"
    assert (await find(database, RunSearch([0], matching, [f"tags.`{text}` DESC"]))).run_ids == (run_id,)
    for missing in (
        f"params.`{text}` = '{quoted}'",
        f"attributes.run_name = '{quoted}'",
        f"run_id = '{quoted}'",
    ):
        assert (await find(database, RunSearch([0], missing))).run_ids == ()
    with pytest.raises(InvalidFilter):
        await find(database, RunSearch([0], f"metrics.m = {text}"))


@pytest.mark.parametrize("page_size", [-1, 50_001])
async def test_page_size_is_bounded(database: Database, page_size: int) -> None:
    with pytest.raises(InvalidArgument, match="page_size"):
        await find(database, RunSearch([0], page_size=page_size))


async def test_searches_of_no_and_of_unknown_experiments_find_nothing(database: Database) -> None:
    assert await find(database, RunSearch([])) == RunPage(())
    assert await find(database, RunSearch([10**18])) == RunPage(())
    with pytest.raises(InvalidArgument, match="more than 1000"):
        await find(database, RunSearch(range(1_001)))


async def test_the_longest_filter_is_answered(database: Database) -> None:
    await add_runs(database, [0.5, 1.5])
    clauses = [f"metrics.m < {index}" for index in range(1, 201)]
    assert len((await find(database, RunSearch([0], " AND ".join(clauses)))).run_ids) == 1
    assert len((await find(database, RunSearch([0], " OR ".join(clauses)))).run_ids) == 2


async def add_experiments(database: Database) -> None:
    rows = [(1, "b", 1, 5, 9), (2, "a", 1, 5, 8), (3, "B", 1, 7, 7), (4, "gone", 2, 1, 1)]
    async with database.connect() as connection:
        driver = await database.raw(connection)
        await driver.execute("DELETE FROM metadata.experiment")
        await driver.executemany(
            "INSERT INTO metadata.experiment (experiment_id, name, artifact_location, lifecycle_stage,"
            " creation_time_ms, last_update_time_ms) VALUES ($1, $2, '', $3, $4, $5)",
            rows,
        )
        await driver.executemany(
            "INSERT INTO metadata.experiment_tag (experiment_id, key, value) VALUES ($1, $2, $3)",
            [(1, "team", "x"), (2, "team", "Y"), (4, "team", "x")],
        )


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        (ExperimentSearch(), [3, 2, 1]),
        (ExperimentSearch(view_type=ViewType.ALL), [3, 2, 1, 4]),
        (ExperimentSearch(view_type=ViewType.DELETED_ONLY), [4]),
        (ExperimentSearch(order_by=["name"]), [3, 2, 1]),
        (ExperimentSearch(order_by=["creation_time"]), [2, 1, 3]),
        (ExperimentSearch(order_by=["last_update_time DESC"]), [1, 2, 3]),
        (ExperimentSearch(order_by=["experiment_id"]), [1, 2, 3]),
        (ExperimentSearch("name LIKE 'b%'"), [1]),
        (ExperimentSearch("attribute.name ILIKE 'b%'"), [3, 1]),
        (ExperimentSearch("tags.team != 'x'"), [2]),
        (ExperimentSearch("tags.team IS NULL"), [3]),
        (ExperimentSearch("tags.team IS NOT NULL"), [2, 1]),
        (ExperimentSearch("tags.team ILIKE 'y'"), [2]),
        (ExperimentSearch("experiment_id IN ('1', '3', '77')"), [3, 1]),
        (ExperimentSearch("experiment_id NOT IN ('1')"), [3, 2]),
        (ExperimentSearch("experiment_id != '3' AND creation_time >= 4.5"), [2, 1]),
        (ExperimentSearch("NOT (name = 'a' OR tags.team = 'x')"), [3]),
    ],
)
async def test_experiments_are_found_in_order_and_paged(
    database: Database, search: ExperimentSearch, expected: list[int]
) -> None:
    await add_experiments(database)
    found: list[int] = []
    search = dataclasses.replace(search, page_size=1)
    while True:
        async with database.connect() as connection:
            page = await search_experiments(connection, search)
        found += page.experiment_ids
        if not page.next_page_token:
            break
        search = dataclasses.replace(search, page_token=page.next_page_token)
    assert found == expected
