"""Versions as MLflow's rules have them: numbers, aliases, stages, times; and what every change leaves behind."""

from __future__ import annotations

import asyncio

import pytest
from runstream_common.errors import InvalidArgument
from runstream_contract.ids import new_run_id
from runstream_registry.entities import ByAlias, ByNumber, ByStage, NewVersion, Parent, Stage, VersionStatus
from runstream_registry.errors import AliasNotFound, ModelNotFound, VersionIdTaken, VersionNotFound
from runstream_registry.models.versions import VersionUpdate

from services.registry.tests.models.support import EXTERNAL, Registry


async def test_a_version_is_ready_at_once_and_keeps_what_it_was_given(registry: Registry) -> None:
    await registry.model()
    created = await registry.version(
        run_id="some-run",
        run_link="https://example.org/run",
        description="first",
        tags={"a": "1", "b": "2"},
        signature_json='{"inputs": "[]"}',
        flavors_json='{"sklearn": {}}',
    )
    found = await registry.use.versions.get("iris", ByNumber(1))

    assert found == created
    assert (found.version, found.status, found.stage) == (1, VersionStatus.READY, Stage.NONE)
    assert (found.source, found.artifacts.uri, found.artifacts.digest) == (EXTERNAL, EXTERNAL, "")
    assert (found.run_id, found.user_id, found.tags) == ("some-run", "ada", {"a": "1", "b": "2"})


async def test_fifty_creates_at_once_get_the_numbers_1_to_50(registry: Registry) -> None:  # A3
    await registry.model()
    versions = await asyncio.gather(*(registry.version(tags={"n": str(n)}) for n in range(50)))
    stored = {
        v.version: (await registry.use.versions.get("iris", ByNumber(v.version))).tags for v in versions
    }

    assert sorted(stored) == list(range(1, 51))
    assert sorted(int(tags["n"]) for tags in stored.values()) == list(range(50))
    assert [entry[2] for entry in await registry.actions()] == [0, *range(1, 51)]
    events = [
        value["version"] for topic, _, value in await registry.events() if topic == "model-version-created"
    ]
    assert events == list(range(1, 51))


async def test_numbers_of_deleted_versions_are_not_used_again(registry: Registry) -> None:
    await registry.model()
    for _ in range(3):
        await registry.version()
    await registry.use.versions.delete("iris", 3, actor="ada")
    await registry.use.versions.delete("iris", 2, actor="ada")

    assert (await registry.version()).version == 4
    assert (await registry.use.models.get("iris")).version_count == 2


async def test_what_one_call_does_wrong_fails_that_call_alone(registry: Registry) -> None:
    await registry.model()
    outcomes = await asyncio.gather(
        registry.version(),
        registry.version("nowhere"),
        registry.version(parents=[Parent("iris", 99)]),
        registry.version(tags={"bad": "\0"}),
        registry.version(),
        return_exceptions=True,
    )

    assert [type(item).__name__ for item in outcomes] == [
        "Version",
        "ModelNotFound",
        "InvalidArgument",
        "InvalidArgument",
        "Version",
    ]
    numbers = {outcomes[0].version, outcomes[4].version}
    assert numbers == {1, 2}


async def test_the_same_version_id_again_returns_the_version(registry: Registry) -> None:
    await registry.model()
    await registry.model("other")
    version_id = new_run_id()
    first, again, twice = await asyncio.gather(
        *(
            registry.use.versions.create(
                NewVersion(name="iris", source=EXTERNAL, actor="ada", version_id=version_id)
            )
            for _ in range(3)
        )
    )
    events = await registry.events()

    assert sorted(item[1] for item in (first, again, twice)) == [False, False, True]
    assert first[0] == again[0] == twice[0]
    assert sum(topic == "model-version-created" for topic, _, _ in events) == 1
    with pytest.raises(VersionIdTaken):
        await registry.version("other", version_id=version_id)
    await registry.use.versions.delete("iris", 1, actor="ada")
    with pytest.raises(VersionIdTaken):
        await registry.version(version_id=version_id)


