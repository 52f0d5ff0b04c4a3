"""Searches of models and versions in PostgreSQL against a plain model of MLflow's rules."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runstream_common.errors import InvalidArgument
from runstream_common.search.problems import InvalidFilter, InvalidOrderBy, InvalidPageToken
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
from runstream_common.search.text_match import matches
from runstream_registry.entities import IS_PROMPT_TAG, Stage
from runstream_registry.search.searches import Search

from services.registry.tests.models.support import Registry

ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NAMES = ["alpha", "Alpha", "al_pha", "beta%", "greeting"]
SOURCES = ["s3://a", "s3://b" + "x" * 300, "s3://b" + "x" * 301]
TAG_VALUES = ["x", "X", "x" * 256 + "1", "x" * 256 + "2", ""]


@dataclass(frozen=True)
class PlainVersion:
    """A version as the plain model sees it."""

    name: str
    version: int
    prompt: bool
    source: str
    run_id: str
    stage: Stage
    updated: int
    tags: dict[str, str]


@dataclass(frozen=True)
class Loaded:
    """A registry with known versions."""

    registry: Registry
    versions: list[PlainVersion]


@pytest.fixture
async def loaded(registry: Registry) -> Loaded:
    """Forty versions of five models, one of which is a prompt; some versions and a model are deleted."""
    plain: list[PlainVersion] = []
    stages = list(Stage)
    for name in [*NAMES, "gone"]:
        prompt = {IS_PROMPT_TAG: "true"} if name == "greeting" else {}
        await registry.model(name, tags=prompt)
        for number in range(1, 10):
            # Pairs share a time, so that ties decide.
            registry.clock.advance(number % 2)
            tags = {"k": TAG_VALUES[number % 5]} if number % 3 else {}
            source = "dummy-source" if prompt else SOURCES[number % 3]
            run_id = f"run{number % 4}" if number % 4 else ""
            made = await registry.version(name, source, run_id=run_id, tags={**tags, **prompt})
            await registry.stage(name, number, stages[number % 4])
            if number == 5:
                await registry.use.versions.delete(name, number, actor="ada")
                continue
            updated = made.last_updated_time_ms
            stage = stages[number % 4]
            plain.append(
                PlainVersion(name, number, bool(prompt), source, run_id, stage, updated, dict(made.tags))
            )
    await registry.use.models.delete("gone", actor="ada")
    return Loaded(registry, [item for item in plain if item.name != "gone"])


def attribute(item: PlainVersion, key: str) -> Any:
    return {
        "name": item.name,
        "version_number": item.version,
        "run_id": item.run_id,
        "source_path": item.source,
        "user_id": "ada",
        "stage": item.stage.label,
        "last_updated_timestamp": item.updated,
    }[key]


def holds(expression: Expression, item: PlainVersion) -> bool:
    """Whether a version fulfils a filter: MLflow's rules in plain Python."""
    match expression:
        case And():
            return all(holds(operand, item) for operand in expression.operands)
        case Or():
            return any(holds(operand, item) for operand in expression.operands)
        case Not():
            return not holds(expression.operand, item)
    key = expression.field.key
    if expression.field.entity is Entity.ATTRIBUTE:
        value = attribute(item, key)
    elif key == IS_PROMPT_TAG and not isinstance(expression, NullCheck):
        value = "true" if item.prompt else "false"
    else:
        value = item.tags.get(key)
    if isinstance(expression, NullCheck):
        return (value is None) != expression.negated
    if value is None:
        return False
    if isinstance(expression, Membership):
        return (value in expression.values) != expression.negated
    if isinstance(value, int):
        return ORDERS[expression.operator](value, expression.value)
    return matches(value, expression.operator, str(expression.value))


def names_prompts(expression: Expression | None) -> bool:
    if isinstance(expression, (And, Or)):
        return any(map(names_prompts, expression.operands))
    if isinstance(expression, Not):
        return names_prompts(expression.operand)
    return expression is not None and expression.field.key == IS_PROMPT_TAG


def expected(versions: Sequence[PlainVersion], expression: Expression | None) -> list[tuple[str, int]]:
    asked = names_prompts(expression)
    found = [
        item
        for item in versions
        if (asked or not item.prompt) and (expression is None or holds(expression, item))
    ]
    found.sort(key=lambda item: (-item.updated, item.name, -item.version))
    return [(item.name, item.version) for item in found]


