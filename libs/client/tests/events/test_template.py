"""Command lines with places for an event's fields."""

from __future__ import annotations

from typing import Any

import pytest
from runstream.events.template import FieldMissingError, parse_command
from runstream_common.bus.event_examples import EXAMPLES
from runstream_common.bus.topics import MODEL_PROMOTED, RUN_CHANGED
from runstream_common.errors import InvalidArgument

PROMOTED = EXAMPLES[MODEL_PROMOTED.name]


def filled(text: str, event: Any = PROMOTED, topic: str = MODEL_PROMOTED.name) -> list[str]:
    return parse_command(text, topic).fill(event)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("./deploy.sh {model} {version}", ["./deploy.sh", "churn", "7"]),
        ("run --acc={metrics.accuracy} {metrics.val.loss}", ["run", "--acc=0.953", "0.21"]),
        ("run '{reason}' {rollback}", ["run", "better on the holdout set", "false"]),
        ("run {{{model}}} {{}} x}}", ["run", "{churn}", "{}", "x}"]),
        ("run {metrics}", ["run", '{"accuracy": 0.953, "val.loss": 0.21}']),
        ('curl -d \'{{"model": "{model}"}}\' x', ["curl", "-d", '{"model": "churn"}', "x"]),
    ],
)
def test_fields_are_put_in(text: str, arguments: list[str]) -> None:
    assert filled(text) == arguments


@pytest.mark.parametrize("value", ["a b", "'; rm -rf / #", "{version}", "$(id)", "é\n", ""])
def test_a_value_stays_one_argument_whatever_is_in_it(value: str) -> None:
    assert filled("run {reason} end", {**PROMOTED, "reason": value}) == ["run", value, "end"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "run 'open",
        "run {modle}",
        "run {}",
        "run {model.name}",
        "run {metrics.}",
        "run {",
        "run }",
        "run {a{b}",
    ],
)
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_command(text, MODEL_PROMOTED.name)
    assert [item.field for item in refused.value.violations] == ["--exec"]


def test_an_event_may_lack_what_another_has() -> None:
    with pytest.raises(FieldMissingError, match=r"metrics\.f1"):
        filled("run {metrics.f1}")
    with pytest.raises(FieldMissingError):
        filled("run {model}", None)
    with pytest.raises(FieldMissingError, match="NUL"):
        filled("run {model}", {"model": "a\x00b"})


def test_what_proto3_leaves_out_has_its_default() -> None:
    text = "run {run_id} [{status_reason}] {occurred_time_ms} {change}"
    assert filled(text, {"run_id": "r"}, RUN_CHANGED.name) == [
        "run",
        "r",
        "[]",
        "0",
        "RUN_CHANGE_UNSPECIFIED",
    ]
    assert filled("run {rollback}", {"model": "m"}) == ["run", "false"]


def test_a_topic_that_is_not_registered_may_have_any_field() -> None:
    assert filled("run {a.b} {c}", {"a": {"b": 1}, "c": [True]}, "theirs") == ["run", "1", "[true]"]
    with pytest.raises(FieldMissingError):
        filled("run {d}", {"a": 1}, "theirs")
