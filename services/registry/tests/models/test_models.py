"""Models as MLflow's rules have them: names, renaming, deletion, tags; and what every change leaves behind."""

from __future__ import annotations

import asyncio

import pytest
from runstream_common.errors import InvalidArgument
from runstream_common.violations import Violations
from runstream_registry import rules
from runstream_registry.entities import ByAlias, ByNumber
from runstream_registry.errors import ModelNameTaken, ModelNotFound, PromptImmutable, VersionNotFound
from runstream_registry.models.models import NewModel

from services.registry.tests.models.support import Registry

PROMPT_TAGS = {"mlflow.prompt.is_prompt": "true"}


async def test_a_model_keeps_what_it_was_given(registry: Registry) -> None:
    created, is_new = await registry.use.models.create(
        NewModel("iris", "ada", "flowers", {"b": "2", "a": "1"})
    )

    assert is_new
    assert created == await registry.use.models.get("iris")
    assert (created.description, created.prompt, created.version_count) == ("flowers", False, 0)
    assert list(created.tags.items()) == [("a", "1"), ("b", "2")]
    assert await registry.actions() == [("model.created", "iris", 0)]
    topic, key, event = (await registry.events())[0]
    assert (topic, key, event["action"], event["actor"]) == ("model-changed", "iris", "model.created", "ada")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("iris", True),
        (" leading and trailing ", True),
        ("Ünïcödé.v1-x_y", True),
        ("...", True),
        ("x" * 2_000, True),
        ("", False),
        ("  ", False),
        ("a/b", False),
        ("a:b", False),
        (".", False),
        ("..", False),
        ("x" * 2_001, False),
        ("ü" * 1_001, False),
        ("nul\0", False),
    ],
)
def test_names_follow_mlflow(name: str, allowed: bool) -> None:
    violations = Violations()
    rules.model_name(name, violations)
    if allowed:
        violations.check()
    else:
        with pytest.raises(InvalidArgument, match="name"):
            violations.check()


@pytest.mark.parametrize(
    ("alias", "settable", "readable"),
    [
        ("champion", True, True),
        ("a_B-9", True, True),
        ("vx1", True, True),
        ("x" * 255, True, True),
        ("latest", False, True),
        ("LaTest", False, True),
        ("v12", False, True),
        ("V1", False, True),
        ("", False, False),
        ("a b", False, False),
        ("ä", True, True),
        ("x" * 256, False, False),
    ],
)
def test_aliases_follow_mlflow(alias: str, settable: bool, readable: bool) -> None:
    for reserved, allowed in ((False, settable), (True, readable)):
        if allowed:
            assert rules.alias(alias, reserved=reserved) == alias
        else:
            with pytest.raises(InvalidArgument, match="alias"):
                rules.alias(alias, reserved=reserved)


async def test_models_and_prompts_share_one_name_space(registry: Registry) -> None:
    await registry.model("iris")
    await registry.model("greeting", tags=PROMPT_TAGS)
    with pytest.raises(ModelNameTaken, match="registered model named 'iris'"):
        await registry.model("iris", tags=PROMPT_TAGS)
    with pytest.raises(ModelNameTaken, match="prompt named 'greeting'"):
        await registry.model("greeting")


async def test_of_many_creates_at_once_one_wins(registry: Registry) -> None:
    outcomes = await asyncio.gather(
        *(registry.use.models.create(NewModel("iris", "ada"), get_if_exists=n % 2 == 0) for n in range(20)),
        return_exceptions=True,
    )
    made = [item for item in outcomes if isinstance(item, tuple)]

    assert sum(created for _, created in made) == 1
    assert all(isinstance(item, (tuple, ModelNameTaken)) for item in outcomes)
    assert await registry.actions() == [("model.created", "iris", 0)]


async def test_renaming_takes_everything_along(registry: Registry) -> None:
    await registry.model("old", tags={"team": "x"})
    version = await registry.version("old")
    await registry.point("old", "champion", 1)
    registry.clock.advance(1)
    renamed = await registry.use.models.rename("old", "new", actor="bob")
    found = await registry.use.versions.get("new", ByAlias("champion"))

    assert (renamed.name, renamed.tags, renamed.aliases) == ("new", {"team": "x"}, {"champion": 1})
    assert (found.name, found.version_id) == ("new", version.version_id)
    assert renamed.last_updated_time_ms == found.last_updated_time_ms == registry.clock.now_ms()
    assert (await registry.version("new")).version == 2
    with pytest.raises(ModelNotFound):
        await registry.use.models.get("old")
    events = [(key, value["details"]) for _, key, value in await registry.events() if value.get("details")]
    assert events == [("new", {"new_name": "new", "old_name": "old"})]


async def test_renaming_to_a_taken_name_changes_nothing(registry: Registry) -> None:
    await registry.model("a")
    await registry.model("b")
    with pytest.raises(ModelNameTaken, match="'b'"):
        await registry.use.models.rename("a", "b", actor="ada")
    with pytest.raises(ModelNotFound):
        await registry.use.models.rename("c", "d", actor="ada")
    same = await registry.use.models.rename("a", "a", actor="ada")

    assert same.name == "a"
    assert [action for action, _, _ in await registry.actions()] == ["model.created"] * 2