async def test_a_missing_model_is_made_when_asked_for(registry: Registry) -> None:
    with pytest.raises(ModelNotFound):
        await registry.version("new")
    versions = await asyncio.gather(
        *(registry.version("new", create_model=True, model_tags={"team": "x"}) for _ in range(5))
    )
    model = await registry.use.models.get("new")

    assert sorted(version.version for version in versions) == [1, 2, 3, 4, 5]
    assert (model.tags, model.version_count) == ({"team": "x"}, 5)
    assert [entry[0] for entry in await registry.actions()] == ["model.created", *["version.created"] * 5]


@pytest.mark.parametrize(
    ("selector", "error"),
    [
        (ByNumber(9), VersionNotFound),
        (ByAlias("nobody"), AliasNotFound),
        (ByStage(Stage.PRODUCTION), VersionNotFound),
    ],
)
async def test_what_is_not_there_is_said_precisely(registry: Registry, selector, error) -> None:
    await registry.model()
    await registry.version()
    for ask in (registry.use.versions.get, registry.use.versions.resolve):
        with pytest.raises(error):
            await ask("iris", selector)
        with pytest.raises(ModelNotFound):
            await ask("nowhere", selector)


async def test_latest_is_the_highest_version_and_aliases_and_stages_point(registry: Registry) -> None:
    await registry.model()
    for _ in range(4):
        await registry.version()
    await registry.point("iris", "champion", 2)
    await registry.stage("iris", 1, Stage.PRODUCTION)
    await registry.stage("iris", 3, Stage.PRODUCTION)
    await registry.use.versions.delete("iris", 4, actor="ada")
    versions = registry.use.versions

    async def number(selector) -> int:
        resolved = await versions.resolve("iris", selector)
        assert resolved.version_id == (await versions.get("iris", selector)).version_id
        return resolved.version

    assert [await number(ByAlias(name)) for name in ("latest", "LATEST", "champion")] == [3, 3, 2]
    assert await number(ByStage(Stage.PRODUCTION)) == 3
    assert await number(ByStage(Stage.NONE)) == 2
    assert [v.version for v in await versions.latest("iris", [])] == [3, 2]
    assert [v.version for v in await versions.latest("iris", [Stage.NONE])] == [2]
    assert [v.version for v in (await registry.use.models.get("iris")).latest_versions] == [3, 2]
    assert (await versions.get("iris", ByNumber(2))).aliases == ("champion",)


async def test_deleting_a_version_drops_its_aliases(registry: Registry) -> None:
    await registry.model()
    await registry.version()
    await registry.version()
    for alias, version in (("a", 1), ("b", 1), ("c", 2)):
        await registry.point("iris", alias, version)
    await registry.use.versions.delete("iris", 1, actor="ada")

    assert (await registry.use.models.get("iris")).aliases == {"c": 2}
    with pytest.raises(AliasNotFound):
        await registry.use.versions.get("iris", ByAlias("a"))
    with pytest.raises(VersionNotFound):
        await registry.use.versions.delete("iris", 1, actor="ada")
    deleted = (await registry.events())[-1][2]
    assert (deleted["action"], deleted["version"], deleted["details"]) == (
        "version.deleted",
        1,
        {"aliases": "a,b"},
    )


