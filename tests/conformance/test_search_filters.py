"""Generated filters and orders find the same runs on MLflow's server and ours, or are refused by both."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.conformance.scenarios.search_runs import populate
from tests.conformance.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.mlflow_server import MlflowServer

EXAMPLES = int(os.environ.get("CONFORMANCE_EXAMPLES", "60"))

_SPACE = st.sampled_from(["", " ", "  "])
_NUMBERS = st.one_of(
    st.sampled_from(["0", "1", "-3.5", "1e0", ".5", "5.", "+1", "1E3", "0.0", "-0", "10"]),
    st.integers(-20, 20).map(str),
    st.floats(-10, 10, allow_nan=False).map(repr),
)
_TEXTS = st.sampled_from(
    [
        "0.1",
        "adam",
        "ADAM%",
        "%",
        "_",
        "a",
        "A",
        "b%",
        "it''s",
        "",
        "run 1",
        "run%",
        "RUNNING",
        "FINISHED",
        "x",
        "%a%",
        "adam_w",
        "1",
        "train",
    ]
)
_QUOTED = st.tuples(st.sampled_from("'\""), _TEXTS).map(lambda pair: f"{pair[0]}{pair[1]}{pair[0]}")
_LISTS = st.lists(_QUOTED, min_size=1, max_size=3).map(lambda items: f"({', '.join(items)})")
_METRICS = st.sampled_from(["metrics.m", "metric.n", "metrics.`m`", 'metrics."n"', "metrics.none"])
_WORDS = st.sampled_from(
    [
        "params.lr",
        "param.opt",
        "parameters.lr",
        "parameter.none",
        "params.`lr`",
        "tags.team",
        "tag.number",
        "tags.`with space`",
        'tags."with space"',
        "tags.odd.dotted.key",
        "tags.mlflow.runName",
    ]
)
_ATTRIBUTES = st.sampled_from(
    [
        "status",
        "attributes.status",
        "attr.run_name",
        "run.`run name`",
        "attribute.`Run Name`",
        "run_name",
        "user_id",
        "artifact_uri",
        "Status",
    ]
)
_TIMES = st.sampled_from(["start_time", "attributes.end_time", "created", "attribute.Created"])
_COMPARE = st.sampled_from(["=", "!=", ">", ">=", "<", "<="])
_MATCH = st.sampled_from(["=", "!=", " LIKE ", " ILIKE ", " like ", " iLike "])
_ANY = st.sampled_from(
    [
        "=",
        "!=",
        ">",
        ">=",
        "<",
        "<=",
        " LIKE ",
        " ILIKE ",
        " IN ",
        " NOT IN ",
        " IS ",
        " IS NOT ",
        " RLIKE ",
        "==",
    ]
)


def _clause(
    key: st.SearchStrategy[str], operator: st.SearchStrategy[str], value: st.SearchStrategy[str]
) -> st.SearchStrategy[str]:
    return st.tuples(key, _SPACE, operator, _SPACE, value).map("".join)


_RIGHT = st.one_of(
    _clause(_METRICS, _COMPARE, _NUMBERS),
    _clause(_WORDS, _MATCH, _QUOTED),
    _clause(_WORDS, st.just(""), st.sampled_from([" IS NULL", " IS NOT NULL", " is null", " Is Not Null"])),
    _clause(_ATTRIBUTES, _MATCH, _QUOTED),
    _clause(_TIMES, _COMPARE, st.integers(0, 10_000).map(str)),
    _clause(st.sampled_from(["dataset.name", "datasets.digest", "dataset.context"]), _MATCH, _QUOTED),
)
_ODD = _clause(
    st.one_of(_METRICS, _WORDS, _ATTRIBUTES, _TIMES),
    _ANY,
    st.one_of(_NUMBERS, _QUOTED, _LISTS, st.just("NULL")),
)
_FILTERS = st.lists(st.one_of(_RIGHT, _RIGHT, _RIGHT, _ODD), min_size=1, max_size=3).flatmap(
    lambda clauses: st.sampled_from([" AND ", " and ", "  AND  "]).map(lambda word: word.join(clauses))
)
_ORDERS = st.lists(
    st.tuples(
        st.one_of(_METRICS, _WORDS, _TIMES, st.just("run_name")),
        st.sampled_from(["", " ASC", " DESC", " desc"]),
    ).map("".join),
    max_size=2,
    unique_by=lambda item: item.split(" ")[0].strip('`"').lower().rpartition(".")[2],
)


@pytest.fixture(scope="module")
def both(
    mlflow_server: MlflowServer, mlflow_stack: Any, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[MlflowClient, str]]:
    """A client and the same experiment on each server."""
    folder: Path = tmp_path_factory.mktemp("filters")
    worlds = [World(url, "filters", folder) for url in (mlflow_server.url, mlflow_stack.gateway.url)]
    return [(world.client, populate(world)) for world in worlds]


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(text=_FILTERS, order=_ORDERS)
def test_the_same_runs_are_found(both: list[tuple[MlflowClient, str]], text: str, order: list[str]) -> None:
    theirs, ours = (_found(client, experiment_id, text, order) for client, experiment_id in both)
    # Where MLflow's server breaks (500), a refusal is right.
    assert ours == ("INVALID_PARAMETER_VALUE" if theirs == "INTERNAL_ERROR" else theirs)


def _found(client: MlflowClient, experiment_id: str, text: str, order: list[str]) -> list[str] | str:
    try:
        return [run.info.run_name for run in client.search_runs([experiment_id], text, order_by=order)]
    except MlflowException as error:
        code: str = error.error_code
        return code