TEXT_OPERATORS = st.sampled_from([Operator.EQUAL, Operator.NOT_EQUAL, Operator.LIKE, Operator.ILIKE])
NUMBER_OPERATORS = st.sampled_from([Operator(sign) for sign in ORDERS])


def texts(
    key: str, values: Sequence[str], entity: Entity = Entity.ATTRIBUTE
) -> st.SearchStrategy[Expression]:
    patterns = st.sampled_from([*values, "al%", "%a", "A_pha", "%", "_", r"al\_pha", r"beta\%", "nothing"])
    return st.builds(Comparison, st.just(Field(entity, key)), TEXT_OPERATORS, patterns)


def members(key: str, values: Sequence[str]) -> st.SearchStrategy[Expression]:
    lists = st.lists(st.sampled_from([*values, "nothing"]), min_size=1, max_size=3).map(tuple)
    return st.builds(Membership, st.just(Field(Entity.ATTRIBUTE, key)), lists, st.booleans())


CLAUSES: st.SearchStrategy[Expression] = st.one_of(
    texts("name", NAMES),
    texts("source_path", SOURCES),
    texts("run_id", ["run1", ""]),
    texts("stage", ["Production", "None"]),
    texts("user_id", ["ada"]),
    texts("k", TAG_VALUES, Entity.TAG),
    texts(IS_PROMPT_TAG, ["true", "false"], Entity.TAG),
    members("name", NAMES),
    members("run_id", ["run1", "run2"]),
    st.builds(
        NullCheck, st.sampled_from([Field(Entity.TAG, "k"), Field(Entity.TAG, IS_PROMPT_TAG)]), st.booleans()
    ),
    st.builds(
        Comparison,
        st.just(Field(Entity.ATTRIBUTE, "version_number")),
        NUMBER_OPERATORS,
        st.sampled_from([-1, 3, 4.5, 9, 10**15, 10**30]),
    ),
)
FILTERS = st.recursive(
    CLAUSES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, min_size=2, max_size=3).map(lambda items: And(tuple(items))),
        st.lists(inner, min_size=2, max_size=3).map(lambda items: Or(tuple(items))),
    ),
    max_leaves=5,
)


async def found(loaded: Loaded, filter_text: str, page_size: int = 0, **fields: Any) -> list[tuple[str, int]]:
    """All pages of a search."""
    result: list[tuple[str, int]] = []
    token = ""
    while True:
        search = Search(filter_text, page_size=page_size, page_token=token, **fields)
        versions, token = await loaded.registry.use.searches.versions(search)
        assert not page_size or len(versions) <= page_size
        result += [(item.name, item.version) for item in versions]
        if not token:
            return result


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=FILTERS)
async def test_any_filter_finds_what_mlflows_rules_say(loaded: Loaded, expression: Expression) -> None:
    assert await found(loaded, to_text(expression)) == expected(loaded.versions, expression)


@pytest.mark.parametrize("page_size", [1, 7, 100])
@pytest.mark.parametrize(
    "order_by",
    [
        [],
        ["name"],
        ["name DESC", "version_number"],
        ["version_number DESC"],
        ["last_updated_timestamp"],
        ["creation_timestamp DESC", "name DESC"],
    ],
)
async def test_pages_hold_every_version_once_in_order(
    loaded: Loaded, order_by: list[str], page_size: int
) -> None:
    pages = await found(loaded, "", page_size, order_by=order_by)
    versions = [item for item in loaded.versions if not item.prompt]
    # Sorted by the last key first: Python's sort keeps the order of equals.
    versions.sort(key=lambda item: -item.version)
    versions.sort(key=lambda item: item.name)
    for term in reversed(order_by or ["last_updated_timestamp DESC"]):
        key, _, direction = term.replace("creation", "last_updated").partition(" ")
        versions.sort(key=lambda item, key=key: attribute(item, key), reverse=direction == "DESC")

    assert pages == [(item.name, item.version) for item in versions]


async def test_prompts_are_hidden_unless_the_filter_speaks_of_them(loaded: Loaded) -> None:
    async def models(filter_text: str) -> list[str]:
        found_models, _ = await loaded.registry.use.searches.models(Search(filter_text))
        return [item.name for item in found_models]

    others = sorted(name for name in NAMES if name != "greeting")
    tag = f"tags.`{IS_PROMPT_TAG}`"
    assert await models("") == await models(f"{tag} != 'true'") == await models(f"{tag} = 'false'") == others
    assert await models(f"{tag} = 'true'") == await models(f"{tag} IS NOT NULL") == ["greeting"]
    assert await models("name = 'greeting'") == []
    assert await models(f"name = 'greeting' AND {tag} = 'true'") == ["greeting"]
    assert await models(f"name ILIKE '%E%' AND ({tag} = 'true' OR {tag} != 'true')") == ["beta%", "greeting"]