async def test_a_deleted_name_is_free_and_its_successor_starts_at_1(registry: Registry) -> None:
    await registry.model()
    await registry.version()
    await registry.version()
    await registry.point("iris", "champion", 2)
    await registry.use.models.delete("iris", actor="ada")
    for gone in (
        registry.use.models.get("iris"),
        registry.use.models.delete("iris", actor="ada"),
        registry.use.versions.get("iris", ByNumber(1)),
        registry.version(),
    ):
        with pytest.raises(ModelNotFound):
            await gone
    await registry.model()

    assert (await registry.version()).version == 1
    assert (await registry.use.models.get("iris")).aliases == {}
    with pytest.raises(VersionNotFound):
        await registry.use.versions.get("iris", ByNumber(2))


async def test_an_empty_description_clears_it_and_the_same_one_changes_nothing(registry: Registry) -> None:
    await registry.model(description="old")
    registry.clock.advance(1)
    same = await registry.use.models.update("iris", "old", actor="ada")
    assert same.last_updated_time_ms == same.creation_time_ms
    assert (await registry.use.models.update("iris", "", actor="ada")).description == ""
    assert [action for action, _, _ in await registry.actions()] == ["model.created", "model.updated"]


async def test_tags_are_set_and_deleted_once(registry: Registry) -> None:
    await registry.model(tags={"a": "1", "b": "2"})
    await registry.version(tags={"a": "1"})
    for number in (0, 1):
        for _ in range(2):
            await registry.use.tags.change(
                "iris", number, to_set={"a": "1", "c": "3"}, to_delete=["b", "missing"], actor="ada"
            )

    assert (await registry.use.models.get("iris")).tags == {"a": "1", "c": "3"}
    assert (await registry.use.versions.get("iris", ByNumber(1))).tags == {"a": "1", "c": "3"}
    changes = [item for item in await registry.actions() if item[0] == "tags.changed"]
    assert changes == [("tags.changed", "iris", 0), ("tags.changed", "iris", 1)]
    with pytest.raises(VersionNotFound):
        await registry.use.tags.change("iris", 2, to_set={"a": "1"}, to_delete=(), actor="ada")


async def test_what_a_prompt_says_never_changes(registry: Registry) -> None:
    content = {**PROMPT_TAGS, "mlflow.prompt.text": "Hi {{name}}", "_mlflow_prompt_type": "text"}
    await registry.version("greeting", "prompt-template", tags=content, create_model=True)
    await registry.model()
    change = registry.use.tags.change
    for name, number, to_set, to_delete in (
        ("greeting", 1, {"mlflow.prompt.text": "other"}, ()),
        ("greeting", 1, {}, ["_mlflow_prompt_type"]),
        ("greeting", 0, {}, ["mlflow.prompt.is_prompt"]),
        ("iris", 0, PROMPT_TAGS, ()),
    ):
        with pytest.raises(PromptImmutable):
            await change(name, number, to_set=to_set, to_delete=to_delete, actor="ada")
    await change(
        "greeting", 1, to_set={"mlflow.prompt.text": "Hi {{name}}", "k": "v"}, to_delete=(), actor="ada"
    )
    await change("greeting", 0, to_set={"_mlflow_experiment_ids": ",1,"}, to_delete=(), actor="ada")

    assert (await registry.use.versions.get("greeting", ByNumber(1))).tags == {**content, "k": "v"}


async def test_webhooks_are_told_in_mlflows_words(registry: Registry) -> None:
    async with registry.database.driver() as connection:
        await connection.execute(
            "INSERT INTO registry.webhook (webhook_id, name, url, events, status, model_pattern, creation_time_ms, "
            "last_updated_time_ms) SELECT gen_random_uuid(), 'all', 'https://example.org', $1, 1, '%', 0, 0",
            [
                f"{entity}.{action}"
                for entity in (
                    "REGISTERED_MODEL",
                    "MODEL_VERSION",
                    "MODEL_VERSION_TAG",
                    "MODEL_VERSION_ALIAS",
                )
                for action in ("CREATED", "SET", "DELETED")
            ]
            + ["PROMPT.CREATED", "PROMPT_VERSION.CREATED", "PROMPT_TAG.SET"],
        )
    await registry.model("iris", tags={"team": "x"})
    await registry.version("iris", run_id="r", tags={"a": "1"})
    await registry.use.tags.change("iris", 1, to_set={"a": "2"}, to_delete=(), actor="ada")
    await registry.use.tags.change("iris", 1, to_set={}, to_delete=["a"], actor="ada")
    await registry.point("iris", "champion", 1)
    await registry.use.versions.delete("iris", 1, actor="ada")
    text = {**PROMPT_TAGS, "mlflow.prompt.text": "Hi"}
    await registry.version("greeting", "dummy-source", tags={**text, "k": "v"}, create_model=True)
    await registry.use.tags.change("greeting", 0, to_set={"team": "y"}, to_delete=(), actor="ada")
    async with registry.database.driver() as connection:
        rows = await connection.fetch(
            "SELECT entity, action, body::jsonb -> 'data' AS data FROM registry.delivery ORDER BY creation_time_ms, 1, 2"
        )
    told = sorted((row["entity"], row["action"]) for row in rows)

    assert told == [
        ("MODEL_VERSION", "CREATED"),
        ("MODEL_VERSION", "DELETED"),
        ("MODEL_VERSION_ALIAS", "DELETED"),
        ("MODEL_VERSION_TAG", "DELETED"),
        ("MODEL_VERSION_TAG", "SET"),
        ("PROMPT", "CREATED"),
        ("PROMPT_TAG", "SET"),
        ("PROMPT_VERSION", "CREATED"),
        ("REGISTERED_MODEL", "CREATED"),
    ]
    prompt = next(row["data"] for row in rows if row["entity"] == "PROMPT_VERSION")
    assert '"template": "Hi"' in prompt
    assert '"tags": {"k": "v"}' in prompt
