"""The grammar of metric conditions, also against random expressions with Python's own arithmetic as the judge."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runstream_registry.policy.conditions import MAX_DEPTH, ConditionError, parse_condition

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("text", "key", "comparison", "relative"),
    [
        ("accuracy >= 0.9", "accuracy", ">=", False),
        ("loss<current*1.05", "loss", "<", True),
        ("val/f1-score > -(current - 1e-2)", "val/f1-score", ">", True),
        ("`odd key >= 1` == .5", "odd key >= 1", "=", False),
        ('"odd `key`" != 2.', "odd `key`", "!=", False),
        ("current <= 3", "current", "<=", False),
    ],
)
def test_conditions_are_read(text, key, comparison, relative):
    condition = parse_condition(text)

    assert (condition.key, condition.comparison, condition.relative) == (key, comparison, relative)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "key operator bound"),
        ("accuracy", "key operator bound"),
        ("accuracy >", "ends too early"),
        ("accuracy > 1 +", "ends too early"),
        ("accuracy > (1", "ends too early"),
        ("accuracy > 1)", r"does not go on with '\)'"),
        ("accuracy > 1 2", "does not go on with '2'"),
        ("accuracy > previous", "does not go on with 'previous'"),
        ("accuracy > current()", r"does not go on with '\('|does not go on with '\)'"),
        ("accuracy > 1 / 2", "something unknown at '/ 2'"),
        ("accuracy > __import__('os')", "__import__"),
        ("accuracy => 1", "unknown|does not go on"),
        ("accuracy > 1e999", "too large"),
        ("accuracy > nan", "does not go on with 'nan'"),
        ("accuracy > " + "(" * 40 + "1" + ")" * 40, f"more than {MAX_DEPTH}"),
        ("accuracy > " + "1+" * 300 + "1", "at most 500"),
    ],
)
def test_what_is_no_condition_is_refused_with_a_reason(text, problem):
    with pytest.raises(ConditionError, match=problem):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "value", "current", "holds"),
    [
        ("m >= 0.9", 0.9, None, True),
        ("m > 0.9", 0.9, None, False),
        ("m = 0.3", 0.3, None, True),
        ("m != 0.3", 0.4, None, True),
        ("m <= 2 + 3 * 4", 14.0, None, True),
        ("m < (2 + 3) * 4", 19.9, None, True),
        ("m < 10 - 4 - 3", 3.5, None, False),
        ("m >= current + 0.01", 0.94, 0.93, True),
        ("m >= current + 0.01", 0.9399999, 0.93, False),
        ("m <= current * 1.05", 1.05, 1.0, True),
        ("m >= 0.9", NAN, None, False),
        ("m != 0.9", NAN, None, False),
        ("m >= current", 0.9, NAN, False),
        ("m != current", 0.9, NAN, False),
        ("m >= current", INFINITY, INFINITY, True),
        ("m >= current - current", 1.0, INFINITY, False),
        ("m < current", 1.0, INFINITY, True),
        ("m > -current", 1.0, INFINITY, True),
    ],
)
def test_conditions_hold_or_not(text, value, current, holds):
    assert parse_condition(text).holds(value, current) is holds


numbers = st.decimals(min_value=0, max_value=1000, places=3, allow_nan=False).map(lambda value: f"{value:f}")


def _joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return (
        st.tuples(parts, st.sampled_from("+-*"), parts).map(lambda items: f"{items[0]} {items[1]} {items[2]}")
        | parts.map(lambda inner: f"({inner})")
        | parts.map(lambda inner: f"-({inner})")
    )


expressions = st.recursive(numbers | st.just("current"), _joined, max_leaves=8)


@given(expressions, st.decimals(min_value=-100, max_value=100, places=2))
def test_bounds_are_what_exact_arithmetic_gives(text, current):
    condition = parse_condition(f"m >= {text}")
    in_fractions = _fractions(text)

    exact = eval(in_fractions, {"F": Fraction, "current": Fraction(str(current))})

    assert Fraction(condition.bound_value(float(current))) == exact
    assert condition.relative is ("current" in text)


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_refused(text):
    try:
        condition = parse_condition(text)
    except ConditionError:
        return
    assert condition.key
    assert isinstance(condition.bound_value(1.0), Decimal)


def _fractions(text: str) -> str:
    words = text.replace("(", " ( ").replace(")", " ) ").replace("-", " - ").split()
    return " ".join(f"F('{word}')" if word[0].isdigit() else word for word in words)