async def test_times_move_as_in_mlflow(registry: Registry) -> None:
    await registry.model()
    await registry.version()
    start_ms = registry.clock.now_ms()

    async def moved(change) -> tuple[bool, bool]:
        registry.clock.advance(1)
        await change
        model = await registry.use.models.get("iris")
        version = await registry.use.versions.get("iris", ByNumber(1))
        assert model.creation_time_ms == version.creation_time_ms == start_ms
        now_ms = registry.clock.now_ms()
        return model.last_updated_time_ms == now_ms, version.last_updated_time_ms == now_ms

    use = registry.use
    await registry.point("iris", "a", 1)
    update = VersionUpdate(description="x")
    assert await moved(registry.version()) == (True, False)
    assert await moved(use.versions.update("iris", 1, update, actor="ada")) == (False, True)
    for number in (0, 1):
        change = use.tags.change("iris", number, to_set={"k": "v"}, to_delete=(), actor="ada")
        assert await moved(change) == (False, False)
    assert await moved(use.versions.delete_alias("iris", "a", actor="ada")) == (False, False)
    assert await moved(use.models.update("iris", "new", actor="ada")) == (True, False)
    assert await moved(use.versions.delete("iris", 2, actor="ada")) == (True, False)


async def test_a_description_that_was_taken_away_is_not_an_empty_one(registry: Registry) -> None:
    await registry.model()
    created = await registry.version()
    cleared = await registry.use.versions.update(
        "iris", 1, VersionUpdate(clear_description=True), actor="bob"
    )

    assert (created.description, cleared.description) == ("", None)
    assert (await registry.use.versions.get("iris", ByNumber(1))).description is None


async def test_updates_change_what_is_given_and_nothing_twice(registry: Registry) -> None:
    await registry.model()
    await registry.version(description="old", signature_json='{"inputs": "[]"}')
    update = VersionUpdate(description="", status=VersionStatus.FAILED)
    updated = await registry.use.versions.update("iris", 1, update, actor="bob")
    await registry.use.versions.update("iris", 1, update, actor="bob")

    assert (updated.description, updated.status) == ("", VersionStatus.FAILED)
    assert updated.signature_json == '{"inputs": "[]"}'
    assert updated == await registry.use.versions.get("iris", ByNumber(1))
    assert [entry[0] for entry in await registry.actions()].count("version.updated") == 1
    assert (await registry.events())[-1][2]["details"] == {"fields": "description,status"}


async def test_deleting_a_missing_alias_is_harmless_and_tells_nobody(registry: Registry) -> None:
    await registry.model()
    await registry.version()
    await registry.point("iris", "champion", 1)
    await registry.use.versions.delete_alias("iris", "champion", actor="ada")
    told = len(registry.wakes)
    await registry.use.versions.delete_alias("iris", "champion", actor="ada")

    assert [entry[0] for entry in await registry.actions()].count("alias.deleted") == 1
    assert len(registry.wakes) == told
    with pytest.raises(ModelNotFound):
        await registry.use.versions.delete_alias("nowhere", "champion", actor="ada")


async def test_prompts_and_models_are_not_mixed_up(registry: Registry) -> None:
    prompt = {"mlflow.prompt.is_prompt": "true", "mlflow.prompt.text": "Hi {{name}}"}
    made = await registry.version("greeting", "prompt-template", tags=prompt, create_model=True)
    await registry.model()

    assert made.prompt
    assert (await registry.use.models.get("greeting")).prompt
    for name, source, tags in (
        ("greeting", EXTERNAL, {}),
        ("greeting", EXTERNAL, prompt),
        ("iris", "prompt-template", prompt),
        ("iris", "dummy-source", {}),
    ):
        with pytest.raises(InvalidArgument):
            await registry.version(name, source, tags=tags)


async def test_every_event_says_what_a_consumer_needs(registry: Registry) -> None:
    await registry.model()
    version = await registry.version(run_id="r")
    topic, key, value = (await registry.events())[-1]

    assert (topic, key) == ("model-version-created", "iris")
    assert value == {
        "event_id": value["event_id"],
        "model": "iris",
        "version": 1,
        "version_id": version.version_id,
        "source": EXTERNAL,
        "run_id": "r",
        "artifact_uri": EXTERNAL,
        "artifact_digest": "",
        "actor": "ada",
        "occurred_time_ms": version.creation_time_ms,
        "prompt": False,
    }
    assert len(registry.wakes) == 2