@pytest.mark.parametrize(
    ("order_by", "names"),
    [
        ([], ["Alpha", "al_pha", "alpha", "beta%"]),
        (["name DESC"], ["beta%", "alpha", "al_pha", "Alpha"]),
        (["timestamp"], ["alpha", "Alpha", "al_pha", "beta%"]),
        (["last_updated_timestamp DESC"], ["beta%", "al_pha", "Alpha", "alpha"]),
    ],
)
async def test_models_come_in_the_asked_order_with_everything(
    loaded: Loaded, order_by: list[str], names: list[str]
) -> None:
    searches = loaded.registry.use.searches
    whole, _ = await searches.models(Search(order_by=order_by))
    first, token = await searches.models(Search(order_by=order_by, page_size=3))
    second, end = await searches.models(Search(order_by=order_by, page_size=3, page_token=token))

    assert [item.name for item in whole] == [item.name for item in [*first, *second]] == names
    assert end == ""
    assert whole[0] == await loaded.registry.use.models.get(names[0])
    assert [version.version for version in whole[0].latest_versions] == [9, 6, 7, 8]


@pytest.mark.parametrize(
    ("search", "error"),
    [
        (Search("run_id IS NULL"), InvalidFilter),
        (Search("stage IN ('None')"), InvalidFilter),
        (Search("version_number = 'x'"), InvalidFilter),
        (Search("version_number > '1.5'"), InvalidFilter),
        (Search("name > 'a'"), InvalidFilter),
        (Search("NAME = 'a'"), InvalidFilter),
        (Search("metrics.a > 1"), InvalidFilter),
        (Search("name = 'a' OR name = 'b'", mlflow_strict=True), InvalidFilter),
        (Search(" "), InvalidFilter),
        (Search(order_by=["tags.k"]), InvalidOrderBy),
        (Search(order_by=["name", "name DESC"]), InvalidOrderBy),
        (Search(page_token="nonsense"), InvalidPageToken),
        (Search(page_size=10_001), InvalidArgument),
        (Search(page_size=-1), InvalidArgument),
    ],
)
async def test_searches_that_are_refused(registry: Registry, search: Search, error: type[Exception]) -> None:
    with pytest.raises(error):
        await registry.use.searches.versions(search)


@pytest.mark.parametrize(
    ("clauses", "prompts"),
    [
        ("{tag} = 'true'", True),
        ("{tag} = 'true' AND {tag} != 'x'", True),
        ("{tag} != 'false'", True),
        ("{tag} != 'true'", False),
        ("{tag} = 'false'", False),
        ("{tag} = 'anything'", False),
        ("{tag} LIKE 'tr%'", False),
        ("{tag} = 'false' AND {tag} = 'true'", False),
        ("", False),
    ],
)
async def test_in_mlflows_grammar_the_first_clause_about_prompts_decides(
    loaded: Loaded, clauses: str, prompts: bool
) -> None:
    text = clauses.format(tag=f"tags.`{IS_PROMPT_TAG}`")
    searches = loaded.registry.use.searches
    models, _ = await searches.models(Search(text, mlflow_strict=True))
    versions, _ = await searches.versions(Search(text, mlflow_strict=True))

    assert [model.name for model in models] == (
        ["greeting"] if prompts else sorted(set(NAMES) - {"greeting"})
    )
    assert {version.name for version in versions} == {model.name for model in models}


async def test_a_number_of_a_version_may_be_quoted(loaded: Loaded) -> None:
    searches = loaded.registry.use.searches
    quoted, _ = await searches.versions(Search("version_number >= '4' AND name = 'alpha'"))
    plain, _ = await searches.versions(Search("version_number >= 4 AND name = 'alpha'"))
    assert quoted == plain != []


async def test_a_token_belongs_to_its_search(loaded: Loaded) -> None:
    searches = loaded.registry.use.searches
    _, token = await searches.versions(Search(page_size=1))
    for other in (Search("name = 'alpha'", page_token=token), Search(order_by=["name"], page_token=token)):
        with pytest.raises(InvalidPageToken):
            await searches.versions(other)
    with pytest.raises(InvalidPageToken):
        await searches.models(Search(page_token=token))
