"""Templates: MLflow's grammar of variables, checks, and rendering that fills every variable exactly once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runstream_common.errors import InvalidArgument
from runstream_registry.prompts.templates import (
    MAX_RENDERED_LENGTH,
    Message,
    Template,
    check_variables,
    render,
    stored_template,
)

names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}(\.[a-zA-Z_][a-zA-Z0-9_]{0,3})?", fullmatch=True)
plain = st.text(st.characters(exclude_characters="{}%", exclude_categories=["Cs"]), max_size=20)
spaces = st.sampled_from(["", " ", "  ", "\n", "\t"])


def violated(error: InvalidArgument) -> dict[str, str]:
    return {item.field: item.description for item in error.violations}


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("Hello {{name}}", ["name"]),
        ("{{ b }} {{a}} {{b}}", ["b", "a"]),
        ("{{ user.first_name }}", ["user.first_name"]),
        ("{{\nname\n}}", ["name"]),
        ("{{{name}}}", ["name"]),
        ("{name} {{}} {{ 1st }} {{a b}} {{a-b}} {{a.}} {{.a}} { {a} }", []),
        ('{"a": {"b": 1}}', []),
        ("", []),
    ],
)
def test_variables_are_those_of_mlflows_grammar(text, variables):
    assert Template(text).variables == variables


def test_variables_of_a_chat_come_from_its_contents_in_order():
    chat = Template(None, [Message("{{role}}", "{{ b }}"), Message("user", "{{a}}{{b}}")])

    assert chat.variables == ["b", "a"]


def test_a_text_is_filled_and_what_values_hold_is_left_alone():
    template = Template("{{a}} and {{ b }} and {{a}}")

    rendered = render(template, {"a": "{{b}}", "b": r"\1 $0"})

    assert rendered == Template(r"{{b}} and \1 $0 and {{b}}")


def test_a_chat_keeps_its_roles():
    chat = Template(None, [Message("system", "You are {{who}}."), Message("user", "Hi")])

    assert render(chat, {"who": "kind"}).messages == [
        Message("system", "You are kind."),
        Message("user", "Hi"),
    ]


def test_missing_and_unknown_values_are_all_named():
    with pytest.raises(InvalidArgument) as raised:
        render(Template("{{a}} {{b}} {{c}}"), {"b": "x", "d": "y", "e": "z"})

    assert violated(raised.value) == {
        "variables.a": "is missing",
        "variables.c": "is missing",
        "variables.d": "is unknown; the template has no such variable",
        "variables.e": "is unknown; the template has no such variable",
    }


@pytest.mark.parametrize("text", ["{% if a %}{{a}}{% endif %}", "{%x%}"])
def test_jinja_is_never_run(text):
    with pytest.raises(InvalidArgument, match="Jinja") as raised:
        render(Template(text), {"a": "x"})
    assert raised.value.reason == "JINJA_TEMPLATE"


def test_an_outcome_that_is_too_long_is_refused_before_it_is_made():
    template = Template("{{a}}" * 10_000)

    assert len(render(template, {"a": "x" * 100}).text) == MAX_RENDERED_LENGTH
    with pytest.raises(InvalidArgument, match="1010000 characters"):
        render(template, {"a": "x" * 101})


@pytest.mark.parametrize(
    ("expected", "problems"),
    [
        ([], []),
        (["a", "b"], []),
        (["b", "a", "a"], []),
        (["a"], ["uses 'b', which is not expected"]),
        (
            ["a", "c"],
            ["does not use the expected variable 'c'", "uses 'b', which is not expected"],
        ),
    ],
)
def test_expected_variables_are_checked(expected, problems):
    template = Template("{{a}} {{b}}")
    if not problems:
        check_variables(template, expected)
        return
    with pytest.raises(InvalidArgument) as raised:
        check_variables(template, expected)
    assert [item.description for item in raised.value.violations] == problems


@pytest.mark.parametrize(
    ("text", "chat", "template"),
    [
        ("hi", False, Template("hi")),
        ("[1]", False, Template("[1]")),
        ('[{"role": "user", "content": "hi"}]', True, Template(None, [Message("user", "hi")])),
        ('[{"role": "user", "content": null}]', True, Template(None, [Message("user", "")])),
        (
            '[{"role": "user", "content": [{"type": "text"}], "name": "x"}]',
            True,
            Template(None, [Message("user", '[{"type": "text"}]')]),
        ),
        ("no json", True, Template("no json")),
        ('["x"]', True, Template('["x"]')),
        ('{"role": "user"}', True, Template('{"role": "user"}')),
    ],
)
def test_whatever_mlflow_stored_can_be_read(text, chat, template):
    assert stored_template(text, chat=chat) == template


@given(parts=st.lists(st.tuples(plain, names, spaces, spaces)), end=plain, data=st.data())
def test_rendering_replaces_each_variable_and_nothing_else(parts, end, data):
    text = "".join(f"{before}{{{{{left}{name}{right}}}}}" for before, name, left, right in parts) + end
    template = Template(text)
    values = {name: data.draw(st.text(max_size=10)) for name in template.variables}

    assert set(template.variables) == {name for _, name, _, _ in parts}
    assert (
        render(template, values).text
        == "".join(f"{before}{values[name]}" for before, name, _, _ in parts) + end
    )


@given(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.text(max_size=30)), min_size=1, max_size=4))
def test_a_chat_is_read_back_as_it_was_stored(items):
    chat = Template(None, [Message(role, content) for role, content in items])

    assert stored_template(chat.stored, chat=True) == chat
    assert json.loads(chat.stored) == [{"role": role, "content": content} for role, content in items]
