"""The filter grammar: MLflow's, with OR, NOT and parentheses. Needs no database."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from runstream_common.errors import InvalidArgument
from runstream_common.search.lexer import MAX_TEXT_LENGTH
from runstream_common.search.ordering import MAX_ORDER_TERMS, OrderTerm, parse_order_by
from runstream_common.search.parser import MAX_CLAUSES, MAX_DEPTH, MAX_LIST_LENGTH, parse_filter
from runstream_common.search.problems import InvalidFilter, InvalidOrderBy
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
from runstream_metadata.search.fields import EXPERIMENT_FIELDS, RUN_FIELDS


def run_filter(text: str, *, mlflow_strict: bool = False) -> Expression | None:
    return parse_filter(text, RUN_FIELDS, mlflow_strict=mlflow_strict)


def metric(key: str, operator: str, value: float) -> Comparison:
    return Comparison(Field(Entity.METRIC, key), Operator(operator), value)


def param(key: str, operator: str, value: str) -> Comparison:
    return Comparison(Field(Entity.PARAM, key), Operator(operator), value)


def attribute(key: str, operator: str, value: str | float) -> Comparison:
    return Comparison(Field(Entity.ATTRIBUTE, key), Operator(operator), value)


# What MLflow 3.17's own parser accepts, and what it makes of it.
MLFLOW_FILTERS = [
    ("metrics.loss < 0.5", metric("loss", "<", 0.5)),
    ("metric.loss>=-.5", metric("loss", ">=", -0.5)),
    ("metrics.a = 5.", metric("a", "=", 5.0)),
    ("metrics.`a b` = -1e3", metric("a b", "=", -1000.0)),
    ('metrics."a/b" = .5', metric("a/b", "=", 0.5)),
    ("`metrics`.`a`=1", metric("a", "=", 1)),
    ("metrics.a.b.c > 1", metric("a.b.c", ">", 1)),
    ("metrics.1a > 1", metric("1a", ">", 1)),
    ("metrics.é = 1", metric("é", "=", 1)),
    ("metrics.order > 1", metric("order", ">", 1)),
    ("params.and = 'x'", param("and", "=", "x")),
    ('params.a = "it\'s"', param("a", "=", "it's")),
    ("parameter.a like 'x%'", param("a", "LIKE", "x%")),
    ("params.a=\n'x'\tAND\n", param("a", "=", "x")),
    ("run.status='x'", attribute("status", "=", "x")),
    ("attr.Created > 5", attribute("start_time", ">", 5)),
    ("start_time > 1e3", attribute("start_time", ">", 1000.0)),
    ("`run name` = 'x'", attribute("run_name", "=", "x")),
    ("\"Run Name\"='x'", attribute("run_name", "=", "x")),
    ("attributes.`Run name`='x'", attribute("run_name", "=", "x")),
    ("tags.mlflow.user IS NULL", NullCheck(Field(Entity.TAG, "mlflow.user"))),
    ("tag.x is not null", NullCheck(Field(Entity.TAG, "x"), negated=True)),
    ("run_id IN ('a', \"b\")", Membership(Field(Entity.ATTRIBUTE, "run_id"), ("a", "b"))),
    ("run_id IN ('a',)", Membership(Field(Entity.ATTRIBUTE, "run_id"), ("a",))),
    ("dataset.name not in ('a')", Membership(Field(Entity.DATASET, "name"), ("a",), negated=True)),
    (
        "params.a != 'x' aNd params.b ILIKE '%x' AND",
        And((param("a", "!=", "x"), param("b", "ILIKE", "%x"))),
    ),
]


@pytest.mark.parametrize("mlflow_strict", [False, True])
@pytest.mark.parametrize(("text", "expected"), MLFLOW_FILTERS)
def test_reads_what_mlflow_reads(text: str, expected: Expression, mlflow_strict: bool) -> None:
    assert run_filter(text, mlflow_strict=mlflow_strict) == expected


# Where MLflow 3.17 answers 400 (its parser or its field tables).
REFUSED = [
    ("   ", 0),
    ("params.a = 'x' ;", 15),
    ("0.5 < metrics.a", 0),
    ("metrics.a <> 1", 11),
    ("metrics.a == 1", 11),
    ("metrics.a = '1'", 12),
    ("metrics.a = nan", 12),
    ("metrics.a = +5", 12),
    ("metrics.a = 1_000", 12),
    ("metrics.a > 1AND metrics.b>1", 12),
    ("metrics.a-b<1", 9),
    ("metrics . a > 1", 8),
    ("metrics.a IS NULL", 10),
    ("metrics.a LIKE 'x'", 10),
    ("params.a = 1", 11),
    ("params.a = `x`", 11),
    ("params.a > 'x'", 9),
    ("params.a IN ('x')", 9),
    ("params.a NOT LIKE 'x'", 13),
    ("params.a = 'x", 11),
    ("params.a = 'x' -- comment", 15),
    ("params.a =", 10),
    ("params.a", 8),
    ("run name = 'x'", 0),
    ("run_id IN ()", 11),
    ("run_id IN ('a' 'b')", 15),
    ("status IN ('RUNNING')", 7),
    ("STATUS = 'RUNNING'", 0),
    ("name = 'x'", 0),
    ("lifecycle_stage = 'active'", 0),
    ("dataset.source = 'x'", 0),
    ("dataset.name IS NULL", 13),
    ("model.x = '1'", 0),
    ("start_time = 'x'", 13),
    ("end_time IS NULL", 9),
]


@pytest.mark.parametrize("mlflow_strict", [False, True])
@pytest.mark.parametrize(("text", "position"), REFUSED)
def test_says_where_a_filter_is_wrong(text: str, position: int, mlflow_strict: bool) -> None:
    with pytest.raises(InvalidFilter) as caught:
        run_filter(text, mlflow_strict=mlflow_strict)
    assert caught.value.reason == "INVALID_FILTER"
    assert caught.value.position == position
    assert [violation.field for violation in caught.value.violations] == ["filter"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("metrics.val-loss < 1", "back-ticks"),
        ("metrics.a = '1'", "expected a number, found '1'"),
        ("metrics.a LIKE 'x'", "only !=, <, <=, =, >, >="),
        ("STATUS = 'x'", "they have run_id, run_name"),
        ("params.a NOT LIKE 'x'", "expected IN after NOT"),
        ("params.a = 'x", "does not end"),
        ("metrics.a = 1e999", "too large"),
    ],
)
def test_says_what_would_be_right(text: str, hint: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        run_filter(text)
    assert hint in caught.value.message


def test_empty_filter_matches_everything() -> None:
    assert run_filter("") is None


A, B, C = (metric(key, "=", 1) for key in "abc")
TEXT_A, TEXT_B, TEXT_C = ("metrics.a = 1", "metrics.b = 1", "metrics.c = 1")

OWN_FILTERS = [
    (f"{TEXT_A} OR {TEXT_B} AND {TEXT_C}", Or((A, And((B, C))))),
    (f"{TEXT_A} AND {TEXT_B} OR {TEXT_C}", Or((And((A, B)), C))),
    (f"NOT {TEXT_A} AND {TEXT_B}", And((Not(A), B))),
    (f"not ({TEXT_A} or {TEXT_B})", Not(Or((A, B)))),
    (f"NOT NOT {TEXT_A}", Not(Not(A))),
    (f"({TEXT_A} OR {TEXT_B}) AND {TEXT_C} AND", And((Or((A, B)), C))),
    (f"(({TEXT_A}))", A),
]


@pytest.mark.parametrize(("text", "expected"), OWN_FILTERS)
def test_not_binds_closer_than_and_and_that_closer_than_or(text: str, expected: Expression) -> None:
    assert run_filter(text) == expected


@pytest.mark.parametrize("text", [text for text, _ in OWN_FILTERS])
def test_strict_mode_refuses_what_mlflow_lacks(text: str) -> None:
    with pytest.raises(InvalidFilter, match=r"Invalid clause\(s\) in filter string"):
        run_filter(text, mlflow_strict=True)


@pytest.mark.parametrize(
    "text", [f"({TEXT_A} AND)", f"({TEXT_A}", f"{TEXT_A})", "()", "NOT", f"{TEXT_A} OR", f"AND {TEXT_A}"]
)
def test_refuses_broken_combinations(text: str) -> None:
    with pytest.raises(InvalidFilter):
        run_filter(text)


def test_doubled_quote_is_one_quote_except_in_strict_mode() -> None:
    assert run_filter("params.a = 'it''s'") == param("a", "=", "it's")
    assert run_filter("params.a = 'it''s'", mlflow_strict=True) == param("a", "=", "it''s")
    assert run_filter(r"params.a = 'C:\'") == param("a", "=", "C:\\")


@pytest.mark.parametrize(
    ("fits", "too_much"),
    [
        ("(" * MAX_DEPTH + TEXT_A + ")" * MAX_DEPTH, "(" * 33 + TEXT_A + ")" * 33),
        ("NOT " * MAX_DEPTH + TEXT_A, "NOT " * 10_000 + TEXT_A),
        (" AND ".join([TEXT_A] * MAX_CLAUSES), " OR ".join([TEXT_A] * (MAX_CLAUSES + 1))),
        ("run_id IN (" + ",".join(["'x'"] * MAX_LIST_LENGTH) + ")",
         "run_id IN (" + ",".join(["'x'"] * (MAX_LIST_LENGTH + 1)) + ")"),
        ("params.a = '" + "x" * (MAX_TEXT_LENGTH - 13) + "'", "params.a = '" + "x" * MAX_TEXT_LENGTH + "'"),
    ],
)  # fmt: skip
def test_bounds_what_a_filter_may_cost(fits: str, too_much: str) -> None:
    assert run_filter(fits) is not None
    with pytest.raises(InvalidFilter):
        run_filter(too_much)


def test_refuses_characters_that_the_database_cannot_hold() -> None:
    for character in ("\0", "\ud800"):
        with pytest.raises(InvalidFilter, match="not allowed"):
            run_filter(f"params.a = 'x{character}'")


keys = st.text(st.characters(exclude_characters="`\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
numbers = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
numeric_operators = st.sampled_from([Operator(symbol) for symbol in ("=", "!=", "<", "<=", ">", ">=")])
text_operators = st.sampled_from([Operator(symbol) for symbol in ("=", "!=", "LIKE", "ILIKE")])
text_entities = st.sampled_from([Entity.PARAM, Entity.TAG])
clauses: st.SearchStrategy[Expression] = st.one_of(
    st.builds(Comparison, st.builds(Field, st.just(Entity.METRIC), keys), numeric_operators, numbers),
    st.builds(Comparison, st.builds(Field, text_entities, keys), text_operators, texts),
    st.builds(NullCheck, st.builds(Field, text_entities, keys), st.booleans()),
    st.builds(
        Membership,
        st.builds(Field, st.just(Entity.DATASET), st.sampled_from(["name", "digest", "context"])),
        st.lists(texts, min_size=1, max_size=3).map(tuple),
        st.booleans(),
    ),
)
expressions = st.recursive(
    clauses,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@given(expressions)
def test_text_of_a_tree_parses_to_the_same_tree(expression: Expression) -> None:
    assert run_filter(to_text(expression)) == expression


words = st.sampled_from(
    [
        "metrics.a",
        "params.`b\tc`",
        'tags."d"',
        "run_id",
        "status",
        "dataset.name",
        "AND",
        "or",
        "NOT",
        "IN",
        "IS",
        "NULL",
        "LIKE",
        "(",
        ")",
        ",",
        "=",
        "<",
        "!=",
        "'x'",
        '"y"',
        "1",
        "-2.5e3",
        "`",
        "'",
        ";",
        "--",
        "\\",
        "''",
    ]
)


@given(st.text(max_size=60) | st.lists(words, max_size=14).map(" ".join), st.booleans())
@example("metrics.a = " + "9" * 5000, False)
@example("metrics.a = ٣", False)
@example("'" * 9999, True)
@example("\\'" * 5000, True)
def test_any_text_is_a_filter_or_is_refused_with_a_position(text: str, mlflow_strict: bool) -> None:
    for fields in (RUN_FIELDS, EXPERIMENT_FIELDS):
        try:
            parse_filter(text, fields, mlflow_strict=mlflow_strict)
        except InvalidFilter as error:
            assert 0 <= error.position <= len(text)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("name LIKE 'a%'", True),
        ("attribute.name = 'a'", True),
        ("attributes.experiment_id IN ('1', '2')", True),
        ("experiment_id != '7'", True),
        ("creation_time > 1.5 AND last_update_time <= 5", True),
        ("tags.`a` IS NULL", True),
        ("experiment_id = '1a'", False),
        ("experiment_id = '99999999999999999999'", False),
        ("experiment_id = 1", False),
        ("experiment_id LIKE '1'", False),
        ("name IN ('a')", False),
        ("name IS NULL", False),
        ("metrics.a = 1", False),
        ("run.name = 'a'", False),
    ],
)
def test_experiments_have_their_own_fields(text: str, fits: bool) -> None:
    if fits:
        assert parse_filter(text, EXPERIMENT_FIELDS) is not None
    else:
        with pytest.raises(InvalidFilter):
            parse_filter(text, EXPERIMENT_FIELDS)


def test_order_by_reads_fields_and_directions() -> None:
    items = ["metrics.`a b` desc", "Created", "params.x ASC", '"run_name" DESC', "metrics.desc"]
    assert parse_order_by(items, RUN_FIELDS) == (
        OrderTerm(Field(Entity.METRIC, "a b"), descending=True),
        OrderTerm(Field(Entity.ATTRIBUTE, "start_time"), descending=False),
        OrderTerm(Field(Entity.PARAM, "x"), descending=False),
        OrderTerm(Field(Entity.ATTRIBUTE, "run_name"), descending=True),
        OrderTerm(Field(Entity.METRIC, "desc"), descending=False),
    )


@pytest.mark.parametrize(
    "items",
    [
        [""],
        ["  "],
        ["desc"],
        ["metrics.a b"],
        ["metrics.a DESC ASC"],
        ["metrics.a, metrics.b"],
        ["metrics.a;"],
        ["metrics.a-b"],
        ["lifecycle_stage"],
        ["dataset.name"],
        ["'metrics.a'"],
        ["start_time", "created DESC"],
        ["metrics.a", "metric.a DESC"],
    ],
)
def test_order_by_refuses_what_is_no_field_or_comes_twice(items: list[str]) -> None:
    with pytest.raises(InvalidOrderBy) as caught:
        parse_order_by(items, RUN_FIELDS)
    assert caught.value.violations[0].field == f"order_by[{len(items) - 1}]"


def test_order_by_is_bounded() -> None:
    with pytest.raises(InvalidArgument, match="at most"):
        parse_order_by([f"metrics.m{index}" for index in range(MAX_ORDER_TERMS + 1)], RUN_FIELDS)


@given(st.text(max_size=30))
def test_any_text_is_an_order_or_is_refused(text: str) -> None:
    try:
        parse_order_by([text], RUN_FIELDS)
    except InvalidOrderBy as error:
        assert 0 <= error.position <= len(text)
